"""Live: which vehicle needs attention now, and how is its driver?"""

from typing import Any, Final

import pandas as pd
import streamlit as st

from dashboard import commands
from dashboard.auth.access import may
from dashboard.auth.accounts import Role
from dashboard.components import theme, timeline
from dashboard.queries import events as alerts
from dashboard.queries import live
from dashboard.queries.database import Record
from dashboard.queries.live import Now, Standing
from dashboard.session import guarded, kept, now, store
from monitor import __version__
from monitor.types import Level

REFRESH_S: Final = 2
CARDS: Final = 9
MINUTES: Final = {"5 min": 5, "15 min": 15, "1 hour": 60}
_YAW = "Vehicle.Occupant.Row1.DriverSide.HeadPosition.Yaw"
_PITCH = "Vehicle.Occupant.Row1.DriverSide.HeadPosition.Pitch"
_ROLL = "Vehicle.Occupant.Row1.DriverSide.HeadPosition.Roll"
# One answer serves every viewer of the same moment.
_all_now = kept(live.now_of_all, seconds=REFRESH_S)
_names = kept(live.names, seconds=30)


@guarded
def live_page() -> None:
    """The fleet's board, or one vehicle."""
    known = _names(store())
    if not known:
        theme.heading("Live", "What is true now")
        theme.nothing(
            "Nobody is being watched yet",
            "Start the watch in a vehicle, or look at a simulated fleet:",
            "wakeful run            # one camera\nwakeful dashboard --demo   # a simulated fleet",
        )
        return
    options = known if len(known) == 1 else ["", *known]
    asked = st.query_params.get("vehicle")
    left, right = st.columns([3, 1], vertical_alignment="bottom")
    with right:
        chosen = st.selectbox(
            "Vehicle",
            options,
            format_func=lambda name: name or "All vehicles",
            key="vehicle",
            bind="query-params" if len(known) > 1 else None,
            label_visibility="collapsed",
        )
    with left:
        theme.heading(
            chosen or "Live", "The driver now" if chosen else "Which vehicle needs attention now"
        )
    if asked and asked not in known:
        st.info(f"There is no vehicle {asked!r} here; these are the ones there are.")
    if chosen:
        _vehicle(chosen)
    else:
        _board()


@st.fragment(run_every=REFRESH_S)
@guarded
def _board() -> None:
    at = now(REFRESH_S)
    fleet = _all_now(store(), at)
    _tiles(fleet)
    # Places of their own: what changes its length must not push what comes after it about.
    cards, table = st.container(), st.container()
    with cards:
        _pressing(fleet, at)
    with table:
        st.markdown("##### All vehicles")
        st.dataframe(
            _table(fleet, at),
            hide_index=True,
            column_config=_COLUMNS,
            height=420,
            key="fleet-now",
            placeholder="",
        )


def _pressing(fleet: list[Now], at: float) -> None:
    pressing = [one for one in fleet if one.standing in _PRESSING]
    if not pressing:
        st.html(
            '<div class="wk-hero wk-c-attentive"><div><h2>Nobody needs attention</h2>'
            "<p>No open alert, and every running watch sees its driver.</p></div></div>"
        )
        return
    st.markdown("##### Needs attention now, the most pressing first")
    _cards(pressing[:CARDS], at)
    if len(pressing) > CARDS:
        st.caption(f"and {len(pressing) - CARDS} more in the table")


_PRESSING: Final = {Standing.ALERT, Standing.UNWATCHED, Standing.SILENT}


def _tiles(fleet: list[Now]) -> None:
    counts = dict.fromkeys(Standing, 0)
    for one in fleet:
        counts[one.standing] += 1
    critical = sum(one.level >= Level.WARNING for one in fleet)
    alert, blind = counts[Standing.ALERT], counts[Standing.UNWATCHED]
    silent = counts[Standing.SILENT]
    theme.tiles(
        theme.tile(
            "Alert now",
            str(alert),
            f"{critical} warning or critical",
            Level.CRITICAL if critical else Level.CAUTION if alert else None,
        ),
        theme.tile("Not monitored", str(blind), "running, but the watch is impaired", _if(blind)),
        theme.tile("Not seen", str(silent), "expected, but silent", _if(silent)),
        theme.tile("Watched, attentive", str(counts[Standing.WATCHED]), "", Level.NONE),
        theme.tile("Stopped", str(counts[Standing.PARKED]), "ended their drive"),
    )


def _if(count: int) -> Level | None:
    return Level.INFO if count else None


