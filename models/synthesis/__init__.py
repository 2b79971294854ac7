"""Animate a portrait: the driver of the demo, the tests and the benchmark, and training pictures.

`Portrait` puts a person in a driver's seat and renders them in any `FaceState`; the pure
functions change one picture of one face. Drives over time are `models.synthesis.drive`.

    portrait = Portrait()
    image = portrait.render(FaceState(closure=1.0, pitch_deg=-20), t_s=3.2)
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np
import skimage.data
from numpy.typing import NDArray

from models.synthesis.cabin import seat
from models.synthesis.disguise import (
    Eyewear,
    blur,
    darken,
    glare,
    glasses,
    infrared,
    wear_cap,
    wear_glasses,
)
from models.synthesis.face_warp import (
    EyeName,
    Image,
    Landmarks,
    close_eyes,
    ear,
    eye_patch,
    find_landmarks,
    jaw_patch,
    open_jaw,
)
from models.synthesis.head_turn import HeadRelief, turn_head

__all__ = [
    "Eyewear",
    "FaceState",
    "Image",
    "Landmarks",
    "Portrait",
    "astronaut",
    "blur",
    "close_eyes",
    "darken",
    "ear",
    "find_landmarks",
    "glare",
    "glasses",
    "infrared",
    "open_jaw",
    "turn_head",
    "wear_cap",
    "wear_glasses",
]

_LID_STEPS, _GAZE_STEPS, _JAW_STEPS, _SQUINT_STEPS = 48, 8, 32, 16
_SENSOR_NOISE = 2.2  # standard deviation in grey values; two live pictures differ by 2.5 on average
_STRONG_NOISE = 45.0
_NOISE_MARGIN_PX = 64


@dataclass(frozen=True, slots=True)
class FaceState:
    """How driver and camera are at one instant. The default is an attentive driver by day.

    Attributes:
        closure: lids, 0 open .. 1 shut.
        jaw: 0 as in the portrait .. 1 a wide yawn.
        gaze_down: 0 at the camera .. 1 irises behind the lower lid.
        squint: lower lids, 0 as in the portrait .. 1 raised up to the upper ones.
        yaw_deg, pitch_deg, roll_deg: head, VSS signs (yaw + left, pitch + up, roll + right).
        away: how far the driver has left, 0 seated .. 1 out of the picture.
        light: 1 daylight .. 0 darkness.
        glare: 0 .. 1 washed out to white.
        noise: 0 .. 1 a picture drowned in sensor noise.
        frozen: the camera repeats its last picture.
        second_face: 0 .. 1 how far a passenger has come into the picture.
    """

    closure: float = 0.0
    jaw: float = 0.0
    gaze_down: float = 0.0
    squint: float = 0.0
    yaw_deg: float = 0.0
    pitch_deg: float = 0.0
    roll_deg: float = 0.0
    away: float = 0.0
    light: float = 1.0
    glare: float = 0.0
    noise: float = 0.0
    frozen: bool = False
    second_face: float = 0.0

    @property
    def visible(self) -> bool:
        """The driver's face is in the picture and can be seen."""
        return self.away < 0.5 and self.light > 0.15 and self.glare < 0.6


def astronaut() -> Image:
    """NASA's portrait of Eileen Collins, public domain, from scikit-image's wheel; BGR."""
    return np.ascontiguousarray(skimage.data.astronaut()[:, :, ::-1])


