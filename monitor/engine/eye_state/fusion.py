"""Open, closed, lowered or not seen: everything that was measured of the eyes, weighed together.

`measures` turns a frame and the second before it into numbers, `additive_model` adds up what each
of them says: first whether the lids are down, then whether lids that are down are closed or only
lowered. The curves were learned from drives and clips (`wakeful train-fusion`); the card in
their file says from which.

Two principles stand above what was learned. Unknown is a value: what cannot be seen is not guessed,
and lids lowered to look down are neither open nor closed, while `looking_down` lets the distraction
timer run. And safety is asymmetric: lids that every witness calls shut for longer than a frame, on
a head that did not turn away, are closed, whatever the irises seem to do.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from monitor.engine.calibration import openness_of
from monitor.engine.eye_state.additive_model import FusionModel, fusion_from
from monitor.engine.eye_state.measures import LEAST_VISIBLE, Measures, Window, eye_word, lids_of
from monitor.engine.eye_state.visibility import (
    BLIND,
    Jumps,
    is_present,
    is_sharp,
    picture_causes,
)
from monitor.policy import Policy
from monitor.policy.fusion_file import read_fusion
from monitor.types import (
    Calibration,
    Cause,
    Detection,
    EyeProbabilities,
    Eyes,
    HeadPose,
    Observation,
    Reading,
)

# The detector judges heads; of one that is turned its word fades to this share.
_TURNED_WORD = 0.4
_TURNING_DEG = (18.0, 36.0)
_LOUDEST = 6.0
# Who speaks through which measures, in words for people.
SPEAKERS = {
    "lids": "lids", "lids_recent": "lids",
    "net_shut": "eye network", "net_shut_recent": "eye network",
    "net_closed": "eye network", "net_closed_recent": "eye network",
    "detector": "detector", "detector_recent": "detector",
    "lower_lid": "lower lid", "gaze_low": "irises",
    "pitch": "head", "yaw": "head", "mouth": "mouth",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class EyeVerdict:
    """What was made of one frame's measures; the default is that nothing was seen.

    Attributes:
        eyes: the three-valued verdict.
        probabilities: open, closed, lowered, not visible.
        looking_down: lids lowered rather than closing; None if unknown.
        contributions: log-odds of closed eyes by witness, loudest first: + spoke for, - against.
    """

    eyes: Eyes = Eyes.UNKNOWN
    probabilities: EyeProbabilities = field(
        default_factory=lambda: EyeProbabilities(0.0, 0.0, 0.0, 1.0)
    )
    looking_down: bool | None = None
    contributions: tuple[tuple[str, float], ...] = ()

    @property
    def confidence(self) -> float:
        """0..1, how far the verdict is from a coin's toss."""
        seen = self.probabilities
        sure = {Eyes.OPEN: seen.open, Eyes.CLOSED: seen.closed}.get(self.eyes, 0.0)
        return max(2 * sure - 1, 0.0)


