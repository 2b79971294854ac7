from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from monitor.engine.calibration import Baseline
from monitor.engine.eye_state.fusion import Evidence
from monitor.policy import Policy
from monitor.types import (
    Box,
    CameraCondition,
    Cause,
    Detection,
    Eyes,
    HeadPose,
    Observation,
    Quality,
    Reading,
)
from tests.support.drivers import FACE, GOOD, both_eyes

P = Policy()
GATE = P.eye.pose_gate_deg
OWN = replace(Baseline(P).calibration, ear_open=0.30, lower_lid_open=0.14)
OPEN = Observation(
    0, 0, face=FACE, faces=1, ear_left=0.30, ear_right=0.30, mar=0.05, gaze_down=0.3,
    lower_lid=0.14, pose=HeadPose(0, 0, 0), quality=GOOD,
)  # fmt: skip
SHUT = replace(OPEN, ear_left=0.05, ear_right=0.05, lower_lid=0.06, gaze_down=0.6)
LOWERED = replace(SHUT, lower_lid=0.12, gaze_down=0.75)
NOBODY = Observation(0, 0, quality=GOOD)
NO_LANDMARKS = Observation(0, 0, face=FACE, faces=1, quality=GOOD)
LIMP = Detection(FACE, awake=0.05, sleep=0.9)
ALERT = Detection(FACE, awake=0.9, sleep=0.05)


def judged(observation: Observation) -> Reading:
    return Evidence(P).weigh(observation, OWN)


def eyes(observation: Observation) -> Eyes:
    return judged(observation).eyes


def turned(observation: Observation, yaw: float = 0, pitch: float = 0) -> Observation:
    return replace(observation, pose=HeadPose(yaw, pitch, 0))


def test_open_and_shut_eyes_are_told_apart() -> None:
    assert eyes(OPEN) is Eyes.OPEN
    assert eyes(SHUT) is Eyes.CLOSED
    assert judged(OPEN).openness == pytest.approx(1)
    assert judged(SHUT).openness == pytest.approx(0.02, abs=0.02)


def test_the_same_lids_are_open_on_one_driver_and_shut_on_another() -> None:
    lids = replace(SHUT, ear_left=0.12, ear_right=0.12)
    small, large = (replace(OWN, ear_open=ear) for ear in (0.16, 0.36))
    assert Evidence(P).weigh(lids, small).eyes is Eyes.OPEN
    assert Evidence(P).weigh(lids, large).eyes is Eyes.CLOSED


def test_between_the_thresholds_eyes_stay_what_they_were() -> None:
    limits = P.eye.openness
    middle = (limits.closed_enter + limits.closed_exit) / 2
    ear = 0.30 * (P.eye.closed_ratio + middle * (1 - P.eye.closed_ratio))
    half = replace(SHUT, ear_left=ear, ear_right=ear, timestamp_s=0.1)
    for first, expected in ((OPEN, Eyes.OPEN), (SHUT, Eyes.CLOSED)):
        evidence = Evidence(P)
        evidence.weigh(first, OWN)
        assert evidence.weigh(half, OWN).eyes is expected
    assert eyes(half) is Eyes.UNKNOWN
    late = Evidence(P)
    late.weigh(OPEN, OWN)
    assert late.weigh(replace(half, timestamp_s=P.max_gap_s + 1), OWN).eyes is Eyes.UNKNOWN


@pytest.mark.parametrize(
    ("yaw", "pitch"),
    [(GATE.yaw + 1, 0), (-GATE.yaw - 1, 0), (0, -GATE.pitch_down - 1), (0, GATE.pitch_up + 1)],
)
@pytest.mark.parametrize("lids", [OPEN, SHUT])
def test_beyond_the_pose_gate_eyes_are_unknown(lids: Observation, yaw: float, pitch: float) -> None:
    reading = judged(turned(lids, yaw, pitch))
    assert reading.eyes is Eyes.UNKNOWN
    assert reading.openness is None
    assert Cause.EYES_NOT_VISIBLE not in reading.causes, "looking away is no impairment"


def test_lids_of_a_head_that_is_down_are_judged_by_a_network_or_not_at_all() -> None:
    """Shut lids measure like open ones there: an open eye must not be made of them."""
    down = turned(OPEN, pitch=-P.eye.lids_down_deg - 1)
    assert eyes(down) is Eyes.UNKNOWN
    assert Cause.EYES_NOT_VISIBLE in judged(down).causes
    assert eyes(replace(down, **both_eyes(0.02))) is Eyes.OPEN
    assert eyes(replace(down, **both_eyes(0.98))) is Eyes.CLOSED


