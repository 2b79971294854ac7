"""Places: where alerts happen, and where they repeat."""

from typing import Final

import pandas as pd
import streamlit as st

from dashboard.address import Address, Field, opens
from dashboard.components import group_filter, maps, theme
from dashboard.queries import groups, places
from dashboard.queries.places import RepeatedPlace
from dashboard.session import database, guarded, kept, now
from monitor.types import Level

SPANS: Final = {7: "7 days", 30: "30 days", 90: "90 days"}
LEVELS: Final = {2: "Caution and up", 3: "Warning and up", 4: "Critical"}
_positions = kept(places.positions)
_repeating = kept(places.repeating)
_near = kept(places.near)
_groups = kept(groups.names)


@guarded
def places_page() -> None:
    """The map, the places that repeat, the alerts of one of them."""
    groups, asked = _groups(database()), st.query_params.get("place")
    address = Address(
        "places",
        Field("days", SPANS, 30),
        Field("level", LEVELS, 2),
        Field("group", ["", *groups], ""),
        Field("place", [asked] if asked else []),
    )
    address.follow()
    theme.heading("Places", "Where alerts happen, and where they repeat")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        days = st.segmented_control(
            "Time",
            list(SPANS),
            format_func=SPANS.__getitem__,
            required=True,
            key="days",
            on_change=address.changed,
        )
        level = st.selectbox(
            "Level",
            list(LEVELS),
            format_func=LEVELS.__getitem__,
            key="level",
            width=165,
            on_change=address.changed,
        )
        group = group_filter.draw(groups, address)
    until = now(60)
    since, log = until - (days or 30) * 86_400, database(group)
    positions = _positions(log, since, until, level)
    if not positions:
        theme.nothing(
            "No alert with a position in this time",
            "A position is optional: set `position.topic` on a vehicle to the MQTT topic that "
            "says where it is. Alerts then bear it, rounded as you set it.",
        )
        return
    repeated = _repeating(log, since, until, level)
    st.altair_chart(maps.alert_map(positions, repeated), key="map")
    st.caption(
        f"{len(positions):,} alerts with a position. A ring is a place of about a kilometre with "
        f"{places.LEAST} alerts or more. {maps.credit()}"
    )
    _table(repeated)
    if chosen := next((place for place in repeated if place.cell == asked), None):
        _alerts(chosen, since, until, group)
    elif asked:
        st.caption("The place of this link does not repeat in what is chosen above.")


def _name(place: RepeatedPlace) -> str:
    return theme.position(place.latitude, place.longitude)


def _table(repeated: list[RepeatedPlace]) -> None:
    theme.section("Places that repeat")
    if not repeated:
        st.caption(f"No place has had {places.LEAST} alerts in this time.")
        return
    frame = pd.DataFrame(
        {
            "place": [_name(place) for place in repeated],
            "alerts": [p.alerts for p in repeated],
            "vehicles": [p.vehicles for p in repeated],
            "worst": [theme.LEVEL_WORDS[Level(p.level)] for p in repeated],
            "last": [theme.clock(p.last_at) for p in repeated],
        }
    )
    st.dataframe(
        frame,
        hide_index=True,
        key="repeated",
        on_select=opens("place", "repeated", [place.cell for place in repeated]),
        selection_mode="single-cell",
        column_config={
            "place": "Place",
            "alerts": "Alerts",
            "vehicles": "Vehicles",
            "worst": "Most urgent",
            "last": "Last one",
        },
    )
    st.caption("Click a place to see its alerts.")


def _alerts(place: RepeatedPlace, since: float, until: float, group: str | None) -> None:
    theme.section(f"Alerts near {_name(place)}")
    for row in _near(database(group), place, since, until)[:20]:
        st.page_link(
            "views/events.py",
            label=f"{theme.kind_word(row.kind)} · {row.vehicle} · {theme.clock(row.started_at)}",
            icon=theme.LEVEL_ICONS[Level(row.level)],
            query_params={"event": row.id},
        )


places_page()
