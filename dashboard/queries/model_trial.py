"""One picture, every model: what each of them makes of the same face. Nothing is kept.

The picture lives in this process's memory while the page is drawn. Its size in bytes and pixels
is checked before it is decoded.
"""

import io
import threading
from dataclasses import dataclass
from typing import Final

import numpy as np
from PIL import Image as Pictures
from PIL import ImageOps, UnidentifiedImageError

from models.registry import ModelCard, shipped
from monitor.config import PerceptionConfig
from monitor.perception.expression import Framing, cut
from monitor.perception.face import Points, region_of_box
from monitor.perception.facemesh import Landmarker, MediaPipeFaceFinder
from monitor.perception.networks import AwakeDetector, ExpressionNet, EyeStateNet
from monitor.types import Box, Image

MAX_BYTES: Final = 10_000_000
MAX_PIXELS: Final = 40_000_000
WORKING_PX: Final = 1280


class UploadError(ValueError):
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
        silent: the shipped models that had nothing to say, and why.
    """

    face: Image | None
    answers: tuple[Answer, ...]
    silent: tuple[tuple[str, str], ...] = ()


def decode(data: bytes) -> Image:
    """A picture from outside as BGR of at most `WORKING_PX`.

    Raises:
        UploadError: too large in bytes or pixels, damaged, or not a picture.
    """
    if len(data) > MAX_BYTES:
        raise UploadError(f"the picture has more than {MAX_BYTES // 1_000_000} MB")
    try:
        with Pictures.open(io.BytesIO(data), formats=("JPEG", "PNG", "WEBP", "BMP")) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise UploadError(
                    f"the picture has {picture.width} x {picture.height} pixels; "
                    f"at most {MAX_PIXELS // 1_000_000} million are looked at"
                )
            picture.draft("RGB", (WORKING_PX, WORKING_PX))
            upright = ImageOps.exif_transpose(_eight_bits(picture)).convert("RGB")
            upright.thumbnail((WORKING_PX, WORKING_PX))
    except (UnidentifiedImageError, OSError, ValueError, Pictures.DecompressionBombError) as error:
        if isinstance(error, UploadError):
            raise
        raise UploadError("this is not a picture that can be read (JPEG, PNG, WebP)") from None
    return np.ascontiguousarray(np.asarray(upright)[:, :, ::-1])


def _eight_bits(picture: Pictures.Image) -> Pictures.Image:
    """A grey picture of 16 bits would be cut at 255, that is, white."""
    if not picture.mode.startswith("I"):
        return picture
    return Pictures.fromarray((np.asarray(picture).clip(0, 65_535) // 256).astype(np.uint8))


class Bench:
    """Every shipped model, opened once; one reader's picture after another's."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        config = PerceptionConfig(threads=1)
        self._finder, self._mesh = MediaPipeFaceFinder(), Landmarker()
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
        seen = {part.card.name: _detected(part, image) for part in self._detectors}
        why = dict.fromkeys(seen, "it found no face")
        face = self._largest(image)
        points = None if face is None else self._mesh(image, region_of_box(face))
        for net in self._expressions:
            seen[net.card.name] = None if face is None else _expressed(net, image, face, points)
            why[net.card.name] = "there is no face to show it"
        for eyes in self._eyes:
            seen[eyes.card.name] = None if points is None else _eye_state(eyes, image, points)
            why[eyes.card.name] = "no eyes were found to show it"
        answers = tuple(answer for answer in seen.values() if answer)
        silent = tuple((name, why[name]) for name, answer in seen.items() if not answer)
        return Trial(None if face is None else _shown(image, face), answers, silent)

    def _largest(self, image: Image) -> Box | None:
        faces = self._finder(image)
        return max(faces, key=lambda box: box.width_px * box.height_px, default=None)


def _shown(image: Image, face: Box) -> Image:
    return np.ascontiguousarray(cut(image, Framing(margin=0.1).square(face))[:, :, ::-1])


def _eye_state(part: EyeStateNet, image: Image, points: Points) -> Answer | None:
    """The mean of the eyes that are wide enough; None where neither is."""
    eyes = [eye for eye in part(image, points) if eye is not None]
    if not eyes:
        return None
    states = {"open": "eyes open", "closed": "eyes closed", "lowered": "eyes lowered",
              "not_visible": "eyes not visible"}  # fmt: skip
    means = {name: sum(getattr(eye, name) for eye in eyes) / len(eyes) for name in states}
    return Answer(part.card.name, "eyes", tuple((states[name], p) for name, p in means.items()))


def _detected(part: AwakeDetector, image: Image) -> Answer | None:
    best = max(part(image), key=lambda one: one.score, default=None)
    if best is None:
        return None
    pairs = (("awake", best.awake), ("sleep", best.sleep), ("yawn", best.yawn))
    labelled = tuple(pair for pair in pairs if pair[0] in part.card.labels)
    return Answer(part.card.name, "detection", labelled)


def _expressed(part: ExpressionNet, image: Image, face: Box, points: Points | None) -> Answer:
    seen = part(cut(image, part.framing.square(face, points)))
    return Answer(part.card.name, "expression", seen.probabilities)
