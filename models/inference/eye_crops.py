"""Eyes cut out of a picture by their landmarks, upright and of one size. Torch-free.

Each eye is turned level, scaled by the distance of its corners and made grey; the driver's left
eye is mirrored, so that one small network judges both as right eyes. Light is taken out: every
crop has median 0 and the same spread.
"""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]
# (2, 1, H, W) crops to (2, 4) logits of open, closed, lowered, not visible
EyeNetwork = Callable[[Floats], Floats]
# Probabilities of open, closed, lowered, not visible.
FourStates = tuple[float, float, float, float]
NOT_VISIBLE: FourStates = (0.0, 0.0, 0.0, 1.0)

CROP_PX = 40
# The eye's corners are this share of the crop's width apart: lids, brow and upper cheek fit in.
EYE_SHARE = 0.64
# MediaPipe mesh: outer and inner corner of the driver's right and left eye.
CORNERS = {"right": (33, 133), "left": (263, 362)}
# On a turned head the far eye is drawn together: its crop is scaled by the wider one instead, so
# that it is not blown up beyond this.
LEAST_OF_WIDER = 0.75
# Below this many pixels from corner to corner lids cannot be told from lashes.
MIN_EYE_PX = 7.0
# Added to the spread in grey values: keeps the noise of a flat crop small.
FLAT = 2.0


def eye_matrix(
    outer: Floats, inner: Floats, scale: float, crop_px: int = CROP_PX
) -> NDArray[np.float64]:
    """(2, 3) map from the picture to the crop, for an eye whose outer corner comes out left.

    Args:
        outer, inner: its corners in pixels.
        scale: crop pixels a pixel of the picture.
        crop_px: side of the crop.
    """
    along = np.asarray(inner, np.float64) - outer
    cos, sin = along / max(float(np.hypot(*along)), 1e-6) * scale
    matrix = np.array([[cos, sin, 0.0], [-sin, cos, 0.0]])
    if inner[0] < outer[0]:  # the driver's left eye: mirrored, not turned upside down
        matrix[1] *= -1
    middle = (np.asarray(outer, np.float64) + inner) / 2
    matrix[:, 2] = crop_px / 2 - matrix[:, :2] @ middle
    return matrix


def eye_width_px(landmarks: Floats, side: str) -> float:
    """Distance of an eye's corners in pixels."""
    outer, inner = landmarks[list(CORNERS[side]), :2]
    return float(np.hypot(*(inner - outer)))


def cut_eye(
    image: Image, landmarks: Floats, side: str, crop_px: int = CROP_PX, view_px: float = CROP_PX
) -> Image:
    """One eye as a grey crop (crop_px, crop_px) uint8, outer corner left.

    Args:
        image: (H, W, 3) uint8 BGR.
        landmarks: (478, 2 or 3) pixels of the picture.
        side: the driver's own "right" or "left".
        crop_px: side of the crop.
        view_px: side of the network's view in the crop; smaller than it leaves room round the view.
    """
    outer, inner = np.asarray(landmarks[list(CORNERS[side]), :2], np.float64)
    wider = max(eye_width_px(landmarks, one) for one in CORNERS)
    width = max(eye_width_px(landmarks, side), LEAST_OF_WIDER * wider, 1e-3)
    scale = EYE_SHARE * view_px / width
    if scale < 0.7:  # large eyes are averaged down, else the crop aliases
        reach = 0.75 * crop_px / scale
        x, y = np.maximum(np.floor((outer + inner) / 2 - reach), 0).astype(int)
        near = image[y : y + int(2 * reach) + 2, x : x + int(2 * reach) + 2]
        image = np.asarray(
            cv2.resize(near, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8
        )
        outer, inner, scale = (outer - [x, y]) * scale, (inner - [x, y]) * scale, 1.0
    matrix = eye_matrix(outer, inner, scale, crop_px)
    crop = cv2.warpAffine(
        image, matrix, (crop_px, crop_px), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY), np.uint8)


def standardise(crops: Image | Floats) -> Floats:
    """(N, H, W) grey crops to (N, 1, H, W) float32: median 0, middle spread 1, cut at 3.

    Median and quantiles, so that a bright window beside a dark face does not flatten the eye.
    """
    values = crops.astype(np.float32)
    flat = values.reshape(len(values), -1)
    places = [int(q * (flat.shape[1] - 1)) for q in (0.15, 0.5, 0.85)]
    ordered = np.partition(flat, places, axis=1)
    low, middle, high = (ordered[:, place, None, None] for place in places)
    scaled = np.clip((values - middle) / ((high - low) / 2 + FLAT), -3, 3)
    return np.asarray(scaled, np.float32)[:, None]


def probabilities(logits: Floats) -> NDArray[np.float64]:
    """Softmax over the last axis."""
    raised = np.exp(np.asarray(logits, np.float64) - logits.max(-1, keepdims=True))
    return np.asarray(raised / raised.sum(-1, keepdims=True))


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
        logits = network(standardise(np.stack(batch)))
        for side, row in zip(crops, probabilities(logits), strict=False):
            opened, closed, lowered, hidden = (round(float(p), 4) for p in row)
            judged[side] = (opened, closed, lowered, hidden)
    return judged["left"], judged["right"]


def _inside(image: Image, landmarks: Floats, side: str) -> bool:
    height, width = image.shape[:2]
    corners = landmarks[list(CORNERS[side]), :2]
    return bool((corners >= 0).all() and (corners < [width, height]).all())
