"""What the watch must make of eyes: closures, the trap, eyes that are not closed, drowsiness.

What Euro NCAP and the EU's rules ask for, as drives. Times come from the policy's settings; every
scenario runs at 5, 10, 30 and 60 fps.
"""

import pytest

from monitor.policy import load_policy
from monitor.types import Cause, Kind, Level, Phase
from tests.support.drivers import (
    BEGAN_S,
    CLOSURES,
    COOL_DOWN,
    DROWSINESS,
    WARM_UP,
    Person,
    Story,
    absent,
    attentive,
    blinking,
    camera_lost,
    drive,
    dropped_frames,
    every_rate,
    eyes_closed,
    hand_before_eyes,
    head_down,
    heavy_lids,
    laughing,
    lower_eyes,
    only,
    slumped,
    sunglasses,
    talking,
    watch,
    within_a_frame,
    yawning,
)

P = load_policy("default")
C = P.closure
D = P.distraction
LATCH_S = P.escalation.latch.attentive_s


# --- one closure, longer and longer ---


@every_rate
def test_a_closure_shorter_than_a_microsleep_is_none(fps: float) -> None:
    seen = watch(drive(eyes_closed(C.microsleep_log_s - 0.1)), fps)
    assert seen.events == []


@every_rate
def test_a_short_microsleep_is_logged_but_warns_nobody(fps: float) -> None:
    seen = watch(drive(eyes_closed(C.microsleep_log_s + 0.2)), fps)
    event = only(seen, Kind.MICROSLEEP)
    assert event.level is Level.INFO
    assert within_a_frame(seen.first_s(Kind.MICROSLEEP), BEGAN_S + C.microsleep_log_s, fps)


@every_rate
def test_a_longer_microsleep_warns_in_time(fps: float) -> None:
    seen = watch(drive(eyes_closed(C.microsleep_warn_s + 0.1)), fps)
    event = only(seen, Kind.MICROSLEEP)
    assert event.level is Level.WARNING
    warned_s = seen.first_s(Kind.MICROSLEEP, Level.WARNING)
    assert within_a_frame(warned_s, BEGAN_S + C.microsleep_warn_s, fps)


@every_rate
def test_three_seconds_of_closed_eyes_are_sleep(fps: float) -> None:
    seen = watch(drive(eyes_closed(C.sleep_s + 0.1)), fps)
    event = only(seen, Kind.SLEEP)
    assert event.level is Level.CRITICAL
    assert within_a_frame(seen.first_s(Kind.SLEEP), BEGAN_S + C.sleep_s, fps)


@every_rate
def test_six_seconds_of_closed_eyes_are_unresponsive(fps: float) -> None:
    seen = watch(drive(eyes_closed(C.unresponsive_s + 0.1)), fps)
    only(seen, Kind.UNRESPONSIVE)
    assert within_a_frame(seen.first_s(Kind.UNRESPONSIVE), BEGAN_S + C.unresponsive_s, fps)


@every_rate
def test_one_closure_is_one_alert_that_climbs_and_ends_when_the_eyes_open(fps: float) -> None:
    closed_s = C.unresponsive_s + 0.5
    seen = watch(drive(eyes_closed(closed_s)), fps)
    assert len({event.id for event in seen.events}) == 1
    assert seen.events[0].phase is Phase.START
    assert seen.events[-1].phase is Phase.END
    levels = [event.level for event in seen.events]
    assert levels == sorted(levels)
    end = seen.events[-1]
    assert within_a_frame(end.started_s - seen.start_s, BEGAN_S, fps)
    assert within_a_frame(end.at_s - seen.start_s, BEGAN_S + closed_s, fps)


@pytest.mark.parametrize("seconds", [0.9, 1.2, 1.6, 3.1, 6.1])
def test_every_frame_rate_tells_the_same_of_a_closure(seconds: float) -> None:
    told = {
        fps: [
            (event.kind, event.phase, event.level)
            for event in watch(drive(eyes_closed(seconds)), fps).events
            if not event.evidence.repeat
        ]
        for fps in (5, 10, 30, 60)
    }
    assert told[5] == told[10] == told[30] == told[60]


# --- eyes that cannot be seen ---


