"""Recordings scored against written truth."""

import json
from pathlib import Path

import pytest

from monitor.errors import ConfigError
from monitor.evaluation import judge, report_of
from monitor.policy import load_policy
from monitor.scoring import ClipTruth, TruthInterval, expected_of, read_truth, score_clip
from monitor.timeline import draw_timeline
from monitor.types import ClosureEvidence, Event, Kind, Level, Phase
from tests.support.drivers import BEGAN_S, Story, attentive, drive, eyes_closed, look_left

POLICY = load_policy("default")
LOG_S = POLICY.closure.microsleep_log_s


def clip(**fields: object) -> ClipTruth:
    return ClipTruth(**{"name": "a", "file": "a.mp4", "seconds": 30.0, "intervals": (), **fields})


def told(kind: Kind, start_s: float, end_s: float, level: Level = Level.WARNING) -> list[Event]:
    def at(phase: Phase, at_s: float) -> Event:
        closed = ClosureEvidence(closed_s=at_s - start_s)
        return Event(
            f"{kind}{start_s}", kind, phase, level, 0, 0, start_s, at_s, "drive", evidence=closed
        )

    return [at(Phase.START, start_s + LOG_S), at(Phase.END, end_s)]


def observations(story: Story) -> list[object]:
    return [observation for observation, _, _ in story.at(10, start_s=0)]


def test_a_closure_in_its_time_is_found_and_how_late_it_came_is_counted() -> None:
    truth = clip(expected=(("closure", 10.0, 14.0),))
    score = score_clip(truth, told(Kind.SLEEP, 10.2, 14.0), POLICY)
    assert not score.fails
    assert score.late_s(Kind.SLEEP) == [pytest.approx(0.2)]


def test_a_closure_without_a_closure_is_false_and_fails_from_warning_on() -> None:
    quiet = score_clip(clip(), told(Kind.MICROSLEEP, 5, 7, Level.INFO), POLICY)
    assert len(quiet.false) == 1
    assert not quiet.fails
    assert score_clip(clip(), told(Kind.MICROSLEEP, 5, 7), POLICY).fails


def test_what_must_not_be_raised_is_false_even_where_something_is_expected() -> None:
    truth = clip(expected=(("closure", 5.0, 6.4),), must_not=frozenset({Kind.SLEEP}))
    assert score_clip(truth, told(Kind.SLEEP, 5, 9), POLICY).false
    assert not score_clip(truth, told(Kind.MICROSLEEP, 5, 6.4), POLICY).false


def test_a_short_look_away_excuses_a_distraction_and_a_calm_clip_does_not() -> None:
    away = clip(intervals=(TruthInterval("turned", 4.0, 6.5),))
    assert not score_clip(away, told(Kind.DISTRACTION, 4, 7), POLICY).false
    assert score_clip(clip(), told(Kind.DISTRACTION, 4, 7), POLICY).false


def test_an_alert_held_from_an_earlier_closure_must_tell_again_for_the_next() -> None:
    truth = clip(expected=(("closure", 5.0, 8.0), ("closure", 9.0, 12.0)))
    found = [event for _, event in score_clip(truth, told(Kind.SLEEP, 5, 12.5), POLICY).matches]
    assert found[0] is not None
    assert found[1] is None


def test_the_script_of_a_drive_says_what_is_expected() -> None:
    intervals = (TruthInterval("closed", 5.0, 9.0), TruthInterval("look_away", 12.0, 16.5))
    kinds = [e.kinds for e in expected_of(clip(intervals=intervals, animated=True), POLICY)]
    assert Kind.MICROSLEEP in kinds[0]
    assert kinds[1] == (Kind.DISTRACTION,)


def test_a_whole_drive_is_judged_counted_and_drawn(tmp_path: Path) -> None:
    asleep = eyes_closed(4)
    story = drive(asleep + attentive(4) + look_left(4))
    away_s = BEGAN_S + asleep.seconds + 4
    truth = clip(
        seconds=story.seconds,
        expected=(
            ("closure", BEGAN_S, BEGAN_S + asleep.seconds), ("distraction", away_s, away_s + 4),
        ),
        group="animated",
    )  # fmt: skip
    run = judge(truth, observations(story), POLICY)  # type: ignore[arg-type]
    report = report_of([run.score], POLICY)
    assert report["all"]["closures"] == {"expected": 1, "raised": 1}
    assert report["groups"]["animated"]["distractions"] == {"expected": 1, "raised": 1}
    assert report["all"]["false_closure_warnings_per_hour"] == 0
    assert json.loads(json.dumps(report)) == report
    draw_timeline(run, tmp_path / "failing" / "a.png")
    assert (tmp_path / "failing" / "a.png").read_bytes()[:4] == b"\x89PNG"


ENTRY = {"file": "a.mp4", "seconds": 3, "intervals": [{"kind": "closed", "start_s": 1, "end_s": 2}]}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("nothing", "is not JSON"),
        ("{}", "must be a list"),
        (json.dumps([{**ENTRY, "seconds": "x"}]), "a.mp4"),
        (json.dumps([{**ENTRY, "must_not": ["slep"]}]), "slep"),
        (json.dumps([{"file": "a.mp4"}]), "seconds"),
    ],
)
def test_a_wrong_truth_file_is_named_in_one_line(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "truth.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=why) as caught:
        read_truth(path)
    assert "\n" not in str(caught.value)
    assert "truth.json" in str(caught.value)


def test_the_words_people_write_are_understood(tmp_path: Path) -> None:
    path = tmp_path / "truth.json"
    path.write_text(json.dumps([{**ENTRY, "may": ["yawn"], "must_not": ["closure"]}]))
    (read,) = read_truth(path)
    assert read.may == {Kind.YAWNING}
    assert Kind.SLEEP in read.must_not
    assert read.intervals == (TruthInterval("closed", 1.0, 2.0),)
