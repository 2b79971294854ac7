"""Drives run again under other thresholds, and models put side by side."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from dashboard.components.thresholds import DIALS, changed, tuned
from dashboard.queries.leaderboard import datasets, leaderboard, pick
from dashboard.queries.policy_replay import run_again, score_runs
from dashboard.queries.sensitivity import KssReport, Labels, accepted, answered, read_labels
from models.report import Accuracy, Cost, Latency, Report
from monitor.config import TraceConfig
from monitor.policy import Policy, load_policy
from monitor.sinks.trace import TraceHeader, TraceWriter
from monitor.types import Event, Kind, Level, Phase
from monitor.types.evidence import PerclosEvidence
from tests.support.drivers import Story, attentive, eyes_closed
from tests.support.events import given_step

POLICY = load_policy("default")
WARN_S = POLICY.closure.microsleep_warn_s
CLOSED_S = WARN_S + 0.25


def recorded(folder: Path, story: Story) -> Path:
    """A trace of a story, as a watch would have written it."""
    header = TraceHeader("truck-1", "drive-1", "driver", "default", started_at=1_780_000_000.0)
    writer = TraceWriter(TraceConfig(enabled=True, folder=folder), header)
    for given_now in story.at(fps=30):
        writer.on_step(given_step(*given_now))
    writer.close()
    return writer.path


@pytest.fixture(scope="module")
def nodding(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half a minute awake, then eyes closed a little longer than is warned of."""
    folder = tmp_path_factory.mktemp("traces")
    return recorded(folder, attentive(30) + eyes_closed(CLOSED_S) + attentive(10))


def warnings(policy: Policy, trace: Path) -> int:
    return run_again(trace, policy).count(Level.WARNING)


def test_a_patient_threshold_takes_the_warning_away(nodding: Path) -> None:
    patient = tuned(POLICY, {"closure.microsleep_warn_s": WARN_S + 0.45})
    assert warnings(POLICY, nodding) == 1
    assert warnings(patient, nodding) == 0
    assert changed(POLICY, patient) == [("closure.microsleep_warn_s", WARN_S, WARN_S + 0.45)]


def test_the_same_policy_gives_the_same_alerts(nodding: Path) -> None:
    assert run_again(nodding, POLICY).events == run_again(nodding, POLICY).events


def test_labels_tell_found_from_false(nodding: Path) -> None:
    run = run_again(nodding, POLICY)
    began = run.first_s + 30.0
    asleep = {"kind": "closed", "start_s": began, "end_s": began + CLOSED_S}
    known = Labels.model_validate({"intervals": [asleep]})
    assert score_runs([run], [known], POLICY).matched == 1
    assert score_runs([run], [known], POLICY).false == 0
    elsewhere = {**asleep, "start_s": began - 20, "end_s": began - 18}
    lost = score_runs([run], [Labels.model_validate({"intervals": [elsewhere]})], POLICY)
    assert (lost.matched, lost.false) == (0, 1)
    assert score_runs([run], [None], POLICY).due == 0


def test_every_dial_turns_its_own_threshold_and_saves_to_a_file(tmp_path: Path) -> None:
    for dial in (dial for dials in DIALS.values() for dial in dials):
        value = dial.of(POLICY)
        assert dial.low <= value <= dial.high
        turned = tuned(POLICY, {dial.path: value + dial.step})
        assert [path for path, _, _ in changed(POLICY, turned)] == [dial.path]
        file = tmp_path / "mine.yaml"
        file.write_text(turned.to_yaml())
        assert load_policy(str(file)).hash == turned.hash


def test_thresholds_out_of_order_are_refused() -> None:
    with pytest.raises(ValidationError, match="less than"):
        tuned(POLICY, {"closure.sleep_s": 20.0})


def drowsy(at_s: float) -> Event:
    return Event(
        id=f"e{at_s}", kind=Kind.DROWSY, phase=Phase.START, level=Level.WARNING,
        started_at=at_s, at=at_s, started_s=at_s, at_s=at_s, drive="d",
        evidence=PerclosEvidence(band="drowsy", window_s=60.0),
    )  # fmt: skip


