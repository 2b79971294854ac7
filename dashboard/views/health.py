"""Health: is the pipeline itself well, from the camera to this page?"""

import json
from typing import Final

import pandas as pd
import streamlit as st

from dashboard.auth.access import may
from dashboard.auth.accounts import Role
from dashboard.components import charts, columns, theme
from dashboard.components.charts import frame_of
from dashboard.queries import health
from dashboard.queries.health import AuditEntry, RefusalCount, WatchProcess
from dashboard.session import database, guarded, kept, now
from monitor import __version__
from monitor.types import Level

DAY_S: Final = 86_400.0
# Goals: an alert is in the database within a second; clocks agree within five.
LAG_GOAL_S, SKEW_GOAL_S = 1.0, 5.0
_lags = kept(health.lags_s, seconds=15)
_dead = kept(health.dead_by_reason, seconds=15)
_newest_dead = kept(health.dead_newest, seconds=15)
_processes = kept(health.processes, seconds=10)
_outbox = kept(health.own_outbox, seconds=10)
_storage = kept(health.storage)
_bytes = kept(health.database_bytes)
_audited = kept(health.last_audited, seconds=10)


@guarded
def health_page() -> None:
    """Everything on one page, the numbers that matter first."""
    theme.heading("Health", "Does everything arrive, from the camera to this page")
    at = now(15)
    lags = sorted(row.lag_s for row in _lags(database(), at - DAY_S))
    dead = _dead(database(), at - DAY_S)
    processes = _processes(database())
    _tiles(lags, dead, processes)
    left, right = st.columns(2, gap="large")
    with left:
        _lag(lags, at)
        _versions(processes)
    with right:
        _dead_letters(dead)
        _stored()
    _watches(processes, at)
    if may(Role.ADMIN) and not database().scope.limited:
        _audit()


def _tiles(lags: list[float], dead: list[RefusalCount], processes: list[WatchProcess]) -> None:
    refused = sum(row.n for row in dead)
    waiting = sum(row.count("outbox_depth") or 0 for row in processes)
    lost = sum(row.count("lost") or 0 for row in processes)
    skewed = sum(abs(row.clock_skew_s or 0) > SKEW_GOAL_S for row in processes)
    own = _outbox(database())
    p95 = _quantile(lags, 0.95)
    theme.tiles(
        theme.tile(
            "Alerts arrive within",
            theme.lasting(p95) if lags else "-",
            f"95 of 100 of {len(lags):,} alerts; half within {theme.lasting(_quantile(lags, 0.5))}"
            if lags
            else "no alert came in over the network today",
            Level.CAUTION if p95 and p95 > LAG_GOAL_S else None,
        ),
        theme.tile(
            "Refused today", f"{refused:,}", "messages that could not be read", _worry(refused)
        ),
        theme.tile(
            "Waiting in vehicles",
            f"{waiting + own.rows:,}",
            "alerts not delivered yet",
            _worry(waiting + own.rows > 1000),
        ),
        theme.tile("Dropped", f"{lost:,}", "alerts too old to deliver", _worry(lost)),
        theme.tile("Clocks off", str(skewed), f"by more than {SKEW_GOAL_S:.0f} s", _worry(skewed)),
        theme.tile("Database", theme.size(_bytes(database())), database().engine.dialect.name),
    )


def _worry(wrong: bool | int) -> Level | None:
    return Level.CAUTION if wrong else None


def _quantile(ordered: list[float], share: float) -> float | None:
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else None


def _lag(lags: list[float], at: float) -> None:
    theme.section("From the vehicle to the database")
    if not lags:
        st.caption(
            "Alerts in this database were written by the vehicle itself, or none came today."
        )
        return
    st.altair_chart(charts.lags(_lags(database(), at - DAY_S)), key="lags")
    st.caption(
        "Delays of minutes come from vehicles that had no connection; no alert is lost by it."
    )


def _versions(processes: list[WatchProcess]) -> None:
    theme.section("Software")
    if not processes:
        st.html(theme.facts([("This machine", __version__)]))
        return
    counts = pd.Series([row.version or "unknown" for row in processes]).value_counts()
    st.html(theme.facts([(f"{n} vehicles", str(name)) for name, n in counts.items()]))


