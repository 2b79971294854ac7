"""The fleet over time: how often, how well watched, when, and which vehicle stands out.

A question over months is answered from the sums of whole past days (`rollup`) and, for the days
that are not summed yet, from the events and coverage themselves, in one statement.
"""

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Subquery, case, func, select, true, union_all

from dashboard.queries.database import Record, Store
from monitor.protocol.schemas import MONITORED
from monitor.store.schema import (
    availability,
    coverage,
    coverage_days,
    coverage_hours,
    event_days,
    event_hours,
    events,
)
from monitor.types import Kind, Level

HOUR_S: Final = 3_600.0
DAY_S: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time, epoch seconds; `until` is not inside.

    Attributes:
        since, until: its ends. Sums are used only if `since` begins a day (UTC).
        edge: up to where sums may be read, as `rollup.edge` tells.
    """

    since: float
    until: float
    edge: float = 0.0

    @property
    def summed_until(self) -> float:
        """Up to where this span reads sums; its own start where it reads none."""
        whole = self.since % DAY_S == 0
        return min(max(self.edge, self.since), self.until) if whole else self.since


def by_vehicle(store: Store, span: Span, min_level: int = Level.CAUTION) -> list[Record]:
    """Alerts of each vehicle at each level. `degraded` is not an alert."""
    d = _vehicle_days(span)
    total = func.sum(d.c.events).label("events")
    statement = (
        select(d.c.vehicle, d.c.level, total)
        .where(_alert(d, min_level))
        .group_by(d.c.vehicle, d.c.level)
    )
    return _whole(store.rows(statement))


def by_day(
    store: Store, span: Span, min_level: int = Level.CAUTION, vehicle: str | None = None
) -> list[Record]:
    """Alerts a day (UTC, epoch seconds of its start), kind and level."""
    h = _hours(span, vehicle)
    day = func.floor(h.c.hour / DAY_S) * DAY_S
    statement = (
        select(day.label("day"), h.c.kind, h.c.level, func.sum(h.c.events).label("events"))
        .where(_alert(h, min_level))
        .group_by(day, h.c.kind, h.c.level)
        .order_by(day)
    )
    return _whole(store.rows(statement))


def by_hour(
    store: Store, span: Span, min_level: int = Level.CAUTION, vehicle: str | None = None
) -> list[Record]:
    """Alerts an hour of the calendar (epoch seconds of its start)."""
    h = _hours(span, vehicle)
    statement = (
        select(h.c.hour, func.sum(h.c.events).label("events"))
        .where(_alert(h, min_level))
        .group_by(h.c.hour)
    )
    return _whole(store.rows(statement))


def watched_by_vehicle(store: Store, span: Span) -> list[Record]:
    """Monitored and driven seconds of each vehicle."""
    d = _covered_vehicle_days(span)
    statement = select(
        d.c.vehicle,
        func.sum(d.c.monitored_s).label("monitored_s"),
        func.sum(d.c.driven_s).label("driven_s"),
    ).group_by(d.c.vehicle)
    return store.rows(statement)


def watched_by_cause(store: Store, span: Span, vehicle: str | None = None) -> list[Record]:
    """Driven seconds by what impaired the watch; `monitored` is the rest."""
    h = _covered_hours(span, vehicle)
    seconds = func.sum(h.c.seconds).label("seconds")
    return store.rows(select(h.c.cause, seconds).group_by(h.c.cause).order_by(seconds.desc()))


def watched_by_hour(store: Store, span: Span, vehicle: str | None = None) -> list[Record]:
    """Monitored and driven seconds by the hour of the calendar in which they were reported."""
    h = _covered_hours(span, vehicle)
    monitored = func.sum(case((h.c.cause == MONITORED, h.c.seconds), else_=0.0))
    statement = select(
        h.c.hour,
        monitored.label("monitored_s"),
        func.sum(h.c.seconds).label("driven_s"),
    ).group_by(h.c.hour)
    return store.rows(statement)


def reachable(store: Store, span: Span) -> list[Record]:
    """Seconds of each vehicle online, and offline against its will, from its history."""
    a = availability.c
    next_at = func.lead(a.at, 1, span.until).over(partition_by=a.vehicle, order_by=a.at)
    spans = (
        select(a.vehicle, a.status, (next_at - a.at).label("seconds"))
        .where(a.at >= span.since, a.at < span.until)
        .subquery()
    )

    def total(status: str) -> ColumnElement[float]:
        return func.sum(case((spans.c.status == status, spans.c.seconds), else_=0.0))

    statement = select(
        spans.c.vehicle,
        total("online").label("online_s"),
        total("offline").label("offline_s"),
    ).group_by(spans.c.vehicle)
    return store.rows(statement)


def _alert(source: Subquery, min_level: int) -> ColumnElement[bool]:
    return (source.c.level >= min_level) & (source.c.kind != Kind.DEGRADED.value)


def _vehicle_days(span: Span) -> Subquery:
    d, e = event_days.c, events.c
    summed = select(d.vehicle, d.kind, d.level, d.events).where(
        d.day >= span.since, d.day < span.summed_until
    )
    rest = (
        select(e.vehicle, e.kind, e.level, func.count().label("events"))
        .where(e.started_at >= span.summed_until, e.started_at < span.until)
        .group_by(e.vehicle, e.kind, e.level)
    )
    return _together(span, summed, rest)


def _hours(span: Span, vehicle: str | None) -> Subquery:
    h, e = event_hours.c, events.c
    summed_until = span.since if vehicle else span.summed_until
    hour = _hour(e.started_at)
    summed = select(h.hour, h.kind, h.level, h.events).where(
        h.hour >= span.since, h.hour < summed_until
    )
    rest = (
        select(hour.label("hour"), e.kind, e.level, func.count().label("events"))
        .where(e.started_at >= summed_until, e.started_at < span.until)
        .where(e.vehicle == vehicle if vehicle else true())
        .group_by(hour, e.kind, e.level)
    )
    return _together(span, summed, rest, alone=vehicle is not None)


def _covered_vehicle_days(span: Span) -> Subquery:
    d, c = coverage_days.c, coverage.c
    monitored = func.sum(case((c.cause == MONITORED, c.seconds), else_=0.0))
    summed = select(d.vehicle, d.monitored_s, d.driven_s).where(
        d.day >= span.since, d.day < span.summed_until
    )
    rest = (
        select(c.vehicle, monitored.label("monitored_s"), func.sum(c.seconds).label("driven_s"))
        .where(c.started_at >= span.summed_until, c.started_at < span.until)
        .group_by(c.vehicle)
    )
    return _together(span, summed, rest)


def _covered_hours(span: Span, vehicle: str | None) -> Subquery:
    h, c = coverage_hours.c, coverage.c
    summed_until = span.since if vehicle else span.summed_until
    hour = _hour(c.started_at)
    summed = select(h.hour, h.cause, h.seconds).where(h.hour >= span.since, h.hour < summed_until)
    rest = (
        select(hour.label("hour"), c.cause, func.sum(c.seconds).label("seconds"))
        .where(c.started_at >= summed_until, c.started_at < span.until)
        .where(c.vehicle == vehicle if vehicle else true())
        .group_by(hour, c.cause)
    )
    return _together(span, summed, rest, alone=vehicle is not None)


def _together(span: Span, summed: Any, rest: Any, *, alone: bool = False) -> Subquery:
    """Sums and what is not summed yet; only the latter where there are no sums to read."""
    if alone or span.summed_until <= span.since:
        found: Subquery = rest.subquery()
        return found
    return union_all(summed, rest).subquery()


def _hour(at: ColumnElement[float]) -> ColumnElement[float]:
    """The start of the hour that holds `at`."""
    return func.floor(at / HOUR_S) * HOUR_S


def _whole(rows: list[Record]) -> list[Record]:
    # PostgreSQL sums big integers into a numeric.
    return [{**row, "events": int(row["events"])} for row in rows]
