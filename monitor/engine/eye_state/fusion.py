"""What one observation says of the driver: landmarks, eye-state network and detector, weighed.

Each witness speaks in log-odds of closed eyes, clipped so that none can shout the others down; the
verdict is their weighted mean. It is closed above a threshold, open below its negative, and in
between what it was a moment ago: the hysteresis of the policy's `closed_enter` and `closed_exit`.
A witness that cannot see (head beyond the pose gate, picture dark or blurred, face tiny) is not
asked, and where nobody is left to ask the eyes are unknown.

Lids that are lowered to look down (`monitor.engine.eye_state.lowered_lids`) only discount the
landmarks' word; a
network that sees the eye decides, unless the irises are low and the mesh still sees the lids apart
or the lower lid where it was: then its word is discounted too. The eyes are then unknown and
`looking_down` is true, so that the distraction timer runs: a sleeper mistaken for a reader is
warned later, not never.
"""

import math
from dataclasses import dataclass, field

from monitor.engine.calibration import frontal_ear, openness_of
from monitor.engine.eye_state.lowered_lids import LoweredLids
from monitor.engine.eye_state.witnesses import (
    LANDMARKS,
    SURE,
    Dissent,
    Witness,
    clip,
    eye_net,
    log_odds,
    weigh_up,
)
from monitor.policy import Policy
from monitor.types import (
    Box,
    Calibration,
    CameraCondition,
    Cause,
    Detection,
    Eyes,
    HeadPose,
    Observation,
    Quality,
    Reading,
)

# What remains of the detector's word on a face beyond the pose gate. A proposal.
_TURNED = 0.5
# However far the head is down, lids that measure like the open eye's are open.
_MOST_SHUT = 0.6
# Two faces change places in the driver's track: ambiguous for this long.
_AMBIGUOUS_S = 2.0
_CONDITIONS = {
    CameraCondition.LOST: Cause.CAMERA_LOST,
    CameraCondition.FROZEN: Cause.CAMERA_FROZEN,
    CameraCondition.DARK: Cause.LOW_LIGHT,
    CameraCondition.GLARE: Cause.GLARE,
    CameraCondition.TURNED: Cause.CAMERA_TURNED,
}


@dataclass(frozen=True, slots=True)
class _Sight:
    """What was seen of the eyes; the default is nothing."""

    eyes: Eyes = Eyes.UNKNOWN
    confidence: float = 0.0
    log_odds: float | None = None
    openness: float | None = None
    pose: HeadPose | None = None
    looking_down: bool | None = None