@dataclass
class EyeFusion:
    """Weighs observations against the driver's baseline, one after another.

    Its memory is short: the last second of measures, the last verdict, and since when all
    witnesses have called the lids shut.
    """

    policy: Policy
    model: FusionModel = field(default_factory=lambda: fusion_from(read_fusion()))
    _window: Window = field(default_factory=Window)
    _unanimous_s: float | None = None
    _eyes: Eyes = Eyes.UNKNOWN
    _judged_s: float = -math.inf
    _jumps: Jumps = field(init=False)

    def __post_init__(self) -> None:
        self._jumps = Jumps(self.policy.max_gap_s)

    def weigh(
        self, observation: Observation, calibration: Calibration, speed_kmh: float | None = None
    ) -> Reading:
        """The three-valued reading of one observation.

        Args:
            observation: what was measured; timestamps must not go back.
            calibration: the baseline in use.
            speed_kmh: passed on to the rules.
        """
        causes = picture_causes(observation, self.policy)
        if self._jumps.update(observation):
            causes |= {Cause.MULTIPLE_FACES}
        blind = bool(causes & BLIND)
        pose = None if blind else relative_pose(observation.pose, calibration.neutral)
        verdict = EyeVerdict()
        if not blind:
            measures = self.measure(observation, calibration)
            verdict = self._judge(observation, measures, pose)
        present = is_present(observation, blind=blind)
        return Reading(
            timestamp_s=observation.timestamp_s,
            captured_at=observation.captured_at,
            present=present,
            eyes=verdict.eyes,
            openness=None if blind else self._openness(observation, calibration),
            confidence=verdict.confidence,
            probabilities=verdict.probabilities,
            contributions=verdict.contributions,
            pose=pose,
            neutral_known=calibration.neutral_known,
            mouth=None if blind else self._mouth(observation, calibration),
            looking_down=verdict.looking_down,
            emotion=observation.emotion.label if observation.emotion else None,
            camera=observation.condition,
            causes=causes | self._about_eyes(present, observation, pose, verdict),
            speed_kmh=speed_kmh,
        )

    def measure(self, observation: Observation, calibration: Calibration) -> Measures:
        """The measures of this frame; remembers them for the next."""
        pose = relative_pose(observation.pose, calibration.neutral)
        lids = lids_of(observation, calibration) if self._has_lids(observation, pose) else None
        detector = self._detector(observation, pose, alone=lids is None)
        return self._window.update(
            observation, calibration, pose.pitch_deg if pose else None, lids, detector
        )

    # --- what may be asked -----------------------------------------------------------------

    def _has_lids(self, observation: Observation, pose: HeadPose | None) -> bool:
        """The mesh sees lids, and not only guesses them behind a hand or an opaque lens."""
        if self._beyond_gate(observation, pose) or not is_sharp(observation.quality, self.policy):
            return False
        word = eye_word(observation)
        return word is None or word.visible >= LEAST_VISIBLE

    def _beyond_gate(self, observation: Observation, pose: HeadPose | None) -> bool:
        """Turned too far from the camera, or up or down from neutral, for lids to be judged."""
        if pose is None or observation.pose is None:
            return False
        gate = self.policy.eye.pose_gate_deg
        pitched = -gate.pitch_down <= pose.pitch_deg <= gate.pitch_up
        return not (abs(observation.pose.yaw_deg) <= gate.yaw and pitched)

    def _openness(self, observation: Observation, calibration: Calibration) -> float | None:
        pose = relative_pose(observation.pose, calibration.neutral)
        if not self._has_lids(observation, pose):
            return None
        share = lids_of(observation, calibration)
        if share is None:
            return None
        return openness_of(share, 1.0, self.policy.eye.closed_ratio)

    def _detector(
        self, observation: Observation, pose: HeadPose | None, *, alone: bool
    ) -> float | None:
        """Its log-odds of sleep by how sure it is of the face; fading on a turned head."""
        seen, limits = observation.detection, self.policy.evidence
        if seen is None:
            return None
        best = max(seen.sleep, seen.awake)
        if best < (limits.detector_alone if alone else limits.detector_min_score):
            return None
        return _detector_log_odds(seen) * best * _facing_share(observation, pose)

    # --- the verdict -----------------------------------------------------------------------

    def _judge(
        self, observation: Observation, measures: Measures, pose: HeadPose | None
    ) -> EyeVerdict:
        now_s = observation.timestamp_s
        visible = self._visibility(observation, measures, pose)
        if visible == 0:
            self._unanimous_s = None
            return EyeVerdict()
        ask = self.model.questions(measures)
        shut_terms, closed_terms = ask.shut.terms(measures), ask.closed.terms(measures)
        shut = _sigmoid(ask.shut.bias + sum(shut_terms.values()))
        closed = _sigmoid(ask.closed.bias + sum(closed_terms.values()))
        unanimous = self._all_say_shut(now_s, measures, pose)
        if unanimous:
            shut, closed = max(shut, 0.9), max(closed, 0.9)
        eyes, down = self._verdict(now_s, shut, closed, visible)
        if eyes is not Eyes.UNKNOWN:
            self._eyes, self._judged_s = eyes, now_s
        return EyeVerdict(
            eyes=eyes,
            probabilities=_probabilities(shut, closed, visible),
            looking_down=down,
            contributions=_contributions(shut_terms, closed_terms),
        )

    def _visibility(
        self, observation: Observation, measures: Measures, pose: HeadPose | None
    ) -> float:
        """How far the eyes, or a head that sleeps, can be seen: 0 where nobody may be asked."""
        word = eye_word(observation)
        if word is not None and not self._beyond_gate(observation, pose):
            return word.visible if word.visible >= LEAST_VISIBLE else 0.0
        asked = measures["lids"] is not None or measures["detector"] is not None
        return 1.0 if asked else 0.0

    def _verdict(
        self, now_s: float, shut: float, closed: float, visible: float
    ) -> tuple[Eyes, bool | None]:
        """The eyes, and whether they look down; between the thresholds what was so stays so."""
        limits = self.policy.evidence
        before = self._eyes if now_s - self._judged_s <= self.policy.max_gap_s else Eyes.UNKNOWN
        least = limits.closed_exit if before is Eyes.CLOSED else limits.closed_enter
        if shut * closed >= least:
            return Eyes.CLOSED, False
        if shut * (1 - closed) >= limits.lowered:
            return Eyes.UNKNOWN, True
        least = limits.open_exit if before is Eyes.OPEN else limits.open_enter
        if 1 - shut >= least and visible >= LEAST_VISIBLE:
            return Eyes.OPEN, False
        return Eyes.UNKNOWN, None

    def _all_say_shut(self, now_s: float, measures: Measures, pose: HeadPose | None) -> bool:
        """Landmarks, network and detector have each called the lids shut for long enough."""
        limits = self.policy.evidence.unanimous
        lids, detector = measures["lids"], measures["detector"]
        shut, closed = measures["net_shut"], measures["net_closed"]
        asked = lids is not None and shut is not None and closed is not None
        if (
            not asked
            or self._turned_away(pose)
            or lids + 0.5 > limits.lids  # type: ignore[operator]
            or min(shut, closed) < limits.log_odds  # type: ignore[type-var,operator]
            or (detector is not None and detector < 0)
        ):
            self._unanimous_s = None
            return False
        if self._unanimous_s is None:
            self._unanimous_s = now_s
        return now_s - self._unanimous_s >= limits.after_s - 1e-6

    def _turned_away(self, pose: HeadPose | None) -> bool:
        """Aside or down, so far that a driver who is awake does not see the road."""
        if pose is None:
            return False
        away = self.policy.distraction.away_deg
        return abs(pose.yaw_deg) > away.yaw or pose.pitch_deg < -away.pitch_down

    def _about_eyes(
        self,
        present: bool | None,
        observation: Observation,
        pose: HeadPose | None,
        verdict: EyeVerdict,
    ) -> frozenset[Cause]:
        if present is False:
            return frozenset({Cause.NO_FACE})
        hidden = verdict.eyes is Eyes.UNKNOWN and not verdict.looking_down
        if present and hidden and not self._beyond_gate(observation, pose):
            return frozenset({Cause.EYES_NOT_VISIBLE})
        return frozenset()

    def _mouth(self, observation: Observation, calibration: Calibration) -> float | None:
        """MAR against the driver's own; the detector's `yawn` where landmarks are lost."""
        if observation.mar is not None:
            return observation.mar / calibration.mar_closed
        seen = observation.detection
        sure = self.policy.evidence.detector_alone
        if seen is not None and seen.label == "yawn" and seen.yawn >= sure:
            return self.policy.yawn.mar_ratio
        return None


