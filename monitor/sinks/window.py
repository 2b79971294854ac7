"""What the watch sees, drawn on the picture: for `wakeful run --show` and the contact sheet."""

from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from monitor.errors import SourceError
from monitor.perception.face import EYES
from monitor.types import DriverState, Event, Eyes, Frame, Image, Level, Observation

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

Points = NDArray[np.floating[Any]] | None


def draw(
    image: Image, observation: Observation, state: DriverState, landmarks: Points = None
) -> Image:
    """A copy of `image` (H, W, 3) BGR with the face, the eyes and the state drawn on it.

    Args:
        image: the picture the observation was made on.
        observation, state: what was measured and what is true.
        landmarks: (478, 2 or 3) mesh in pixels, of which the lids are drawn; None draws none.
    """
    canvas = image.copy()
    colour = COLOURS[state.level]
    scale = max(canvas.shape[1] / 640.0, 0.3)
    thick = max(1, round(2 * scale))
    if observation.face is not None:
        box = observation.face
        corners = (round(box.x1), round(box.y1)), (round(box.x2), round(box.y2))
        cv2.rectangle(canvas, *corners, colour, thick)
    if landmarks is not None:
        lids = [landmarks[list(eye), :2].round().astype(np.int32) for eye in EYES.values()]
        cv2.polylines(canvas, lids, True, colour, max(1, round(scale)), cv2.LINE_AA)
    _banner(canvas, _headline(state), colour, scale)
    _caption(canvas, _details(observation, state), scale)
    return canvas


def _headline(state: DriverState) -> str:
    if state.kind is not None:
        return f"{state.kind.value.upper()} ({state.level.name.lower()})"
    if state.degraded:
        return f"NOT WATCHED: {state.degraded[0].value.replace('_', ' ')}"
    return "attentive"


def _details(observation: Observation, state: DriverState) -> list[str]:
    def number(name: str, value: float | None, unit: str = "", digits: int = 2) -> str:
        return f"{name} -" if value is None else f"{name} {value:.{digits}f}{unit}"

    pose = state.pose
    lines = [
        EYE_WORDS[state.eyes],
        f"{number('openness', state.openness)}  {number('closed', state.closure_s, ' s', 1)}",
        number("PERCLOS", state.perclos),
        "head -" if pose is None else f"yaw {pose.yaw_deg:+.0f}  pitch {pose.pitch_deg:+.0f} deg",
    ]
    if observation.emotion is not None:
        lines.append(f"{observation.emotion.label} {observation.emotion.probability:.2f}")
    return lines


def _banner(canvas: Image, text: str, colour: tuple[int, int, int], scale: float) -> None:
    height = round(34 * scale)
    canvas[:height] = (canvas[:height] * 0.35).astype(np.uint8)
    place = (round(10 * scale), round(24 * scale))
    cv2.putText(
        canvas, text, place, FONT, 0.7 * scale, colour, max(1, round(2 * scale)), cv2.LINE_AA
    )


def _caption(canvas: Image, lines: Sequence[str], scale: float) -> None:
    step = 20 * scale
    top = canvas.shape[0] - step * len(lines)
    white = (245, 245, 245)
    for number, line in enumerate(lines):
        place = (round(10 * scale), round(top + step * number + 6 * scale))
        for colour, width in (((20, 20, 20), 3), (white, 1)):
            thick = max(1, round(width * scale))
            cv2.putText(canvas, line, place, FONT, 0.48 * scale, colour, thick, cv2.LINE_AA)


class WindowSink:
    """Shows the drawn picture in a window; `q` or closing it asks the watch to stop."""

    name = "window"

    def __init__(self, stop: Callable[[], None], landmarks: Callable[[], Points]) -> None:
        self._stop = stop
        self._landmarks = landmarks
        self._title = "Wakeful"
        try:
            cv2.namedWindow(self._title, cv2.WINDOW_NORMAL | cv2.WINDOW_GUI_NORMAL)
            cv2.resizeWindow(self._title, 960, 720)
        except cv2.error as error:
            raise SourceError("--show: no display to open a window on; run without it") from error

    def see(self, frame: Frame, observation: Observation, state: DriverState) -> None:
        """Draw the newest frame."""
        if frame.image is not None:
            drawn = draw(frame.image, observation, state, self._landmarks())
            cv2.imshow(self._title, drawn)
        if cv2.waitKey(1) & 0xFF == ord("q"):
            self._stop()

    def tell(self, event: Event) -> None:
        """The state shows what is open; nothing more to tell."""

    def trouble(self) -> str | None:
        """A window has none that would outlive it."""
        return None

    def close(self) -> None:
        """Close the window."""
        cv2.destroyWindow(self._title)
