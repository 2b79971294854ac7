"""Models: which one is how good, at what cost, and which should I use?"""

from typing import Any, Final

import pandas as pd
import streamlit as st

from dashboard import model_charts, theme
from dashboard.session import guarded
from dashboard.standings import Standing, datasets, name_of, pick, standings
from dashboard.trial import MAX_BYTES, Answer, Bench, PictureError, decode
from models.registry import MODELS, ModelCard, shipped
from models.report import Report, ReportError, load_published, load_reports

TASKS: Final = {"expression": "Expression", "detection": "Awake or asleep", "eyes": "Eye state"}
COSTS: Final = {
    "macs": "multiply-accumulates a picture, billions",
    "params": "parameters, millions",
    "ms": "fastest CPU call, ms",
}
BUDGETS: Final = {"1 ms": 1.0, "5 ms": 5.0, "20 ms": 20.0, "50 ms": 50.0, "any": float("inf")}


@st.cache_data(ttl=60, show_spinner=False)
def _reports() -> tuple[list[Report], list[Report]]:
    return load_reports(), load_published()


@st.cache_resource(show_spinner=False)
def _bench() -> Bench:
    return Bench()


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
    rows = standings([*measured, *published], "expression" if task == "eyes" else task)
    names = {report.model for report in measured if report.task == task}
    if task in {"expression", "eyes"}:
        rows = [row for row in rows if (row.model in names) or _is(row.model, task)]
    _comparison(rows, task)
    _closely([report for report in measured if report.task == task])
    _cards(task)
    _try()


def _is(model: str, task: str) -> bool:
    """Whether a published figure is about this task; unregistered models are expression models."""
    return MODELS[model].task == task if model in MODELS else task == "expression"


def _comparison(rows: list[Standing], task: str) -> None:
    if not rows:
        theme.nothing(
            "No figures of this task yet",
            "Measure the shipped models; the reports appear here.",
            "wakeful models evaluate --help",
        )
        return
    names = datasets(rows)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        dataset = st.selectbox("Measured on", names, key="data", width=320)
        budget = st.segmented_control(
            "Time for one look on a CPU", list(BUDGETS), default="20 ms", required=True
        )
    shown = [row for row in rows if name_of(row) == dataset]
    _recommend(shown, BUDGETS[budget or "20 ms"], budget or "20 ms")
    cost = st.segmented_control(
        "Cost",
        list(COSTS),
        default="macs",
        required=True,
        format_func={"macs": "Computation", "params": "Size", "ms": "Time"}.__getitem__,
        label_visibility="collapsed",
    )
    points = _points(shown, cost or "macs")
    if points:
        st.altair_chart(
            model_charts.accuracy_and_cost(points, cost or "macs", COSTS[cost or "macs"]),
            key="tradeoff",
        )
        st.caption(
            "Filled: measured here, with its 95 % interval. Ring: published, as its paper says."
        )
    else:
        st.caption("No model of this data set has this cost measured yet.")
    _table(shown, task)


def _recommend(rows: list[Standing], budget_ms: float, words: str) -> None:
    best = pick(rows, budget_ms)
    if best is None or best.fastest is None:
        measured = any(row.origin == "measured" for row in rows)
        text = (
            f"No measured model answers within {words}: allow more time."
            if measured
            else "Nothing was measured on this data set here, so nothing is recommended; "
            "published figures alone say nothing about this machine."
        )
        st.html(
            f'<div class="wk-hero wk-c-unknown"><div><h2>No pick</h2>'
            f"<p>{theme.escape(text)}</p></div></div>"
        )
        return
    low, high = best.interval or (None, None)
    sure = f" ({theme.share(low, 1)} to {theme.share(high, 1)})" if low is not None else ""
    n = f", {best.n:,} pictures" if best.n else ""
    how = f"{best.fastest.runtime} {best.fastest.precision}, {best.fastest.p50_ms:.1f} ms a look"
    st.html(
        f'<div class="wk-hero wk-c-attentive"><div><h2>On a CPU: {theme.escape(best.model)}</h2>'
        f"<p>{theme.share(best.value, 1)} right{sure} on {theme.escape(name_of(best))}{n}; "
        f"{theme.escape(how)}</p></div></div>"
    )


def _points(rows: list[Standing], cost: str) -> list[dict[str, Any]]:
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
                "model": row.model, "origin": row.origin, "n": row.n, cost: amount,
                "accuracy": 100 * row.value, "low": 100 * low, "high": 100 * high,
            }
        )  # fmt: skip
    return points


