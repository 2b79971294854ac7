"""The engine as its callers see it: what every stream of events must keep, whoever drives."""

import json
from collections import defaultdict
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.engine import Engine
from monitor.policy import Policy
from monitor.protocol.mapping import evidence_from
from monitor.types import Cause, Command, Event, Eyes, Kind, Level, Observation, Phase
from monitor.types.evidence import evidence_json
from tests.support.drivers import (
    Person,
    Story,
    absent,
    acknowledging,
    attentive,
    blinking,
    camera_lost,
    dark,
    dropped_frames,
    eyes_closed,
    frozen,
    head_down,
    heavy_lids,
    look_down,
    look_left,
    lower_eyes,
    recalibrating,
    slumped,
    sunglasses,
    talking,
    watch,
    yawning,
)

P = Policy()
C = P.closure
LATCH_S = P.escalation.latch.attentive_s

PARTS: list[Callable[[float], Story]] = [
    absent, attentive, blinking, camera_lost, dark, dropped_frames, eyes_closed, frozen, head_down,
    heavy_lids, look_down, look_left, lower_eyes, slumped, sunglasses, talking, yawning,
]  # fmt: skip
DRIVES = st.lists(
    st.tuples(st.sampled_from(PARTS), st.floats(0.1, 9), st.sampled_from([None, 0.0, 30.0, 90.0])),
    min_size=1,
    max_size=8,
).map(lambda parts: [make(seconds).driving(kmh) for make, seconds, kmh in parts])


def joined(parts: list[Story]) -> Story:
    story = attentive(1)
    for part in parts:
        story = story + part
    return story


def lives(events: list[Event]) -> dict[str, list[Event]]:
    found: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        found[event.id].append(event)
    return found


# --- what holds of every drive ---


@given(parts=DRIVES, fps=st.sampled_from([5.0, 10.0, 30.0]))
@settings(max_examples=40, deadline=None)
def test_every_alert_is_told_from_its_start_to_its_end_and_never_falls(
    parts: list[Story], fps: float
) -> None:
    for life in lives(watch(joined(parts), fps).events).values():
        phases = [event.phase for event in life]
        assert phases[0] is Phase.START
        assert phases[-1] is Phase.END
        assert phases.count(Phase.START) == phases.count(Phase.END) == 1
        assert [e.level for e in life] == sorted(e.level for e in life)
        assert [e.at_s for e in life] == sorted(e.at_s for e in life)
        assert len({(e.started_s, e.started_at, e.drive, e.camera) for e in life}) == 1
        assert all(e.at >= e.started_at for e in life)


@given(parts=DRIVES, fps=st.sampled_from([5.0, 15.0]))
@settings(max_examples=20, deadline=None)
def test_the_same_calls_give_the_same_events_byte_for_byte(parts: list[Story], fps: float) -> None:
    def told() -> bytes:
        seen = watch(joined(parts), fps, noise=1.0, seed=7)
        return repr((seen.events, seen.states)).encode()

    assert told() == told()


@given(parts=DRIVES)
@settings(max_examples=20, deadline=None)
def test_the_state_names_the_open_alerts_and_the_most_urgent_of_them(parts: list[Story]) -> None:
    seen = watch(joined(parts), 10)
    open_now: dict[str, Event] = {}
    told = iter(seen.events)
    upcoming = next(told, None)
    engine = Engine(P, drive="story", models=("fake@1",))
    for observation, speed_kmh, commands in joined(parts).at(10):
        state, events = engine.update(observation, speed_kmh, commands)
        for event in events:
            assert event == upcoming
            upcoming = next(told, None)
            open_now[event.id] = event
            if event.phase is Phase.END:
                del open_now[event.id]
        assert set(state.open_alerts) == set(open_now)
        assert state.level == max((e.level for e in open_now.values()), default=Level.NONE)


