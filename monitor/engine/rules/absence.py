"""Nobody in the driver's place, although the picture is good."""

from dataclasses import dataclass

from monitor.engine.finding import EPSILON_S, Finding, reached
from monitor.policy.rules import AbsencePolicy, LevelsPolicy
from monitor.types import AbsenceEvidence, Kind, Reading


@dataclass
class Absence:
    """No face for `after_s`; back when one is seen for `back_s`. A blind camera says nothing."""

    limits: AbsencePolicy
    levels: LevelsPolicy
    max_gap_s: float
    _since_s: float | None = None
    _until_s: float = 0.0
    _back_since_s: float | None = None
    _before_s: float | None = None
    _raised: bool = False

    @property
    def gone_s(self) -> float:
        """How long nobody has been seen, as far as the picture could tell."""
        return 0.0 if self._since_s is None else self._until_s - self._since_s

    def update(self, reading: Reading) -> Finding | None:
        """The absence in progress."""
        now_s = reading.timestamp_s
        before_s, self._before_s = self._before_s, now_s
        if before_s is not None and now_s - before_s > self.max_gap_s:
            before_s = None
        if reading.present is False:
            self._gone(now_s, before_s)
        elif reading.present is True:
            self._came(now_s)
        elif not self._raised:
            self._since_s = None
        if self._since_s is None or not (self._raised or reached(self.gone_s, self.limits.after_s)):
            return None
        self._raised = True
        speed = reading.speed_kmh
        moving = speed is not None and speed >= self.limits.moving_kmh
        return Finding(
            track="absent",
            kind=Kind.ABSENT,
            level=self.levels.absent_moving if moving else self.levels.absent,
            since_s=self._since_s,
            until_s=self._until_s,
            evidence=AbsenceEvidence(gone_s=round(self.gone_s, 3)),
        )

    def _gone(self, now_s: float, before_s: float | None) -> None:
        if self._since_s is None:
            self._since_s = now_s if before_s is None else (before_s + now_s) / 2
        self._back_since_s = None
        self._until_s = now_s

    def _came(self, now_s: float) -> None:
        if self._since_s is None:
            return
        self._back_since_s = now_s if self._back_since_s is None else self._back_since_s
        if not self._raised or now_s - self._back_since_s >= self.limits.back_s - EPSILON_S:
            self._since_s, self._raised, self._back_since_s = None, False, None
