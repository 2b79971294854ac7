"""Where the animated driver sits: a portrait cut from its background, and a car's inside.

`seat` finds the person (MediaPipe's selfie network, edges by GrabCut) and scales them to a
driver camera's framing; `draw_cabin` paints what stands still behind them.
"""

from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from models.synthesis.face_warp import Image, Landmarks, find_landmarks

if TYPE_CHECKING:
    from mediapipe.python.solutions.selfie_segmentation import SelfieSegmentation

# Share of the picture's height that chin to hairline takes: a camera on the steering column.
_FACE_SHARE = 0.40
_FACE_CENTRE = (0.54, 0.46)


class Layer(NamedTuple):
    """The person on a canvas wider than the picture, so that leaving it shows no cut edge.

    Attributes:
        rgba: (H, Wc, 4) uint8, BGR premultiplied by alpha.
        landmarks: the mesh, in the canvas's pixels.
        left_px: where the picture's left edge lies on the canvas.
        backdrop: (H, W, 3) what stands behind the person.
    """

    rgba: Image
    landmarks: Landmarks
    left_px: int
    backdrop: Image


@cache
def _segmenter() -> "SelfieSegmentation":
    import mediapipe  # noqa: PLC0415  a second to import, and only needed to look at a new face

    return mediapipe.solutions.selfie_segmentation.SelfieSegmentation(model_selection=0)


def seat(image: Image, size: tuple[int, int]) -> Layer:
    """Put a portrait in the driver's seat of a picture of `size` (width, height).

    A portrait cut too tightly to be freed from its background keeps that background, blurred out
    to the picture's edges.

    Raises:
        ValueError: no face is found in the portrait.
    """
    landmarks = find_landmarks(image)
    if landmarks is None:
        raise ValueError("no face is found in the portrait; give a frontal, well lit face")
    width, height = size
    left = width // 2
    canvas_hw = height, width + 2 * left
    person = _person(image)
    freed = not _cut_off(person, landmarks)
    placed = _place(image.shape[:2], landmarks, (height, width), left, fill=not freed)
    how = cv2.INTER_AREA if placed[0, 0] < 1 else cv2.INTER_LANCZOS4
    canvas = np.asarray(
        cv2.warpAffine(image, placed, canvas_hw[::-1], flags=how, borderMode=cv2.BORDER_REFLECT_101)
    )
    if freed:
        alpha = np.asarray(cv2.warpAffine(person, placed, canvas_hw[::-1]))
        canvas = _without_fringe(canvas, alpha)
    else:
        alpha = np.ones(canvas_hw, np.float32)
        canvas = _blur_beyond(canvas, placed, image.shape[:2])
    rgba = np.dstack([canvas * alpha[..., None], alpha * 255]).round().astype(np.uint8)
    scale = np.array([placed[0, 0], placed[1, 1], placed[0, 0]], np.float32)
    moved = landmarks * scale + np.array([placed[0, 2], placed[1, 2], 0], np.float32)
    return Layer(rgba, moved.astype(np.float32), left, draw_cabin(size))


def _place(
    portrait_hw: tuple[int, ...],
    landmarks: Landmarks,
    hw: tuple[int, int],
    left: int,
    *,
    fill: bool,
) -> NDArray[np.float32]:
    """Affine map from portrait to canvas, (2, 3)."""
    top, chin = landmarks[10, :2], landmarks[152, :2]
    if fill:
        scale = hw[0] / portrait_hw[0]
        shift = np.array([left + (hw[1] - portrait_hw[1] * scale) / 2, 0.0])
    else:
        scale = _FACE_SHARE * hw[0] / max(float(np.linalg.norm(chin - top)), 1.0)
        goal = np.array([left + _FACE_CENTRE[0] * hw[1], _FACE_CENTRE[1] * hw[0]])
        shift = goal - (top + chin) / 2 * scale
    return np.array([[scale, 0, shift[0]], [0, scale, shift[1]]], np.float32)


def _blur_beyond(canvas: Image, placed: NDArray[np.float32], portrait_hw: tuple[int, ...]) -> Image:
    """Blur the mirrored surroundings of a portrait that fills the picture's height."""
    blurred = cv2.GaussianBlur(canvas, (0, 0), 14)
    columns = np.arange(canvas.shape[1], dtype=np.float32)
    x1, x2 = placed[0, 2], placed[0, 2] + portrait_hw[1] * placed[0, 0]
    keep = np.clip(np.minimum(columns - x1, x2 - columns) / 12, 0, 1)[None, :, None]
    return np.asarray(canvas * keep + blurred * (1 - keep), np.uint8)