class Portrait:
    """One face, ready to be rendered in any state.

    Args:
        image: (H, W, 3) uint8 BGR with one frontal face; None for the astronaut.
        size: (width, height) of the pictures in pixels.
        seed: of noise and small movements; the same seed gives the same pictures.
        worn: what is worn over the face, as the face's picture is large and its mesh lies; it stays
            where it is while lids and jaw move beneath it.

    Raises:
        ValueError: no face in the image.
    """

    def __init__(
        self,
        image: Image | None = None,
        *,
        size: tuple[int, int] = (640, 480),
        seed: int = 0,
        worn: Callable[[tuple[int, ...], Landmarks], Eyewear] | None = None,
    ) -> None:
        layer = seat(astronaut() if image is None else image, size)
        self.size = size
        self._seed = seed
        self._person = layer.rgba
        self._face = np.ascontiguousarray(layer.rgba[..., :3])
        self._landmarks = layer.landmarks
        self._worn = worn(self._face.shape[:2], layer.landmarks) if worn is not None else None
        self._left = layer.left_px
        self._backdrop = layer.backdrop
        self._relief = HeadRelief((size[1], layer.rgba.shape[1]), layer.landmarks, step_px=8)
        self._eyes: dict[
            tuple[EyeName, int, int, int], tuple[Image, NDArray[np.bool_], int, int]
        ] = {}
        self._jaws: dict[int, tuple[Image, int, int]] = {}
        self._beside: dict[bool, Image] = {}
        rng = np.random.default_rng(seed)
        noise_hw = size[1] + _NOISE_MARGIN_PX, size[0] + _NOISE_MARGIN_PX
        self._noise = rng.normal(0, _SENSOR_NOISE, (*noise_hw, 3)).round().astype(np.int16)
        self._phases = rng.uniform(0, 2 * np.pi, 8)

    def render(self, state: FaceState, t_s: float = 0.0) -> Image:
        """The picture at `t_s` seconds, (H, W, 3) uint8 BGR.

        Time moves only what lives by itself: breathing, sway, sensor noise, the passenger's
        blinks. `frozen` is the film's business, not the picture's.
        """
        out = self._backdrop
        if state.second_face > 0:
            out = self._with_passenger(state.second_face, t_s)
        if state.away < 1:
            out = self._with_driver(out, self._alive(state, t_s))
        return self._through_camera(out, state, t_s)

    def _alive(self, state: FaceState, t_s: float) -> FaceState:
        """Nobody holds quite still: posture sways slowly by a degree or so."""
        waves = np.sin(t_s * np.array([0.9, 1.7, 0.6, 1.3, 0.5, 1.1]) + self._phases[:6])
        return replace(
            state,
            yaw_deg=float(np.clip(state.yaw_deg + 0.8 * waves[0] + 0.4 * waves[1], -50, 50)),
            pitch_deg=float(np.clip(state.pitch_deg + 0.5 * waves[2] + 0.3 * waves[3], -45, 35)),
            roll_deg=state.roll_deg + 0.4 * float(waves[4] + waves[5]),
        )

    def _with_driver(self, behind: Image, state: FaceState) -> Image:
        width, height = self.size
        breath = 0.002 * height * float(np.sin(self._phases[6] + state.roll_deg))
        x, y = self._relief.maps(
            state.yaw_deg,
            state.pitch_deg,
            state.roll_deg,
            shift_px=(1.25 * width * state.away, breath),
            window=(self._left, width),
        )
        moved = cv2.remap(self._texture(state), x, y, cv2.INTER_LINEAR)
        return _over(np.asarray(moved), behind)

    def _texture(self, state: FaceState) -> Image:
        """The person with lids and jaw set, head still straight; (H, Wc, 4)."""
        jaw = round(np.clip(state.jaw, 0, 1) * _JAW_STEPS)
        lid = round(np.clip(state.closure, 0, 1) * _LID_STEPS)
        gaze = round(np.clip(state.gaze_down, 0, 1) * _GAZE_STEPS)
        squint = round(np.clip(state.squint, 0, 1) * _SQUINT_STEPS)
        if not (jaw or lid or gaze or squint or self._worn):
            return self._person
        person = self._person.copy()
        if jaw:
            patch, x, y = self._jaw(jaw)
            person[y : y + patch.shape[0], x : x + patch.shape[1], :3] = patch
        if lid or gaze or squint:
            eyes: tuple[EyeName, EyeName] = ("left", "right")
            for eye in eyes:
                patch, changed, x, y = self._eye(eye, lid, gaze, squint)
                area = person[y : y + patch.shape[0], x : x + patch.shape[1], :3]
                area[changed] = patch[changed]
        if self._worn is not None:
            solid = person[..., 3] == 255
            person[solid, :3] = self._worn.over(person[..., :3])[solid]
        return person

    def _eye(
        self, eye: EyeName, lid: int, gaze: int, squint: int
    ) -> tuple[Image, NDArray[np.bool_], int, int]:
        key = eye, lid, gaze, squint
        if key not in self._eyes:
            closure, down, raised = lid / _LID_STEPS, gaze / _GAZE_STEPS, squint / _SQUINT_STEPS
            patch, x, y = eye_patch(self._face, self._landmarks, eye, closure, down, raised)
            before = self._face[y : y + patch.shape[0], x : x + patch.shape[1]]
            self._eyes[key] = patch, (patch != before).any(-1), x, y
        return self._eyes[key]

    def _jaw(self, jaw: int) -> tuple[Image, int, int]:
        if jaw not in self._jaws:
            self._jaws[jaw] = jaw_patch(self._face, self._landmarks, jaw / _JAW_STEPS)
        return self._jaws[jaw]

    def _with_passenger(self, arrived: float, t_s: float) -> Image:
        """A smaller face in the next seat, the mirrored portrait in other colours, blinking."""
        shut = (t_s + 1.0) % 3.7 < 0.25
        if shut not in self._beside:
            self._beside[shut] = self._passenger(shut)
        width, height = self.size
        shift = (1 - min(arrived, 1.0)) * 0.5 * width
        move = np.array([[1, 0, -shift + 1.2 * np.sin(t_s)], [0, 1, 0.8 * np.cos(0.7 * t_s)]])
        person = cv2.warpAffine(self._beside[shut], move, (width, height))
        return _over(np.asarray(person), self._backdrop)

    def _passenger(self, shut: bool) -> Image:
        width, height = self.size
        person = self._texture(FaceState(closure=1.0 if shut else 0.0))
        face = self._landmarks[1]
        scale = 0.72
        # Mirrored about the nose; so low that the body reaches the picture's lower edge.
        goal = 0.14 * width, height - scale * (height - face[1])
        place = np.array(
            [[-scale, 0, goal[0] + scale * face[0]], [0, scale, goal[1] - scale * face[1]]]
        )
        small = cv2.warpAffine(person, place, (width, height), flags=cv2.INTER_LINEAR)
        tint = np.array([0.95, 0.8, 0.72, 1.0])
        return np.asarray(small * tint, np.uint8)

    def _through_camera(self, scene: Image, state: FaceState, t_s: float) -> Image:
        rng = np.random.default_rng((self._seed, round(t_s * 1e6) + 2**32))
        out = scene
        if state.light < 1:
            out = cv2.convertScaleAbs(out, alpha=max(state.light, 0.0) ** 1.5 * 0.99 + 0.005)
        if state.glare > 0:
            out = cv2.convertScaleAbs(out, alpha=1 + 2 * state.glare, beta=265 * state.glare**2)
        width, height = self.size
        x, y = rng.integers(0, _NOISE_MARGIN_PX, 2)
        noise = self._noise[y : y + height, x : x + width]
        noise = noise[:: rng.choice((-1, 1)), :: rng.choice((-1, 1))]
        if state.noise > 0:
            noise = noise * np.int16(round(1 + state.noise * _STRONG_NOISE / _SENSOR_NOISE))
        return np.asarray(cv2.add(out, noise, dtype=cv2.CV_8U), np.uint8)


def _over(person: Image, behind: Image) -> Image:
    """Lay a premultiplied picture over another."""
    gap = cv2.cvtColor(255 - person[..., 3], cv2.COLOR_GRAY2BGR)
    shown = cv2.multiply(behind, gap, scale=1 / 255)
    return np.asarray(cv2.add(shown, cv2.cvtColor(person, cv2.COLOR_BGRA2BGR)), np.uint8)