def _cards(pressing: list[Now], at: float) -> None:
    since = live.open_since(store(), pressing, at)
    for start in range(0, len(pressing), 3):
        for place, one in zip(st.columns(3), pressing[start : start + 3], strict=False):
            tone = theme.LEVEL_WORDS[one.level] if one.standing is Standing.ALERT else "unknown"
            with place, st.container(key=f"card-{tone}-{one.vehicle}", gap=None):
                st.html(_card(one, at, since.get(one.vehicle)))
                st.button(
                    "Open",
                    key=f"open-{one.vehicle}",
                    icon=":material/arrow_forward:",
                    icon_position="right",
                    type="tertiary",
                    on_click=_open,
                    args=(one.vehicle,),
                )


def _open(vehicle: str) -> None:
    st.session_state["vehicle"] = vehicle


def _card(one: Now, at: float, since: float | None) -> str:
    lasting = f"for {theme.lasting(at - since)} · " if since is not None else ""
    return (
        f'<div class="wk-card"><div class="wk-card-top"><b>{theme.escape(one.vehicle)}</b>'
        f"{_word(one)}</div><p>{theme.escape(lasting + _line(one, at))}</p></div>"
    )


def _word(one: Now) -> str:
    if one.standing is Standing.ALERT:
        return theme.pill(
            f"{theme.kind_word(one.kind)} · {theme.LEVEL_WORDS[one.level]}", one.level
        )
    if one.standing is Standing.WATCHED:
        return theme.pill("attentive" if one.level is Level.NONE else "info", one.level)
    return theme.pill(one.word, None)


def _line(one: Now, at: float) -> str:
    """The one line that says why."""
    if one.standing is Standing.SILENT:
        return f"Not seen since {theme.clock(one.seen_at)} ({theme.ago(at - one.seen_at)})"
    if one.standing is Standing.PARKED:
        return f"Stopped {theme.ago(at - one.seen_at)}"
    state = one.state or {}
    if one.standing is Standing.UNWATCHED:
        return ", ".join(theme.cause_word(cause) for cause in one.causes).capitalize()
    parts = [f"eyes {state.get('eyes', 'unknown')}"]
    if closure := state.get("closure_s"):
        parts.append(f"closed for {closure:.1f} s")
    yaw = _signal(state, _YAW)
    if one.kind == "distraction" and yaw is not None:
        parts.append(f"head turned {abs(yaw):.0f}° {'left' if yaw > 0 else 'right'}")
    elif state.get("perclos") is not None:
        parts.append(f"PERCLOS {theme.share(state['perclos'])}")
    if speed := _signal(state, "Vehicle.Speed"):
        parts.append(f"{speed:.0f} km/h")
    return " · ".join(parts)


def _signal(state: Record, name: str) -> Any:
    return (state.get("signals") or {}).get(name)


def _degrees(state: Record, name: str) -> int | None:
    value = _signal(state, name)
    return None if value is None else round(value)


def _table(fleet: list[Now], at: float) -> pd.DataFrame:
    rows = []
    for one in fleet:
        fresh = one.standing in {Standing.ALERT, Standing.UNWATCHED, Standing.WATCHED}
        state = (one.state or {}) if fresh else {}
        calibration = state.get("calibration") or {}
        rows.append(
            {
                "vehicle": one.vehicle,
                "now": _plain(one),
                "eyes": state.get("eyes"),
                "perclos": _percent(state.get("perclos")),
                "closure": (state.get("closure_s") if state.get("eyes") != "unknown" else None)
                or None,
                "yaw": _degrees(state, _YAW),
                "pitch": _degrees(state, _PITCH),
                "emotion": state.get("emotion"),
                "fps": state.get("fps"),
                "calibration": calibration.get("percent"),
                "why": _line(one, at) if one.standing is not Standing.WATCHED else "",
                "seen": theme.ago(at - one.seen_at),
            }
        )
    return pd.DataFrame(rows)


def _percent(value: float | None) -> float | None:
    return None if value is None else 100 * value


def _plain(one: Now) -> str:
    if one.standing is Standing.ALERT:
        return f"{theme.LEVEL_WORDS[one.level].upper()} {theme.kind_word(one.kind).lower()}"
    return "attentive" if one.standing is Standing.WATCHED else one.word


_COLUMNS: Final = {
    "vehicle": st.column_config.TextColumn("Vehicle", pinned=True),
    "now": st.column_config.TextColumn("Now"),
    "eyes": st.column_config.TextColumn("Eyes", width="small"),
    "perclos": st.column_config.ProgressColumn(
        "PERCLOS", min_value=0, max_value=40, format="%.0f %%", width="small"
    ),
    "closure": st.column_config.NumberColumn("Closed", format="%.1f s", width="small"),
    "yaw": st.column_config.NumberColumn("Yaw", format="%.0f°", width="small"),
    "pitch": st.column_config.NumberColumn("Pitch", format="%.0f°", width="small"),
    "emotion": st.column_config.TextColumn("Expression", width="small"),
    "fps": st.column_config.NumberColumn("fps", format="%.0f", width="small"),
    "calibration": st.column_config.NumberColumn("Calibrated", format="%.0f %%", width="small"),
    "why": st.column_config.TextColumn("Why", width="medium"),
    "seen": st.column_config.TextColumn("Last heard", width="small"),
}


