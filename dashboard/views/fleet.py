"""Fleet: how often, how well monitored, when, and which vehicle stands out?"""

from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime
from typing import Final, TypeVar

import pandas as pd
import streamlit as st

from dashboard.address import Address, Field, go
from dashboard.components import charts, comparison, group_filter, theme
from dashboard.components.charts import DailyRate, KindCount, WeekCell
from dashboard.components.comparison import LEAST_HOURS
from dashboard.components.weekly_report import draw_weekly
from dashboard.queries import fleet, groups, weekly
from dashboard.queries.database import Database
from dashboard.queries.fleet import DayAlerts, HourAlerts, HourCoverage, TimeRange, day_of
from dashboard.session import database, guarded, kept, now
from monitor.protocol.schemas import MONITORED
from monitor.types import Level

DAY_S: Final = 86_400.0
Option = TypeVar("Option")
SPANS: Final = {7: "7 days", 30: "30 days", 90: "90 days"}
LEVELS: Final = {2: "Caution and up", 3: "Warning and up", 4: "Critical"}
TABS: Final = {"overview": "Overview", "week": "Weekly report"}
RANKED: Final = {"vehicles": "Vehicles", "drivers": "Drivers", "groups": "Groups"}
_by_day = kept(fleet.by_day)
_by_hour = kept(fleet.by_hour)
_watched_by_cause = kept(fleet.watched_by_cause)
_watched_by_hour = kept(fleet.watched_by_hour)
_groups = kept(groups.names)


@guarded
def fleet_page() -> None:
    """The whole fleet, or one vehicle of it."""
    vehicle, groups = st.query_params.get("of"), _groups(database())
    weeks = weekly.weeks(now(60), theme.zone())
    address = Address(
        "fleet",
        Field("show", TABS, "overview"),
        Field("week", weeks, next(iter(weeks))),
        Field("days", SPANS, 30),
        Field("from", LEVELS, 2),
        Field("by", RANKED, "vehicles"),
        Field("group", ["", *groups], ""),
        _of(vehicle),
    )
    address.follow()
    theme.heading(vehicle or "Fleet", "How often, how well monitored, and when")
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        tab = "overview" if vehicle else _choose("Show", TABS, "show", address)
        overview = tab == "overview"
        days = _choose("Time", SPANS, "days", address) if overview else 30
        level = _level(address) if overview else 2
        group = group_filter.draw(groups, address)
    if overview:
        _overview(database(group), _span(days), level, vehicle, address)
    else:
        draw_weekly(database(group), weeks, address)


def _choose(label: str, options: Mapping[Option, str], key: str, address: Address) -> Option:
    chosen = st.segmented_control(
        label,
        list(options),
        format_func=options.__getitem__,
        required=True,
        key=key,
        on_change=address.changed,
    )
    return next(iter(options)) if chosen is None else chosen


def _level(address: Address) -> int:
    level: int = st.selectbox(
        "Level",
        list(LEVELS),
        key="from",
        on_change=address.changed,
        width=165,
        format_func=LEVELS.__getitem__,
    )
    return level


def _overview(
    log: Database, span: TimeRange, level: int, vehicle: str | None, address: Address
) -> None:
    """Rates, charts and comparisons of the whole fleet, or of one vehicle."""
    if vehicle:
        st.button(
            "The whole fleet",
            icon=":material/arrow_back:",
            type="tertiary",
            on_click=go,
            kwargs={"of": None},
        )
    ranking = comparison.vehicle_ranking(log, span, level)
    if ranking.empty:
        theme.nothing(
            "No drive was reported in this time",
            "Choose a longer time. A fleet to look at comes with:",
            "wakeful dashboard --demo",
        )
        return
    if vehicle and vehicle not in set(ranking["name"]):
        theme.nothing(
            "Nothing is known of this vehicle here",
            "The link may be of another fleet, or it did not drive in this time.",
        )
        return
    _tiles(ranking, vehicle)
    _charts(log, span, level, vehicle)
    if vehicle:
        _links(vehicle)
        return
    theme.section("Compared, those surely above the others first")
    by = _choose("Compare", RANKED, "by", address)
    if by == "drivers":
        comparison.draw_drivers(log, span, level)
    elif by == "groups":
        comparison.draw_groups(ranking)
    else:
        comparison.draw_vehicles(ranking)


def _of(vehicle: str | None) -> Field:
    """The chosen vehicle, which no widget holds."""
    return Field("of", [vehicle] if vehicle else [])


def _span(days: int) -> TimeRange:
    """Whole days (UTC) up to now."""
    at = now(60)
    return TimeRange(day_of(at) - (days - 1) * DAY_S, at)


