"""The event log's statements: each takes a connection and does one thing, in either database."""

from collections.abc import Mapping, Sequence

from sqlalchemy import (
    ColumnElement,
    Connection,
    Table,
    and_,
    delete,
    func,
    literal_column,
    not_,
    or_,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.exc import DatabaseError

from monitor.clock import SET_AT, UNTIL_AT
from monitor.protocol.mapping import event_from_row
from monitor.protocol.schemas import Availability
from monitor.store import schema
from monitor.store.database import insert
from monitor.types import Event, Phase

# Small, so that deleting works on a disk that has no room for a long transaction's log.
BATCH_ROWS = 500


def add_row(connection: Connection, table: Table, row: Mapping[str, object]) -> None:
    """Insert a row; the same row again changes nothing."""
    connection.execute(
        insert(connection.dialect.name, table).values(dict(row)).on_conflict_do_nothing()
    )


def add_clip(connection: Connection, event_id: str, file_name: str) -> None:
    """Note the clip of an event."""
    table = schema.events
    connection.execute(update(table).where(table.c.id == event_id).values(clip=file_name))


def unended_events(connection: Connection, vehicle: str) -> list[Event]:
    """What an earlier process left open."""
    table = schema.events
    rows = connection.execute(
        select(table)
        .where(table.c.vehicle == vehicle, table.c.phase != Phase.END.value)
        .order_by(table.c.started_at)
    )
    return [event_from_row(row) for row in rows.mappings()]


def recent_events(
    connection: Connection, *, limit: int = 100, drive: str | None = None
) -> list[Event]:
    """The last events as they stand, newest first; of one drive if asked."""
    table = schema.events
    query = select(table).order_by(table.c.started_at.desc(), table.c.id).limit(limit)
    if drive is not None:
        query = query.where(table.c.drive == drive)
    return [event_from_row(row) for row in connection.execute(query).mappings()]


def highest_sequence(connection: Connection) -> int:
    """The last number given to a durable message, gone ones included; 0 in a new log."""
    numbers = [
        connection.scalar(select(func.max(schema.events.c.sequence))),
        connection.scalar(select(func.max(schema.outbox.c.sequence))),
    ]
    if connection.dialect.name == "sqlite":
        numbers.append(
            connection.scalar(text("SELECT seq FROM sqlite_sequence WHERE name = 'outbox'"))
        )
    return max((int(n) for n in numbers if n is not None), default=0)


def unclean_ends(connection: Connection, vehicle: str) -> int:
    """How many earlier starts were followed by no clean stop."""
    table = schema.availability

    def count(status: Availability) -> int:
        mine = and_(table.c.vehicle == vehicle, table.c.status == status.value)
        return connection.scalar(select(func.count()).select_from(table).where(mine)) or 0

    return max(0, count(Availability.ONLINE) - count(Availability.STOPPED))


def forget_before(
    connection: Connection, table: Table, column: str, before: float, **only: str
) -> int:
    """Delete at most a batch of rows older than `before`; returns how many went.

    A row of a clock that was not set, or set to a far future, is as old as the rows written after
    it.
    """
    at = table.c[column]
    dated = and_(at >= SET_AT, at < UNTIL_AT)
    aged = or_(
        and_(dated, at < before),
        and_(not_(dated), _written_before_aged(connection, table, column, before)),
    )
    conditions = [aged, *(table.c[k] == v for k, v in only.items())]
    if table is schema.events:
        conditions.append(table.c.phase == Phase.END.value)
    return _delete_oldest(connection, table, column, BATCH_ROWS, conditions)


def _written_before_aged(
    connection: Connection, table: Table, column: str, before: float
) -> ColumnElement[bool]:
    """Written before a row that is itself older than `before`.

    SQLite numbers rows in the order of writing. PostgreSQL knows by which transaction a row was
    last written, and how many there have been since: its age, the largest for a frozen row.
    """
    aged = table.alias("aged")
    of_aged = and_(aged.c[column] >= SET_AT, aged.c[column] < before)
    if connection.dialect.name == "sqlite":
        row_id: ColumnElement[int] = literal_column("aged.rowid")
        last = select(func.max(row_id)).select_from(aged).where(of_aged)
        written: ColumnElement[int] = literal_column(f"{table.name}.rowid")
        return written < last.scalar_subquery()
    since: ColumnElement[int] = func.age(literal_column("aged.xmin"))
    youngest = select(func.min(since)).select_from(aged).where(of_aged)
    written = func.age(literal_column(f"{table.name}.xmin"))
    return written > youngest.scalar_subquery()


def newest_at(connection: Connection) -> float | None:
    """The latest time in the log, epoch seconds; None in a new one. A far future is none."""
    columns = (schema.samples.c.at, schema.events.c.started_at, schema.availability.c.at)
    latest = [select(func.max(column)).where(column < UNTIL_AT) for column in columns]
    times = [connection.scalar(query) for query in latest]
    return max((at for at in times if at is not None), default=None)


def forget_oldest(connection: Connection, table: Table, column: str, rows: int) -> int:
    """Delete the oldest rows whatever their age; returns how many went."""
    return _delete_oldest(connection, table, column, rows, [])


def used_bytes(connection: Connection) -> int:
    """Bytes of a SQLite file that hold rows; free pages are used again before it grows."""
    pages, free, size = (
        connection.scalar(text(f"PRAGMA {name}")) or 0
        for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def damage(connection: Connection) -> str | None:
    """What SQLite finds wrong with the file's structure; None when sound."""
    try:
        verdict = connection.scalar(text("PRAGMA quick_check(1)"))
    except DatabaseError as error:
        return str(error.orig)
    return None if verdict == "ok" else str(verdict)


def _delete_oldest(
    connection: Connection,
    table: Table,
    column: str,
    rows: int,
    conditions: Sequence[ColumnElement[bool]],
) -> int:
    key = list(table.primary_key.columns)
    if connection.dialect.name == "sqlite":
        row_id: ColumnElement[int] = literal_column("rowid")
        oldest = select(row_id).select_from(table).where(*conditions)
        chosen = row_id.in_(oldest.order_by(table.c[column]).limit(rows))
    else:
        oldest = select(*key).where(*conditions)
        chosen = tuple_(*key).in_(oldest.order_by(table.c[column]).limit(rows))
    return connection.execute(delete(table).where(chosen)).rowcount
