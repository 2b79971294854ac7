"""Live sources: a camera or a stream, captured on its own thread; the newest frame wins.

A lost camera is told by frames without a picture, at once and then every second, and tried again
after 1, 2, 4 … 30 s for ever. The iteration never waits for a hung driver: a stream silent for
`read_timeout_s` is lost whether or not its `read` has come back.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Protocol
from urllib.parse import urlsplit

import cv2
import numpy as np
import structlog

from monitor.camera.source import Scrutiny, Source, fit
from monitor.config import CameraConfig
from monitor.errors import SourceError
from monitor.types import CameraCondition, Frame, Image

log = structlog.get_logger(__name__)

LOST_EVERY_S = 1.0
# A flapping camera must not flood the log (fault matrix 14).
LOG_EVERY_S = 30.0


class Capture(Protocol):
    """An open camera."""

    def read(self) -> Image | None:
        """The next picture, BGR; None when the camera has gone or fell silent."""

    def close(self) -> None:
        """Let it go."""


class LiveSource(Source):
    """Frames of a camera that may come and go.

    Args:
        open_capture: opens the camera; raises SourceError or OSError while there is none.
        config: time-outs, back-off, identifier.
        clock, wall: monotonic capture clock and UTC epoch clock, seconds.
        lost_every_s: how often a camera that stays lost is told.
    """

    live = True

    def __init__(
        self,
        open_capture: Callable[[], Capture],
        config: CameraConfig,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        *,
        lost_every_s: float = LOST_EVERY_S,
    ) -> None:
        self.camera = config.id
        self._lost_every_s = lost_every_s
        self._open_capture = open_capture
        self._config = config
        self._clock = clock
        self._wall = wall
        self._closed = threading.Event()
        self._news = threading.Condition()
        self._newest: tuple[Image, float, float] | None = None
        self._lost = False
        self._skipped = 0
        self._complaints = _Complaints(config.id, clock)
        self._thread = threading.Thread(
            target=self._capture, name=f"camera {config.id}", daemon=True
        )
        self._thread.start()

    def __iter__(self) -> Iterator[Frame]:
        scrutiny = Scrutiny()
        index, last_s, lost = 0, float("-inf"), False
        patience_s = self._config.open_timeout_s + self._config.read_timeout_s
        while not self._closed.is_set():
            taken = self._next(patience_s, told_lost=lost)
            if self._closed.is_set():
                return
            image, timestamp_s, captured_at = taken or (None, self._clock(), self._wall())
            timestamp_s = max(timestamp_s, float(np.nextafter(last_s, np.inf)))
            lost = image is None
            if image is None:
                condition, scrutiny = CameraCondition.LOST, Scrutiny()
                patience_s = self._lost_every_s
            else:
                condition = scrutiny.judge(image, timestamp_s)
                patience_s = self._config.read_timeout_s
            yield Frame(
                image, timestamp_s, captured_at, index, self.camera, condition, self._skipped
            )
            index, last_s = index + 1, timestamp_s

    def close(self) -> None:
        """End the iteration at once; the capture thread follows when its driver lets it."""
        self._closed.set()
        with self._news:
            self._news.notify_all()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout=0.5)

    def _next(self, patience_s: float, *, told_lost: bool) -> tuple[Image, float, float] | None:
        """The newest picture; None when the camera is lost or silent for `patience_s`."""
        with self._news:
            self._news.wait_for(
                lambda: (
                    self._newest is not None
                    or self._closed.is_set()
                    or (self._lost and not told_lost)
                ),
                patience_s,
            )
            taken, self._newest = self._newest, None
            return taken

    def _capture(self) -> None:
        """The thread: open, read until it fails, wait, again."""
        waits = pauses(*self._config.retry_s)
        while not self._closed.is_set():
            if self._read_until_lost():
                waits = pauses(*self._config.retry_s)
            with self._news:
                self._lost = True
                self._news.notify_all()
            self._closed.wait(next(waits))

    def _read_until_lost(self) -> bool:
        """True if there was at least one picture."""
        seen = False
        try:
            capture = self._open_capture()
        except (SourceError, OSError) as error:
            self._complaints.lost(str(error))
            return seen
        with contextlib.closing(capture):
            while not self._closed.is_set():
                image = capture.read()
                if image is None:
                    self._complaints.lost("no more pictures came")
                    return seen
                if not seen:
                    seen = True
                    self._complaints.found()
                self._offer(fit(image))
        return seen

    def _offer(self, image: Image) -> None:
        if self._config.mirrored:
            image = np.ascontiguousarray(image[:, ::-1])
        with self._news:
            self._skipped += self._newest is not None
            self._newest = image, self._clock(), self._wall()
            self._lost = False
            self._news.notify_all()


def pauses(first_s: float, longest_s: float) -> Iterator[float]:
    """How long to wait before each new try: doubling up to the longest, for ever."""
    pause_s = first_s
    while True:
        yield pause_s
        # A pause of zero would spin; it may begin so, it may not stay so.
        pause_s = min(max(2 * pause_s, 0.05), max(longest_s, 0.05))


class _Complaints:
    """Lost and found in the log, at most so often."""

    def __init__(self, camera: str, clock: Callable[[], float]) -> None:
        self._camera = camera
        self._clock = clock
        self._told_s = float("-inf")
        self._untold = 0

    def lost(self, why: str) -> None:
        now_s = self._clock()
        if now_s - self._told_s < LOG_EVERY_S:
            self._untold += 1
            return
        log.warning("camera lost; trying again", camera=self._camera, why=why, untold=self._untold)
        self._told_s, self._untold = now_s, 0

    def found(self) -> None:
        log.info("camera found", camera=self._camera)


class CvCapture:
    """A device or a URL through OpenCV, with open and read time-outs.

    Raises:
        SourceError: it cannot be opened.
    """

    def __init__(self, config: CameraConfig) -> None:
        _quieten()
        device = device_index(config.source)
        timeouts = [
            cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
            round(config.open_timeout_s * 1000),
            cv2.CAP_PROP_READ_TIMEOUT_MSEC,
            round(config.read_timeout_s * 1000),
        ]
        if device is None:
            self._capture = cv2.VideoCapture(config.source, cv2.CAP_FFMPEG, timeouts)
        else:
            self._capture = cv2.VideoCapture(device)
        if not self._capture.isOpened():
            self._capture.release()
            raise SourceError(f"{redacted(config.source)}: cannot be opened")
        if device is not None:
            self._ask(config)

    def _ask(self, config: CameraConfig) -> None:
        """Ask the device for size and rate; what it refuses it keeps."""
        for prop, value in (
            (cv2.CAP_PROP_FRAME_WIDTH, config.width_px),
            (cv2.CAP_PROP_FRAME_HEIGHT, config.height_px),
            (cv2.CAP_PROP_FPS, config.fps),
            (cv2.CAP_PROP_BUFFERSIZE, 1),
        ):
            if value is not None:
                self._capture.set(prop, value)

    def read(self) -> Image | None:
        """The next picture; None after the read time-out or at the stream's end."""
        try:
            ok, image = self._capture.read()
        except cv2.error:
            return None
        if not ok or image is None:
            return None
        return np.asarray(image if image.ndim == 3 else cv2.cvtColor(image, cv2.COLOR_GRAY2BGR))

    def close(self) -> None:
        """Release the device or the connection."""
        self._capture.release()


def device_index(source: str) -> int | None:
    """The index of a device (`0`, `/dev/video0`), or None for anything else."""
    number = source.removeprefix("/dev/video")
    return int(number) if number.isascii() and number.isdigit() and len(number) < 6 else None


def redacted(url: str) -> str:
    """A URL without its password, for messages and logs."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    return url.replace(f":{parts.password}@", ":***@", 1)


def _quieten() -> None:
    """OpenCV and its FFmpeg write their own lines to standard error; ours say it once."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    # V4L2 waits 10 s for an unplugged device by default.
    os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", "3")
    cv2.setLogLevel(0)
