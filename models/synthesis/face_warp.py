"""Move the parts of one face in a picture: lids, irises, jaw. Pure functions of pixels.

All take a BGR picture and its MediaPipe mesh and give a new picture; at amount 0 they give the
picture back unchanged. Lids follow the mesh's lid contours per column between brow and lower
lid; the jaw moves the mesh's lower half by a thin-plate spline. `models.synthesis.head_turn` turns
the head.
"""

from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator, RBFInterpolator

if TYPE_CHECKING:
    from mediapipe.python.solutions.face_detection import FaceDetection
    from mediapipe.python.solutions.face_mesh import FaceMesh

Image = NDArray[np.uint8]
# (478, 3) float32: x, y in pixels, z in the same scale with the camera on the negative side.
Landmarks = NDArray[np.float32]
_Field = NDArray[np.float32]

EyeName = Literal["left", "right"]


class _EyeMesh(NamedTuple):
    """Mesh indices of one eye, from the image's left to its right."""

    upper: tuple[int, ...]
    lower: tuple[int, ...]
    brow: tuple[int, ...]
    iris: int


# `left` and `right` are the driver's own: the left eye is on the picture's right.
EYES: dict[EyeName, _EyeMesh] = {
    "right": _EyeMesh(
        upper=(33, 246, 161, 160, 159, 158, 157, 173, 133),
        lower=(33, 7, 163, 144, 145, 153, 154, 155, 133),
        brow=(46, 53, 52, 65, 55),
        iris=468,
    ),
    "left": _EyeMesh(
        upper=(362, 398, 384, 385, 386, 387, 388, 466, 263),
        lower=(362, 382, 381, 380, 374, 373, 390, 249, 263),
        brow=(285, 295, 282, 283, 276),
        iris=473,
    ),
}
INNER_UPPER_LIP = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
INNER_LOWER_LIP = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
OUTER_UPPER_LIP = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291)
OUTER_LOWER_LIP = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291)
FACE_OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
FOREHEAD, CHIN, NOSE_TIP = 10, 152, 1


@cache
def _mesh() -> "FaceMesh":
    import mediapipe  # noqa: PLC0415  a second to import, and only needed to look at a new face

    return mediapipe.solutions.face_mesh.FaceMesh(static_image_mode=True, refine_landmarks=True)


@cache
def _finder() -> "FaceDetection":
    import mediapipe  # noqa: PLC0415  as above

    return mediapipe.solutions.face_detection.FaceDetection(model_selection=1)


def find_landmarks(image: Image) -> Landmarks | None:
    """Mesh of the most prominent face in pixels, or None where none is found.

    A face too small for the mesh network is cropped first (it misses small faces).
    """
    mesh = _mesh_of(image)
    if mesh is not None:
        return mesh
    boxes = _finder().process(cv2.cvtColor(image, cv2.COLOR_BGR2RGB)).detections
    if not boxes:
        return None
    height, width = image.shape[:2]
    box = boxes[0].location_data.relative_bounding_box
    side = 2.0 * max(box.width * width, box.height * height)
    x = int(max((box.xmin + box.width / 2) * width - side / 2, 0))
    y = int(max((box.ymin + box.height / 2) * height - side / 2, 0))
    crop = np.ascontiguousarray(image[y : y + int(side), x : x + int(side)])
    mesh = _mesh_of(crop)
    return None if mesh is None else mesh + np.array([x, y, 0], np.float32)


def _mesh_of(image: Image) -> Landmarks | None:
    height, width = image.shape[:2]
    faces = _mesh().process(cv2.cvtColor(image, cv2.COLOR_BGR2RGB)).multi_face_landmarks
    if not faces:
        return None
    scale = np.array([width, height, width], np.float32)
    return np.array([(p.x, p.y, p.z) for p in faces[0].landmark], np.float32) * scale


def ear(landmarks: Landmarks, eye: EyeName) -> float:
    """Eye aspect ratio of one eye (Soukupova & Cech 2016), from two lid pairs."""
    mesh, points = EYES[eye], landmarks[:, :2]
    width = float(np.linalg.norm(points[mesh.upper[0]] - points[mesh.upper[-1]]))
    gaps = [np.linalg.norm(points[mesh.upper[i]] - points[mesh.lower[i]]) for i in (3, 5)]
    return float(sum(gaps)) / (2 * width) if width else 0.0


