"""Frames that need no look: they show what the last look saw.

A look costs the mesh, the eye network and the measures. A driver who sits still is looked at some
fifteen times a second; the frames between are compared with the last look, a few hundred pixels
round the eyes, and looked at all the same where these have changed, so that lids that begin to
close are seen on the frame on which they do.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from monitor.perception.face import EYES, Points
from monitor.types import Box, CameraCondition, Frame, Image, Observation

# Nobody in view for this long is looked for at `LOST_HZ`: who comes back is seen that much later.
LOST_S, LOST_HZ = 1.0, 10.0
# Eyes and brows as (width, height) pixels, each the mean of many of the picture's.
_EYES_SIZE = (32, 12)
# Of the eyes' own contrast. On four clips of people (2,237 pairs of frames) the aspect ratio of
# 349 pairs changed by 0.035 or more, a tenth of a lid's way, and some place by more than this in 9
# of 10 of them; of 0.06 or more, all 220 by 0.65 at least.
MOVED = 0.4
# Added to the contrast in grey values, for flat pictures.
_FLAT = 4.0
# Capture times are sums of fractions: this near is due.
_TICK_S = 1e-4


@dataclass(frozen=True, slots=True)
class _Look:
    """The last look: what it gave and what the eyes looked like."""

    observation: Observation
    eyes: Box | None
    pixels: NDArray[np.float32] | None


class Rest:
    """Decides for each frame whether the last look still holds.

    Args:
        still_hz: looks a second while nothing moves.
    """

    def __init__(self, still_hz: float) -> None:
        self._still_s = 1 / still_hz
        self._last: _Look | None = None
        self._seen_s = float("-inf")

    def still(self, frame: Frame, image: Image) -> Observation | None:
        """The last look's observation where it holds for this frame, else None: look."""
        last = self._last
        if last is None or frame.condition is not CameraCondition.OK:
            return None
        if last.observation.size_px != (image.shape[1], image.shape[0]):
            return None
        since_s = frame.timestamp_s - last.observation.timestamp_s
        if last.eyes is None or last.pixels is None:
            lost = frame.timestamp_s - self._seen_s > LOST_S
            return last.observation if lost and 0 <= since_s < 1 / LOST_HZ - _TICK_S else None
        if not 0 <= since_s < self._still_s - _TICK_S:
            return None
        pixels = _pixels(image, last.eyes)
        return None if _changed(last.pixels, pixels) else last.observation

    def looked(self, observation: Observation, image: Image, landmarks: Points | None) -> None:
        """Remember a look."""
        if observation.errors or observation.condition is not CameraCondition.OK:
            self._last = None
            return
        eyes = None if landmarks is None else _box_of_eyes(landmarks, image)
        if eyes is not None:
            self._seen_s = observation.timestamp_s
        self._last = _Look(observation, eyes, None if eyes is None else _pixels(image, eyes))

    def forget(self) -> None:
        """Look at the next frame whatever it shows."""
        self._last = None


def _box_of_eyes(landmarks: Points, image: Image) -> Box | None:
    """Both eyes with brows and upper cheeks, within the picture."""
    points = landmarks[EYES["right"] + EYES["left"], :2]
    (x1, y1), (x2, y2) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    room = 0.12 * (x2 - x1)
    height, width = image.shape[:2]
    left, right = max(x1 - room, 0), min(x2 + room, width)
    top, bottom = max(y1 - room, 0), min(y2 + room, height)
    return Box(left, top, right, bottom) if right - left >= 8 and bottom - top >= 4 else None


def _pixels(image: Image, eyes: Box) -> NDArray[np.float32]:
    crop = image[int(eyes.y1) : int(eyes.y2), int(eyes.x1) : int(eyes.x2)]
    small = cv2.resize(crop, _EYES_SIZE, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY), np.float32)


def _changed(before: NDArray[np.float32], now: NDArray[np.float32]) -> bool:
    """Some place near the eyes looks otherwise; what all of it does is the light."""
    change = now - before
    change -= change.mean()
    # A moving lid changes a few neighbouring pixels alike, noise does not.
    near = cv2.blur(change, (3, 3))
    return bool(np.abs(near).max() > MOVED * (float(before.std()) + _FLAT))
