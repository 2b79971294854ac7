"""What the watch must make of the road: looks away, cameras, speed, clocks, profiles.

What Euro NCAP and the EU's rules ask for, as drives. Times come from the policy's settings; every
scenario runs at 5, 10, 30 and 60 fps.
"""

from collections.abc import Callable

import pytest

from monitor.policy import Policy, load_policy
from monitor.types import Cause, Eyes, Kind, Level
from tests.support.drivers import (
    BEGAN_S,
    COOL_DOWN,
    DROWSINESS,
    WARM_UP,
    Story,
    absent,
    acknowledging,
    attentive,
    camera_lost,
    dark,
    drive,
    every_rate,
    eyes_closed,
    frozen,
    glare,
    kinds,
    look_down,
    look_left,
    only,
    watch,
    with_passenger,
    within_a_frame,
)

P = load_policy("default")
C = P.closure
D = P.distraction


# --- distraction ---


@every_rate
def test_a_long_look_away_is_distraction_in_time(fps: float) -> None:
    seen = watch(drive(look_left(D.long.nominal_s + 0.5)), fps)
    event = only(seen, Kind.DISTRACTION)
    assert event.level is Level.WARNING
    assert within_a_frame(seen.first_s(Kind.DISTRACTION), BEGAN_S + D.long.nominal_s, fps)


@every_rate
def test_a_short_look_away_is_none(fps: float) -> None:
    assert watch(drive(look_left(D.long.nominal_s - 0.3)), fps).events == []


@every_rate
def test_eyes_that_do_not_come_back_are_unresponsive(fps: float) -> None:
    seen = watch(drive(look_left(D.long.nominal_s + P.unresponsive_after_warning_s + 1)), fps)
    only(seen, Kind.UNRESPONSIVE)
    expected_s = BEGAN_S + D.long.nominal_s + P.unresponsive_after_warning_s
    assert within_a_frame(seen.first_s(Kind.UNRESPONSIVE), expected_s, fps)


def looks(forward_s: float) -> Story:
    count = round(D.vats.cumulative_s / 2)
    return (look_left(2) + attentive(forward_s)) * count


@every_rate
def test_many_short_looks_are_distraction(fps: float) -> None:
    story = looks(D.vats.reset_forward_s - 0.4)
    assert story.seconds < D.vats.window_s
    seen = watch(drive(story), fps)
    event = only(seen, Kind.DISTRACTION)
    assert event.evidence.limit == "vats"


@every_rate
def test_short_looks_with_time_to_see_the_road_are_none(fps: float) -> None:
    assert watch(drive(looks(D.vats.reset_forward_s)), fps).events == []


@every_rate
def test_in_out_in_resets_no_timer(fps: float) -> None:
    half = look_left(D.long.nominal_s / 2)
    seen = watch(drive(half + attentive(0.04) + half + look_left(0.3)), fps)
    assert within_a_frame(seen.first_s(Kind.DISTRACTION), BEGAN_S + D.long.nominal_s, fps)


@every_rate
def test_a_phone_in_the_lap_is_distraction_and_not_sleep(fps: float) -> None:
    seen = watch(drive(look_down(D.long.nominal_s + 1)), fps)
    only(seen, Kind.DISTRACTION)


# --- camera, passenger, light ---


@every_rate
@pytest.mark.parametrize(
    ("trouble", "cause"),
    [
        (camera_lost, Cause.CAMERA_LOST),
        (frozen, Cause.CAMERA_FROZEN),
        (dark, Cause.LOW_LIGHT),
        (glare, Cause.GLARE),
    ],
)
def test_an_impaired_camera_is_told_and_told_when_it_is_over(
    fps: float, trouble: Callable[[float], Story], cause: Cause
) -> None:
    seen = watch(drive(trouble(8)), fps)
    event = only(seen, Kind.DEGRADED)
    assert event.cause == cause
    told_s = seen.first_s(Kind.DEGRADED)
    assert told_s is not None
    assert told_s - BEGAN_S <= P.degraded.notify_within_s
    assert within_a_frame(event.at_s - seen.start_s, BEGAN_S + 8, fps)
    assert seen.states[-1].monitored


@every_rate
def test_a_moment_of_glare_is_told_to_nobody(fps: float) -> None:
    assert watch(drive(glare(P.degraded.after_s.glare - 0.5)), fps).events == []


@every_rate
def test_an_absent_driver_is_told_as_absent_and_not_as_asleep(fps: float) -> None:
    seen = watch(drive(absent(8)), fps)
    event = only(seen, Kind.ABSENT)
    assert event.level is Level.CAUTION
    assert within_a_frame(seen.first_s(Kind.ABSENT), BEGAN_S + P.absence.after_s, fps)
    assert Cause.NO_FACE in seen.state(BEGAN_S + 6).degraded


