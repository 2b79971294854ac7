"""Live: which vehicle needs attention now, and how is its driver?"""

from typing import Final

import pandas as pd
import streamlit as st

from dashboard import commands
from dashboard.address import Address, Field, go, opens
from dashboard.auth.access import may
from dashboard.auth.accounts import Role
from dashboard.components import columns, theme, timeline
from dashboard.queries import events as alerts
from dashboard.queries import live
from dashboard.queries.events import AlertRow
from dashboard.queries.live import VehicleNow, WatchStatus
from dashboard.session import database, guarded, kept, now
from monitor import __version__
from monitor.types import Level

REFRESH_S: Final = 2
CARDS: Final = 9
MINUTES: Final = {5: "5 min", 15: "15 min", 60: "1 hour"}
# One answer serves every viewer of the same moment.
_all_now = kept(live.now_of_all, seconds=REFRESH_S)
_names = kept(live.names, seconds=30)


@guarded
def live_page() -> None:
    """The fleet's board, or one vehicle."""
    names = _names(database())
    if not names:
        theme.heading("Live", "What is true now")
        theme.nothing(
            "Nobody is being monitored yet",
            "Start the system in a vehicle, or look at a simulated fleet:",
            "wakeful run            # one camera\nwakeful dashboard --demo   # a simulated fleet",
        )
        return
    alone = len(names) == 1
    asked = st.query_params.get("vehicle")
    address = Address("live", Field("vehicle", ["", *names], ""), Field("minutes", MINUTES, 15))
    address.follow()
    left, right = st.columns([3, 1], vertical_alignment="bottom")
    with right:
        chosen = names[0] if alone else _choose(names, address)
    with left:
        theme.heading(
            chosen or "Live", "The driver now" if chosen else "Which vehicle needs attention now"
        )
    if asked and asked not in names:
        st.info(f"There is no vehicle {asked!r} here; these are the ones there are.")
    if chosen:
        _vehicle(chosen, address)
    else:
        _board()


def _choose(names: list[str], address: Address) -> str:
    return st.selectbox(
        "Vehicle",
        ["", *names],
        format_func=lambda name: name or "All vehicles",
        key="vehicle",
        on_change=address.changed,
        label_visibility="collapsed",
    )


@st.fragment(run_every=REFRESH_S)
@guarded
def _board() -> None:
    at = now(REFRESH_S)
    fleet = _all_now(database(), at)
    _tiles(fleet)
    # Places of their own: what changes its length must not push what comes after it about.
    cards, table = st.container(), st.container()
    with cards:
        _pressing(fleet, at)
    with table:
        theme.section("All vehicles")
        st.dataframe(
            _table(fleet, at),
            hide_index=True,
            column_config=_COLUMNS,
            height=420,
            key="fleet-now",
            placeholder="",
            on_select=opens("vehicle", "fleet-now", [row.vehicle for row in fleet]),
            selection_mode="single-cell",
        )


def _pressing(fleet: list[VehicleNow], at: float) -> None:
    pressing = [row for row in fleet if row.status in _PRESSING]
    if not pressing:
        st.html(
            '<div class="wk-hero wk-c-attentive"><div><h2>Nobody needs attention</h2>'
            "<p>No open alert, and every driver on the way can be seen.</p></div></div>"
        )
        return
    theme.section("Needs attention now, the most pressing first")
    _cards(pressing[:CARDS], at)
    if len(pressing) > CARDS:
        st.caption(f"and {len(pressing) - CARDS} more in the table")


_PRESSING: Final = {WatchStatus.ALERT, WatchStatus.UNWATCHED, WatchStatus.SILENT}


def _tiles(fleet: list[VehicleNow]) -> None:
    counts = dict.fromkeys(WatchStatus, 0)
    for row in fleet:
        counts[row.status] += 1
    critical = sum(row.level >= Level.WARNING for row in fleet)
    alert, blind = counts[WatchStatus.ALERT], counts[WatchStatus.UNWATCHED]
    silent = counts[WatchStatus.SILENT]
    theme.tiles(
        theme.tile(
            "Alert now",
            str(alert),
            f"{critical} warning or critical",
            Level.CRITICAL if critical else Level.CAUTION if alert else None,
        ),
        theme.tile(
            "Not monitored", str(blind), "on the way, but the driver cannot be seen", _if(blind)
        ),
        theme.tile("No signal", str(silent), "expected, but silent", _if(silent)),
        theme.tile(
            "Attentive", str(counts[WatchStatus.WATCHED]), "monitored, nothing wrong", Level.NONE
        ),
        theme.tile("Stopped", str(counts[WatchStatus.PARKED]), "ended their drive"),
    )


def _if(count: int) -> Level | None:
    return Level.INFO if count else None


