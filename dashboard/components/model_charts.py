"""Charts of the models page: accuracy against cost, confusion, robustness, latency."""

from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

from dashboard.components import theme
from models.report import Accuracy, Latency, Robustness

Chart = Any


def accuracy_and_cost(
    rows: Sequence[dict[str, Any]], cost: str, title: str, unit: str = "right"
) -> Chart:
    """Accuracy against cost; measured is a filled dot with its interval, published a ring.

    Args:
        rows: `model`, `origin`, `accuracy`, `low`, `high` (0..100), and the cost's column.
        cost: name of that column; drawn on a logarithmic scale.
        title: of the cost.
        unit: what accuracy is a share of.
    """
    columns = ["model", "origin", "accuracy", "low", "high", "n", cost]
    frame = pd.DataFrame(rows, columns=columns).dropna(subset=[cost, "accuracy"])
    tone = theme.ink()
    x = alt.X(
        f"{cost}:Q",
        title=title,
        scale=alt.Scale(type="log", padding=60, nice=False),
        axis=alt.Axis(grid=False, format=".3~g", tickCount=6, labelOverlap=True),
    )
    y = alt.Y(
        "accuracy:Q",
        title=f"{unit}, %",
        scale=alt.Scale(zero=False, padding=14),
        axis=alt.Axis(tickCount=5),
    )
    base = alt.Chart(frame).encode(x=x)
    whiskers = base.mark_rule(color=tone["accent"], strokeWidth=2).encode(
        y=alt.Y("low:Q", title=f"{unit}, %"), y2="high:Q"
    )
    dots = base.mark_point(size=110, strokeWidth=2, opacity=1).encode(
        y=y,
        stroke=alt.value(tone["accent"]),
        fill=alt.condition(
            "datum.origin == 'measured'", alt.value(tone["accent"]), alt.value(tone["back"])
        ),
        tooltip=[
            alt.Tooltip("model:N"),
            alt.Tooltip("origin:N"),
            alt.Tooltip("accuracy:Q", title=f"{unit}, %", format=".2f"),
            alt.Tooltip("low:Q", title="from, %", format=".2f"),
            alt.Tooltip("high:Q", title="to, %", format=".2f"),
            alt.Tooltip("n:Q", title="pictures", format=","),
            alt.Tooltip(f"{cost}:Q", title=title, format=".3~g"),
        ],
    )
    names = base.mark_text(align="left", dx=9, dy=-8, fontSize=12, color=tone["text"]).encode(
        y=y, text="model:N"
    )
    return (whiskers + dots + names).properties(height=330)


def confusion(accuracy: Accuracy) -> Chart:
    """Rows are the truth, columns the answer; colour is the share of the row."""
    rows = [
        {"truth": truth, "answer": answer, "n": count, "share": count / max(sum(line), 1)}
        for truth, line in zip(accuracy.labels, accuracy.confusion, strict=True)
        for answer, count in zip(accuracy.labels, line, strict=True)
    ]
    frame = pd.DataFrame(rows)
    order = list(accuracy.labels)
    ramp = ["#22303f", "#78b3e8"] if theme.dark() else ["#f1f5f9", "#1f5f99"]
    base = alt.Chart(frame).encode(
        x=alt.X(
            "answer:N",
            sort=order,
            title="answer",
            axis=alt.Axis(
                labelAngle=-40, labelOverlap=False, orient="top", ticks=False, domain=False
            ),
        ),
        y=alt.Y("truth:N", sort=order, title="truth", axis=alt.Axis(ticks=False, domain=False)),
        tooltip=[
            alt.Tooltip("truth:N"),
            alt.Tooltip("answer:N"),
            alt.Tooltip("n:Q", title="pictures", format=","),
            alt.Tooltip("share:Q", title="of the row", format=".1%"),
        ],
    )
    cells = base.mark_rect(stroke=theme.ink()["back"], strokeWidth=1.5).encode(
        color=alt.Color("share:Q", scale=alt.Scale(range=ramp, domain=[0, 1]), legend=None)
    )
    strong = ("#0f151d", "#e4eaf1") if theme.dark() else ("#ffffff", "#17212e")
    numbers = base.mark_text(fontSize=11).encode(
        text=alt.Text("share:Q", format=".0%"),
        color=alt.condition("datum.share > 0.5", alt.value(strong[0]), alt.value(strong[1])),
    )
    # Room at the right for the last of the slanted names.
    room = {"left": 5, "top": 5, "right": 40, "bottom": 5}
    return (cells + numbers).properties(height=34 * len(order) + 70, padding=room)