@every_rate
def test_eyes_not_found_for_two_minutes_are_degraded_and_not_drowsy(fps: float) -> None:
    seen = watch(WARM_UP + sunglasses(120), fps)
    assert seen.of(*DROWSINESS) == []
    told_s = seen.first_s(Kind.DEGRADED)
    assert told_s is not None
    assert told_s - BEGAN_S <= P.degraded.notify_within_s
    assert seen.of(Kind.DEGRADED)[0].cause == Cause.EYES_NOT_VISIBLE
    assert seen.states[-1].degraded == (Cause.EYES_NOT_VISIBLE,)
    assert seen.states[-1].perclos is None


@every_rate
def test_one_closed_frame_at_the_start_is_no_perclos(fps: float) -> None:
    seen = watch(eyes_closed(1 / fps) + attentive(10), fps)
    assert seen.of(Kind.DROWSY) == []
    early = P.perclos.drowsy.all_of[0].min_observed_s
    assert all(s.perclos is None for s in seen.states if s.timestamp_s - seen.start_s < early)


@every_rate
def test_frames_dropped_within_a_closure_do_not_delay_its_alarm(fps: float) -> None:
    gap_s = C.hold_over_unknown_s - 0.2
    story = eyes_closed(0.8) + dropped_frames(gap_s) + eyes_closed(C.sleep_s)
    seen = watch(drive(story), fps)
    only(seen, Kind.SLEEP)
    assert within_a_frame(seen.first_s(Kind.SLEEP), BEGAN_S + C.sleep_s, fps)


@every_rate
def test_a_blink_before_a_gap_is_no_closure(fps: float) -> None:
    seen = watch(drive(eyes_closed(0.2) + dropped_frames(C.sleep_s) + eyes_closed(0.2)), fps)
    assert seen.of(*CLOSURES) == []


@every_rate
def test_a_blink_before_a_hand_is_no_closure(fps: float) -> None:
    seen = watch(drive(eyes_closed(0.2) + hand_before_eyes(4)), fps)
    assert seen.of(*DROWSINESS) == []


# --- the trap: closed eyes, then the head drops ---


@every_rate
@pytest.mark.parametrize("closed_s", [0.6, 1.2, 1.6, 2.5, 4.0])
def test_a_head_that_drops_out_of_the_picture_clears_no_alert(fps: float, closed_s: float) -> None:
    story = eyes_closed(closed_s) + absent(10)
    seen = watch(WARM_UP + story + COOL_DOWN, fps)
    (alert,) = seen.alerts()
    assert alert.kind is Kind.UNRESPONSIVE
    warned_s = BEGAN_S + C.microsleep_warn_s
    gone_s = WARM_UP.seconds + story.seconds
    assert min(seen.levels(warned_s + 1 / fps, gone_s)) >= Level.WARNING
    levels = seen.levels(warned_s, gone_s)
    assert levels == sorted(levels), "the alert must never fall while nobody is seen"
    assert seen.state(gone_s + LATCH_S + 0.5).level is Level.NONE


@every_rate
@pytest.mark.parametrize("pitch_deg", [-16, -35])
def test_a_head_that_drops_on_the_chest_clears_no_alert(fps: float, pitch_deg: float) -> None:
    story = eyes_closed(C.microsleep_warn_s + 0.5) + head_down(8, pitch_deg)
    seen = watch(WARM_UP + story + COOL_DOWN, fps)
    (alert,) = seen.alerts()
    assert alert.kind is Kind.UNRESPONSIVE
    assert alert.evidence.nod is True
    levels = seen.levels(BEGAN_S + C.microsleep_warn_s, BEGAN_S + story.seconds)
    assert levels == sorted(levels)
    assert levels[0] >= Level.WARNING or fps == 5


@every_rate
def test_the_detectors_sleep_goes_on_where_landmarks_are_lost(fps: float) -> None:
    story = eyes_closed(0.4, sleep=0.9) + slumped(C.sleep_s)
    seen = watch(drive(story), fps)
    assert within_a_frame(seen.first_s(Kind.SLEEP), BEGAN_S + C.sleep_s, fps)
    assert seen.states[-1].level is Level.NONE


@every_rate
def test_a_latched_alert_is_released_by_open_eyes_and_not_before(fps: float) -> None:
    story = WARM_UP + eyes_closed(C.microsleep_warn_s + 0.5)
    seen = watch(story + attentive(LATCH_S + 2), fps)
    opened_s = story.seconds
    assert seen.state(opened_s + LATCH_S - 2 / fps).level is Level.WARNING
    assert seen.state(opened_s + LATCH_S + 1 / fps).level is Level.NONE