# --- eyes ------------------------------------------------------------------------------------


def close_eyes(
    image: Image,
    landmarks: Landmarks,
    amount: float,
    *,
    gaze_down: float = 0.0,
    eyes: Iterable[EyeName] = ("left", "right"),
) -> Image:
    """The upper lids drawn down over the eyes.

    Args:
        image: (H, W, 3) uint8 BGR.
        landmarks: its mesh.
        amount: 0 as in the picture .. 1 lids shut.
        gaze_down: 0..1, irises lowered behind the lower lid (lids follow, as they do in life).
        eyes: which eyes, the driver's own left and right.
    """
    out = image.copy()
    for eye in eyes:
        patch, x, y = eye_patch(image, landmarks, eye, amount, gaze_down)
        out[y : y + patch.shape[0], x : x + patch.shape[1]] = patch
    return out


def eye_patch(
    image: Image,
    landmarks: Landmarks,
    eye: EyeName,
    amount: float,
    gaze_down: float = 0.0,
    squint: float = 0.0,
) -> tuple[Image, int, int]:
    """The rectangle round one eye with its lids moved, and its top left corner (x, y).

    Args:
        image, landmarks, eye, amount, gaze_down: as `close_eyes`.
        squint: how far the lower lid is raised, as a share of the open eye's gap.
    """
    mesh, points = EYES[eye], landmarks[:, :2]
    start, end = points[mesh.upper[0]], points[mesh.upper[-1]]
    width = max(float(np.linalg.norm(end - start)), 2.0)
    x, y, roi = _rectangle(image, points[[*mesh.upper, *mesh.lower, *mesh.brow]], 0.25 * width)
    if roi.size == 0:
        return roi, x, y
    along = (end - start) / width
    s, t = _eye_axes(roi, x, y, (start + end) / 2, along)
    upper, lower, brow = (
        _curve(points[list(part)], (start + end) / 2, along)
        for part in (mesh.upper, mesh.lower, mesh.brow)
    )
    inside = np.clip(s, -width / 2, width / 2)
    t_upper, t_brow = upper(inside), np.minimum(brow(inside), upper(inside) - 0.08 * width)
    gap = np.maximum(lower(inside) - t_upper, 0) * (np.abs(s) < width / 2)
    closing = 1 - (1 - np.clip(amount, 0, 1)) * (1 - 0.45 * np.clip(gaze_down, 0, 1))
    drop = (closing * 1.06 * gap).astype(np.float32)
    lash = 0.06 * width
    lid = _shift(roi, along, -_lid_drop(t, t_upper, t_brow, drop, lash))
    if closing > 0:
        skin = _skin_beneath(roi, along, t, t_upper + gap, width)
        lid = _unrolled(lid, skin, t - t_upper + lash, drop, lash, width)
    ball = _lowered_ball(roi, along, t, t_upper, gap, 0.45 * float(gap.max()) * gaze_down)
    cover = np.clip((t_upper + drop + 0.02 * width - t) / (0.035 * width) + 0.5, 0, 1)
    cover = np.where(drop > 0, cover, 1.0 if gaze_down <= 0 else 0.0)[..., None]
    moved = lid * cover + ball * (1 - cover)
    moved *= _lash_line(s, t - t_upper - drop, width, drop / max(float(gap.max()), 1e-6))[..., None]
    if squint > 0:
        moved = _raise_lower_lid(moved, along, t - t_upper - gap, squint * gap, width)
    return np.clip(moved, 0, 255).astype(np.uint8), x, y


def _raise_lower_lid(
    roi: NDArray[np.float32], along: _Field, t: _Field, rise: _Field, width: float
) -> NDArray[np.float32]:
    """The lower lid pushed up by the cheek; the skin beneath it stretches.

    Args:
        roi: the rectangle with the upper lid set, (H, W, 3).
        along: direction of the eye's axis.
        t: distance of each pixel beneath the lower lid as it was.
        rise: how far the lid comes up at each pixel.
        width: of the eye in pixels.
    """
    fade = np.clip(1 - (t + rise) / (0.22 * width), 0, 1)
    skin = _shift(roi, along, (rise * fade).astype(np.float32))
    cover = (np.clip((t + rise) / (0.035 * width) + 0.5, 0, 1) * (rise > 0))[..., None]
    line = 1 - 0.25 * np.exp(-(((t + rise) / (0.03 * width)) ** 2)) * (rise > 0)
    return np.asarray((skin * cover + roi * (1 - cover)) * line[..., None], np.float32)


