"""The fleet over time: how often, how well watched, when, and which vehicle stands out.

Answered from the sums (`monitor.store.sums`), whole days at a time. When and why are summed for the
whole fleet; of one vehicle or of some groups they are counted in the rows themselves.
"""

from collections import defaultdict
from dataclasses import dataclass

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    Double,
    Table,
    and_,
    case,
    cast,
    func,
    literal_column,
    select,
    true,
)

from dashboard.queries.database import Database
from monitor.protocol.schemas import MONITORED
from monitor.store import sums
from monitor.store.schema import (
    LAST_STATUS,
    availability,
    coverage,
    coverage_hours,
    event_days,
    event_hours,
    events,
    vehicle_days,
)
from monitor.store.sums import DAY_S, HOUR_S, Columns, Query
from monitor.types import Kind, Level

day_of = sums.day_of


@dataclass(frozen=True, slots=True)
class TimeRange:
    """A stretch of time, epoch seconds; `until` is not inside.

    Attributes:
        since, until: its ends. It is as if `since` were the start of its day (UTC).
    """

    since: float
    until: float

    @property
    def first_day(self) -> float:
        """Epoch seconds of the start of its first day."""
        return day_of(self.since)


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
    levels = [level for level in Level if level >= max(min_level, Level.INFO)]
    rows = database.rows(_by_vehicle(database, span, *(level.name.lower() for level in levels)))
    return [
        VehicleAlerts(row["vehicle"], int(level), int(events))
        for row in rows
        for level in levels
        if (events := row[level.name.lower()])
    ]


def by_day(
    database: Database, span: TimeRange, min_level: int = Level.CAUTION, vehicle: str | None = None
) -> list[DayAlerts]:
    """Alerts a day (UTC, epoch seconds of its start), kind and level."""
    source: Columns = events.c
    day, total = _start(source.started_at, DAY_S), _count()
    wanted = _rows_of(database, events, span, vehicle)
    if not _is_part(database, vehicle):
        source = sums.current(event_days).c
        day, total = source.day, _total(source.events)
        wanted = (day >= span.first_day, day < span.until)
    statement = (
        select(day.label("day"), source.kind, source.level, total.label("events"))
        .where(*wanted, _alert(source, min_level))
        .group_by(day, source.kind, source.level)
        .order_by(day)
    )
    return database.fetch(DayAlerts, statement)


def by_hour(
    database: Database, span: TimeRange, min_level: int = Level.CAUTION, vehicle: str | None = None
) -> list[HourAlerts]:
    """Alerts an hour of the calendar (epoch seconds of its start)."""
    e = events.c
    hour, total = _start(e.started_at, HOUR_S), _count()
    wanted = (*_rows_of(database, events, span, vehicle), _alert(e, min_level))
    if not _is_part(database, vehicle):
        h = sums.current(event_hours).c
        hour, total = h.hour, _total(h.events)
        wanted = (h.hour >= span.first_day, h.hour < span.until, h.level >= min_level)
    statement = select(hour.label("hour"), total.label("events")).where(*wanted).group_by(hour)
    return database.fetch(HourAlerts, statement)


def watched_by_vehicle(database: Database, span: TimeRange) -> list[VehicleCoverage]:
    """Monitored and driven seconds of each vehicle."""
    rows = database.rows(_by_vehicle(database, span, "monitored_ms", "driven_ms"))
    return [
        VehicleCoverage(row["vehicle"], int(row["monitored_ms"]) / 1000, int(driven_ms) / 1000)
        for row in rows
        if (driven_ms := row["driven_ms"])
    ]


def watched_by_cause(
    database: Database, span: TimeRange, vehicle: str | None = None
) -> list[CauseCoverage]:
    """Driven seconds by what impaired the watch; `monitored` is the rest."""
    source = _covered(database, span, vehicle)
    seconds = func.sum(source.seconds).label("seconds")
    statement = select(source.cause, seconds).group_by(source.cause).order_by(seconds.desc())
    return database.fetch(CauseCoverage, statement)


