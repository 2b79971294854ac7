"""Sums of whole past days, so that a fleet's months are read at a glance.

Made from `events` and `coverage`, day by day, where there is more than one vehicle: one vehicle's
own log is small enough to be read as it is, and has one writer, the watch. The last days are never
summed, because most of what is late is only minutes late; an older day is made again ever less
often, in case a vehicle that had been out of reach still told of it. Losing these tables loses
nothing.
"""

import logging
import threading
from typing import Any, Final

from sqlalchemy import Connection, Table, case, delete, func, insert, literal, select, text
from sqlalchemy.sql import Select

from dashboard.queries.database import Database
from monitor.errors import StoreError
from monitor.protocol.schemas import MONITORED
from monitor.store.schema import (
    coverage,
    coverage_days,
    coverage_hours,
    event_days,
    event_hours,
    events,
    rolled_days,
    vehicles,
)

DAY_S: Final = 86_400.0
HOUR_S: Final = 3_600.0
OPEN_DAYS: Final = 2
# The outbox gives undelivered alerts up after 30 days (database.outbox_keep_days).
LATE_DAYS: Final = 40
REFRESH_S: Final = 600.0
MANY_DAYS: Final = 7
# Any number that every dashboard takes and nobody else: one of them sums at a time.
_LOCK: Final = 0x3A6E_F02D
_log = logging.getLogger("wakeful.dashboard")


def day_of(at: float) -> float:
    """Epoch seconds of the start of the day (UTC) that holds `at`."""
    return at - at % DAY_S


def edge(database: Database) -> float:
    """Up to where, epoch seconds, sums may be read; 0 where there are none."""
    if rolled_days.name not in database.tables():
        return 0.0
    row = database.first(select(func.max(rolled_days.c.day).label("last")))
    return 0.0 if row is None or row["last"] is None else row["last"] + DAY_S


def due(day: float, rolled_at: float | None, now: float) -> bool:
    """Whether a day's sums are to be made (again): when it has grown half as old again."""
    age, then = now - day - DAY_S, (rolled_at or 0.0) - day - DAY_S
    if rolled_at is None:
        return True
    return then < LATE_DAYS * DAY_S and age > 1.5 * then + HOUR_S


def refresh(database: Database, now: float) -> int:
    """Sum every day that is due, the oldest first, each in its own transaction.

    Returns:
        How many days were summed; 0 while another dashboard is at it.
    """
    summed = 0
    with database.explained(), database.writer.connect() as connection:
        if not _worth_it(connection) or not _mine(connection):
            return 0
        try:
            for day in _days_due(connection, now):
                _sum_day(connection, day, now)
                connection.commit()
                summed += 1
            if summed > MANY_DAYS:
                _let_the_planner_know(connection)
        finally:
            connection.rollback()
            _leave(connection)
    return summed


def _let_the_planner_know(connection: Connection) -> None:
    """After many new sums the old statistics make bad plans, until the server's own next look."""
    tables = (rolled_days, event_days, event_hours, coverage_days, coverage_hours)
    for table in tables:
        connection.execute(text(f"ANALYZE {table.name}"))
    connection.commit()


def _worth_it(connection: Connection) -> bool:
    fleet = select(func.count()).select_from(select(vehicles.c.vehicle).limit(2).subquery())
    return connection.execute(fleet).scalar_one() > 1


def _mine(connection: Connection) -> bool:
    """Whether no other dashboard is at it; SQLite's own lock orders those that would be."""
    if connection.dialect.name != "postgresql":
        return True
    return bool(connection.execute(text(f"SELECT pg_try_advisory_lock({_LOCK})")).scalar())


def _leave(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SELECT pg_advisory_unlock({_LOCK})"))


def keep_fresh(database: Database, clock: Any, stop: threading.Event) -> threading.Thread:
    """Refresh now and then in a thread of its own, until `stop` is set."""

    def run() -> None:
        while not stop.is_set():
            try:
                refresh(database, clock())
            except StoreError as error:
                _log.warning("sums not refreshed: %s", error)
            stop.wait(REFRESH_S)

    thread = threading.Thread(target=run, name="rollup", daemon=True)
    thread.start()
    return thread


def _days_due(connection: Connection, now: float) -> list[float]:
    first = connection.execute(select(func.min(events.c.started_at))).scalar()
    reported = connection.execute(select(func.min(coverage.c.started_at))).scalar()
    begins = [value for value in (first, reported) if value is not None]
    if not begins:
        return []
    rolled = dict(connection.execute(select(rolled_days.c.day, rolled_days.c.rolled_at)).all())
    last = day_of(now) - OPEN_DAYS * DAY_S
    # A vehicle with a wrong clock may tell of 1970; ten years of days is enough.
    day = max(day_of(min(begins)), last - 3_660 * DAY_S)
    wanted = []
    while day <= last:
        if due(day, rolled.get(day), now):
            wanted.append(day)
        day += DAY_S
    return wanted


def _sum_day(connection: Connection, day: float, now: float) -> None:
    e, c = events.c, coverage.c
    in_events = (e.started_at >= day, e.started_at < day + DAY_S)
    in_coverage = (c.started_at >= day, c.started_at < day + DAY_S)
    hour = func.floor(e.started_at / HOUR_S) * HOUR_S
    reported_hour = func.floor(c.started_at / HOUR_S) * HOUR_S
    monitored = func.sum(case((c.cause == MONITORED, c.seconds), else_=0.0))
    _replace(
        connection,
        event_days,
        day,
        select(literal(day), e.vehicle, e.kind, e.level, func.count())
        .where(*in_events)
        .group_by(e.vehicle, e.kind, e.level),
    )
    _replace(
        connection,
        event_hours,
        day,
        select(hour, e.kind, e.level, func.count())
        .where(*in_events)
        .group_by(hour, e.kind, e.level),
    )
    _replace(
        connection,
        coverage_days,
        day,
        select(literal(day), c.vehicle, monitored, func.sum(c.seconds))
        .where(*in_coverage)
        .group_by(c.vehicle),
    )
    _replace(
        connection,
        coverage_hours,
        day,
        select(reported_hour, c.cause, func.sum(c.seconds))
        .where(*in_coverage)
        .group_by(reported_hour, c.cause),
    )
    connection.execute(delete(rolled_days).where(rolled_days.c.day == day))
    connection.execute(insert(rolled_days).values(day=day, rolled_at=now))


def _replace(connection: Connection, table: Table, day: float, rows: Select[Any]) -> None:
    at = next(iter(table.columns))
    connection.execute(delete(table).where(at >= day, at < day + DAY_S))
    connection.execute(insert(table).from_select(list(table.columns.keys()), rows))
