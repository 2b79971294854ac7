"""One number for how tired the driver looks. A project convention, never a KSS.

    PERCLOS (60 s)        0 → 0    0.075 → 25    0.15 → 60    0.30 → 90    1 → 100
    longest closure       1.0 s → 60, 1.5 s → 75, 3 s → 95, 6 s → 100, fading over `recovery_s`
    yawns in the window   10 each, 20 at most: they corroborate

The band edges of PERCLOS are those of the policy's sources (0.075 awake, 0.15 drowsy, 0.30
severe); the numbers beside them are ours.
"""

from dataclasses import dataclass
from itertools import pairwise

from monitor.types import Reading

_PERCLOS = ((0.0, 0.0), (0.075, 25.0), (0.15, 60.0), (0.30, 90.0), (1.0, 100.0))
_CLOSURE = ((0.0, 0.0), (0.5, 0.0), (1.0, 60.0), (1.5, 75.0), (3.0, 95.0), (6.0, 100.0))
_YAWN, _YAWNS_AT_MOST = 10.0, 20.0


@dataclass
class Fatigue:
    """0..100; None until something was observed long enough."""

    recovery_s: float
    _peak: float = 0.0
    _peak_s: float = 0.0

    def update(
        self, reading: Reading, perclos: float | None, closed_s: float, yawns: int
    ) -> float | None:
        """The level now."""
        now_s = reading.timestamp_s
        faded = self._peak
        if self.recovery_s > 0:
            faded = max(0.0, self._peak * (1 - (now_s - self._peak_s) / self.recovery_s))
        closure = _along(_CLOSURE, closed_s)
        if closure >= faded:
            self._peak, self._peak_s, faded = closure, now_s, closure
        yawned = min(yawns * _YAWN, _YAWNS_AT_MOST)
        if perclos is None and faded == 0 and yawned == 0:
            return None
        measured = 0.0 if perclos is None else _along(_PERCLOS, perclos)
        return round(min(max(measured, faded) + yawned, 100.0), 1)


def _along(line: tuple[tuple[float, float], ...], x: float) -> float:
    for (x0, y0), (x1, y1) in pairwise(line):
        if x <= x1:
            return y0 + (y1 - y0) * (x - x0) / (x1 - x0)
    return line[-1][1]