def watched_by_hour(
    database: Database, span: TimeRange, vehicle: str | None = None
) -> list[HourCoverage]:
    """Monitored and driven seconds by the hour of the calendar in which they were reported."""
    source = _covered(database, span, vehicle)
    monitored = func.sum(case((source.cause == MONITORED, source.seconds), else_=0.0))
    statement = select(
        source.hour,
        monitored.label("monitored_s"),
        func.sum(source.seconds).label("driven_s"),
    ).group_by(source.hour)
    return database.fetch(HourCoverage, statement)


def reachable(database: Database, span: TimeRange) -> list[Reachability]:
    """Seconds of each vehicle online, and offline against its will, from its history.

    What began before the span does not count; what goes on counts until its end.
    """
    online_s: defaultdict[str, float] = defaultdict(float)
    offline_s: defaultdict[str, float] = defaultdict(float)
    for row in database.rows(_by_vehicle(database, span, "online_ms", "offline_ms")):
        online_s[row["vehicle"]] = int(row["online_ms"]) / 1000
        offline_s[row["vehicle"]] = int(row["offline_ms"]) / 1000
    a = availability.c
    last = select(a.vehicle, a.status, (span.until - a.at).label("seconds")).where(
        database.allows(a.vehicle),
        literal_column(LAST_STATUS, Boolean),
        a.at >= span.first_day,
        a.at < span.until,
    )
    for row in database.rows(last):
        online_s[row["vehicle"]] += row["seconds"] if row["status"] == "online" else 0.0
        offline_s[row["vehicle"]] += row["seconds"] if row["status"] == "offline" else 0.0
    return [
        Reachability(vehicle, online_s[vehicle], offline_s[vehicle])
        for vehicle in sorted({*online_s, *offline_s})
    ]


def _by_vehicle(database: Database, span: TimeRange, *values: str) -> Query:
    """Columns of `vehicle_days` added up, a row a vehicle."""
    d = sums.current(vehicle_days).c
    # Whole numbers below 2^53 are exact, and PostgreSQL adds them up in half the time of integers.
    totals = [func.sum(cast(d[value], Double)).label(value) for value in values]
    return (
        select(d.vehicle, *totals)
        .where(database.allows(d.vehicle), d.day >= span.first_day, d.day < span.until)
        .group_by(d.vehicle)
    )


def _covered(database: Database, span: TimeRange, vehicle: str | None) -> Columns:
    """Columns hour, cause and seconds; of a part of the fleet from the reports themselves."""
    if _is_part(database, vehicle):
        c = coverage.c
        wanted = _rows_of(database, coverage, span, vehicle)
        hour = _start(c.started_at, HOUR_S).label("hour")
        return select(hour, c.cause, c.seconds).where(*wanted).subquery().c
    h = sums.current(coverage_hours).c
    seconds = (cast(h.milliseconds, Double) / 1000).label("seconds")
    wanted = (h.hour >= span.first_day, h.hour < span.until)
    return select(h.hour, h.cause, seconds).where(*wanted).subquery().c


def _is_part(database: Database, vehicle: str | None) -> bool:
    """Of hours, kinds and causes there are sums of the whole fleet alone."""
    return vehicle is not None or database.scope.limited


def _rows_of(
    database: Database, table: Table, span: TimeRange, vehicle: str | None
) -> tuple[ColumnElement[bool], ...]:
    t = table.c
    mine = true() if vehicle is None else t.vehicle == vehicle
    inside = t.started_at >= span.first_day, t.started_at < span.until
    return database.allows(t.vehicle), mine, *inside


def _alert(source: Columns, min_level: int) -> ColumnElement[bool]:
    condition: ColumnElement[bool] = and_(
        source.level >= min_level, source.kind != Kind.DEGRADED.value
    )
    return condition


def _start(at: ColumnElement[float], length_s: float) -> ColumnElement[float]:
    """The start of the hour or day that holds `at`."""
    return func.floor(at / length_s) * length_s


def _count() -> ColumnElement[int]:
    return func.count()


def _total(counts: ColumnElement[int]) -> ColumnElement[int]:
    """Their sum as an integer: PostgreSQL sums big integers into a numeric."""
    return cast(func.sum(counts), BigInteger)
