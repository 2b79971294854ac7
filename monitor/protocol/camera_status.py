"""What a camera delivers, published only once it has lasted: a flicker is no news."""

from monitor.protocol.schemas import CameraStatus
from monitor.types import CameraCondition, Cause, DriverState

# Longer than a reconnect's hiccup, shorter than the 10 s in which an impairment must be told.
LASTING_S = 2.0

_BY_CAUSE = {
    Cause.CAMERA_LOST: CameraStatus.OFFLINE,
    Cause.CAMERA_FROZEN: CameraStatus.FROZEN,
    Cause.OBSCURED: CameraStatus.OBSCURED,
    Cause.CAMERA_TURNED: CameraStatus.OBSCURED,
}
_BY_CONDITION = {
    CameraCondition.OK: CameraStatus.ONLINE,
    CameraCondition.LOST: CameraStatus.OFFLINE,
    CameraCondition.FROZEN: CameraStatus.FROZEN,
    CameraCondition.DARK: CameraStatus.OBSCURED,
    CameraCondition.GLARE: CameraStatus.OBSCURED,
    CameraCondition.TURNED: CameraStatus.OBSCURED,
}


class StatusFilter:
    """Debounces one camera's status.

    Attributes:
        status: as last published; None before the first frame.
    """

    def __init__(self, lasting_s: float = LASTING_S) -> None:
        self.status: CameraStatus | None = None
        self._lasting_s = lasting_s
        self._candidate: CameraStatus | None = None
        self._since_s = 0.0

    def update(self, condition: CameraCondition, state: DriverState) -> CameraStatus | None:
        """The new status if it has changed for good with this frame; None otherwise."""
        now = next((_BY_CAUSE[c] for c in state.degraded if c in _BY_CAUSE), None)
        now = now or _BY_CONDITION[condition]
        if now is self.status:
            self._candidate = None
            return None
        if now is not self._candidate:
            self._candidate, self._since_s = now, state.timestamp_s
        lasted = state.timestamp_s - self._since_s >= self._lasting_s
        if self.status is not None and not lasted:
            return None
        self.status, self._candidate = now, None
        return now
