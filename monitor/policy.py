"""The policy: every threshold of the watch, in seconds, in one validated and versioned file.

`configs/policy/default.yaml` carries each figure with its source; the schema here holds the same
values as defaults, so that a file of one's own need name only what differs. The hash is taken over
the complete effective content, so two policies that decide alike are told apart only by their id.
"""

import difflib
import hashlib
import itertools
import json
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from monitor.config import Identifier, Section, explain
from monitor.errors import ConfigError
from monitor.types import Cause, Kind, Level


def _level(value: Any) -> Any:
    if isinstance(value, str) and value.upper() in Level.__members__:
        return Level[value.upper()]
    if isinstance(value, Level):
        return value
    raise ValueError(f"must be one of {', '.join(name.lower() for name in Level.__members__)}")


def _seconds(value: float) -> float:
    if value > 120:
        raise ValueError("is in seconds and at most 120: was it meant in milliseconds?")
    return value


def _share(value: float) -> float:
    if value > 1:
        raise ValueError("is a share of 0..1: was it meant in percent?")
    return value


LevelName = Annotated[
    Level,
    BeforeValidator(_level),
    PlainSerializer(lambda level: level.name.lower(), return_type=str),
    WithJsonSchema({"enum": [name.lower() for name in Level.__members__]}),
]
Short = Annotated[float, Field(ge=0, allow_inf_nan=False), AfterValidator(_seconds)]
Long = Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, allow_inf_nan=False), AfterValidator(_share)]
Degrees = Annotated[float, Field(ge=0, le=90, allow_inf_nan=False)]
Speed = Annotated[float, Field(ge=0, le=300, allow_inf_nan=False)]


def _rising(where: str, **values: float) -> None:
    """Refuse thresholds out of order, naming the two that clash."""
    pairs = list(values.items())
    for (low, a), (high, b) in itertools.pairwise(pairs):
        if not a < b:
            raise ValueError(f"{where}{low} ({a:g}) must be less than {high} ({b:g})")


class Neutral(Section):
    """Head pose of looking at the road before the driver's own has been learned."""

    yaw_deg: float = Field(0.0, ge=-90, le=90)
    pitch_deg: float = Field(0.0, ge=-90, le=90)


class CalibrationPolicy(Section):
    """How the driver's own baseline is learned."""

    min_valid_s: Long = 60.0
    max_learning_s: Long = 300.0
    min_speed_kmh: Speed = 20.0
    provisional_s: Short = 2.0
    pose_provisional_s: Short = 20.0
    quantile: Share = 0.60
    neutral: Neutral = Neutral()
    step_share: Share = 0.12
    step_hold_s: Short = 30.0


class Openness(Section):
    """Shares of the driver's own open eye."""

    deep: Share = 0.20
    closed_enter: Share = 0.30
    closed_exit: Share = 0.40

    @model_validator(mode="after")
    def _order(self) -> Self:
        _rising("", deep=self.deep, closed_enter=self.closed_enter, closed_exit=self.closed_exit)
        return self


class PoseGate(Section):
    """Turned further than this from neutral, the lids cannot be judged."""

    yaw: Degrees = 25.0
    pitch_down: Degrees = 20.0
    pitch_up: Degrees = 25.0


class EyePolicy(Section):
    """The eye's own measures."""

    calibration: CalibrationPolicy = CalibrationPolicy()
    population_ear_open: float = Field(0.257, gt=0.05, lt=0.6)
    closed_ratio: Share = 0.15
    closed_ratio_per_deg_down: float = Field(0.02, ge=0, le=0.05)
    lids_down_deg: Degrees = 12.0
    openness: Openness = Openness()
    pose_gate_deg: PoseGate = PoseGate()


class Weights(Section):
    """How much each witness of the eyes' state counts."""

    landmarks: float = Field(1.0, ge=0, le=10)
    eye_net: float = Field(2.0, ge=0, le=10)
    detector: float = Field(1.0, ge=0, le=10)


