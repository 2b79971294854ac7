"""The driver's own baseline: how wide these eyes open, how this head looks at the road.

Until enough has been seen the population's values count, giving way within the first seconds to a
provisional baseline of what has been seen so far. Learning ends when the valid time is complete:
lids that droop over the next twenty minutes are a sign, not a new normal. A sharp step that holds
(glasses put on or off) is another condition, with a baseline of its own.
"""

import hashlib
import math
from collections import deque
from dataclasses import dataclass, field, replace
from statistics import median

from monitor.policy import Policy
from monitor.types import Calibration, CameraCondition, HeadPose, Observation

# Beyond it the cosines explode and the pose gate has long closed.
_MAX_CORRECTION_DEG = 40.0
_BEFORE_STEP_S = 5
_STEADY_SHARE = 0.05
# Lids are learned on a head that looks ahead, give or take a glance at a mirror.
_NEAR_NEUTRAL_DEG = 20.0
# A stated mount gives way to what is seen only so near to it.
_NEAR_MOUNT_DEG = 15.0


def frontal_ear(
    observation: Observation, weights: tuple[float, float] = (1.0, 1.0)
) -> float | None:
    """Mean EAR of the measured eyes, as a camera straight ahead would see it.

    EAR inflates with 1/cos(yaw) and deflates with cos(pitch) (arXiv 2604.22479); both are taken
    back where the head pose is known. An eye that the network does not see, behind a patch or hair,
    does not count beside one that it sees: there the mesh only guesses.

    Args:
        observation: what was measured.
        weights: how much the driver's own (left, right) eye counts.
    """
    ears = (observation.ear_left, observation.ear_right)
    eyes = (observation.eye_left, observation.eye_right)
    hidden = [eye is not None and eye.hidden for eye in eyes]
    if any(hidden) and not all(hidden):
        weights = (weights[0] * (not hidden[0]), weights[1] * (not hidden[1]))
    measured = [
        (ear, weight)
        for ear, weight in zip(ears, weights, strict=True)
        if ear is not None and weight > 0
    ]
    if not measured:
        return None
    ear = sum(ear * weight for ear, weight in measured) / sum(weight for _, weight in measured)
    pose = observation.pose
    if pose is None:
        return ear
    return ear * _cos(pose.yaw_deg) / _cos(pose.pitch_deg)


def _cos(angle_deg: float) -> float:
    return math.cos(math.radians(min(abs(angle_deg), _MAX_CORRECTION_DEG)))


def openness_of(ear: float, ear_open: float, closed_ratio: float) -> float:
    """Opening as a share of the driver's own, 0..1.5: 0 at the EAR that shut lids still measure."""
    share = (ear / ear_open - closed_ratio) / (1 - closed_ratio)
    return min(max(share, 0.0), 1.5)


@dataclass
class Histogram:
    """Values weighted by the seconds they were seen, so that the frame rate does not matter."""

    low: float
    step: float
    _seconds: dict[int, float] = field(default_factory=dict)
    total_s: float = 0.0

    def add(self, value: float, seconds: float) -> None:
        """Count `value` as seen for so long."""
        place = math.floor((value - self.low) / self.step)
        self._seconds[place] = self._seconds.get(place, 0.0) + seconds
        self.total_s += seconds

    def quantile(self, share: float) -> float | None:
        """The value that `share` of the time stayed under, None before anything was seen."""
        if self.total_s <= 0:
            return None
        wanted, passed = share * self.total_s, 0.0
        for place in sorted(self._seconds):
            held = self._seconds[place]
            if passed + held >= wanted:
                return self.low + self.step * (place + (wanted - passed) / held)
            passed += held
        return self.low + self.step * (max(self._seconds) + 1)

    def mode(self, within: float) -> tuple[float, float] | None:
        """Where most of the time was spent: (middle, seconds) of the fullest window.

        Args:
            within: half the window's width.

        Returns:
            The mean of what lies in the window, and for how long it was seen; None before anything.
        """
        if self.total_s <= 0:
            return None
        reach = round(within / self.step)
        places = sorted(self._seconds)
        fullest = max(
            places, key=lambda at: (self._between(at - reach, at + reach)[0], -abs(at), at)
        )
        seconds, weighted = self._between(fullest - reach, fullest + reach)
        return self.low + self.step * (weighted / seconds + 0.5), seconds

    def _between(self, low: int, high: int) -> tuple[float, float]:
        inside = [(held, at * held) for at, held in self._seconds.items() if low <= at <= high]
        return sum(held for held, _ in inside), sum(weighted for _, weighted in inside)