def _cards(pressing: list[VehicleNow], at: float) -> None:
    since = live.open_since(database(), pressing, at)
    for start in range(0, len(pressing), 3):
        for place, row in zip(st.columns(3), pressing[start : start + 3], strict=False):
            tone = theme.LEVEL_WORDS[row.level] if row.status is WatchStatus.ALERT else "unknown"
            with place, st.container(key=f"card-{tone}-{row.vehicle}", gap=None):
                st.html(_card(row, at, since.get(row.vehicle)))
                st.button(
                    "Open",
                    key=f"open-{row.vehicle}",
                    icon=":material/arrow_forward:",
                    icon_position="right",
                    type="tertiary",
                    on_click=go,
                    kwargs={"vehicle": row.vehicle},
                )


def _card(row: VehicleNow, at: float, since: float | None) -> str:
    lasting = f"for {theme.lasting(at - since)} · " if since is not None else ""
    return (
        f'<div class="wk-card"><div class="wk-card-top"><b>{theme.escape(row.vehicle)}</b>'
        f"{_word(row)}</div><p>{theme.escape(lasting + _line(row, at))}</p></div>"
    )


def _word(row: VehicleNow) -> str:
    if row.status is WatchStatus.ALERT:
        return theme.pill(
            f"{theme.kind_word(row.kind)} · {theme.LEVEL_WORDS[row.level]}", row.level
        )
    if row.status is WatchStatus.WATCHED:
        return theme.pill("attentive" if row.level is Level.NONE else "info", row.level)
    return theme.pill(row.word, None)


def _line(row: VehicleNow, at: float) -> str:
    """The one line that says why."""
    if row.status is WatchStatus.SILENT:
        return f"No signal since {theme.clock(row.seen_at)} ({theme.ago(at - row.seen_at)})"
    if row.status is WatchStatus.PARKED:
        return f"Stopped {theme.ago(at - row.seen_at)}"
    if row.status is WatchStatus.UNWATCHED or row.state is None:
        return ", ".join(theme.cause_word(cause) for cause in row.causes).capitalize()
    state = row.state
    parts = [f"eyes {state.eyes}"]
    if state.closure_s:
        parts.append(f"closed for {state.closure_s:.1f} s")
    if row.kind == "distraction" and state.yaw_deg is not None:
        side = "left" if state.yaw_deg > 0 else "right"
        parts.append(f"head turned {abs(state.yaw_deg):.0f}° {side}")
    elif state.perclos is not None:
        parts.append(f"PERCLOS {theme.share(state.perclos)}")
    if state.speed_kmh:
        parts.append(f"{state.speed_kmh:.0f} km/h")
    return " · ".join(parts)


def _table(fleet: list[VehicleNow], at: float) -> pd.DataFrame:
    return pd.DataFrame([{**_about(row, at), **_measures(row)} for row in fleet])


def _about(row: VehicleNow, at: float) -> dict[str, str]:
    return {
        "vehicle": row.vehicle,
        "now": _plain(row),
        "driver": (row.state.driver if row.state else None) or "",
        "why": _line(row, at) if row.status is not WatchStatus.WATCHED else "",
        "seen": theme.ago(at - row.seen_at),
    }


def _measures(row: VehicleNow) -> dict[str, float | str | None]:
    """What was measured, empty where the latest state is old."""
    fresh = row.status in {WatchStatus.ALERT, WatchStatus.UNWATCHED, WatchStatus.WATCHED}
    state = row.state
    if state is None or not fresh:
        return dict.fromkeys(
            ("eyes", "perclos", "closure", "yaw", "pitch", "emotion", "fps", "calibration")
        )
    return {
        "eyes": state.eyes,
        "perclos": _percent(state.perclos),
        "closure": (state.closure_s if state.eyes != "unknown" else None) or None,
        "yaw": _whole(state.yaw_deg),
        "pitch": _whole(state.pitch_deg),
        "emotion": state.emotion,
        "fps": state.fps,
        "calibration": _percent(state.calibrated),
    }


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)


def _percent(value: float | None) -> float | None:
    return None if value is None else 100 * value


def _plain(row: VehicleNow) -> str:
    if row.status is WatchStatus.ALERT:
        return f"{theme.LEVEL_WORDS[row.level].upper()} {theme.kind_word(row.kind).lower()}"
    return "attentive" if row.status is WatchStatus.WATCHED else row.word


_COLUMNS: Final = {
    "vehicle": columns.text("Vehicle", pinned=True),
    "now": columns.text("Now"),
    "driver": columns.text("Driver"),
    "eyes": columns.text("Eyes", width="small"),
    "perclos": columns.bar("PERCLOS", max_value=40, format="%.0f %%", width="small"),
    "closure": columns.number("Closed", format="%.1f s", width="small"),
    "yaw": columns.number("Yaw", format="%.0f°", width="small"),
    "pitch": columns.number("Pitch", format="%.0f°", width="small"),
    "emotion": columns.text("Expression", width="small"),
    "fps": columns.number("fps", format="%.0f", width="small"),
    "calibration": columns.number("Calibrated", format="%.0f %%", width="small"),
    "why": columns.text("Why", width="medium"),
    "seen": columns.text("Last heard", width="small"),
}


