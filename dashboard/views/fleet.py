"""Fleet: how often, how well watched, when, and which vehicle stands out?"""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import pandas as pd
import streamlit as st
from streamlit.elements.lib.column_types import ColumnConfig

from dashboard.address import Address, Field, go, opens
from dashboard.components import charts, group_filter, theme
from dashboard.components.charts import DailyRate, KindCount, WeekCell
from dashboard.queries import fleet, groups, rollup, statistics
from dashboard.queries.database import Database
from dashboard.queries.fleet import DayAlerts, HourAlerts, HourCoverage, TimeRange
from dashboard.session import database, guarded, kept, now
from monitor.protocol.schemas import MONITORED
from monitor.types import Level

DAY_S: Final = 86_400.0
SPANS: Final = {7: "7 days", 30: "30 days", 90: "90 days"}
LEVELS: Final = {2: "Caution and up", 3: "Warning and up", 4: "Critical"}
# A rate over fewer monitored hours than this says nothing.
LEAST_HOURS: Final = 1.0
# With fewer alerts than this chance decides the order: the 95 % interval of 8 is 3.5 to 15.8.
LEAST_ALERTS: Final = 8
_edge = kept(rollup.edge)
_by_vehicle = kept(fleet.by_vehicle)
_by_day = kept(fleet.by_day)
_by_hour = kept(fleet.by_hour)
_watched_by_vehicle = kept(fleet.watched_by_vehicle)
_watched_by_cause = kept(fleet.watched_by_cause)
_watched_by_hour = kept(fleet.watched_by_hour)
_reachable = kept(fleet.reachable)
_groups = kept(groups.names)
_groups_of = kept(groups.of_vehicles)


@guarded
def fleet_page() -> None:
    """The whole fleet, or one vehicle of it."""
    vehicle = st.query_params.get("of")
    groups = _groups(database())
    address = Address(
        "fleet",
        Field("days", SPANS, 30),
        Field("from", LEVELS, 2),
        Field("group", ["", *groups], ""),
        _of(vehicle),
    )
    address.follow()
    left, right = st.columns([1.6, 1], vertical_alignment="bottom")
    with left:
        theme.heading(vehicle or "Fleet", "How often, how well watched, and when")
    with right, st.container(horizontal=True, horizontal_alignment="right"):
        days = st.segmented_control(
            "Time",
            list(SPANS),
            format_func=SPANS.__getitem__,
            required=True,
            key="days",
            on_change=address.changed,
            label_visibility="collapsed",
        )
        level = st.selectbox(
            "Level",
            list(LEVELS),
            key="from",
            on_change=address.changed,
            width=165,
            format_func=LEVELS.__getitem__,
            label_visibility="collapsed",
        )
        group = group_filter.draw(groups, address)
    log = database(group)
    span = _span(days or 30)
    if vehicle:
        st.button(
            "The whole fleet",
            icon=":material/arrow_back:",
            type="tertiary",
            on_click=go,
            kwargs={"of": None},
        )
    ranking = _ranking(log, span, level)
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
    _charts(log, span, level, vehicle)
    if vehicle:
        _links(vehicle)
    else:
        _rank(ranking)
        _compare_groups(ranking)


def _of(vehicle: str | None) -> Field:
    """The chosen vehicle, which no widget holds."""
    return Field("of", [vehicle] if vehicle else [])


def _span(days: int) -> TimeRange:
    """Whole days (UTC) up to now, so that their sums can be read."""
    at = now(60)
    return TimeRange(rollup.day_of(at) - (days - 1) * DAY_S, at, _edge(database()))


@dataclass(slots=True)
class Ranked:
    """One vehicle or group: hours, alerts by level, alerts per 100 h; shares in percent."""

    vehicle: str
    hours: float
    driven: float
    alerts: int = 0
    caution: int = 0
    warning: int = 0
    critical: int = 0
    online: float | None = None
    watched: float | None = field(init=False)
    rate: float | None = None
    low: float | None = None
    high: float | None = None
    ranked: bool = False

    def __post_init__(self) -> None:
        self.watched = 100 * self.hours / self.driven if self.driven else None

    def judge(self) -> None:
        """Work out the rate per 100 h with its 95 % interval, and whether it may be ranked."""
        if self.hours < LEAST_HOURS:
            return
        estimate = statistics.rate(self.alerts, self.hours / 100)
        self.rate, self.low, self.high = estimate.value, estimate.low, estimate.high
        self.ranked = self.alerts >= LEAST_ALERTS

    def add(self, level: Level, events: int) -> None:
        """Count alerts of a level."""
        self.alerts += events
        name = level.name.lower()
        setattr(self, name, getattr(self, name) + events)


def _ranking(log: Database, span: TimeRange, level: int) -> pd.DataFrame:
    """A row a vehicle, the one with the most alerts per monitored hour first."""
    rows: dict[str, Ranked] = {}
    for coverage in _watched_by_vehicle(log, span):
        rows[coverage.vehicle] = Ranked(
            coverage.vehicle, coverage.monitored_s / 3600, coverage.driven_s / 3600
        )
    for count in _by_vehicle(log, span, level):
        if ranked := rows.get(count.vehicle):
            ranked.add(Level(count.level), count.events)
    for reach in _reachable(log, span):
        known_s = reach.online_s + reach.offline_s
        if (ranked := rows.get(reach.vehicle)) and known_s:
            ranked.online = 100 * reach.online_s / known_s
    for ranked in rows.values():
        ranked.judge()
    frame = pd.DataFrame(list(rows.values()))
    if frame.empty:
        return frame
    return frame.sort_values(
        ["ranked", "low", "rate"], ascending=False, na_position="last", ignore_index=True
    )


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