def _table(rows: list[Standing], task: str) -> None:
    second = "mAP50-95" if task == "detection" else "Mean of classes"
    frame = pd.DataFrame(
        [
            {
                "model": row.model,
                "origin": row.origin,
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
            "model": st.column_config.TextColumn("Model", pinned=True),
            "origin": "Origin",
            "value": st.column_config.NumberColumn(
                "mAP50" if task == "detection" else "Right", format="%.2f %%"
            ),
            "interval": "95 % interval",
            "second": st.column_config.NumberColumn(second, format="%.2f %%"),
            "n": st.column_config.NumberColumn("Pictures", format="localized"),
            "macs": st.column_config.NumberColumn("GMACs", format="%.3g"),
            "params": st.column_config.NumberColumn("Parameters, M", format="%.3g"),
            "ms": st.column_config.NumberColumn("Fastest CPU", format="%.2f ms"),
            "selection": st.column_config.TextColumn(
                "Chosen on", help="What the weights were chosen on: the test set flatters."
            ),
            "source": st.column_config.TextColumn("Source", width="large"),
        },
    )


def _interval(row: Standing) -> str | None:
    if row.interval is None:
        return None
    return f"{100 * row.interval[0]:.1f} to {100 * row.interval[1]:.1f} %"


def _closely(reports: list[Report]) -> None:
    """One measured model: confusion, robustness, latency, budget."""
    if not reports:
        return
    st.markdown("##### One model closely")
    chosen = st.selectbox(
        "Model",
        reports,
        format_func=lambda one: one.model,
        label_visibility="collapsed",
        width=320,
        key="closely",
    )
    left, right = st.columns(2, gap="large")
    with left:
        confused = [figure for figure in chosen.accuracy if figure.confusion]
        if confused:
            st.markdown(f"**What it confuses**, {confused[0].dataset} {confused[0].split}")
            st.altair_chart(model_charts.confusion(confused[0]), key="confusion")
        if chosen.detection:
            _per_class(chosen)
    with right:
        if chosen.latency:
            st.markdown("**Time of one look**")
            st.altair_chart(model_charts.latencies(chosen.latency), key="latency")
        if chosen.robustness:
            st.markdown("**On spoiled pictures**")
            clean = chosen.accuracy[0].overall if chosen.accuracy else None
            st.altair_chart(model_charts.robustness(chosen.robustness, clean), key="spoiled")
    _about(chosen)


def _per_class(report: Report) -> None:
    figure = report.detection[0]
    frame = pd.DataFrame.from_dict(figure.per_class, orient="index")
    if not frame.empty:
        st.markdown(f"**Class by class**, {figure.dataset} {figure.split}")
        st.dataframe(frame)


def _about(report: Report) -> None:
    pairs = []
    if budget := report.budget:
        pairs += [
            ("Trained", f"{budget.epochs} epochs, {budget.hours:.1f} h on {budget.device}"),
            ("Pictures", f"{budget.pictures:,}"),
        ]
    pairs += [
        (f"{row.runtime} {row.precision}", f"{theme.share(row.same_top1, 2)} as eager fp32")
        for row in report.agreement
    ]
    if report.weights_sha256:
        pairs.append(("Weights", report.weights_sha256[:12]))
    if report.command:
        pairs.append(("Made by", report.command))
    if pairs:
        st.html(theme.facts(pairs))
    for note in report.notes:
        st.caption(note)


def _cards(task: str) -> None:
    st.markdown("##### Shipped weights")
    cards = [card for card in shipped(task) if card.sha256]  # type: ignore[arg-type]
    if not cards:
        st.caption(
            "No weights of this task ship with this version; train some: `wakeful models train`."
        )
    for card in cards:
        with st.expander(card.id):
            st.html(theme.facts(_card(card)))


def _card(card: ModelCard) -> list[tuple[str, str]]:
    height, width = card.input_hw
    pairs = [
        ("Labels", ", ".join(card.labels)),
        ("Input", f"{width} x {height}, {card.channels} channels"),
        ("After", card.paper or "-"),
        ("Trained on", card.training_data or "-"),
        ("Licence", card.licence or "-"),
        ("Released", card.released or "-"),
        ("sha256", card.sha256),
    ]
    return pairs + [
        (name.replace("_", " ").capitalize(), str(value)) for name, value in card.measured.items()
    ]


def _try() -> None:
    st.markdown("##### Try your own picture")
    st.caption("It is looked at in this server's memory and kept nowhere.")
    source = st.segmented_control(
        "From",
        ["A file", "The webcam"],
        default="A file",
        required=True,
        label_visibility="collapsed",
    )
    if source == "The webcam":
        given = st.camera_input("Webcam", label_visibility="collapsed", width=420)
    else:
        given = st.file_uploader(
            "Picture",
            type=["jpg", "jpeg", "png", "webp"],
            label_visibility="collapsed",
            max_upload_size=MAX_BYTES // 1_000_000,
            width=420,
        )
    if given is None:
        return
    try:
        image = decode(given.getvalue())
    except PictureError as error:
        st.warning(str(error).capitalize() + ".", icon=":material/image_not_supported:")
        return
    with st.spinner("Asking every model"):
        trial = _bench().look(image)
    if trial.face is None and not trial.answers:
        st.info("No face was found in this picture.", icon=":material/face:")
        return
    _answers(trial.face, list(trial.answers))


def _answers(face: Any, answers: list[Answer]) -> None:
    if face is None:
        st.info("No face was found close enough for the classifiers.", icon=":material/face:")
    columns = st.columns(4)
    if face is not None:
        columns[0].image(face, caption="the face they saw", width=200)
    for index, answer in enumerate(answers, start=1):
        with columns[index % 4]:
            label, share = max(answer.shares, key=lambda pair: pair[1])
            st.markdown(f"**{answer.model}**: {label}, {theme.share(share)}")
            st.altair_chart(model_charts.shares(answer.shares), key=f"try-{answer.model}")
    if not answers:
        st.caption("No weights ship with this version; train some: `wakeful models train`.")


models_page()
