"""The one reader of picture files: pixels and size agree, and people are upright.

Cameras and phones write a picture as the sensor saw it and its turn beside it (EXIF orientation).
Labelling tools show the turned picture, so boxes are drawn on that. OpenCV obeys the turn in some
formats, Pillow in none: whoever takes the size from one and the pixels from the other moves every
box.
"""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

Pixels = NDArray[np.uint8]

PICTURES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
_EXIF_ORIENTATION = 0x0112
# EXIF's values; each is what sets the picture upright.
_UPRIGHT: dict[int, Callable[[Pixels], Pixels]] = {
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.swapaxes(0, 1),
    6: lambda image: np.rot90(image, -1),
    7: lambda image: np.rot90(image, 2).swapaxes(0, 1),
    8: lambda image: np.rot90(image, 1),
}
_UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError, ImportError)


class PictureError(ValueError):
    """A file is missing, no picture, or damaged."""


def picture_files(folder: Path) -> list[Path]:
    """The pictures directly in a folder, sorted; no hidden files, as `._0001.jpg` of macOS."""
    return sorted(path for path in folder.iterdir() if is_picture(path))


def is_picture(path: Path) -> bool:
    """By its name; hidden files are none."""
    return path.suffix.lower() in PICTURES and not path.name.startswith(".")


def is_litter(folder: Path) -> bool:
    """A folder that programs leave behind: `.ipynb_checkpoints`, `__MACOSX`, `__pycache__`."""
    return folder.name.startswith((".", "__"))


def upright_size(path: Path) -> tuple[int, int]:
    """(height, width) of the upright picture; its data is decoded, so that a damaged one is found.

    Raises:
        PictureError: not a readable picture.
    """
    try:
        with Image.open(path) as picture:
            picture.load()
            width, height = picture.size
            turned = picture.getexif().get(_EXIF_ORIENTATION, 1) >= 5
    except _UNREADABLE:
        # ImportError: ultralytics makes Pillow look for a HEIF plug-in when it knows no better
        raise PictureError(f"{path}: not a readable picture") from None
    return (width, height) if turned else (height, width)


def read_upright(path: Path) -> Pixels:
    """A picture as BGR (H, W, 3), upright.

    Raises:
        PictureError: not a readable picture.
    """
    try:
        with Image.open(path) as picture:
            orientation = picture.getexif().get(_EXIF_ORIENTATION, 1)
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        image = cv2.imdecode(np.fromfile(path, np.uint8), flags)
    except (*_UNREADABLE, UnidentifiedImageError, cv2.error):
        raise PictureError(f"{path}: not a readable picture") from None
    if image is None:
        raise PictureError(f"{path}: not a readable picture")
    pixels: Pixels = np.asarray(image, np.uint8)
    if orientation in _UPRIGHT:
        pixels = _UPRIGHT[orientation](pixels)
    return np.ascontiguousarray(pixels)
