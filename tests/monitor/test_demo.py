"""The score of a drive: what was called for, what was found, what was made up."""

from dataclasses import replace

import pytest

from models.synthesis.drive import Drive
from monitor.policy import load_policy
from monitor.scoring import TruthInterval, expectations, intervals_of, score
from monitor.types import Cause, ClosureEvidence, DegradedEvidence, Event, Kind, Level, Phase

POLICY = load_policy("default")
CLOSURE = POLICY.closure


def event(
    kind: Kind, start_s: float, end_s: float, phase: Phase = Phase.END, name: str = ""
) -> Event:
    identity = name or f"{kind}-{start_s}"
    return Event(
        identity, kind, phase, Level.WARNING, 1e9, 1e9 + end_s - start_s, start_s, end_s, "drive",
        evidence=ClosureEvidence(closed_s=end_s - start_s),
    )  # fmt: skip


def truth(script: str) -> list[TruthInterval]:
    return list(intervals_of(Drive.parse(script).truth()))


@pytest.mark.parametrize(
    ("seconds", "kind"),
    [
        (CLOSURE.microsleep_log_s + 0.6, Kind.MICROSLEEP),
        (CLOSURE.sleep_s + 0.8, Kind.SLEEP),
        (CLOSURE.unresponsive_s + 1.0, Kind.UNRESPONSIVE),
    ],
)
def test_a_closure_calls_for_the_rung_it_reaches(seconds: float, kind: Kind) -> None:
    (expected,) = expectations(truth(f"attentive 5, closed {seconds}, attentive 5"), POLICY)
    assert expected.kinds == (kind,)
    assert expected.due_s == pytest.approx(5 + CLOSURE.microsleep_log_s)


@pytest.mark.parametrize("script", ["attentive 9, blink, talk 5", "closed 0.5", "yawn 4", "nod 1"])
def test_an_ordinary_drive_calls_for_nothing(script: str) -> None:
    assert expectations(truth(script), POLICY) == []


def test_absence_distraction_and_darkness_are_called_for() -> None:
    script = "attentive 5, absent 8, attentive 5, look_away 6, attentive 5, dark 8"
    found = expectations(truth(script), POLICY)
    assert [e.kinds for e in found] == [(Kind.ABSENT,), (Kind.DISTRACTION,), (Kind.DEGRADED,)]
    assert found[2].cause == "low_light"


def test_everything_found_and_nothing_made_up_is_perfect() -> None:
    script = "attentive 5, closed 4, attentive 5"
    start = event(Kind.MICROSLEEP, 5.0, 6.0, Phase.START, "x")
    result = score(truth(script), [start, event(Kind.SLEEP, 5.0, 9.2, name="x")], POLICY)
    assert result.perfect
    assert result.matches[0][1] == start


def test_a_missed_closure_is_not_perfect() -> None:
    result = score(truth("attentive 5, closed 4, attentive 5"), [], POLICY)
    assert not result.perfect
    assert result.matches[0][1] is None


def test_one_alert_does_not_answer_for_two_closures() -> None:
    script = "attentive 5, closed 4, attentive 5, closed 4"
    result = score(truth(script), [event(Kind.SLEEP, 5.0, 9.2)], POLICY)
    assert [e is not None for _, e in result.matches] == [True, False]


@pytest.mark.parametrize("kind", [Kind.SLEEP, Kind.MICROSLEEP, Kind.DISTRACTION, Kind.ABSENT])
def test_an_alert_on_a_calm_drive_is_a_false_one(kind: Kind) -> None:
    result = score(truth("attentive 20, talk 5"), [event(kind, 8.0, 11.0)], POLICY)
    assert result.false
    assert not result.perfect


def test_what_follows_from_a_scripted_cause_is_not_false() -> None:
    script = "attentive 5, closed 8, attentive 20"
    events = [event(Kind.UNRESPONSIVE, 5.0, 13.2), event(Kind.DROWSY, 12.0, 33.0)]
    assert score(truth(script), events, POLICY).perfect
    calm = score(truth("attentive 33"), events[1:], POLICY)
    assert calm.false


def test_the_wrong_cause_does_not_answer_for_darkness() -> None:
    script = "attentive 5, dark 8, attentive 5"
    told = replace(event(Kind.DEGRADED, 7.0, 13.0), evidence=DegradedEvidence(cause=Cause.GLARE))
    assert score(truth(script), [told], POLICY).matches[0][1] is None
    right = replace(told, evidence=DegradedEvidence(cause=Cause.LOW_LIGHT))
    assert score(truth(script), [right], POLICY).perfect
