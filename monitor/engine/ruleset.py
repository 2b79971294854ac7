"""The rules of one policy, run over each reading in order."""

from dataclasses import replace

from monitor.engine.finding import Finding
from monitor.engine.rules.absence import Absence
from monitor.engine.rules.closure import Closure
from monitor.engine.rules.degraded import Degraded
from monitor.engine.rules.distraction import Distraction
from monitor.engine.rules.perclos import Perclos
from monitor.engine.rules.yawn import Yawn
from monitor.engine.signals.attention import AttentionTime, Road
from monitor.engine.signals.fatigue import Fatigue
from monitor.engine.signals.frame_rate import FrameRate
from monitor.policy import Policy
from monitor.types import Cause, Eyes, Reading


class Ruleset:
    """Every rule, each with its section of the policy, and the signals that several share."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._absence = Absence(policy.absence, policy.levels, policy.max_gap_s)
        self._degraded = [
            Degraded(Cause(name), policy.degraded, policy.levels)
            for name, _ in policy.degraded.after_s
        ]
        self._frames = FrameRate(policy.degraded.min_fps)
        self.forget_driver()

    def forget_driver(self) -> None:
        """Begin again with whoever sits down next."""
        policy = self._policy
        levels, max_gap_s = policy.levels, policy.max_gap_s
        self._closure = Closure(
            policy.closure,
            levels,
            policy.nod,
            max_gap_s=max_gap_s,
            turned_deg=policy.distraction.away_deg.yaw,
        )
        self._perclos = Perclos(policy.perclos, levels, max_gap_s)
        self._yawn = Yawn(policy.yawn, levels, max_gap_s)
        self._distraction = Distraction(
            policy.distraction,
            levels,
            hold_s=policy.closure.hold_over_unknown_s,
            max_gap_s=max_gap_s,
        )
        self._fatigue = Fatigue(policy.escalation.level_recovery_s)
        away = policy.distraction.away_deg
        self._road = Road(away.yaw, away.pitch_down, away.pitch_up, away.slack)
        self._attention = AttentionTime(
            blink_s=policy.closure.hold_from_s,
            tolerance_s=policy.distraction.in_out_tolerance_s,
            max_gap_s=max_gap_s,
        )
        self.fatigue: float | None = None
        self.eyes_on_road: bool | None = None

    def update(self, reading: Reading) -> list[Finding]:
        """What the rules find in this reading."""
        if self._frames.update(reading):
            reading = replace(reading, causes=reading.causes | {Cause.LOW_FPS})
        on_road = self._road.update(reading)
        self._attention.update(reading, on_road)
        away = None if on_road is None else not on_road
        findings = [
            self._closure.update(reading),
            self._perclos.update(reading),
            self._distraction.update(reading, away),
            self._yawn.update(reading),
            self._absence.update(reading),
            *(rule.update(reading) for rule in self._degraded),
        ]
        self.fatigue = self._fatigue.update(
            reading, self._perclos.perclos, self._closure.closed_s, self._yawn.recent
        )
        self.eyes_on_road = _on_road(reading.eyes, on_road)
        return [finding for finding in findings if finding is not None]

    @property
    def closed_s(self) -> float:
        """How long the eyes have been closed, held over the unknown."""
        return self._closure.closed_s

    @property
    def perclos(self) -> float | None:
        """Share of observed time with closed eyes; None until enough was observed."""
        return self._perclos.perclos

    @property
    def coverage(self) -> float:
        """Share of the PERCLOS window in which the eyes were observed."""
        return self._perclos.coverage

    @property
    def distraction(self) -> float | None:
        """0..100: how near the driver is to the nearest limit; None when nobody can tell."""
        if self.eyes_on_road is None and self._distraction.strength == 0:
            return None
        return round(100 * self._distraction.strength, 1)

    @property
    def attentive_s(self) -> float:
        """Seconds of open eyes on the road, up to now."""
        return self._attention.attentive_s

    @property
    def answered_s(self) -> float:
        """When the driver was last seen attentive, monotonic."""
        return self._attention.answered_s

    @property
    def gone_s(self) -> float:
        """How long nobody has been seen."""
        return self._absence.gone_s


def _on_road(eyes: Eyes, on_road: bool | None) -> bool | None:
    if eyes is Eyes.CLOSED or on_road is False:
        return False
    return True if eyes is Eyes.OPEN and on_road else None
