import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.engine.calibration import Baseline, Histogram, frontal_ear, openness_of
from monitor.policy import Policy
from monitor.types import Calibration, HeadPose, Observation
from tests.support.drivers import (
    Person,
    Story,
    attentive,
    blinking,
    dropped_frames,
    eyes_closed,
    look_left,
    sunglasses,
    talking,
)

P = Policy()
E = P.eye
NEEDED_S = E.calibration.min_valid_s
EARLY_S = E.calibration.provisional_s


def learned(story: Story, fps: float = 10, person: Person | None = None) -> Calibration:
    baseline = Baseline(P)
    for observation, _, _ in story.at(fps, person=person):
        baseline.update(observation, frozen=False)
    return baseline.calibration


def test_before_anything_is_seen_the_population_counts() -> None:
    fresh = Baseline(P).calibration
    assert fresh.ear_open == E.population_ear_open
    assert fresh.progress == 0
    assert not fresh.ready
    assert fresh.neutral == HeadPose(0, 0, 0)


@pytest.mark.parametrize("fps", [5, 10, 30, 60])
@pytest.mark.parametrize("ear_open", [0.16, 0.20, 0.257, 0.32, 0.42])
def test_a_provisional_baseline_fits_every_driver_within_seconds(
    fps: float, ear_open: float
) -> None:
    person = Person(ear_open=ear_open, ear_closed=0.15 * ear_open)
    assert learned(attentive(EARLY_S + 1), fps, person).ear_open == pytest.approx(
        ear_open, rel=0.03
    )


@pytest.mark.parametrize("fps", [5, 10, 30])
def test_progress_is_observed_time_and_ends_ready(fps: float) -> None:
    half = learned(attentive(NEEDED_S / 2), fps)
    assert half.progress == pytest.approx(0.5, abs=0.03)
    assert not half.ready
    done = learned(attentive(NEEDED_S + 2), fps)
    assert done.progress == 1
    assert done.ready


def test_blinks_and_talk_do_not_lower_the_baseline() -> None:
    lively = learned(blinking(NEEDED_S, every_s=2) + talking(10))
    assert lively.ear_open == pytest.approx(Person().ear_open, rel=0.03)
    assert lively.mar_closed == pytest.approx(P.yawn.mar_abs / P.yawn.mar_ratio, abs=0.01)


def test_a_driver_who_sleeps_from_the_start_teaches_nothing() -> None:
    asleep = learned(eyes_closed(NEEDED_S))
    assert asleep.ear_open == E.population_ear_open
    assert asleep.progress == 0


def test_what_is_not_measured_teaches_nothing() -> None:
    assert learned(sunglasses(NEEDED_S)).progress == 0


def test_a_gap_is_not_observed_time() -> None:
    gappy = learned((attentive(1) + dropped_frames(5)) * 20)
    assert gappy.progress == pytest.approx(20 / NEEDED_S, rel=0.15)


def test_nothing_is_learned_while_frozen() -> None:
    baseline = Baseline(P)
    for observation, _, _ in attentive(10).at(10):
        baseline.update(observation, frozen=True)
    assert baseline.calibration.progress == 0


def test_learning_ends_when_ready() -> None:
    baseline = Baseline(P)
    for observation, _, _ in attentive(NEEDED_S + 1).at(10):
        baseline.update(observation, frozen=False)
    ready = baseline.calibration
    for observation, _, _ in look_left(60, 8).at(10, start_s=200):
        baseline.update(observation, frozen=False)
    assert baseline.calibration == ready


def test_a_glance_aside_does_not_move_the_neutral_pose() -> None:
    person = Person(yaw_deg=8, pitch_deg=-6)
    neutral = learned(attentive(20) + look_left(2) + attentive(10), person=person).neutral
    assert neutral.yaw_deg == pytest.approx(8, abs=1)
    assert neutral.pitch_deg == pytest.approx(-6, abs=1)


def test_where_a_driver_looks_at_first_is_not_known_to_be_the_road() -> None:
    assert not learned(look_left(E.calibration.neutral_after_s - 0.5)).neutral_known
    assert learned(attentive(E.calibration.neutral_after_s + 1)).neutral_known


