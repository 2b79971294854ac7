"""Alerts as a file: CSV for a spreadsheet, Parquet for whoever counts."""

import io
from typing import Final

import pandas as pd
import streamlit as st

from dashboard.auth.access import current
from dashboard.queries import events as alerts
from dashboard.queries import reviews
from dashboard.queries.database import Record
from dashboard.queries.events import Filter
from dashboard.session import store

# A spreadsheet runs a cell that begins with one of these as a formula (OWASP, CSV injection).
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


def offer(wanted: Filter) -> None:
    """Buttons that write the file only when they are pressed."""
    with st.popover("Export", icon=":material/download:"):
        st.caption(
            f"What the filters show, the newest {alerts.EXPORT_ROWS:,} at most, with evidence, "
            "provenance and verdicts. The audit notes who took it."
        )
        st.download_button(
            "CSV",
            lambda: _written(wanted, "csv"),
            "wakeful-events.csv",
            "text/csv",
            on_click="ignore",
            icon=":material/table:",
        )
        st.download_button(
            "Parquet",
            lambda: _written(wanted, "parquet"),
            "wakeful-events.parquet",
            "application/vnd.apache.parquet",
            on_click="ignore",
            icon=":material/dataset:",
        )


def as_csv(rows: list[Record]) -> bytes:
    """Rows as CSV, text that a spreadsheet would run as a formula made harmless."""
    frame = pd.DataFrame(rows)
    for name in frame.select_dtypes(include=["object", "str"]).columns:
        frame[name] = [_harmless(value) for value in frame[name]]
    text: str = frame.to_csv(index=False)
    return text.encode()


def as_parquet(rows: list[Record]) -> bytes:
    """Rows as Parquet, as they are."""
    held = io.BytesIO()
    pd.DataFrame(rows).to_parquet(held, index=False)
    return held.getvalue()


def _harmless(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _written(wanted: Filter, form: str) -> bytes:
    rows = alerts.export(store(), wanted)
    user = current()
    detail = {"form": form, "rows": len(rows), "filter": alerts.described(wanted)}
    reviews.note_export(store(), user.name if user else "nobody", "events", detail)
    return as_csv(rows) if form == "csv" else as_parquet(rows)
