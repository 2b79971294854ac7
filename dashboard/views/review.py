"""Review: what waits for a verdict, the most urgent first, judged by keys."""

from pathlib import Path
from typing import Final

import pandas as pd
import streamlit as st

from dashboard.address import Address, Field, go
from dashboard.auth.access import current, may
from dashboard.auth.accounts import Role
from dashboard.components import explanation, group_filter, theme
from dashboard.components.alert_page import draw_doubts, draw_hero, draw_measurements
from dashboard.components.clip_player import draw_clip
from dashboard.components.discussion import people, write_comment
from dashboard.components.precision_table import draw_precision
from dashboard.queries import events as alerts
from dashboard.queries import groups, review_queue, reviews
from dashboard.queries.database import Database
from dashboard.queries.events import AlertRow
from dashboard.queries.review_queue import QueueFilter, QueueItem
from dashboard.session import database, guarded, kept, now
from monitor.types import Level

KEYS_SCRIPT: Final = Path(__file__).parent.parent / "static" / "keys.js"
SPANS: Final = {1: "24 hours", 7: "7 days", 30: "30 days", 90: "90 days"}
LEVELS: Final = {2: "Caution and up", 3: "Warning and up", 4: "Critical"}
WHOSE: Final = {"all": "Everybody's", "mine": "Mine"}
TABS: Final = {"queue": "Queue", "precision": "How often alerts are right"}
# Everything that was judged in this window can be undone, the last first.
DONE: Final = "review-done"
SKIPPED: Final = "review-skipped"
KEYS: Final = (
    ("j", "next item"),
    ("k", "previous item"),
    ("r", "real: the alert was right"),
    ("f", "false alarm; then 1 to 8 for its cause"),
    ("s", "skip: show it last"),
    ("u", "undo the last verdict"),
    ("?", "show or hide this help"),
)
_groups = kept(groups.names)


@guarded
def review_page() -> None:
    """The queue, or how often alerts were right."""
    groups, asked = _groups(database()), st.query_params.get("item")
    address = Address(
        "review",
        Field("tab", TABS, "queue"),
        Field("days", SPANS, 7),
        Field("level", LEVELS, 2),
        Field("whose", WHOSE, "all"),
        Field("group", ["", *groups], ""),
    )
    address.follow()
    theme.heading("Review", "Was it right? The most urgent first")
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        tab = st.segmented_control(
            "Show", list(TABS), format_func=TABS.__getitem__, required=True, key="tab",
            on_change=address.changed,
        )  # fmt: skip
        days = st.selectbox(
            "Time", list(SPANS), format_func=SPANS.__getitem__, key="days", width=120,
            on_change=address.changed,
        )  # fmt: skip
        level = st.selectbox(
            "Level", list(LEVELS), format_func=LEVELS.__getitem__, key="level", width=165,
            on_change=address.changed,
        )  # fmt: skip
        whose = st.selectbox(
            "Assigned", list(WHOSE), format_func=WHOSE.__getitem__, key="whose", width=140,
            on_change=address.changed,
        )  # fmt: skip
        group = group_filter.draw(groups, address)
    since = now(60) - days * 86_400
    if tab == "precision":
        draw_precision(database(group), since, now(60))
        return
    user = current()
    mine = user.name if user is not None and whose == "mine" else None
    _queue(QueueFilter(min_level=level, since=since, assignee=mine), group, asked)


def _queue(wanted: QueueFilter, group: str | None, asked: str | None) -> None:
    log = database(group)
    items = _in_order(review_queue.items(log, wanted))
    if not items:
        theme.nothing("Nothing waits for a verdict", "Choose a longer time or a lower level.")
        _undo_button()
        return
    place = next((n for n, item in enumerate(items) if item.key == asked), 0)
    item = items[place]
    st.markdown(f"{_waiting(log, wanted, items)} · item {place + 1}")
    if asked and asked != item.key:
        st.caption("The item of this link waits no longer: this is the first that does.")
    similar = review_queue.alerts_of(log, item, wanted)
    alert = alerts.alert(log, similar[0].id) if similar else None
    if alert is None:
        st.rerun()
    draw_hero(alert, reviews.history(log, alert.id))
    seen, judged = st.columns([2.1, 1], gap="large")
    with seen:
        samples = draw_measurements(alert)
        draw_clip(alert)
    with judged:
        chosen = _similar(item, similar)
        draw_doubts(explanation.doubts(alert, samples))
        _verdict(chosen, items, place)
        _hand_over(chosen)
    st.html(f"<script>{KEYS_SCRIPT.read_text()}</script>", unsafe_allow_javascript=True)


def _waiting(log: Database, wanted: QueueFilter, items: list[QueueItem]) -> str:
    if len(items) >= review_queue.ITEMS:
        alerts = review_queue.waiting(log, wanted)
        return f"**{alerts:,}** alerts wait in **{len(items)}** items or more"
    return f"**{sum(item.alerts for item in items)}** alerts wait in **{len(items)}** items"


def _in_order(items: list[QueueItem]) -> list[QueueItem]:
    """Skipped ones last."""
    skipped: list[str] = st.session_state.setdefault(SKIPPED, [])
    return sorted(items, key=lambda item: skipped.index(item.key) if item.key in skipped else -1)


