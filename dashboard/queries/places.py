"""Where alerts happened: their positions, the places that repeat, the way of one drive."""

import math
from dataclasses import dataclass
from typing import Final

from sqlalchemy import ColumnElement, and_, func, select, true

from dashboard.queries.database import Database
from monitor.store.schema import events, samples
from monitor.types import Kind, Level

POINTS: Final = 5_000
# A place is a cell of so many degrees of latitude (1.1 km).
CELL_DEG: Final = 0.01
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
    """Alerts close to each other: how many, of how many vehicles, where on average (degrees)."""

    latitude: float
    longitude: float
    alerts: int
    vehicles: int
    level: int
    last_at: float

    @property
    def cell(self) -> str:
        """Its name in an address: the same whatever else happens there."""
        return f"{math.floor(self.latitude / CELL_DEG)},{math.floor(self.longitude / CELL_DEG)}"


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
    statement = (
        select(_e.id, _e.vehicle, _e.kind, _e.level, _e.started_at, _e.latitude, _e.longitude)
        .where(_located(database, since, until, min_level))
        .order_by(_e.started_at.desc())
        .limit(POINTS)
    )
    return database.fetch(AlertPosition, statement)


def repeating(
    database: Database, since: float, until: float, min_level: int = Level.CAUTION
) -> list[RepeatedPlace]:
    """Places with at least `LEAST` alerts, the most alerts first; at most 100."""
    row, column = func.floor(_e.latitude / CELL_DEG), func.floor(_e.longitude / CELL_DEG)
    alerts = func.count().label("alerts")
    statement = (
        select(
            func.avg(_e.latitude).label("latitude"),
            func.avg(_e.longitude).label("longitude"),
            alerts,
            func.count(_e.vehicle.distinct()).label("vehicles"),
            func.max(_e.level).label("level"),
            func.max(_e.started_at).label("last_at"),
        )
        .where(_located(database, since, until, min_level))
        .group_by(row, column)
        .having(func.count() >= LEAST)
        .order_by(alerts.desc())
        .limit(100)
    )
    return database.fetch(RepeatedPlace, statement)


def near(
    database: Database, place: RepeatedPlace, since: float, until: float
) -> list[AlertPosition]:
    """The alerts of a place, the latest first; at most 200."""
    lat, lon = _e.latitude, _e.longitude
    half = CELL_DEG / 2
    statement = (
        select(_e.id, _e.vehicle, _e.kind, _e.level, _e.started_at, lat, lon)
        .where(_located(database, since, until, Level.INFO))
        .where(lat.between(place.latitude - half, place.latitude + half))
        .where(lon.between(place.longitude - half, place.longitude + half))
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


def _located(database: Database, since: float, until: float, min_level: int) -> ColumnElement[bool]:
    return and_(
        true(),
        database.allows(_e.vehicle),
        _e.started_at >= since,
        _e.started_at < until,
        _e.level >= min_level,
        _e.kind != Kind.DEGRADED.value,
        _e.latitude.is_not(None),
        _e.longitude.is_not(None),
    )