@every_rate
def test_nobody_at_the_wheel_of_a_moving_vehicle_is_a_warning(fps: float) -> None:
    seen = watch(drive(absent(8)).driving(80), fps)
    assert seen.of(Kind.ABSENT)[0].level is Level.WARNING


@every_rate
def test_a_passenger_beside_the_driver_changes_nothing(fps: float) -> None:
    alone = watch(drive(eyes_closed(C.sleep_s + 0.2)), fps)
    together = watch(with_passenger(drive(eyes_closed(C.sleep_s + 0.2))), fps)
    assert alone.events == together.events


# --- speed ---


@every_rate
def test_a_red_light_is_not_a_place_for_warnings(fps: float) -> None:
    story = WARM_UP.driving(50) + (look_left(8) + attentive(4) + eyes_closed(4)).driving(0)
    seen = watch(story + COOL_DOWN.driving(50), fps)
    assert max(event.level for event in seen.events) is Level.INFO
    assert kinds(seen.alerts()) == [Kind.DISTRACTION, Kind.SLEEP]


@every_rate
def test_a_sleeper_who_begins_to_roll_is_warned(fps: float) -> None:
    story = WARM_UP.driving(0) + eyes_closed(4).driving(0) + eyes_closed(2).driving(40)
    seen = watch(story + COOL_DOWN.driving(40), fps)
    warned_s = seen.first_s(Kind.SLEEP, Level.CRITICAL)
    assert within_a_frame(warned_s, BEGAN_S + 4, fps)
    assert len(seen.alerts()) == 1


@every_rate
def test_a_lost_speed_source_is_taken_as_moving(fps: float) -> None:
    story = WARM_UP.driving(0) + look_left(5).driving(None) + COOL_DOWN.driving(None)
    seen = watch(story, fps)
    assert only(seen, Kind.DISTRACTION).level is Level.WARNING
    assert seen.states[-1].speed_kmh is None


@every_rate
def test_slow_traffic_mutes_distraction_but_not_sleep(fps: float) -> None:
    slow = (P.activation.closure.min_speed_kmh + P.activation.distraction.min_speed_kmh) / 2
    assert watch(drive(look_left(5)).driving(slow), fps).events[0].level is Level.INFO
    asleep = watch(drive(eyes_closed(C.sleep_s + 0.2)).driving(slow), fps)
    assert max(event.level for event in asleep.events) is Level.CRITICAL


# --- clocks ---


@every_rate
@pytest.mark.parametrize("step_s", [-3600.0, 3600.0])
def test_a_step_of_the_wall_clock_changes_nothing_of_an_open_alert(
    fps: float, step_s: float
) -> None:
    story = drive(eyes_closed(C.sleep_s + 0.5))
    stepped_s = 100 + BEGAN_S + C.microsleep_log_s + 0.5

    def wall(t: float) -> float:
        return 1_780_000_000.0 + t + (step_s if 100 + t > stepped_s else 0)

    assert watch(story, fps, wall=wall).events == watch(story, fps).events


# --- profiles ---


@every_rate
def test_euro_ncap_2026_warns_of_a_microsleep_from_one_second(fps: float) -> None:
    policy = load_policy("euro-ncap-2026")
    seen = watch(drive(eyes_closed(1.2)), fps, policy=policy)
    assert seen.first_s(Kind.MICROSLEEP, Level.WARNING) == pytest.approx(
        BEGAN_S + policy.closure.microsleep_warn_s, abs=1 / fps + 1e-6
    )


@every_rate
def test_an_acknowledged_warning_falls_silent_but_stays(fps: float) -> None:
    story = WARM_UP * 3 + look_left(D.long.nominal_s + 1)
    story = story + acknowledging(look_left(10))
    seen = watch(story + COOL_DOWN, fps)
    event = only(seen, Kind.DISTRACTION)
    assert event.acknowledged
    assert not any(told.evidence.repeat for told in seen.events)
    assert seen.state(story.seconds).level is Level.WARNING


def test_an_unseen_face_is_not_a_sleeping_one() -> None:
    seen = watch(WARM_UP + absent(30), 30)
    assert all(state.eyes is Eyes.UNKNOWN for state in seen.states[-30:])
    assert seen.of(*DROWSINESS) == []


def test_a_policy_of_ones_own_moves_the_alarm() -> None:
    slow = Policy.model_validate({"id": "slow", "closure": {"microsleep_warn_s": 1.8}})
    seen = watch(drive(eyes_closed(1.9)), 30, policy=slow)
    assert seen.first_s(Kind.MICROSLEEP, Level.WARNING) == pytest.approx(BEGAN_S + 1.8, abs=0.034)
