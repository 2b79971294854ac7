"""One alert: the sentence, what was measured around it, its clip, its provenance, its review."""

import contextlib
from pathlib import Path
from typing import Final
from urllib.parse import quote

import streamlit as st

from dashboard.auth.access import current, may
from dashboard.auth.accounts import Role
from dashboard.components import explanation, theme, timeline
from dashboard.queries import events as alerts
from dashboard.queries import reviews
from dashboard.queries.database import Record
from dashboard.session import store
from dashboard.settings import settings
from monitor.errors import WakefulError
from monitor.policy import Policy, built_in, load_policy
from monitor.types import Kind, Level

# How much is shown before and after: a closure is read in seconds, PERCLOS in minutes.
AROUND_S: Final = {"drowsy": 150.0, "degraded": 90.0, "absent": 60.0}
CLIP_BYTES: Final = 50_000_000


def occasion(event: str) -> None:
    """Draw it, or say that this link leads nowhere."""
    st.button("All alerts", icon=":material/arrow_back:", type="tertiary", on_click=_leave)
    found = alerts.one(store(), event)
    if found is None:
        theme.nothing(
            "There is no such alert here",
            "The link may be of another fleet, or the alert has been erased or is older than "
            "the store keeps alerts.",
        )
        return
    known = reviews.history(store(), found["id"])
    window = _window(found)
    samples = alerts.between(store(), found["vehicle"], *window, camera=found["camera"])
    _hero(found, known)
    seen, judged = st.columns([2.1, 1], gap="large")
    with seen:
        _timeline(found, samples, window)
        _clip(found)
        _neighbours(found)
    with judged:
        _review(found, known, explanation.doubts(found, samples))
        _provenance(found)
        _share(found)


def _leave() -> None:
    st.query_params.pop("event", None)


def _hero(found: Record, known: list[Record]) -> None:
    """The two questions first: why was it raised, and was it right?"""
    level = Level(found["level"])
    words = theme.LEVEL_WORDS[level]
    lasted = "still going on" if found["phase"] != "end" else theme.lasting(found["duration_s"])
    policy = _policy(found["policy"])
    limit = explanation.limit(found, policy) if policy is not None else None
    why = explanation.why(found) + (f" In its policy {limit}." if limit else "")
    verdict = _verdict(known[0]) if known else "Nobody has judged it yet."
    st.html(
        f'<div class="wk-hero wk-c-{words}"><div><h2>{theme.escape(theme.kind_word(found["kind"]))}'
        f" {theme.pill(words, level)}</h2>"
        f"<p>{theme.escape(found['vehicle'])} · {theme.clock(found['started_at'])} · "
        f"{theme.escape(lasted)}</p>"
        f'<p class="wk-story"><b>Why:</b> {theme.escape(why)}</p>'
        f'<p class="wk-story"><b>Was it right?</b> {theme.escape(verdict)}</p></div></div>'
    )


@st.cache_data(show_spinner=False)
def _known_policies(configured: str) -> dict[str, Policy]:
    """The policies this machine knows, by their hash."""
    known = {}
    for name in {*built_in(), configured}:
        with contextlib.suppress(WakefulError):
            policy = load_policy(name)
            known[policy.hash] = policy
    return known


def _policy(hashed: str | None) -> Policy | None:
    return _known_policies(str(settings().config.policy)).get((hashed or "").rpartition("-")[2])


def _window(found: Record) -> tuple[float, float]:
    """The stretch of time shown, epoch seconds."""
    around_s = AROUND_S.get(found["kind"], 20.0)
    until = found["ended_at"] or found["updated_at"]
    # Of an alert of hours its beginning is what explains it.
    until = min(until, found["started_at"] + 1_800.0)
    return found["started_at"] - around_s, until + around_s


def _timeline(found: Record, samples: list[Record], window: tuple[float, float]) -> None:
    st.markdown("##### What was measured around it")
    if not samples:
        st.caption(
            "The samples of this time are not kept any more (`store.samples_keep_days`); the "
            "evidence that was written with the alert is."
        )
    else:
        told = alerts.of_vehicle(store(), found["vehicle"], *window)
        st.altair_chart(timeline.timeline(samples, told, window, found), key="around")
    st.html(theme.facts(explanation.evidence(found)))