@dataclass
class _Learned:
    """What has been seen of one driver under one condition."""

    ear: Histogram = field(default_factory=lambda: Histogram(0.0, 0.004))
    mar: Histogram = field(default_factory=lambda: Histogram(0.0, 0.01))
    lower_lid: Histogram = field(default_factory=lambda: Histogram(-1.0, 0.005))
    yaw: Histogram = field(default_factory=lambda: Histogram(0.0, 1.0))
    pitch: Histogram = field(default_factory=lambda: Histogram(0.0, 1.0))
    roll: Histogram = field(default_factory=lambda: Histogram(0.0, 1.0))


class Baseline:
    """Learns while the driver drives well, then holds.

    Args:
        policy: `eye.calibration` and the population's values.
        mount: head pose of looking at the road where the camera's mount is known; it gives way to
            what is seen. None leaves it to the policy's `neutral`, which may be unknown, too.
    """

    def __init__(self, policy: Policy, mount: HeadPose | None = None) -> None:
        self._policy = policy
        self._rules = policy.eye.calibration
        stated = self._rules.neutral
        if mount is None and stated is not None:
            mount = HeadPose(stated.yaw_deg, stated.pitch_deg, 0.0)
        self._mount = mount
        # The resting mouth that makes 1.4 x own and 0.6 absolute one and the same threshold.
        self._mar_floor = policy.yawn.mar_abs / policy.yawn.mar_ratio
        self.reset(looking_ahead=False)

    def reset(self, *, looking_ahead: bool = True) -> None:
        """Forget the driver.

        Args:
            looking_ahead: what follows is taken as looking at the road, wherever that is; otherwise
                it must have been seen for a while.
        """
        self._learned = _Learned()
        self._last_s: float | None = None
        # One more for the second in which the step falls.
        kept = _BEFORE_STEP_S + 1 + round(self._rules.step_hold_s)
        self._seconds: deque[float] = deque(maxlen=kept)
        self._second = [0.0, 0.0]
        self._conditions: list[Calibration] = []
        self._condition = 0
        self._unpublished_s = 0.0
        self._trust_pose = looking_ahead
        self.calibration = self._calibration(ready=False)

    def update(self, observation: Observation, frozen: bool, pose_share: float = 1.0) -> None:
        """Learn from one observation.

        Args:
            observation: anything; what cannot be measured teaches nothing.
            frozen: an alert is open, the eyes are closing, or the vehicle is too slow to be driven
                by a driver who looks ahead.
            pose_share: how much the head's pose counts for where the road is, 0..1.
        """
        seconds = self._elapsed(observation.timestamp_s)
        ear = frontal_ear(observation)
        if ear is None or observation.condition is not CameraCondition.OK:
            return
        if not self._plausibly_open(ear, observation):
            return
        if self.calibration.ready:
            if not frozen:
                self._watch_for_step(ear, seconds)
            return
        if pose_share > 0:
            self._learn_pose(observation.pose, seconds * pose_share)
        if not frozen:
            self._learn(observation, ear, seconds)
        self._publish(seconds)

    def _elapsed(self, now_s: float) -> float:
        """Seconds this observation stands for; none after a gap, which nobody saw."""
        last_s, self._last_s = self._last_s, now_s
        if last_s is None or now_s - last_s > self._policy.max_gap_s:
            return 0.0
        return now_s - last_s

    def _plausibly_open(self, ear: float, observation: Observation) -> bool:
        """Open by the population's measure, so that a sleeper's lids never become the norm."""
        eye = self._policy.eye
        openness = openness_of(ear, eye.population_ear_open, eye.closed_ratio)
        middle = (eye.openness.closed_enter + eye.openness.closed_exit) / 2
        eyes = [eye for eye in (observation.eye_left, observation.eye_right) if eye is not None]
        # One eye that the network does not see open is enough to learn nothing.
        return openness >= middle and all(eye.closed + eye.lowered < 0.5 for eye in eyes)

    def _learn_pose(self, pose: HeadPose | None, seconds: float) -> None:
        if pose is not None:
            self._learned.yaw.add(pose.yaw_deg, seconds)
            self._learned.pitch.add(pose.pitch_deg, seconds)
            self._learned.roll.add(pose.roll_deg, seconds)

    def _learn(self, observation: Observation, ear: float, seconds: float) -> None:
        pose, learned = observation.pose, self._learned
        if pose is None or self._within_gate(pose):
            learned.ear.add(ear, seconds)
            if observation.mar is not None:
                learned.mar.add(observation.mar, seconds)
            if observation.lower_lid is not None:
                learned.lower_lid.add(observation.lower_lid, seconds)

    def _publish(self, seconds: float) -> None:
        """Every quarter of a second, later every second: the frame rate cannot matter."""
        valid_s = self._learned.ear.total_s
        self._unpublished_s += seconds
        if self._unpublished_s >= (0.25 if valid_s < 5 else 1.0):
            self._unpublished_s = 0.0
            self.calibration = self._calibration(ready=valid_s >= self._rules.min_valid_s)

    def _within_gate(self, pose: HeadPose) -> bool:
        neutral = self.calibration.neutral
        turned = abs(pose.yaw_deg - neutral.yaw_deg), abs(pose.pitch_deg - neutral.pitch_deg)
        return max(turned) <= _NEAR_NEUTRAL_DEG

    def _calibration(self, *, ready: bool) -> Calibration:
        learned, rules = self._learned, self._rules
        valid_s = learned.ear.total_s
        ear = _blend(
            self._policy.eye.population_ear_open,
            learned.ear.quantile(rules.quantile),
            valid_s / rules.provisional_s if rules.provisional_s else 1.0,
        )
        mar = max(learned.mar.quantile(0.3) or 0.0, self._mar_floor)
        neutral, neutral_known = self._neutral()
        return _identified(
            Calibration(
                progress=min(valid_s / rules.min_valid_s, 1.0) if rules.min_valid_s else 1.0,
                ready=ready,
                ear_open=round(ear, 4),
                mar_closed=round(mar, 6),
                neutral=neutral,
                id="",
                lower_lid_open=_rounded(learned.lower_lid.quantile(0.5)),
                neutral_known=neutral_known,
            ),
            self._condition,
        )

    def _neutral(self) -> tuple[HeadPose, bool]:
        """Where this head mostly is, and whether that has been seen for long enough to be known.

        Not where the camera is: a mount aside is another driver's straight ahead.
        """
        rules = self._rules
        prior = self._mount or HeadPose(0.0, 0.0, 0.0)
        learned = self._learned
        modes = [
            axis.mode(rules.neutral_within_deg)
            for axis in (learned.yaw, learned.pitch, learned.roll)
        ]
        yaw, pitch, roll = modes
        if yaw is None or pitch is None or roll is None:
            return prior, self._mount is not None
        steady_s = min(yaw[1], pitch[1])
        mostly = steady_s >= rules.neutral_share * learned.yaw.total_s
        is_steady = mostly and (self._trust_pose or steady_s >= rules.neutral_after_s)
        aside = max(abs(yaw[0] - prior.yaw_deg), abs(pitch[0] - prior.pitch_deg))
        if self._mount is not None and not (is_steady and aside <= _NEAR_MOUNT_DEG):
            return prior, True
        return HeadPose(round(yaw[0], 1), round(pitch[0], 1), round(roll[0], 1)), is_steady

    def _watch_for_step(self, ear: float, seconds: float) -> None:
        """Glasses on or off: a sharp step between two steady levels is another condition."""
        self._second[0] += ear * seconds
        self._second[1] += seconds
        if self._second[1] < 1.0:
            return
        self._seconds.append(self._second[0] / self._second[1])
        self._second = [0.0, 0.0]
        if len(self._seconds) < (self._seconds.maxlen or 0):
            return
        levels = list(self._seconds)
        before, after = levels[:_BEFORE_STEP_S], levels[_BEFORE_STEP_S + 1 :]
        if self._is_step(before, after):
            self._change_condition(after)

    def _is_step(self, before: list[float], after: list[float]) -> bool:
        old, new = median(before), median(after)
        if abs(new / old - 1) < self._rules.step_share:
            return False
        steady = all(abs(level / old - 1) < _STEADY_SHARE for level in before) and all(
            abs(level / new - 1) < _STEADY_SHARE for level in after
        )
        from_own = abs(old / self.calibration.ear_open - 1) < self._rules.step_share
        return steady and from_own

    def _change_condition(self, after: list[float]) -> None:
        self._conditions.append(self.calibration)
        self._seconds.clear()
        level = median(after)
        for earlier in self._conditions[:-1]:
            if abs(earlier.ear_open / level - 1) < _STEADY_SHARE:
                self.calibration = earlier
                return
        self._condition += 1
        self._learned.ear = Histogram(0.0, 0.004)
        self._learned.lower_lid = Histogram(-1.0, 0.005)
        for seen in after:
            self._learned.ear.add(seen, 1.0)
        valid_s = self._learned.ear.total_s
        self.calibration = self._calibration(ready=valid_s >= self._rules.min_valid_s)


def _blend(prior: float, own: float | None, share: float) -> float:
    """From the prior to one's own as the share of the time needed grows to 1."""
    if own is None:
        return prior
    share = min(share, 1.0)
    return prior * (1 - share) + own * share


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _identified(calibration: Calibration, condition: int) -> Calibration:
    content = (
        f"{condition}|{calibration.ready}|{calibration.ear_open}|{calibration.mar_closed}"
        f"|{calibration.lower_lid_open}|{calibration.neutral}|{calibration.neutral_known}"
    )
    return replace(calibration, id=hashlib.sha256(content.encode()).hexdigest()[:12])
