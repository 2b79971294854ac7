"""A head that drops at once while the eyes are closed: corroborates a closure, alarms nobody."""

from collections import deque
from dataclasses import dataclass, field

from monitor.types import Eyes, Reading


@dataclass
class Nod:
    """Pitch falls by `pitch_drop_deg` within `within_s`, eyes closed for `eyes_closed_s`."""

    pitch_drop_deg: float
    within_s: float
    eyes_closed_s: float
    _pitch: deque[tuple[float, float]] = field(default_factory=deque)
    _closed_since_s: float | None = None
    _nodded: bool = False

    def update(self, reading: Reading) -> bool:
        """True from the nod on for as long as the eyes are not seen open."""
        now_s = reading.timestamp_s
        if reading.eyes is Eyes.OPEN:
            self._closed_since_s, self._nodded = None, False
        elif reading.eyes is Eyes.CLOSED and self._closed_since_s is None:
            self._closed_since_s = now_s
        if reading.pose is not None:
            self._pitch.append((now_s, reading.pose.pitch_deg))
        while self._pitch and now_s - self._pitch[0][0] > self.within_s:
            self._pitch.popleft()
        if self._closed_since_s is not None and self._pitch:
            long_enough = now_s - self._closed_since_s >= self.eyes_closed_s
            fell = max(pitch for _, pitch in self._pitch) - self._pitch[-1][1]
            self._nodded = self._nodded or (long_enough and fell >= self.pitch_drop_deg)
        return self._nodded