def _vehicle(vehicle: str, address: Address) -> None:
    minutes = st.segmented_control(
        "Shown",
        list(MINUTES),
        format_func=MINUTES.__getitem__,
        required=True,
        key="minutes",
        on_change=address.changed,
        label_visibility="collapsed",
    )
    _driver(vehicle, minutes or 15)


@st.fragment(run_every=REFRESH_S)
@guarded
def _driver(vehicle: str, minutes: int) -> None:
    at = now()
    row = live.now_of(database(), vehicle, at)
    if row is None:
        theme.nothing("No such vehicle", "It may have been erased; choose another row.")
        return
    _hero(row, at)
    _acknowledge(row)
    if row.state:
        st.html(_state_facts(row))
    window = (at - 60 * minutes, at)
    samples = alerts.samples_between(database(), vehicle, *window)
    recent = alerts.of_vehicle(database(), vehicle, *window)
    if samples:
        st.altair_chart(timeline.timeline(samples, recent, window), key="strip")
        st.html(_legend())
    else:
        theme.nothing(
            f"Nothing was measured in the last {minutes} minutes",
            "Choose a longer time, or look at this vehicle's alerts.",
        )
    _latest(recent)


def _hero(row: VehicleNow, at: float) -> None:
    fresh = row.status in {WatchStatus.ALERT, WatchStatus.WATCHED}
    tone = theme.LEVEL_WORDS[row.level] if fresh else "unknown"
    title = {
        WatchStatus.ALERT: theme.kind_word(row.kind),
        WatchStatus.WATCHED: "Attentive" if row.level is Level.NONE else theme.kind_word(row.kind),
        WatchStatus.UNWATCHED: row.word.capitalize(),
        WatchStatus.SILENT: "No signal",
        WatchStatus.PARKED: "Stopped",
    }[row.status]
    st.html(
        f'<div class="wk-hero wk-c-{tone}"><div><h2>{theme.escape(title)}</h2>'
        f"<p>{theme.escape(_line(row, at))}</p></div>{_word(row)}</div>"
    )


def _acknowledge(row: VehicleNow) -> None:
    if row.status is not WatchStatus.ALERT or not may(Role.REVIEWER):
        return
    if not commands.possible():
        st.caption(
            "Acknowledging needs a broker: start the dashboard with a configuration whose "
            "`mqtt.host` names it."
        )
        return
    if st.button("Acknowledge", type="primary", icon=":material/done_all:"):
        st.toast(commands.acknowledge(row.vehicle))


def _state_facts(row: VehicleNow) -> str:
    state = row.state
    if state is None:
        return ""
    pose = (state.yaw_deg, state.pitch_deg, state.roll_deg)
    pairs = [
        ("Eyes", state.eyes),
        ("Closed for", theme.lasting(state.closure_s)),
        ("PERCLOS", theme.share(state.perclos, 1)),
        ("Eye opening", theme.share(state.openness)),
        ("Yaw · pitch · roll", " · ".join(theme.number(value, 0, "°") for value in pose)),
        ("Fatigue", theme.number(state.fatigue, 0, " / 100")),
        ("Expression", state.emotion or "-"),
        ("Speed", theme.number(state.speed_kmh, 0, " km/h")),
        ("Driver", state.driver or "-"),
        ("Position", theme.position(state.latitude, state.longitude)),
        ("Frames", theme.number(state.fps, 1, " fps")),
        ("Calibrated", theme.share(state.calibrated)),
        ("Software", row.version or f"{__version__}, this machine's"),
    ]
    if row.status in {WatchStatus.ALERT, WatchStatus.UNWATCHED, WatchStatus.WATCHED}:
        causes = ", ".join(theme.cause_word(cause) for cause in row.causes)
        pairs.insert(-1, ("Not monitored because of", causes or "fully monitored"))
    return theme.facts(pairs)


def _legend() -> str:
    bands = [theme.pill(theme.LEVEL_WORDS[level], level) for level in list(Level)[1:]]
    return f'<div class="wk-legend">{"".join(bands)}{theme.pill("not monitored", None)}</div>'


def _latest(recent: list[AlertRow]) -> None:
    shown = [row for row in recent if row.kind != "degraded"][-8:][::-1]
    if not shown:
        st.caption("No alert in this time.")
    for row in shown:
        level = Level(row.level)
        words = (theme.kind_word(row.kind), theme.clock(row.started_at))
        st.page_link(
            "views/events.py",
            label=" · ".join((*words, theme.lasting(row.duration_s))),
            icon=theme.LEVEL_ICONS[level],
            query_params={"event": row.id},
        )


live_page()