def robustness(rows: Sequence[Robustness], clean: float | None) -> Chart:
    """Accuracy on spoiled pictures, with intervals; the line is the clean accuracy."""
    frame = pd.DataFrame(
        [
            {
                "condition": row.condition.replace("_", " "),
                "accuracy": 100 * row.overall,
                "low": 100 * row.ci[0],
                "high": 100 * row.ci[1],
                "n": row.n,
                "drop": 100 * row.drop,
            }
            for row in rows
        ]
    )
    tone = theme.ink()
    base = alt.Chart(frame).encode(
        y=alt.Y(
            "condition:N",
            sort="-x",
            title=None,
            axis=alt.Axis(ticks=False, domain=False, labelLimit=180),
        )
    )
    tips = [
        alt.Tooltip("condition:N"),
        alt.Tooltip("accuracy:Q", title="right, %", format=".1f"),
        alt.Tooltip("drop:Q", title="lost, points", format=".1f"),
        alt.Tooltip("n:Q", title="pictures", format=","),
    ]
    bars = base.mark_bar(color=tone["accent"], cornerRadiusEnd=3, height={"band": 0.6}).encode(
        x=alt.X("accuracy:Q", title="right, %", scale=alt.Scale(domain=[0, 100])), tooltip=tips
    )
    whiskers = base.mark_rule(color=tone["text"]).encode(x="low:Q", x2="high:Q")
    layers = [bars, whiskers]
    if clean is not None:
        line = alt.Chart(pd.DataFrame({"clean": [100 * clean]}))
        layers.append(line.mark_rule(color=tone["muted"], strokeDash=[4, 3]).encode(x="clean:Q"))
    return alt.layer(*layers).properties(height=28 * len(frame) + 50)


def latencies(rows: Sequence[Latency]) -> Chart:
    """Median milliseconds of one call, by runtime and precision; the tick is p95."""
    frame = pd.DataFrame(
        [
            {
                "how": f"{row.runtime} {row.precision}, {_place(row)}",
                "p50": row.p50_ms,
                "p95": row.p95_ms,
                "batch": row.batch,
                "n": row.n,
                "origin": row.origin,
            }
            for row in rows
        ]
    )
    tone = theme.ink()
    base = alt.Chart(frame).encode(
        y=alt.Y(
            "how:N",
            sort="x",
            title=None,
            axis=alt.Axis(ticks=False, domain=False, labelLimit=230),
        ),
        tooltip=[
            alt.Tooltip("how:N", title="runtime"),
            alt.Tooltip("p50:Q", title="median, ms", format=".2f"),
            alt.Tooltip("p95:Q", title="p95, ms", format=".2f"),
            alt.Tooltip("batch:Q"),
            alt.Tooltip("n:Q", title="calls", format=","),
        ],
    )
    bars = base.mark_bar(color=tone["accent"], cornerRadiusEnd=3, height={"band": 0.6}).encode(
        x=alt.X("p50:Q", title="ms a picture")
    )
    ticks = base.mark_tick(color=tone["text"], thickness=2).encode(x="p95:Q")
    return (bars + ticks).properties(height=28 * len(frame) + 50)


def shares(pairs: Sequence[tuple[str, float]]) -> Chart:
    """What a model makes of one picture: the labels and their probabilities."""
    frame = pd.DataFrame(pairs, columns=["label", "share"])
    return (
        alt.Chart(frame)
        .mark_bar(color=theme.ink()["accent"], cornerRadiusEnd=3, height={"band": 0.7})
        .encode(
            y=alt.Y("label:N", sort="-x", title=None, axis=alt.Axis(ticks=False, domain=False)),
            x=alt.X(
                "share:Q",
                title=None,
                scale=alt.Scale(domain=[0, 1]),
                axis=alt.Axis(format=".0%", tickCount=3),
            ),
            tooltip=[alt.Tooltip("label:N"), alt.Tooltip("share:Q", format=".1%")],
        )
        .properties(height=24 * len(frame) + 30)
    )


def _place(row: Latency) -> str:
    threads = f", {row.threads} thr." if row.threads else ""
    return f"{row.device}{threads}"
