"""What the watch sees, drawn on the picture: for `wakeful run --show` and the contact sheet."""

import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from monitor.errors import SourceError
from monitor.perception.face import EYES
from monitor.sinks.base import Sink, Step
from monitor.types import Box, DriverState, Emotion, Eyes, Image, Level, Observation

# BGR. EU 2021/1341 3.4.3 advises against red/green, yellow/blue, yellow/red and red/violet side
# by side: calm is white, the rungs go from light blue over amber to magenta-free deep orange.
COLOURS: dict[Level, tuple[int, int, int]] = {
    Level.NONE: (235, 235, 235),
    Level.INFO: (230, 190, 120),
    Level.CAUTION: (70, 190, 250),
    Level.WARNING: (30, 130, 250),
    Level.CRITICAL: (40, 60, 235),
}
EYE_WORDS = {Eyes.OPEN: "eyes open", Eyes.CLOSED: "EYES CLOSED", Eyes.UNKNOWN: "eyes not seen"}
FONT = cv2.FONT_HERSHEY_SIMPLEX
WHITE, DARK = (245, 245, 245), (20, 20, 20)
QUIT = "q quits"
RATE_OVER = 30  # frames that the rate on the picture is a mean of

Points = NDArray[np.float32] | None


def draw(
    image: Image, observation: Observation, state: DriverState, landmarks: Points = None,
    note: str = "",
) -> Image:  # fmt: skip
    """A copy of `image` (H, W, 3) BGR with the face, its expression, the eyes and the state on it.

    Args:
        image: the picture the observation was made on.
        observation, state: what was measured and what is true.
        landmarks: (478, 2 or 3) mesh in pixels, of which the lids are drawn; None draws none.
        note: for the right of the banner: frame rate, keys.
    """
    canvas = image.copy()
    colour = COLOURS[state.level]
    scale = max(canvas.shape[1] / 640.0, 0.3)
    thick = max(1, round(2 * scale))
    if observation.face is not None:
        box = observation.face
        corners = (round(box.x1), round(box.y1)), (round(box.x2), round(box.y2))
        cv2.rectangle(canvas, *corners, colour, thick)
        if observation.emotion is not None:
            _expression(canvas, box, observation.emotion, scale)
    if landmarks is not None:
        lids = [landmarks[list(eye), :2].round().astype(np.int32) for eye in EYES.values()]
        cv2.polylines(canvas, lids, True, colour, max(1, round(scale)), cv2.LINE_AA)
    _banner(canvas, _headline(state), note, colour, scale)
    _caption(canvas, _details(state), scale)
    return canvas


def _expression(canvas: Image, face: Box, emotion: Emotion, scale: float) -> None:
    """The label on the face's box, and a bar an expression beside it, on the side with room."""
    size = 0.42 * scale
    title = f"{emotion.label} {emotion.probability:.0%}"
    _text(canvas, title, (face.x1 + 4 * scale, face.y1 - 6 * scale), size)
    bar, row = 90 * scale, 17 * scale
    width = bar + 84 * scale
    roomy = face.x2 + width + 8 * scale <= canvas.shape[1]
    left = face.x2 + 8 * scale if roomy else max(face.x1 - width - 8 * scale, 2)
    for number, (label, share) in enumerate(emotion.probabilities):
        top = face.y1 + number * row
        full = (round(left), round(top)), (round(left + bar), round(top + 0.6 * row))
        cv2.rectangle(canvas, *full, DARK, cv2.FILLED)
        end = round(left + bar * min(max(share, 0.0), 1.0))
        cv2.rectangle(canvas, full[0], (end, full[1][1]), COLOURS[Level.INFO], cv2.FILLED)
        _text(canvas, label, (left + bar + 4 * scale, top + 0.6 * row), size)