@given(parts=DRIVES)
@settings(max_examples=20, deadline=None)
def test_evidence_is_plain_json(parts: list[Story]) -> None:
    for event in watch(joined(parts), 10).events:
        written = json.dumps(evidence_json(event.evidence), allow_nan=False)
        assert evidence_from(event.kind, json.loads(written)) == event.evidence


@given(seconds=st.floats(0.1, 40), fps=st.sampled_from([5.0, 30.0]))
@settings(max_examples=8, deadline=None)
def test_a_driver_nobody_can_see_is_never_asleep_or_distracted(seconds: float, fps: float) -> None:
    for hidden in (sunglasses, dark, frozen, camera_lost, absent):
        told = watch(hidden(seconds), fps).events
        assert {event.kind for event in told} <= {Kind.DEGRADED, Kind.ABSENT}


@given(closed_s=st.floats(0.2, 8), fps=st.sampled_from([10.0, 30.0, 60.0]))
@settings(max_examples=20, deadline=None)
def test_the_frame_rate_moves_no_event_by_more_than_a_frame(closed_s: float, fps: float) -> None:
    rungs = (C.microsleep_log_s, C.microsleep_warn_s, C.microsleep_repeat_warn_s, C.sleep_s)
    if any(abs(closed_s - rung) < 0.11 for rung in (*rungs, C.unresponsive_s)):
        return  # within a frame of a threshold either answer is right
    story = attentive(3) + eyes_closed(closed_s) + attentive(LATCH_S + 1)

    def told(rate: float) -> list[Event]:
        return [e for e in watch(story, rate).events if not e.evidence.repeat]

    one, other = told(fps), told(30)
    assert [(e.kind, e.phase, e.level) for e in one] == [(e.kind, e.phase, e.level) for e in other]
    for a, b in zip(one, other, strict=True):
        assert a.at_s == pytest.approx(b.at_s, abs=1 / min(fps, 30) + 1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_noise_of_the_mesh_changes_no_alert(seed: int) -> None:
    awake = watch(blinking(30), 30, noise=1.0, seed=seed)
    assert awake.events == []
    story = blinking(6) + eyes_closed(C.sleep_s + 0.5) + attentive(LATCH_S + 1)
    (alert,) = watch(story, 30, noise=1.0, seed=seed).alerts()
    assert alert.kind is Kind.SLEEP
    assert alert.started_s - 100 == pytest.approx(6, abs=0.1)


# --- identity and provenance ---


def slept(drive: str = "d", camera: str = "driver", start_s: float = 100.0) -> list[Event]:
    engine = Engine(P, drive=drive, camera=camera, models=("eyes@abc",))
    events: list[Event] = []
    story = attentive(3) + eyes_closed(2) + attentive(LATCH_S + 1)
    for observation, speed_kmh, commands in story.at(30, start_s=start_s):
        events += engine.update(observation, speed_kmh, commands)[1]
    return events + engine.finish()


def test_an_id_says_drive_camera_and_start() -> None:
    ids = {slept()[0].id, slept(drive="e")[0].id, slept(camera="cabin")[0].id}
    assert len(ids) == 3
    assert slept()[0].id == slept()[0].id


def test_an_id_does_not_depend_on_where_the_monotonic_clock_began() -> None:
    def wall(offset: float) -> list[Event]:
        story = attentive(3) + eyes_closed(2) + attentive(3)
        return watch(story, 30, start_s=offset).events

    assert [e.id for e in wall(100.0)] == [e.id for e in wall(5000.0)]


def test_every_event_carries_where_it_comes_from() -> None:
    for event in slept():
        assert event.policy == P.hash
        assert event.models[0] == "eyes@abc"
        assert event.models[1].startswith("eye_fusion@")
        assert event.drive == "d"
        assert len(event.calibration) == 12


def test_wall_clock_times_come_from_one_anchor() -> None:
    for event in slept():
        assert event.at - event.started_at == pytest.approx(event.duration_s, abs=2e-3)


def test_an_engine_that_saw_nothing_has_nothing_to_close() -> None:
    assert Engine(P, drive="d").finish() == []


def test_the_end_of_the_drive_closes_what_is_open() -> None:
    seen = watch(attentive(3) + eyes_closed(2), 30)
    assert seen.events[-1].phase is Phase.END
    assert seen.events[-1].evidence.ended_by == "drive"


def test_a_capture_time_that_goes_back_is_taken_as_the_last() -> None:
    engine = Engine(P, drive="d")
    first, *_ = [o for o, _, _ in attentive(1).at(10)]
    engine.update(first)
    state, _ = engine.update(Observation(first.timestamp_s - 5, first.captured_at))
    assert state.timestamp_s == first.timestamp_s


# --- what a driver or an operator asks ---


def test_unanswered_warnings_are_repeated_and_acknowledged_ones_are_not() -> None:
    every_s = P.escalation.repeat_s.critical
    asleep = attentive(3) + eyes_closed(C.unresponsive_s + 3 * every_s)
    loud = watch(asleep, 10)
    assert max(e.evidence.repeat for e in loud.events) >= 2
    quiet = watch(asleep + acknowledging(eyes_closed(10)), 10)
    acknowledged = next(i for i, e in enumerate(quiet.events) if e.acknowledged)
    assert [e.phase for e in quiet.events[acknowledged:]] == [Phase.UPDATE, Phase.END]


def test_an_acknowledged_alert_that_rises_speaks_again() -> None:
    story = attentive(3) + eyes_closed(2) + acknowledging(eyes_closed(2))
    events = watch(story + attentive(LATCH_S + 1), 10).events
    assert not next(e.acknowledged for e in events if e.kind is Kind.SLEEP)


def test_acknowledging_nothing_tells_nothing() -> None:
    assert watch(attentive(2) + acknowledging(attentive(2)), 10).events == []


def test_muting_the_chime_changes_nothing_for_the_engine() -> None:
    def events(commands: tuple[Command, ...]) -> list[Event]:
        story = attentive(3).but(commands=commands) + eyes_closed(2) + attentive(4)
        return watch(story, 10).events

    assert events((Command.WARNINGS_OFF,)) == events(())


def test_a_driver_who_asks_for_it_is_learned_anew() -> None:
    story = attentive(70) + recalibrating(attentive(1))
    seen = watch(story, 10)
    before, after = seen.state(69).calibration, seen.states[-1].calibration
    assert before is not None
    assert after is not None
    assert before.ready
    assert not after.ready
    assert after.progress < 0.1


# --- life of an alert ---


def test_a_second_closure_before_the_driver_is_attentive_is_the_same_alert() -> None:
    again = eyes_closed(C.microsleep_warn_s + 0.3) + attentive(LATCH_S / 2)
    seen = watch(attentive(3) + again * 3 + attentive(LATCH_S + 1), 30)
    assert len(seen.alerts()) == 1
    apart = eyes_closed(C.microsleep_warn_s + 0.3) + attentive(LATCH_S + 1)
    assert len(watch(attentive(3) + apart * 3, 30).alerts()) == 3


def test_a_slow_state_that_just_ended_is_not_told_again_at_once() -> None:
    one = yawning(3) + attentive(5)
    cool_s = P.escalation.cooldown_s.info
    assert len(watch(attentive(2) + one * 2, 10).alerts(Kind.YAWNING)) == 1
    later = one + attentive(cool_s + 5) + one
    assert len(watch(attentive(2) + later, 10).alerts(Kind.YAWNING)) == 2


def test_every_closure_is_told_however_soon_it_comes_again() -> None:
    one = eyes_closed(C.microsleep_log_s + 0.2) + attentive(1)
    assert len(watch(attentive(3) + one * 5, 10).alerts(Kind.MICROSLEEP)) == 5


def test_too_many_critical_alerts_are_marked_for_the_fleet() -> None:
    count = P.escalation.fleet_notice.terminal_count
    one = eyes_closed(C.sleep_s + 0.2) + attentive(LATCH_S + 1)
    seen = watch(attentive(3) + one * count, 10)
    marked = [e.evidence.fleet_notice for e in seen.alerts()]
    assert marked == [False] * (count - 1) + [True]


def test_nobody_is_learned_from_while_an_alert_is_open() -> None:
    seen = watch(attentive(3) + look_left(20) + attentive(LATCH_S - 0.5), 10)
    progress = [s.calibration.progress for s in seen.states if s.calibration and s.open_alerts]
    assert len(set(progress)) == 1


def test_a_driver_who_never_gets_calibrated_is_told_so() -> None:
    limit_s = P.eye.calibration.max_learning_s
    seen = watch(attentive(limit_s + 10).driving(10), 5)
    told = seen.of(Kind.DEGRADED)[0]
    assert told.cause == Cause.UNCALIBRATED
    assert told.level is Level.INFO
    assert told.at_s - 100 == pytest.approx(limit_s, abs=0.3)


def test_too_few_frames_are_told() -> None:
    seen = watch(attentive(20), 2)
    assert Cause.LOW_FPS in seen.states[-1].degraded


def test_a_stage_that_fails_is_told_and_nobody_is_called_absent() -> None:
    broken = attentive(10).but(face=False, errors=("landmarks",))
    seen = watch(attentive(3) + broken, 10)
    assert {e.cause for e in seen.events} == {Cause.MODEL_ERROR}


def test_the_next_driver_begins_without_the_last_ones_alerts_and_baseline() -> None:
    limit_s = P.abandoned.standstill_s
    gone = eyes_closed(4) + absent(limit_s + 2).driving(0)
    story = attentive(70) + gone + eyes_closed(0.5) + attentive(5)
    seen = watch(story, 10)
    later = seen.states[-1]
    assert later.level is Level.NONE
    assert later.calibration is not None
    assert not later.calibration.ready


# --- the state ---


def test_the_state_of_an_attentive_driver() -> None:
    state = watch(blinking(40), 10).states[-1]
    assert state.level is Level.NONE
    assert state.kind is None
    assert state.eyes is Eyes.OPEN
    assert state.eyes_on_road is True
    assert state.perclos == 0
    assert state.fatigue == 0
    assert state.distraction == 0
    assert state.closure_s == 0
    assert state.monitored
    assert 0.6 < state.coverage <= 1


def test_the_state_of_a_sleeper() -> None:
    state = watch(blinking(6) + eyes_closed(C.sleep_s + 0.5), 10).states[-1]
    assert state.kind is Kind.SLEEP
    assert state.closure_s == pytest.approx(C.sleep_s + 0.5, abs=0.2)
    assert state.eyes_on_road is False
    assert state.fatigue is not None
    assert state.fatigue >= 95


def test_the_state_of_a_driver_nobody_can_see() -> None:
    state = watch(sunglasses(20), 10).states[-1]
    assert state.eyes is Eyes.UNKNOWN
    assert state.openness is None
    assert state.perclos is None
    assert state.fatigue is None
    assert state.eyes_on_road is None
    assert state.coverage == 0
    assert not state.monitored


def test_distraction_rises_with_the_length_of_the_look() -> None:
    seen = watch(attentive(3) + look_left(P.distraction.long.nominal_s), 30)
    half = seen.state(3 + P.distraction.long.nominal_s / 2).distraction
    assert half == pytest.approx(50, abs=3)
    assert seen.states[-1].distraction == pytest.approx(100, abs=3)


def test_a_mirrored_seat_makes_no_difference() -> None:
    left = watch(attentive(3) + look_left(4) + attentive(4), 30)
    right = watch(attentive(3) + look_left(4, -45) + attentive(4), 30)
    assert [e.at_s for e in left.events] == [e.at_s for e in right.events]


def test_a_person_may_sit_slanted() -> None:
    slanted = Person(yaw_deg=-18, pitch_deg=12)
    assert watch(blinking(30), 10, person=slanted).events == []
