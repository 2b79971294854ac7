"""Animated WebP, which FFmpeg cannot read: a film with times of its own, through Pillow."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from PIL import Image as Pillow
from PIL import ImageSequence, UnidentifiedImageError

from monitor.camera.source import fit
from monitor.types import Image

# A picture that is to be shown for no time is shown as browsers do.
_SHORTEST_MS, _INSTEAD_MS = 11, 100


def is_animation(path: Path) -> bool:
    """Whether a file is a WebP of more than one picture."""
    if path.suffix.lower() != ".webp":
        return False
    try:
        with Pillow.open(path) as opened:
            return opened.format == "WEBP" and getattr(opened, "n_frames", 1) > 1
    except (UnidentifiedImageError, OSError, Pillow.DecompressionBombError):
        return False


class AnimationReader:
    """An animated WebP, each picture at its own time.

    Args:
        path: the file, of which `is_animation` is true.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.notices: list[str] = []
        self.duration_s: float | None = None

    def pictures(self) -> Iterator[tuple[float, Image]]:
        """Every picture that can be decoded; a damaged rest ends in a notice."""
        shown_ms = 0
        with Pillow.open(self._path) as film:
            try:
                for picture in ImageSequence.Iterator(film):
                    pixels = np.asarray(picture.convert("RGB"))
                    yield shown_ms / 1000, fit(np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)))
                    lasts_ms = int(picture.info.get("duration", 0))
                    shown_ms += lasts_ms if lasts_ms >= _SHORTEST_MS else _INSTEAD_MS
            except (OSError, EOFError, SyntaxError) as error:
                end = f"it ends at {shown_ms / 1000:.2f} s ({error})"
                self.notices = [f"{self._path}: the file is cut short, {end}"]
