"""Recorded sources, every frame of them: a reader played at once or at its own pace.

The readers here are a folder of pictures and the animated driver; videos are in `video`.
"""

import re
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import structlog
from PIL import Image as Pillow
from PIL import UnidentifiedImageError

from monitor.camera.source import Scrutiny, Source, as_mounted, fit
from monitor.config import CameraConfig
from monitor.errors import ConfigError, SourceError
from monitor.settings import CONFIGS
from monitor.types import Frame, Image

log = structlog.get_logger(__name__)

PICTURES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
FOLDER_FPS = 10.0
ANIMATED_FPS = 30.0
ANIMATED_SIZE = (640, 480)
# A picture of 100 million pixels is either a mistake or a bomb; 8K has 33 million.
_MOST_PIXELS = 100_000_000
# What the animated driver does unless told otherwise.
DEMO_SCRIPT = CONFIGS / "drives" / "demo.txt"


class Reader(Protocol):
    """Where a recording's pictures come from."""

    duration_s: float | None
    notices: list[str]

    def pictures(self) -> Iterator[tuple[float, Image]]:
        """Times in seconds from 0.0, strictly growing, and BGR pictures; each call from the start.

        Raises:
            SourceError: nothing can be read.
        """


class RecordedSource(Source):
    """Plays a reader: every picture, at once or at its own pace, once or again and again."""

    live = False

    def __init__(
        self,
        reader: Reader,
        config: CameraConfig,
        clock: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self.camera = config.id
        self.duration_s = None if config.loop else reader.duration_s
        self._reader = reader
        self._config = config
        self._clock = clock
        self._wall = wall
        self._closed = threading.Event()
        self._noted: list[str] = []

    def __iter__(self) -> Iterator[Frame]:
        scrutiny = Scrutiny()
        started_s, started_at = self._clock(), self._wall()
        for index, (t_s, picture) in enumerate(self._played()):
            if self._config.realtime:
                self._closed.wait(max(started_s + t_s - self._clock(), 0.0))
            if self._closed.is_set():
                return
            image = as_mounted(picture, self._config)
            condition = scrutiny.judge(image, t_s)
            yield Frame(image, t_s, started_at + t_s, index, self.camera, condition)

    def close(self) -> None:
        """End the iteration before its next frame."""
        self._closed.set()

    def _played(self) -> Iterator[tuple[float, Image]]:
        offset_s, last_s, step_s = 0.0, 0.0, 0.0
        self._log_notices()
        while True:
            for t_s, picture in self._reader.pictures():
                step_s, last_s = t_s + offset_s - last_s, t_s + offset_s
                yield last_s, picture
            self._log_notices()
            if not self._config.loop:
                return
            offset_s = last_s + (step_s or 1 / FOLDER_FPS)

    def _log_notices(self) -> None:
        for notice in self._reader.notices:
            if notice not in self._noted:
                self._noted.append(notice)
                log.warning(notice, camera=self.camera)
        self.notice = "; ".join(self._noted) or None


class FolderReader:
    """Pictures of a folder in natural order (2 before 10), at a rate.

    Raises:
        SourceError: there is no picture in the folder.
    """

    def __init__(self, folder: Path, fps: float) -> None:
        self._folder = folder
        self._fps = fps
        self.notices: list[str] = []
        try:
            files = [p for p in folder.iterdir() if _is_picture(p)]
        except OSError as error:
            raise SourceError(f"{folder}: cannot be read ({error.strerror})") from None
        if not files:
            raise SourceError(f"{folder}: no picture in it; give a folder of jpg or png files")
        self._files = sorted(files, key=lambda p: _natural(p.name))
        self.duration_s: float | None = len(files) / fps

    def pictures(self) -> Iterator[tuple[float, Image]]:
        """Every readable picture; an unreadable one leaves a gap and is counted."""
        bad: list[str] = []
        for i, path in enumerate(self._files):
            try:
                yield i / self._fps, read_picture(path)
            except SourceError as error:
                bad.append(str(error))
                log.log(30 if len(bad) <= 3 else 10, "picture skipped", why=str(error))
        if len(bad) == len(self._files):
            raise SourceError(f"{self._folder}: none of its {len(bad)} pictures can be read")
        if bad:
            self.notices = [f"{len(bad)} of {len(self._files)} pictures skipped; first: {bad[0]}"]


def _is_picture(path: Path) -> bool:
    """By its name; `._0001.jpg` holds what macOS knows of a picture, not the picture."""
    return path.suffix.lower() in PICTURES and not path.name.startswith(".") and path.is_file()


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def read_picture(path: Path) -> Image:
    """One picture as BGR, no larger than needed.

    Raises:
        SourceError: missing, not a picture, damaged, or larger than 100 million pixels.
    """
    try:
        with Pillow.open(path) as header:
            width, height = header.size
    except UnidentifiedImageError:
        raise SourceError(f"{path}: is not a picture; give a jpg or png file") from None
    except Pillow.DecompressionBombError:
        width, height = _MOST_PIXELS, 2
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error.strerror or error})") from None
    if width * height > _MOST_PIXELS:
        raise SourceError(f"{path}: is too large; scale it below 100 million pixels")
    image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise SourceError(f"{path}: is damaged and cannot be decoded")
    return fit(np.asarray(image))


class AnimatedReader:
    """The animated driver, by script, at a steady rate.

    Raises:
        ConfigError: the drive script is wrong.
        SourceError: the portrait cannot be read or shows no face.
    """

    def __init__(self, config: CameraConfig) -> None:
        from models.synthesis import Portrait  # noqa: PLC0415 - of them
        from models.synthesis.drive import Drive, DriveError  # noqa: PLC0415 - half a second to import, as
        from models.synthesis.film import animate  # noqa: PLC0415 - the next two; a real camera needs none

        self.notices: list[str] = []
        script = config.script or DEMO_SCRIPT
        try:
            drive = Drive.load(script)
        except DriveError as error:
            raise ConfigError(str(error)) from None
        size = config.width_px or ANIMATED_SIZE[0], config.height_px or ANIMATED_SIZE[1]
        face = read_picture(config.portrait) if config.portrait else None
        try:
            portrait = Portrait(face, size=size)
        except ValueError as error:
            raise SourceError(f"{config.portrait}: {error}") from None
        self._film = partial(animate, portrait, drive, config.fps or ANIMATED_FPS)
        self.duration_s: float | None = drive.duration_s

    def pictures(self) -> Iterator[tuple[float, Image]]:
        """The drive from its start; the same pictures every time."""
        return self._film()
