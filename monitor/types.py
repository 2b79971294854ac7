"""What travels: a frame, what was measured on it, the driver's state, an event.

Everything here is frozen and validated at birth. Units stand in the names: `_s` seconds,
`_deg` degrees, `_px` pixels; probabilities and shares are 0..1. A quantity that was not
measured is `None`, never a default that looks like a measurement.

Two clocks travel side by side. `timestamp_s` is the monotonic capture time: every duration and
every rule uses it. `captured_at` is the wall clock (UTC epoch seconds) of the same instant: it is
written on events for people and never subtracted from anything.
"""

import math
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]


class Eyes(StrEnum):
    """Three-valued eye evidence. `UNKNOWN` starts nothing and ends nothing."""

    OPEN = "open"
    CLOSED = "closed"
    UNKNOWN = "unknown"


class Level(IntEnum):
    """How urgent it is. `NONE` is the attentive driver."""

    NONE = 0
    INFO = 1
    CAUTION = 2
    WARNING = 3
    CRITICAL = 4


class Kind(StrEnum):
    """What an event is about: the rungs of the ladder and what stands beside it."""

    DROWSY = "drowsy"  # PERCLOS
    MICROSLEEP = "microsleep"  # >= 1 s closed
    SLEEP = "sleep"  # >= 3 s closed
    UNRESPONSIVE = "unresponsive"  # >= 6 s closed, or no answer to a warning
    DISTRACTION = "distraction"  # one long look away, or VATS: 10 s in 30 s
    YAWNING = "yawning"  # corroborates, never alone a warning
    ABSENT = "absent"  # nobody in the driver's place
    DEGRADED = "degraded"  # the watch itself is impaired; the cause is in the evidence

    @property
    def family(self) -> str:
        """What one occasion is about while its kind climbs: the three closures are one."""
        closures = (Kind.MICROSLEEP, Kind.SLEEP, Kind.UNRESPONSIVE)
        return "closure" if self in closures else self.value


class Phase(StrEnum):
    """One event is told up to this often, always with the same id."""

    START = "start"
    UPDATE = "update"
    END = "end"


class Cause(StrEnum):
    """Why the watch is impaired."""

    CAMERA_LOST = "camera_lost"
    CAMERA_FROZEN = "camera_frozen"
    OBSCURED = "obscured"
    LOW_LIGHT = "low_light"
    GLARE = "glare"
    LOW_FPS = "low_fps"
    NO_FACE = "no_face"
    EYES_NOT_VISIBLE = "eyes_not_visible"
    MULTIPLE_FACES = "multiple_faces"
    UNCALIBRATED = "uncalibrated"
    MODEL_ERROR = "model_error"


class Command(StrEnum):
    """What a driver or an operator may ask of the watch while it runs."""

    ACKNOWLEDGE = "ack"
    RECALIBRATE = "calibrate"
    WARNINGS_ON = "warnings_on"
    WARNINGS_OFF = "warnings_off"  # mutes the chime; the watch, the log and MQTT go on


class CameraCondition(StrEnum):
    """What the source says of itself with every frame, or in place of one."""

    OK = "ok"
    LOST = "lost"
    FROZEN = "frozen"
    DARK = "dark"
    GLARE = "glare"


def _finite(owner: object, *names: str) -> None:
    for name in names:
        value = getattr(owner, name)
        if value is not None and not math.isfinite(value):
            raise ValueError(f"{type(owner).__name__}.{name} must be finite or None, got {value!r}")


def _share(owner: object, *names: str) -> None:
    for name in names:
        value = getattr(owner, name)
        if value is not None and not 0.0 <= value <= 1.0:
            raise ValueError(f"{type(owner).__name__}.{name} must lie in 0..1, got {value!r}")


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture of the driver, or the news that there is none.

    Attributes:
        image: (H, W, 3) uint8 BGR, or None when the camera gives no picture: a lost camera is
            told by frames without an image (one every second), so that the watch knows.
        timestamp_s: monotonic capture time in seconds; grows strictly within a source.
        captured_at: wall clock of the same instant, UTC epoch seconds.
        index: number of the frame since the source was opened.
        camera: identifier of the camera, `[A-Za-z0-9_-]{1,64}`.
        condition: what the source says of this picture.
        skipped: live frames dropped so far because a newer one had arrived.
    """

    image: Image | None
    timestamp_s: float
    captured_at: float
    index: int
    camera: str = "driver"
    condition: CameraCondition = CameraCondition.OK
    skipped: int = 0

    def __post_init__(self) -> None:
        _finite(self, "timestamp_s", "captured_at")
        if self.image is not None and (self.image.ndim != 3 or self.image.shape[2] != 3):
            raise ValueError(f"Frame.image must be (H, W, 3) BGR, got shape {self.image.shape}")


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in pixels of the whole picture, corners x1 < x2, y1 < y2."""

    x1: float
    y1: float
    x2: float
    y2: float

    def __post_init__(self) -> None:
        _finite(self, "x1", "y1", "x2", "y2")
        if self.x2 < self.x1 or self.y2 < self.y1:
            raise ValueError(f"Box corners out of order: {self}")

    @property
    def width_px(self) -> float:
        """Width in pixels."""
        return self.x2 - self.x1

    @property
    def height_px(self) -> float:
        """Height in pixels."""
        return self.y2 - self.y1

    @property
    def centre(self) -> tuple[float, float]:
        """Centre (x, y) in pixels."""
        return (self.x1 + self.x2) / 2, (self.y1 + self.y2) / 2

    def iou(self, other: "Box") -> float:
        """Intersection over union with `other`, 0..1."""
        width = min(self.x2, other.x2) - max(self.x1, other.x1)
        height = min(self.y2, other.y2) - max(self.y1, other.y1)
        if width <= 0 or height <= 0:
            return 0.0
        shared = width * height
        mine, theirs = self.width_px * self.height_px, other.width_px * other.height_px
        return shared / (mine + theirs - shared)


