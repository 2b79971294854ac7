"""One alert: the sentence, what was measured around it, its clip, its origin, its review."""

import contextlib
from typing import Final
from urllib.parse import quote

import streamlit as st

from dashboard.address import go
from dashboard.auth.access import current, may
from dashboard.auth.accounts import Role
from dashboard.components import explanation, maps, theme, timeline
from dashboard.components.clip_player import draw_clip
from dashboard.components.discussion import draw_coaching, draw_discussion
from dashboard.queries import events as alerts
from dashboard.queries import places, reviews
from dashboard.queries.events import AlertDetail, DriverSample
from dashboard.queries.reviews import WITHDRAWN, ReviewRow
from dashboard.session import database
from dashboard.settings import settings
from monitor.errors import WakefulError
from monitor.policy import Policy, built_in, load_policy
from monitor.types import Kind, Level

# How much is shown before and after: a closure is read in seconds, PERCLOS in minutes.
AROUND_S: Final = {"drowsy": 150.0, "degraded": 90.0, "absent": 60.0}


def draw_alert(event: str) -> None:
    """Draw it, or say that this link leads nowhere."""
    st.button(
        "All alerts",
        icon=":material/arrow_back:",
        type="tertiary",
        on_click=go,
        kwargs={"event": None},
    )
    alert = alerts.alert(database(), event)
    if alert is None:
        theme.nothing(
            "There is no such alert here",
            "The link may be of another fleet, or the alert has been erased or is older than "
            "the store keeps alerts.",
        )
        return
    history = reviews.history(database(), alert.id)
    draw_hero(alert, history)
    seen, judged = st.columns([2.1, 1], gap="large")
    with seen:
        samples = draw_measurements(alert)
        draw_clip(alert)
        _where(alert)
        _neighbours(alert)
        _of_the_same(alert)
    with judged:
        _review(alert, history, explanation.doubts(alert, samples))
        draw_discussion(alert.id)
        draw_coaching(alert.id)
        draw_origin(alert)
        _share(alert)


def draw_hero(alert: AlertDetail, history: list[ReviewRow]) -> None:
    """The two questions first: why was it raised, and was it right?"""
    level = Level(alert.level)
    words = theme.LEVEL_WORDS[level]
    lasted = "still going on" if alert.phase != "end" else theme.lasting(alert.duration_s)
    policy = _policy(alert.policy)
    limit = explanation.limit(alert, policy) if policy is not None else None
    why = explanation.why(alert) + (f" In its policy {limit}." if limit else "")
    judged = bool(history) and history[0].verdict != WITHDRAWN
    verdict = verdict_words(history[0]) if judged else "Nobody has judged it yet."
    about = " · ".join(
        [alert.vehicle, *([f"driver {alert.driver}"] if alert.driver else []),
         theme.clock(alert.started_at), lasted]
    )  # fmt: skip
    st.html(
        f'<div class="wk-hero wk-c-{words}"><div><h2>{theme.escape(theme.kind_word(alert.kind))}'
        f" {theme.pill(words, level)}</h2>"
        f"<p>{theme.escape(about)}</p>"
        f'<p class="wk-story"><b>Why:</b> {theme.escape(why)}</p>'
        f'<p class="wk-story"><b>Was it right?</b> {theme.escape(verdict)}</p></div></div>'
    )


def draw_measurements(alert: AlertDetail) -> list[DriverSample]:
    """What was measured around it; returns the samples that were drawn."""
    theme.section("What was measured around it")
    window = _window(alert)
    samples = alerts.samples_between(database(), alert.vehicle, *window, camera=alert.camera)
    if samples:
        near = alerts.of_vehicle(database(), alert.vehicle, *window)
        st.altair_chart(timeline.timeline(samples, near, window, alert), key="around")
    else:
        st.caption(
            "The samples of this time are not kept any more (`store.samples_keep_days`); the "
            "evidence that was written with the alert is."
        )
    st.html(theme.facts(explanation.evidence_pairs(alert)))
    return samples


def draw_origin(alert: AlertDetail) -> None:
    """By which policy, calibration, camera and models it was raised."""
    theme.section("Where it comes from")
    received = alert.received_at
    pairs = [
        ("Policy", alert.policy or "-"),
        ("Calibration", alert.calibration or "that of an average driver"),
        ("Drive", alert.drive),
        ("Camera", alert.camera),
        ("Acknowledged", "yes" if alert.acknowledged else "no"),
    ]
    if received is not None:
        late_s = max(received - alert.updated_at, 0.0)
        pairs.append(("In the database after", theme.lasting(late_s)))
    st.html(theme.facts(pairs) + theme.facts([("Models", ", ".join(alert.models or []) or "-")]))


def verdict_words(row: ReviewRow) -> str:
    """A review in one sentence."""
    if row.verdict == WITHDRAWN:
        return f"The verdict was undone by {row.reviewer}."
    verdict = reviews.VERDICTS.get(row.verdict, row.verdict)
    cause = reviews.CAUSES.get(row.cause or "", row.cause or "")
    words = f"{verdict.capitalize()}: {cause}" if cause else verdict.capitalize()
    return f"{words}, says {row.reviewer}."