def _person(portrait: Image) -> NDArray[np.float32]:
    """Alpha of the person, (H, W) 0..1."""
    mask = _segmenter().process(cv2.cvtColor(portrait, cv2.COLOR_BGR2RGB)).segmentation_mask
    guess = np.where(mask > 0.5, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    guess[mask > 0.9] = cv2.GC_FGD
    guess[mask < 0.1] = cv2.GC_BGD
    cv2.setRNGSeed(0)  # GrabCut draws from OpenCV's own generator
    if (guess == cv2.GC_FGD).any() and (guess == cv2.GC_BGD).any():
        mixtures = np.zeros((1, 65)), np.zeros((1, 65))
        cv2.grabCut(portrait, guess, None, *mixtures, 3, cv2.GC_INIT_WITH_MASK)
    person = np.isin(guess, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    person = cv2.medianBlur(cv2.erode(person, np.ones((3, 3), np.uint8)), 5)
    return np.asarray(cv2.GaussianBlur(person.astype(np.float32), (0, 0), 1.0))


def _cut_off(person: NDArray[np.float32], landmarks: Landmarks) -> bool:
    """The portrait's edge runs through the head, or the shoulders are missing."""
    height, width = person.shape
    chin = int(np.clip(landmarks[152, 1], 1, height))
    face_px = chin - float(landmarks[10, 1])
    through_head = max(person[2].mean(), person[:chin, 2].mean(), person[:chin, width - 3].mean())
    return bool(through_head > 0.12 or height - chin < 0.6 * face_px)


def _without_fringe(canvas: Image, alpha: NDArray[np.float32]) -> Image:
    """Colours of the person carried outwards over the edge, so no old background shines there."""
    sure = np.clip((alpha - 0.85) / 0.15, 0, 1)
    weight = cv2.GaussianBlur(sure, (0, 0), 4) + 1e-4
    spread = cv2.GaussianBlur(canvas * sure[..., None], (0, 0), 4) / weight[..., None]
    return np.asarray(canvas * sure[..., None] + spread * (1 - sure[..., None]), np.uint8)


def draw_cabin(size: tuple[int, int]) -> Image:
    """A car's inside behind the driver, out of focus: windows, pillars, seat and headrest."""
    width, height = size
    unit = np.array([width, height], np.float32)
    rng = np.random.default_rng(7)
    picture = np.empty((height, width, 3), np.float32)
    picture[:] = np.linspace(70, 34, height)[:, None, None] * np.array([1.0, 0.98, 0.96])
    outside = _outdoors(size, rng)
    for window in _WINDOWS:
        mask = np.zeros((height, width), np.uint8)
        cv2.fillPoly(mask, [(np.array(window) * unit).astype(np.int32)], 255)
        soft = cv2.GaussianBlur(mask, (0, 0), 0.009 * width)[..., None] / 255.0
        picture = picture * (1 - soft) + outside * soft
    for x1, y1, x2, y2, shade in _SEAT:
        mask = np.zeros((height, width), np.uint8)
        a, b = (np.array([x1, y1]) * unit).astype(int), (np.array([x2, y2]) * unit).astype(int)
        radius = int(0.06 * width)
        cv2.rectangle(mask, tuple(a + radius), tuple(b - radius), 255, -1)
        mask = cv2.dilate(
            mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
        )
        soft = cv2.GaussianBlur(mask, (0, 0), 0.007 * width)[..., None] / 255.0
        lit = shade * (1.15 - 0.35 * np.arange(height)[:, None, None] / height)
        picture = picture * (1 - soft) + lit * soft * np.array([0.96, 0.98, 1.0])
    soft_focus = cv2.GaussianBlur(picture, (0, 0), 0.004 * width)
    return np.asarray(np.clip(soft_focus, 0, 255), np.uint8)


_WINDOWS = (
    ((-0.02, 0.10), (0.20, 0.14), (0.25, 0.47), (-0.02, 0.52)),
    ((0.32, 0.13), (0.74, 0.13), (0.78, 0.38), (0.29, 0.38)),
    ((0.86, 0.12), (1.02, 0.08), (1.02, 0.50), (0.84, 0.45)),
)
_SEAT = (
    (0.00, 0.36, 0.22, 0.60, 52.0),
    (-0.10, 0.56, 0.30, 1.40, 46.0),
    (0.41, 0.20, 0.69, 0.62, 58.0),
    (0.27, 0.58, 0.83, 1.40, 50.0),
)


def _outdoors(size: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float32]:
    width, height = size
    coarse = rng.normal(0, 1, (max(height // 40, 2), max(width // 40, 2), 1)).astype(np.float32)
    blobs = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)[..., None]
    sky = np.linspace(205, 120, height, dtype=np.float32)[:, None, None]
    tint = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    colour = np.array([1.05, 1.0, 0.94]) * (1 - tint) + np.array([0.86, 1.0, 0.9]) * tint
    return np.asarray((sky + 14 * blobs) * colour, np.float32)