def relative_pose(pose: HeadPose | None, neutral: HeadPose) -> HeadPose | None:
    """The head against the driver's own way of looking at the road."""
    if pose is None:
        return None
    return HeadPose(
        yaw_deg=pose.yaw_deg - neutral.yaw_deg,
        pitch_deg=pose.pitch_deg - neutral.pitch_deg,
        roll_deg=pose.roll_deg - neutral.roll_deg,
    )


def _facing_share(observation: Observation, pose: HeadPose | None) -> float:
    if pose is None or observation.pose is None:
        return 1.0
    turned_deg = max(abs(pose.yaw_deg), abs(observation.pose.yaw_deg), abs(pose.pitch_deg))
    from_deg, to_deg = _TURNING_DEG
    turned = min(max((turned_deg - from_deg) / (to_deg - from_deg), 0.0), 1.0)
    return 1 - (1 - _TURNED_WORD) * turned


def _detector_log_odds(seen: Detection) -> float:
    share = min(max(seen.sleep / (seen.sleep + seen.awake), 1e-3), 1 - 1e-3)
    return min(max(math.log(share / (1 - share)), -_LOUDEST), _LOUDEST)


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-min(max(x, -30.0), 30.0)))


def _probabilities(shut: float, closed: float, visible: float) -> EyeProbabilities:
    return EyeProbabilities(
        open=round(visible * (1 - shut), 6),
        closed=round(visible * shut * closed, 6),
        lowered=round(visible * shut * (1 - closed), 6),
        not_visible=round(1 - visible, 6),
    )


def _contributions(
    shut: Mapping[str, float], closed: Mapping[str, float]
) -> tuple[tuple[str, float], ...]:
    """Each speaker's log-odds for closed eyes: for lids that are down, and down by closing."""
    by_speaker: dict[str, float] = {}
    for terms in (shut, closed):
        for name, value in terms.items():
            by_speaker[SPEAKERS[name]] = by_speaker.get(SPEAKERS[name], 0.0) + value
    heard = [(name, round(value, 2)) for name, value in by_speaker.items() if round(value, 2)]
    return tuple(sorted(heard, key=lambda item: -abs(item[1])))