def _vehicle(vehicle: str) -> None:
    span = st.segmented_control(
        "Shown", list(MINUTES), default="15 min", required=True, label_visibility="collapsed"
    )
    _driver(vehicle, MINUTES[span or "15 min"])


@st.fragment(run_every=REFRESH_S)
@guarded
def _driver(vehicle: str, minutes: int) -> None:
    at = now()
    one = live.now_of(store(), vehicle, at)
    if one is None:
        theme.nothing("No such vehicle", "It may have been erased; choose another one.")
        return
    _hero(one, at)
    _acknowledge(one)
    if one.state:
        st.html(_state_facts(one))
    window = (at - 60 * minutes, at)
    samples = alerts.between(store(), vehicle, *window)
    told = alerts.of_vehicle(store(), vehicle, *window)
    if samples:
        st.altair_chart(timeline.timeline(samples, told, window), key="strip")
        st.html(_legend())
    else:
        theme.nothing(
            f"Nothing was measured in the last {minutes} minutes",
            "Choose a longer time, or look at this vehicle's alerts.",
        )
    _latest(told)


def _hero(one: Now, at: float) -> None:
    fresh = one.standing in {Standing.ALERT, Standing.WATCHED}
    tone = theme.LEVEL_WORDS[one.level] if fresh else "unknown"
    title = {
        Standing.ALERT: theme.kind_word(one.kind),
        Standing.WATCHED: "Attentive" if one.level is Level.NONE else theme.kind_word(one.kind),
        Standing.UNWATCHED: one.word.capitalize(),
        Standing.SILENT: "Not seen",
        Standing.PARKED: "Stopped",
    }[one.standing]
    st.html(
        f'<div class="wk-hero wk-c-{tone}"><div><h2>{theme.escape(title)}</h2>'
        f"<p>{theme.escape(_line(one, at))}</p></div>{_word(one)}</div>"
    )


def _acknowledge(one: Now) -> None:
    if one.standing is not Standing.ALERT or not may(Role.REVIEWER):
        return
    if not commands.possible():
        st.caption(
            "Acknowledging needs a broker: start the dashboard with a configuration whose "
            "`mqtt.host` names it."
        )
        return
    if st.button("Acknowledge", type="primary", icon=":material/done_all:"):
        st.toast(commands.acknowledge(one.vehicle))


def _state_facts(one: Now) -> str:
    state = one.state or {}
    calibration = state.get("calibration") or {}
    fresh = one.standing in {Standing.ALERT, Standing.UNWATCHED, Standing.WATCHED}
    pose = [_signal(state, name) for name in (_YAW, _PITCH, _ROLL)]
    told = [
        ("Eyes", str(state.get("eyes", "unknown"))),
        ("Closed for", theme.lasting(state.get("closure_s"))),
        ("PERCLOS", theme.share(state.get("perclos"), 1)),
        ("Eye opening", theme.share(state.get("openness"))),
        ("Yaw · pitch · roll", " · ".join(theme.number(value, 0, "°") for value in pose)),
        ("Fatigue", theme.number(_signal(state, "Vehicle.Driver.FatigueLevel"), 0, " / 100")),
        ("Expression", state.get("emotion") or "-"),
        ("Speed", theme.number(_signal(state, "Vehicle.Speed"), 0, " km/h")),
        ("Frames", theme.number(state.get("fps"), 1, " fps")),
        ("Calibrated", theme.number(calibration.get("percent"), 0, " %")),
        ("Watch", ", ".join(theme.cause_word(c) for c in one.causes) or "nothing impairs it"),
        ("Software", one.version or f"{__version__}, this machine's"),
    ]
    if not fresh:
        told = [("Last known", ""), *told[:-2], told[-1]]
        told = [(name, value) for name, value in told if name != "Last known"]
    return theme.facts(told)


def _legend() -> str:
    bands = [theme.pill(theme.LEVEL_WORDS[level], level) for level in list(Level)[1:]]
    return f'<div class="wk-legend">{"".join(bands)}{theme.pill("not monitored", None)}</div>'


def _latest(told: list[Record]) -> None:
    shown = [row for row in told if row["kind"] != "degraded"][-8:][::-1]
    if not shown:
        st.caption("No alert in this time.")
    for row in shown:
        level = Level(row["level"])
        words = (theme.kind_word(row["kind"]), theme.clock(row["started_at"]))
        st.page_link(
            "views/events.py",
            label=" · ".join((*words, theme.lasting(row["duration_s"]))),
            icon=theme.LEVEL_ICONS[level],
            query_params={"event": row["id"]},
        )


live_page()
