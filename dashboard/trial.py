"""One picture, every model: what each of them makes of the same face. Nothing is kept.

The picture lives in this process's memory while the page is drawn. Its size in bytes and pixels
is checked before it is decoded.
"""

import io
import threading
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from PIL import Image as Pictures
from PIL import ImageOps, UnidentifiedImageError

from models.registry import ModelCard, shipped
from monitor.config import PerceptionConfig
from monitor.perception.adapters import AwakeDetector, ExpressionNet, EyeStateNet
from monitor.perception.expression import Framing, cut
from monitor.perception.face import Points, region_of_box
from monitor.perception.facemesh import FaceFinder, Landmarker
from monitor.types import Box, Image

MAX_BYTES: Final = 10_000_000
MAX_PIXELS: Final = 40_000_000
WORKING_PX: Final = 1280


class PictureError(ValueError):
    """A picture that cannot be looked at, told in one line."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What one model says: labels with probabilities, the most probable first."""

    model: str
    task: str
    shares: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Trial:
    """A face and what every model makes of it.

    Attributes:
        face: the crop that was shown to the classifiers, RGB; None when no face was found.
        answers: of every shipped model that could look.
    """

    face: Image | None
    answers: tuple[Answer, ...]


def decode(data: bytes) -> Image:
    """A picture from outside as BGR of at most `WORKING_PX`.

    Raises:
        PictureError: too large in bytes or pixels, damaged, or not a picture.
    """
    if len(data) > MAX_BYTES:
        raise PictureError(f"the picture has more than {MAX_BYTES // 1_000_000} MB")
    try:
        with Pictures.open(io.BytesIO(data), formats=("JPEG", "PNG", "WEBP", "BMP")) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise PictureError(
                    f"the picture has {picture.width} x {picture.height} pixels; "
                    f"at most {MAX_PIXELS // 1_000_000} million are looked at"
                )
            picture.draft("RGB", (WORKING_PX, WORKING_PX))
            upright = ImageOps.exif_transpose(picture).convert("RGB")
            upright.thumbnail((WORKING_PX, WORKING_PX))
    except (UnidentifiedImageError, OSError, ValueError, Pictures.DecompressionBombError) as error:
        if isinstance(error, PictureError):
            raise
        raise PictureError("this is not a picture that can be read (JPEG, PNG, WebP)") from None
    return np.ascontiguousarray(np.asarray(upright)[:, :, ::-1])


class Bench:
    """Every shipped model, opened once; one reader's picture after another's."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        config = PerceptionConfig(threads=1)
        self._finder, self._mesh = FaceFinder(), Landmarker()
        self._detectors = [AwakeDetector(card, config) for card in shipped("detection")]
        self._expressions = [ExpressionNet(card, config) for card in shipped("expression")]
        self._eyes = [EyeStateNet(card, config) for card in shipped("eyes")]

    @property
    def cards(self) -> list[ModelCard]:
        """Of every model that will be asked."""
        return [
            *(part.card for part in self._detectors),
            *(part.card for part in self._expressions),
            *(part.card for part in self._eyes),
        ]

    def look(self, image: Image) -> Trial:
        """Ask every model about the largest face of a BGR picture."""
        with self._turn:
            return self._look(image)

    def _look(self, image: Image) -> Trial:
        answers = [answer for part in self._detectors if (answer := _detected(part, image))]
        face = self._largest(image)
        if face is None:
            return Trial(None, tuple(answers))
        points = self._mesh(image, region_of_box(face))
        answers += [_expressed(part, image, face, points) for part in self._expressions]
        answers += self._eye_states(image, points)
        crop = cut(image, Framing(margin=0.1).square(face))
        return Trial(cv2.cvtColor(crop, cv2.COLOR_BGR2RGB), tuple(answers))

    def _eye_states(self, image: Image, points: Points | None) -> list[Answer]:
        if points is None:
            return []
        told = [(part.card.name, part(image, points)) for part in self._eyes]
        return [
            Answer(name, "eyes", (("eyes closed", closed), ("eyes open", 1 - closed)))
            for name, closed in told
            if closed is not None
        ]

    def _largest(self, image: Image) -> Box | None:
        faces = self._finder(image)
        return max(faces, key=lambda box: box.width_px * box.height_px, default=None)


def _detected(part: AwakeDetector, image: Image) -> Answer | None:
    found = max(part(image), key=lambda one: one.score, default=None)
    if found is None:
        return None
    pairs = (("awake", found.awake), ("sleep", found.sleep), ("yawn", found.yawn))
    known = tuple(pair for pair in pairs if pair[0] in part.card.labels)
    return Answer(part.card.name, "detection", known)


def _expressed(part: ExpressionNet, image: Image, face: Box, points: Points | None) -> Answer:
    seen = part(cut(image, part.framing.square(face, points)))
    return Answer(part.card.name, "expression", seen.probabilities)
