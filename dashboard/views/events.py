"""Events: what happened, why did it alert, was it right?"""

from dataclasses import replace
from typing import Final

import pandas as pd
import streamlit as st

from dashboard.address import Address, Field, go, opens
from dashboard.auth.access import may
from dashboard.auth.accounts import Role
from dashboard.components import columns, group_filter, theme
from dashboard.components.alert_page import draw_alert
from dashboard.components.export_button import export_button
from dashboard.queries import events as alerts
from dashboard.queries import groups, live, reviews
from dashboard.queries.events import AlertRow, Filter, Page
from dashboard.session import database, guarded, kept, now
from monitor.types import Kind, Level

SPANS: Final = {"1": "24 hours", "7": "7 days", "30": "30 days", "all": "all"}
STATES: Final = {
    "any": "Reviewed or not",
    "new": "Not reviewed",
    "reviewed": "Reviewed",
    "false": "False alarms",
    "true": "Real ones",
    "unsure": "Not sure",
}
LEVELS: Final = {0: "Any level", 2: "Caution and up", 3: "Warning and up", 4: "Critical"}
_names = kept(live.names, seconds=30)
_groups = kept(groups.names)
_page = kept(alerts.page, seconds=10)
_count = kept(alerts.count, seconds=30)


@guarded
def events_page() -> None:
    """The list, or one alert when a link names it."""
    asked = st.query_params.get("event")
    if asked:
        draw_alert(asked)
        return
    names, groups = _names(database()), _groups(database())
    driver = st.query_params.get("driver")
    address = Address(
        "events",
        Field("time", SPANS, "7"),
        Field("vehicles", names, ()),
        Field("group", ["", *groups], ""),
        Field("kinds", alerts.kinds(), ()),
        Field("level", LEVELS, 2),
        Field("review", STATES, "any"),
        Field("cause", reviews.CAUSES),
        Field("sort", alerts.SORTS, "newest"),
        Field("driver", [driver] if driver else []),
    )
    address.follow()
    theme.heading("Events", "What happened, why, and was it right")
    wanted, sort, group = _filters(names, groups, address)
    if driver:
        wanted = replace(wanted, driver=driver)
        st.button(
            f"Driver {theme.plain(driver)}",
            icon=":material/close:",
            key="of-driver",
            on_click=go,
            kwargs={"driver": None},
            help="Show every driver again.",
        )
    after, before = st.query_params.get("after"), st.query_params.get("before")
    page = _page(database(group), wanted, sort, after, before)
    if not page.rows:
        _empty(address)
        return
    _above(wanted, group)
    _list(page.rows, key=f"list-{after}-{before}")
    _turn(page)