@dataclass(frozen=True, slots=True)
class HeadPose:
    """Head rotation in degrees, signs as COVESA VSS: yaw + left, pitch + up, roll + right.

    Left and right are the driver's own.
    """

    yaw_deg: float
    pitch_deg: float
    roll_deg: float

    def __post_init__(self) -> None:
        _finite(self, "yaw_deg", "pitch_deg", "roll_deg")


@dataclass(frozen=True, slots=True)
class Detection:
    """One face found by the awake/sleep detector: where, and the score of each class."""

    box: Box
    awake: float
    sleep: float
    yawn: float = 0.0

    def __post_init__(self) -> None:
        _share(self, "awake", "sleep", "yawn")

    @property
    def score(self) -> float:
        """The best class's score."""
        return max(self.awake, self.sleep, self.yawn)

    @property
    def label(self) -> str:
        """The best class: `awake`, `sleep` or `yawn`."""
        return max((self.awake, "awake"), (self.sleep, "sleep"), (self.yawn, "yawn"))[1]


@dataclass(frozen=True, slots=True)
class Emotion:
    """A smoothed facial expression: the best label, its probability, and all of them."""

    label: str
    probability: float
    probabilities: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        _share(self, "probability")


@dataclass(frozen=True, slots=True)
class Quality:
    """How much the picture can be trusted, measured on the face's crop or the whole picture.

    Attributes:
        brightness: mean grey value, 0..255.
        contrast: standard deviation of the grey values.
        sharpness: variance of the Laplacian of the face at a fixed width; None without a face.
        face_height_px: height of the face box; None without a face.
    """

    brightness: float
    contrast: float
    sharpness: float | None = None
    face_height_px: float | None = None

    def __post_init__(self) -> None:
        _finite(self, "brightness", "contrast", "sharpness", "face_height_px")


@dataclass(frozen=True, slots=True)
class Observation:
    """What was measured on one frame. No pixels: it is one JSON line of a trace.

    Attributes:
        timestamp_s, captured_at, index, camera, condition, skipped: the frame's own.
        size_px: (width, height) of the picture; None without one.
        face: the driver's face box; None when no driver's face was found.
        faces: how many faces were seen, the passenger's too.
        ear_left, ear_right: eye aspect ratio of the driver's own left and right eye
            (Soukupova & Cech 2016), None where not measured.
        closed: probability 0..1 that the eyes are closed by the eye-state network; None without
            one or where it could not look.
        mar: mouth aspect ratio.
        gaze_down: 0..1, how far the irises sit low in the eyes; None where not measured.
        lower_lid: how far the lower lids hang beneath the eyes' corners, in eye widths; raised by
            closing and not by looking down. None where not measured.
        pose: head pose.
        detection: the detector's face that is the driver's, if a detector is loaded.
        emotion: the latest smoothed expression.
        quality: of the picture.
        errors: names of the stages that failed on this frame; the rest still holds.
    """

    timestamp_s: float
    captured_at: float
    index: int = 0
    camera: str = "driver"
    condition: CameraCondition = CameraCondition.OK
    skipped: int = 0
    size_px: tuple[int, int] | None = None
    face: Box | None = None
    faces: int = 0
    ear_left: float | None = None
    ear_right: float | None = None
    closed: float | None = None
    mar: float | None = None
    gaze_down: float | None = None
    lower_lid: float | None = None
    pose: HeadPose | None = None
    detection: Detection | None = None
    emotion: Emotion | None = None
    quality: Quality | None = None
    errors: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _finite(self, "timestamp_s", "captured_at", "ear_left", "ear_right", "mar")
        _finite(self, "gaze_down", "lower_lid")
        _share(self, "closed")


