"""Yawns: a mouth wide open for longer than speech or laughter opens it. Corroborates, no more."""

from collections import deque
from dataclasses import dataclass, field

from monitor.engine.finding import EPSILON_S, Finding, reached
from monitor.policy.rules import LevelsPolicy, YawnPolicy
from monitor.types import Kind, Reading, YawnEvidence


@dataclass
class Yawn:
    """Mouth at `mar_ratio` of the own resting mouth, `min_s` to `max_s`; `count` in `window_s`."""

    limits: YawnPolicy
    levels: LevelsPolicy
    max_gap_s: float
    _since_s: float | None = None
    _until_s: float = 0.0
    _counted: bool = False
    _yawns: deque[float] = field(default_factory=deque)

    @property
    def recent(self) -> int:
        """Yawns within the window."""
        return len(self._yawns)

    def update(self, reading: Reading) -> Finding | None:
        """The yawn in progress; a covered mouth (unknown) neither begins nor ends it."""
        now_s = reading.timestamp_s
        while self._yawns and now_s - self._yawns[0] > self.limits.window_s:
            self._yawns.popleft()
        if reading.mouth is not None and reading.mouth >= self.limits.mar_ratio:
            if self._since_s is None:
                self._since_s, self._counted = now_s, False
            self._until_s = now_s
        elif self._since_s is not None and self._ended(reading):
            self._since_s = None
        return self._finding(now_s)

    def _ended(self, reading: Reading) -> bool:
        """A dip of speech is bridged; a hand before the mouth may stay until `max_s`."""
        now_s = reading.timestamp_s
        if reading.mouth is not None:
            return now_s - self._until_s > self.limits.bridge_s + EPSILON_S
        if self._counted:
            return self._since_s is not None and now_s - self._since_s > self.limits.max_s
        return now_s - self._until_s > max(self.limits.bridge_s, self.max_gap_s)

    def _finding(self, now_s: float) -> Finding | None:
        if self._since_s is None:
            return None
        open_s = self._until_s - self._since_s
        if not reached(open_s, self.limits.min_s) or open_s > self.limits.max_s:
            return None
        if not self._counted:
            self._counted = True
            self._yawns.append(now_s)
        often = self.recent >= self.limits.count
        return Finding(
            track="yawning",
            kind=Kind.YAWNING,
            level=self.levels.yawning_repeated if often else self.levels.yawning,
            since_s=self._since_s,
            until_s=self._until_s,
            evidence=YawnEvidence(
                open_s=round(open_s, 3), yawns=self.recent, window_s=self.limits.window_s
            ),
        )
