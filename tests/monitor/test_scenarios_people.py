"""The people openpilot knows: its ten scenarios of driver monitoring, told as drives."""

import pytest

from monitor.policy import Policy, load_policy
from monitor.types import Kind, Level
from tests.support.drivers import (
    BEGAN_S,
    COOL_DOWN,
    DROWSINESS,
    WARM_UP,
    absent,
    attentive,
    blinking,
    drive,
    every_rate,
    kinds,
    look_left,
    only,
    sunglasses,
    watch,
    within_a_frame,
)

P = load_policy("default")
D = P.distraction
LATCH_S = P.escalation.latch.attentive_s


# --- the people openpilot knows ---


@every_rate
def test_fully_aware_driver(fps: float) -> None:
    assert watch(blinking(120), fps).events == []


@every_rate
def test_fully_distracted_driver(fps: float) -> None:
    """Where the mount is stated; without it nobody knows yet that this is not the road."""
    assert watch(look_left(20), fps).of(Kind.DISTRACTION) == []
    ahead = {"eye": {"calibration": {"neutral": {"yaw_deg": 0, "pitch_deg": 0}}}}
    seen = watch(look_left(20), fps, policy=Policy.model_validate(ahead))
    only(seen, Kind.UNRESPONSIVE)
    assert within_a_frame(seen.first_s(Kind.DISTRACTION), D.long.nominal_s, fps)
    assert seen.states[-1].level is Level.CRITICAL


@every_rate
def test_fully_invisible_driver(fps: float) -> None:
    seen = watch(absent(20), fps)
    only(seen, Kind.ABSENT)
    assert seen.of(*DROWSINESS) == []


@every_rate
def test_normal_driver_who_answers_the_warning(fps: float) -> None:
    story = WARM_UP + look_left(D.long.nominal_s + 1) + attentive(6)
    story = story + look_left(D.long.nominal_s + 1) + attentive(6)
    seen = watch(story, fps)
    assert kinds(seen.alerts()) == [Kind.DISTRACTION, Kind.DISTRACTION]
    assert all(event.level is Level.WARNING for event in seen.alerts())


@every_rate
def test_biggest_comma_fan_cannot_hide_from_the_alert(fps: float) -> None:
    away_s = D.long.nominal_s + P.unresponsive_after_warning_s + 1
    story = WARM_UP + look_left(away_s) + absent(10) + look_left(5)
    seen = watch(story + attentive(LATCH_S + 1), fps)
    levels = seen.levels(BEGAN_S + D.long.nominal_s + 1 / fps, story.seconds)
    assert levels == sorted(levels)
    assert seen.states[-1].level is Level.NONE


@every_rate
def test_sometimes_transparent_commuter(fps: float) -> None:
    gone_s = P.absence.after_s + 2
    story = WARM_UP + (absent(gone_s) + blinking(8)) * 3
    seen = watch(story, fps)
    assert kinds(seen.alerts()) == [Kind.ABSENT] * 3
    assert seen.of(*DROWSINESS, Kind.DISTRACTION) == []


@every_rate
def test_last_second_responder(fps: float) -> None:
    almost_s = D.long.nominal_s + P.unresponsive_after_warning_s - 0.4
    seen = watch(drive(look_left(almost_s)), fps)
    assert only(seen, Kind.DISTRACTION).level is Level.WARNING


@every_rate
def test_pure_dashcam_user_who_never_drives(fps: float) -> None:
    seen = watch((look_left(8) + attentive(4)).driving(0) * 3, fps)
    assert max(event.level for event in seen.events) is Level.INFO


@every_rate
def test_long_traffic_light_victim(fps: float) -> None:
    waiting = (WARM_UP * 3).driving(0) + look_left(20).driving(0)
    seen = watch(waiting + look_left(2).driving(40) + COOL_DOWN.driving(40), fps)
    assert seen.first_s(Kind.DISTRACTION, Level.WARNING) == pytest.approx(
        waiting.seconds, abs=1 / fps + 1e-6
    )


@every_rate
def test_somehow_indecisive_model(fps: float) -> None:
    """Eyes found now and then: no drowsiness out of nothing, and the watch says it is impaired."""
    flicker = attentive(0.4) + sunglasses(1.2)
    seen = watch(WARM_UP + flicker * 20, fps)
    assert seen.of(*DROWSINESS, Kind.DISTRACTION) == []
