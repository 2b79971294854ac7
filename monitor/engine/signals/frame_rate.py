"""Whether enough frames come to see a closure by."""

from collections import deque
from dataclasses import dataclass, field

from monitor.types import Reading


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
