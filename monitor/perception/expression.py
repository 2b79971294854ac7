"""The driver's expression: read a few times a second, beside the frame loop, smoothed over time.

Expression is context, never an alarm, so it must not cost the watch a frame: the net runs on
threads of its own. From a live source a face is read when the net is free for it. In a recording
every due face is read, and its expression is told when the next but one is due: the same on every
machine, and still beside the loop.
"""

import math
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from monitor.perception.face import Points, eye_centre
from monitor.types import Box, Emotion, Image

# Time constant of the smoothing; a smile lasts longer, a blink of the classifier does not.
SMOOTHING_S = 1.0
# An expression not seen again for this long is no longer the driver's.
STALE_S = 3.0
# Of the crop over the face's longer side, however near to each other the eyes seem.
LEAST_SIDE = 1.1
# Of a recording: so many looks are under way before the first of them is waited for.
LOOKS_UNDER_WAY = 2
CLOSING_S = 2.0
# Capture times are sums of fractions: this near is due.
_TICK_S = 1e-4


@dataclass(frozen=True, slots=True)
class Framing:
    """How a face must sit in its crop: as in the pictures the net was trained on.

    Attributes:
        margin: share of the face's longer side added round its box, where nothing more is known.
        eyes_xy: where the middle between the eyes must lie, as shares of the crop.
        eyes_apart: distance of the eyes' centres as a share of the crop's width.
    """

    margin: float = 0.0
    eyes_xy: tuple[float, float] | None = None
    eyes_apart: float | None = None

    def square(self, face: Box, landmarks: Points | None = None) -> Box:
        """The square of the picture to cut out."""
        longest = max(face.width_px, face.height_px)
        if landmarks is None or self.eyes_xy is None or not self.eyes_apart:
            return _square(*face.centre, longest * (1 + 2 * self.margin))
        (x1, y1), (x2, y2) = (eye_centre(landmarks, side) for side in ("right", "left"))
        # A turned head's eyes come nearer to each other; its height stays.
        side = max(math.hypot(x2 - x1, y2 - y1) / self.eyes_apart, LEAST_SIDE * longest)
        across, down = self.eyes_xy
        x, y = (x1 + x2) / 2 + (0.5 - across) * side, (y1 + y2) / 2 + (0.5 - down) * side
        return _square(x, y, side)


def _square(x: float, y: float, side: float) -> Box:
    return Box(x - side / 2, y - side / 2, x + side / 2, y + side / 2)


class EmotionNet(Protocol):
    """Reads one face."""

    @property
    def framing(self) -> Framing:
        """How faces must be cut out for it."""

    @property
    def at_once(self) -> int:
        """How many threads may call it at the same time."""

    def __call__(self, crop: Image) -> Emotion:
        """The expression in an (h, w, 3) BGR crop, all labels with their probabilities."""


class ExpressionReader:
    """Reads expressions at its own rate.

    Args:
        net: what reads a face; only the reader's own threads call it.
        rate_hz: looks a second; 0 never looks.
        live: look again when the net is free, instead of waiting for it.
    """

    def __init__(self, net: EmotionNet, rate_hz: float, *, live: bool) -> None:
        self._net = net
        self._every_s = 1 / rate_hz if rate_hz > 0 else math.inf
        self._under_way = net.at_once if live else LOOKS_UNDER_WAY
        self._live = live
        self._due_s = -math.inf
        self._smoothed: _Smoothed | None = None
        self._error: Exception | None = None
        self._looks: deque[tuple[float, Future[Emotion]]] = deque()
        self._threads = ThreadPoolExecutor(net.at_once, thread_name_prefix="expression")

    def look(
        self, image: Image, face: Box, timestamp_s: float, landmarks: Points | None = None
    ) -> None:
        """Read this face if a look is due.

        Raises:
            Exception: what the net raised since the last look.
        """
        if timestamp_s < self._due_s - _TICK_S or math.isinf(self._every_s):
            return
        self._collect()
        if self._full:
            return
        # Counted from the last due time, so that the rate holds at any camera's; from now on after
        # a pause, so that nothing is made up for.
        behind = timestamp_s - self._due_s >= self._every_s
        self._due_s = (timestamp_s if behind else self._due_s) + self._every_s
        crop = cut(image, self._net.framing.square(face, landmarks)).copy()  # it is the camera's
        if crop.size:
            self._looks.append((timestamp_s, self._threads.submit(self._net, crop)))
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def latest(self, timestamp_s: float) -> Emotion | None:
        """The smoothed expression; None if none was read for some seconds."""
        if self._live:
            self._collect()
        smoothed = self._smoothed
        if smoothed is None or timestamp_s - smoothed.timestamp_s > STALE_S:
            return None
        return smoothed.emotion

    def close(self) -> None:
        """End the threads; a net that hangs must not keep the rest of the watch from ending."""
        self._threads.shutdown(wait=False)
        wait([read for _, read in self._looks], timeout=CLOSING_S)

    @property
    def _full(self) -> bool:
        return len(self._looks) >= self._under_way

    def _collect(self) -> None:
        """Take every look that is ready; in a recording, wait until another may begin."""
        while self._looks and (self._looks[0][1].done() if self._live else self._full):
            self._take()

    def _take(self) -> None:
        """Wait for the oldest look: in the order of the faces, whichever was read sooner."""
        timestamp_s, read = self._looks.popleft()
        try:
            self._smoothed = _Smoothed.after(self._smoothed, read.result(), timestamp_s)
        except Exception as failure:  # noqa: BLE001 - raised to the frame loop by the next look
            self._error = failure


class _Smoothed:
    """An exponential mean over time of every label's probability."""

    def __init__(
        self, labels: tuple[str, ...], shares: NDArray[np.float64], timestamp_s: float
    ) -> None:
        best = int(shares.argmax())
        pairs = tuple((label, float(p)) for label, p in zip(labels, shares, strict=True))
        self.shares = shares
        self.timestamp_s = timestamp_s
        self.emotion = Emotion(labels[best], min(float(shares[best]), 1.0), pairs)

    @classmethod
    def after(cls, last: "_Smoothed | None", seen: Emotion, timestamp_s: float) -> "_Smoothed":
        pairs = seen.probabilities or ((seen.label, seen.probability),)
        labels = tuple(label for label, _ in pairs)
        shares = np.array([p for _, p in pairs])
        if last is not None and len(last.shares) == len(shares):
            pause_s = max(timestamp_s - last.timestamp_s, 0.0)
            if pause_s <= STALE_S:
                shares = last.shares + (shares - last.shares) * -math.expm1(-pause_s / SMOOTHING_S)
        return cls(labels, shares, timestamp_s)


def cut(image: Image, square: Box) -> Image:
    """A part of the picture as a view; what lies outside of the picture is cut off."""
    height, width = image.shape[:2]
    left, right = (min(max(round(v), 0), width) for v in (square.x1, square.x2))
    top, bottom = (min(max(round(v), 0), height) for v in (square.y1, square.y2))
    return image[top:bottom, left:right]
