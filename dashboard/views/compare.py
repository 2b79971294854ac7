"""Models: which one is how good, at what cost, and which should I use?"""

from typing import Any, Final

import pandas as pd
import streamlit as st

from dashboard.components import columns, model_charts, model_detail, model_trial_form, theme
from dashboard.queries.leaderboard import (
    LeaderboardRow,
    as_good,
    datasets,
    leaderboard,
    name_of,
    pick,
)
from dashboard.session import guarded
from models.registry import MODELS, shipped
from models.report import Report, ReportError, load_published, load_reports

TASKS: Final = {"expression": "Expression", "detection": "Awake or asleep", "eyes": "Eye state"}
COSTS: Final = {
    "macs": "multiply-accumulates a picture, billions",
    "params": "parameters, millions",
    "ms": "fastest CPU call, ms",
}
EVERY: Final = "every data set, side by side"
BUDGETS: Final = {"1 ms": 1.0, "5 ms": 5.0, "20 ms": 20.0, "50 ms": 50.0, "any": float("inf")}


@st.cache_data(ttl=60, show_spinner=False)
def _reports() -> tuple[list[Report], list[Report]]:
    return load_reports(), load_published()


@guarded
def models_page() -> None:
    """The pick, the comparison, one model closely, the cards, a picture of one's own."""
    theme.heading("Models", "How good, at what cost, and which to use")
    try:
        measured, published = _reports()
    except ReportError as error:
        theme.nothing("A report cannot be read", str(error))
        return
    task = st.segmented_control(
        "Task",
        list(TASKS),
        default="expression",
        required=True,
        key="task",
        bind="query-params",
        format_func=TASKS.__getitem__,
        label_visibility="collapsed",
    )
    task = task or "expression"
    rows = leaderboard([*measured, *published], "expression" if task == "eyes" else task)
    reported = {report.model for report in measured if report.task == task}
    if task in {"expression", "eyes"}:
        rows = [row for row in rows if (row.model in reported) or _is(row.model, task)]
    _comparison(rows, task)
    model_detail.one_model([report for report in measured if report.task == task])
    model_detail.cards(task)
    model_trial_form.own_picture()


def _is(model: str, task: str) -> bool:
    """Whether a published figure is about this task; unregistered models are expression models."""
    return MODELS[model].task == task if model in MODELS else task == "expression"


def _comparison(rows: list[LeaderboardRow], task: str) -> None:
    if not rows and (only := shipped(task)):  # type: ignore[arg-type]
        names = ", ".join(card.name for card in only)
        _hero(
            f"On a CPU: {names}", "The only one of its task; its figures stand on its card below."
        )
        return
    if not rows:
        theme.nothing(
            "No figures of this task yet",
            "Measure the shipped models; the reports appear here.",
            "wakeful models evaluate --help",
        )
        return
    sets = datasets(rows)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        dataset = st.selectbox(
            "Measured on", [*sets, EVERY], key="data", bind="query-params", width=320
        )
        budget = st.segmented_control(
            "Time for one look on a CPU", list(BUDGETS), default="20 ms", required=True
        )
    shown = [row for row in rows if dataset in {EVERY, name_of(row)}]
    # Only figures on the same pictures make a pick.
    compared = [row for row in rows if name_of(row) == (sets[0] if dataset == EVERY else dataset)]
    _recommend(compared, BUDGETS[budget or "20 ms"], budget or "20 ms")
    cost = st.segmented_control(
        "Cost",
        list(COSTS),
        default="macs",
        required=True,
        format_func={"macs": "Computation", "params": "Size", "ms": "Time"}.__getitem__,
        label_visibility="collapsed",
    )
    points = _points(shown, cost or "macs", named=dataset == EVERY)
    if points:
        st.altair_chart(
            model_charts.accuracy_and_cost(
                points, cost or "macs", COSTS[cost or "macs"], shown[0].unit
            ),
            key="tradeoff",
        )
        st.caption(
            "Filled: measured here, with its 95 % interval. Ring: published, as its paper says."
            + (" Only points of the same data set may be compared." if dataset == EVERY else "")
        )
    else:
        st.caption("No model of this data set has this cost measured yet.")
    _table(shown, task)


