"""Thresholds of the rules: when a closure, a look or an absence becomes what, and how urgent."""

from typing import Literal, Self

from pydantic import Field, model_validator

from monitor.config import Section
from monitor.policy.perception import Degrees, LevelName, Long, Share, Short, Speed, rising
from monitor.types import KINDS, Cause, Kind, Level


class PerclosWindow(Section):
    """A share of closed time over a window, valid once enough of it was observed."""

    window_s: Long = Field(60.0, gt=0)
    enter: Share
    min_observed_s: Long = 30.0

    @model_validator(mode="after")
    def _order(self) -> Self:
        if self.min_observed_s > self.window_s:
            raise ValueError(
                f"min_observed_s ({self.min_observed_s:g}) cannot exceed window_s "
                f"({self.window_s:g})"
            )
        return self


class Drowsy(Section):
    """Drowsiness proper: every window over its share; over when the first falls below `exit`."""

    all_of: tuple[PerclosWindow, ...] = Field(
        (
            PerclosWindow(window_s=60, enter=0.15, min_observed_s=30),
            PerclosWindow(window_s=180, enter=0.10, min_observed_s=90),
        ),
        min_length=1,
    )
    exit: Share = 0.075

    @model_validator(mode="after")
    def _order(self) -> Self:
        rising("", exit=self.exit, **{"all_of.0.enter": self.all_of[0].enter})
        return self


class PerclosPolicy(Section):
    """Share of observed time in which the eyes are closed, slow closures only."""

    exclude_blink_shorter_s: Short = 0.4
    advisory: PerclosWindow | None = PerclosWindow(window_s=60, enter=0.08, min_observed_s=30)
    drowsy: Drowsy = Drowsy()
    severe: PerclosWindow | None = PerclosWindow(window_s=60, enter=0.30, min_observed_s=30)

    @model_validator(mode="after")
    def _order(self) -> Self:
        if self.advisory is not None:
            rising("", **{"drowsy.exit": self.drowsy.exit, "advisory.enter": self.advisory.enter})
        if self.severe is not None:
            rising(
                "",
                **{
                    "drowsy.all_of.0.enter": self.drowsy.all_of[0].enter,
                    "severe.enter": self.severe.enter,
                },
            )
        return self


class Abandoned(Section):
    """An alert about a driver who is no longer there ends after this long without anybody."""

    standstill_s: Long = 10.0
    speed_unknown_s: Long = 120.0


class ClosurePolicy(Section):
    """One closure and its rungs."""

    hold_from_s: Short = 0.5
    microsleep_log_s: Short = 1.0
    microsleep_warn_s: Short = 1.5
    microsleep_repeat_warn_s: Short = 2.0
    sleep_s: Short = 3.0
    unresponsive_s: Short = 6.0
    hold_over_unknown_s: Short = 1.0
    reopen_s: Short = 0.25
    bridge_share: Share = 0.6
    reopen_decay: Share = 0.5

    @model_validator(mode="after")
    def _order(self) -> Self:
        if self.microsleep_warn_s < self.microsleep_log_s:
            raise ValueError(
                f"microsleep_warn_s ({self.microsleep_warn_s:g}) cannot come before "
                f"microsleep_log_s ({self.microsleep_log_s:g})"
            )
        rising(
            "",
            hold_from_s=self.hold_from_s,
            microsleep_log_s=self.microsleep_log_s,
            sleep_s=self.sleep_s,
            unresponsive_s=self.unresponsive_s,
        )
        rising(
            "",
            microsleep_warn_s=self.microsleep_warn_s,
            microsleep_repeat_warn_s=self.microsleep_repeat_warn_s,
            sleep_s=self.sleep_s,
        )
        return self


class YawnPolicy(Section):
    """Yawns corroborate."""

    mar_ratio: float = Field(1.4, gt=1, le=10)
    mar_abs: float = Field(0.6, gt=0, le=3)
    min_s: Short = 1.5
    max_s: Short = 12.0
    bridge_s: Short = 0.3
    count: int = Field(3, ge=1, le=100)
    window_s: Long = 600.0

    @model_validator(mode="after")
    def _order(self) -> Self:
        rising("", min_s=self.min_s, max_s=self.max_s)
        return self


class NodPolicy(Section):
    """A sudden drop of the head with the eyes closed: corroborates a closure."""

    pitch_drop_deg: Degrees = 15.0
    within_s: Short = 1.0
    eyes_closed_s: Short = 0.3


class Away(Section):
    """How far the head turns from neutral before the eyes are off the road."""

    yaw: Degrees = 16.0
    pitch_down: Degrees = 18.0
    pitch_up: Degrees = 18.0
    slack: Degrees = 3.0


class LongPolicy(Section):
    """One long look away."""

    nominal_s: Short = 3.0


class AddwPolicy(Section):
    """Gaze into the low area (EU 2023/2590 area 3) for longer than `max_s`."""

    min_speed_kmh: Speed
    max_s: Short
    low_deg: Degrees = 30.0


class VatsPolicy(Section):
    """Visual attention time sharing: repeated short looks away."""

    cumulative_s: Short = 10.0
    window_s: Short = 30.0
    reset_forward_s: Short = 2.0
    adaptation_s: Short = 0.1

    @model_validator(mode="after")
    def _order(self) -> Self:
        rising("", cumulative_s=self.cumulative_s, window_s=self.window_s)
        return self


class DistractionPolicy(Section):
    """Eyes off the road."""

    away_deg: Away = Away()
    long: LongPolicy = LongPolicy()
    addw: tuple[AddwPolicy, ...] = (
        AddwPolicy(min_speed_kmh=50, max_s=3.5),
        AddwPolicy(min_speed_kmh=20, max_s=6.0),
    )
    in_out_tolerance_s: Short = 0.2
    vats: VatsPolicy = VatsPolicy()