def _tiles(ranking: pd.DataFrame, vehicle: str | None) -> None:
    shown = ranking[ranking["name"] == vehicle] if vehicle else ranking
    monitored_h, driven_h = shown["monitored_h"].sum(), shown["driven_h"].sum()
    count = int(shown["alerts"].sum())
    rate = 100 * count / monitored_h if monitored_h >= LEAST_HOURS else None
    online_percent = shown["online_percent"].mean()
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
            theme.lasting(driven_h * 3600) if driven_h < 10 else theme.number(driven_h, 0, " h"),
            _vehicles(shown, vehicle),
        ),
        theme.tile(
            "Monitored",
            theme.share(monitored_h / driven_h if driven_h else None, 1),
            "of the driven time",
        ),
        theme.tile(
            "Reachable", theme.number(online_percent, 1, " %"), "of the time it should have been"
        ),
    )


def _vehicles(shown: pd.DataFrame, vehicle: str | None) -> str:
    return "" if vehicle else f"by {len(shown)} vehicle{'s' if len(shown) != 1 else ''}"


def _charts(log: Database, span: TimeRange, level: int, vehicle: str | None) -> None:
    by_day = _by_day(log, span, level, vehicle)
    watched = _watched_by_hour(log, span, vehicle)
    left, right = st.columns([1.9, 1], gap="large")
    with left:
        theme.section("Day by day")
        if rates := _daily_rates(by_day, watched):
            today = day_of(span.until)
            days = [span.since + n * DAY_S for n in range(int((today - span.since) / DAY_S) + 1)]
            st.altair_chart(charts.trend(rates, days, today), key="trend")
            st.caption(
                "The pale bar is today, which is not over yet. A day without a bar had no alert, "
                "or too little monitored time."
            )
        else:
            st.caption(_TOO_SHORT)
    with right:
        theme.section("What the alerts were")
        st.altair_chart(charts.kinds(_summed(by_day)), key="kinds")
    left, right = st.columns([1.9, 1], gap="large")
    with left:
        theme.section("When in the week")
        hours = _by_hour(log, span, level, vehicle)
        cells = _weekly(hours, watched)
        if any(cell.rate is not None for cell in cells):
            st.altair_chart(charts.heat_map(cells), key="week")
        else:
            st.caption(_TOO_SHORT)
    with right:
        theme.section("Why drivers were not monitored")
        causes = [row for row in _watched_by_cause(log, span, vehicle) if row.cause != MONITORED]
        if causes:
            st.altair_chart(charts.causes(causes), key="causes")
        else:
            st.caption("The drivers were monitored all of this time.")


_TOO_SHORT: Final = (
    f"A rate needs {LEAST_HOURS:g} monitored hour; it appears here when there is one."
)


def _daily_rates(by_day: list[DayAlerts], watched: list[HourCoverage]) -> list[DailyRate]:
    """Alerts per 100 monitored hours a day and level."""
    hours: dict[float, float] = defaultdict(float)
    for report in watched:
        hours[day_of(report.hour)] += report.monitored_s / 3600
    counts: dict[tuple[float, int], int] = defaultdict(int)
    for row in by_day:
        counts[row.day, row.level] += row.events
    return [
        DailyRate(day, level, count, 100 * count / hours[day])
        for (day, level), count in sorted(counts.items())
        if hours[day] >= LEAST_HOURS
    ]


def _summed(by_day: list[DayAlerts]) -> list[KindCount]:
    counts: dict[tuple[str, int], int] = defaultdict(int)
    for row in by_day:
        counts[row.kind, row.level] += row.events
    return [KindCount(kind, level, count) for (kind, level), count in counts.items()]


def _weekly(by_hour: list[HourAlerts], watched: list[HourCoverage]) -> list[WeekCell]:
    """Hours of the calendar folded into a week of the reader's local time."""
    zone = theme.zone()

    def cell(hour: float) -> tuple[int, int]:
        local = datetime.fromtimestamp(hour, zone)
        return local.weekday(), local.hour

    counts: dict[tuple[int, int], int] = defaultdict(int)
    hours: dict[tuple[int, int], float] = defaultdict(float)
    for row in by_hour:
        counts[cell(row.hour)] += row.events
    for report in watched:
        hours[cell(report.hour)] += report.monitored_s / 3600
    return [
        WeekCell(
            *place,
            events=counts[place],
            hours=hours[place],
            rate=100 * counts[place] / hours[place] if hours[place] >= LEAST_HOURS else None,
        )
        for place in ((weekday, hour) for weekday in range(7) for hour in range(24))
    ]


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