def _rectangle(image: Image, points: _Field, margin_px: float) -> tuple[int, int, Image]:
    height, width = image.shape[:2]
    x1, y1 = np.maximum(np.floor(points.min(0) - margin_px), 0).astype(int)
    x2, y2 = np.minimum(np.ceil(points.max(0) + margin_px), [width, height]).astype(int)
    return int(x1), int(y1), image[y1:y2, x1:x2]


def _eye_axes(roi: Image, x: int, y: int, origin: _Field, along: _Field) -> tuple[_Field, _Field]:
    """Coordinates of every pixel along the eye's axis and across it, downwards."""
    rows, columns = np.indices(roi.shape[:2], np.float32)
    dx, dy = columns + x - origin[0], rows + y - origin[1]
    return dx * along[0] + dy * along[1], dy * along[0] - dx * along[1]


def _curve(points: _Field, origin: _Field, along: _Field) -> PchipInterpolator:
    """A contour as a function: distance across the eye's axis at each place along it."""
    dx, dy = (points - origin).T
    s, t = dx * along[0] + dy * along[1], dy * along[0] - dx * along[1]
    order = np.argsort(s)
    s = s[order] + np.arange(len(s)) * 1e-3  # mesh points may stand above one another
    return PchipInterpolator(np.maximum.accumulate(s), t[order], extrapolate=True)


def _lid_drop(t: _Field, t_upper: _Field, t_brow: _Field, drop: _Field, lash: float) -> _Field:
    """How far down the skin that shows at each pixel has come.

    Lashes move as one; between them and the brow the skin stretches, least at the brow. The
    exponent keeps the map monotone: the skin never folds.
    """
    skin = np.maximum(t_upper - lash - t_brow, 1e-3)
    length = skin + drop
    exponent = np.minimum(1.7, 1 + 0.7 * skin / np.maximum(drop, 1e-3))
    fallen = drop * np.clip((t - t_brow) / length, 0, 1) ** exponent
    return np.asarray(fallen, np.float32)


def _skin_beneath(
    roi: Image, along: _Field, t: _Field, t_lower: _Field, width: float
) -> NDArray[np.float32]:
    """The skin under the lower lid, blurred, at every place above and below it; (H, W, 3)."""
    soft = cv2.GaussianBlur(roi, (0, 0), 0.06 * width)
    return _shift(soft, along, (t_lower + 0.12 * width - t).astype(np.float32))


def _unrolled(
    lid: NDArray[np.float32],
    skin: NDArray[np.float32],
    below_fold: _Field,
    drop: _Field,
    lash: float,
    width: float,
) -> NDArray[np.float32]:
    """The lid with the smooth skin that rolls out of its fold.

    Of an open eye no picture shows it. What lies above the fold, stretched down, is mostly shadow
    and brow: a dark hole and no lid, and the mesh takes it for a half-open eye. So the skin beneath
    the eye lends half of its light from the middle of the lid on.

    Args:
        lid: the stretched skin, (H, W, 3).
        skin: light of the skin beneath the eye, (H, W, 3).
        below_fold: distance of each pixel beneath the lid's fold.
        drop, lash, width: how far the lid came down, height of the lashes, width of the eye.
    """
    along_lid = np.clip(2 * below_fold / np.maximum(drop + lash, 1e-3), 0, 1)
    share = (0.5 * along_lid * np.clip(drop / (0.08 * width), 0, 1))[..., None]
    smooth = cv2.GaussianBlur(lid, (0, 0), 0.02 * width)
    lid = smooth * share + lid * (1 - share)
    return np.asarray(lid * (1 - share) + skin * share, np.float32)