class LookingDown(Section):
    """Lids lowered to look down, told apart from lids that close."""

    pitch_change_deg: Degrees = 5.0
    within_s: Short = 1.0
    gaze_down: Share = 0.60
    lower_lid: Share = 0.72
    lower_lid_least: Share = 0.66
    doubt: Share = 0.25

    @model_validator(mode="after")
    def _order(self) -> Self:
        _rising("", lower_lid_least=self.lower_lid_least, lower_lid=self.lower_lid)
        return self


class EvidencePolicy(Section):
    """How the witnesses are weighed."""

    weights: Weights = Weights()
    detector_min_score: Share = 0.25
    detector_alone: Share = 0.5
    looking_down: LookingDown = LookingDown()


class QualityPolicy(Section):
    """Below this a picture says nothing about the eyes."""

    min_brightness: float = Field(18.0, ge=0, le=255)
    max_brightness: float = Field(238.0, ge=0, le=255)
    obscured_brightness: float = Field(4.0, ge=0, le=255)
    min_contrast: float = Field(6.0, ge=0, le=255)
    min_sharpness: float = Field(4.0, ge=0)
    min_face_height_px: float = Field(48.0, ge=0, le=4320)

    @model_validator(mode="after")
    def _order(self) -> Self:
        _rising(
            "",
            obscured_brightness=self.obscured_brightness,
            min_brightness=self.min_brightness,
            max_brightness=self.max_brightness,
        )
        return self


class Window(Section):
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

    all_of: tuple[Window, ...] = Field(
        (
            Window(window_s=60, enter=0.15, min_observed_s=30),
            Window(window_s=180, enter=0.10, min_observed_s=90),
        ),
        min_length=1,
    )
    exit: Share = 0.075

    @model_validator(mode="after")
    def _order(self) -> Self:
        _rising("", exit=self.exit, **{"all_of.0.enter": self.all_of[0].enter})
        return self


