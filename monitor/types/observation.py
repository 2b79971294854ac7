"""One picture, and what was measured on it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitor.types.checks import finite, share
from monitor.types.terms import CameraCondition

Image = NDArray[np.uint8]


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
        finite(self, "timestamp_s", "captured_at")
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
        finite(self, "x1", "y1", "x2", "y2")
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
        finite(self, "yaw_deg", "pitch_deg", "roll_deg")


@dataclass(frozen=True, slots=True)
class Detection:
    """One face found by the awake/sleep detector: where, and the score of each class."""

    box: Box
    awake: float
    sleep: float
    yawn: float = 0.0

    def __post_init__(self) -> None:
        share(self, "awake", "sleep", "yawn")

    @property
    def score(self) -> float:
        """The best class's score."""
        return max(self.awake, self.sleep, self.yawn)

    @property
    def label(self) -> str:
        """The best class: `awake`, `sleep` or `yawn`."""
        return max((self.awake, "awake"), (self.sleep, "sleep"), (self.yawn, "yawn"))[1]


# Beyond it an eye says nothing: what the fusion leaves out, too.
_HIDDEN = 0.65


@dataclass(frozen=True, slots=True)
class EyeProbabilities:
    """What the eye-state network says of one eye; the four sum to 1.

    Attributes:
        open: the eye is open, squinting included.
        closed: the lids are shut.
        lowered: the eye looks down, its lid low; not asleep.
        not_visible: behind an opaque lens, a hand, hair or glare, turned out of sight, or
            outside the picture.
    """

    open: float
    closed: float
    lowered: float
    not_visible: float

    def __post_init__(self) -> None:
        share(self, "open", "closed", "lowered", "not_visible")
        total = self.open + self.closed + self.lowered + self.not_visible
        if abs(total - 1) > 1e-3:
            raise ValueError(f"EyeProbabilities must sum to 1, got {total!r}")

    @property
    def hidden(self) -> bool:
        """Too likely not seen for its lids and iris to be more than the mesh's guess."""
        return self.not_visible > _HIDDEN


@dataclass(frozen=True, slots=True)
class Emotion:
    """A smoothed facial expression: the best label, its probability, and all of them."""

    label: str
    probability: float
    probabilities: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        share(self, "probability")


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
        finite(self, "brightness", "contrast", "sharpness", "face_height_px")


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
        eye_left, eye_right: the eye-state network on the driver's own left and right eye; None
            without a network or a face mesh, or where the eye is too few pixels wide.
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
    eye_left: EyeProbabilities | None = None
    eye_right: EyeProbabilities | None = None
    mar: float | None = None
    gaze_down: float | None = None
    lower_lid: float | None = None
    pose: HeadPose | None = None
    detection: Detection | None = None
    emotion: Emotion | None = None
    quality: Quality | None = None
    errors: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        finite(self, "timestamp_s", "captured_at", "ear_left", "ear_right", "mar")
        finite(self, "gaze_down", "lower_lid")