def reports(*values: int) -> list[KssReport]:
    """Sleepiness reports every five minutes."""
    return [KssReport(at_s=300.0 * (n + 1), kss=value) for n, value in enumerate(values)]


@pytest.mark.parametrize(
    ("kss", "alerts", "right", "missed", "undue"),
    [
        ((5, 7), [450], 1, 0, 0),  # the report after the warning is 7
        ((7, 5), [450], 1, 0, 0),  # the report before it was
        ((5, 6), [450], 0, 0, 1),
        ((7, 8, 8), [], 0, 2, 0),  # 7-8-8: a miss
        ((7, 8, 7), [], 0, 0, 0),  # 7-8-7: an outlier
        ((7, 8, 6), [], 0, 0, 0),  # 7-8-6: left out
        ((5, 8, 9, 9), [500, 800], 1, 0, 0),  # nothing after a right one is judged
        ((), [100], 0, 0, 0),
    ],
)
def test_the_regulations_way_of_counting(
    kss: tuple[int, ...], alerts: list[float], right: int, missed: int, undue: int
) -> None:
    found = answered([drowsy(at) for at in alerts], reports(*kss))
    assert (found.right, found.missed, found.undue) == (right, missed, undue)


def test_forty_per_cent_or_a_firm_twenty() -> None:
    assert accepted([0.5])[2]
    assert not accepted([0.4])[2]
    mean, bound, passed = accepted([0.3] * 12)
    assert (mean, bound, passed) == (pytest.approx(0.3), pytest.approx(0.3), True)
    assert not accepted([0.0, 0.5, 0.1])[2]
    with pytest.raises(ValueError, match="no labelled drive"):
        accepted([])


@given(st.lists(st.floats(0, 1), min_size=2, max_size=40))
def test_the_lower_bound_is_never_over_the_mean(values: list[float]) -> None:
    mean, bound, _ = accepted(values)
    assert bound is not None
    assert bound <= mean + 1e-12


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"{", b'{"kss":[{"at_s":1,"kss":11}]}', b'{"intervals":[{"kind":1}]}',
     b'{"kss":[{"at_s":NaN,"kss":5}]}', b"[" * 100_000, b"\xff\xfe"],
)  # fmt: skip
def test_labels_that_are_none_are_told_in_one_line(data: bytes) -> None:
    with pytest.raises(ValueError, match="labels") as caught:
        read_labels(data)
    assert "\n" not in str(caught.value)


def test_labels_of_the_animated_driver_are_read() -> None:
    document = {
        "script": "x",
        "intervals": [{"kind": "yawn", "start_s": 1, "end_s": 3, "ramp_s": 0}],
    }
    assert read_labels(json.dumps(document).encode()).truth[0]["kind"] == "yawn"


def model(name: str, right: float, ms: float | None, origin: str = "measured") -> Report:
    accuracy = Accuracy(
        dataset="FER+", split="test", n=100, overall=right, origin=origin, ci=(right, right)
    )
    latency = (Latency(runtime="openvino", device="cpu", p50_ms=ms),) if ms else ()
    return Report(model=name, accuracy=(accuracy,), latency=latency)


def test_the_pick_is_the_best_measured_model_within_the_time() -> None:
    rows = leaderboard(
        [model("slow", 0.9, 30.0), model("quick", 0.8, 2.0), model("untimed", 0.95, None),
         model("paper", 0.99, 1.0, "published")],
        "expression",
    )  # fmt: skip
    assert [row.model for row in rows] == ["paper", "untimed", "slow", "quick"]
    picked = {budget: pick(rows, budget) for budget in (0.5, 20.0, 50.0)}
    assert {budget: best and best.model for budget, best in picked.items()} == {
        0.5: None,
        20.0: "quick",
        50.0: "slow",
    }


def test_a_cost_counted_here_stands_beside_a_published_accuracy() -> None:
    counted = Report(model="paper", cost=Cost(macs=10, origin="measured"))
    said = model("paper", 0.9, None, "published").model_copy(
        update={"cost": Cost(macs=99, origin="published")}
    )
    (row,) = leaderboard([said, counted], "expression")
    assert row.macs == 10
    assert datasets([row]) == ["FER+, test"]
