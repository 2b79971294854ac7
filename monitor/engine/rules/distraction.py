"""Eyes off the road: one long look, a look into the low area, or many short ones (VATS)."""

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Literal

from monitor.engine.finding import EPSILON_S, Elapsed, Finding, reached, rounded
from monitor.policy.rules import DistractionPolicy, LevelsPolicy, VatsPolicy
from monitor.types import DistractionEvidence, Kind, Reading

LimitName = Literal["long", "addw", "vats"]


@dataclass
class Look:
    """Seconds since the eyes left; a glance back no longer than `tolerance_s` does not count.

    Over the unknown a look in progress goes on for `hold_s` and then stands still.
    """

    tolerance_s: float
    hold_s: float
    max_gap_s: float
    seconds: float = 0.0
    since_s: float | None = None
    until_s: float = 0.0
    _elapsed: Elapsed | None = None
    _was: bool | None = None
    _back_s: float = 0.0
    _unknown_s: float = 0.0

    def update(self, now_s: float, away: bool | None) -> float:
        """The length of the look in progress; 0 when the eyes are on the road."""
        self._elapsed = self._elapsed or Elapsed(self.max_gap_s)
        was, self._was = self._was, away
        for start_s, end_s, state in self._elapsed.spans(now_s, was, away, None):
            if state:
                self._go_on(start_s, end_s)
            elif self.since_s is not None:
                self._carry(end_s - start_s) if state is None else self._return(end_s - start_s)
        return self.seconds

    def _go_on(self, start_s: float, end_s: float) -> None:
        if self.since_s is None:
            self.since_s, self.seconds = start_s, 0.0
        self.seconds += end_s - start_s + self._back_s
        self._back_s = self._unknown_s = 0.0
        self.until_s = end_s

    def _carry(self, seconds: float) -> None:
        self.seconds += min(seconds, max(self.hold_s - self._unknown_s, 0.0))
        self._unknown_s += seconds

    def _return(self, seconds: float) -> None:
        self._back_s += seconds
        if self._back_s > self.tolerance_s + EPSILON_S:
            self.since_s, self.seconds = None, 0.0
            self._back_s = self._unknown_s = 0.0


@dataclass
class Sharing:
    """VATS: seconds away within a window, forgotten after enough seconds forward."""

    limits: VatsPolicy
    max_gap_s: float
    seconds: float = 0.0
    since_s: float | None = None
    _elapsed: Elapsed | None = None
    _was: bool | None = None
    _away: deque[tuple[float, float]] = field(default_factory=deque)
    _forward_s: float = 0.0

    def update(self, now_s: float, away: bool | None) -> float:
        """Seconds away within the window; the unknown counts neither way."""
        self._elapsed = self._elapsed or Elapsed(self.max_gap_s)
        was, self._was = self._was, away
        for start_s, end_s, state in self._elapsed.spans(now_s, was, away, None):
            if state:
                self._forward_s = 0.0
                self._extend(start_s, end_s)
            elif state is False:
                self._look_forward(start_s, end_s)
        from_s = now_s - self.limits.window_s
        while self._away and self._away[0][1] <= from_s:
            self._away.popleft()
        self.since_s = self._away[0][0] if self._away else None
        self.seconds = sum(end - max(start, from_s) for start, end in self._away)
        return self.seconds

    def _look_forward(self, start_s: float, end_s: float) -> None:
        # The eye needs a moment to adapt after it has come back to the road.
        adapting_s = min(self.limits.adaptation_s - self._forward_s, end_s - start_s)
        if self._away and adapting_s > 0:
            self._extend(start_s, start_s + adapting_s)
        self._forward_s += end_s - start_s
        if reached(self._forward_s, self.limits.reset_forward_s):
            self._away.clear()

    def _extend(self, start_s: float, end_s: float) -> None:
        if self._away and abs(self._away[-1][1] - start_s) < EPSILON_S:
            start_s = self._away.pop()[0]
        self._away.append((start_s, end_s))


class Distraction:
    """Long look, low area and VATS in one track: the driver hears of one distraction at a time.

    Args:
        limits, levels: of the policy.
        hold_s: over the unknown a look in progress goes on for so long.
        max_gap_s: a longer gap between readings was observed by nobody.
    """

    def __init__(
        self,
        limits: DistractionPolicy,
        levels: LevelsPolicy,
        *,
        hold_s: float,
        max_gap_s: float,
    ) -> None:
        self._limits = limits
        self._level = levels.distraction
        self._look = Look(limits.in_out_tolerance_s, hold_s, max_gap_s)
        self._low_look = Look(limits.in_out_tolerance_s, hold_s, max_gap_s)
        self._sharing = Sharing(limits.vats, max_gap_s)
        self._broken_limit: tuple[LimitName, float, float] | None = None

    @property
    def strength(self) -> float:
        """0..1: how near the nearest of the limits is."""
        long_s = self._limits.long.nominal_s
        long = self._look.seconds / long_s if long_s else 0.0
        limit_s = self._limits.vats.cumulative_s
        shared = self._sharing.seconds / limit_s if limit_s else 0.0
        return min(max(long, shared), 1.0)

    def update(self, reading: Reading, away: bool | None) -> Finding | None:
        """The distraction in progress, with the limit that was broken."""
        now_s = reading.timestamp_s
        self._look.update(now_s, away)
        self._low_look.update(now_s, self._low(reading, away))
        self._sharing.update(now_s, away)
        self._broken_limit = self._broken(reading.speed_kmh, away)
        if self._broken_limit is None:
            return None
        limit, since_s, seconds = self._broken_limit
        pose = reading.pose
        return Finding(
            track="distraction",
            kind=Kind.DISTRACTION,
            level=self._level,
            since_s=since_s,
            until_s=max(self._look.until_s, since_s),
            evidence=DistractionEvidence(
                limit=limit,
                away_s=round(seconds, 3),
                looking_down=bool(reading.looking_down),
                yaw_deg=rounded(pose.yaw_deg, 1) if pose else None,
                pitch_deg=rounded(pose.pitch_deg, 1) if pose else None,
            ),
        )

    def _broken(
        self, speed_kmh: float | None, away: bool | None
    ) -> tuple[LimitName, float, float] | None:
        """Which limit is broken: its name, since when, and by how many seconds away.

        Half a frame is guessed, so eyes seen on the road break no new limit.
        """
        broken = self._broken_limit[0] if self._broken_limit else None
        look, low, sharing = self._look, self._low_look, self._sharing
        limits: tuple[tuple[LimitName, float | None, float, float], ...] = (
            ("long", look.since_s, look.seconds, self._limits.long.nominal_s),
            ("addw", low.since_s, low.seconds, self._low_limit_s(speed_kmh)),
            ("vats", sharing.since_s, sharing.seconds, self._limits.vats.cumulative_s),
        )
        for name, since_s, seconds, limit_s in limits:
            if since_s is None or not reached(seconds, limit_s):
                continue
            if away is not False or name == broken:
                return name, since_s, seconds
        return None

    def _low(self, reading: Reading, away: bool | None) -> bool | None:
        if not away or reading.pose is None:
            return away if away is not True else None
        steep = min((area.low_deg for area in self._limits.addw), default=90.0)
        return bool(reading.looking_down) or reading.pose.pitch_deg <= -steep

    def _low_limit_s(self, speed_kmh: float | None) -> float:
        fast = (
            area.max_s
            for area in self._limits.addw
            if speed_kmh is None or speed_kmh >= area.min_speed_kmh
        )
        return min(fast, default=math.inf)