@dataclass
class Evidence:
    """Weighs observations against the driver's baseline, one after another.

    Its memory is short: the last verdict (hysteresis), how the lids fell, and where the driver's
    face was.
    """

    policy: Policy
    _eyes: Eyes = Eyes.UNKNOWN
    _seen_s: float = -math.inf
    _lids: LoweredLids = field(init=False)
    _dissent: Dissent = field(default_factory=Dissent)
    _face: tuple[float, Box] | None = None
    _jumped_s: float = -math.inf

    def __post_init__(self) -> None:
        self._lids = LoweredLids(self.policy)

    def weigh(
        self, observation: Observation, calibration: Calibration, speed_kmh: float | None = None
    ) -> Reading:
        """The three-valued reading of one observation.

        Args:
            observation: what was measured; timestamps must not go back.
            calibration: the baseline in use.
            speed_kmh: passed on to the rules.
        """
        causes = self._causes(observation)
        blind = bool(causes & {*_CONDITIONS.values(), Cause.OBSCURED})
        sight = _Sight() if blind else self._look(observation, calibration)
        present = self._present(observation, blind)
        return Reading(
            timestamp_s=observation.timestamp_s,
            captured_at=observation.captured_at,
            present=present,
            eyes=sight.eyes,
            openness=sight.openness,
            confidence=sight.confidence,
            log_odds=sight.log_odds,
            pose=sight.pose,
            mouth=None if blind else self._mouth(observation, calibration),
            looking_down=sight.looking_down,
            emotion=observation.emotion.label if observation.emotion else None,
            camera=observation.condition,
            causes=causes | self._about_eyes(present, sight),
            speed_kmh=speed_kmh,
        )

    def _look(self, observation: Observation, calibration: Calibration) -> _Sight:
        now_s = observation.timestamp_s
        pose = _relative(observation.pose, calibration.neutral)
        openness, lowered, shut = self._openness(observation, calibration, pose), False, False
        drooping = False
        if openness is not None:
            lowered = self._lids.update(observation, calibration, openness, pose)
            shut = openness < self.policy.eye.openness.closed_enter
            drooping = self._drooping(observation, calibration, openness, pose)
        witnesses = self._witnesses(observation, openness, pose, lowered, drooping)
        networks = eye_net(observation) is not None or observation.detection is not None
        doubtful = (lowered and shut) or (drooping and networks and self._eyes is Eyes.CLOSED)
        held = Eyes.UNKNOWN if doubtful else self._eyes
        self._dissent.hear(now_s, witnesses)
        said = weigh_up(self._tempered(witnesses))
        eyes = self._judge(now_s, said.log_odds, held, alone=len(witnesses) == 1)
        if eyes is not Eyes.CLOSED and self._beyond_gate(pose):
            eyes = Eyes.UNKNOWN  # there the detector's `sleep` counts, and its `awake` ends nothing
        if eyes is not Eyes.UNKNOWN:
            self._eyes, self._seen_s = eyes, now_s
        looking_down = self._looking_down(eyes, lowered or drooping)
        return _Sight(eyes, said.confidence, said.log_odds, openness, pose, looking_down)

    # --- can anything be seen? -------------------------------------------------------------

    def _causes(self, observation: Observation) -> frozenset[Cause]:
        found = set()
        quality, limits = observation.quality, self.policy.quality
        if observation.condition in _CONDITIONS:
            found.add(_CONDITIONS[observation.condition])
        if quality is not None:
            if quality.brightness < limits.obscured_brightness:
                found.add(Cause.OBSCURED)
                found.discard(Cause.LOW_LIGHT)
            elif quality.brightness < limits.min_brightness:
                found.add(Cause.LOW_LIGHT)
            elif quality.brightness > limits.max_brightness or (
                quality.contrast < limits.min_contrast and quality.brightness > 128
            ):
                found.add(Cause.GLARE)
            elif quality.contrast < limits.min_contrast:
                found.add(Cause.OBSCURED)
        if observation.errors:
            found.add(Cause.MODEL_ERROR)
        if self._ambiguous(observation):
            found.add(Cause.MULTIPLE_FACES)
        return frozenset(found)

    def _ambiguous(self, observation: Observation) -> bool:
        """The track jumps between faces: whose eyes are these?"""
        now_s, box = observation.timestamp_s, observation.face
        if box is not None:
            if self._face is not None and observation.faces > 1:
                then_s, before = self._face
                if now_s - then_s <= self.policy.max_gap_s and before.iou(box) == 0:
                    self._jumped_s = now_s
            self._face = (now_s, box)
        return now_s - self._jumped_s <= _AMBIGUOUS_S

    def _present(self, observation: Observation, blind: bool) -> bool | None:
        if blind:
            return None
        if observation.face is not None or observation.detection is not None:
            return True
        return None if observation.errors else False

    def _about_eyes(self, present: bool | None, sight: _Sight) -> frozenset[Cause]:
        if present is False:
            return frozenset({Cause.NO_FACE})
        turned = self._beyond_gate(sight.pose)
        if present and sight.eyes is Eyes.UNKNOWN and not turned and not sight.looking_down:
            return frozenset({Cause.EYES_NOT_VISIBLE})
        return frozenset()

    # --- what the lids measure -------------------------------------------------------------

    def _openness(
        self, observation: Observation, calibration: Calibration, pose: HeadPose | None
    ) -> float | None:
        ear = frontal_ear(observation)
        if ear is None or not _sharp_enough(observation.quality, self.policy):
            return None
        eye, down_deg = self.policy.eye, 0.0
        if pose is not None:
            if self._beyond_gate(pose):
                return None
            down_deg = max(-pose.pitch_deg, 0.0)
        if down_deg > eye.lids_down_deg:
            return None
        shut = eye.closed_ratio + eye.closed_ratio_per_deg_down * down_deg
        return openness_of(ear, calibration.ear_open, min(shut, _MOST_SHUT))

    def _beyond_gate(self, pose: HeadPose | None) -> bool:
        """Turned too far for lids to be measured; an unknown pose is not known to be."""
        if pose is None:
            return False
        gate = self.policy.eye.pose_gate_deg
        pitched = -gate.pitch_down <= pose.pitch_deg <= gate.pitch_up
        return not (abs(pose.yaw_deg) <= gate.yaw and pitched)

    def _drooping(
        self,
        observation: Observation,
        calibration: Calibration,
        openness: float,
        pose: HeadPose | None,
    ) -> bool:
        """Low irises under lids still apart, or over a lower lid that stayed: the eyes look down.

        Networks that judge lids by their pixels call such eyes closed.
        """
        gaze, signs = observation.gaze_down, self.policy.evidence.looking_down
        if gaze is None or gaze < signs.gaze_down:
            return False
        if self.policy.eye.openness.closed_enter <= openness <= signs.half_open:
            return True
        lid, usual = observation.lower_lid, calibration.lower_lid_open
        frontal = pose is not None and abs(pose.yaw_deg) <= signs.frontal_deg
        return bool(frontal and lid and usual and lid / usual >= signs.lower_lid_sure)

    @staticmethod
    def _looking_down(eyes: Eyes, down: bool) -> bool | None:
        if down:
            return eyes is not Eyes.CLOSED
        return None if eyes is Eyes.UNKNOWN else False

    # --- the witnesses and the verdict ------------------------------------------------------

    def _witnesses(
        self,
        observation: Observation,
        openness: float | None,
        pose: HeadPose | None,
        lowered: bool,
        drooping: bool,
    ) -> list[Witness]:
        weights, found = self.policy.evidence.weights, []
        doubt = self.policy.evidence.looking_down.doubt

        def heed(witness: Witness, doubted: bool) -> None:
            keep = doubt if doubted and witness.log_odds > 0 else 1.0
            found.append(witness._replace(log_odds=witness.log_odds * keep))

        pixels = eye_net(observation)
        if pixels is not None and not self._beyond_gate(pose):
            heed(Witness("eye net", pixels, weights.eye_net), drooping)
        if observation.detection is not None:
            heard = self._detector(
                observation.detection, pose, alone=not found and openness is None
            )
            if heard is not None:
                heed(heard, drooping)
        if openness is not None:
            heed(Witness(LANDMARKS, self._log_odds_of(openness), weights.landmarks), lowered)
        return [witness for witness in found if witness.weight > 0]

    def _log_odds_of(self, openness: float) -> float:
        limits = self.policy.eye.openness
        middle = (limits.closed_enter + limits.closed_exit) / 2
        slope = 2 * SURE / (limits.closed_exit - limits.closed_enter)
        return clip(slope * (middle - openness))

    def _detector(self, seen: Detection, pose: HeadPose | None, *, alone: bool) -> Witness | None:
        """Its word, halved on a face beyond the gate."""
        limits = self.policy.evidence
        best = max(seen.sleep, seen.awake)
        if best < (limits.detector_alone if alone else limits.detector_min_score):
            return None
        said = log_odds(seen.sleep / (seen.sleep + seen.awake))
        said *= _TURNED if self._beyond_gate(pose) else 1.0
        return Witness("detector", said, limits.weights.detector * best)

    def _tempered(self, witnesses: list[Witness]) -> list[Witness]:
        """Behind glasses the mesh keeps lids apart that the networks see shut."""
        if len(witnesses) < 2:
            return witnesses
        least = -self.policy.evidence.open_lids_at_most
        return [
            w._replace(log_odds=max(w.log_odds, least)) if w.name == LANDMARKS else w
            for w in witnesses
        ]

    def _judge(self, now_s: float, mean: float | None, held: Eyes, *, alone: bool) -> Eyes:
        """The verdict; between the thresholds it is `held`, unless several witnesses lean away."""
        if mean is None:
            return Eyes.UNKNOWN
        if mean >= SURE - 1e-9:
            return Eyes.CLOSED
        if mean <= -SURE + 1e-9:
            return Eyes.OPEN
        leans = Eyes.CLOSED if mean > 0 else Eyes.OPEN
        recent = now_s - self._seen_s <= self.policy.max_gap_s
        return held if recent and (alone or held is leans) else Eyes.UNKNOWN

    def _mouth(self, observation: Observation, calibration: Calibration) -> float | None:
        """MAR against the driver's own; the detector's `yawn` where landmarks are lost."""
        if observation.mar is not None:
            return observation.mar / calibration.mar_closed
        seen = observation.detection
        sure = self.policy.evidence.detector_alone
        if seen is not None and seen.label == "yawn" and seen.yawn >= sure:
            return self.policy.yawn.mar_ratio
        return None


def _relative(pose: HeadPose | None, neutral: HeadPose) -> HeadPose | None:
    if pose is None:
        return None
    return HeadPose(
        yaw_deg=pose.yaw_deg - neutral.yaw_deg,
        pitch_deg=pose.pitch_deg - neutral.pitch_deg,
        roll_deg=pose.roll_deg - neutral.roll_deg,
    )


def _sharp_enough(quality: Quality | None, policy: Policy) -> bool:
    """Blurred or tiny faces still have a mesh, but their lids are guessed."""
    if quality is None:
        return True
    limits = policy.quality
    if quality.sharpness is not None and quality.sharpness < limits.min_sharpness:
        return False
    tall = quality.face_height_px
    return tall is None or tall >= limits.min_face_height_px
