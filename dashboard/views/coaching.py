"""Coaching: what has to be talked about with drivers, and what has been."""

from typing import Final

import pandas as pd
import streamlit as st

from dashboard.address import Address, Field, go, opens
from dashboard.components import columns, group_filter, theme
from dashboard.components.discussion import draw_coaching
from dashboard.queries import coaching, groups
from dashboard.queries.coaching import CoachingItem
from dashboard.session import database, guarded, kept
from monitor.types import Level

STATES: Final = {"open": "Open", "talked": "Talked about", "closed": "Closed", "all": "All"}
_groups = kept(groups.names)


@guarded
def coaching_page() -> None:
    """The items of one status; the chosen one with its history and next steps."""
    groups = _groups(database())
    asked = st.query_params.get("item")
    address = Address(
        "coaching",
        Field("status", STATES, "open"),
        Field("group", ["", *groups], ""),
        Field("item", [asked] if asked else []),
    )
    address.follow()
    theme.heading("Coaching", "What to talk about with drivers, and what was agreed")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        status = st.segmented_control(
            "Status",
            list(STATES),
            format_func=STATES.__getitem__,
            required=True,
            key="status",
            on_change=address.changed,
        )
        group = group_filter.draw(groups, address)
    items = coaching.items(database(group), None if status == "all" else status)
    if not items:
        theme.nothing(
            "Nothing here",
            "A coaching item is started on the page of an alert: open one under Events or Review "
            "and press “Start coaching”.",
        )
    else:
        _table(items)
    if asked:
        _item(asked)


def _table(items: list[CoachingItem]) -> None:
    frame = pd.DataFrame(
        {
            "status": [coaching.WORDS.get(item.status, item.status) for item in items],
            "vehicle": [item.vehicle for item in items],
            "driver": [item.driver or "" for item in items],
            "what": [theme.kind_word(item.kind) for item in items],
            "level": [theme.LEVEL_WORDS[Level(item.level)] for item in items],
            "began": [theme.clock(item.started_at, seconds=False) for item in items],
            "opened": [theme.clock(item.opened_at, seconds=False) for item in items],
            "last": [f"{item.actor}, {theme.clock(item.at, seconds=False)}" for item in items],
        }
    )
    st.dataframe(
        frame,
        hide_index=True,
        key="coaching-items",
        on_select=opens("item", "coaching-items", [item.event for item in items]),
        selection_mode="single-cell",
        column_config={
            "status": "Status",
            "vehicle": "Vehicle",
            "driver": columns.text("Driver"),
            "what": "Alert",
            "level": columns.text("Level"),
            "began": "Alert began",
            "opened": "Coaching opened",
            "last": "Last step",
        },
    )
    st.caption("Click a row to go on with it.")


def _item(event: str) -> None:
    with st.container(border=True):
        st.page_link(
            "views/events.py",
            label="The alert it is about",
            icon=":material/notifications:",
            query_params={"event": event},
        )
        draw_coaching(event)
        st.button("Close this view", type="tertiary", on_click=go, kwargs={"item": None})


coaching_page()