@pytest.mark.parametrize("down_deg", [0.0, 5.0, 11.0])
def test_the_measure_of_shut_lids_rises_as_the_head_goes_down(down_deg: float) -> None:
    shut_ear = 0.30 * (P.eye.closed_ratio + P.eye.closed_ratio_per_deg_down * down_deg)
    shut = replace(SHUT, ear_left=shut_ear, ear_right=shut_ear)
    assert eyes(turned(shut, pitch=-down_deg)) is Eyes.CLOSED
    assert eyes(turned(OPEN, pitch=-down_deg)) is Eyes.OPEN


def test_the_gate_turns_with_the_drivers_own_neutral() -> None:
    aside = replace(OWN, neutral=HeadPose(30, 0, 0))
    assert Evidence(P).weigh(turned(OPEN, 30), aside).eyes is not Eyes.UNKNOWN
    assert Evidence(P).weigh(turned(OPEN, 0), aside).eyes is Eyes.UNKNOWN


@pytest.mark.parametrize(
    ("condition", "cause"),
    [
        (CameraCondition.LOST, Cause.CAMERA_LOST),
        (CameraCondition.FROZEN, Cause.CAMERA_FROZEN),
        (CameraCondition.DARK, Cause.LOW_LIGHT),
        (CameraCondition.GLARE, Cause.GLARE),
    ],
)
@pytest.mark.parametrize("seen", [OPEN, SHUT, NOBODY])
def test_a_camera_that_fails_says_nothing_of_the_driver(
    seen: Observation, condition: CameraCondition, cause: Cause
) -> None:
    reading = judged(replace(seen, condition=condition))
    assert reading.eyes is Eyes.UNKNOWN
    assert reading.present is None
    assert reading.mouth is None
    assert reading.causes == {cause}


@pytest.mark.parametrize(
    ("quality", "cause"),
    [
        (Quality(2, 1), Cause.OBSCURED),
        (Quality(12, 8), Cause.LOW_LIGHT),
        (Quality(245, 10), Cause.GLARE),
        (Quality(200, 2), Cause.GLARE),
        (Quality(90, 2), Cause.OBSCURED),
    ],
)
def test_a_picture_too_poor_says_nothing_of_the_driver(quality: Quality, cause: Cause) -> None:
    reading = judged(replace(SHUT, quality=quality))
    assert reading.eyes is Eyes.UNKNOWN
    assert reading.causes == {cause}


@pytest.mark.parametrize(
    "quality",
    [replace(GOOD, sharpness=1.0), replace(GOOD, face_height_px=20.0)],
    ids=["blurred", "tiny"],
)
def test_lids_of_a_blurred_or_tiny_face_are_guessed_and_not_believed(quality: Quality) -> None:
    assert eyes(replace(SHUT, quality=quality)) is Eyes.UNKNOWN
    assert eyes(replace(SHUT, quality=quality, detection=LIMP)) is Eyes.CLOSED


def test_nobody_is_absent_and_a_failed_stage_is_unknown() -> None:
    assert judged(NOBODY).present is False
    assert judged(NOBODY).causes == {Cause.NO_FACE}
    assert judged(replace(NOBODY, errors=("landmarks",))).present is None
    assert Cause.MODEL_ERROR in judged(replace(NOBODY, errors=("landmarks",))).causes


def test_a_face_without_eyes_is_told() -> None:
    reading = judged(NO_LANDMARKS)
    assert reading.present is True
    assert reading.causes == {Cause.EYES_NOT_VISIBLE}


# --- witnesses ---


def test_the_detector_carries_where_landmarks_are_lost() -> None:
    assert eyes(replace(NO_LANDMARKS, detection=LIMP)) is Eyes.CLOSED
    assert eyes(replace(NO_LANDMARKS, detection=ALERT)) is Eyes.OPEN
    unsure = Detection(FACE, awake=0.2, sleep=0.3)
    assert eyes(replace(NO_LANDMARKS, detection=unsure)) is Eyes.UNKNOWN


def test_a_head_that_is_down_sleeps_when_the_detector_says_so() -> None:
    down = turned(SHUT, pitch=-GATE.pitch_down - 15)
    assert eyes(down) is Eyes.UNKNOWN
    assert eyes(replace(down, detection=LIMP)) is Eyes.CLOSED


def test_beyond_the_gate_the_detectors_awake_ends_nothing() -> None:
    down = turned(SHUT, pitch=-GATE.pitch_down - 15)
    assert eyes(replace(down, detection=ALERT)) is Eyes.UNKNOWN


