"""What every source of frames shares: the seam itself, the look at a picture, its largest size."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Self

import cv2
import numpy as np

from monitor.config import CameraConfig
from monitor.types import CameraCondition, Frame, Image

# A camera that repeats itself differs by 0.000, a live one by its noise (2.27).
FROZEN_AFTER_S = 2.0
_FROZEN_DIFFERENCE = 0.005
# Covered or black, over-exposed.
DARK_MEAN, DARK_STD = 8.0, 5.0
GLARE_MEAN = 247.0
# Larger pictures are scaled down: no face needs more, and memory stays bounded.
LARGEST_PX = 1920
_LOOK_PX = 160


class Source(ABC):
    """Frames of one camera: an iterator that is also a context manager.

    `Frame.timestamp_s` grows strictly. Recorded sources give every picture at its own time from
    0.0; live ones give the newest picture at its capture time, and a frame without picture once a
    second while the camera is lost.

    Attributes:
        camera: identifier of the camera.
        live: newest frame wins; the source never ends by itself.
        duration_s: length of a recording where it is known.
        notice: what was wrong with a recording, in one line, once it has been read.
    """

    camera: str
    live: bool
    duration_s: float | None = None
    notice: str | None = None

    @abstractmethod
    def __iter__(self) -> Iterator[Frame]:
        """The frames, until the end of a recording or `close`."""

    @abstractmethod
    def close(self) -> None:
        """Let the camera go and end the iteration, promptly, from any thread."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Scrutiny:
    """Says of each picture in turn whether it shows anything: dark, glare, frozen, or all right."""

    def __init__(self) -> None:
        self._reference: Image | None = None
        self._since_s = 0.0

    def judge(self, image: Image, timestamp_s: float) -> CameraCondition:
        """The condition of the next picture."""
        frozen = self._is_frozen(image, timestamp_s)
        step = max(max(image.shape[:2]) // _LOOK_PX, 1)
        grey = cv2.cvtColor(np.ascontiguousarray(image[::step, ::step]), cv2.COLOR_BGR2GRAY)
        mean, std = float(grey.mean()), float(grey.std())
        if mean < DARK_MEAN and std < DARK_STD:
            return CameraCondition.DARK
        if mean > GLARE_MEAN:
            return CameraCondition.GLARE
        return CameraCondition.FROZEN if frozen else CameraCondition.OK

    def _is_frozen(self, image: Image, timestamp_s: float) -> bool:
        """Compared with the first of the like pictures, so that slow change is no standstill."""
        reference = self._reference
        if reference is None or not _same(image, reference):
            self._reference, self._since_s = image, timestamp_s
            return False
        return timestamp_s - self._since_s >= FROZEN_AFTER_S - 1e-9


def _same(image: Image, other: Image) -> bool:
    if image.shape != other.shape:
        return False
    middle = image.shape[0] // 2
    # One row tells almost every live picture from the one before at no cost.
    if float(cv2.norm(image[middle], other[middle], cv2.NORM_L1)) > image[middle].size:
        return False
    return float(cv2.norm(image, other, cv2.NORM_L1)) < _FROZEN_DIFFERENCE * image.size


def fitting_size(width: int, height: int) -> tuple[int, int]:
    """The size a picture is scaled down to: its own, or at most `LARGEST_PX` on the longer side."""
    scale = min(LARGEST_PX / max(width, height, 1), 1.0)
    return max(round(width * scale), 1), max(round(height * scale), 1)


def fit(image: Image) -> Image:
    """The picture, scaled down if it is larger than any face needs."""
    height, width = image.shape[:2]
    size = fitting_size(width, height)
    if size == (width, height):
        return image
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA))


def as_mounted(image: Image, config: CameraConfig) -> Image:
    """The picture upright, as `rotate` and `mirrored` say how the camera hangs."""
    if config.rotate:
        image = np.rot90(image, -config.rotate // 90)
    if config.mirrored:
        image = image[:, ::-1]
    return np.ascontiguousarray(image)


# Beyond it a sample aspect is a mistake of the file, not a kind of picture.
_MOST_ASPECT = 4.0


def square_size(width: int, height: int, aspect: float) -> tuple[int, int]:
    """The size whose pixels are square, of one whose pixels are `aspect` times as wide as high.

    The shorter side of the pixel is stretched, so that nothing is lost.
    """
    if not 1 / _MOST_ASPECT <= aspect <= _MOST_ASPECT or aspect == 1:
        return width, height
    return (round(width * aspect), height) if aspect > 1 else (width, round(height / aspect))


def squared(image: Image, aspect: float) -> Image:
    """The picture with square pixels."""
    height, width = image.shape[:2]
    size = square_size(width, height, aspect)
    if size == (width, height):
        return image
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR))
