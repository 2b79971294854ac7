"""All reports side by side: rows, a Markdown table, and accuracy drawn against cost. Torch-free."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from models.report import WITHOUT, Accuracy, Budget, Cost, Latency, Report, Robustness


@dataclass(frozen=True, slots=True)
class Row:
    """One model on the data set that is compared."""

    model: str
    accuracy: Accuracy | None
    without: Accuracy | None
    cost: Cost | None
    latency: Latency | None
    budget: Budget | None
    worst: Robustness | None


def compare(reports: Iterable[Report], dataset: str, split: str) -> list[Row]:
    """What was measured on one split, best first; then the models that nobody trained for it.

    A report is called `MODEL` or `MODEL at 64 px`; a model stands among the untrained once, with
    its cost at its own size, if none of its reports has a figure for this split.
    """
    candidates = [report for report in reports if report.task == "expression"]
    rows = [_row(report, dataset, split) for report in candidates]
    measured = [row for row in rows if row.accuracy is not None]
    measured.sort(key=lambda row: -(row.accuracy.overall or 0) if row.accuracy else 0)
    trained = {row.model.partition(" at ")[0] for row in measured}
    untrained = {
        report.model: Row(report.model, None, None, report.cost, None, None, None)
        for report in candidates
        if report.model not in trained and " " not in report.model
    }
    return measured + list(untrained.values())


def _row(report: Report, dataset: str, split: str) -> Row:
    figures = {a.split: a for a in report.accuracy if a.dataset == dataset}
    return Row(
        report.model,
        figures.get(split),
        figures.get(f"{split}{WITHOUT}"),
        report.cost,
        _latency(report),
        report.budget,
        max(report.robustness, key=lambda r: r.drop, default=None),
    )


def _latency(report: Report) -> Latency | None:
    """The figure of the default runtime on one thread: bf16 where it was measured."""
    ours = [x for x in report.latency if x.runtime == "openvino" and x.threads == 1]
    return min(ours, key=lambda x: x.precision != "bf16", default=None)


def percent(value: float | None, digits: int = 1) -> str:
    """A share as per cent, or a dash."""
    return "-" if value is None else f"{100 * value:.{digits}f}"


def millions(value: int | None) -> str:
    """A count in millions, or a dash."""
    return "-" if value is None else f"{value / 1e6:.2f}"


COLUMNS = (
    "model", "overall % (95 % CI)", "without near duplicates", "mean class %", "n",
    "params total / live, M", "MMACs",
    "input", "p50 / p95 ms", "worst condition", "training",
)  # fmt: skip


def cells(row: Row) -> tuple[str, ...]:
    """A row as text, in the order of `COLUMNS`."""
    accuracy, cost, latency, budget = row.accuracy, row.cost, row.latency, row.budget
    overall = "not trained here"
    if accuracy:
        low, high = accuracy.ci or (None, None)
        overall = f"**{percent(accuracy.overall)}** ({percent(low)}-{percent(high)})"
    return (
        row.model,
        overall,
        percent(row.without.overall if row.without else None),
        percent(accuracy.mean_class) if accuracy else "-",
        str(accuracy.n) if accuracy else "-",
        f"{millions(cost.params_total)} / {millions(cost.params_live)}" if cost else "-",
        f"{(cost.macs or 0) / 1e6:,.0f}" if cost and cost.macs else "-",
        "x".join(map(str, cost.input_hw)) if cost and cost.input_hw else "-",
        f"{latency.p50_ms:.2f} / {latency.p95_ms:.2f}" if latency and latency.p95_ms else "-",
        f"{row.worst.condition} -{percent(row.worst.drop)}" if row.worst else "-",
        _budget(budget) if budget else "-",
    )


def _budget(budget: Budget) -> str:
    threads = f", {budget.threads} thread(s)" if budget.threads else ""
    return (
        f"{budget.epochs} epochs, {budget.hours:.2f} h on {budget.device}{threads}, "
        f"{budget.pictures:,} pictures"
    )


def markdown(rows: Iterable[Row]) -> str:
    """The table as Markdown."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    lines += ["| " + " | ".join(cells(row)) + " |" for row in rows]
    return "\n".join(lines) + "\n"


PUBLISHED_COLUMNS = ("model", "data set, split", "overall %", "mean class %", "n", "source")


def published_rows(reports: Iterable[Report]) -> list[tuple[str, ...]]:
    """Figures from papers, one row a data set, in the order of `PUBLISHED_COLUMNS`."""
    return [
        (
            report.model,
            f"{a.dataset}, {a.split}",
            percent(a.overall, 2),
            percent(a.mean_class, 2),
            str(a.n or "-"),
            a.source,
        )
        for report in reports
        for a in report.accuracy
    ]


def published_markdown(reports: Iterable[Report]) -> str:
    """The figures from papers as Markdown, apart from the measured ones."""
    lines = ["| " + " | ".join(PUBLISHED_COLUMNS) + " |", "|" + "---|" * len(PUBLISHED_COLUMNS)]
    lines += ["| " + " | ".join(row) + " |" for row in published_rows(reports)]
    return "\n".join(lines) + "\n"


def draw(rows: Iterable[Row], path: Path, title: str) -> None:
    """Accuracy with its interval against MACs, a bubble as large as the live parameters.

    Args:
        rows: those with accuracy and cost are drawn.
        path: picture to write; its suffix decides the format.
        title: what is compared.
    """
    import matplotlib as mpl  # noqa: PLC0415 - half a second, only where a picture is drawn

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415
    from matplotlib import ticker  # noqa: PLC0415

    figure, axes = plt.subplots(figsize=(8, 4.8), layout="constrained")
    for number, row in enumerate(rows):
        if not row.accuracy or not row.cost or not row.cost.macs or row.accuracy.overall is None:
            continue
        colour = f"C{number % 10}"
        x, y = row.cost.macs / 1e6, 100 * row.accuracy.overall
        low, high = row.accuracy.ci or (row.accuracy.overall, row.accuracy.overall)
        spread = [[y - 100 * low], [100 * high - y]]
        axes.errorbar(x, y, yerr=spread, fmt="none", ecolor=colour, capsize=3, elinewidth=1.2)
        size = 30 + 12 * (row.cost.params_live or 0) / 1e6
        axes.scatter(x, y, s=size, alpha=0.6, color=colour, edgecolor="black", linewidth=0.5)
        label = f"{row.model}\n{y:.1f} %, {millions(row.cost.params_live)} M"
        axes.annotate(label, (x, y), xytext=(9, -4), textcoords="offset points", fontsize=8)
    axes.set_xscale("log")
    for formatter in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        formatter(ticker.LogFormatter(minor_thresholds=(2, 1)))
    axes.set_xlabel("million multiply-accumulates a face, attention counted (log)")
    axes.set_ylabel("overall accuracy, % (bars: 95 % interval)")
    axes.set_title(title, fontsize=10)
    axes.grid(visible=True, alpha=0.25)
    axes.margins(x=0.25, y=0.15)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)
