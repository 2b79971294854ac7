"""The clip of an alert: it starts at the alert, which is marked on it; asking a vehicle for it."""

from pathlib import Path
from typing import Final

import streamlit as st

from dashboard.auth.access import current, may
from dashboard.auth.accounts import Role
from dashboard.components import theme
from dashboard.queries import clip_requests
from dashboard.queries.clip_requests import PENDING, ClipRequest
from dashboard.queries.events import AlertDetail
from dashboard.session import database
from dashboard.settings import settings
from monitor.sinks.mp4 import alert_start_s

CLIP_BYTES: Final = 50_000_000
# What is seen before the alert is what led to it.
LEAD_S: Final = 1.0
_WORDS: Final = {
    "requested": "The vehicle will be asked as soon as it is connected.",
    "sending": "The vehicle is sending its clip.",
    "refused": "The vehicle refused: {reason}.",
    "failed": "The clip could not be sent: {reason}.",
    "expired": "The vehicle was not reached in time.",
    "stored": "Its time to be kept has passed.",
}


def draw_clip(alert: AlertDetail) -> None:
    """Play it where it is; otherwise say where it is and offer to ask for it."""
    request = clip_requests.latest(database(), alert.id)
    names = [request.file if request else None, alert.clip]
    files = (clip_file(settings().clips, name) for name in names if name)
    file = next((file for file in files if file is not None), None)
    theme.section("Clip")
    if file is not None:
        _player(file, alert)
        return
    if request is not None:
        _progress(request)
    elif alert.clip:
        st.caption("Its clip is in the vehicle, or its time to be kept has passed.")
    else:
        st.caption("No clip is known of this alert.")
    if may(Role.REVIEWER) and (request is None or request.status not in PENDING):
        st.button(
            "Ask the vehicle for its clip",
            icon=":material/videocam:",
            key="ask-clip",
            on_click=_ask,
            args=(alert.id,),
            help="It is sent only if the vehicle was set to allow it. The audit notes who asked.",
        )


def clip_file(folder: Path, name: str) -> Path | None:
    """The clip's file; None if it is not there, too large, or not inside the folder."""
    root = folder.resolve()
    file = (root / name).resolve()
    # Names come from vehicles: `../` or a link must not lead out of the folder.
    if not file.is_relative_to(root) or file.suffix.lower() != ".mp4" or not file.is_file():
        return None
    return file if file.stat().st_size <= CLIP_BYTES else None


def alert_marks(start_s: float, duration_s: float, word: str) -> str:
    """WebVTT: the alert's name stands on the film while the alert lasts."""
    until_s = start_s + max(duration_s, 1.0)
    return f"WEBVTT\n\n{_vtt(start_s)} --> {_vtt(until_s)} line:10%\n{word}\n"


def _player(file: Path, alert: AlertDetail) -> None:
    start_s = alert_start_s(file)
    if start_s is None:
        start_s = settings().config.clips.before_s
    word = f"{theme.kind_word(alert.kind)} {theme.clock(alert.started_at)}"
    st.video(
        str(file),
        start_time=max(start_s - LEAD_S, 0.0),
        subtitles={"Alert": alert_marks(start_s, alert.duration_s, word)},
        muted=True,
        width=560,
    )
    st.caption(
        f"It begins {LEAD_S:g} s before the alert. The alert is marked on the film from "
        f"{start_s:.1f} s on; move back to see what led to it."
    )


def _progress(request: ClipRequest) -> None:
    words = _WORDS.get(request.status, request.status).format(
        reason=request.reason or "no reason was given"
    )
    asked = f"{request.requested_by} asked {theme.clock(request.requested_at, seconds=False)}. "
    st.caption(asked + words)
    if request.total_bytes:
        share = min(request.received_bytes / request.total_bytes, 1.0)
        received, total = theme.size(request.received_bytes), theme.size(request.total_bytes)
        st.progress(share, text=f"{received} of {total}")


def _ask(event: str) -> None:
    user = current()
    if user is None or not may(Role.REVIEWER):
        return
    try:
        clip_requests.ask(database(), event, user.name)
    except ValueError as error:
        st.toast(str(error).capitalize(), icon=":material/error:")
    else:
        st.toast("The vehicle will be asked for its clip", icon=":material/videocam:")


def _vtt(at_s: float) -> str:
    minutes, seconds = divmod(at_s, 60)
    return f"{int(minutes):02d}:{seconds:06.3f}"
