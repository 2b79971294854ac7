"""Fleet: how often, how well watched, when, and which vehicle stands out?"""

from collections import defaultdict
from datetime import datetime
from typing import Final

import pandas as pd
import streamlit as st

from dashboard.components import charts, theme
from dashboard.queries import fleet, rollup
from dashboard.queries.database import Record
from dashboard.queries.fleet import Span
from dashboard.session import guarded, kept, now, opens, store
from monitor.protocol.schemas import MONITORED
from monitor.types import Level

DAY_S: Final = 86_400.0
SPANS: Final = {"7 days": 7, "30 days": 30, "90 days": 90}
LEVELS: Final = {2: "Caution and up", 3: "Warning and up", 4: "Critical"}
# A rate over fewer monitored hours than this says nothing.
LEAST_HOURS: Final = 1.0
_edge = kept(rollup.edge)
_by_vehicle = kept(fleet.by_vehicle)
_by_day = kept(fleet.by_day)
_by_hour = kept(fleet.by_hour)
_watched_by_vehicle = kept(fleet.watched_by_vehicle)
_watched_by_cause = kept(fleet.watched_by_cause)
_watched_by_hour = kept(fleet.watched_by_hour)
_reachable = kept(fleet.reachable)


@guarded
def fleet_page() -> None:
    """The whole fleet, or one vehicle of it."""
    vehicle = st.query_params.get("of")
    left, right = st.columns([1.6, 1], vertical_alignment="bottom")
    with left:
        theme.heading(vehicle or "Fleet", "How often, how well watched, and when")
    with right, st.container(horizontal=True, horizontal_alignment="right"):
        days = st.segmented_control(
            "Time",
            list(SPANS),
            default="30 days",
            required=True,
            key="days",
            bind="query-params",
            label_visibility="collapsed",
        )
        level = st.selectbox(
            "Level",
            list(LEVELS),
            key="from",
            bind="query-params",
            width=165,
            format_func=LEVELS.__getitem__,
            label_visibility="collapsed",
        )
    span = _span(SPANS[days or "30 days"])
    if vehicle:
        st.button("The whole fleet", icon=":material/arrow_back:", type="tertiary", on_click=_leave)
    ranking = _ranking(span, level)
    if ranking.empty:
        theme.nothing(
            "No drive was reported in this time",
            "Choose a longer time. A fleet to look at comes with:",
            "wakeful dashboard --demo",
        )
        return
    if vehicle and vehicle not in set(ranking["vehicle"]):
        theme.nothing(
            "Nothing is known of this vehicle here",
            "The link may be of another fleet, or it did not drive in this time.",
        )
        return
    _tiles(ranking, vehicle)
    _charts(span, level, vehicle)
    if vehicle:
        _links(vehicle)
    else:
        _rank(ranking)


def _leave() -> None:
    st.query_params.pop("of", None)


def _span(days: int) -> Span:
    """Whole days (UTC) up to now, so that their sums can be read."""
    at = now(60)
    return Span(rollup.day_of(at) - (days - 1) * DAY_S, at, _edge(store()))


def _ranking(span: Span, level: int) -> pd.DataFrame:
    """A row a vehicle, the one with the most alerts per monitored hour first."""
    rows: dict[str, Record] = {}
    for row in _watched_by_vehicle(store(), span):
        hours = row["monitored_s"] / 3600
        rows[row["vehicle"]] = {
            "vehicle": row["vehicle"],
            "hours": hours,
            "driven": row["driven_s"] / 3600,
            "watched": 100 * row["monitored_s"] / row["driven_s"] if row["driven_s"] else None,
            "alerts": 0, "caution": 0, "warning": 0, "critical": 0, "online": None,
        }  # fmt: skip
    for row in _by_vehicle(store(), span, level):
        if one := rows.get(row["vehicle"]):
            one[Level(row["level"]).name.lower()] = row["events"]
            one["alerts"] += row["events"]
    for row in _reachable(store(), span):
        known = row["online_s"] + row["offline_s"]
        if (one := rows.get(row["vehicle"])) and known:
            one["online"] = 100 * row["online_s"] / known
    frame = pd.DataFrame(list(rows.values()))
    if frame.empty:
        return frame
    enough = frame["hours"] >= LEAST_HOURS
    frame["rate"] = (100 * frame["alerts"] / frame["hours"]).where(enough)
    return frame.sort_values("rate", ascending=False, na_position="last")


def _tiles(ranking: pd.DataFrame, vehicle: str | None) -> None:
    shown = ranking[ranking["vehicle"] == vehicle] if vehicle else ranking
    hours, driven, count = shown["hours"].sum(), shown["driven"].sum(), int(shown["alerts"].sum())
    rate = 100 * count / hours if hours >= LEAST_HOURS else None
    online = shown["online"].mean()
    typical = ranking["rate"].median()
    note = f"the fleet's median is {typical:.1f}" if vehicle else f"{count:,} alerts"
    worst = Level.CAUTION if vehicle and rate and rate > 2 * typical else None
    theme.tiles(
        theme.tile("Alerts per 100 h monitored", theme.number(rate, 1), note, worst),
        theme.tile(
            "Warnings and critical",
            f"{int(shown['warning'].sum() + shown['critical'].sum()):,}",
            f"{int(shown['critical'].sum()):,} critical",
        ),
        theme.tile(
            "Driven",
            theme.lasting(driven * 3600) if driven < 10 else theme.number(driven, 0, " h"),
            _vehicles(shown, vehicle),
        ),
        theme.tile(
            "Monitored", theme.share(hours / driven if driven else None, 1), "of the driven time"
        ),
        theme.tile("Reachable", theme.number(online, 1, " %"), "of the time it should have been"),
    )


