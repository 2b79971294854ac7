"""Drivers by their pseudonyms: how many alerts each had, in how many monitored hours.

Read from the events and the monitored time themselves: the sums of past days know no drivers.
"""

from dataclasses import dataclass

from sqlalchemy import BigInteger, case, cast, func, select

from dashboard.queries.database import Database
from dashboard.queries.fleet import TimeRange
from monitor.protocol.schemas import MONITORED
from monitor.store.schema import coverage, events
from monitor.types import Kind, Level


@dataclass(frozen=True, slots=True)
class DriverAlerts:
    """How many alerts of a level a driver had."""

    driver: str
    level: int
    events: int


@dataclass(frozen=True, slots=True)
class DriverCoverage:
    """For how long somebody drove and was monitored; None is whoever the vehicle had no name of."""

    driver: str | None
    monitored_s: float
    driven_s: float


def by_driver(
    database: Database, span: TimeRange, min_level: int = Level.CAUTION
) -> list[DriverAlerts]:
    """Alerts of each known driver at each level. `degraded` is not an alert."""
    e = events.c
    statement = (
        select(e.driver, e.level, cast(func.count(), BigInteger).label("events"))
        .where(database.allows(e.vehicle), e.driver.is_not(None))
        .where(e.started_at >= span.since, e.started_at < span.until)
        .where(e.level >= min_level, e.kind != Kind.DEGRADED.value)
        .group_by(e.driver, e.level)
    )
    return database.fetch(DriverAlerts, statement)


def watched_by_driver(database: Database, span: TimeRange) -> list[DriverCoverage]:
    """Monitored and driven seconds of each driver."""
    c = coverage.c
    monitored = func.sum(case((c.cause == MONITORED, c.seconds), else_=0.0))
    statement = (
        select(c.driver, monitored.label("monitored_s"), func.sum(c.seconds).label("driven_s"))
        .where(database.allows(c.vehicle))
        .where(c.started_at >= span.since, c.started_at < span.until)
        .group_by(c.driver)
    )
    return database.fetch(DriverCoverage, statement)
