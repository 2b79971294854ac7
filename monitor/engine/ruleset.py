"""The rules of one policy, set up and run over each reading in order."""

from dataclasses import replace

from monitor.engine.finding import Finding
from monitor.engine.rules.absence import Absence
from monitor.engine.rules.closure import Closure, Rung
from monitor.engine.rules.degraded import Degraded, FrameRate
from monitor.engine.rules.distraction import Distraction, Look, LowArea, Sharing
from monitor.engine.rules.perclos import Band, Perclos, Timeline
from monitor.engine.rules.yawn import Yawn
from monitor.engine.signals.attention import Attention, Road
from monitor.engine.signals.fatigue import Fatigue
from monitor.engine.signals.nod import Nod
from monitor.policy import Policy
from monitor.policy.rules import Window
from monitor.types import Cause, Eyes, Kind, Reading


class Ladder:
    """Every rule of the policy, and what they know together."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._absence = _absence(policy)
        self._frames = FrameRate(policy.degraded.min_fps)
        self._degraded = _degraded(policy)
        self.forget_driver()

    def forget_driver(self) -> None:
        """Begin again with whoever sits down next."""
        policy = self._policy
        self._closure = _closure(policy)
        self._perclos = _perclos(policy)
        self._yawn = _yawn(policy)
        self._distraction = _distraction(policy)
        self._fatigue = Fatigue(policy.escalation.level_recovery_s)
        away = policy.distraction.away_deg
        self._road = Road(away.yaw, away.pitch_down, away.pitch_up, away.slack)
        self._attention = Attention(
            blink_s=policy.closure.hold_from_s,
            tolerance_s=policy.distraction.in_out_tolerance_s,
            max_gap_s=policy.max_gap_s,
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
        found = [
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
        return [finding for finding in found if finding is not None]

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


def _closure(policy: Policy) -> Closure:
    limits, levels = policy.closure, policy.levels
    rungs = [
        Rung(limits.microsleep_log_s, Kind.MICROSLEEP, levels.microsleep_logged),
        Rung(limits.microsleep_warn_s, Kind.MICROSLEEP, levels.microsleep),
        Rung(limits.microsleep_repeat_warn_s, Kind.MICROSLEEP, levels.microsleep),
        Rung(limits.sleep_s, Kind.SLEEP, levels.sleep),
        Rung(limits.unresponsive_s, Kind.UNRESPONSIVE, levels.unresponsive),
    ]
    return Closure(
        rungs=tuple(rungs),
        hold_from_s=limits.hold_from_s,
        hold_over_unknown_s=limits.hold_over_unknown_s,
        reopen_s=limits.reopen_s,
        reopen_decay=limits.reopen_decay,
        bridge_share=limits.bridge_share,
        max_gap_s=policy.max_gap_s,
        turned_deg=policy.eye.pose_gate_deg.yaw,
        nod=Nod(policy.nod.pitch_drop_deg, policy.nod.within_s, policy.nod.eyes_closed_s),
    )


def _perclos(policy: Policy) -> Perclos:
    rules, levels = policy.perclos, policy.levels
    first = rules.drowsy.all_of[0]
    bands = [Band("drowsy", levels.drowsy, tuple(_window(w) for w in rules.drowsy.all_of))]
    if rules.advisory is not None:
        bands.insert(0, Band("advisory", levels.drowsy_advisory, (_window(rules.advisory),)))
    if rules.severe is not None:
        bands.append(Band("severe", levels.drowsy_severe, (_window(rules.severe),)))
    keep_s = max(window_s for band in bands for window_s, _, _ in band.windows)
    return Perclos(
        bands=tuple(bands),
        exit_share=rules.drowsy.exit,
        window_s=first.window_s,
        min_observed_s=first.min_observed_s,
        timeline=Timeline(keep_s, policy.max_gap_s, rules.exclude_blink_shorter_s),
    )


def _window(window: Window) -> tuple[float, float, float]:
    return window.window_s, window.enter, window.min_observed_s


def _yawn(policy: Policy) -> Yawn:
    rules = policy.yawn
    return Yawn(
        ratio=rules.mar_ratio,
        min_s=rules.min_s,
        max_s=rules.max_s,
        bridge_s=rules.bridge_s,
        count=rules.count,
        window_s=rules.window_s,
        level=policy.levels.yawning,
        repeated_level=policy.levels.yawning_repeated,
        max_gap_s=policy.max_gap_s,
    )


def _distraction(policy: Policy) -> Distraction:
    rules = policy.distraction

    def look() -> Look:
        return Look(
            tolerance_s=rules.in_out_tolerance_s,
            hold_s=policy.closure.hold_over_unknown_s,
            max_gap_s=policy.max_gap_s,
        )

    return Distraction(
        long_s=rules.long.nominal_s,
        low_areas=tuple(
            LowArea(area.min_speed_kmh, area.max_s, area.low_deg) for area in rules.addw
        ),
        level=policy.levels.distraction,
        look=look(),
        low_look=look(),
        sharing=Sharing(
            cumulative_s=rules.vats.cumulative_s,
            window_s=rules.vats.window_s,
            reset_forward_s=rules.vats.reset_forward_s,
            adaptation_s=rules.vats.adaptation_s,
            max_gap_s=policy.max_gap_s,
        ),
    )


def _absence(policy: Policy) -> Absence:
    return Absence(
        after_s=policy.absence.after_s,
        back_s=policy.absence.back_s,
        moving_kmh=policy.absence.moving_kmh,
        level=policy.levels.absent,
        moving_level=policy.levels.absent_moving,
        max_gap_s=policy.max_gap_s,
    )


def _degraded(policy: Policy) -> list[Degraded]:
    rules, levels = policy.degraded, policy.levels
    return [
        Degraded(
            cause=Cause(name),
            after_s=after_s,
            clear_s=rules.clear_s,
            level=levels.degraded_minor if Cause(name) in rules.minor else levels.degraded,
        )
        for name, after_s in rules.after_s
    ]
