"""The fleet over time: how often, how well watched, when, and which vehicle stands out.

A question over months is answered from the sums of whole past days (`rollup`) and, for the days
that are not summed yet, from the events and coverage themselves, in one statement.
"""

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Subquery,
    case,
    cast,
    func,
    select,
    true,
    union_all,
)

from dashboard.queries.database import Database
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
class TimeRange:
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


@dataclass(frozen=True, slots=True)
class VehicleAlerts:
    """How many alerts of a level a vehicle had."""

    vehicle: str
    level: int
    events: int


@dataclass(frozen=True, slots=True)
class DayAlerts:
    """How many alerts of a kind and level began on a day (UTC; `day` is its start, epoch s)."""

    day: float
    kind: str
    level: int
    events: int


@dataclass(frozen=True, slots=True)
class HourAlerts:
    """How many alerts began in an hour (`hour` is its start, epoch seconds)."""

    hour: float
    events: int


@dataclass(frozen=True, slots=True)
class VehicleCoverage:
    """For how long a vehicle drove, and its driver was monitored."""

    vehicle: str
    monitored_s: float
    driven_s: float


@dataclass(frozen=True, slots=True)
class CauseCoverage:
    """For how long something impaired the watch; cause `monitored` is the rest."""

    cause: str
    seconds: float


@dataclass(frozen=True, slots=True)
class HourCoverage:
    """Driven and monitored seconds of an hour (`hour` is its start, epoch seconds)."""

    hour: float
    monitored_s: float
    driven_s: float


@dataclass(frozen=True, slots=True)
class Reachability:
    """For how long a vehicle was online, and offline without having stopped."""

    vehicle: str
    online_s: float
    offline_s: float


def by_vehicle(
    database: Database, span: TimeRange, min_level: int = Level.CAUTION
) -> list[VehicleAlerts]:
    """Alerts of each vehicle at each level. `degraded` is not an alert."""
    d = _vehicle_days(database, span)
    total = _total(d.c.events)
    statement = (
        select(d.c.vehicle, d.c.level, total)
        .where(_alert(d, min_level))
        .group_by(d.c.vehicle, d.c.level)
    )
    return database.fetch(VehicleAlerts, statement)


def by_day(
    database: Database, span: TimeRange, min_level: int = Level.CAUTION, vehicle: str | None = None
) -> list[DayAlerts]:
    """Alerts a day (UTC, epoch seconds of its start), kind and level."""
    h = _hours(database, span, vehicle)
    day = func.floor(h.c.hour / DAY_S) * DAY_S
    statement = (
        select(day.label("day"), h.c.kind, h.c.level, _total(h.c.events))
        .where(_alert(h, min_level))
        .group_by(day, h.c.kind, h.c.level)
        .order_by(day)
    )
    return database.fetch(DayAlerts, statement)


def by_hour(
    database: Database, span: TimeRange, min_level: int = Level.CAUTION, vehicle: str | None = None
) -> list[HourAlerts]:
    """Alerts an hour of the calendar (epoch seconds of its start)."""
    h = _hours(database, span, vehicle)
    statement = select(h.c.hour, _total(h.c.events)).where(_alert(h, min_level)).group_by(h.c.hour)
    return database.fetch(HourAlerts, statement)


def watched_by_vehicle(database: Database, span: TimeRange) -> list[VehicleCoverage]:
    """Monitored and driven seconds of each vehicle."""
    d = _covered_vehicle_days(database, span)
    statement = select(
        d.c.vehicle,
        func.sum(d.c.monitored_s).label("monitored_s"),
        func.sum(d.c.driven_s).label("driven_s"),
    ).group_by(d.c.vehicle)
    return database.fetch(VehicleCoverage, statement)


def watched_by_cause(
    database: Database, span: TimeRange, vehicle: str | None = None
) -> list[CauseCoverage]:
    """Driven seconds by what impaired the watch; `monitored` is the rest."""
    h = _covered_hours(database, span, vehicle)
    seconds = func.sum(h.c.seconds).label("seconds")
    statement = select(h.c.cause, seconds).group_by(h.c.cause).order_by(seconds.desc())
    return database.fetch(CauseCoverage, statement)


def watched_by_hour(
    database: Database, span: TimeRange, vehicle: str | None = None
) -> list[HourCoverage]:
    """Monitored and driven seconds by the hour of the calendar in which they were reported."""
    h = _covered_hours(database, span, vehicle)
    monitored = func.sum(case((h.c.cause == MONITORED, h.c.seconds), else_=0.0))
    statement = select(
        h.c.hour,
        monitored.label("monitored_s"),
        func.sum(h.c.seconds).label("driven_s"),
    ).group_by(h.c.hour)
    return database.fetch(HourCoverage, statement)


