"""Turn the head of one picture: a relief of the mesh's own depth and a rounded skull around it."""

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import RBFInterpolator

from models.synthesis.face_warp import CHIN, FACE_OVAL, FOREHEAD, NOSE_TIP, Image, Landmarks

_Field = NDArray[np.float32]


def turn_head(
    image: Image,
    landmarks: Landmarks,
    yaw_deg: float = 0.0,
    pitch_deg: float = 0.0,
    roll_deg: float = 0.0,
) -> Image:
    """The head turned on its neck; convincing to about 40 degrees of yaw and 30 of pitch.

    Args:
        image: (H, W, 3) or (H, W, 4) uint8.
        landmarks: its mesh.
        yaw_deg, pitch_deg, roll_deg: signs as COVESA VSS: yaw + left, pitch + up, roll + right,
            left and right the driver's own.
    """
    relief = HeadRelief((image.shape[0], image.shape[1]), landmarks)
    x, y = relief.maps(yaw_deg, pitch_deg, roll_deg)
    return np.asarray(cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))


class HeadRelief:
    """The head of one picture as a height field on a coarse grid, ready to be turned.

    Args:
        hw: height and width of the picture in pixels.
        landmarks: its mesh.
        step_px: spacing of the grid.
    """

    def __init__(self, hw: tuple[int, int], landmarks: Landmarks, step_px: int = 6) -> None:
        self._hw = hw
        height, width = hw
        self._grid_hw = (height // step_px + 2, width // step_px + 2)
        rows, columns = np.indices(self._grid_hw, np.float32)
        self._x = columns * (width - 1) / (self._grid_hw[1] - 1)
        self._y = rows * (height - 1) / (self._grid_hw[0] - 1)
        oval = landmarks[list(FACE_OVAL)]
        self._centre = oval[:, :2].mean(0)
        self.face_px = float(np.linalg.norm(landmarks[CHIN, :2] - landmarks[FOREHEAD, :2]))
        self._depth = self._depth_of(landmarks)
        self._weight = self._weight_of(landmarks)
        chin = landmarks[CHIN, :2]
        nose_z = float(landmarks[NOSE_TIP, 2])
        # The skull rocks on the spine about level with the mouth, well behind the face.
        pivot = chin + 0.15 * (self._centre - chin)
        self._pivot = (float(pivot[0]), float(pivot[1]), nose_z + 0.75 * self.face_px)

    def _depth_of(self, landmarks: Landmarks) -> _Field:
        oval = landmarks[list(FACE_OVAL)]
        face_z = float(np.median(oval[:, 2]))
        rings = [landmarks[::4]]
        for grow, back in ((1.25, 0.22), (1.6, 0.42), (2.2, 0.5), (4.0, 0.5)):
            ring = oval.copy()
            ring[:, :2] = self._centre + (oval[:, :2] - self._centre) * grow
            ring[:, 2] = 0.3 * oval[:, 2] + 0.7 * face_z + back * self.face_px
            rings.append(ring)
        surface = np.vstack(rings)
        spline = RBFInterpolator(
            surface[:, :2], surface[:, 2], neighbors=24, smoothing=2.0, kernel="linear"
        )
        depth = spline(np.stack([self._x.ravel(), self._y.ravel()], -1)).reshape(self._grid_hw)
        fine, coarse = (cv2.GaussianBlur(depth.astype(np.float32), (0, 0), s) for s in (1.2, 3.0))
        # Under the chin the depth falls off too steeply for a height field: it would fold.
        chin = _smooth((self._y - landmarks[NOSE_TIP, 1]) / self.face_px, 0.3)
        return np.asarray(fine * (1 - chin) + coarse * chin, np.float32)

    def _weight_of(self, landmarks: Landmarks) -> _Field:
        """1 on the head, fading to 0 over the neck and round the hair."""
        down = (landmarks[CHIN, :2] - landmarks[FOREHEAD, :2]) / self.face_px
        dx, dy = self._x - self._centre[0], self._y - self._centre[1]
        t = (dx * down[0] + dy * down[1]) / self.face_px
        s = (dx * down[1] - dy * down[0]) / self.face_px
        radius = np.hypot(s / 0.9, np.where(t < 0, t / 1.1, 0))
        return np.asarray(_smooth(1.6 - radius, 0.6) * _smooth(1.15 - t, 0.65), np.float32)

    def maps(
        self,
        yaw_deg: float,
        pitch_deg: float,
        roll_deg: float,
        shift_px: tuple[float, float] = (0.0, 0.0),
        window: tuple[int, int] | None = None,
    ) -> tuple[_Field, _Field]:
        """Maps for `cv2.remap`: where every pixel of the new picture comes from.

        The forward motion is inverted by fixed-point iteration on the grid; damping keeps it
        steady where the far cheek folds behind the nose.

        Args:
            yaw_deg, pitch_deg, roll_deg: signs as COVESA VSS.
            shift_px: the whole picture moved right and down.
            window: left edge and width of the columns wanted; None for all.
        """
        move_x, move_y = self._motion(yaw_deg, pitch_deg, roll_deg)
        scale_x = (self._grid_hw[1] - 1) / (self._hw[1] - 1)
        scale_y = (self._grid_hw[0] - 1) / (self._hw[0] - 1)
        target_x, target_y = self._x - shift_px[0], self._y - shift_px[1]
        x, y = target_x, target_y
        for _ in range(10):
            at = (x * scale_x).astype(np.float32), (y * scale_y).astype(np.float32)
            back_x = cv2.remap(move_x, *at, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            back_y = cv2.remap(move_y, *at, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            x, y = x + 0.7 * (target_x - back_x - x), y + 0.7 * (target_y - back_y - y)
        left, width = window or (0, self._hw[1])
        return self._enlarge(x, left, width), self._enlarge(y, left, width)

    def _motion(self, yaw_deg: float, pitch_deg: float, roll_deg: float) -> tuple[_Field, _Field]:
        rotation = rotation_matrix(yaw_deg, pitch_deg, roll_deg)
        px, py, pz = self._pivot
        rel = np.stack([self._x - px, self._y - py, self._depth - pz], -1).astype(np.float32)
        turned = rel @ rotation.T
        move = (turned - rel) * self._weight[..., None]
        return np.ascontiguousarray(move[..., 0]), np.ascontiguousarray(move[..., 1])

    def _enlarge(self, coarse: _Field, left: int, width: int) -> _Field:
        """Bilinear, with the grid's corners on the picture's corners (cv2.resize puts them off)."""
        scale_x = (self._hw[1] - 1) / (self._grid_hw[1] - 1)
        scale_y = (self._hw[0] - 1) / (self._grid_hw[0] - 1)
        warp = np.array([[scale_x, 0, -left], [0, scale_y, 0]])
        full = cv2.warpAffine(
            coarse.astype(np.float32), warp, (width, self._hw[0]), borderMode=cv2.BORDER_REPLICATE
        )
        return np.asarray(full)


def rotation_matrix(yaw_deg: float, pitch_deg: float, roll_deg: float) -> _Field:
    """Rotation of a head seen by a camera (x right, y down, z away), VSS signs, (3, 3)."""
    yaw, pitch, roll = np.radians([yaw_deg, pitch_deg, roll_deg])
    about_y = [[np.cos(yaw), 0, -np.sin(yaw)], [0, 1, 0], [np.sin(yaw), 0, np.cos(yaw)]]
    about_x = [[1, 0, 0], [0, np.cos(pitch), np.sin(pitch)], [0, -np.sin(pitch), np.cos(pitch)]]
    about_z = [[np.cos(roll), np.sin(roll), 0], [-np.sin(roll), np.cos(roll), 0], [0, 0, 1]]
    turned = np.array(about_z) @ np.array(about_y) @ np.array(about_x)
    return np.asarray(turned, np.float32)


def _smooth(value: _Field, over: float) -> _Field:
    """0 below 0, 1 above `over`, a smooth step between."""
    x = np.clip(value / over, 0, 1)
    return x * x * (3 - 2 * x)
