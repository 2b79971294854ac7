"""The talk about an alert and its coaching: who looks at it, what was said, what was done."""

import streamlit as st

from dashboard.auth import accounts
from dashboard.auth.access import current, may
from dashboard.auth.accounts import Role
from dashboard.components import theme
from dashboard.queries import coaching, comments
from dashboard.queries.coaching import CoachingStep
from dashboard.queries.comments import Comment
from dashboard.session import database
from dashboard.settings import settings


def people() -> list[str]:
    """To whom alerts can be given: everybody in the accounts who may judge, and the reader."""
    user, file = current(), settings().access_file
    names = {user.name} if user is not None else set()
    if file is not None:
        listed = accounts.read(file).users
        names |= {name for name, account in listed.items() if account.role != "viewer"}
    return sorted(names)


def draw_discussion(event: str) -> None:
    """Comments and assignment of one alert, with the form that adds to them."""
    theme.section("Comments")
    talk = comments.of_alert(database(), event)
    whose = comments.assignee(talk)
    if whose:
        st.markdown(f"Assigned to **{theme.plain(whose)}**")
    for entry in talk:
        st.html(_entry(entry))
    if may(Role.REVIEWER):
        _comment_form(event, whose)


def draw_coaching(event: str) -> None:
    """Where the coaching about one alert stands, and the next steps."""
    theme.section("Coaching")
    steps = coaching.history(database(), event)
    for step in steps:
        st.html(_step(step))
    if not may(Role.REVIEWER):
        return
    note = st.text_input(
        "What was agreed",
        key=f"coach-note-{event}",
        placeholder="Note (optional)",
        label_visibility="collapsed",
    )
    titles = {"open": "Start coaching", "talked": "Talked about it", "closed": "Close"}
    if steps and steps[-1].status == "closed":
        titles["open"] = "Open again"
    with st.container(horizontal=True):
        for status in coaching.STEPS[steps[-1].status if steps else None]:
            st.button(
                titles[status],
                key=f"coach-{status}",
                on_click=_take_step,
                args=(event, status, note),
            )


def write_comment(events: list[str], text: str, assignee: str | None) -> bool:
    """Add to the talk about some alerts; whether it was written."""
    user = current()
    if user is None or not may(Role.REVIEWER):
        return False
    try:
        comments.add(database(), events, user.name, text, assignee)
    except ValueError as error:
        st.toast(str(error).capitalize(), icon=":material/error:")
        return False
    return True


def _comment_form(event: str, whose: str | None) -> None:
    with st.form(f"comment-{event}", border=False, clear_on_submit=True):
        text = st.text_input(
            "Comment", placeholder="Say something about it", label_visibility="collapsed"
        )
        names = [comments.NOBODY, *people()]
        now = whose or comments.NOBODY
        given = st.selectbox(
            "Assign to",
            names,
            index=names.index(now) if now in names else 0,
            format_func=lambda name: name or "nobody",
            width=240,
        )
        if st.form_submit_button("Save comment"):
            assignee = given if given != now else None
            if write_comment([event], text, assignee):
                st.rerun()


def _take_step(event: str, status: str, note: str) -> None:
    user = current()
    if user is None or not may(Role.REVIEWER):
        return
    try:
        coaching.step(database(), event, user.name, status, note)
    except ValueError as error:
        st.toast(str(error).capitalize(), icon=":material/error:")
        return
    st.session_state.pop(f"coach-note-{event}", None)
    st.toast(f"Coaching is {coaching.WORDS[status]}", icon=":material/check:")


def _entry(entry: Comment) -> str:
    given = {None: "", comments.NOBODY: "took it back from everybody"}.get(
        entry.assignee, f"gave it to {entry.assignee}"
    )
    return _quote(entry.author, given, entry.text, entry.at)


def _step(step: CoachingStep) -> str:
    return _quote(step.actor, coaching.WORDS.get(step.status, step.status), step.note, step.at)


def _quote(who: str, what: str, text: str | None, at: float) -> str:
    paragraph = f"<p>{theme.escape(text)}</p>" if text else ""
    title = theme.escape(f"{who} {what}".strip())
    return (
        f'<div class="wk-review"><b>{title}</b>{paragraph}'
        f"<p>{theme.clock(at, seconds=False)}</p></div>"
    )
