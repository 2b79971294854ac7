"""Can anything be seen on this picture? Light, contrast, a face, and whose it is."""

import math
from dataclasses import dataclass

from monitor.policy import Policy
from monitor.types import Box, CameraCondition, Cause, Observation, Quality

# Two faces change places in the driver's track: ambiguous for this long.
_AMBIGUOUS_S = 2.0
_CONDITIONS = {
    CameraCondition.LOST: Cause.CAMERA_LOST,
    CameraCondition.FROZEN: Cause.CAMERA_FROZEN,
    CameraCondition.DARK: Cause.LOW_LIGHT,
    CameraCondition.GLARE: Cause.GLARE,
    CameraCondition.TURNED: Cause.CAMERA_TURNED,
}
BLIND = frozenset({*_CONDITIONS.values(), Cause.OBSCURED})


def picture_causes(observation: Observation, policy: Policy) -> frozenset[Cause]:
    """What impairs the picture itself: the camera's own word, light and contrast, failed stages."""
    causes = set()
    quality, limits = observation.quality, policy.quality
    if observation.condition in _CONDITIONS:
        causes.add(_CONDITIONS[observation.condition])
    if quality is not None:
        if quality.brightness < limits.obscured_brightness:
            causes.add(Cause.OBSCURED)
            causes.discard(Cause.LOW_LIGHT)
        elif quality.brightness < limits.min_brightness:
            causes.add(Cause.LOW_LIGHT)
        elif quality.brightness > limits.max_brightness or (
            quality.contrast < limits.min_contrast and quality.brightness > 128
        ):
            causes.add(Cause.GLARE)
        elif quality.contrast < limits.min_contrast:
            causes.add(Cause.OBSCURED)
    if observation.errors:
        causes.add(Cause.MODEL_ERROR)
    return frozenset(causes)


def is_present(observation: Observation, *, blind: bool) -> bool | None:
    """Somebody sits in the driver's place; None where the picture does not say."""
    if blind:
        return None
    if observation.face is not None or observation.detection is not None:
        return True
    return None if observation.errors else False


def is_sharp(quality: Quality | None, policy: Policy) -> bool:
    """Blurred or tiny faces still have a mesh, but their lids are guessed."""
    if quality is None:
        return True
    limits = policy.quality
    if quality.sharpness is not None and quality.sharpness < limits.min_sharpness:
        return False
    tall = quality.face_height_px
    return tall is None or tall >= limits.min_face_height_px


@dataclass
class Jumps:
    """Notices when the driver's track jumps to another face: whose eyes are these?"""

    max_gap_s: float
    _face: tuple[float, Box] | None = None
    _jumped_s: float = -math.inf

    def update(self, observation: Observation) -> bool:
        """True for a while after a jump."""
        now_s, box = observation.timestamp_s, observation.face
        if box is not None:
            if self._face is not None and observation.faces > 1:
                then_s, before = self._face
                if now_s - then_s <= self.max_gap_s and before.iou(box) == 0:
                    self._jumped_s = now_s
            self._face = (now_s, box)
        return now_s - self._jumped_s <= _AMBIGUOUS_S
