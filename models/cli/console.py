"""Models and reports as tables on a terminal of 80 columns."""

from collections.abc import Iterable, Sequence
from typing import TypedDict

from rich.console import Console
from rich.progress import ProgressColumn, Task
from rich.text import Text

from models.report import Report
from models.tables import narrow_table


class DoneOfTotal(ProgressColumn):
    """`12/300`; nothing while the total is not known yet."""

    def render(self, task: Task) -> Text:
        """The task's place in its work."""
        return Text("" if task.total is None else f"{task.completed:.0f}/{task.total:.0f}")


class ModelListing(TypedDict):
    """One model of `wakeful models list --json`; counts are None where nothing was measured."""

    model: str
    task: str
    input_hw: list[int]
    labels: list[str]
    params_total: int | None
    params_live: int | None
    params_trainable: int | None
    macs: int | None
    weights: str
    paper: str
    licence: str
    data_licence: str


def show_models(console: Console, rows: list[ModelListing]) -> None:
    """One line a model: task, input, parameters, multiply-accumulates, weights."""
    table = narrow_table(title="Models; parameters and multiply-accumulates in millions")
    table.add_column("model", no_wrap=True)
    for column in ("task", "input"):
        table.add_column(column, no_wrap=True)
    for column in ("total", "live", "trained", "MACs"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("weights")
    for row in rows:
        counted = (row["params_total"], row["params_live"], row["params_trainable"])
        table.add_row(
            row["model"],
            row["task"],
            "x".join(map(str, row["input_hw"])),
            *("-" if x is None else f"{x / 1e6:.2f}" for x in counted),
            "-" if row["macs"] is None else f"{row['macs'] / 1e6:,.0f}",
            _weights(row),
        )
    console.print(table)


def _weights(row: ModelListing) -> str:
    if not row["weights"]:
        return "-"
    return f"shipped, {row['data_licence']} data" if row["data_licence"] else "shipped"


def show_comparison(
    console: Console, title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]
) -> None:
    """A comparison: as many columns, from the left, as are readable; the last on lines of its own.

    Args:
        console: where.
        title: of the table.
        columns: names; the last one holds prose.
        rows: their cells.
    """
    lines = [[part.replace("**", "") for part in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(columns, *lines, strict=True)]
    shown = len(columns) - 1
    while shown > 2 and sum(widths[:shown]) + 2 * shown > console.width:
        shown -= 1
    table = narrow_table(title=title)
    for column in columns[:shown]:
        table.add_column(column, no_wrap=True)
    for line in lines:
        table.add_row(*line[:shown])
    console.print(table)
    if left := columns[shown:-1]:
        console.print(f"not shown here: {', '.join(left)} (a wider terminal, or --markdown)")
    for line in lines:
        if line[-1] != "-":
            console.print(f"{line[0]}: {columns[-1]} {line[-1]}", highlight=False)


def show_report(console: Console, report: Report) -> None:
    """Accuracy with its confusion, robustness, latency and agreement of one model."""
    for a in report.accuracy:
        low, high = a.ci or (0.0, 0.0)
        console.print(
            f"[bold]{report.model}[/] on {a.dataset} {a.split} (n = {a.n}): overall "
            f"[bold]{100 * (a.overall or 0):.2f} %[/] (95 % {100 * low:.2f}-{100 * high:.2f}), "
            f"mean class {100 * (a.mean_class or 0):.2f} %",
            highlight=False,
        )
        table = narrow_table(title="rows: truth, columns: answer")
        for column in ("", *(label[:4] for label in a.labels), "recall %"):
            table.add_column(column, justify="right", no_wrap=True)
        for label, row in zip(a.labels, a.confusion, strict=True):
            recall = a.per_class[label]
            shown = "-" if recall is None else f"{100 * recall:.1f}"
            table.add_row(label, *map(str, row), shown)
        console.print(table)
    for r in report.robustness:
        console.print(f"{r.condition:>10}: {100 * r.overall:.2f} % (-{100 * r.drop:.2f})")
    for x in report.latency:
        console.print(
            f"{x.runtime} {x.precision}, {x.threads} thread(s): "
            f"p50 {x.p50_ms:.2f} ms, p95 {x.p95_ms or 0:.2f} ms"
        )
    for g in report.agreement:
        console.print(f"{g.runtime} {g.precision}: same label as eager fp32 {g.same_top1:.2%}")