def _clip(found: Record) -> None:
    if not found["clip"]:
        return
    st.markdown("##### Clip")
    file = clip_file(settings().clips, found["clip"])
    if file is None:
        st.caption("Its clip is in the vehicle, or its time to be kept has passed.")
        return
    st.video(str(file), muted=True, width=560)


def clip_file(folder: Path, name: str) -> Path | None:
    """The clip's file; None if it is not there, too large, or not inside the folder."""
    root = folder.resolve()
    file = (root / name).resolve()
    # Names come from vehicles: `../` or a link must not lead out of the folder.
    if not file.is_relative_to(root) or file.suffix.lower() != ".mp4" or not file.is_file():
        return None
    return file if file.stat().st_size <= CLIP_BYTES else None


def _neighbours(found: Record) -> None:
    near = alerts.of_vehicle(
        store(), found["vehicle"], found["started_at"] - 900, found["started_at"] + 900
    )
    others = [
        row for row in near if row["id"] != found["id"] and row["kind"] != Kind.DEGRADED.value
    ]
    if not others:
        return
    st.markdown("##### Within a quarter of an hour")
    for row in others[:8]:
        st.button(
            f"{theme.kind_word(row['kind'])} · {theme.clock(row['started_at'])} · "
            f"{theme.lasting(row['duration_s'])}",
            icon=theme.LEVEL_ICONS[Level(row["level"])],
            type="tertiary",
            key=f"near-{row['id']}",
            on_click=_go,
            args=(row["id"],),
        )


def _go(event: str) -> None:
    st.query_params["event"] = event


def _review(found: Record, known: list[Record], doubts: list[str]) -> None:
    st.markdown("##### Was it right?")
    if doubts:
        st.markdown("What speaks against it: " + theme.plain("; ".join(doubts)) + ".")
    else:
        st.markdown("Nothing that was measured speaks against it.")
    for row in known[:5]:
        st.html(_said(row))
    if not may(Role.REVIEWER):
        st.caption("Your role may look, not judge.")
        return
    key = found["id"]
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


def _save(event: str, verdict: str, cause: str | None, note: str) -> None:
    user = current()
    if user is None or not may(Role.REVIEWER):
        st.rerun()
    try:
        reviews.add(store(), event, user.name, verdict, cause, note)
    except ValueError as error:
        st.error(str(error))
        return
    for name in ("verdict", "cause", "note"):
        st.session_state.pop(f"{name}-{event}", None)
    st.toast("Review saved", icon=":material/check:")
    st.rerun()


def _verdict(row: Record) -> str:
    words = reviews.VERDICTS.get(row["verdict"], str(row["verdict"]))
    cause = reviews.CAUSES.get(row["cause"] or "", str(row["cause"] or ""))
    said = f"{words.capitalize()}: {cause}" if cause else words.capitalize()
    return f"{said}, says {row['reviewer']}."


def _said(row: Record) -> str:
    note = f"<p>{theme.escape(row['note'])}</p>" if row["note"] else ""
    return (
        f'<div class="wk-said"><b>{theme.escape(_verdict(row))}</b>{note}'
        f"<p>{theme.clock(row['at'], seconds=False)}</p></div>"
    )


def _provenance(found: Record) -> None:
    st.markdown("##### What made it")
    received = found["received_at"]
    late = None if received is None else received - found["updated_at"]
    pairs = [
        ("Policy", found["policy"] or "-"),
        ("Calibration", found["calibration"] or "the population's"),
        ("Drive", found["drive"]),
        ("Camera", found["camera"]),
        ("Acknowledged", "yes" if found["acknowledged"] else "no"),
    ]
    if late is not None:
        pairs.append(("In the database after", theme.lasting(max(late, 0.0))))
    st.html(theme.facts(pairs) + theme.facts([("Models", ", ".join(found["models"] or []) or "-")]))


def _share(found: Record) -> None:
    st.markdown("##### Share")
    base = (st.context.url or "").split("?")[0]
    st.code(f"{base}?event={quote(found['id'])}", language=None, wrap_lines=True)
