"""Each rule alone, on readings; what is arithmetic is tested as properties."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.engine.finding import Elapsed, Finding
from monitor.engine.rules.absence import Absence
from monitor.engine.rules.closure import Closure
from monitor.engine.rules.degraded import Degraded
from monitor.engine.rules.distraction import Look, Sharing
from monitor.engine.rules.perclos import Timeline
from monitor.engine.rules.yawn import Yawn
from monitor.engine.ruleset import Ruleset
from monitor.engine.signals.attention import AttentionTime, Road
from monitor.engine.signals.fatigue import Fatigue
from monitor.engine.signals.frame_rate import FrameRate
from monitor.policy import Policy
from monitor.types import CAUSES, KINDS, Cause, ClosureEvidence, Eyes, HeadPose, Kind, Reading

P = Policy()
EYES = st.sampled_from(list(Eyes))
# Spans of one state each, as a driver makes them.
SPANS = st.lists(st.tuples(EYES, st.floats(0.05, 8)), min_size=1, max_size=12)
FPS = st.sampled_from([10.0, 15.0, 30.0, 60.0])


def reading(t: float, eyes: Eyes = Eyes.OPEN, **fields: object) -> Reading:
    return Reading(t, 1.78e9 + t, present=True, eyes=eyes, **fields)  # type: ignore[arg-type]


def readings(spans: list[tuple[Eyes, float]], fps: float) -> list[Reading]:
    ends, total = [], 0.0
    for eyes, seconds in spans:
        total += seconds
        ends.append((total, eyes))
    frames = []
    for index in range(int(total * fps) + 1):
        t = index / fps
        frames.append(reading(t, next((e for end, e in ends if t < end), ends[-1][1])))
    return frames


def closure() -> Closure:
    return Closure(
        P.closure, P.levels, P.nod, max_gap_s=P.max_gap_s, turned_deg=P.eye.pose_gate_deg.yaw
    )


def found(rule: Closure, frames: list[Reading]) -> list[Finding | None]:
    return [rule.update(frame) for frame in frames]


# --- time ---


@given(
    times=st.lists(st.floats(0.01, 2), min_size=1, max_size=30),
    states=st.lists(EYES, min_size=31, max_size=31),
)
def test_spans_cover_all_time_once_and_gaps_are_unknown(
    times: list[float], states: list[Eyes]
) -> None:
    elapsed, now_s, covered_s = Elapsed(0.5), 0.0, 0.0
    list(elapsed.spans(0.0, Eyes.UNKNOWN, states[0], Eyes.UNKNOWN))
    for k, step_s in enumerate(times):
        then_s, now_s = now_s, now_s + step_s
        for start_s, end_s, eyes in elapsed.spans(now_s, states[k], states[k + 1], Eyes.UNKNOWN):
            assert then_s <= start_s <= end_s <= now_s
            covered_s += end_s - start_s
            assert step_s <= 0.5 + 1e-9 or eyes is Eyes.UNKNOWN
    assert covered_s == pytest.approx(sum(times))


# --- closure ---


@given(spans=SPANS, fps=FPS)
@settings(max_examples=60, deadline=None)
def test_no_closure_is_found_before_eyes_were_seen_closed_long_enough(
    spans: list[tuple[Eyes, float]], fps: float
) -> None:
    """Held time included, nobody is found asleep on less than `hold_from_s` of closed eyes."""
    rule, shut_s = closure(), 0.0
    for frame in readings(spans, fps):
        shut_s += (frame.eyes is Eyes.CLOSED) / fps
        if rule.update(frame) is not None:
            assert shut_s >= P.closure.hold_from_s - 2 / fps


@given(spans=SPANS, fps=FPS)
@settings(max_examples=60, deadline=None)
def test_unknown_eyes_start_nothing_and_end_nothing(
    spans: list[tuple[Eyes, float]], fps: float
) -> None:
    rule = closure()
    told = found(rule, readings(spans, fps))
    was_found = told[-1] is not None
    after_s = sum(seconds for _, seconds in spans)
    blind = [replace(f, timestamp_s=after_s + 0.1 + f.timestamp_s) for f in readings(
        [(Eyes.UNKNOWN, 30.0)], fps
    )]  # fmt: skip
    later = found(rule, blind)
    if was_found:
        assert all(later)
    elif rule.closed_s < P.closure.hold_from_s:
        assert not any(later)


@given(lowered_s=st.floats(0.1, 0.45), fps=st.sampled_from([10.0, 30.0]))
@settings(max_examples=40, deadline=None)
def test_a_look_down_between_flickers_of_closed_eyes_is_no_closed_time(
    lowered_s: float, fps: float
) -> None:
    """Networks flicker on lowered lids: only what was seen closed counts."""
    flicker = [(Eyes.CLOSED, 0.2), (Eyes.UNKNOWN, lowered_s)] * 3
    frames = [
        replace(f, looking_down=f.eyes is Eyes.UNKNOWN or None)
        for f in readings([(Eyes.OPEN, 1.0), *flicker], fps)
    ]
    assert not any(found(closure(), frames))


@given(seconds=st.floats(0.1, 8))
@settings(max_examples=60, deadline=None)
def test_the_frame_rate_changes_no_closure_by_more_than_a_frame(seconds: float) -> None:
    spans = [(Eyes.OPEN, 2.0), (Eyes.CLOSED, seconds), (Eyes.OPEN, 2.0)]
    for fps in (10.0, 30.0, 60.0):
        told = [f for f in found(closure(), readings(spans, fps)) if f is not None]
        if seconds >= 1.0 + 1 / fps:
            assert told
            assert told[0].since_s == pytest.approx(2.0, abs=1 / fps)
            assert told[-1].until_s == pytest.approx(2.0 + seconds, abs=1 / fps)
        elif seconds <= 1.0 - 1 / fps:
            assert not told


@given(seconds=st.floats(0.2, 6), more=st.floats(0, 4))
@settings(max_examples=60, deadline=None)
def test_longer_closures_never_reach_a_lower_rung(seconds: float, more: float) -> None:
    def rung(closed_s: float) -> int:
        spans = [(Eyes.OPEN, 1.0), (Eyes.CLOSED, closed_s), (Eyes.OPEN, 1.0)]
        return max((f.rung for f in found(closure(), readings(spans, 30)) if f), default=0)

    assert rung(seconds + more) >= rung(seconds)


def test_one_open_frame_is_a_glitch_and_does_not_cut_a_closure() -> None:
    for fps in (10, 30, 60):
        frames = readings([(Eyes.OPEN, 1.0), (Eyes.CLOSED, 3.0), (Eyes.OPEN, 1.0)], fps)
        frames[2 * fps] = replace(frames[2 * fps], eyes=Eyes.OPEN)
        told = [f for f in found(closure(), frames) if f is not None]
        assert told[0].since_s == pytest.approx(1.0, abs=1 / fps)
        assert len({f.since_s for f in told}) == 1


def test_a_closure_names_what_spoke_when_the_eyes_were_last_seen_closed() -> None:
    shut_s = P.closure.sleep_s / 2
    spoke = (("lids", 4.2), ("irises", -1.1))
    frames = [
        replace(frame, contributions=spoke) if frame.eyes is Eyes.CLOSED else frame
        for frame in readings([(Eyes.OPEN, 1), (Eyes.CLOSED, shut_s), (Eyes.UNKNOWN, 0.5)], 20)
    ]
    finding = found(closure(), frames)[-1]
    assert finding is not None
    assert isinstance(finding.evidence, ClosureEvidence)
    assert finding.evidence.contributions == spoke


def test_a_head_turned_aside_does_not_count_as_closed() -> None:
    aside = HeadPose(60, 0, 0)
    spans = [(Eyes.OPEN, 1.0), (Eyes.CLOSED, 0.7), (Eyes.UNKNOWN, 5.0)]
    frames = readings(spans, 30)
    turned = [replace(f, pose=aside) if f.eyes is Eyes.UNKNOWN else f for f in frames]
    assert any(found(closure(), frames))
    assert not any(found(closure(), turned))


def test_a_nod_makes_a_short_closure_hold() -> None:
    def drive(drop_deg: float) -> list[Reading]:
        frames = readings([(Eyes.OPEN, 1.0), (Eyes.CLOSED, 0.4), (Eyes.UNKNOWN, 3.0)], 30)
        return [
            replace(f, pose=HeadPose(0, -drop_deg if f.timestamp_s > 1.32 else 0, 0))
            for f in frames
        ]

    assert any(found(closure(), drive(20)))
    assert not any(found(closure(), drive(8)))


# --- PERCLOS ---


@given(spans=SPANS, fps=FPS, window_s=st.floats(1, 60))
@settings(max_examples=80, deadline=None)
def test_perclos_lies_between_nought_and_one(
    spans: list[tuple[Eyes, float]], fps: float, window_s: float
) -> None:
    timeline = Timeline(60, 0.5, 0.4)
    for frame in readings(spans, fps):
        timeline.update(frame)
        share = timeline.share(window_s, frame.timestamp_s)
        assert 0 <= share.closed_s <= share.observed_s + 1e-6
        assert share.observed_s <= window_s + 1e-6
        value = share.value(0.0)
        assert value is None or 0 <= value <= 1


@given(open_s=st.floats(1, 30), closed_s=st.floats(0.5, 20), more_s=st.floats(0.5, 10))
@settings(max_examples=60, deadline=None)
def test_perclos_grows_with_closed_time(open_s: float, closed_s: float, more_s: float) -> None:
    def perclos(seconds: float) -> float:
        timeline = Timeline(120, 0.5, 0.4)
        frames = readings([(Eyes.OPEN, open_s), (Eyes.CLOSED, seconds)], 20)
        for frame in frames:
            timeline.update(frame)
        value = timeline.share(120, frames[-1].timestamp_s).value(0.0)
        assert value is not None
        return value

    assert perclos(closed_s + more_s) >= perclos(closed_s) - 1e-9


@given(spans=SPANS, unknown_s=st.floats(0.1, 20))
@settings(max_examples=60, deadline=None)
def test_unknown_time_counts_in_neither_numerator_nor_denominator(
    spans: list[tuple[Eyes, float]], unknown_s: float
) -> None:
    frames = readings(spans, 20)
    timeline = Timeline(600, 0.5, 0.4)
    for frame in frames:
        timeline.update(frame)
    end_s = frames[-1].timestamp_s
    before = timeline.share(600, end_s)
    for k in range(int(unknown_s * 20)):
        timeline.update(reading(end_s + (k + 1) / 20, Eyes.UNKNOWN))
    after = timeline.share(600, end_s + unknown_s)
    assert after.closed_s == pytest.approx(before.closed_s, abs=0.03)
    assert after.observed_s == pytest.approx(before.observed_s, abs=0.03)


@given(fps=st.sampled_from([10.0, 20.0, 30.0, 60.0]), shut_s=st.floats(0.7, 5))
@settings(max_examples=30, deadline=None)
def test_perclos_is_the_same_at_any_frame_rate(fps: float, shut_s: float) -> None:
    spans = [(Eyes.OPEN, 7.0), (Eyes.CLOSED, shut_s), (Eyes.OPEN, 8.0)]
    timeline = Timeline(60, 0.5, 0.4)
    for frame in readings(spans, fps):
        timeline.update(frame)
    value = timeline.share(60, 15 + shut_s).value(1.0)
    assert value == pytest.approx(shut_s / (15 + shut_s), abs=1.5 / fps / 15)


def test_blinks_are_no_closures_but_they_are_observed() -> None:
    timeline = Timeline(60, 0.5, 0.4)
    for frame in readings([(Eyes.OPEN, 2.8), (Eyes.CLOSED, 0.2)] * 10, 30):
        timeline.update(frame)
    share = timeline.share(60, 30.0)
    assert share.closed_s == 0
    assert share.observed_s == pytest.approx(30, abs=0.1)


def test_no_share_is_told_before_enough_was_observed() -> None:
    timeline = Timeline(60, 0.5, 0.4)
    for frame in readings([(Eyes.CLOSED, 10.0)], 30):
        timeline.update(frame)
    assert timeline.share(60, 10).value(30) is None
    assert timeline.share(60, 10).value(5) == 1.0


# --- looks ---


def looks(look: Look, states: list[tuple[bool | None, float]], fps: float = 30) -> list[float]:
    seen, t = [], 0.0
    for away, seconds in states:
        for _ in range(round(seconds * fps)):
            seen.append(look.update(t, away))
            t += 1 / fps
    return seen


def test_a_look_counts_from_the_moment_the_eyes_leave() -> None:
    assert looks(Look(0.2, 1.0, 0.5), [(False, 1), (True, 2)])[-1] == pytest.approx(2, abs=0.05)


def test_a_glance_back_shorter_than_the_tolerance_counts_as_away() -> None:
    states = [(False, 1.0), (True, 1.0), (False, 0.1), (True, 1.0)]
    assert looks(Look(0.2, 1.0, 0.5), states)[-1] == pytest.approx(2.1, abs=0.05)
    longer = [(False, 1.0), (True, 1.0), (False, 0.5), (True, 1.0)]
    assert looks(Look(0.2, 1.0, 0.5), longer)[-1] == pytest.approx(1.0, abs=0.05)


def test_a_look_goes_on_over_the_unknown_for_a_while_and_then_stands_still() -> None:
    states: list[tuple[bool | None, float]] = [(False, 1.0), (True, 1.0), (None, 5.0)]
    assert looks(Look(0.2, 1.0, 0.5), states)[-1] == pytest.approx(2.0, abs=0.05)
    assert looks(Look(0.2, 1.0, 0.5), [(False, 1.0), (None, 5.0)])[-1] == 0


@given(
    states=st.lists(st.tuples(st.sampled_from([True, False, None]), st.floats(0.1, 6)), max_size=15)
)
@settings(max_examples=60, deadline=None)
def test_shared_attention_never_exceeds_its_window_or_the_time_away(
    states: list[tuple[bool | None, float]],
) -> None:
    sharing, t, away_s = Sharing(P.distraction.vats, P.max_gap_s), 0.0, 0.0
    looked = 0
    for away, seconds in states:
        looked += away is True
        for _ in range(round(seconds * 20)):
            seen_s = sharing.update(t, away)
            away_s += 0.05 if away else 0.0
            assert 0 <= seen_s <= 30 + 1e-6
            assert seen_s <= away_s + looked * (0.1 + 0.05) + 1e-6
            t += 0.05


# --- attention, absence, impairment, yawns, fatigue ---


def test_the_road_is_regained_only_well_inside_the_limit() -> None:
    road = Road(yaw_deg=23, pitch_down_deg=18, pitch_up_deg=18, slack_deg=3)
    told = [
        road.update(reading(0, pose=HeadPose(yaw, 0, 0))) for yaw in (22.0, 24.0, 22.0, 19.0, 22.0)
    ]
    assert told == [True, False, False, True, True]


def test_a_head_nobody_can_judge_is_neither_on_nor_off_the_road() -> None:
    road = Road(23, 18, 18, 3)
    assert road.update(reading(0, Eyes.UNKNOWN)) is None
    assert road.update(reading(0, looking_down=True)) is False


def test_attention_grows_only_while_the_eyes_are_open_on_the_road() -> None:
    attention = AttentionTime(blink_s=0.5, tolerance_s=0.2, max_gap_s=0.5)
    t = 0.0

    def see(eyes: Eyes, seconds: float, on_road: bool | None = True) -> float:
        nonlocal t
        for _ in range(round(seconds * 30)):
            attention.update(reading(t, eyes), on_road)
            t += 1 / 30
        return attention.attentive_s

    assert see(Eyes.OPEN, 1.0) == pytest.approx(1.0, abs=0.05)
    assert see(Eyes.CLOSED, 0.2) == pytest.approx(1.0, abs=0.05), "a blink stops the count"
    assert see(Eyes.OPEN, 1.0) == pytest.approx(2.0, abs=0.1)
    assert see(Eyes.CLOSED, 0.8) == 0, "a closure undoes it"
    see(Eyes.OPEN, 1.0)
    assert see(Eyes.UNKNOWN, 1.0) == 0
    see(Eyes.OPEN, 1.0)
    assert see(Eyes.OPEN, 1.0, on_road=False) == 0


def test_a_face_lost_for_a_moment_is_not_an_absent_driver() -> None:
    rule = Absence(P.absence, P.levels, P.max_gap_s)
    told = [rule.update(replace(reading(k / 10), present=k % 20 >= 15)) for k in range(200)]
    assert not any(told)


def test_a_blind_camera_makes_nobody_absent_and_brings_nobody_back() -> None:
    rule = Absence(P.absence, P.levels, P.max_gap_s)
    for k in range(100):
        assert rule.update(replace(reading(k / 10), present=None)) is None
    for k in range(100, 140):
        rule.update(replace(reading(k / 10), present=False))
    assert rule.update(replace(reading(14.0), present=None)) is not None


def test_an_impairment_that_flickers_is_told_once() -> None:
    rule = Degraded(Cause.GLARE, P.degraded, P.levels)
    told = []
    for k in range(300):
        causes = frozenset({Cause.GLARE}) if k % 10 < 8 or k < 100 else frozenset[Cause]()
        told.append(rule.update(reading(k / 10, causes=causes)))
    first = next(k for k, finding in enumerate(told) if finding)
    assert all(told[first:])
    assert first == 20


@pytest.mark.parametrize(("fps", "low"), [(3, True), (5, False), (30, False)])
def test_a_frame_rate_too_low_to_see_a_closure_is_noticed(fps: float, low: bool) -> None:
    rate = FrameRate(min_fps=5)
    assert [rate.update(reading(k / fps)) for k in range(round(fps * 10))][-1] is low


def test_every_cause_has_its_place_in_the_order_of_urgency() -> None:
    assert set(CAUSES) == set(Cause)


def test_every_kind_has_its_row() -> None:
    assert set(KINDS) == set(Kind)


def yawn() -> Yawn:
    return Yawn(P.yawn, P.levels, P.max_gap_s)


def mouths(rule: Yawn, spans: list[tuple[float | None, float]]) -> list[Finding | None]:
    told, t = [], 0.0
    for mouth, seconds in spans:
        for _ in range(round(seconds * 30)):
            told.append(rule.update(reading(t, mouth=mouth)))
            t += 1 / 30
    return told


def test_a_yawn_behind_a_hand_goes_on_and_ends() -> None:
    told = mouths(yawn(), [(0.5, 1), (2.0, 2), (None, 2), (0.5, 1)])
    assert told[round(30 * 4.5)] is not None
    assert told[-1] is None


def test_a_hand_alone_is_no_yawn_and_a_song_is_none_either() -> None:
    assert not any(mouths(yawn(), [(0.5, 1), (None, 5)]))
    song: list[tuple[float | None, float]] = [(2.0, 0.6), (0.8, 0.5)]
    assert not any(mouths(yawn(), song * 20))


def test_fatigue_is_unknown_until_seen_and_fades_after_a_closure() -> None:
    fatigue = Fatigue(recovery_s=60)
    assert fatigue.update(reading(0), None, 0.0, 0) is None
    awake = fatigue.update(reading(1), 0.0, 0.0, 0)
    slept = fatigue.update(reading(4), 0.05, 3.0, 0)
    later = fatigue.update(reading(34), 0.05, 0.0, 0)
    assert awake == 0
    assert slept is not None
    assert later is not None
    assert slept >= 90
    assert 30 < later < slept


@given(perclos=st.floats(0, 1), closed_s=st.floats(0, 100), yawns=st.integers(0, 50))
def test_fatigue_stays_between_nought_and_a_hundred(
    perclos: float, closed_s: float, yawns: int
) -> None:
    level = Fatigue(60).update(reading(0), perclos, closed_s, yawns)
    assert level is not None
    assert 0 <= level <= 100


def test_yawns_corroborate_and_no_more() -> None:
    assert Fatigue(60).update(reading(0), 0.0, 0.0, 10) == 20


def test_a_rules_finds_nothing_in_an_attentive_driver() -> None:
    rules = Ruleset(P)
    for k in range(3000):
        pose = HeadPose(0, 0, 0)
        assert rules.update(reading(k / 30, pose=pose, mouth=0.5, openness=1.0)) == []
    assert rules.eyes_on_road is True
    assert rules.distraction == 0
