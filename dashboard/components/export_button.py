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
    # A file is written outside of the page's run, where nobody is signed in: settle it here.
    user = current()
    log, zone, actor = database(group), theme.zone(), user.name if user else "nobody"

    def written(form: str) -> bytes:
        table = export.frame(alerts.export(log, wanted), zone)
        described = alerts.described(wanted)
        detail = {"form": form, "rows": len(table), "group": group, "filter": described}
        reviews.note_export(log, actor, "events", detail)
        return export.as_csv(table) if form == "csv" else export.as_parquet(table)

    with st.popover("Export", icon=":material/download:"):
        st.caption(
            f"What the filters show, the newest {alerts.EXPORT_ROWS:,} at most, with level, "
            "evidence, origin, verdict, note and reviewer; times as ISO 8601 in your own time "
            f"zone ({theme.zone().key}). The audit notes who took it."
        )
        st.download_button(
            "CSV",
            lambda: written("csv"),
            "wakeful-events.csv",
            "text/csv",
            on_click="ignore",
            icon=":material/table:",
        )
        st.download_button(
            "Parquet",
            lambda: written("parquet"),
            "wakeful-events.parquet",
            "application/vnd.apache.parquet",
            on_click="ignore",
            icon=":material/dataset:",
        )
