"""A face's landmarks, and what they say: eye and mouth opening, head pose, where the irises sit.

Landmarks are the 478 points of MediaPipe's face mesh with refined eyes (468 mesh, 10 iris) as an
array (478, 2) or (478, 3) in pixels of the whole picture; the third column is depth in the same
unit, smaller towards the camera. A measure is computed from such an array alone and is `None` where
it cannot be taken. `left` and `right` are the driver's own: in a picture that is not mirrored the
driver's left eye lies on the right.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from monitor.types import Box, HeadPose

Points = NDArray[np.float32]
Side = Literal["left", "right"]
BOTH: tuple[Side, Side] = ("left", "right")

LANDMARKS = 478

# Soukupova & Cech 2016's p1..p6 on the mesh (MediaPipe's own left and right are the subject's):
# outer corner, two of the upper lid, inner corner, two of the lower lid.
EYES: dict[Side, list[int]] = {
    "right": [33, 160, 158, 133, 153, 144],
    "left": [263, 387, 385, 362, 380, 373],
}
_UPPER_LIDS = [EYES[side][k] for side in EYES for k in (1, 2)]
_LOWER_LIDS = [EYES[side][k] for side in EYES for k in (5, 4)]
_LOWER_LID: dict[Side, list[int]] = {"right": [144, 145, 153], "left": [373, 374, 380]}
_IRIS: dict[Side, list[int]] = {"right": [468], "left": [473]}
# Inner lips: corners, then three pairs of upper and lower lip.
_MOUTH = [78, 308, 81, 178, 13, 14, 311, 402]

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
    outer, up_1, up_2, inner, low_2, low_1 = landmarks[EYES[side]].tolist()
    width = math.dist(outer, inner)
    if not width >= MIN_EYE_WIDTH_PX:
        return None
    return _measured((math.dist(up_1, low_1) + math.dist(up_2, low_2)) / (2 * width))


def lid_gaps(landmarks: Points) -> NDArray[np.float32]:
    """(4,) pixels from upper to lower lid, at two places of each eye."""
    upper, lower = landmarks[_UPPER_LIDS, :2], landmarks[_LOWER_LIDS, :2]
    return np.asarray(np.hypot(*(upper - lower).T), np.float32)


def eye_centre(landmarks: Points, side: Side) -> tuple[float, float]:
    """Middle (x, y) of the lids and corners of the driver's own `side`, in pixels."""
    points = landmarks[EYES[side], :2].tolist()
    return sum(p[0] for p in points) / 6, sum(p[1] for p in points) / 6


def mouth_aspect_ratio(landmarks: Points) -> float | None:
    """Mean opening of the inner lips at three places over the mouth's inner width."""
    left, right, *lips = landmarks[_MOUTH].tolist()
    width = math.dist(left, right)
    if not width >= MIN_EYE_WIDTH_PX:
        return None
    opening = sum(math.dist(lips[k], lips[k + 1]) for k in (0, 2, 4)) / 3
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
        solved, turn, _ = cv2.solvePnP(HEAD_MODEL, seen, camera, None, flags=cv2.SOLVEPNP_SQPNP)
    except cv2.error:
        return None
    rotation = np.asarray(cv2.Rodrigues(turn)[0], float) if solved else None
    return rotation if rotation is not None and np.isfinite(rotation).all() else None


def _measured(value: float) -> float | None:
    return value if math.isfinite(value) else None


def gaze_lowering(landmarks: Points) -> float | None:
    """How low the irises sit in the eyes: 0 looks up, about 0.3 ahead, above 0.5 down.

    The iris's centre against the line through the eye's corners, in eye widths, mean of both eyes;
    -0.1..0.1 is told as 0..1 (measured on five clips: ahead -0.10..-0.02, lowered 0.02..0.08). A
    lid that closes drags the guessed iris along, so it tells nothing of a closed eye.
    """
    offset = _beneath_corners(landmarks, _IRIS, BOTH)
    return None if offset is None else min(max(offset / 0.2 + 0.5, 0.0), 1.0)


def lower_lid(landmarks: Points, sides: Sequence[Side] = BOTH) -> float | None:
    """How far the lower lids hang beneath the eyes' corners, in eye widths, mean of the `sides`.

    What tells a lowered look from a closing eye where the aspect ratio cannot: closing raises the
    lower lid, looking down leaves it (measured on five clips: open 0.12-0.20, closed 0.25-0.66 of
    that, looking down 0.75-0.77 of it).
    """
    return _beneath_corners(landmarks, _LOWER_LID, sides)


def _beneath_corners(
    landmarks: Points, points: dict[Side, list[int]], sides: Sequence[Side]
) -> float | None:
    """How far the middle of some points of an eye lies beneath its corners, mean of the sides."""
    offsets = []
    for side in sides:
        # From the corner on the right-hand side of the face to the other: what is left of this
        # direction is up, whichever eye it is and however the head is tilted.
        corners = (EYES[side][0], EYES[side][3])
        start, end = corners if side == "right" else corners[::-1]
        (x1, y1), (x2, y2), *rest = landmarks[[start, end, *points[side]], :2].tolist()
        width = math.hypot(x2 - x1, y2 - y1)
        if not width >= MIN_EYE_WIDTH_PX:
            continue
        x = sum(point[0] for point in rest) / len(rest) - (x1 + x2) / 2
        y = sum(point[1] for point in rest) / len(rest) - (y1 + y2) / 2
        offset = _measured((y * (x2 - x1) - x * (y2 - y1)) / width**2)
        if offset is not None:
            offsets.append(offset)
    return sum(offsets) / len(offsets) if offsets else None


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
# Of that region's side, and of the box's width, where a head in half profile is searched.
_NARROW, _ASIDE = 0.75, 0.12


def region_of_box(box: Box) -> Region:
    """Where to look first for the landmarks of a face known by its box alone."""
    x, y = box.centre
    return Region(x, y, _MARGIN * max(box.width_px, box.height_px))


def regions_of_box(box: Box) -> Iterator[Region]:
    """Where to look for the landmarks of a face known by its box alone, the likeliest place first.

    A head in half profile fills one side of its box: the mesh, which finds nothing in the whole of
    it, finds most of them there (seven of seven animated heads turned by about 50 degrees).
    """
    whole = region_of_box(box)
    yield whole
    for aside in (-_ASIDE, _ASIDE):
        x_px = whole.x_px + aside * box.width_px
        yield Region(x_px, whole.y_px, _NARROW * whole.side_px)


def region_of_landmarks(landmarks: Points, box: Box | None = None) -> Region:
    """Where to look on the next picture for a face whose landmarks (and perhaps box) are known."""
    box = box or box_of_landmarks(landmarks)
    x, y = box.centre
    (x1, y1), (x2, y2) = landmarks[[EYES["right"][0], EYES["left"][0]], :2].tolist()
    angle = math.atan2(y2 - y1, x2 - x1)
    return Region(x, y, _MARGIN * max(box.width_px, box.height_px), angle)


def box_of_landmarks(landmarks: Points) -> Box:
    """The tight box of the mesh, from hairline to chin."""
    x1, y1 = landmarks.min(axis=0).tolist()[:2]
    x2, y2 = landmarks.max(axis=0).tolist()[:2]
    return Box(x1, y1, x2, y2)