def _dead_letters(dead: list[RefusalCount]) -> None:
    theme.section("Refused messages, by reason")
    if database().scope.limited:
        st.caption("Whose they are is not known, so they are shown to accounts of all groups only.")
    elif not dead:
        st.caption("None today.")
    else:
        frame = frame_of(RefusalCount, dead)
        frame["last_at"] = [theme.clock(at) for at in frame["last_at"]]
        st.dataframe(
            frame,
            hide_index=True,
            column_config={"reason": "Reason", "n": "Messages", "last_at": "Last"},
        )
    newest = _newest_dead(database())
    if newest and may(Role.ADMIN):
        with st.expander("The last ones"):
            st.dataframe(
                pd.DataFrame(
                    [
                        {
                            "at": theme.clock(row.at),
                            "topic": row.topic,
                            "reason": row.reason,
                            "begins": row.payload.decode("utf-8", "backslashreplace")[:120],
                        }
                        for row in newest
                    ]
                ),
                hide_index=True,
            )


def _stored() -> None:
    theme.section("Storage")
    rows = _storage(database())
    frame = pd.DataFrame(
        [
            {"table": row.name, "rows": int(row.rows), "size": theme.size(row.bytes)}
            for row in rows
            if row.name != "alembic_version"
        ]
    )
    if all(row.bytes is None for row in rows):
        frame = frame.drop(columns="size")  # SQLite does not tell a table's size
    st.dataframe(
        frame,
        hide_index=True,
        height=260,
        column_config={
            "table": "Table",
            "rows": columns.number("Rows, about", format="localized"),
            "size": "Size",
        },
    )


def _watches(processes: list[WatchProcess], at: float) -> None:
    theme.section("Vehicles")
    if not processes:
        theme.nothing(
            "No vehicle has reported over the network",
            "A vehicle's own log holds its alerts; numbers of its process come by MQTT to a fleet.",
            "wakeful doctor    # is all well on this machine?",
        )
        return
    rows = [
        {
            "vehicle": row.vehicle,
            "now": row.availability,
            "seen": theme.ago(at - row.last_seen_at),
            "version": row.version,
            "fps": row.fps,
            "latency": row.latency_p95_ms,
            "waiting": row.count("outbox_depth"),
            "lost": row.count("lost"),
            "restarts": row.count("restarts"),
            "skew": _tenths(row.clock_skew_s),
            "trouble": row.troubles,
        }
        for row in sorted(processes, key=_well)
    ]
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        height=380,
        placeholder="-",
        column_config={
            "vehicle": columns.text("Vehicle", pinned=True),
            "now": "Connection",
            "seen": "Last heard",
            "version": "Version",
            "fps": columns.number("fps", format="%.0f"),
            "latency": columns.number("Time for a frame", format="%.0f ms"),
            "waiting": columns.number("Waiting"),
            "lost": columns.number("Dropped"),
            "restarts": "Restarts",
            "skew": columns.number("Clock off", format="%.1f s"),
            "trouble": columns.text("Trouble", width="large"),
        },
    )


def _well(row: WatchProcess) -> bool:
    """Whether nothing is wrong with a watch; False sorts first."""
    skewed = abs(row.clock_skew_s or 0) > SKEW_GOAL_S
    return not (skewed or row.troubles or row.count("lost") or row.count("outbox_depth"))


def _tenths(value: float | None) -> float | None:
    """Rounded, and never minus nothing."""
    return None if value is None else round(value, 1) + 0.0


def _audit() -> None:
    with st.expander("Who did what"):
        rows = _audited(database())
        if not rows:
            st.caption("Nobody has exported, erased or changed anything yet.")
            return
        frame = frame_of(AuditEntry, rows).drop(columns="id")
        frame["at"] = [theme.clock(at) for at in frame["at"]]
        frame["detail"] = [json.dumps(value) for value in frame["detail"]]
        st.dataframe(frame, hide_index=True)


health_page()
