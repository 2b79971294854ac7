"""How often alerts were right, by kind, vehicle and camera, and which causes of false ones grow."""

from typing import Final, get_args

import pandas as pd
import streamlit as st

from dashboard.components import columns, theme
from dashboard.queries import precision, reviews
from dashboard.queries.database import Database
from dashboard.queries.precision import By, Precision
from dashboard.session import kept

_TITLES: Final[dict[By, str]] = {"kind": "By kind", "vehicle": "By vehicle", "camera": "By camera"}
_precision = kept(precision.precision, seconds=20)
_trends = kept(precision.cause_trends, seconds=20)


def draw_precision(database: Database, since: float, until: float) -> None:
    """The tables for alerts that began within (epoch seconds)."""
    rows = {by: _precision(database, by, since, until) for by in get_args(By)}
    if not rows["kind"]:
        theme.nothing("Nothing has been judged in this time", "Judge some alerts in the queue.")
        return
    st.caption(
        "Of the judged alerts: the part that was right, with its 95 % interval. *Not sure* counts "
        "on neither side. Reviewers choose what they judge, so this need not hold for all alerts."
    )
    for by, title in _TITLES.items():
        theme.section(title)
        _table(rows[by], by)
    _causes(database, since, until)


def _table(rows: list[Precision], by: By) -> None:
    frame = pd.DataFrame(
        {
            "name": [theme.kind_word(row.name) if by == "kind" else row.name for row in rows],
            "right": [None if (v := row.estimate.value) is None else 100 * v for row in rows],
            "interval": [
                f"{theme.share(row.estimate.low)} to {theme.share(row.estimate.high)}"
                for row in rows
            ],
            "n": [row.estimate.n for row in rows],
            "unsure": [row.unsure for row in rows],
        }
    )
    st.dataframe(
        frame,
        hide_index=True,
        key=f"precision-{by}",
        height=min(36 * len(rows) + 40, 320),
        column_config={
            "name": by.capitalize(),
            "right": columns.bar("Right", max_value=100, format="%.0f %%"),
            "interval": columns.text("95 % interval"),
            "n": columns.number("Judged"),
            "unsure": "Not sure",
        },
    )


def _causes(database: Database, since: float, until: float) -> None:
    theme.section("Causes of false alarms")
    trends = _trends(database, since, until)
    if not trends:
        st.caption("No false alarm in this time.")
        return
    st.dataframe(
        pd.DataFrame(
            {
                "cause": [reviews.CAUSES.get(t.cause, t.cause) for t in trends],
                "earlier": [t.earlier for t in trends],
                "later": [t.later for t in trends],
                "change": [t.word for t in trends],
            }
        ),
        hide_index=True,
        key="causes",
        column_config={
            "cause": "Cause",
            "earlier": "Earlier half",
            "later": "Later half",
            "change": columns.text("Change"),
        },
    )
