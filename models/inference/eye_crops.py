"""Eyes cut out of a picture by their landmarks, upright and of one size. Torch-free.

Each eye is turned level, scaled by the distance of its corners and made grey; the driver's left
eye is mirrored, so that one small network judges both as right eyes. Light is taken out: every
crop has median 0 and the same spread.
"""

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]
# (2, 1, H, W) crops to (2, 1) logits of "closed"
EyeNetwork = Callable[[Floats], NDArray[np.floating[Any]]]
# Probabilities of open, closed, lowered, not visible.
FourStates = tuple[float, float, float, float]
NOT_VISIBLE: FourStates = (0.0, 0.0, 0.0, 1.0)

CROP_HW = (32, 48)
# The eye's corners are this share of the crop's width apart: lids, lashes and brow edge fit in.
EYE_SHARE = 0.48
# MediaPipe mesh: outer and inner corner of the driver's right and left eye.
CORNERS = {"right": (33, 133), "left": (263, 362)}
# Below this many pixels from corner to corner lids cannot be told from lashes.
MIN_EYE_PX = 7.0
# Added to the spread in grey values: keeps the noise of a flat crop small.
FLAT = 2.0


def eye_matrix(outer: Floats, inner: Floats, hw: tuple[int, int] = CROP_HW) -> NDArray[np.float64]:
    """(2, 3) map from the picture to the crop, for an eye whose outer corner comes out left."""
    along = np.asarray(inner, np.float64) - outer
    scale = EYE_SHARE * hw[1] / max(float(np.hypot(*along)), 1e-6)
    cos, sin = along / max(float(np.hypot(*along)), 1e-6) * scale
    matrix = np.array([[cos, sin, 0.0], [-sin, cos, 0.0]])
    if inner[0] < outer[0]:  # the driver's left eye: mirrored, not turned upside down
        matrix[1] *= -1
    middle = (np.asarray(outer, np.float64) + inner) / 2
    matrix[:, 2] = np.array([hw[1] / 2, hw[0] / 2]) - matrix[:, :2] @ middle
    return matrix


def eye_width_px(landmarks: Floats, side: str) -> float:
    """Distance of an eye's corners in pixels."""
    outer, inner = landmarks[list(CORNERS[side]), :2]
    return float(np.hypot(*(inner - outer)))


def cut_eye(image: Image, landmarks: Floats, side: str, hw: tuple[int, int] = CROP_HW) -> Image:
    """One eye as a grey crop (H, W) uint8, outer corner left.

    Args:
        image: (H, W, 3) uint8 BGR.
        landmarks: (478, 2 or 3) pixels of the picture.
        side: the driver's own "right" or "left".
        hw: height and width of the crop.
    """
    outer, inner = landmarks[list(CORNERS[side]), :2]
    matrix = eye_matrix(outer, inner, hw)
    scale = float(np.hypot(*matrix[0, :2]))
    if scale < 0.7:  # large eyes are averaged down, else the crop aliases
        small = cv2.resize(
            _round(image, outer, inner), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA
        )
        corner = _corner(outer, inner)
        matrix = eye_matrix((outer - corner) * scale, (inner - corner) * scale, hw)
        image = np.asarray(small, np.uint8)
    crop = cv2.warpAffine(
        image, matrix, hw[::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY), np.uint8)


def _corner(outer: Floats, inner: Floats) -> Floats:
    reach = 1.5 * float(np.hypot(*(inner - outer)))
    return np.asarray(np.maximum(np.floor((outer + inner) / 2 - reach), 0), np.float32)


def _round(image: Image, outer: Floats, inner: Floats) -> Image:
    x, y = _corner(outer, inner).astype(int)
    side = int(3 * np.hypot(*(inner - outer))) + 1
    return image[y : y + side, x : x + side]


def standardise(crops: NDArray[Any]) -> Floats:
    """(N, H, W) grey crops to (N, 1, H, W) float32: median 0, middle spread 1, cut at 3.

    Median and quartiles, so that a bright window beside a dark face does not flatten the eye.
    """
    values = crops.astype(np.float32)
    low, middle, high = np.percentile(values, (15, 50, 85), axis=(1, 2), keepdims=True)
    spread = (high - low) / 2
    scaled = np.clip((values - middle) / (spread + FLAT), -3, 3)
    return np.asarray(scaled, np.float32)[:, None]


def eye_probabilities(
    network: EyeNetwork, image: Image, landmarks: Floats
) -> tuple[FourStates | None, FourStates | None]:
    """Open, closed, lowered and not visible of the driver's own left and right eye.

    An eye whose corners are not both in the picture is not visible; one that is too few pixels
    wide for its lids to be told from lashes is None.
    """
    crops: dict[str, Image] = {}
    judged: dict[str, FourStates | None] = {"left": None, "right": None}
    for side in judged:
        if not _inside(image, landmarks, side):
            judged[side] = NOT_VISIBLE
        elif eye_width_px(landmarks, side) >= MIN_EYE_PX:
            crops[side] = cut_eye(image, landmarks, side)
    if crops:
        batch = [*crops.values(), *crops.values()][:2]  # the network's input has two places
        logits = np.asarray(network(standardise(np.stack(batch))), np.float64)
        for side, row in zip(crops, logits, strict=False):
            closed = round(float(1 / (1 + np.exp(-np.clip(row[0], -30, 30)))), 4)
            judged[side] = (1 - closed, closed, 0.0, 0.0)
    return judged["left"], judged["right"]


def _inside(image: Image, landmarks: Floats, side: str) -> bool:
    height, width = image.shape[:2]
    corners = landmarks[list(CORNERS[side]), :2]
    return bool((corners >= 0).all() and (corners < [width, height]).all())
