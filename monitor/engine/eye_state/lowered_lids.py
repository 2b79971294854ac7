"""Lids lowered to look down, told apart from lids that close: the hardest case of the field.

By the aspect ratio alone the two are one. Two signs speak for a look down:

- the irises sit low and the lower lid stays where it is, while a closing eye raises it;
- the head goes down a little together with the lids. Much is a nod, and later is a head that sinks
  in sleep.
"""

from collections import deque
from dataclasses import dataclass, field

from monitor.policy import Policy
from monitor.types import Calibration, HeadPose, Observation


@dataclass
class LoweredLids:
    """Judges each observation; remembers the head's pitch from just before the lids fell."""

    policy: Policy
    _pitches: deque[tuple[float, float]] = field(default_factory=deque)
    _fell_s: float | None = None
    _with_head: bool = False

    def update(
        self,
        observation: Observation,
        calibration: Calibration,
        openness: float,
        pose: HeadPose | None,
    ) -> bool:
        """True while the lids are down as in looking down.

        Args:
            observation: gaze and lower lid, where measured.
            calibration: the driver's own open lower lid.
            openness: share of the driver's own open eye.
            pose: relative to neutral.
        """
        now_s = observation.timestamp_s
        if openness > self.policy.eye.openness.closed_exit:
            self._fell_s, self._with_head = None, False
            self._remember(now_s, pose)
            return False
        self._fell_s = now_s if self._fell_s is None else self._fell_s
        by_lid = self._lower_lid_stays(observation, calibration)
        if by_lid is not None:
            return by_lid
        return self._head_went_along(now_s, pose)

    def _remember(self, now_s: float, pose: HeadPose | None) -> None:
        if pose is not None:
            self._pitches.append((now_s, pose.pitch_deg))
        within_s = self.policy.evidence.looking_down.within_s
        while self._pitches and now_s - self._pitches[0][0] > within_s:
            self._pitches.popleft()

    def _lower_lid_stays(self, observation: Observation, calibration: Calibration) -> bool | None:
        """None where the lower lid was not measured or does not say."""
        lid, gaze = observation.lower_lid, observation.gaze_down
        if lid is None or gaze is None or not calibration.lower_lid_open:
            return None
        signs, kept = self.policy.evidence.looking_down, lid / calibration.lower_lid_open
        if kept >= signs.lower_lid and gaze >= signs.gaze_down:
            return True
        return False if kept < signs.lower_lid_least else None

    def _head_went_along(self, now_s: float, pose: HeadPose | None) -> bool:
        if pose is None or not self._pitches or self._fell_s is None:
            return False
        sank_deg = max(pitch for _, pitch in self._pitches) - pose.pitch_deg
        signs = self.policy.evidence.looking_down
        if not signs.pitch_change_deg <= sank_deg < self.policy.nod.pitch_drop_deg:
            self._with_head = False
        elif now_s - self._fell_s <= signs.within_s:
            self._with_head = True
        # Begun in time, it goes on for as long as the head stays down.
        return self._with_head