@every_rate
def test_a_camera_that_fails_clears_no_alert_and_raises_none(fps: float) -> None:
    story = WARM_UP + eyes_closed(C.microsleep_warn_s + 0.2)
    seen = watch(story + camera_lost(20), fps)
    closure = seen.of(*CLOSURES)
    assert closure[-1].phase is Phase.END
    assert closure[-1].evidence.ended_by == "drive"
    assert seen.state(story.seconds + 15).level >= Level.WARNING
    assert seen.of(Kind.UNRESPONSIVE) == []


@every_rate
def test_a_driver_who_left_ends_the_alert_at_last(fps: float) -> None:
    limit_s = P.abandoned.standstill_s
    story = WARM_UP + eyes_closed(C.sleep_s) + absent(limit_s + 5).driving(0)
    seen = watch(story, fps)
    assert seen.of(Kind.SLEEP)[-1].evidence.ended_by == "nobody_there"
    assert seen.states[-1].kind is Kind.ABSENT


def test_in_a_moving_vehicle_nobody_in_the_picture_never_ends_the_alert() -> None:
    story = WARM_UP + eyes_closed(C.sleep_s) + absent(P.abandoned.speed_unknown_s + 60)
    seen = watch(story.driving(80), 10)
    assert seen.states[-1].level is Level.CRITICAL
    assert len(seen.alerts()) == 1


# --- eyes that are not closed ---


@every_rate
def test_lowered_eyes_are_a_glance_and_not_a_closure(fps: float) -> None:
    seen = watch(drive(lower_eyes(D.long.nominal_s - 0.5)), fps)
    assert seen.events == []


@every_rate
def test_eyes_lowered_for_long_are_distraction_and_not_sleep(fps: float) -> None:
    seen = watch(drive(lower_eyes(D.long.nominal_s + 1)), fps)
    event = only(seen, Kind.DISTRACTION)
    assert event.evidence.looking_down is True
    assert within_a_frame(seen.first_s(Kind.DISTRACTION), BEGAN_S + D.long.nominal_s, fps)


@every_rate
def test_lids_that_all_call_shut_are_a_closure_whatever_the_irises_do(fps: float) -> None:
    lasts_s = C.microsleep_log_s + P.evidence.unanimous.after_s + 2 / fps
    irises_low = eyes_closed(lasts_s, closed=0.97, sleep=0.9, gaze_down=1.0, lower_lid=1.1)
    seen = watch(drive(irises_low), fps)
    due_s = BEGAN_S + C.microsleep_log_s + P.evidence.unanimous.after_s
    assert seen.first_s(Kind.MICROSLEEP) <= due_s + 1 / fps


@every_rate
def test_a_head_that_goes_down_with_the_lids_is_a_glance(fps: float) -> None:
    """Without a measured lower lid, five degrees of pitch tell it."""
    glance = lower_eyes(D.long.nominal_s - 0.5, pitch_deg=-8).but(lower_lid=0.69)
    assert watch(drive(glance), fps).events == []


@every_rate
@pytest.mark.parametrize(
    "story",
    [
        talking(8),
        laughing(6),
        blinking(9),
        heavy_lids(6),
        blinking(6, every_s=0.5),
    ],
)
def test_people_who_talk_laugh_and_blink_raise_no_alert(fps: float, story: Story) -> None:
    assert watch(drive(story), fps).events == []


@pytest.mark.parametrize("fps", [10, 30, 60])
def test_rapid_blinking_is_no_microsleep(fps: float) -> None:
    """Lids that move five times a second cannot be seen at five frames a second."""
    flutter = (eyes_closed(0.1) + attentive(0.1)) * 20
    assert watch(drive(flutter), fps).of(*CLOSURES) == []


@every_rate
def test_lids_that_flutter_in_a_closure_do_not_cut_it(fps: float) -> None:
    slit = eyes_closed(0.6) + attentive(0.1)
    seen = watch(drive(slit * 3 + eyes_closed(0.8)), fps)
    assert len(seen.alerts(*CLOSURES)) == 1


