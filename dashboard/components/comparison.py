"""Vehicles, drivers and groups by their alerts in 100 monitored hours, nobody ranked by chance."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import pandas as pd
import streamlit as st
from streamlit.elements.lib.column_types import ColumnConfig

from dashboard.address import opens
from dashboard.components import columns, theme
from dashboard.queries import drivers, fleet, groups, statistics
from dashboard.queries.database import Database
from dashboard.queries.fleet import TimeRange
from dashboard.session import database, kept
from monitor.types import Level

# A rate over fewer monitored hours than this says nothing.
LEAST_HOURS: Final = 1.0
# With fewer alerts than this chance decides the order: the 95 % interval of 8 is 3.5 to 15.8.
LEAST_ALERTS: Final = 8
_by_vehicle = kept(fleet.by_vehicle)
_watched_by_vehicle = kept(fleet.watched_by_vehicle)
_reachable = kept(fleet.reachable)
_by_driver = kept(drivers.by_driver)
_watched_by_driver = kept(drivers.watched_by_driver)
_groups_of = kept(groups.of_vehicles)


@dataclass(slots=True)
class Ranked:
    """A vehicle, driver or group: hours, alerts by level, and alerts per 100 monitored hours."""

    name: str
    monitored_h: float
    driven_h: float
    alerts: int = 0
    caution: int = 0
    warning: int = 0
    critical: int = 0
    online_percent: float | None = None
    vehicles: int = 1
    monitored_percent: float | None = None
    rate: float | None = None
    low: float | None = None
    high: float | None = None
    ranked: bool = False

    def add(self, level: Level, events: int) -> None:
        """Count alerts of a level."""
        self.alerts += events
        name = level.name.lower()
        setattr(self, name, getattr(self, name) + events)

    def judge(self) -> None:
        """Work out the rate per 100 h with its 95 % interval, and whether it may be ranked."""
        self.monitored_percent = 100 * self.monitored_h / self.driven_h if self.driven_h else None
        if self.monitored_h < LEAST_HOURS:
            return
        estimate = statistics.rate(self.alerts, self.monitored_h / 100)
        self.rate, self.low, self.high = estimate.value, estimate.low, estimate.high
        self.ranked = self.alerts >= LEAST_ALERTS


def _in_order(rows: Iterable[Ranked]) -> pd.DataFrame:
    """A row each: those with alerts enough by the lower end of their interval, then the others."""
    judged = list(rows)
    for row in judged:
        row.judge()
    frame = pd.DataFrame(judged)
    if frame.empty:
        return frame
    return frame.sort_values(
        ["ranked", "low", "rate"], ascending=False, na_position="last", ignore_index=True
    )


def vehicle_ranking(log: Database, span: TimeRange, level: int) -> pd.DataFrame:
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
            ranked.online_percent = 100 * reach.online_s / known_s
    return _in_order(rows.values())


def draw_vehicles(ranking: pd.DataFrame) -> None:
    """The vehicles; a click on one opens it."""
    names = [str(name) for name in ranking["name"]]
    _table(
        ranking,
        "Vehicle",
        ("monitored_percent", "online_percent", "monitored_h"),
        opens("of", _key("Vehicle"), names),
    )
    st.caption(f"Click a row to look at one vehicle. {_ORDER}")


def draw_drivers(log: Database, span: TimeRange, level: int) -> None:
    """The drivers that vehicles were told of; a click on one offers their alerts."""
    rows: dict[str, Ranked] = {}
    nameless_h = 0.0
    for coverage in _watched_by_driver(log, span):
        if coverage.driver is None:
            nameless_h = coverage.driven_s / 3600
            continue
        rows[coverage.driver] = Ranked(
            coverage.driver, coverage.monitored_s / 3600, coverage.driven_s / 3600
        )
    for count in _by_driver(log, span, level):
        rows.setdefault(count.driver, Ranked(count.driver, 0.0, 0.0)).add(
            Level(count.level), count.events
        )
    if not rows:
        theme.nothing(
            "No vehicle has been told who drives",
            "A pseudonym or the number of a shift is optional: set `driver.id` or `driver.topic` "
            "on a vehicle. It is never taken from the face.",
        )
        return
    ranking = _in_order(rows.values())
    names = [str(name) for name in ranking["name"]]
    _table(
        ranking,
        "Driver",
        ("monitored_percent", "monitored_h"),
        opens("driver", _key("Driver"), names),
    )
    unknown = f" For {nameless_h:,.0f} h nobody said who drove." if nameless_h >= 1 else ""
    st.caption(f"Click a row for the driver's alerts. {_ORDER}{unknown}")
    if (driver := st.query_params.get("driver")) in rows:
        _links_of_driver(driver)


def draw_groups(ranking: pd.DataFrame) -> None:
    """The groups of the vehicles; one in two groups counts in both. A click narrows to it."""
    members = _groups_of(database())
    sums: dict[str, Ranked] = {}
    for row in ranking.itertuples():
        for group in members.get(str(row.name), ()):
            total = sums.setdefault(group, Ranked(group, 0.0, 0.0, vehicles=0))
            total.monitored_h += row.monitored_h
            total.driven_h += row.driven_h
            total.vehicles += 1
            for level in (Level.CAUTION, Level.WARNING, Level.CRITICAL):
                total.add(level, int(getattr(row, level.name.lower())))
    if not sums:
        theme.nothing(
            "There are no groups yet",
            "Put vehicles into groups (depots) to compare them:",
            "wakeful fleet group north truck-1 truck-2",
        )
        return
    ranking = _in_order(sums.values())
    names = [str(name) for name in ranking["name"]]
    _table(
        ranking,
        "Group",
        ("vehicles", "monitored_percent", "monitored_h"),
        opens("group", _key("Group"), names),
    )
    st.caption(f"Click a row to see that group alone. {_ORDER}")


_ORDER: Final = (
    "The order is that of the interval's lower end; with fewer than "
    f"{LEAST_ALERTS} alerts nobody is ranked, because chance would decide."
)


def _key(title: str) -> str:
    return f"ranking-{title.lower()}"


def _table(
    ranking: pd.DataFrame, title: str, last: tuple[str, ...], clicked: Callable[[], None]
) -> None:
    """Rates with their intervals, a row each; `last` names the columns behind the counts."""
    table = ranking.assign(
        interval=[
            _interval(low, high) for low, high in zip(ranking["low"], ranking["high"], strict=True)
        ],
        place=[
            str(n + 1) if ranked else "too few alerts" for n, ranked in enumerate(ranking["ranked"])
        ],
    )
    # Where nobody was monitored for an hour yet there is no rate, and so no largest one.
    top = ranking["rate"].max()
    st.dataframe(
        table[["name", "place", "rate", "interval", "caution", "warning", "critical", *last]],
        hide_index=True,
        height=min(36 * len(ranking) + 40, 420),
        on_select=clicked,
        selection_mode="single-cell",
        key=_key(title),
        column_config=_rate_columns(float(top) if top > 0 else 1.0)
        | {"name": columns.text(title, pinned=True)},
    )


def _rate_columns(top: float) -> dict[str, ColumnConfig]:
    """Of the tables of vehicles, drivers and groups."""
    return {
        "place": columns.text("Place", width="small"),
        "rate": columns.bar(
            "Alerts per 100 h",
            max_value=top,
            format="%.1f",
        ),
        "interval": columns.text("95 % interval"),
        "caution": columns.number("Caution", format="localized"),
        "warning": columns.number("Warning", format="localized"),
        "critical": columns.number("Critical", format="localized"),
        "monitored_percent": columns.number("Monitored", format="%.1f %%"),
        "online_percent": columns.number("Reachable", format="%.1f %%"),
        "monitored_h": columns.number("Monitored h", format="%.0f"),
        "vehicles": columns.number("Vehicles"),
    }


def _interval(low: float | None, high: float | None) -> str:
    if low is None or high is None or pd.isna(low) or pd.isna(high):
        return ""
    return f"{low:.1f} to {high:.1f}"


def _links_of_driver(driver: str) -> None:
    with st.container(horizontal=True):
        st.page_link(
            "views/events.py",
            label=f"Alerts of {theme.plain(driver)}",
            icon=":material/notifications:",
            query_params={"driver": driver, "time": "30"},
        )
