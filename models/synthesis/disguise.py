"""What stands between a face and the detector: light, lens, infrared, glasses, a cap.

Pure functions for labelled training pictures; what is random comes from the generator given.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from models.synthesis.face_warp import CHIN, EYES, FOREHEAD, Image, Landmarks


def darken(image: Image, light: float) -> Image:
    """Less light: 1 as it is .. 0 black, with the grain a sensor shows when it is dark."""
    light = float(np.clip(light, 0, 1))
    dim = image.astype(np.float32) * light**1.5
    grain = np.random.default_rng(int(light * 1e6)).normal(0, 6 * (1 - light), image.shape)
    return _as_image(dim + grain)


def glare(image: Image, amount: float, centre: tuple[float, float] = (0.8, 0.1)) -> Image:
    """Sun in the lens: 0 none .. 1 washed out; `centre` as shares of width and height."""
    height, width = image.shape[:2]
    rows, columns = np.indices((height, width), np.float32)
    away = np.hypot(columns / width - centre[0], rows / height - centre[1])
    veil = 255 * amount * np.clip(np.exp(-((away / 0.6) ** 2)) + 0.5 * amount**2, 0, 1)
    return _as_image(image * (1 - 0.3 * amount) + veil[..., None])


def blur(image: Image, sigma_px: float, motion_px: float = 0.0, angle_deg: float = 0.0) -> Image:
    """Out of focus by a Gaussian, and smeared over `motion_px` along an angle."""
    out = cv2.GaussianBlur(image, (0, 0), sigma_px) if sigma_px > 0 else image.copy()
    length = round(motion_px)
    if length >= 2:
        kernel = np.zeros((length, length), np.float32)
        kernel[length // 2] = 1 / length
        spin = cv2.getRotationMatrix2D(((length - 1) / 2, (length - 1) / 2), angle_deg, 1)
        kernel = np.asarray(cv2.warpAffine(kernel, spin, (length, length)), np.float32)
        out = cv2.filter2D(out, -1, kernel / max(float(kernel.sum()), 1e-6))
    return np.asarray(out)


def infrared(image: Image) -> Image:
    """As a 940 nm camera sees it: grey, skin bright and even, a lamp beside the lens."""
    red = image[..., 2].astype(np.float32)
    grey = 0.75 * red + 0.2 * image[..., 1] + 0.05 * image[..., 0]
    even = 255 * (grey / 255) ** 0.85
    height, width = grey.shape
    rows, columns = np.indices((height, width), np.float32)
    lamp = 1.1 - 0.5 * np.hypot(columns / width - 0.5, rows / height - 0.5)
    return np.asarray(cv2.cvtColor(_as_image(even * lamp), cv2.COLOR_GRAY2BGR))


@dataclass(frozen=True, slots=True)
class Eyewear:
    """What stands between a face and the camera: each pixel becomes `pixel * gain + light`.

    Attributes:
        gain: (H, W, 1), how much of the face is seen through it.
        light: (H, W, 3), what it adds of its own, BGR.
    """

    gain: NDArray[np.float32]
    light: NDArray[np.float32]

    def over(self, image: Image) -> Image:
        """A picture of the same size seen through it."""
        return _as_image(image * self.gain + self.light)


def wear_glasses(image: Image, landmarks: Landmarks, rng: Generator, *, tint: float = 0.0) -> Image:
    """Put spectacles on a face; the arguments are those of `glasses`."""
    return glasses(image.shape[:2], landmarks, rng, tint=tint).over(image)


def glasses(
    hw: tuple[int, ...], landmarks: Landmarks, rng: Generator, *, tint: float = 0.0
) -> Eyewear:
    """Spectacles for a face, to be laid over it however its lids move.

    Args:
        hw: height and width of the face's picture.
        landmarks: its mesh.
        rng: chooses size, shape, frame colour and thickness, reflections.
        tint: 0 clear .. 1 sunglasses through which no eye is seen.
    """
    span = _eye_span(landmarks)
    frame, lens = np.zeros(hw, np.uint8), np.zeros(hw, np.uint8)
    thick = max(round(span * rng.uniform(0.02, 0.075)), 1)
    roundness = rng.uniform(2.0, 4.5)
    half = span * rng.uniform(0.34, 0.40), span * rng.uniform(0.23, 0.31)
    rims = {name: _rim(landmarks, name, half, roundness) for name in EYES}
    for rim in rims.values():
        _draw(lens, rim, fill=True)
        _draw(frame, rim, thick)
    _draw(frame, _bridge(landmarks, rims["right"], rims["left"]), thick, closed=False)
    for name, ear_point in (("right", 127), ("left", 356)):
        rim = rims["right"] if name == "right" else rims["left"]
        outer = rim[np.argmin(np.hypot(*(rim - landmarks[ear_point, :2]).T))]
        _draw(frame, np.array([outer, landmarks[ear_point, :2]]), thick, closed=False)
    lenses = _lenses(lens, tint, rng)
    colour = rng.uniform(10, 70) * np.ones(3) + rng.uniform(0, 1) * np.array([10, 30, 60])
    solid = (cv2.GaussianBlur(frame, (0, 0), 0.6) / np.float32(255))[..., None] * np.float32(0.95)
    light = lenses.light * (1 - solid) + solid * colour
    return Eyewear(lenses.gain * (1 - solid), light.astype(np.float32))


def wear_cap(image: Image, landmarks: Landmarks, rng: Generator) -> Image:
    """Pull a cap over forehead and hair; its peak shades the brows."""
    top, chin = landmarks[FOREHEAD, :2], landmarks[CHIN, :2]
    face = float(np.linalg.norm(chin - top))
    down = (chin - top) / face
    across = np.array([down[1], -down[0]])
    middle: NDArray[np.float32] = top + down * face * rng.uniform(-0.06, 0.03)
    wide, high = face * rng.uniform(0.52, 0.6), face * rng.uniform(0.55, 0.7)
    turn = np.linspace(np.pi, 2 * np.pi, 40)
    crown = middle + np.outer(np.cos(turn) * wide, across) + np.outer(np.sin(turn) * high, down)
    drop = rng.uniform(0.10, 0.20) * face
    bow = np.linspace(-1, 1, 30)
    lower = middle + np.outer(bow * wide * 1.02, across) + np.outer((1 - bow**2) * drop, down)
    colour = rng.uniform(15, 130) + rng.uniform(-15, 15, 3)
    shade, cap, peak = (np.zeros(image.shape[:2], np.uint8) for _ in range(3))
    _draw(shade, lower + down * 0.07 * face, fill=True)
    _draw(cap, crown, fill=True)
    _draw(peak, lower, fill=True)
    soft = cv2.GaussianBlur(shade, (0, 0), 0.03 * face)[..., None] / 255.0
    out = image * (1 - 0.45 * soft)
    rows = np.indices(image.shape[:2], np.float32)[0]
    fold = (1 + 0.1 * np.cos(rows / face * 9))[..., None]
    for mask, light in ((cap, 1.0), (peak, 0.55)):
        edge = cv2.GaussianBlur(mask, (0, 0), 0.8)[..., None] / 255.0
        out = out * (1 - edge) + edge * colour * light * fold
    return _as_image(out)


def _eye_span(landmarks: Landmarks) -> float:
    right, left = landmarks[EYES["right"].iris, :2], landmarks[EYES["left"].iris, :2]
    return max(float(np.linalg.norm(left - right)), 4.0)


def _rim(
    landmarks: Landmarks, eye: str, half: tuple[float, float], roundness: float
) -> NDArray[np.float32]:
    """A superellipse round an eye, tilted with the face; (n, 2)."""
    right, left = landmarks[EYES["right"].iris, :2], landmarks[EYES["left"].iris, :2]
    along = (left - right) / max(float(np.linalg.norm(left - right)), 1e-6)
    below = np.array([-along[1], along[0]])
    mesh = EYES["right"] if eye == "right" else EYES["left"]
    centre = landmarks[[*mesh.upper, *mesh.lower], :2].mean(0) + 0.12 * half[1] * below
    turn = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    x, y = np.cos(turn), np.sin(turn)
    s = np.sign(x) * np.abs(x) ** (2 / roundness) * half[0]
    t = np.sign(y) * np.abs(y) ** (2 / roundness) * half[1]
    return np.asarray(centre + np.outer(s, along) + np.outer(t, below), np.float32)


def _bridge(
    landmarks: Landmarks, right: NDArray[np.float32], left: NDArray[np.float32]
) -> NDArray[np.float32]:
    nose = landmarks[168, :2]
    ends = [rim[np.argmin(np.hypot(*(rim - nose).T))] for rim in (right, left)]
    return np.array([ends[0], (ends[0] + ends[1]) / 2 * 0.4 + nose * 0.6, ends[1]], np.float32)


def _lenses(lens: Image, tint: float, rng: Generator) -> Eyewear:
    """Darkened by the tint, with a slanting reflection."""
    inside = (cv2.GaussianBlur(lens, (0, 0), 0.7) / np.float32(255))[..., None]
    rows, columns = np.indices(lens.shape, np.float32)
    angle, place = rng.uniform(0.4, 1.2), rng.uniform(0, 1)
    across = (columns * np.cos(angle) + rows * np.sin(angle)) / lens.shape[1]
    streak = np.exp(-(((across % 0.5 - 0.5 * place) / rng.uniform(0.02, 0.06)) ** 2))[..., None]
    strength = rng.uniform(0, 90) * (rng.random() < 0.5)
    light = inside * (6 * tint + streak * strength) * np.ones(3)
    return Eyewear(1 - inside * min(0.97 * tint, 1.0), light.astype(np.float32))


def _draw(
    mask: Image,
    points: NDArray[np.float32] | NDArray[np.float64],
    thick: int = 1,
    *,
    closed: bool = True,
    fill: bool = False,
) -> None:
    fixed = [np.round(points * 8).astype(np.int32)]
    if fill:
        cv2.fillPoly(mask, fixed, 255, cv2.LINE_AA, 3)
    else:
        cv2.polylines(mask, fixed, closed, 255, thick, cv2.LINE_AA, 3)


def _as_image(values: NDArray[np.float32] | NDArray[np.float64]) -> Image:
    return np.asarray(np.clip(values, 0, 255), np.uint8)