def _recommend(rows: list[LeaderboardRow], budget_ms: float, words: str) -> None:
    best = pick(rows, budget_ms)
    measured = [row for row in rows if row.origin == "measured"]
    if best is not None:
        _hero(
            f"On a CPU: {best.model}",
            f"{_how_good(best)}; {_how_fast(best)}.",
            *_rivals(rows, best),
        )
    elif not measured:
        _no_pick(
            "Nothing was measured on this data set here, so nothing is recommended; "
            "published figures alone say nothing about this machine."
        )
    elif any(row.fastest for row in measured):
        _no_pick(f"No measured model answers within {words}: allow more time.")
    else:
        first = measured[0]
        why = "the only one measured here" if len(measured) == 1 else "the best measured here"
        _hero(
            f"On a CPU: {first.model}",
            f"{_how_good(first)}: {why}. Its time alone is not in its report; wakeful bench "
            "tells what a whole look takes on this machine.",
        )


def _how_good(row: LeaderboardRow) -> str:
    low, high = row.interval or (None, None)
    sure = f" ({theme.share(low, 1)} to {theme.share(high, 1)})" if low is not None else ""
    n = f", {row.n:,} pictures" if row.n else ""
    return f"{theme.share(row.value, 1)} {row.unit}{sure} on {name_of(row)}{n}"


def _how_fast(row: LeaderboardRow) -> str:
    fastest = row.fastest
    if fastest is None:
        return "its time was not measured"
    return f"{fastest.runtime} {fastest.precision}, {fastest.p50_ms:.1f} ms a look"


def _rivals(rows: list[LeaderboardRow], best: LeaderboardRow) -> list[str]:
    """What is as good as far as anybody can tell, and quicker."""
    return [
        f"{row.model} is as good as far as {row.n or 0:,} pictures can tell "
        f"({theme.share(row.value, 1)}) and quicker: {_how_fast(row)}."
        for row in as_good(rows, best)
    ]


def _hero(title: str, *lines: str) -> None:
    paragraphs = "".join(f"<p>{theme.escape(line)}</p>" for line in lines)
    st.html(
        f'<div class="wk-hero wk-c-attentive"><div><h2>{theme.escape(title)}</h2>'
        f"{paragraphs}</div></div>"
    )


def _no_pick(text: str) -> None:
    st.html(
        f'<div class="wk-hero wk-c-unknown"><div><h2>No pick</h2>'
        f"<p>{theme.escape(text)}</p></div></div>"
    )


def _points(rows: list[LeaderboardRow], cost: str, *, named: bool) -> list[dict[str, Any]]:
    """Rows of the plot; `named` says which data set each is about."""
    points = []
    for row in rows:
        amount = {
            "macs": row.macs / 1e9 if row.macs else None,
            "params": row.params / 1e6 if row.params else None,
            "ms": row.fastest.p50_ms if row.fastest else None,
        }[cost]
        if amount is None:
            continue
        low, high = row.interval or (row.value, row.value)
        points.append(
            {
                "model": f"{row.model}, {row.dataset}" if named else row.model,
                "origin": row.origin, "n": row.n, cost: amount,
                "accuracy": 100 * row.value, "low": 100 * low, "high": 100 * high,
            }
        )  # fmt: skip
    return points


def _table(rows: list[LeaderboardRow], task: str) -> None:
    second = "mAP50-95" if task == "detection" else "Mean of classes"
    frame = pd.DataFrame(
        [
            {
                "model": row.model,
                "origin": row.origin,
                "data": name_of(row),
                "value": 100 * row.value,
                "interval": _interval(row),
                "second": None if row.mean_class is None else 100 * row.mean_class,
                "n": row.n,
                "macs": row.macs / 1e9 if row.macs else None,
                "params": row.params / 1e6 if row.params else None,
                "ms": row.fastest.p50_ms if row.fastest else None,
                "selection": row.selection,
                "source": row.source,
            }
            for row in rows
        ]
    )
    st.dataframe(
        frame,
        hide_index=True,
        placeholder="-",
        column_config={
            "model": columns.text("Model", pinned=True),
            "origin": "Origin",
            "data": "Data set",
            "value": columns.number("mAP50" if task == "detection" else "Right", format="%.2f %%"),
            "interval": "95 % interval",
            "second": columns.number(second, format="%.2f %%"),
            "n": columns.number("Pictures", format="localized"),
            "macs": columns.number("GMACs", format="%.3g"),
            "params": columns.number("Parameters, M", format="%.3g"),
            "ms": columns.number("Fastest CPU", format="%.2f ms"),
            "selection": columns.text("Chosen on"),
            "source": columns.text("Source", width="large"),
        },
    )


def _interval(row: LeaderboardRow) -> str | None:
    if row.interval is None:
        return None
    return f"{100 * row.interval[0]:.1f} to {100 * row.interval[1]:.1f} %"


models_page()
