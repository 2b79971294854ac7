"""The weekly report as a page: the same that `wakeful fleet notify` sends."""

from typing import Final

import streamlit as st

from dashboard.address import Address
from dashboard.components import theme
from dashboard.queries import weekly
from dashboard.queries.database import Database
from dashboard.session import kept
from monitor.fleet.notify.weekly import body

KEPT_S: Final = 600
_report = kept(weekly.report, seconds=KEPT_S)


def draw_weekly(database: Database, weeks: dict[str, str], address: Address) -> None:
    """The report on one of these weeks; the latest at first. The address has a field `week`."""
    week = st.selectbox(
        "Week",
        list(weeks),
        format_func=lambda name: f"Week {name.partition('-W')[2]}: {weeks[name]}",
        key="week",
        width=280,
        on_change=address.changed,
    )
    zone = theme.zone().key
    page = body(_report(database, week, zone), zone, sorted(database.scope.groups or ()))
    st.html(f'<div class="wk-report">{page}</div>')
    st.caption("`wakeful fleet notify` sends this report every week, as e-mail with a PDF.")