def reachable(database: Database, span: TimeRange) -> list[Reachability]:
    """Seconds of each vehicle online, and offline against its will, from its history."""
    a = availability.c
    next_at = func.lead(a.at, 1, span.until).over(partition_by=a.vehicle, order_by=a.at)
    spans = (
        select(a.vehicle, a.status, (next_at - a.at).label("seconds"))
        .where(database.allows(a.vehicle), a.at >= span.since, a.at < span.until)
        .subquery()
    )

    def total(status: str) -> ColumnElement[float]:
        return func.sum(case((spans.c.status == status, spans.c.seconds), else_=0.0))

    statement = select(
        spans.c.vehicle,
        total("online").label("online_s"),
        total("offline").label("offline_s"),
    ).group_by(spans.c.vehicle)
    return database.fetch(Reachability, statement)


def _alert(source: Subquery, min_level: int) -> ColumnElement[bool]:
    return (source.c.level >= min_level) & (source.c.kind != Kind.DEGRADED.value)


def _vehicle_days(database: Database, span: TimeRange) -> Subquery:
    d, e = event_days.c, events.c
    summed = select(d.vehicle, d.kind, d.level, d.events).where(
        database.allows(d.vehicle), d.day >= span.since, d.day < span.summed_until
    )
    rest = (
        select(e.vehicle, e.kind, e.level, func.count().label("events"))
        .where(e.started_at >= span.summed_until, e.started_at < span.until)
        .where(database.allows(e.vehicle))
        .group_by(e.vehicle, e.kind, e.level)
    )
    return _together(span, summed, rest)


def _hours(database: Database, span: TimeRange, vehicle: str | None) -> Subquery:
    h, e = event_hours.c, events.c
    # The sums of hours know no vehicles: a part of the fleet is counted from the rows themselves.
    part = vehicle is not None or database.scope.limited
    summed_until = span.since if part else span.summed_until
    hour = _hour(e.started_at)
    summed = select(h.hour, h.kind, h.level, h.events).where(
        h.hour >= span.since, h.hour < summed_until
    )
    rest = (
        select(hour.label("hour"), e.kind, e.level, func.count().label("events"))
        .where(e.started_at >= summed_until, e.started_at < span.until)
        .where(database.allows(e.vehicle), e.vehicle == vehicle if vehicle else true())
        .group_by(hour, e.kind, e.level)
    )
    return _together(span, summed, rest, alone=part)


def _covered_vehicle_days(database: Database, span: TimeRange) -> Subquery:
    d, c = coverage_days.c, coverage.c
    monitored = func.sum(case((c.cause == MONITORED, c.seconds), else_=0.0))
    summed = select(d.vehicle, d.monitored_s, d.driven_s).where(
        database.allows(d.vehicle), d.day >= span.since, d.day < span.summed_until
    )
    rest = (
        select(c.vehicle, monitored.label("monitored_s"), func.sum(c.seconds).label("driven_s"))
        .where(c.started_at >= span.summed_until, c.started_at < span.until)
        .where(database.allows(c.vehicle))
        .group_by(c.vehicle)
    )
    return _together(span, summed, rest)


def _covered_hours(database: Database, span: TimeRange, vehicle: str | None) -> Subquery:
    h, c = coverage_hours.c, coverage.c
    # The sums of hours know no vehicles: a part of the fleet is counted from the rows themselves.
    part = vehicle is not None or database.scope.limited
    summed_until = span.since if part else span.summed_until
    hour = _hour(c.started_at)
    summed = select(h.hour, h.cause, h.seconds).where(h.hour >= span.since, h.hour < summed_until)
    rest = (
        select(hour.label("hour"), c.cause, func.sum(c.seconds).label("seconds"))
        .where(c.started_at >= summed_until, c.started_at < span.until)
        .where(database.allows(c.vehicle), c.vehicle == vehicle if vehicle else true())
        .group_by(hour, c.cause)
    )
    return _together(span, summed, rest, alone=part)


def _together(span: TimeRange, summed: Any, rest: Any, *, alone: bool = False) -> Subquery:
    """Sums and what is not summed yet; only the latter where there are no sums to read."""
    if alone or span.summed_until <= span.since:
        joined: Subquery = rest.subquery()
        return joined
    return union_all(summed, rest).subquery()


def _hour(at: ColumnElement[float]) -> ColumnElement[float]:
    """The start of the hour that holds `at`."""
    return func.floor(at / HOUR_S) * HOUR_S


def _total(counts: ColumnElement[int]) -> ColumnElement[int]:
    """Their sum as an integer: PostgreSQL sums big integers into a numeric."""
    return cast(func.sum(counts), BigInteger).label("events")