@every_rate
def test_a_yawn_is_told_and_warns_nobody(fps: float) -> None:
    seen = watch(drive(yawning(4)), fps)
    event = only(seen, Kind.YAWNING)
    assert event.level is Level.INFO
    assert within_a_frame(seen.first_s(Kind.YAWNING), BEGAN_S + P.yawn.min_s, fps)


def test_many_yawns_are_said_louder_but_never_warn() -> None:
    seen = watch(drive((yawning(4) + attentive(130)) * P.yawn.count), 10)
    assert max(event.level for event in seen.of(Kind.YAWNING)) is Level.CAUTION


# --- drowsiness ---


def slow_lids(seconds: float, share: float) -> Story:
    """Closures just too short to be microsleeps, so often that PERCLOS is `share`."""
    one_s = C.microsleep_log_s - 0.4
    period_s = one_s / share
    return (eyes_closed(one_s) + attentive(period_s - one_s)) * round(seconds / period_s)


@pytest.mark.parametrize("fps", [5, 10])
def test_a_drowsy_driver_is_drowsy(fps: float) -> None:
    first, second = P.perclos.drowsy.all_of
    seen = watch(attentive(10) + slow_lids(first.window_s * 3, first.enter + 0.05), fps)
    told_s = seen.first_s(Kind.DROWSY, Level.CAUTION)
    assert told_s is not None
    assert told_s >= second.min_observed_s
    assert seen.of(*CLOSURES) == []


@pytest.mark.parametrize("fps", [5, 10])
def test_a_driver_who_blinks_slowly_now_and_then_is_awake(fps: float) -> None:
    seen = watch(slow_lids(150, P.perclos.drowsy.exit - 0.03), fps)
    assert seen.of(Kind.DROWSY) == []


def test_drowsiness_ends_when_the_lids_recover() -> None:
    window_s = P.perclos.drowsy.all_of[0].window_s
    seen = watch(slow_lids(window_s * 3, 0.2) + blinking(window_s + 30), 10)
    assert seen.of(Kind.DROWSY)[-1].phase is Phase.END
    assert seen.of(Kind.DROWSY)[-1].evidence.ended_by == "over"
    assert seen.states[-1].level is Level.NONE


# --- the driver's own eyes ---


@every_rate
@pytest.mark.parametrize(
    "person",
    [
        Person(ear_open=0.20, ear_closed=0.05),
        Person(ear_open=0.16, ear_closed=0.035),
        Person(ear_open=0.32, ear_closed=0.10),
        Person(ear_open=0.42, ear_closed=0.06),
        Person(yaw_deg=15, pitch_deg=-10),
    ],
    ids=["small eyes", "very small eyes", "portrait", "wide eyes", "camera aside"],
)
def test_every_driver_is_judged_by_their_own_eyes(fps: float, person: Person) -> None:
    awake = watch(blinking(9), fps, person=person)
    assert awake.events == []
    asleep = watch(drive(eyes_closed(C.sleep_s + 0.2)), fps, person=person)
    only(asleep, Kind.SLEEP)


def test_lids_that_droop_for_twenty_minutes_do_not_move_the_baseline() -> None:
    minutes = 20
    steps = [heavy_lids(60, 1 - 0.5 * minute / minutes) for minute in range(minutes + 1)]
    story = blinking(P.eye.calibration.min_valid_s * 1.2)
    for step in steps:
        story = story + step
    seen = watch(story, 5)
    learned = seen.state(P.eye.calibration.min_valid_s * 1.2).calibration
    assert learned is not None
    assert learned.ready
    assert seen.states[-1].calibration == learned
    assert seen.states[-1].openness == pytest.approx(0.5, abs=0.06)


def test_glasses_put_on_in_mid_drive_are_another_condition() -> None:
    learned_s = P.eye.calibration.min_valid_s * 1.4
    hold_s = P.eye.calibration.step_hold_s
    with_glasses = blinking(learned_s + hold_s).but(glasses=0.75)
    seen = watch(blinking(learned_s) + with_glasses + blinking(hold_s * 2), 10)
    before = seen.state(learned_s).calibration
    glasses = seen.state(learned_s + with_glasses.seconds).calibration
    after = seen.states[-1].calibration
    assert before is not None
    assert glasses is not None
    assert glasses.ear_open == pytest.approx(before.ear_open * 0.75, rel=0.06)
    assert glasses.id != before.id
    assert after == before, "taken off again, the first baseline serves again"
    assert seen.events == []
