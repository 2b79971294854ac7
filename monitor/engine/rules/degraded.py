"""The watch itself is impaired: told with its cause, and told when it is over."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from monitor.engine.finding import EPSILON_S, Finding, reached
from monitor.types import Cause, DegradedEvidence, Kind, Level, Reading


@dataclass
class Degraded:
    """One cause: held for `after_s` it is told, gone for `clear_s` it is over."""

    cause: Cause
    after_s: float
    clear_s: float
    level: Level
    _since_s: float | None = None
    _until_s: float = 0.0
    _told: bool = False

    def update(self, reading: Reading) -> Finding | None:
        """The impairment in progress."""
        now_s = reading.timestamp_s
        if self.cause in reading.causes:
            self._since_s = now_s if self._since_s is None else self._since_s
            self._until_s = now_s
        elif self._since_s is not None and (
            not self._told or now_s - self._until_s > self.clear_s + EPSILON_S
        ):
            self._since_s, self._told = None, False
        if self._since_s is None or not (
            self._told or reached(now_s - self._since_s, self.after_s)
        ):
            return None
        self._told = True
        return Finding(
            track=f"degraded:{self.cause}",
            kind=Kind.DEGRADED,
            level=self.level,
            since_s=self._since_s,
            until_s=self._until_s,
            evidence=DegradedEvidence(cause=self.cause),
        )


@dataclass
class FrameRate:
    """Frames a second over the last `window_s`, against the least the rules need."""

    min_fps: float
    window_s: float = 5.0
    # A source of exactly the least rate must not flicker.
    slack: float = 0.9
    _times_s: deque[float] = field(default_factory=deque)

    def update(self, reading: Reading) -> bool:
        """True when too few frames come to see a closure by."""
        now_s = reading.timestamp_s
        self._times_s.append(now_s)
        while now_s - self._times_s[0] > self.window_s and len(self._times_s) > 2:
            self._times_s.popleft()
        spent_s = now_s - self._times_s[0]
        if spent_s < 1.0:
            return False
        return (len(self._times_s) - 1) / spent_s < self.min_fps * self.slack


# What a person should hear of first.
URGENCY: Mapping[Cause, int] = {
    cause: place
    for place, cause in enumerate(
        (
            Cause.CAMERA_LOST,
            Cause.CAMERA_FROZEN,
            Cause.CAMERA_TURNED,
            Cause.MODEL_ERROR,
            Cause.OBSCURED,
            Cause.LOW_LIGHT,
            Cause.GLARE,
            Cause.NO_FACE,
            Cause.EYES_NOT_VISIBLE,
            Cause.MULTIPLE_FACES,
            Cause.LOW_FPS,
            Cause.UNCALIBRATED,
        )
    )
}