def _charts(log: Database, span: TimeRange, level: int, vehicle: str | None) -> None:
    by_day = _by_day(log, span, level, vehicle)
    watched = _watched_by_hour(log, span, vehicle)
    left, right = st.columns([1.9, 1], gap="large")
    with left:
        st.markdown("##### Day by day")
        if rates := _daily_rates(by_day, watched):
            today = rollup.day_of(span.until)
            days = [span.since + n * DAY_S for n in range(int((today - span.since) / DAY_S) + 1)]
            st.altair_chart(charts.trend(rates, days, today), key="trend")
            st.caption(
                "The pale bar is today, which is not over yet. A day without a bar had no alert, "
                "or too little monitored time."
            )
        else:
            st.caption(_TOO_SHORT)
    with right:
        st.markdown("##### What the alerts were")
        st.altair_chart(charts.kinds(_summed(by_day)), key="kinds")
    left, right = st.columns([1.9, 1], gap="large")
    with left:
        st.markdown("##### When in the week")
        hours = _by_hour(log, span, level, vehicle)
        cells = _weekly(hours, watched)
        if any(cell.rate is not None for cell in cells):
            st.altair_chart(charts.heat_map(cells), key="week")
        else:
            st.caption(_TOO_SHORT)
    with right:
        st.markdown("##### Why drivers were not monitored")
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
        hours[rollup.day_of(report.hour)] += report.monitored_s / 3600
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


def _rank(ranking: pd.DataFrame) -> None:
    st.markdown("##### Vehicles, those surely above the others first")
    table = ranking.assign(
        interval=[
            _interval(low, high) for low, high in zip(ranking["low"], ranking["high"], strict=True)
        ],
        place=[
            str(n + 1) if ranked else "too few alerts" for n, ranked in enumerate(ranking["ranked"])
        ],
    )
    columns = [
        "vehicle",
        "place",
        "rate",
        "interval",
        "caution",
        "warning",
        "critical",
        "watched",
        "online",
        "hours",
    ]
    # Where nobody was watched for an hour yet there is no rate, and so no largest one.
    top = ranking["rate"].max()
    top = float(top) if top > 0 else 1.0
    st.dataframe(
        table[columns],
        hide_index=True,
        height=min(36 * len(ranking) + 40, 420),
        on_select=opens("of", "ranking", [str(name) for name in ranking["vehicle"]]),
        selection_mode="single-cell",
        key="ranking",
        column_config=_rate_columns(top)
        | {
            "vehicle": st.column_config.TextColumn("Vehicle", pinned=True),
        },
    )
    st.caption(
        f"Click a row to look at one vehicle. The order is that of the interval's lower end; with "
        f"fewer than {LEAST_ALERTS} alerts nobody is ranked, because chance would decide."
    )


def _rate_columns(top: float) -> dict[str, ColumnConfig]:
    """Of the table of vehicles and of that of groups."""
    return {
        "place": st.column_config.TextColumn("Place", width="small"),
        "rate": st.column_config.ProgressColumn(
            "Alerts per 100 h",
            min_value=0,
            max_value=top,
            format="%.1f",
            help=theme.term("Alerts per 100 h"),
        ),
        "interval": st.column_config.TextColumn("95 % interval", help=theme.term("95 % interval")),
        "caution": st.column_config.NumberColumn("Caution", format="localized"),
        "warning": st.column_config.NumberColumn("Warning", format="localized"),
        "critical": st.column_config.NumberColumn("Critical", format="localized"),
        "watched": st.column_config.NumberColumn(
            "Monitored", format="%.1f %%", help=theme.term("Monitored")
        ),
        "online": st.column_config.NumberColumn(
            "Reachable", format="%.1f %%", help=theme.term("Reachable")
        ),
        "hours": st.column_config.NumberColumn("Monitored h", format="%.0f"),
        "vehicles": st.column_config.NumberColumn("Vehicles"),
    }


def _interval(low: float | None, high: float | None) -> str:
    if low is None or high is None or pd.isna(low) or pd.isna(high):
        return ""
    return f"{low:.1f} to {high:.1f}"


def _compare_groups(ranking: pd.DataFrame) -> None:
    """The same of each group of vehicles; a vehicle in two groups counts in both."""
    members = _groups_of(database())
    sums: dict[str, Ranked] = {}
    counts: Counter[str] = Counter()
    for row in ranking.itertuples():
        for group in members.get(str(row.vehicle), ()):
            total = sums.setdefault(group, Ranked(group, 0.0, 0.0))
            total.hours, total.driven = total.hours + row.hours, total.driven + row.driven
            for level in (Level.CAUTION, Level.WARNING, Level.CRITICAL):
                total.add(level, int(getattr(row, level.name.lower())))
            counts[group] += 1
    if len(sums) < 2:
        return
    for total in sums.values():
        total.__post_init__()
        total.judge()
    frame = pd.DataFrame(list(sums.values())).sort_values("rate", ascending=False)
    frame["interval"] = [
        _interval(low, high) for low, high in zip(frame["low"], frame["high"], strict=True)
    ]
    frame["vehicles"] = [counts[name] for name in frame["vehicle"]]
    st.markdown("##### Groups compared")
    st.dataframe(
        frame[
            [
                "vehicle",
                "vehicles",
                "rate",
                "interval",
                "caution",
                "warning",
                "critical",
                "watched",
                "hours",
            ]
        ],
        hide_index=True,
        key="groups-compared",
        column_config=_rate_columns(float(frame["rate"].max() or 1.0))
        | {
            "vehicle": st.column_config.TextColumn("Group", help=theme.term("Group")),
        },
    )


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