def _shift(roi: Image | _Field, along: _Field, down: _Field) -> NDArray[np.float32]:
    """Sample the rectangle `down` pixels further across the eye's axis."""
    rows, columns = np.indices(roi.shape[:2], np.float32)
    x = (columns - along[1] * down).astype(np.float32)
    y = (rows + along[0] * down).astype(np.float32)
    shifted = cv2.remap(roi, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(shifted, np.float32)


def _lowered_ball(
    roi: Image, along: _Field, t: _Field, t_upper: _Field, gap: _Field, by_px: float
) -> NDArray[np.float32]:
    """The eyeball turned down; only what lies between the lids moves."""
    if by_px <= 0:
        return roi.astype(np.float32)
    moved = _shift(roi, along, np.full_like(t, -by_px))
    inside = np.clip((t_upper + gap - t) / (0.04 * t.shape[1]) + 0.5, 0, 1) * (gap > 0)
    return np.asarray(moved * inside[..., None] + roi * (1 - inside[..., None]), np.float32)


def _lash_line(s: _Field, t: _Field, width: float, drop: _Field) -> _Field:
    """Darkening where upper and lower lashes meet, fading towards the corners."""
    across = np.exp(-((t / (0.05 * width)) ** 2))
    ends = np.clip(1 - np.abs(s / (0.5 * width)) ** 4, 0, 1)
    return np.asarray(1 - 0.75 * across * ends * np.clip(drop, 0, 1), np.float32)


def raise_lower_lids(
    image: Image,
    landmarks: Landmarks,
    amount: float,
    *,
    eyes: Iterable[EyeName] = ("left", "right"),
) -> Image:
    """Cheeks and lower lids pushed up over the eyes, as in a squint or a laugh.

    Args:
        image: (H, W, 3) uint8 BGR.
        landmarks: its mesh.
        amount: 0 as in the picture .. 1 up to the upper lid.
        eyes: which eyes, the driver's own left and right.
    """
    out = image.copy()
    for eye in eyes:
        patch, x, y = _squint_patch(image, landmarks, eye, float(np.clip(amount, 0, 1)))
        out[y : y + patch.shape[0], x : x + patch.shape[1]] = patch
    return out


def _squint_patch(
    image: Image, landmarks: Landmarks, eye: EyeName, amount: float
) -> tuple[Image, int, int]:
    """The rectangle round one eye with its lower lid raised, and its top left corner (x, y)."""
    mesh, points = EYES[eye], landmarks[:, :2]
    start, end = points[mesh.upper[0]], points[mesh.upper[-1]]
    width = max(float(np.linalg.norm(end - start)), 2.0)
    cheek = points[list(mesh.lower)] + np.array([0, 0.7 * width], np.float32)
    around = np.vstack([points[[*mesh.upper, *mesh.lower]], cheek])
    x, y, roi = _rectangle(image, around, 0.2 * width)
    if amount <= 0 or roi.size == 0:
        return roi, x, y
    along = (end - start) / width
    s, t = _eye_axes(roi, x, y, (start + end) / 2, along)
    upper, lower = (
        _curve(points[list(part)], (start + end) / 2, along) for part in (mesh.upper, mesh.lower)
    )
    inside = np.clip(s, -width / 2, width / 2)
    t_lower = lower(inside)
    gap = np.maximum(t_lower - upper(inside), 0) * (np.abs(s) < width / 2)
    rise = (amount * gap).astype(np.float32)
    edge = t - (t_lower - rise)  # below the raised lid's edge
    fade = np.clip(1 - edge / (0.75 * width), 0, 1) ** 1.5
    cheeks = _shift(roi, along, (rise * fade).astype(np.float32))
    cover = (np.clip(edge / (0.035 * width) + 0.5, 0, 1) * (rise > 0))[..., None]
    moved = cheeks * cover + roi * (1 - cover)
    ends = np.clip(1 - np.abs(s / (0.5 * width)) ** 4, 0, 1)
    crease = 1 - 0.25 * amount * ends * np.exp(-((edge / (0.03 * width)) ** 2))
    return np.clip(moved * crease[..., None], 0, 255).astype(np.uint8), x, y


# --- jaw -------------------------------------------------------------------------------------


def open_jaw(image: Image, landmarks: Landmarks, amount: float) -> Image:
    """The jaw dropped: 0 as in the picture, 0.3 talk, 1 a wide yawn.

    Args:
        image: (H, W, 3) uint8 BGR.
        landmarks: its mesh.
        amount: 0..1; at 1 the chin comes down by a fifth of the face's height.
    """
    out = image.copy()
    patch, x, y = jaw_patch(image, landmarks, amount)
    out[y : y + patch.shape[0], x : x + patch.shape[1]] = patch
    return out


def jaw_patch(image: Image, landmarks: Landmarks, amount: float) -> tuple[Image, int, int]:
    """The rectangle round mouth and chin with the jaw moved, and its top left corner (x, y)."""
    amount = float(np.clip(amount, 0, 1))
    points = landmarks[:, :2]
    face_px = float(np.linalg.norm(points[CHIN] - points[FOREHEAD]))
    lower_face = points[[*FACE_OVAL, *OUTER_UPPER_LIP, 4]]
    x, y, roi = _rectangle(image, lower_face, 0.35 * face_px)
    if amount <= 0 or roi.size == 0:
        return roi.copy(), x, y
    moved = _jaw_points(landmarks, amount, face_px)
    field = _spline_field(roi.shape[:2], points - [x, y], moved - [x, y], 0.35 * face_px)
    rows, columns = np.indices(roi.shape[:2], np.float32)
    skin = cv2.remap(
        roi, columns + field[..., 0], rows + field[..., 1], cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REFLECT_101,
    )  # fmt: skip
    return _fill_mouth(np.asarray(skin), roi, points - [x, y], moved - [x, y], amount), x, y


def _jaw_points(landmarks: Landmarks, amount: float, face_px: float) -> _Field:
    """Where each mesh point goes when the jaw turns open.

    Points below the mouth line swing down, most at the chin's middle and not at all at the jaw
    joints; mouth corners come down a little and draw inwards, as they do in a yawn.
    """
    points = landmarks[:, :2].astype(np.float32)
    down = (points[CHIN] - points[FOREHEAD]) / face_px
    across = np.array([down[1], -down[0]], np.float32)
    mouth = (points[INNER_UPPER_LIP[0]] + points[INNER_UPPER_LIP[-1]]) / 2
    half_px = float(np.linalg.norm(points[INNER_UPPER_LIP[0]] - mouth))
    s, t = (points - mouth) @ across, (points - mouth) @ down
    sideways = np.clip(1 - (s / (0.42 * face_px)) ** 2, 0, 1)
    below = np.clip((t + 0.02 * face_px) / (0.12 * face_px), 0, 1)
    fall = below * sideways
    lips = np.clip(1 - (s / half_px) ** 2, 0, 1)
    for part in (INNER_LOWER_LIP, OUTER_LOWER_LIP):
        fall[list(part)] = 0.35 + 0.65 * lips[list(part)] ** 0.5
    fall[[61, 291, 78, 308]] = 0.35
    fall[list(INNER_UPPER_LIP[1:-1])] = 0.04 * lips[list(INNER_UPPER_LIP[1:-1])]
    fall[list(OUTER_UPPER_LIP[1:-1])] = 0.02 * lips[list(OUTER_UPPER_LIP[1:-1])]
    near = np.exp(-((s / (1.3 * half_px)) ** 2)) * np.clip(1 + t / (0.06 * face_px), 0, 1)
    near *= np.clip(1.6 - t / (0.25 * face_px), 0, 1)
    near[[*INNER_UPPER_LIP, *INNER_LOWER_LIP, *OUTER_UPPER_LIP, *OUTER_LOWER_LIP]] = 0.8
    step = fall[:, None] * down * 0.22 * face_px - (0.24 * near * s)[:, None] * across
    return np.asarray(points + amount * step, np.float32)


def _spline_field(hw: tuple[int, ...], source: _Field, target: _Field, margin: float) -> _Field:
    """Displacement from each pixel of the warped rectangle back to the picture, (H, W, 2).

    Thin-plate spline through some hundred mesh points and a fixed frame round them, solved on a
    coarse grid.
    """
    height, width = hw[:2]
    chosen = np.unique([*OUTER_UPPER_LIP, *OUTER_LOWER_LIP, *FACE_OVAL, *range(0, 468, 5)])
    edge_x, edge_y = np.meshgrid(np.linspace(0, width - 1, 6), np.linspace(0, height - 1, 6))
    frame = np.stack([edge_x, edge_y], -1).reshape(-1, 2)
    rim = (frame % [width - 1, height - 1] == 0).any(1)
    centres = np.vstack([target[chosen], frame[rim]])
    steps = np.vstack([source[chosen] - target[chosen], np.zeros((int(rim.sum()), 2))])
    spline = RBFInterpolator(centres, steps, kernel="thin_plate_spline", smoothing=0.5)
    grid_h, grid_w = max(height // 6, 8), max(width // 6, 8)
    grid_x, grid_y = np.meshgrid(
        np.linspace(0, width - 1, grid_w), np.linspace(0, height - 1, grid_h)
    )
    coarse = spline(np.stack([grid_x.ravel(), grid_y.ravel()], -1)).reshape(grid_h, grid_w, 2)
    field = np.asarray(
        cv2.resize(coarse.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    )
    ramp_x = np.minimum(np.arange(width), np.arange(width)[::-1])[None, :]
    ramp_y = np.minimum(np.arange(height), np.arange(height)[::-1])[:, None]
    fade = np.clip(np.minimum(ramp_x, ramp_y) / (0.4 * margin), 0, 1)
    return np.asarray(field * fade[..., None], np.float32)


def _fill_mouth(skin: Image, roi: Image, source: _Field, target: _Field, amount: float) -> Image:
    """Paint what an open mouth shows: the picture's own teeth above, darkness, a tongue."""
    contour = target[[*INNER_UPPER_LIP, *INNER_LOWER_LIP[-2:0:-1]]]
    mask = np.zeros(skin.shape[:2], np.uint8)
    cv2.fillPoly(mask, [np.round(contour * 8).astype(np.int32)], 255, cv2.LINE_AA, 3)
    x1, y1 = contour.min(0)
    x2, y2 = contour.max(0)
    width, height = max(x2 - x1, 1.0), max(y2 - y1, 1.0)
    rows, columns = np.indices(skin.shape[:2], np.float32)
    u, v = (columns - (x1 + x2) / 2) / (width / 2), (rows - y1) / height
    lip = np.median(roi[_pixels(source[list(OUTER_LOWER_LIP)], roi)], axis=0)
    depth = np.clip(0.34 - 0.26 * np.exp(-(((v - 0.55) / 0.35) ** 2)) + 0.06 * u * u, 0.05, 1)
    cavity = depth[..., None] * 0.6 * lip * np.array([0.55, 0.6, 1.0])
    tongue = np.exp(-(((u / 0.55) ** 2 + ((v - 1.0) / 0.33) ** 2) ** 2))[..., None]
    cavity = cavity * (1 - 0.8 * tongue) + 0.8 * tongue * lip * np.array([0.5, 0.48, 0.66])
    teeth = (
        _teeth(roi, source, skin.shape[:2])
        * (1 - 0.6 * amount)
        * np.clip(1.5 - 1.6 * np.abs(u), 0, 1)
    )
    inside = cavity * (1 - teeth[..., None]) + roi * teeth[..., None] * 0.92
    gap_px = float(
        np.linalg.norm(target[14] - target[13]) - np.linalg.norm(source[14] - source[13])
    )
    opened = np.clip(gap_px / (0.03 * width + 1), 0, 1)
    soft = cv2.GaussianBlur(mask, (0, 0), 0.012 * width + 0.4).astype(np.float32)[..., None] / 255
    filled = skin * (1 - soft * opened) + inside * soft * opened
    return np.asarray(np.clip(filled, 0, 255), np.uint8)


def _pixels(points: _Field, roi: Image) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    columns = np.clip(points[:, 0].round(), 0, roi.shape[1] - 1).astype(np.intp)
    return np.clip(points[:, 1].round(), 0, roi.shape[0] - 1).astype(np.intp), columns


def _teeth(roi: Image, source: _Field, hw: tuple[int, ...]) -> _Field:
    """The upper part of what the picture shows between the lips: it stays where it is."""
    upper, lower = source[list(INNER_UPPER_LIP)], source[list(INNER_LOWER_LIP)]
    mask = np.zeros(hw, np.uint8)
    middle = upper + 0.8 * (lower - upper)
    cv2.fillPoly(
        mask, [np.round(np.vstack([upper, middle[::-1]]) * 8).astype(np.int32)], 255, cv2.LINE_AA, 3
    )
    soft = cv2.GaussianBlur(mask, (0, 0), 0.8).astype(np.float32) / 255
    bright = cv2.cvtColor(roi, cv2.COLOR_BGR2GRAY).astype(np.float32)
    return np.asarray(soft * np.clip((bright - 60) / 60, 0, 1), np.float32)