def _similar(item: QueueItem, rows: list[AlertRow]) -> list[str]:
    """The alerts of this item; all are judged together unless some are taken out."""
    if len(rows) == 1:
        return [rows[0].id]
    theme.section(f"{item.alerts} similar alerts of this drive")
    frame = pd.DataFrame(
        {
            "judge": [True] * len(rows),
            "began": [theme.clock(row.started_at) for row in rows],
            "lasted": [theme.lasting(row.duration_s) for row in rows],
            "level": [theme.LEVEL_WORDS[Level(row.level)] for row in rows],
        }
    )
    edited = st.data_editor(
        frame,
        hide_index=True,
        key=f"similar-{item.key}",
        height=min(36 * len(rows) + 40, 220),
        disabled=["began", "lasted", "level"],
        column_config={
            "judge": st.column_config.CheckboxColumn(
                "Judge", help="Take an alert out to judge it by itself later."
            ),
            "began": "Began",
            "lasted": "Lasted",
            "level": "Level",
        },
    )
    return [row.id for row, judge in zip(rows, edited["judge"], strict=True) if judge]


def _verdict(chosen: list[str], items: list[QueueItem], place: int) -> None:
    theme.section("Was it right?")
    following = items[place + 1].key if place + 1 < len(items) else None
    before = items[place - 1].key if place else None
    judging = may(Role.REVIEWER) and bool(chosen)
    if not may(Role.REVIEWER):
        st.caption("Your role may look, not judge.")
    with st.container(horizontal=True):
        _press("real", "Real (r)", _judge, (chosen, "true", None, following), judging, "primary")
        _press("false", "False alarm (f)", _ask_cause, (), judging)
        _press("skip", "Skip (s)", _skip, (items[place].key, following))
    if st.session_state.get("review-cause") and judging:
        st.caption("Because of (press its number):")
        with st.container(horizontal=True):
            for number, (cause, words) in enumerate(reviews.CAUSES.items(), start=1):
                args = (chosen, "false", cause, following)
                _press(f"cause-{number}", f"{number} {words}", _judge, args)
    with st.container(horizontal=True):
        _press("previous", "Previous (k)", _turn, (before,), before is not None, "tertiary")
        _press("next", "Next (j)", _turn, (following,), following is not None, "tertiary")
        _undo_button()
        _press("help", "Keys (?)", _toggle_help, (), True, "tertiary")
    if st.session_state.get("review-help"):
        st.html(theme.facts(list(KEYS)))


def _press(
    name: str,
    label: str,
    action: object,
    args: tuple[object, ...],
    enabled: bool = True,
    kind: str = "secondary",
) -> None:
    """A button that a key of the same name presses (static/keys.js)."""
    st.button(
        label,
        key=f"press-{name}",
        on_click=action,  # type: ignore[arg-type]
        args=args,
        disabled=not enabled,
        type=kind,  # type: ignore[arg-type]
    )


def _undo_button() -> None:
    if st.session_state.get(DONE):
        _press("undo", "Undo (u)", _undo, (), True, "tertiary")


def _hand_over(chosen: list[str]) -> None:
    """Give them to somebody, with a word."""
    if not may(Role.REVIEWER) or not chosen:
        return
    theme.section("Ask somebody else")
    with st.form("hand-over", border=False, clear_on_submit=True):
        text = st.text_input("Comment", placeholder="Comment", label_visibility="collapsed")
        to = st.selectbox("Assign to", [None, *people()], format_func=lambda name: name or "-")
        if st.form_submit_button("Save") and write_comment(chosen, text, to):
            st.toast(f"Given to {to}" if to else "Comment saved", icon=":material/check:")


def _judge(chosen: list[str], verdict: str, cause: str | None, following: str | None) -> None:
    user = current()
    if user is None or not may(Role.REVIEWER):
        return
    # A key pressed again before the next item was drawn: it was meant for that one.
    if any(chosen == judged for judged, _ in st.session_state.get(DONE, [])):
        return
    try:
        reviews.add(database(), chosen, user.name, verdict, cause)
    except ValueError as error:
        st.toast(str(error).capitalize(), icon=":material/error:")
        return
    st.session_state.setdefault(DONE, []).append((chosen, st.query_params.get("item")))
    words = reviews.CAUSES[cause] if cause else reviews.VERDICTS[verdict]
    st.toast(f"Saved: {words}" + (f", {len(chosen)} alerts" if len(chosen) > 1 else ""))
    _turn(following)


def _undo() -> None:
    user, done = current(), st.session_state.get(DONE, [])
    if user is None or not may(Role.REVIEWER) or not done:
        return
    chosen, item = done.pop()
    reviews.add(database(), chosen, user.name, reviews.WITHDRAWN)
    st.toast("Undone", icon=":material/undo:")
    _turn(item)


def _ask_cause() -> None:
    st.session_state["review-cause"] = not st.session_state.get("review-cause")


def _toggle_help() -> None:
    st.session_state["review-help"] = not st.session_state.get("review-help")


def _skip(key: str, following: str | None) -> None:
    skipped: list[str] = st.session_state.setdefault(SKIPPED, [])
    if key in skipped:
        skipped.remove(key)
    skipped.append(key)
    _turn(following)


def _turn(key: str | None) -> None:
    st.session_state["review-cause"] = False
    go(item=key)


review_page()
