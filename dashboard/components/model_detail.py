"""About one model: what it confuses, what spoils it, what a look costs; the shipped cards."""

from typing import Any

import pandas as pd
import streamlit as st

from dashboard.components import model_charts, theme
from models.registry import ModelCard, shipped
from models.report import Report


def one_model(reports: list[Report]) -> None:
    """One measured model: confusion, robustness, latency, budget."""
    if not reports:
        return
    theme.section("About one model")
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
            st.markdown(
                f"**What it takes for something else**, {confused[0].dataset} {confused[0].split}"
            )
            st.altair_chart(model_charts.confusion(confused[0]), key="confusion")
        if chosen.detection:
            _per_class(chosen)
    with right:
        if chosen.latency:
            st.markdown("**Time for one picture**")
            st.altair_chart(model_charts.latencies(chosen.latency), key="latency")
        if chosen.robustness:
            st.markdown("**On damaged pictures**")
            clean = chosen.accuracy[0].overall if chosen.accuracy else None
            st.altair_chart(model_charts.robustness(chosen.robustness, clean), key="spoiled")
    _about(chosen)


def _per_class(report: Report) -> None:
    figure = report.detection[0]
    frame = pd.DataFrame.from_dict(figure.per_class, orient="index")
    if not frame.empty:
        st.markdown(f"**Class by class**, {figure.dataset} {figure.split}")
        st.dataframe(frame.round(3), placeholder="-")


def _about(report: Report) -> None:
    pairs = []
    if budget := report.budget:
        pairs += [
            ("Trained", f"{budget.epochs} epochs, {budget.hours:.1f} h on {budget.device}"),
            ("Pictures", f"{budget.pictures:,}"),
        ]
    pairs += [
        (
            f"{row.runtime} {row.precision}",
            f"{theme.share(row.same_top1, 2)} the same as in full precision",
        )
        for row in report.agreement
    ]
    if report.weights_sha256:
        pairs.append(("Weights", report.weights_sha256[:12]))
    if pairs:
        st.html(theme.facts(pairs))
    if report.command:
        st.code(report.command, language="bash", wrap_lines=True)
    for note in report.notes:
        st.caption(note)


def cards(task: str) -> None:
    """The cards of the weights that ship."""
    theme.section("Shipped weights")
    hashed = [card for card in shipped(task) if card.sha256]  # type: ignore[arg-type]
    if not hashed:
        st.caption(
            "No weights of this task ship with this version; train some: `wakeful models train`."
        )
    for card in hashed:
        with st.expander(card.id):
            st.html(theme.facts(_card(card)))


def _card(card: ModelCard) -> list[tuple[str, str]]:
    height, width = card.input_hw
    pairs = [
        ("Labels", ", ".join(card.labels)),
        ("Input", f"{width} x {height}, {card.channels} channels"),
        ("Paper", card.paper or "-"),
        ("Trained on", card.training_data or "-"),
        ("Licence", card.licence or "-"),
        ("Released", card.released or "-"),
        ("sha256", card.sha256),
    ]
    return pairs + [
        (name.replace("_", " ").capitalize(), _spelled(value))
        for name, value in card.measured.items()
    ]


def _spelled(value: Any) -> str:
    """A figure of a card, or figures by name, for people."""
    if isinstance(value, dict):
        return ", ".join(f"{name.replace('_', ' ')} {_spelled(one)}" for name, one in value.items())
    if isinstance(value, (list, tuple)):
        return " to ".join(_spelled(one) for one in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)