@st.cache_data(show_spinner=False)
def _known_policies(configured: str) -> dict[str, Policy]:
    """The policies this machine knows, by their hash."""
    policies = {}
    for name in {*built_in(), configured}:
        with contextlib.suppress(WakefulError):
            policy = load_policy(name)
            policies[policy.hash] = policy
    return policies


def _policy(hashed: str | None) -> Policy | None:
    return _known_policies(str(settings().config.policy)).get((hashed or "").rpartition("-")[2])


def _window(alert: AlertDetail) -> tuple[float, float]:
    """The stretch of time shown, epoch seconds."""
    around_s = AROUND_S.get(alert.kind, 20.0)
    # Of an alert of hours its beginning is what explains it.
    until = min(alert.until, alert.started_at + 1_800.0)
    return alert.started_at - around_s, until + around_s


def _where(alert: AlertDetail) -> None:
    """The way of the drive around it, where positions are known."""
    if alert.latitude is None or alert.longitude is None:
        return
    theme.section("Where")
    since, until = alert.started_at - 3_600, alert.until + 3_600
    track = places.track(database(), alert.vehicle, alert.drive, since, until)
    st.altair_chart(maps.drive_map(track, alert.latitude, alert.longitude), key="where")
    here = theme.position(alert.latitude, alert.longitude)
    st.caption(f"{here}, and the hour before and after. {maps.credit()}")


def _neighbours(alert: AlertDetail) -> None:
    near = alerts.of_vehicle(
        database(), alert.vehicle, alert.started_at - 900, alert.started_at + 900
    )
    others = [row for row in near if row.id != alert.id and row.kind != Kind.DEGRADED.value]
    if not others:
        return
    theme.section("Within a quarter of an hour")
    for row in others[:8]:
        st.button(
            f"{theme.kind_word(row.kind)} · {theme.clock(row.started_at)} · "
            f"{theme.lasting(row.duration_s)}",
            icon=theme.LEVEL_ICONS[Level(row.level)],
            type="tertiary",
            key=f"near-{row.id}",
            on_click=go,
            kwargs={"event": row.id},
        )


def _of_the_same(alert: AlertDetail) -> None:
    """To everything else of this vehicle and of this driver."""
    with st.container(horizontal=True):
        st.page_link(
            "views/events.py",
            label=f"All of {theme.plain(alert.vehicle)}",
            icon=":material/local_shipping:",
            query_params={"vehicles": alert.vehicle},
        )
        if alert.driver:
            st.page_link(
                "views/events.py",
                label=f"All of {theme.plain(alert.driver)}",
                icon=":material/person:",
                query_params={"driver": alert.driver, "time": "30"},
            )


def _review(alert: AlertDetail, history: list[ReviewRow], doubts: list[str]) -> None:
    theme.section("Was it right?")
    draw_doubts(doubts)
    for row in history[:5]:
        st.html(_review_html(row))
    if not may(Role.REVIEWER):
        st.caption("Your role may look, not judge.")
        return
    key = alert.id
    verdict = st.segmented_control(
        "Verdict",
        list(reviews.VERDICTS),
        format_func=lambda word: reviews.VERDICTS[word].capitalize(),
        key=f"verdict-{key}",
        label_visibility="collapsed",
    )
    cause = None
    if verdict == "false":
        cause = st.pills(
            "Because of",
            list(reviews.CAUSES),
            format_func=reviews.CAUSES.__getitem__,
            key=f"cause-{key}",
        )
    note = st.text_input(
        "Note",
        key=f"note-{key}",
        max_chars=reviews.NOTE_LENGTH,
        placeholder="Note (optional)",
        label_visibility="collapsed",
    )
    ready = verdict is not None and (verdict != "false" or cause is not None)
    if st.button("Save review", type="primary", disabled=not ready, icon=":material/check:"):
        _save(key, str(verdict), cause, note)


def draw_doubts(doubts: list[str]) -> None:
    """What speaks against an alert, or that nothing does."""
    if doubts:
        st.markdown("What speaks against it: " + theme.plain("; ".join(doubts)) + ".")
    else:
        st.markdown("Nothing that was measured speaks against it.")


def _save(event: str, verdict: str, cause: str | None, note: str) -> None:
    user = current()
    if user is None or not may(Role.REVIEWER):
        st.rerun()
    try:
        reviews.add(database(), [event], user.name, verdict, cause, note)
    except ValueError as error:
        st.error(str(error))
        return
    for name in ("verdict", "cause", "note"):
        st.session_state.pop(f"{name}-{event}", None)
    st.toast("Review saved", icon=":material/check:")
    st.rerun()


def _review_html(row: ReviewRow) -> str:
    note = f"<p>{theme.escape(row.note)}</p>" if row.note else ""
    return (
        f'<div class="wk-review"><b>{theme.escape(verdict_words(row))}</b>{note}'
        f"<p>{theme.clock(row.at, seconds=False)}</p></div>"
    )


def _share(alert: AlertDetail) -> None:
    theme.section("Share")
    base = (st.context.url or "").split("?")[0]
    st.code(f"{base}?event={quote(alert.id)}", language=None, wrap_lines=True)
