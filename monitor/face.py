"""A face's landmarks, and what they say: eye and mouth opening, head pose, where the irises sit.

Landmarks are the 478 points of MediaPipe's face mesh with refined eyes (468 mesh, 10 iris) as an
array (478, 2) or (478, 3) in pixels of the whole picture; the third column is depth in the same
unit, smaller towards the camera. Every measure is a pure function of such an array and is `None`
where it cannot be taken. `left` and `right` are the driver's own: in a picture that is not
mirrored the driver's left eye lies on the right.
"""

import math
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from monitor.types import Box, HeadPose

Points = NDArray[np.float32]
Side = Literal["left", "right"]

LANDMARKS = 478

# Soukupova & Cech 2016's p1..p6 on the mesh (MediaPipe's own left and right are the subject's):
# outer corner, two of the upper lid, inner corner, two of the lower lid.
_EYES: dict[Side, tuple[int, ...]] = {
    "right": (33, 160, 158, 133, 153, 144),
    "left": (263, 387, 385, 362, 380, 373),
}
_LOWER_LID: dict[Side, tuple[int, ...]] = {"right": (144, 145, 153), "left": (373, 374, 380)}
_IRIS: dict[Side, int] = {"right": 468, "left": 473}
# Inner lips: corners, then three pairs of upper and lower lip.
_MOUTH = (78, 308, 81, 178, 13, 14, 311, 402)

# Head model in centimetres, origin between the eyes, x to the driver's left, y up, z towards the
# camera. Mean of the mesh over 683 frontal faces (one a person; Procrustes, made symmetric, outer
# eye corners 9 cm apart): points of the skull and nose that neither speech nor lids move.
_HEAD_MODEL = {
    4: (0.0, -3.77, 2.27),
    5: (0.0, -2.91, 2.04),
    195: (0.0, -2.18, 1.48),
    197: (0.0, -1.51, 0.93),
    6: (0.0, -0.79, 0.44),
    168: (0.0, 0.0, 0.0),
    9: (0.0, 1.58, 0.16),
    151: (0.0, 3.17, -0.11),
    10: (0.0, 4.69, -0.47),
    33: (-4.50, -0.36, -2.19),
    263: (4.50, -0.36, -2.19),
    133: (-1.79, -0.52, -1.67),
    362: (1.79, -0.52, -1.67),
    129: (-2.19, -4.05, -0.67),
    358: (2.19, -4.05, -0.67),
    67: (-3.56, 4.40, -1.26),
    297: (3.56, 4.40, -1.26),
    54: (-6.01, 3.00, -3.63),
    284: (6.01, 3.00, -3.63),
    21: (-6.61, 1.93, -4.84),
    251: (6.61, 1.93, -4.84),
    127: (-7.08, -0.69, -7.14),
    356: (7.08, -0.69, -7.14),
}
HEAD_POINTS = tuple(_HEAD_MODEL)
# Turned into the camera's axes (x right, y down, z away), so that a frontal head is the identity.
HEAD_MODEL = np.array(list(_HEAD_MODEL.values())) * (1.0, -1.0, -1.0)

# An eye narrower than this many pixels is guessed by the mesh, not measured.
MIN_EYE_WIDTH_PX = 6.0


def eye_aspect_ratio(landmarks: Points, side: Side) -> float | None:
    """Lid opening over eye width of the driver's own `side` (Soukupova & Cech 2016)."""
    outer, up_1, up_2, inner, low_2, low_1 = landmarks[list(_EYES[side])].astype(float)
    width = _distance(outer, inner)
    if not width >= MIN_EYE_WIDTH_PX:
        return None
    return _measured((_distance(up_1, low_1) + _distance(up_2, low_2)) / (2 * width))


def mouth_aspect_ratio(landmarks: Points) -> float | None:
    """Mean opening of the inner lips at three places over the mouth's inner width."""
    left, right, *lips = landmarks[list(_MOUTH)].astype(float)
    width = _distance(left, right)
    if not width >= MIN_EYE_WIDTH_PX:
        return None
    opening = sum(_distance(lips[k], lips[k + 1]) for k in (0, 2, 4)) / 3
    return _measured(opening / width)


def head_pose(
    landmarks: Points, size_px: tuple[int, int], *, mirrored: bool = False
) -> HeadPose | None:
    """Rotation of the head against the camera: yaw + driver's left, pitch + up, roll + right.

    The focal length is taken as the picture's width, as usual where the camera is unknown: its
    error is a constant tilt, which the driver's own baseline takes away.

    Args:
        landmarks: (478, 2 or 3) pixels.
        size_px: (width, height) of the whole picture.
        mirrored: the picture is a mirror image, so left and right change places.
    """
    seen = landmarks[list(HEAD_POINTS), :2].astype(float)
    if not np.isfinite(seen).all() or np.ptp(seen, axis=0).min() < MIN_EYE_WIDTH_PX:
        return None
    rotation = _rotation(seen, size_px)
    if rotation is None:
        return None
    about_x, about_y, about_z = cv2.RQDecomp3x3(rotation)[0]
    side = -1.0 if mirrored else 1.0
    return HeadPose(yaw_deg=-about_y * side, pitch_deg=-about_x, roll_deg=-about_z * side)


