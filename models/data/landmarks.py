"""Landmarks of face crops by MediaPipe: a teacher for the landmark branch, a check of alignment.

68 points in the order of iBUG 300-W, picked from MediaPipe's mesh, as shares of the crop. Used in
training and in checks of data sets only; the watch has its own mesh.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from models.inference.native_logs import native_stderr_silenced
from models.registry import FaceAlignment

if TYPE_CHECKING:
    from mediapipe.python.solutions.face_mesh import FaceMesh

Points = NDArray[np.float32]
Pixels = NDArray[np.uint8]

# Mesh vertex of each of the 68 points of 300-W: jaw, brows, nose, eyes, outer and inner lips.
MESH_OF_68 = (
    162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389,
    71, 63, 105, 66, 107, 336, 296, 334, 293, 301, 168, 197, 5, 4, 75, 97, 2, 326, 305,
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,
    61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87,
)  # fmt: skip
# Where each point goes when the picture is mirrored.
MIRROR_OF_68 = (
    *range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, 35, 34, 33, 32, 31,
    45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,
    54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65,
)  # fmt: skip
RIGHT_EYE, LEFT_EYE = slice(36, 42), slice(42, 48)
# The face detector in front of the mesh wants some room round the face.
ROOM = 0.25
MESH_PX = 256


def find_landmarks(crops: Iterable[Pixels]) -> Iterator[Points]:
    """Landmarks (68, 2) of each RGB crop (H, W, 3), as shares of it; NaN where no face is found."""
    with native_stderr_silenced():
        import mediapipe  # noqa: PLC0415 - half a second and a GL context, only where it is used

        mesh = mediapipe.solutions.face_mesh.FaceMesh(
            static_image_mode=True, max_num_faces=1, min_detection_confidence=0.3
        )
        _landmarks(mesh, np.zeros((8, 8, 3), np.uint8))  # it speaks up at its first picture
    with mesh:
        for crop in crops:
            yield _landmarks(mesh, crop)


def _landmarks(mesh: "FaceMesh", crop: Pixels) -> Points:
    inner = round(MESH_PX / (1 + 2 * ROOM))
    room = (MESH_PX - inner) // 2
    face = cv2.resize(crop, (inner, inner), interpolation=cv2.INTER_CUBIC)
    face = cv2.copyMakeBorder(face, room, room, room, room, cv2.BORDER_REFLECT)
    meshes = mesh.process(face).multi_face_landmarks
    if not meshes:
        return np.full((68, 2), np.nan, dtype=np.float32)
    points = np.array([(meshes[0].landmark[i].x, meshes[0].landmark[i].y) for i in MESH_OF_68])
    shares: Points = ((points * face.shape[0] - room) / inner).astype(np.float32)
    return shares


@dataclass(frozen=True, slots=True)
class Alignment:
    """How faces sit in their crops: medians over those found.

    Attributes:
        crops, faces: how many were looked at, and in how many there is a face.
        eyes_xy: middle between the eyes, as shares of the crop.
        eyes_apart: distance of the eyes' centres as a share of the crop's width.
        roll_deg: median absolute tilt of the line between the eyes.
    """

    crops: int
    faces: int
    eyes_xy: tuple[float, float]
    eyes_apart: float
    roll_deg: float


def measure_alignment(crops: Sequence[Pixels]) -> Alignment:
    """How the faces sit in these RGB crops."""
    points = np.stack(list(find_landmarks(crops))) if len(crops) else np.empty((0, 68, 2))
    points = points[np.isfinite(points).all((1, 2))]
    if not len(points):
        return Alignment(len(crops), 0, (np.nan, np.nan), np.nan, np.nan)
    right, left = points[:, RIGHT_EYE].mean(1), points[:, LEFT_EYE].mean(1)
    middle, across = np.median((right + left) / 2, axis=0), left - right
    roll = np.degrees(np.arctan2(across[:, 1], across[:, 0]))
    return Alignment(
        crops=len(crops),
        faces=len(points),
        eyes_xy=(round(float(middle[0]), 3), round(float(middle[1]), 3)),
        eyes_apart=round(float(np.median(np.linalg.norm(across, axis=1))), 3),
        roll_deg=round(float(np.median(np.abs(roll))), 1),
    )


def misalignments(measured: Alignment, expected: FaceAlignment) -> list[str]:
    """Where the faces do not sit as the model's card says they must, one line a fault.

    Args:
        measured: of a sample of the data.
        expected: `alignment` of a model card; one without `eyes_xy` asks for nothing.
    """
    return list(_faults(measured, expected))


def _faults(measured: Alignment, expected: FaceAlignment) -> Iterator[str]:
    if "eyes_xy" not in expected:
        return
    if measured.faces < 0.5 * measured.crops:
        yield f"a face was found in only {measured.faces} of {measured.crops} sampled pictures"
    if not measured.faces:
        return
    tolerance = float(expected.get("tolerance", 0.08))
    for axis, have, want in zip("xy", measured.eyes_xy, expected["eyes_xy"], strict=True):
        if abs(have - want) > tolerance:
            yield f"eyes sit at {axis} = {have:.2f} of the crop, {want:.2f} expected"
    if abs(measured.eyes_apart - expected["eyes_apart"]) > tolerance:
        apart = expected["eyes_apart"]
        yield f"eyes are {measured.eyes_apart:.2f} of the crop apart, {apart:.2f} expected"
    if measured.roll_deg > 10:
        yield f"heads are tilted by {measured.roll_deg:.0f}°, upright expected"