@pytest.mark.parametrize("yaw", [-40, -20, 0, 25, 40])
def test_a_mount_aside_is_another_drivers_straight_ahead(yaw: float) -> None:
    person = Person(yaw_deg=yaw, pitch_deg=10)
    found = learned(blinking(6) + look_left(2, 30) + blinking(4), person=person)
    assert found.neutral_known
    assert found.neutral.yaw_deg == pytest.approx(yaw, abs=2)
    assert found.neutral.pitch_deg == pytest.approx(10, abs=2)


def test_a_stated_mount_is_known_at_once_and_gives_way_only_near_to_it() -> None:
    mount = HeadPose(30, -5, 0)
    assert Baseline(P, mount).calibration.neutral_known
    for person, expected in ((Person(yaw_deg=36), 36), (Person(yaw_deg=-20), 30)):
        baseline = Baseline(P, mount)
        for observation, _, _ in attentive(20).at(10, person=person):
            baseline.update(observation, frozen=False)
        assert baseline.calibration.neutral.yaw_deg == pytest.approx(expected, abs=1)


def test_after_a_reset_wherever_the_driver_looks_is_the_road() -> None:
    baseline = Baseline(P)
    baseline.reset()
    for observation, _, _ in attentive(1).at(10, person=Person(yaw_deg=30)):
        baseline.update(observation, frozen=False)
    assert baseline.calibration.neutral.yaw_deg == pytest.approx(30, abs=1)
    assert baseline.calibration.progress < 0.1


def test_the_id_changes_with_the_baseline_and_only_with_it() -> None:
    one = learned(attentive(NEEDED_S + 1))
    same = learned(attentive(NEEDED_S + 1))
    other = learned(attentive(NEEDED_S + 1), person=Person(ear_open=0.25))
    assert one.id == same.id
    assert one.id != other.id


def test_a_slow_droop_after_learning_is_no_change_of_condition() -> None:
    story = attentive(NEEDED_S + 10)
    for minute in range(10):
        story = story + attentive(30).but(openness=1 - 0.04 * minute)
    assert learned(story, 5) == learned(attentive(NEEDED_S + 10), 5)


@given(
    yaw=st.floats(-35, 35),
    pitch=st.floats(-35, 35),
    ear=st.floats(0.1, 0.4),
)
def test_the_head_pose_is_taken_back_out_of_the_ear(yaw: float, pitch: float, ear: float) -> None:
    import math

    seen = ear * math.cos(math.radians(pitch)) / math.cos(math.radians(yaw))
    observation = Observation(0, 0, ear_left=seen, ear_right=seen, pose=HeadPose(yaw, pitch, 0))
    assert frontal_ear(observation) == pytest.approx(ear)


def test_one_measured_eye_is_enough() -> None:
    assert frontal_ear(Observation(0, 0, ear_left=0.3)) == pytest.approx(0.3)
    assert frontal_ear(Observation(0, 0)) is None


@given(ear=st.floats(0, 1), ear_open=st.floats(0.1, 0.6), ratio=st.floats(0, 0.5))
def test_openness_is_bounded_and_one_at_the_own_open_eye(
    ear: float, ear_open: float, ratio: float
) -> None:
    assert 0 <= openness_of(ear, ear_open, ratio) <= 1.5
    assert openness_of(ear_open, ear_open, ratio) == pytest.approx(1)
    assert openness_of(ear_open * ratio, ear_open, ratio) == pytest.approx(0, abs=1e-9)


@given(
    values=st.lists(st.tuples(st.floats(0, 1), st.floats(0.001, 1)), min_size=1, max_size=50),
    low=st.floats(0, 1),
    high=st.floats(0, 1),
)
def test_quantiles_rise_and_stay_among_what_was_seen(
    values: list[tuple[float, float]], low: float, high: float
) -> None:
    seen = Histogram(0.0, 0.01)
    for value, seconds in values:
        seen.add(value, seconds)
    a, b = sorted((low, high))
    below, above = seen.quantile(a), seen.quantile(b)
    assert below is not None
    assert above is not None
    assert below <= above + 1e-9
    assert min(v for v, _ in values) - 0.01 <= below
    assert above <= max(v for v, _ in values) + 0.0101


def test_an_empty_histogram_has_no_quantile() -> None:
    assert Histogram(0.0, 0.01).quantile(0.5) is None
