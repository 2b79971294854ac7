"""Where alerts happened: their positions, the places that repeat, the way of one drive."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    and_,
    cast,
    func,
    literal_column,
    select,
)

from dashboard.queries.database import Database, columns_of
from monitor.store import sums
from monitor.store.schema import PLACED, events, place_days, samples
from monitor.store.sums import Columns, Query, Value, day_of
from monitor.types import Level

POINTS: Final = 5_000
PLACES: Final = 100
# Of a place with more alerts, so many are looked at to tell the vehicles and the middle.
LOOKED_AT: Final = 500
# One alert is an incident, two may be chance.
LEAST: Final = 3
_e = events.c


@dataclass(frozen=True, slots=True)
class AlertPosition:
    """Where an alert began; degrees, and epoch seconds."""

    id: str
    vehicle: str
    kind: str
    level: int
    started_at: float
    latitude: float
    longitude: float


@dataclass(frozen=True, slots=True)
class RepeatedPlace:
    """Alerts in one cell of the map (`monitor.protocol.mapping.cell_of`).

    Attributes:
        latitude, longitude: on average of at most `LOOKED_AT` of them, degrees.
        alerts: how many.
        vehicles: how many different ones those are of.
        level: of the most urgent.
        last_at: when the last began, epoch seconds.
    """

    cell_row: int
    cell_column: int
    latitude: float
    longitude: float
    alerts: int
    vehicles: int
    level: int
    last_at: float

    @property
    def cell(self) -> str:
        """Its name in an address: the same whatever else happens there."""
        return f"{self.cell_row},{self.cell_column}"


@dataclass(frozen=True, slots=True)
class TrackPoint:
    """Where a vehicle was at a moment (epoch seconds)."""

    at: float
    latitude: float
    longitude: float


def positions(
    database: Database, since: float, until: float, min_level: int = Level.CAUTION
) -> list[AlertPosition]:
    """The newest `POINTS` alerts whose position is known."""
    if not _any(database, since, until):
        return []
    statement = (
        select(*columns_of(events, AlertPosition))
        .where(*_placed(database, since, until, min_level))
        .order_by(_e.started_at.desc())
        .limit(POINTS)
    )
    return database.fetch(AlertPosition, statement)


def repeating(
    database: Database, since: float, until: float, min_level: int = Level.CAUTION
) -> list[RepeatedPlace]:
    """Places with at least `LEAST` alerts, the most alerts first; at most `PLACES`.

    From the start (UTC) of the day that holds `since`.
    """
    began = day_of(since)
    cells = _cells(database, began, until, min_level).subquery()
    at = and_(_e.cell_row == cells.c.cell_row, _e.cell_column == cells.c.cell_column)
    theirs = (at, *_placed(database, began, until, min_level))
    some = (
        select(_e.vehicle, _e.latitude, _e.longitude)
        .where(*theirs)
        .limit(LOOKED_AT)
        .correlate(cells)
        .subquery()
    )

    def of_some(value: Value) -> Value:
        return select(value).select_from(some).scalar_subquery()

    last_at = select(func.max(_e.started_at)).where(*theirs).correlate(cells).scalar_subquery()
    statement = select(
        cells.c.cell_row,
        cells.c.cell_column,
        of_some(func.avg(some.c.latitude)).label("latitude"),
        of_some(func.avg(some.c.longitude)).label("longitude"),
        cells.c.alerts,
        of_some(func.count(some.c.vehicle.distinct())).label("vehicles"),
        cells.c.level,
        last_at.label("last_at"),
    ).order_by(cells.c.alerts.desc(), cells.c.cell_row, cells.c.cell_column)
    return database.fetch(RepeatedPlace, statement)


def _cells(database: Database, since: float, until: float, min_level: int) -> Query:
    """The cells with the most alerts: of the whole fleet by the sums, else by the alerts."""
    source: Columns = _e
    alerts: ColumnElement[int] = func.count()
    if database.scope.limited:
        wanted = _placed(database, since, until, min_level)
    else:
        source = sums.current(place_days).c
        alerts = cast(func.sum(source.events), BigInteger)
        wanted = (source.day >= since, source.day < until, source.level >= min_level)
    keys = source.cell_row, source.cell_column
    return (
        select(*keys, alerts.label("alerts"), func.max(source.level).label("level"))
        .where(*wanted)
        .group_by(*keys)
        .having(alerts >= LEAST)
        .order_by(alerts.desc(), *keys)
        .limit(PLACES)
    )


def _any(database: Database, since: float, until: float) -> bool:
    """Whether any position is known: else every alert would be read in vain."""
    p = sums.current(place_days).c
    wanted = p.day >= day_of(since), p.day < until, p.events > 0
    return database.first(select(p.day).where(*wanted).limit(1)) is not None


def near(
    database: Database, place: RepeatedPlace, since: float, until: float
) -> list[AlertPosition]:
    """The alerts of a place, the latest first; at most 200."""
    statement = (
        select(*columns_of(events, AlertPosition))
        .where(_e.cell_row == place.cell_row, _e.cell_column == place.cell_column)
        .where(*_placed(database, day_of(since), until, Level.CAUTION))
        .order_by(_e.started_at.desc())
        .limit(200)
    )
    return database.fetch(AlertPosition, statement)


def track(
    database: Database, vehicle: str, drive: str, since: float, until: float
) -> list[TrackPoint]:
    """The way of one drive between two instants (epoch seconds), oldest first."""
    s = samples.c
    statement = (
        select(s.at, s.latitude, s.longitude)
        .where(database.allows(s.vehicle), s.vehicle == vehicle, s.drive == drive)
        .where(s.at >= since, s.at < until, s.latitude.is_not(None), s.longitude.is_not(None))
        .order_by(s.at)
        .limit(POINTS)
    )
    return database.fetch(TrackPoint, statement)


def _placed(
    database: Database, since: float, until: float, min_level: int
) -> tuple[ColumnElement[bool], ...]:
    """Alerts (from caution on) of a known position."""
    return (
        database.allows(_e.vehicle),
        literal_column(PLACED, Boolean),
        _e.started_at >= since,
        _e.started_at < until,
        _e.level >= min_level,
    )