def _vehicles(shown: pd.DataFrame, vehicle: str | None) -> str:
    return "" if vehicle else f"by {len(shown)} vehicle{'s' if len(shown) != 1 else ''}"


def _charts(span: Span, level: int, vehicle: str | None) -> None:
    by_day = _by_day(store(), span, level, vehicle)
    watched = _watched_by_hour(store(), span, vehicle)
    left, right = st.columns([1.9, 1], gap="large")
    with left:
        st.markdown("##### Day by day")
        if rates := _daily_rates(by_day, watched):
            st.altair_chart(charts.trend(rates), key="trend")
        else:
            st.caption(_TOO_SHORT)
    with right:
        st.markdown("##### What the alerts were")
        st.altair_chart(charts.kinds(_summed(by_day)), key="kinds")
    left, right = st.columns([1.9, 1], gap="large")
    with left:
        st.markdown("##### When in the week")
        hours = _by_hour(store(), span, level, vehicle)
        cells = _weekly(hours, watched)
        if any(cell["rate"] is not None for cell in cells):
            st.altair_chart(charts.heat_map(cells), key="week")
        else:
            st.caption(_TOO_SHORT)
    with right:
        st.markdown("##### Why drivers were not monitored")
        causes = [
            row for row in _watched_by_cause(store(), span, vehicle) if row["cause"] != MONITORED
        ]
        if causes:
            st.altair_chart(charts.causes(causes), key="causes")
        else:
            st.caption("Nothing impaired the watch in this time.")


_TOO_SHORT: Final = (
    f"A rate needs {LEAST_HOURS:g} monitored hour; it appears here when there is one."
)


def _daily_rates(by_day: list[Record], watched: list[Record]) -> list[Record]:
    """Alerts per 100 monitored hours a day and level."""
    hours: dict[float, float] = defaultdict(float)
    for row in watched:
        hours[rollup.day_of(row["hour"])] += row["monitored_s"] / 3600
    found: dict[tuple[float, int], int] = defaultdict(int)
    for row in by_day:
        found[row["day"], row["level"]] += row["events"]
    return [
        {"day": day, "level": level, "events": count, "rate": 100 * count / hours[day]}
        for (day, level), count in sorted(found.items())
        if hours[day] >= LEAST_HOURS
    ]


def _summed(by_day: list[Record]) -> list[Record]:
    found: dict[tuple[str, int], int] = defaultdict(int)
    for row in by_day:
        found[row["kind"], row["level"]] += row["events"]
    return [{"kind": kind, "level": level, "events": n} for (kind, level), n in found.items()]


def _weekly(events: list[Record], watched: list[Record]) -> list[Record]:
    """Hours of the calendar folded into a week of the reader's local time."""
    zone = theme.zone()

    def cell(hour: float) -> tuple[int, int]:
        local = datetime.fromtimestamp(hour, zone)
        return local.weekday(), local.hour

    alerts: dict[tuple[int, int], int] = defaultdict(int)
    hours: dict[tuple[int, int], float] = defaultdict(float)
    for row in events:
        alerts[cell(row["hour"])] += row["events"]
    for row in watched:
        hours[cell(row["hour"])] += row["monitored_s"] / 3600
    found = []
    for weekday in range(7):
        for hour in range(24):
            driven, count = hours[weekday, hour], alerts[weekday, hour]
            rate = 100 * count / driven if driven >= LEAST_HOURS else None
            found.append(
                {"weekday": weekday, "hour": hour, "events": count, "hours": driven, "rate": rate}
            )
    return found


def _rank(ranking: pd.DataFrame) -> None:
    st.markdown("##### Vehicles, the most alerts per monitored hour first")
    columns = ["vehicle", "rate", "caution", "warning", "critical", "watched", "online", "hours"]
    # Where nobody was watched for an hour yet there is no rate, and so no largest one.
    top = ranking["rate"].max()
    top = float(top) if top > 0 else 1.0
    st.dataframe(
        ranking[columns],
        hide_index=True,
        height=min(36 * len(ranking) + 40, 420),
        on_select=opens("of", "ranking", [str(name) for name in ranking["vehicle"]]),
        selection_mode="single-cell",
        key="ranking",
        column_config={
            "vehicle": st.column_config.TextColumn("Vehicle", pinned=True),
            "rate": st.column_config.ProgressColumn(
                "Alerts per 100 h", min_value=0, max_value=top, format="%.1f"
            ),
            "caution": st.column_config.NumberColumn("Caution", format="localized"),
            "warning": st.column_config.NumberColumn("Warning", format="localized"),
            "critical": st.column_config.NumberColumn("Critical", format="localized"),
            "watched": st.column_config.NumberColumn("Monitored", format="%.1f %%"),
            "online": st.column_config.NumberColumn("Reachable", format="%.1f %%"),
            "hours": st.column_config.NumberColumn("Monitored h", format="%.0f"),
        },
    )
    st.caption("Click a row to look at one vehicle.")


def _links(vehicle: str) -> None:
    with st.container(horizontal=True):
        st.page_link(
            "views/events.py",
            label="Its alerts",
            icon=":material/notifications:",
            query_params={"vehicles": vehicle},
        )
        st.page_link(
            "views/live.py",
            label="Its driver now",
            icon=":material/sensors:",
            query_params={"vehicle": vehicle},
        )


fleet_page()