@dataclass(frozen=True, slots=True)
class Reading:
    """An observation weighed against the driver's own baseline: what the rules see.

    Attributes:
        timestamp_s: monotonic capture time.
        captured_at: wall clock of the same instant, for writing on events only.
        present: a driver's face, or a detector's box in the driver's place; None when the
            picture says nothing (camera lost, frozen, dark, glare).
        eyes: open, closed or unknown.
        openness: eye opening as a share of the driver's own open eye, 0..1.5; None if unknown.
        confidence: 0..1, how sure `eyes` is; detector and landmarks at odds lower it.
        log_odds: of closed eyes, weighed over all that could see them; None if nothing could.
        pose: head pose relative to the driver's own neutral; None if unknown.
        mouth: MAR relative to the driver's own closed mouth; None if unknown.
        looking_down: eyes lowered to look down, told apart from closing; None if unknown.
        emotion: label of the smoothed expression, context only.
        camera: the source's word on the picture.
        causes: what impairs this very frame.
        speed_kmh: vehicle speed; None if no source tells.
    """

    timestamp_s: float
    captured_at: float
    present: bool | None = None
    eyes: Eyes = Eyes.UNKNOWN
    openness: float | None = None
    confidence: float = 0.0
    log_odds: float | None = None
    pose: HeadPose | None = None
    mouth: float | None = None
    looking_down: bool | None = None
    emotion: str | None = None
    camera: CameraCondition = CameraCondition.OK
    causes: frozenset[Cause] = frozenset()
    speed_kmh: float | None = None

    def __post_init__(self) -> None:
        _finite(self, "timestamp_s", "captured_at", "openness", "mouth", "speed_kmh")
        _share(self, "confidence")


@dataclass(frozen=True, slots=True)
class Calibration:
    """Where the driver's own baseline stands.

    Attributes:
        progress: 0..1 of the valid time needed.
        ready: the baseline is the driver's own, no longer the population's.
        ear_open: EAR of the open eye in use.
        mar_closed: MAR of the resting mouth in use.
        neutral: head pose of looking at the road.
        id: short hash of the baseline; written on every event.
        lower_lid_open: `Observation.lower_lid` of the open eye; None until seen.
    """

    progress: float
    ready: bool
    ear_open: float
    mar_closed: float
    neutral: HeadPose
    id: str
    lower_lid_open: float | None = None

    def __post_init__(self) -> None:
        _share(self, "progress")


@dataclass(frozen=True, slots=True)
class DriverState:
    """What is true of the driver now.

    Attributes:
        timestamp_s, captured_at: of the frame it was computed from.
        level: the most urgent of the open alerts.
        kind: what that alert is about; None when attentive.
        eyes, openness, pose, emotion: from the reading.
        closure_s: how long the eyes have been closed, held over unknown; 0 when open.
        perclos: share of observed time with closed eyes over the policy's first window; None
            until enough was observed.
        coverage: share of that window's time in which the eyes were observed, 0..1.
        fatigue: 0..100, a project convention (docs), never called KSS.
        distraction: 0..100, a project convention.
        eyes_on_road: None if unknown.
        degraded: causes told at this moment, most important first.
        calibration: of the driver's baseline.
        open_alerts: ids of the events now open.
        speed_kmh: as told by the vehicle; None without.
    """

    timestamp_s: float
    captured_at: float
    level: Level = Level.NONE
    kind: Kind | None = None
    eyes: Eyes = Eyes.UNKNOWN
    openness: float | None = None
    closure_s: float = 0.0
    perclos: float | None = None
    coverage: float = 0.0
    fatigue: float | None = None
    distraction: float | None = None
    eyes_on_road: bool | None = None
    pose: HeadPose | None = None
    emotion: str | None = None
    degraded: tuple[Cause, ...] = ()
    calibration: Calibration | None = None
    open_alerts: tuple[str, ...] = ()
    speed_kmh: float | None = None

    def __post_init__(self) -> None:
        _share(self, "perclos", "coverage")

    @property
    def monitored(self) -> bool:
        """The driver's eyes are being watched: nothing impairs it."""
        return not self.degraded


@dataclass(frozen=True, slots=True)
class Event:
    """Something worth telling. Told at its start, when it changes, and at its end.

    Attributes:
        id: deterministic (UUIDv5 of drive, kind and start); the same in every phase.
        kind, phase, level: what, where in its life, how urgent now.
        started_at, at: wall clock of its start and of this telling, UTC epoch seconds. Both come
            from one wall-clock anchor and monotonic differences, so a clock step cannot make an
            event end before it began.
        started_s, at_s: the same two instants on the monotonic capture clock.
        drive: identifier of the drive (one run of the process).
        camera: which camera saw it.
        acknowledged: the driver answered.
        evidence: numbers and words that made it: JSON-ready values only.
        policy, calibration, models: provenance: policy hash, calibration id, model ids.
    """

    id: str
    kind: Kind
    phase: Phase
    level: Level
    started_at: float
    at: float
    started_s: float
    at_s: float
    drive: str
    camera: str = "driver"
    acknowledged: bool = False
    evidence: dict[str, Any] = field(default_factory=dict)
    policy: str = ""
    calibration: str = ""
    models: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _finite(self, "started_at", "at", "started_s", "at_s")
        if self.at_s < self.started_s:
            raise ValueError(f"Event {self.id} told at {self.at_s} before its start")

    @property
    def duration_s(self) -> float:
        """From the start to this telling, on the monotonic clock."""
        return self.at_s - self.started_s
