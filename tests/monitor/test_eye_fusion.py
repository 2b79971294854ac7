"""Open, closed, lowered or not seen: what the fusion makes of what was measured."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from monitor.engine.calibration import Baseline
from monitor.engine.eye_state.additive_model import (
    AdditiveModel,
    Curve,
    Questions,
    fusion_from,
)
from monitor.engine.eye_state.fusion import EyeFusion
from monitor.engine.eye_state.measures import MEASURES, WINK, eye_word, facing
from monitor.policy import Policy
from monitor.policy.fusion_file import read_fusion
from monitor.types import (
    Box,
    CameraCondition,
    Cause,
    Detection,
    EyeProbabilities,
    Eyes,
    HeadPose,
    Observation,
    Quality,
    Reading,
)
from tests.support.drivers import FACE, GOOD

P = Policy()
OWN = replace(Baseline(P).calibration, ear_open=0.30, lower_lid_open=0.14, neutral_known=True)
OPEN = Observation(
    0, 0, face=FACE, faces=1, ear_left=0.30, ear_right=0.30, mar=0.05, gaze_down=0.3,
    lower_lid=0.14, pose=HeadPose(0, 0, 0), quality=GOOD,
)  # fmt: skip
SHUT = replace(OPEN, ear_left=0.05, ear_right=0.05, lower_lid=0.06, gaze_down=0.6)
LOWERED = replace(OPEN, ear_left=0.15, ear_right=0.15, lower_lid=0.12, gaze_down=0.75)
NOBODY = Observation(0, 0, quality=GOOD)
NO_LANDMARKS = Observation(0, 0, face=FACE, faces=1, quality=GOOD)
LIMP = Detection(FACE, awake=0.05, sleep=0.9)
ALERT = Detection(FACE, awake=0.9, sleep=0.05)
WIDE = EyeProbabilities(0.97, 0.01, 0.01, 0.01)
CLOSED = EyeProbabilities(0.01, 0.96, 0.02, 0.01)
DOWN = EyeProbabilities(0.04, 0.15, 0.8, 0.01)
HIDDEN = EyeProbabilities(0.02, 0.02, 0.01, 0.95)


def seen_by_net(observation: Observation, eye: EyeProbabilities) -> Observation:
    return replace(observation, eye_left=eye, eye_right=eye)


def judged(observation: Observation, seconds: float = 0.5, fps: float = 10) -> Reading:
    """The last of some readings of the same measures."""
    fusion, reading = EyeFusion(P), None
    for frame in range(round(seconds * fps) + 1):
        reading = fusion.weigh(replace(observation, timestamp_s=frame / fps), OWN)
    assert reading is not None
    return reading


def eyes(observation: Observation) -> Eyes:
    return judged(observation).eyes


def turned(observation: Observation, yaw: float = 0, pitch: float = 0) -> Observation:
    return replace(observation, pose=HeadPose(yaw, pitch, 0))


# --- who is there to be asked ---


@pytest.mark.parametrize("detection", [None, LIMP])
def test_open_and_shut_eyes_are_told_apart_by_the_mesh_alone(detection: Detection | None) -> None:
    awake = None if detection is None else ALERT
    assert eyes(replace(OPEN, detection=awake)) is Eyes.OPEN
    assert eyes(replace(SHUT, detection=detection)) is Eyes.CLOSED


def test_open_and_shut_eyes_are_told_apart_with_the_network() -> None:
    assert eyes(replace(seen_by_net(OPEN, WIDE), detection=ALERT)) is Eyes.OPEN
    assert eyes(replace(seen_by_net(SHUT, CLOSED), detection=LIMP)) is Eyes.CLOSED


def test_the_same_lids_are_open_on_one_driver_and_shut_on_another() -> None:
    lids = replace(SHUT, ear_left=0.09, ear_right=0.09, gaze_down=0.4)
    small, large = (replace(OWN, ear_open=ear) for ear in (0.10, 0.36))
    assert EyeFusion(P).weigh(replace(lids, lower_lid=0.14), small).eyes is Eyes.OPEN
    assert EyeFusion(P).weigh(lids, large).eyes is Eyes.CLOSED


def test_a_head_that_only_the_detector_sees_sleeps_by_its_word() -> None:
    assert eyes(replace(NO_LANDMARKS, detection=LIMP)) is Eyes.CLOSED
    assert eyes(replace(NO_LANDMARKS, detection=ALERT)) is Eyes.OPEN
    faint = Detection(FACE, awake=0.05, sleep=P.evidence.detector_alone - 0.1)
    assert eyes(replace(NO_LANDMARKS, detection=faint)) is Eyes.UNKNOWN


def test_where_nobody_can_be_asked_the_eyes_are_unknown() -> None:
    assert eyes(NO_LANDMARKS) is Eyes.UNKNOWN
    assert judged(NO_LANDMARKS).causes == {Cause.EYES_NOT_VISIBLE}
    assert judged(NOBODY).present is False
    assert judged(NOBODY).causes == {Cause.NO_FACE}


@pytest.mark.parametrize(
    "quality",
    [Quality(120, 45, P.quality.min_sharpness - 1, 240),
     Quality(120, 45, 180, P.quality.min_face_height_px - 1)],
)  # fmt: skip
def test_a_blurred_or_tiny_face_is_not_judged_by_its_mesh(quality: Quality) -> None:
    assert eyes(replace(OPEN, quality=quality)) is Eyes.UNKNOWN


@pytest.mark.parametrize(
    ("condition", "cause"),
    [(CameraCondition.LOST, Cause.CAMERA_LOST), (CameraCondition.DARK, Cause.LOW_LIGHT)],
)
def test_a_blind_camera_says_nothing(condition: CameraCondition, cause: Cause) -> None:
    reading = judged(replace(SHUT, condition=condition))
    assert reading.eyes is Eyes.UNKNOWN
    assert reading.present is None
    assert cause in reading.causes


# --- each eye for itself ---


def test_opaque_sunglasses_are_not_seen_through_whatever_the_mesh_guesses() -> None:
    reading = judged(seen_by_net(SHUT, HIDDEN))
    assert reading.eyes is Eyes.UNKNOWN
    assert reading.probabilities is not None
    assert reading.probabilities.not_visible == pytest.approx(1)
    assert Cause.EYES_NOT_VISIBLE in reading.causes


def test_a_patch_does_not_speak_for_the_other_eye() -> None:
    patched = replace(OPEN, eye_left=HIDDEN, eye_right=WIDE)
    word = eye_word(patched)
    assert word is not None
    assert word.shut is not None
    assert word.shut < -WINK
    assert eyes(patched) is Eyes.OPEN


def test_of_a_wink_the_open_eye_sees_the_road() -> None:
    wink = replace(OPEN, eye_left=CLOSED, eye_right=WIDE, ear_left=0.06)
    assert eyes(wink) is not Eyes.CLOSED
    word = eye_word(wink)
    assert word is not None
    assert word.shut is not None
    assert word.shut < -WINK


def test_of_a_turned_head_the_nearer_eye_is_judged() -> None:
    assert facing(0) == (1, 1)
    assert facing(40) == (0, 1)  # turned to the own left: the right eye faces the camera
    assert facing(-40) == (1, 0)
    far_shut = turned(replace(OPEN, eye_left=CLOSED, eye_right=WIDE, ear_left=0.05), yaw=35)
    assert eyes(far_shut) is Eyes.OPEN
    assert eyes(turned(seen_by_net(OPEN, WIDE), yaw=P.eye.pose_gate_deg.yaw + 1)) is Eyes.UNKNOWN


# --- closed or lowered ---


def test_eyes_lowered_by_the_mesh_and_the_network_look_down() -> None:
    for lowered in (LOWERED, seen_by_net(LOWERED, DOWN)):
        reading = judged(lowered)
        assert reading.eyes is Eyes.UNKNOWN
        assert reading.looking_down is True
        assert Cause.EYES_NOT_VISIBLE not in reading.causes


def test_a_network_that_calls_a_readers_eyes_closed_is_outvoted() -> None:
    """As on real readers: lids half apart, lower lid down, irises low, head down."""
    reader = turned(
        replace(seen_by_net(LOWERED, EyeProbabilities(0.01, 0.9, 0.08, 0.01)), detection=LIMP),
        pitch=-16,
    )
    assert eyes(reader) is not Eyes.CLOSED


def test_lids_that_all_call_shut_for_a_second_are_closed_whatever_the_irises_do() -> None:
    limits = P.evidence.unanimous
    lids = OWN.ear_open * (limits.lids - 0.05)
    all_say = replace(
        seen_by_net(LOWERED, EyeProbabilities(0.01, 0.9, 0.08, 0.01)), detection=LIMP,
        ear_left=lids, ear_right=lids, gaze_down=1.0, lower_lid=0.2,
    )  # fmt: skip
    assert judged(all_say, seconds=limits.after_s).eyes is Eyes.CLOSED
    aside = turned(all_say, yaw=P.distraction.away_deg.yaw + 2, pitch=-22)
    fusion = EyeFusion(P)
    assert not any(
        fusion._all_say_shut(k / 10, fusion.measure(aside, OWN), aside.pose) for k in range(30)
    )


@pytest.mark.parametrize("fps", [5, 10, 30, 60])
def test_no_curve_outvotes_lids_that_every_witness_calls_shut(fps: float) -> None:
    """The principle stands above what was learned: here, that shut lids only look down."""
    shipped = fusion_from(read_fusion())
    looks_down = Questions(AdditiveModel(3.0, {}), AdditiveModel(-9.0, {}))
    all_say = replace(seen_by_net(SHUT, CLOSED), detection=LIMP, gaze_down=1.0)
    for pose, judgement in ((HeadPose(0, 0, 0), Eyes.CLOSED), (HeadPose(0, -24, 0), Eyes.UNKNOWN)):
        fusion = EyeFusion(P, replace(shipped, network=looks_down))
        for frame in range(round(fps) + 1):
            seen = replace(all_say, pose=pose, timestamp_s=frame / fps)
            reading = fusion.weigh(seen, OWN)
            early = frame / fps < P.evidence.unanimous.after_s - 1 / fps
            assert reading.eyes is (Eyes.UNKNOWN if early else reading.eyes)
        assert reading.eyes is judgement


@pytest.mark.parametrize("name", ["lids", "lower_lid"])
def test_lids_further_apart_never_speak_for_closed_eyes(name: str) -> None:
    fusion = fusion_from(read_fusion())
    for asked in (fusion.network, fusion.landmarks):
        for model in (asked.shut, asked.closed):
            if name in model.curves:
                values = model.curves[name].values
                assert list(values) == sorted(values, reverse=True)


@pytest.mark.parametrize("name", ["net_shut", "net_closed", "detector"])
def test_a_surer_network_never_speaks_for_open_eyes(name: str) -> None:
    for asked in (
        fusion_from(read_fusion()).network,
        fusion_from(read_fusion()).landmarks,
        fusion_from(read_fusion()).detector,
    ):
        for model in (asked.shut, asked.closed):
            if name in model.curves:
                assert list(model.curves[name].values) == sorted(model.curves[name].values)


def test_what_spoke_is_named_loudest_first() -> None:
    spoke = judged(replace(seen_by_net(SHUT, CLOSED), detection=LIMP)).contributions
    assert "eye network" in dict(spoke)
    assert [abs(v) for _, v in spoke] == sorted((abs(v) for _, v in spoke), reverse=True)


def test_the_same_observations_give_the_same_readings() -> None:
    frames = [seen_by_net(OPEN, WIDE), seen_by_net(SHUT, CLOSED), LOWERED, NO_LANDMARKS] * 5

    def readings() -> list[Reading]:
        fusion = EyeFusion(P)
        return [fusion.weigh(replace(o, timestamp_s=k / 10), OWN) for k, o in enumerate(frames)]

    assert readings() == readings()


# --- the model's file ---


def test_a_curve_is_level_beyond_its_ends() -> None:
    curve = Curve((0.0, 1.0, 3.0), (0.0, 2.0, 0.0))
    assert [curve(x) for x in (-5, 0.5, 2, 9)] == [0.0, 1.0, 1.0, 0.0]
    with pytest.raises(ValueError, match="rising knots"):
        Curve((1.0, 1.0), (0.0, 0.0))


def test_what_is_missing_adds_nothing() -> None:
    model = AdditiveModel(1.0, {"lids": Curve((-1.0, 1.0), (1.0, -1.0))})
    assert model.terms({"lids": None}) == {}
    assert model.terms({"lids": 0.0}) == {"lids": 0.0}


def test_every_curve_speaks_of_a_measure_there_is() -> None:
    fusion = fusion_from(read_fusion())
    for asked in (fusion.network, fusion.landmarks, fusion.detector):
        assert set(asked.shut.curves) | set(asked.closed.curves) <= set(MEASURES)


def test_a_file_that_is_no_fusion_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "else.json"
    path.write_text(json.dumps({"name": "else"}))
    with pytest.raises(ValueError, match="not a fusion model"):
        fusion_from(read_fusion(path))


# --- mouth, passenger ---


def test_the_mouth_is_measured_against_the_own_and_the_absolute() -> None:
    wide = judged(replace(OPEN, mar=P.yawn.mar_abs)).mouth
    assert wide == pytest.approx(P.yawn.mar_ratio, rel=1e-4)
    pout = replace(OWN, mar_closed=0.6)
    assert EyeFusion(P).weigh(replace(OPEN, mar=0.6), pout).mouth == pytest.approx(1.0)


def test_the_detectors_yawn_counts_where_landmarks_are_lost() -> None:
    yawn = Detection(FACE, awake=0.1, sleep=0.1, yawn=0.8)
    assert judged(replace(NO_LANDMARKS, detection=yawn)).mouth == P.yawn.mar_ratio
    assert judged(NO_LANDMARKS).mouth is None


def test_a_track_that_jumps_to_another_face_is_told() -> None:
    fusion = EyeFusion(P)
    fusion.weigh(replace(OPEN, faces=2), OWN)
    other = Box(500, 120, 600, 260)
    jumped = fusion.weigh(replace(OPEN, faces=2, face=other, timestamp_s=0.1), OWN)
    assert Cause.MULTIPLE_FACES in jumped.causes
    steady = EyeFusion(P)
    steady.weigh(replace(OPEN, faces=2), OWN)
    assert steady.weigh(replace(OPEN, faces=2, timestamp_s=0.1), OWN).causes == frozenset()