def _rotation(seen: NDArray[np.float64], size_px: tuple[int, int]) -> NDArray[np.float64] | None:
    width, height = size_px
    camera = np.array([[width, 0, width / 2], [0, width, height / 2], [0, 0, 1]], float)
    try:
        found, turn, _ = cv2.solvePnP(HEAD_MODEL, seen, camera, None, flags=cv2.SOLVEPNP_SQPNP)
    except cv2.error:
        return None
    rotation = np.asarray(cv2.Rodrigues(turn)[0], float) if found else None
    return rotation if rotation is not None and np.isfinite(rotation).all() else None


def _distance(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    return math.dist(a, b)


def _measured(value: float) -> float | None:
    return value if math.isfinite(value) else None


def gaze_lowering(landmarks: Points) -> float | None:
    """How low the irises sit in the eyes: 0 looks up, about 0.3 ahead, above 0.5 down.

    The iris's centre against the line through the eye's corners, in eye widths, mean of both eyes;
    -0.1..0.1 is told as 0..1 (measured on five clips: ahead -0.10..-0.02, lowered 0.02..0.08). A
    lid that closes drags the guessed iris along, so it tells nothing of a closed eye.
    """
    offsets = [_beneath_corners(landmarks, side, (_IRIS[side],)) for side in _EYES]
    known = [offset for offset in offsets if offset is not None]
    if not known:
        return None
    return min(max(sum(known) / len(known) / 0.2 + 0.5, 0.0), 1.0)


def lower_lid(landmarks: Points) -> float | None:
    """How far the lower lids hang beneath the eyes' corners, in eye widths, mean of both eyes.

    What tells a lowered look from a closing eye where the aspect ratio cannot: closing raises the
    lower lid, looking down leaves it (measured on five clips: open 0.12-0.20, closed 0.25-0.66 of
    that, looking down 0.75-0.77 of it).
    """
    offsets = [_beneath_corners(landmarks, side, _LOWER_LID[side]) for side in _EYES]
    known = [offset for offset in offsets if offset is not None]
    return sum(known) / len(known) if known else None


def _beneath_corners(landmarks: Points, side: Side, points: tuple[int, ...]) -> float | None:
    outer, inner = (landmarks[_EYES[side][k], :2].astype(float) for k in (0, 3))
    width = _distance(outer, inner)
    if not width >= MIN_EYE_WIDTH_PX:
        return None
    # Down in the face's own axes: a quarter turn from the driver's right corner to the left one.
    right, left = (outer, inner) if side == "right" else (inner, outer)
    down = np.array((right[1] - left[1], left[0] - right[0])) / width
    middle = landmarks[list(points), :2].astype(float).mean(axis=0) - (outer + inner) / 2
    return _measured(float(middle @ down) / width)


@dataclass(frozen=True, slots=True)
class Region:
    """A square round a face, turned with the head: where landmarks are looked for.

    Attributes:
        x_px, y_px: its centre.
        side_px: length of its side.
        angle_rad: clockwise turn that brings the head upright again.
    """

    x_px: float
    y_px: float
    side_px: float
    angle_rad: float = 0.0

    @property
    def span_px(self) -> float:
        """Side of the upright square that holds the turned one."""
        return self.side_px * (abs(math.cos(self.angle_rad)) + abs(math.sin(self.angle_rad)))


# MediaPipe's own margin round a face, for boxes and landmarks alike.
_MARGIN = 1.5


def region_of_box(box: Box) -> Region:
    """Where to look first for the landmarks of a face known by its box alone."""
    x, y = box.centre
    return Region(x, y, _MARGIN * max(box.width_px, box.height_px))


def region_of_landmarks(landmarks: Points) -> Region:
    """Where to look on the next picture for a face whose landmarks are known."""
    box = box_of_landmarks(landmarks)
    x, y = box.centre
    across = landmarks[_EYES["left"][0], :2] - landmarks[_EYES["right"][0], :2]
    angle = math.atan2(float(across[1]), float(across[0]))
    return Region(x, y, _MARGIN * max(box.width_px, box.height_px), angle)


def box_of_landmarks(landmarks: Points) -> Box:
    """The tight box of the mesh, from hairline to chin."""
    x1, y1 = landmarks[:, :2].min(axis=0)
    x2, y2 = landmarks[:, :2].max(axis=0)
    return Box(float(x1), float(y1), float(x2), float(y2))
