"""The button that writes what the filters show into a file, and into the audit who took it."""

import streamlit as st

from dashboard.auth.access import current
from dashboard.components import theme
from dashboard.queries import events as alerts
from dashboard.queries import export, reviews
from dashboard.queries.events import Filter
from dashboard.session import database


def export_button(wanted: Filter, group: str | None) -> None:
    """Offer a file of a group's alerts that is written only when it is asked for."""
    with st.popover("Export", icon=":material/download:"):
        st.caption(
            f"What the filters show, the newest {alerts.EXPORT_ROWS:,} at most, with level, "
            "evidence, origin, verdict, note and reviewer; times as ISO 8601 in your own time "
            f"zone ({theme.zone().key}). The audit notes who took it."
        )
        st.download_button(
            "CSV",
            lambda: _written(wanted, group, "csv"),
            "wakeful-events.csv",
            "text/csv",
            on_click="ignore",
            icon=":material/table:",
        )
        st.download_button(
            "Parquet",
            lambda: _written(wanted, group, "parquet"),
            "wakeful-events.parquet",
            "application/vnd.apache.parquet",
            on_click="ignore",
            icon=":material/dataset:",
        )


def _written(wanted: Filter, group: str | None, form: str) -> bytes:
    table = export.frame(alerts.export(database(group), wanted), theme.zone())
    user = current()
    detail = {"form": form, "rows": len(table), "group": group, "filter": alerts.described(wanted)}
    reviews.note_export(database(), user.name if user else "nobody", "events", detail)
    return export.as_csv(table) if form == "csv" else export.as_parquet(table)
