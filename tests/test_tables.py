"""Every table of `wakeful` on a terminal of 80 columns: nothing is cut but names, which fold."""

import io
import re
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

from models.cli import detector
from models.cli.console import show_comparison, show_models
from models.evaluation.eye_state import EyeSetFigures
from monitor import cli, demo, evaluation
from monitor.bench.report import print_report
from monitor.fleet import cli as fleet_cli
from monitor.fleet.admin.operation import Standing
from monitor.replay import Difference
from monitor.scoring import AlertHistory, Expected, Score
from monitor.sinks.console import ConsoleSink, why
from monitor.types import Cause, Kind, Level, Phase
from monitor.types.evidence import (
    AbsenceEvidence,
    ClosureEvidence,
    DegradedEvidence,
    DistractionEvidence,
    PerclosEvidence,
    RuleEvidence,
    YawnEvidence,
)
from tests.monitor.test_bench import a_result
from tests.support.events import event, moment

WIDTH = 80
# As long as people's and clips' names are.
PERSON = "night_driver_female_07"
CLIP = "2026-11-28T10-00-00_cam1"
INTERVAL = {"value": 0.9876, "interval": [0.8123, 0.9987]}


@pytest.fixture
def cells(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The text of every cell and heading that is put into a table."""
    put: list[str] = []
    add_row, add_column = Table.add_row, Table.add_column

    def row(self: Table, *values: Any, **more: Any) -> None:
        put.extend(str(value) for value in values)
        add_row(self, *values, **more)

    def column(self: Table, header: Any = "", *values: Any, **more: Any) -> None:
        put.append(str(header))
        add_column(self, header, *values, **more)

    monkeypatch.setattr(Table, "add_row", row)
    monkeypatch.setattr(Table, "add_column", column)
    return put


def words(cell: str) -> list[str]:
    return re.sub(r"\[/?[a-z_ 0-9#]*\]", "", cell).split()


def check(page: str, cells: list[str]) -> None:
    assert cells
    assert "…" not in page
    assert max(map(len, page.splitlines())) <= WIDTH
    for cell in cells:
        for word in words(cell):
            assert word in page or word in {PERSON, CLIP}, (cell, page)


def figures(**more: Any) -> dict[str, Any]:
    keys = ("awake_sleep_map50", "map50", "map50_95", "accuracy", "sleep_roc")
    balanced = {"balanced_accuracy": 0.9876, "roc": 0.9912}
    intervals = {key: [0.8123, 0.9987] for key in (*keys, *balanced)}
    values = dict.fromkeys(keys, 0.9876) | balanced | {"intervals_95": intervals}
    called = {"called_so": 0.912, "n": 1234}
    counts = {"n": 12345, "closed": 10345, "open": 12345, "lowered": called, "not_visible": called}
    return values | counts | more


def show_detector(_: Console) -> None:
    label = {"n": 1234, "precision": 0.9, "recall": 0.9, "map50": 0.9, "map50_95": 0.9}
    detector.tell(
        {
            "notices": [], "model": "awake_sleep_n@921f6b5e38a8", "dataset": "awake_sleep",
            "split": "test", "people": {PERSON: figures()},
            "all": figures(classes={"sleep": label}, confusion={"sleep": {"awake": 3}}),
        }
    )  # fmt: skip


def show_the_models(console: Console) -> None:
    row = {
        "model": "poster_v2_s", "task": "expression", "input_hw": (112, 112),
        "params_total": 43_700_000, "params_live": 43_700_000, "params_trainable": 8_400_000,
        "macs": 8_420_000_000, "weights": True, "data_licence": "research",
    }  # fmt: skip
    show_models(console, [row])


def show_a_comparison(console: Console) -> None:
    columns = ("model", "RAF-DB %", "95 % interval", "params", "p50 ms", "recipe")
    row = ("poster_v2_s", "88.92", "87.81-89.96", "43.7 M", "123.4", "as published, 200 epochs")
    show_comparison(console, "expressions", columns, [row])


def show_evaluation(console: Console) -> None:
    late = {"median": 0.31, "worst": 1.42}
    expected = {"what": "eyes closed", "from_s": 123.4, "raised": "microsleep", "late_s": 0.41}
    false = {"kind": "distraction", "level": "warning", "from_s": 123.4, "to_s": 125.6}
    counts = {
        "clips": 12, "minutes": 34.5, "closures": {"raised": 11, "expected": 12},
        "distractions": {"raised": 3, "expected": 4}, "false_closure_alerts": {"warning": 1},
        "late_s": {"closure": late, "distraction": late}, "false_closure_warnings_per_hour": 1.74,
        "false_distractions": 2,
    }  # fmt: skip
    clip = {
        "clip": CLIP, "fails": True, "expected": [expected, expected | {"raised": None}],
        "false": [false], "raised": {"microsleep": 2, "distraction": 1},
    }  # fmt: skip
    policy = {"id": "euro-ncap-2026"}
    evaluation.show(console, {"policy": policy, "clips": [clip], "groups": {}, "all": counts})


def show_score(console: Console) -> None:
    found = event(phase=Phase.END, kind=Kind.UNRESPONSIVE, after_s=12.0)
    closed = Expected("eyes closed, head drops", (Kind.MICROSLEEP, Kind.SLEEP), 123.45, 125, 124)
    gone = Expected("camera covered", (Kind.DEGRADED,), 123.45, 125.0, 124.0)
    demo._print_score(console, Score([(closed, found), (gone, None)], [AlertHistory((found,))]))


def show_differences(_: Console) -> None:
    one = event(phase=Phase.END, kind=Kind.UNRESPONSIVE, after_s=123.45)
    rows = [Difference(one, one), Difference(one, None)]
    cli._print_differences(rows, 0.0, "euro-ncap-2026", "euro-ncap-2023")


def show_status(_: Console) -> None:
    row = Standing("vehicle-1a2b3c4d", "unknown", 1_780_000_000.0, -12_345.6, 12_345)
    fleet_cli.print_status([row])


def show_rows(_: Console) -> None:
    fleet_cli._print_rows("forgotten", {"degraded events": 12_345_678})


def show_watch(console: Console) -> None:
    sink = ConsoleSink(console, lambda _: 29.9, 120.0)
    step = moment(125.0, level=Level.WARNING, kind=Kind.MICROSLEEP)
    sink.on_step(step)
    sink.on_event(event(kind=Kind.UNRESPONSIVE, after_s=123.4))
    console.print(sink._alert_panel())


TABLES: list[Callable[[Console], None]] = [
    show_detector, show_the_models, show_a_comparison, show_evaluation, show_score,
    show_differences, show_status, show_rows,
]  # fmt: skip


@pytest.mark.parametrize("show", TABLES)
def test_a_table_fits_80_columns_and_breaks_no_word(
    show: Callable[[Console], None], cells: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = io.StringIO()
    console = Console(width=WIDTH, file=page)
    monkeypatch.setattr(detector, "console", console)
    monkeypatch.setattr(cli, "Console", lambda: console)
    monkeypatch.setattr(fleet_cli, "Console", lambda: console)
    show(console)
    check(page.getvalue(), cells)


def test_the_eyes_of_a_set_fit(cells: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    page = io.StringIO()
    monkeypatch.setattr(detector, "console", Console(width=WIDTH, file=page))
    detector.tell_eyes({"eyes_scenes": EyeSetFigures(figures(), {}, {PERSON: figures()})})
    check(page.getvalue(), cells)


def test_the_bench_fits(cells: list[str]) -> None:
    page = io.StringIO()
    print_report(Console(width=WIDTH, file=page), a_result())
    check(page.getvalue(), cells)


def test_the_watch_s_own_table_cuts_nothing_but_its_reasons(cells: list[str]) -> None:
    page = io.StringIO()
    show_watch(Console(width=WIDTH, file=page))
    said = page.getvalue()
    assert max(map(len, said.splitlines())) <= WIDTH
    assert "unresponsive" in said
    assert "123.4 s" in said


@pytest.mark.parametrize(
    ("evidence", "words"),
    [
        (ClosureEvidence(closed_s=2.02, confidence=0.9), "eyes closed 2.0 s"),
        (ClosureEvidence(closed_s=2.02, nod=True), "eyes closed 2.0 s, head nods"),
        (PerclosEvidence(band="drowsy", perclos=0.2, window_s=60), "eyes closed 20% of 60 s"),
        (PerclosEvidence(band="drowsy", window_s=60), "eyes closed too much of the time"),
        (DistractionEvidence(limit="long", away_s=3.02, yaw_deg=31), "eyes off the road 3.0 s"),
        (DistractionEvidence(limit="vats", away_s=10), "eyes off the road 10.0 s in several looks"),
        (YawnEvidence(open_s=2.5, yawns=2, window_s=300), "mouth wide open 2.5 s"),
        (AbsenceEvidence(gone_s=3.02), "driver not seen 3.0 s"),
        (DegradedEvidence(cause=Cause.CAMERA_TURNED), "camera turned"),
    ],
)
def test_a_reason_is_said_in_words(evidence: RuleEvidence, words: str) -> None:
    assert why(evidence) == words
