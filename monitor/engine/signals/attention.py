"""Where the driver looks: is it the road? And for how long has the driver been attentive again?"""

import math
from dataclasses import dataclass

from monitor.engine.finding import EPSILON_S
from monitor.types import Eyes, Reading


@dataclass
class Road:
    """Head pose against neutral, and lowered eyes; back `slack_deg` inside the limit."""

    yaw_deg: float
    pitch_down_deg: float
    pitch_up_deg: float
    slack_deg: float
    _away: bool = False

    def update(self, reading: Reading) -> bool | None:
        """True when turned to the road, False when turned away, None when nobody can tell."""
        if reading.looking_down:
            self._away = True
            return False
        pose = reading.pose if reading.neutral_known else None
        if pose is None:
            # Eyes seen open without a pose: a face too small for landmarks, looked at frontally;
            # or nobody knows yet where this driver's road is.
            return True if reading.eyes is Eyes.OPEN and not self._away else None
        slack = self.slack_deg if self._away else 0.0
        self._away = (
            abs(pose.yaw_deg) > self.yaw_deg - slack
            or pose.pitch_deg < -self.pitch_down_deg + slack
            or pose.pitch_deg > self.pitch_up_deg - slack
        )
        return not self._away


@dataclass
class AttentionTime:
    """Seconds of open eyes on the road, without a break longer than a blink."""

    blink_s: float
    tolerance_s: float
    max_gap_s: float
    attentive_s: float = 0.0
    answered_s: float = -math.inf
    _before_s: float | None = None
    _broken_s: float | None = None

    def update(self, reading: Reading, on_road: bool | None) -> float:
        """The time so far; blinks and short unknowns stop the count, longer ones undo it."""
        now_s = reading.timestamp_s
        before_s, self._before_s = self._before_s, now_s
        gap_s = 0.0 if before_s is None else now_s - before_s
        if gap_s > self.max_gap_s:
            self.attentive_s, self._broken_s, gap_s = 0.0, None, 0.0
        if reading.eyes is Eyes.OPEN and on_road is not False:
            self.attentive_s += gap_s
            self._broken_s = None
            if self.attentive_s >= self.tolerance_s - EPSILON_S:
                self.answered_s = now_s
            return self.attentive_s
        self._broken_s = self._broken_s if self._broken_s is not None else now_s - gap_s / 2
        away = on_road is False and reading.eyes is not Eyes.CLOSED
        patience_s = self.tolerance_s if away else self.blink_s
        if now_s - self._broken_s > patience_s + EPSILON_S:
            self.attentive_s = 0.0
        return self.attentive_s