class AbsencePolicy(Section):
    """Nobody in the driver's place."""

    after_s: Short = 3.0
    back_s: Short = 0.5
    moving_kmh: Speed = 20.0


class MinSpeed(Section):
    """A rule may not rise over `info` while the vehicle is known to be slower."""

    min_speed_kmh: Speed


class Standstill(Section):
    """A standing vehicle."""

    below_kmh: Speed = 3.0
    max_level: LevelName = Level.INFO


class ActivationPolicy(Section):
    """From which speed a rule may raise its voice."""

    drowsiness: MinSpeed = MinSpeed(min_speed_kmh=50)
    closure: MinSpeed = MinSpeed(min_speed_kmh=5)
    distraction: MinSpeed = MinSpeed(min_speed_kmh=20)
    standstill: Standstill = Standstill()
    speed_unknown: Literal["assume_moving", "assume_standstill"] = "assume_moving"

    def min_speed_kmh(self, kind: Kind) -> float:
        """Below this an alert of `kind` may inform, not warn; 0 where any speed will do."""
        section = KINDS[kind].activation
        return 0.0 if section is None else float(getattr(self, section).min_speed_kmh)


class DegradedAfter(Section):
    """How long each cause must hold before it is raised; `absence` raises `no_face`."""

    camera_lost: Short = 1.0
    camera_frozen: Short = 0.5
    camera_turned: Short = 1.0
    obscured: Short = 2.0
    low_light: Short = 2.0
    glare: Short = 2.0
    low_fps: Short = 5.0
    eyes_not_visible: Short = 5.0
    multiple_faces: Short = 5.0
    uncalibrated: Short = 0.0
    model_error: Short = 1.0


class DegradedPolicy(Section):
    """When an impaired watch is raised; every time is within `notify_within_s`."""

    notify_within_s: Short = 10.0
    after_s: DegradedAfter = DegradedAfter()
    clear_s: Short = 1.0
    min_fps: float = Field(5.0, ge=0, le=60)
    minor: tuple[Cause, ...] = (Cause.LOW_FPS, Cause.MULTIPLE_FACES, Cause.UNCALIBRATED)

    def after(self, cause: Cause) -> float:
        """Seconds that `cause` must hold before it is raised."""
        return float(getattr(self.after_s, cause.value))

    @model_validator(mode="after")
    def _order(self) -> Self:
        for cause, seconds in self.after_s:
            if seconds > self.notify_within_s:
                raise ValueError(
                    f"after_s.{cause} ({seconds:g}) cannot exceed notify_within_s "
                    f"({self.notify_within_s:g})"
                )
        return self


class LevelsPolicy(Section):
    """What each finding is worth."""

    microsleep_logged: LevelName = Level.INFO
    microsleep: LevelName = Level.WARNING
    sleep: LevelName = Level.CRITICAL
    unresponsive: LevelName = Level.CRITICAL
    drowsy_advisory: LevelName = Level.INFO
    drowsy: LevelName = Level.CAUTION
    drowsy_severe: LevelName = Level.WARNING
    distraction: LevelName = Level.WARNING
    yawning: LevelName = Level.INFO
    yawning_repeated: LevelName = Level.CAUTION
    absent: LevelName = Level.CAUTION
    absent_moving: LevelName = Level.WARNING
    degraded: LevelName = Level.CAUTION
    degraded_minor: LevelName = Level.INFO

    @model_validator(mode="after")
    def _order(self) -> Self:
        if max(self.yawning, self.yawning_repeated) >= Level.WARNING:
            raise ValueError("yawning corroborates: its levels must stay below warning")
        for low, high in (
            ("microsleep_logged", "microsleep"),
            ("microsleep", "sleep"),
            ("sleep", "unresponsive"),
            ("drowsy_advisory", "drowsy"),
            ("drowsy", "drowsy_severe"),
        ):
            if getattr(self, low) > getattr(self, high):
                raise ValueError(f"{low} cannot be more urgent than {high}")
        return self


class LatchPolicy(Section):
    """An alert this urgent is released only by an attentive driver, never by a hidden one."""

    from_level: LevelName = Level.WARNING
    attentive_s: Short = 2.0


class ByLevel(Section):
    """Seconds for each level."""

    info: Long = 0.0
    caution: Long = 0.0
    warning: Long = 0.0
    critical: Long = 0.0

    def of(self, level: Level) -> float:
        """Seconds for `level`; 0 for `NONE`."""
        return float(getattr(self, level.name.lower(), 0.0))


class FleetNotice(Section):
    """So much critical in one drive is marked for the fleet."""

    terminal_count: int = Field(3, ge=1, le=1000)
    terminal_s: Long = 30.0


class EscalationPolicy(Section):
    """The life of an alert."""

    latch: LatchPolicy = LatchPolicy()
    cooldown_s: ByLevel = ByLevel(info=120, caution=60, warning=30, critical=0)
    cooldown_kinds: tuple[Kind, ...] = (Kind.DROWSY, Kind.YAWNING)
    repeat_s: ByLevel = ByLevel(warning=5, critical=2)
    level_recovery_s: Long = 60.0
    fleet_notice: FleetNotice = FleetNotice()

    @model_validator(mode="after")
    def _only_slow_states_cool_down(self) -> Self:
        for kind in self.cooldown_kinds:
            if not KINDS[kind].cools_down:
                raise ValueError(f"cooldown_kinds: {kind} must be told each time")
        return self
