"""Recorded sources, every frame of them: video, GIF, folder of pictures, the animated driver."""

import re
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Protocol

import av
import cv2
import numpy as np
import structlog
from PIL import Image as Pillow
from PIL import UnidentifiedImageError

from monitor.camera.source import Scrutiny, Source, fit, fitting_size
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
# FFmpeg takes text for a terminal recording and lists for other files and addresses.
_NOT_RECORDINGS = frozenset({"tty", "concat", "hls", "dash", "sdp", "lavfi", "imf", "alias_pix"})
_MOST_BAD_PACKETS = 500
# What the animated driver does unless told otherwise.
DEMO_SCRIPT = CONFIGS / "drives" / "demo.txt"


class Reader(Protocol):
    """Where a recording's pictures come from."""

    duration_s: float | None
    notice: str | None

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

    def __iter__(self) -> Iterator[Frame]:
        scrutiny = Scrutiny()
        started_s, started_at = self._clock(), self._wall()
        for index, (t_s, picture) in enumerate(self._played()):
            if self._config.realtime:
                self._closed.wait(max(started_s + t_s - self._clock(), 0.0))
            if self._closed.is_set():
                return
            image = np.ascontiguousarray(picture[:, ::-1]) if self._config.mirrored else picture
            condition = scrutiny.judge(image, t_s)
            yield Frame(image, t_s, started_at + t_s, index, self.camera, condition)

    def close(self) -> None:
        """End the iteration before its next frame."""
        self._closed.set()

    def _played(self) -> Iterator[tuple[float, Image]]:
        offset_s, last_s, step_s = 0.0, 0.0, 0.0
        while True:
            for t_s, picture in self._reader.pictures():
                step_s, last_s = t_s + offset_s - last_s, t_s + offset_s
                yield last_s, picture
            self._tell_notice()
            if not self._config.loop:
                return
            offset_s = last_s + (step_s or 1 / FOLDER_FPS)

    def _tell_notice(self) -> None:
        if self._reader.notice is not None and self.notice is None:
            self.notice = self._reader.notice
            log.warning(self.notice, camera=self.camera)


class VideoReader:
    """A video file or GIF through FFmpeg, at its own presentation times.

    Raises:
        SourceError: empty, not a video, without an index, or no picture in it can be decoded.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.notice: str | None = None
        self.duration_s: float | None = None
        if path.stat().st_size == 0:
            raise SourceError(f"{path}: is empty; give a video with pictures in it")
        with self._open() as container:
            self.duration_s = _duration_s(container)
            if next(self._decoded(container), None) is None:
                raise SourceError(f"{path}: no picture in it can be decoded; the file is damaged")
        self.notice = None

    def _open(self) -> av.container.InputContainer:
        try:
            # Nothing but this file: a playlist must not open others, let alone addresses.
            container = av.open(str(self._path), options={"protocol_whitelist": "file"})
        except (av.error.FFmpegError, ValueError, OSError) as error:
            why = getattr(error, "strerror", None) or str(error)
            raise SourceError(
                f"{self._path}: cannot be read as a video ({why}); give an mp4, mkv, avi or GIF "
                "that was written to its end"
            ) from None
        kind = set(container.format.name.split(","))
        if kind & _NOT_RECORDINGS or not container.streams.video:
            container.close()
            raise SourceError(f"{self._path}: holds no video; give an mp4, mkv, avi or GIF")
        return container

    def pictures(self) -> Iterator[tuple[float, Image]]:
        """Every picture that can be decoded; a cut or damaged rest ends in a notice."""
        first_s: float | None = None
        last_s = -1.0
        with self._open() as container:
            rate = container.streams.video[0].average_rate or 25
            for frame in self._decoded(container):
                t_s = frame.time if frame.time is not None else max(last_s, 0.0) + 1 / float(rate)
                first_s = t_s if first_s is None else first_s
                t_s -= first_s
                if t_s <= last_s:  # broken time stamps
                    t_s = last_s + 1e-3
                last_s = t_s
                yield t_s, _bgr(frame)
        self._note_if_cut(last_s)

    def _decoded(self, container: av.container.InputContainer) -> Iterator[av.VideoFrame]:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        bad = 0
        packets = container.demux(stream)
        while bad < _MOST_BAD_PACKETS:
            try:
                frames = next(packets).decode()
            except StopIteration:
                break
            except (av.error.FFmpegError, OSError):
                bad += 1
                continue
            yield from frames
        if bad:
            self.notice = f"{self._path}: {bad} damaged pieces were skipped"

    def _note_if_cut(self, last_s: float) -> None:
        # Half a second covers the last frame's own duration at 2 fps and audio that runs on.
        if self.duration_s is not None and last_s < self.duration_s - 0.5:
            self.notice = (
                f"{self._path}: the file is cut short, it ends at {last_s:.2f} s of "
                f"{self.duration_s:.2f} s"
            )


def _duration_s(container: av.container.InputContainer) -> float | None:
    """Length of the pictures; the container's own may be that of a longer sound track."""
    stream = container.streams.video[0]
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return container.duration / av.time_base if container.duration else None


def _bgr(frame: av.VideoFrame) -> Image:
    """A decoded frame as BGR, no larger than needed, upright."""
    width, height = fitting_size(frame.width, frame.height)
    image = frame.reformat(width=width, height=height, format="bgr24").to_ndarray()
    turns = round(frame.rotation / 90) % 4  # as phones write it: degrees counter-clockwise
    return np.ascontiguousarray(np.rot90(image, turns)) if turns else np.asarray(image)


class FolderReader:
    """Pictures of a folder in natural order (2 before 10), at a rate.

    Raises:
        SourceError: there is no picture in the folder.
    """

    def __init__(self, folder: Path, fps: float) -> None:
        self._folder = folder
        self._fps = fps
        self.notice: str | None = None
        try:
            files = [p for p in folder.iterdir() if p.suffix.lower() in PICTURES and p.is_file()]
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
            self.notice = f"{len(bad)} of {len(self._files)} pictures skipped; first: {bad[0]}"


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

    notice: str | None = None

    def __init__(self, config: CameraConfig) -> None:
        from models.synthesis import Portrait  # noqa: PLC0415 - of them
        from models.synthesis.drive import Drive, DriveError  # noqa: PLC0415 - half a second to import, as
        from models.synthesis.film import animate  # noqa: PLC0415 - the next two; a real camera needs none

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
