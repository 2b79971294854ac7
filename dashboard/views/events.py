"""Events: what happened, why did it alert, was it right?"""

from dataclasses import asdict
from typing import Final

import pandas as pd
import streamlit as st

from dashboard.auth.access import may
from dashboard.auth.accounts import Role
from dashboard.components import theme
from dashboard.components.alert_page import occasion
from dashboard.queries import events as alerts
from dashboard.queries import export, live, reviews
from dashboard.queries.database import Record
from dashboard.queries.events import Filter
from dashboard.session import guarded, kept, now, opens, store
from monitor.types import Level

SPANS: Final = {"24 hours": 1, "7 days": 7, "30 days": 30, "all": None}
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
_page = kept(alerts.page, seconds=10)
_count = kept(alerts.count, seconds=30)


@guarded
def events_page() -> None:
    """The list, or one alert when a link names it."""
    asked = st.query_params.get("event")
    if asked:
        occasion(asked)
        return
    theme.heading("Events", "What happened, why, and was it right")
    wanted, sort = _filters()
    place = _place(wanted, sort)
    found = _page(store(), wanted, sort, place[-1])
    if not found.rows:
        _empty()
        return
    _above(wanted)
    _list(found.rows, key=f"list-{len(place)}")
    _turn(place, found.after)


def _filters() -> tuple[Filter, str]:
    """Widgets whose values stand in the address, so that a link shows the same list."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        span = st.segmented_control(
            "Time", list(SPANS), default="7 days", required=True, key="time", bind="query-params"
        )
        vehicles = st.multiselect(
            "Vehicle",
            _names(store()),
            key="vehicles",
            bind="query-params",
            width=160,
            placeholder="All vehicles",
        )
        kinds = st.multiselect(
            "Kind",
            alerts.known_kinds(),
            key="kinds",
            bind="query-params",
            width=160,
            format_func=theme.kind_word,
            placeholder="All kinds",
        )
        level = st.selectbox(
            "Level",
            list(LEVELS),
            index=1,
            key="level",
            bind="query-params",
            width=148,
            format_func=LEVELS.__getitem__,
        )
        state = st.selectbox(
            "Review",
            list(STATES),
            key="review",
            bind="query-params",
            width=150,
            format_func=STATES.__getitem__,
        )
        cause = None
        if state == "false":
            cause = st.selectbox(
                "Because of",
                list(reviews.CAUSES),
                index=None,
                key="cause",
                bind="query-params",
                width=200,
                format_func=reviews.CAUSES.__getitem__,
                placeholder="Any cause",
            )
        sort = st.selectbox(
            "Order",
            list(alerts.SORTS),
            key="sort",
            bind="query-params",
            width=136,
            format_func=str.capitalize,
        )
    days = SPANS.get(span or "7 days", 7)
    return Filter(
        vehicles=tuple(vehicles),
        kinds=tuple(kinds),
        min_level=level,
        since=None if days is None else now(60) - days * 86_400,
        reviewed={"new": False, "reviewed": True}.get(state),
        verdict=state if state in reviews.VERDICTS else None,
        cause=cause,
    ), sort


def _place(wanted: Filter, sort: str) -> list[str | None]:
    """Where the pages turned so far began; forgotten when the question changes."""
    asked = (asdict(wanted) | {"since": None, "span": st.session_state.get("time")}, sort)
    if st.session_state.get("asked") != asked:
        st.session_state["asked"], st.session_state["place"] = asked, [None]
    place: list[str | None] = st.session_state["place"]
    return place


def _empty() -> None:
    if alerts.any_at_all(store()):
        theme.nothing("No alert matches", "Take a filter away or choose a longer time.")
        st.button("Show everything", on_click=_everything)
        return
    theme.nothing(
        "No alerts yet",
        "They appear here as soon as a watch raises one. To see what that looks like:",
        "wakeful demo                # an animated driver falls asleep\n"
        "wakeful dashboard --demo    # a simulated fleet",
    )


def _everything() -> None:
    st.session_state.update(
        {"time": "all", "vehicles": [], "kinds": [], "level": 0, "review": "any", "cause": None}
    )


def _above(wanted: Filter) -> None:
    count = _count(store(), wanted)
    many = f"{count:,}" if count <= alerts.COUNT_CAP else f"more than {alerts.COUNT_CAP:,}"
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"**{many}** alert{'s' if count != 1 else ''}", width="stretch")
        if may(Role.REVIEWER):
            export.offer(wanted)


def _list(rows: list[Record], key: str) -> None:
    frame = pd.DataFrame(
        {
            "level": [theme.LEVEL_WORDS[Level(row["level"])] for row in rows],
            "what": [theme.kind_word(row["kind"]) for row in rows],
            "vehicle": [row["vehicle"] for row in rows],
            "began": [theme.clock(row["started_at"]) for row in rows],
            "lasted": [
                theme.lasting(row["duration_s"]) + ("" if row["phase"] == "end" else " …")
                for row in rows
            ],
            "verdict": [_verdict(row) for row in rows],
            "clip": ["▶" if row["clip"] else "" for row in rows],
        }
    )
    st.dataframe(
        frame.style.map(_paint, subset=["level"]),
        hide_index=True,
        column_config=_COLUMNS,
        on_select=opens("event", key, [row["id"] for row in rows]),
        selection_mode="single-cell",
        height=min(36 * len(rows) + 40, 690),
        row_height=36,
        key=key,
    )
    st.caption("Click a row to open the alert.")


_COLUMNS: Final = {
    "level": st.column_config.TextColumn("Level", width=90),
    "what": st.column_config.TextColumn("What", width=140),
    "vehicle": st.column_config.TextColumn("Vehicle"),
    "began": st.column_config.TextColumn("Began"),
    "lasted": st.column_config.TextColumn("Lasted", width=110),
    "verdict": st.column_config.TextColumn("Review"),
    "clip": st.column_config.TextColumn("Clip", width=50),
}


def _verdict(row: Record) -> str:
    if row["verdict"] is None:
        return ""
    words = reviews.VERDICTS.get(row["verdict"], str(row["verdict"]))
    cause = reviews.CAUSES.get(row["cause"] or "", "")
    return f"{words}: {cause}" if cause else words


def _paint(word: str) -> str:
    """The more urgent, the fuller the colour."""
    level = next(key for key, name in theme.LEVEL_WORDS.items() if name == word)
    tone, color = theme.ink(), theme.level_colors()[level]
    if level is Level.CRITICAL:
        return f"background-color:{color};color:{tone['back']};font-weight:700"
    fill = {Level.INFO: "22", Level.CAUTION: "3c", Level.WARNING: "66"}.get(level, "00")
    return f"background-color:{color}{fill};color:{tone['text']};font-weight:600"


def _back() -> None:
    st.session_state["place"].pop()


def _turn(place: list[str | None], after: str | None) -> None:
    with st.container(horizontal=True, horizontal_alignment="center", vertical_alignment="center"):
        st.button("Back", icon=":material/chevron_left:", disabled=len(place) < 2, on_click=_back)
        st.markdown(f"Page {len(place)}", width="content")
        st.button(
            "Next",
            icon=":material/chevron_right:",
            icon_position="right",
            disabled=after is None,
            on_click=place.append,
            args=(after,),
        )


events_page()