class PerclosPolicy(Section):
    """Share of observed time in which the eyes are closed, slow closures only."""

    exclude_blink_shorter_s: Short = 0.4
    advisory: Window | None = Window(window_s=60, enter=0.08, min_observed_s=30)
    drowsy: Drowsy = Drowsy()
    severe: Window | None = Window(window_s=60, enter=0.30, min_observed_s=30)

    @model_validator(mode="after")
    def _order(self) -> Self:
        if self.advisory is not None:
            _rising("", **{"drowsy.exit": self.drowsy.exit, "advisory.enter": self.advisory.enter})
        if self.severe is not None:
            _rising(
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
        _rising(
            "",
            hold_from_s=self.hold_from_s,
            microsleep_log_s=self.microsleep_log_s,
            sleep_s=self.sleep_s,
            unresponsive_s=self.unresponsive_s,
        )
        _rising(
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
        _rising("", min_s=self.min_s, max_s=self.max_s)
        return self


class NodPolicy(Section):
    """A sudden drop of the head with the eyes closed: corroborates a closure."""

    pitch_drop_deg: Degrees = 15.0
    within_s: Short = 1.0
    eyes_closed_s: Short = 0.3


class Away(Section):
    """How far the head turns from neutral before the eyes are off the road."""

    yaw: Degrees = 23.0
    pitch_down: Degrees = 18.0
    pitch_up: Degrees = 18.0
    slack: Degrees = 3.0


class LongPolicy(Section):
    """One long look away."""

    nominal_s: Short = 3.0
    min_speed_kmh: Speed = 20.0


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
        _rising("", cumulative_s=self.cumulative_s, window_s=self.window_s)
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


class DegradedAfter(Section):
    """How long each cause must hold before it is told; `absence` tells `no_face`."""

    camera_lost: Short = 1.0
    camera_frozen: Short = 0.5
    obscured: Short = 2.0
    low_light: Short = 2.0
    glare: Short = 2.0
    low_fps: Short = 5.0
    eyes_not_visible: Short = 5.0
    multiple_faces: Short = 5.0
    uncalibrated: Short = 0.0
    model_error: Short = 1.0


class DegradedPolicy(Section):
    """When an impaired watch is told; every time is within `notify_within_s`."""

    notify_within_s: Short = 10.0
    after_s: DegradedAfter = DegradedAfter()
    clear_s: Short = 1.0
    min_fps: float = Field(5.0, ge=0, le=60)
    minor: tuple[Cause, ...] = (Cause.LOW_FPS, Cause.MULTIPLE_FACES, Cause.UNCALIBRATED)

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
    def _each_act_is_told(self) -> Self:
        told = {Kind.MICROSLEEP, Kind.SLEEP, Kind.UNRESPONSIVE, Kind.DEGRADED, Kind.ABSENT}
        muted = told.intersection(self.cooldown_kinds)
        if muted:
            raise ValueError(f"cooldown_kinds: {min(muted)} must be told each time")
        return self


class Policy(Section):
    """Every threshold of the watch; see `configs/policy/default.yaml` for the sources."""

    id: Identifier = "default"
    max_gap_s: Short = 0.5
    eye: EyePolicy = EyePolicy()
    evidence: EvidencePolicy = EvidencePolicy()
    quality: QualityPolicy = QualityPolicy()
    perclos: PerclosPolicy = PerclosPolicy()
    closure: ClosurePolicy = ClosurePolicy()
    unresponsive_after_warning_s: Short = 3.0
    abandoned: Abandoned = Abandoned()
    yawn: YawnPolicy = YawnPolicy()
    nod: NodPolicy = NodPolicy()
    distraction: DistractionPolicy = DistractionPolicy()
    absence: AbsencePolicy = AbsencePolicy()
    activation: ActivationPolicy = ActivationPolicy()
    degraded: DegradedPolicy = DegradedPolicy()
    levels: LevelsPolicy = LevelsPolicy()
    escalation: EscalationPolicy = EscalationPolicy()

    @model_validator(mode="after")
    def _told_in_time(self) -> Self:
        if self.absence.after_s > self.degraded.notify_within_s:
            raise ValueError(
                f"absence.after_s ({self.absence.after_s:g}) cannot exceed "
                f"degraded.notify_within_s ({self.degraded.notify_within_s:g})"
            )
        return self

    @cached_property
    def hash(self) -> str:
        """First 12 hex digits of the sha256 of the effective content: written on every event."""
        content = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(content.encode()).hexdigest()[:12]

    def to_yaml(self) -> str:
        """The complete effective policy; `load_policy` reads it back to the same hash."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, width=100)


def policy_folder() -> Path:
    """Where the built-in policies lie: inside the wheel, or at the root of a checkout."""
    here = Path(__file__).parent
    packaged = here / "configs" / "policy"
    return packaged if packaged.is_dir() else here.parent / "configs" / "policy"


def built_in() -> tuple[str, ...]:
    """Names of the policies that ship with the package."""
    return tuple(sorted(path.stem for path in policy_folder().glob("*.yaml")))


def load_policy(name_or_path: str) -> Policy:
    """A built-in policy by name, or one of your own by its file.

    Raises:
        ConfigError: no such policy, an unreadable file, broken YAML, an unknown key, a wrong unit
            or thresholds out of order: one line a fault.
    """
    path = _find(name_or_path)
    values = _read(path)
    try:
        return Policy.model_validate(values)
    except ValidationError as error:
        raise ConfigError(explain(error, Policy, str(path))) from None


def _find(name_or_path: str) -> Path:
    if name_or_path in built_in():
        return policy_folder() / f"{name_or_path}.yaml"
    path = Path(name_or_path).expanduser()
    if path.suffix in {".yaml", ".yml"} or path.is_file():
        return path
    near = difflib.get_close_matches(name_or_path, built_in(), n=1, cutoff=0.5)
    hint = f"did you mean `{near[0]}`?" if near else f"built in: {', '.join(built_in())}"
    raise ConfigError(f"policy: no policy named {name_or_path!r}; {hint} (or give a .yaml file)")


def _read(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read ({error.strerror}); give --policy a name or a YAML file"
        ) from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not UTF-8 text; a policy is a YAML file") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        problem = getattr(error, "problem", None) or "not YAML"
        raise ConfigError(f"{path}: {place}broken YAML ({problem})") from None
    if not isinstance(values, dict):
        found = "nothing" if values is None else type(values).__name__
        raise ConfigError(f"{path}: a policy is a mapping of thresholds, got {found}")
    return values