def _filters(
    names: list[str], groups: list[str], address: Address
) -> tuple[Filter, str, str | None]:
    """Widgets whose values stand in the address, so that a link shows the same list."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        span = st.segmented_control(
            "Time",
            list(SPANS),
            format_func=SPANS.__getitem__,
            required=True,
            key="time",
            on_change=address.changed,
        )
        vehicles = st.multiselect(
            "Vehicle",
            names,
            key="vehicles",
            width=160,
            placeholder="All vehicles",
            on_change=address.changed,
        )
        group = group_filter.draw(groups, address)
        kinds = st.multiselect(
            "Kind",
            alerts.kinds(),
            key="kinds",
            width=160,
            format_func=theme.kind_word,
            placeholder="All of drivers",
            help="Without a choice: everything about drivers. Choose “Not monitored” to see when "
            "and why drivers could not be monitored.",
            on_change=address.changed,
        )
        level = st.selectbox(
            "Level",
            list(LEVELS),
            key="level",
            width=148,
            format_func=LEVELS.__getitem__,
            on_change=address.changed,
        )
        state = st.selectbox(
            "Review",
            list(STATES),
            key="review",
            width=150,
            format_func=STATES.__getitem__,
            on_change=address.changed,
        )
        cause = None
        if state == "false":
            cause = st.selectbox(
                "Because of",
                list(reviews.CAUSES),
                index=None,
                key="cause",
                width=200,
                format_func=reviews.CAUSES.__getitem__,
                placeholder="Any cause",
                on_change=address.changed,
            )
        sort = st.selectbox(
            "Order",
            list(alerts.SORTS),
            key="sort",
            width=136,
            format_func=str.capitalize,
            on_change=address.changed,
        )
    wanted = Filter(
        vehicles=tuple(vehicles),
        kinds=tuple(kinds),
        without=() if kinds else (Kind.DEGRADED.value,),
        min_level=level,
        since=None if span == "all" else now(60) - int(span or "7") * 86_400,
        reviewed={"new": False, "reviewed": True}.get(state),
        verdict=state if state in reviews.VERDICTS else None,
        cause=cause,
    )
    return wanted, sort, group


def _empty(address: Address) -> None:
    if alerts.any_at_all(database()):
        theme.nothing("No alert matches", "Take a filter away or choose a longer time.")
        st.button("Show everything", on_click=_everything, args=(address,))
        return
    theme.nothing(
        "No alerts yet",
        "They appear here as soon as a vehicle raises one. To see what that looks like:",
        "wakeful demo                # an animated driver falls asleep\n"
        "wakeful dashboard --demo    # a simulated fleet",
    )


def _everything(address: Address) -> None:
    st.session_state.update(
        {"time": "all", "vehicles": [], "kinds": [], "level": 0, "review": "any", "cause": None}
    )
    st.session_state["group"] = ""
    address.changed()


def _above(wanted: Filter, group: str | None) -> None:
    count = _count(database(group), wanted)
    many = f"{count:,}" if count <= alerts.COUNT_CAP else f"more than {alerts.COUNT_CAP:,}"
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"**{many}** alert{'s' if count != 1 else ''}", width="stretch")
        if may(Role.REVIEWER):
            export_button(wanted, group)


def _list(rows: list[AlertRow], key: str) -> None:
    frame = pd.DataFrame(
        {
            "level": [theme.LEVEL_WORDS[Level(row.level)] for row in rows],
            "what": [theme.kind_word(row.kind) for row in rows],
            "vehicle": [row.vehicle for row in rows],
            "began": [theme.clock(row.started_at) for row in rows],
            "lasted": [
                theme.lasting(row.duration_s) + ("" if row.phase == "end" else " …") for row in rows
            ],
            "verdict": [_verdict(row) for row in rows],
            "clip": ["▶" if row.clip else "" for row in rows],
        }
    )
    st.dataframe(
        frame.style.map(_paint, subset=["level"]),
        hide_index=True,
        column_config=_COLUMNS,
        on_select=opens("event", key, [row.id for row in rows]),
        selection_mode="single-cell",
        height=min(36 * len(rows) + 40, 690),
        row_height=36,
        key=key,
    )
    st.caption("Click a row to open the alert.")


_COLUMNS: Final = {
    "level": columns.text("Level", width=90),
    "what": columns.text("What", width=140),
    "vehicle": columns.text("Vehicle"),
    "began": columns.text("Began"),
    "lasted": columns.text("Lasted", width=110),
    "verdict": columns.text("Review"),
    "clip": columns.text("Clip", width=50),
}


def _verdict(row: AlertRow) -> str:
    if row.review is None:
        return ""
    words = reviews.VERDICTS.get(row.review.verdict, row.review.verdict)
    cause = reviews.CAUSES.get(row.review.cause or "", "")
    return f"{words}: {cause}" if cause else words


def _paint(word: str) -> str:
    """The more urgent, the fuller the colour."""
    level = next(key for key, name in theme.LEVEL_WORDS.items() if name == word)
    tone, color = theme.ink(), theme.level_colors()[level]
    if level is Level.CRITICAL:
        return f"background-color:{color};color:{tone['back']};font-weight:700"
    fill = {Level.INFO: "22", Level.CAUTION: "3c", Level.WARNING: "66"}.get(level, "00")
    return f"background-color:{color}{fill};color:{tone['text']};font-weight:600"


def _turn(page: Page) -> None:
    """To the pages before and after this one; each has an address of its own."""
    with st.container(horizontal=True, horizontal_alignment="center"):
        st.button(
            "Back",
            icon=":material/chevron_left:",
            disabled=page.before is None,
            on_click=go,
            kwargs={"before": page.before, "after": None},
        )
        st.button(
            "Next",
            icon=":material/chevron_right:",
            icon_position="right",
            disabled=page.after is None,
            on_click=go,
            kwargs={"after": page.after, "before": None},
        )


events_page()