def _text(canvas: Image, text: str, place: tuple[float, float], size: float) -> None:
    """White letters with a dark rim, readable on any picture; `place` is their lower left."""
    at = (round(place[0]), round(place[1]))
    for colour, width in ((DARK, 3), (WHITE, 1)):
        thick = max(1, round(2 * size * width))
        cv2.putText(canvas, text, at, FONT, size, colour, thick, cv2.LINE_AA)


def _headline(state: DriverState) -> str:
    if state.kind is not None:
        return f"{state.kind.value.upper()} ({state.level.name.lower()})"
    if state.degraded:
        return f"NOT WATCHED: {state.degraded[0].value.replace('_', ' ')}"
    return "attentive"


def _details(state: DriverState) -> list[str]:
    def number(name: str, value: float | None, unit: str = "", digits: int = 2) -> str:
        return f"{name} -" if value is None else f"{name} {value:.{digits}f}{unit}"

    pose = state.pose
    return [
        EYE_WORDS[state.eyes],
        f"{number('openness', state.openness)}  {number('closed', state.closure_s, ' s', 1)}",
        number("PERCLOS", state.perclos),
        "head -" if pose is None else f"yaw {pose.yaw_deg:+.0f}  pitch {pose.pitch_deg:+.0f} deg",
    ]


def _banner(
    canvas: Image, text: str, note: str, colour: tuple[int, int, int], scale: float
) -> None:
    height, thick = round(34 * scale), max(1, round(2 * scale))
    canvas[:height] = (canvas[:height] * 0.35).astype(np.uint8)
    place = (round(10 * scale), round(24 * scale))
    cv2.putText(canvas, text, place, FONT, 0.7 * scale, colour, thick, cv2.LINE_AA)
    (width, _), _ = cv2.getTextSize(note, FONT, 0.48 * scale, thick)
    _text(canvas, note, (canvas.shape[1] - width - 10 * scale, 22 * scale), 0.48 * scale)


def _caption(canvas: Image, lines: Sequence[str], scale: float) -> None:
    step = 20 * scale
    top = canvas.shape[0] - step * len(lines)
    for number, line in enumerate(lines):
        _text(canvas, line, (10 * scale, top + step * number + 6 * scale), 0.48 * scale)


class DisplayRate:
    """Frames a second over the last of them."""

    def __init__(self) -> None:
        self._times_s: deque[float] = deque(maxlen=RATE_OVER + 1)

    def tick(self, now_s: float) -> float | None:
        """A frame was shown at this time; the rate, or None after the first."""
        self._times_s.append(now_s)
        took_s = now_s - self._times_s[0]
        return (len(self._times_s) - 1) / took_s if took_s > 0 else None


def require_display() -> None:
    """Refuse before anything starts where no window can be opened.

    The window toolkit ends a process without a display by SIGABRT, so another one tries.

    Raises:
        SourceError: there is no display.
    """
    probe = "import cv2; cv2.namedWindow('wakeful')"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, check=False)  # noqa: S603 - our own line
    if done.returncode != 0:
        raise SourceError("--show: no display to open a window on; run without it")


class WindowSink(Sink):
    """Shows the drawn picture in a window; `q` or closing it asks the watch to stop."""

    name = "window"

    def __init__(self, stop: Callable[[], None]) -> None:
        self._stop = stop
        self._rate = DisplayRate()
        self._title = "Wakeful"
        cv2.namedWindow(self._title, cv2.WINDOW_NORMAL | cv2.WINDOW_GUI_NORMAL)
        cv2.resizeWindow(self._title, 960, 720)

    def on_step(self, step: Step) -> None:
        """Draw the newest frame."""
        if step.frame.image is not None:
            fps = self._rate.tick(time.monotonic())
            note = QUIT if fps is None else f"{fps:.0f} fps   {QUIT}"
            drawn = draw(step.frame.image, step.observation, step.state, step.overlay, note)
            cv2.imshow(self._title, drawn)
        if cv2.waitKey(1) & 0xFF == ord("q"):
            self._stop()

    def close(self) -> None:
        """Close the window."""
        cv2.destroyWindow(self._title)
