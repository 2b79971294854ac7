"""Live sources: a camera or a stream, captured on its own thread; the newest frame wins.

A lost camera shows as frames without a picture, at once and then every second, and tried again
after 1, 2, 4 … 30 s for ever. The iteration never waits for a hung driver: a stream silent for
`read_timeout_s` is lost whether or not its `read` has come back.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import structlog

from monitor.addresses import escaped, redacted
from monitor.backoff import Backoff
from monitor.camera.source import Scrutiny, Source, as_mounted, fit, squared
from monitor.config import CameraConfig
from monitor.errors import SourceError
from monitor.types import CameraCondition, Frame, Image

log = structlog.get_logger(__name__)

LOST_EVERY_S = 1.0
# A flapping camera must not flood the log.
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
            taken = self._next(patience_s, knows_lost=lost)
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

    def _next(self, patience_s: float, *, knows_lost: bool) -> tuple[Image, float, float] | None:
        """The newest picture; None when the camera is lost or silent for `patience_s`."""
        with self._news:
            self._news.wait_for(
                lambda: (
                    self._newest is not None
                    or self._closed.is_set()
                    or (self._lost and not knows_lost)
                ),
                patience_s,
            )
            taken, self._newest = self._newest, None
            return taken

    def _capture(self) -> None:
        """The thread: open, read until it fails, wait, again."""
        backoff = Backoff(*self._config.retry_s, scatter=0)
        while not self._closed.is_set():
            if self._read_until_lost():
                backoff.reset()
            with self._news:
                self._lost = True
                self._news.notify_all()
            self._closed.wait(backoff.next_s())

    def _read_until_lost(self) -> bool:
        """True if there was at least one picture.

        Nothing that a driver, a library or a picture does may end the thread: the camera is then
        lost, and tried again.
        """
        seen = False
        try:
            with contextlib.closing(self._open_capture()) as capture:
                while not self._closed.is_set():
                    image = capture.read()
                    if image is None:
                        self._complaints.lost("no more pictures came")
                        return seen
                    self._offer(as_mounted(fit(image), self._config))
                    if not seen:
                        seen = True
                        self._complaints.back()
        except (SourceError, OSError) as error:
            self._complaints.lost(redacted(str(error)))
        except Exception as error:  # noqa: BLE001 - see above
            self._complaints.lost(redacted(f"{type(error).__name__}: {error}"))
        return seen

    def _offer(self, image: Image) -> None:
        with self._news:
            self._skipped += self._newest is not None
            self._newest = image, self._clock(), self._wall()
            self._lost = False
            self._news.notify_all()


class _Complaints:
    """Lost and found in the log, at most so often."""

    def __init__(self, camera: str, clock: Callable[[], float]) -> None:
        self._camera = camera
        self._clock = clock
        self._logged_s = float("-inf")
        self._unlogged = 0

    def lost(self, why: str) -> None:
        now_s = self._clock()
        if now_s - self._logged_s < LOG_EVERY_S:
            self._unlogged += 1
            return
        fault = {"camera": self._camera, "why": why, "unlogged": self._unlogged}
        log.warning("camera lost; trying again", **fault)
        self._logged_s, self._unlogged = now_s, 0

    def back(self) -> None:
        log.info("camera found", camera=self._camera)


class CvCapture:
    """A device or a URL through OpenCV, with open and read time-outs.

    Raises:
        SourceError: it cannot be opened.
    """

    def __init__(self, config: CameraConfig) -> None:
        _quieten()
        timeouts = [
            cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
            round(config.open_timeout_s * 1000),
            cv2.CAP_PROP_READ_TIMEOUT_MSEC,
            round(config.read_timeout_s * 1000),
        ]
        is_device = names_device(config.source)
        if is_device:
            self._capture = cv2.VideoCapture(_device_index(config.source))
        else:
            self._capture = cv2.VideoCapture(escaped(config.source), cv2.CAP_FFMPEG, timeouts)
        if not self._capture.isOpened():
            self._capture.release()
            raise SourceError(f"{redacted(config.source)}: cannot be opened")
        if is_device:
            self._ask(config)
        self._aspect = config.pixel_aspect

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
        if self._aspect is None:  # known once the first picture is there
            self._aspect = self._said_aspect()
        image = image if image.ndim == 3 else cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
        return squared(np.asarray(image), self._aspect)

    def _said_aspect(self) -> float:
        """Width of a pixel over its height, as the stream says."""
        num = self._capture.get(cv2.CAP_PROP_SAR_NUM)
        den = self._capture.get(cv2.CAP_PROP_SAR_DEN)
        return num / den if num > 0 and den > 0 else 1.0

    def close(self) -> None:
        """Release the device or the connection."""
        self._capture.release()


def names_device(source: str) -> bool:
    """Whether a source is a capture device: `0`, `/dev/video0`, `/dev/v4l/by-id/...`."""
    return source.startswith("/dev/") or _number(source) is not None


def _device_index(source: str) -> int:
    """OpenCV's index of a device; a link of udev's is followed anew at every opening.

    Raises:
        SourceError: there is no such device now, or it is no video device.
    """
    number = _number(source)
    if number is not None:
        return number
    real = Path(source).resolve()
    index = _number(str(real)) if real.exists() else None
    if index is None:
        why = "is no video device" if real.exists() else "no such device"
        raise SourceError(f"{source}: {why}; `v4l2-ctl --list-devices` names those there are")
    return index


def _number(source: str) -> int | None:
    number = source.removeprefix("/dev/video")
    return int(number) if number.isascii() and number.isdigit() and len(number) < 6 else None


def _quieten() -> None:
    """OpenCV and its FFmpeg write their own lines to standard error; ours say it once."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    # V4L2 waits 10 s for an unplugged device by default.
    os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", "3")
    cv2.setLogLevel(0)
