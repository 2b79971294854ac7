"""Which model is how good at what cost: the reports as rows, and the pick for a CPU box."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from models.report import Accuracy, Cost, DetectionAccuracy, Latency, Report

# What the study this project starts from compares its systems on.
STUDY = "RAF-DB, test"


@dataclass(frozen=True, slots=True)
class LeaderboardRow:
    """One figure of one model on one data set, from one origin.

    Attributes:
        model, origin, dataset, split, n, selection, source: as reported.
        value: accuracy of a classifier, mAP50 of a detector, 0..1.
        interval: 95 %.
        mean_class: of a classifier; mAP50-95 of a detector.
        macs, params: of one picture and of the file.
        fastest: the quickest measured call on a CPU, batch 1.
        unit: what `value` is a share of.
    """

    model: str
    origin: str
    dataset: str
    split: str
    n: int | None
    value: float
    interval: tuple[float, float] | None
    mean_class: float | None
    selection: str
    source: str
    macs: int | None
    params: int | None
    fastest: Latency | None
    unit: str = "right"


def leaderboard(reports: list[Report], task: str) -> list[LeaderboardRow]:
    """Every figure of the reports of a task, the best first."""
    costs, calls = _costs(reports), _calls(reports)
    rows = [
        _leaderboard_row(report, figure, costs.get(report.model), calls.get(_network(report)))
        for report in reports
        if report.task == task
        for figure in (report.accuracy if task == "expression" else report.detection)
        if _value(figure) is not None
    ]
    return sorted(rows, key=lambda one: -one.value)


def datasets(rows: list[LeaderboardRow]) -> list[str]:
    """Data sets with figures: the study's own test, then the one with most measured models."""
    figures = Counter(name_of(row) for row in rows)
    measured = Counter(name_of(row) for row in rows if row.origin == "measured")

    def order(name: str) -> tuple[bool, int, int, str]:
        return not (name == STUDY and measured[name]), -measured[name], -figures[name], name

    return sorted(figures, key=order)


def name_of(row: LeaderboardRow) -> str:
    """A data set and the part of it that was looked at: only the same may be compared."""
    return f"{row.dataset}, {row.split}"


def pick(rows: list[LeaderboardRow], budget_ms: float) -> LeaderboardRow | None:
    """The most accurate measured model whose measured CPU call keeps within the budget."""
    fitting = [
        row
        for row in rows
        if row.origin == "measured" and row.fastest and row.fastest.p50_ms <= budget_ms
    ]
    return max(fitting, key=lambda row: row.value, default=None)


def as_good(rows: list[LeaderboardRow], best: LeaderboardRow) -> list[LeaderboardRow]:
    """Measured models that are quicker than the best and lie within its interval."""
    low = best.interval[0] if best.interval else best.value
    return [
        row
        for row in rows
        if row.origin == "measured"
        and row.model != best.model
        and row.value >= low
        and row.fastest is not None
        and best.fastest is not None
        and row.fastest.p50_ms < best.fastest.p50_ms
    ]


def _leaderboard_row(
    report: Report, figure: Accuracy | DetectionAccuracy, cost: Cost | None, fastest: Latency | None
) -> LeaderboardRow:
    interval, second = (
        (figure.ci, figure.mean_class)
        if isinstance(figure, Accuracy)
        else (figure.ci_map50, figure.map50_95)
    )
    return LeaderboardRow(
        model=report.model,
        origin=figure.origin,
        dataset=figure.dataset,
        split=figure.split,
        n=figure.n,
        value=_value(figure) or 0.0,
        interval=interval,
        mean_class=second,
        selection=figure.selection,
        source=figure.source,
        macs=cost.macs if cost else None,
        params=(cost.params_live or cost.params_total) if cost else None,
        fastest=fastest if figure.origin == "measured" else _fastest(report),
        unit="right" if isinstance(figure, Accuracy) else "mAP50",
    )


def _costs(reports: list[Report]) -> dict[str, Cost]:
    """What each model costs: as counted here, else as published."""
    costs: dict[str, Cost] = {}
    for report in reports:
        if report.cost and (report.model not in costs or report.cost.origin == "measured"):
            costs[report.model] = report.cost
    return costs


def _calls(reports: list[Report]) -> dict[str, Latency]:
    """The quickest call of each network; it is the same on whatever it was trained."""
    timed = [(_network(report), call) for report in reports if (call := _fastest(report))]
    timed.sort(key=lambda pair: -pair[1].p50_ms)
    return dict(timed)


def _network(report: Report) -> str:
    """A report's model without the words for where it was trained."""
    return report.model.partition(" on ")[0]


def _value(figure: Accuracy | DetectionAccuracy) -> float | None:
    return figure.overall if isinstance(figure, Accuracy) else figure.map50


def _fastest(report: Report) -> Latency | None:
    on_cpu: list[Any] = [
        row
        for row in report.latency
        if row.origin == "measured" and row.batch == 1 and "cpu" in row.device.lower()
    ]
    return min(on_cpu, key=lambda row: row.p50_ms, default=None)