def test_on_a_head_turned_aside_only_a_sure_sleep_of_the_detector_counts() -> None:
    aside = turned(OPEN, GATE.yaw + 15)
    assert eyes(replace(aside, detection=LIMP)) is Eyes.CLOSED
    unsure = Detection(FACE, awake=0.1, sleep=P.evidence.detector_alone - 0.05)
    for said in (unsure, ALERT, None):
        assert eyes(replace(aside, detection=said)) is Eyes.UNKNOWN


def test_witnesses_that_disagree_lower_the_confidence() -> None:
    agreed = judged(replace(SHUT, **both_eyes(0.97), detection=LIMP))
    torn = judged(replace(SHUT, **both_eyes(0.97), detection=ALERT))
    assert agreed.eyes is Eyes.CLOSED
    assert torn.confidence < agreed.confidence
    assert judged(replace(OPEN, **both_eyes(0.5))).confidence < judged(OPEN).confidence


def test_the_eye_network_overrules_lids_behind_glasses() -> None:
    """Frames hold the mesh's lids open: EAR says open, the pixels say shut."""
    for ear in (0.16, 0.22, OWN.ear_open):
        behind = replace(OPEN, ear_left=ear, ear_right=ear)
        assert eyes(behind) is Eyes.OPEN
        assert eyes(replace(behind, **both_eyes(0.88), detection=LIMP)) is Eyes.CLOSED
        assert eyes(replace(behind, **both_eyes(0.12), detection=ALERT)) is Eyes.OPEN


def test_behind_glasses_a_closure_is_over_when_the_networks_lean_open() -> None:
    """Their word for open is weak there: it need not reach the threshold to end a closure."""
    evidence = Evidence(P)
    shut = replace(OPEN, **both_eyes(0.9), detection=LIMP)
    half = replace(OPEN, **both_eyes(0.45), detection=Detection(FACE, awake=0.5, sleep=0.3))
    assert evidence.weigh(shut, OWN).eyes is Eyes.CLOSED
    assert evidence.weigh(replace(half, timestamp_s=0.1), OWN).eyes is not Eyes.CLOSED


def test_a_witness_of_no_weight_is_not_heard() -> None:
    deaf = Policy.model_validate(
        {"evidence": {"weights": {"landmarks": 1, "eye_net": 0, "detector": 0}}}
    )
    torn = replace(OPEN, **both_eyes(0.999), detection=LIMP)
    assert Evidence(deaf).weigh(torn, OWN) == replace(Evidence(deaf).weigh(OPEN, OWN))


# --- lowered eyes ---


def test_a_lower_lid_that_stays_down_is_looking_down() -> None:
    reading = judged(LOWERED)
    assert reading.eyes is Eyes.UNKNOWN
    assert reading.looking_down is True
    assert Cause.EYES_NOT_VISIBLE not in reading.causes
    assert judged(SHUT).looking_down is False


def test_a_network_that_sees_the_eye_decides_about_lowered_lids() -> None:
    signs = P.evidence.looking_down
    rose = replace(LOWERED, **both_eyes(0.97), lower_lid=0.14 * (signs.lower_lid + 0.02))
    assert judged(rose).eyes is Eyes.CLOSED
    assert judged(rose).looking_down is False
    seen_open = judged(replace(LOWERED, **both_eyes(0.03)))
    assert seen_open.eyes is Eyes.OPEN
    assert seen_open.looking_down is True


def test_over_a_lower_lid_that_did_not_move_the_networks_are_doubted_too() -> None:
    """They call eyes that read a lap closed; no sleeper's lower lid stays so far down."""
    said = replace(LOWERED, **both_eyes(0.94), detection=LIMP)
    assert judged(said).eyes is Eyes.UNKNOWN
    assert judged(said).looking_down is True
    aside = turned(said, P.evidence.looking_down.frontal_deg + 3)
    assert eyes(aside) is Eyes.CLOSED  # seen from the side lids measure otherwise


def sinking(by_deg: float, after_s: float, over_s: float = 0.2) -> Reading:
    """Open eyes, then shut ones whose head begins to sink `after_s` later."""
    evidence = Evidence(P)
    plain = replace(OPEN, lower_lid=None)
    shut = replace(SHUT, lower_lid=None)
    for k in range(10):
        evidence.weigh(replace(plain, timestamp_s=k / 30), OWN)
    reading = None
    for k in range(10, 70):
        t = k / 30
        share = min(max((t - 10 / 30 - after_s) / over_s, 0), 1)
        sunk = replace(shut, timestamp_s=t, pose=HeadPose(0, -by_deg * share, 0))
        reading = evidence.weigh(sunk, OWN)
    assert reading is not None
    return reading


def test_a_head_that_goes_down_a_little_with_the_lids_is_looking_down() -> None:
    change = P.evidence.looking_down.pitch_change_deg
    assert sinking(change + 3, after_s=0).looking_down is True
    assert sinking(change - 3, after_s=0).eyes is Eyes.CLOSED


def test_a_head_that_sinks_later_or_further_is_asleep() -> None:
    late_s = P.evidence.looking_down.within_s + 0.3
    assert sinking(10, after_s=late_s).eyes is Eyes.CLOSED
    assert sinking(P.nod.pitch_drop_deg + 3, after_s=0).looking_down is None


def test_half_lowered_eyes_with_low_irises_are_open_and_look_down() -> None:
    limits = P.eye.openness
    assert limits.closed_enter < 0.36 < limits.closed_exit
    ear = 0.30 * (P.eye.closed_ratio + 0.36 * (1 - P.eye.closed_ratio))
    half = replace(OPEN, ear_left=ear, ear_right=ear, gaze_down=0.8, timestamp_s=0.1)
    evidence = Evidence(P)
    evidence.weigh(OPEN, OWN)
    reading = evidence.weigh(half, OWN)
    assert reading.eyes is Eyes.OPEN
    assert reading.looking_down is True


def test_networks_that_call_lowered_eyes_closed_do_not_close_them() -> None:
    """Irises low under lids the mesh sees apart: looking down, not asleep."""
    signs, limits = P.evidence.looking_down, P.eye.openness
    partly = (limits.closed_enter + signs.half_open) / 2
    ear = 0.30 * (P.eye.closed_ratio + partly * (1 - P.eye.closed_ratio))
    half = replace(OPEN, ear_left=ear, ear_right=ear, **both_eyes(0.95), detection=LIMP)
    down = judged(replace(half, gaze_down=signs.gaze_down + 0.1))
    assert down.eyes is not Eyes.CLOSED
    assert down.looking_down is True
    # Irises that are not low are behind glasses that hold the mesh's lids open.
    assert eyes(replace(half, gaze_down=signs.gaze_down - 0.3)) is Eyes.CLOSED


# --- mouth, passenger ---


def test_the_mouth_is_measured_against_the_own_and_the_absolute() -> None:
    wide = judged(replace(OPEN, mar=P.yawn.mar_abs)).mouth
    assert wide == pytest.approx(P.yawn.mar_ratio, rel=1e-4)
    pout = replace(OWN, mar_closed=0.6)
    wide = Evidence(P).weigh(replace(OPEN, mar=0.6), pout).mouth
    assert wide == pytest.approx(1.0)


def test_the_detectors_yawn_counts_where_landmarks_are_lost() -> None:
    yawn = Detection(FACE, awake=0.1, sleep=0.1, yawn=0.8)
    assert judged(replace(NO_LANDMARKS, detection=yawn)).mouth == P.yawn.mar_ratio
    assert judged(NO_LANDMARKS).mouth is None


def test_a_track_that_jumps_to_another_face_is_told() -> None:
    evidence = Evidence(P)
    evidence.weigh(replace(OPEN, faces=2), OWN)
    other = Box(500, 120, 600, 260)
    jumped = evidence.weigh(replace(OPEN, faces=2, face=other, timestamp_s=0.1), OWN)
    assert Cause.MULTIPLE_FACES in jumped.causes
    steady = Evidence(P)
    steady.weigh(replace(OPEN, faces=2), OWN)
    assert steady.weigh(replace(OPEN, faces=2, timestamp_s=0.1), OWN).causes == frozenset()


def test_witnesses_at_odds_for_long_are_told_in_the_log_once() -> None:
    """A blink sets them at odds for a moment, which is no news."""
    evidence = Evidence(P)
    torn = replace(OPEN, **both_eyes(0.95))

    def watch(seconds: float, start_s: float, seen: Observation) -> float:
        for frame in range(round(seconds * 10)):
            at_s = start_s + frame / 10
            evidence.weigh(replace(seen, timestamp_s=at_s, captured_at=at_s), OWN)
        return start_s + seconds

    with capture_logs() as lines:
        now_s = watch(0.5, watch(2, 0, OPEN), torn)
        assert not lines
        now_s = watch(5, watch(2, now_s, OPEN), torn)
        assert [line["event"] for line in lines] == ["witnesses of the eyes disagree"]
        assert lines[0]["closed"].startswith("eye net")
        assert lines[0]["open"].startswith("landmarks")
        watch(5, watch(2, now_s, OPEN), torn)
    assert len(lines) == 2
