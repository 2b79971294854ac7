"""Monthly partitions of the fleet's PostgreSQL: made ahead, dropped whole when they are too old.

`events`, `samples` and `coverage` are partitioned by month of their time column (UTC epoch
seconds), with a DEFAULT partition for whatever a vehicle with a wrong clock sends. SQLite and an
unpartitioned table are served as well: there, rows are deleted.
"""

from collections.abc import Iterator
from datetime import UTC, datetime

from sqlalchemy import Connection, text

from monitor.store import sums

# Table and the time column it is partitioned by.
PARTITIONED = {"events": "started_at", "samples": "at", "coverage": "started_at"}
MONTHS_AHEAD = 3
# Old rows go in batches, so that neither a lock nor the write-ahead log grows with the backlog.
DELETE_BATCH = 10_000


def month_start(at: float) -> float:
    """Epoch seconds of the first instant of the month (UTC) that holds `at`."""
    moment = datetime.fromtimestamp(at, UTC)
    return datetime(moment.year, moment.month, 1, tzinfo=UTC).timestamp()


def next_month(at: float) -> float:
    """Epoch seconds of the first instant of the following month (UTC)."""
    return month_start(month_start(at) + 32 * 86_400)


def months(first: float, last: float) -> Iterator[tuple[float, float]]:
    """The months (start, end) that cover `first..last`, both inside."""
    start = month_start(first)
    while start <= last:
        end = next_month(start)
        yield start, end
        start = end


def partition_name(table: str, start: float) -> str:
    """Name of a month's partition, as `events_2026_07`."""
    return f"{table}_{datetime.fromtimestamp(start, UTC):%Y_%m}"


def is_partitioned(connection: Connection, table: str) -> bool:
    """Whether this database keeps the table in partitions."""
    if connection.dialect.name != "postgresql":
        return False
    kind = connection.execute(
        text("SELECT relkind::text FROM pg_class WHERE oid = to_regclass(:table)"),
        {"table": table},
    ).scalar()
    return kind == "p"


def ensure(connection: Connection, first: float, last: float) -> list[str]:
    """Make the partitions of every month in `first..last` that are not there yet.

    Rows that the DEFAULT partition already holds for a new month are moved into it, in the
    caller's transaction. Any number of processes may do this at once: an advisory lock orders
    them.

    Returns:
        Names of the partitions made.
    """
    made = []
    for table, column in PARTITIONED.items():
        if not is_partitioned(connection, table):
            continue
        missing = [
            (start, end)
            for start, end in months(first, last)
            if not _exists(connection, partition_name(table, start))
        ]
        if missing:
            connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('wakeful.partitions'))"))
        for start, end in missing:
            if not _exists(connection, partition_name(table, start)):
                _make(connection, table, column, start, end)
                made.append(partition_name(table, start))
    return made


def ensure_ahead(connection: Connection, now: float) -> list[str]:
    """Make this month's partitions and those of the next `MONTHS_AHEAD` months."""
    return ensure(connection, now, now + MONTHS_AHEAD * 31 * 86_400)


def drop_before(connection: Connection, table: str, before: float) -> int:
    """Drop the partitions that end before `before` (epoch seconds).

    Returns:
        How many rows went with them.
    """
    gone = 0
    for name, start, end in _partitions(connection, table):
        if end <= before:
            # The name was read from the catalogue and matched against our own pattern.
            gone += connection.execute(text(f'SELECT count(*) FROM "{name}"')).scalar_one()  # noqa: S608
            connection.execute(text(f'DROP TABLE "{name}"'))
            sums.forget(connection, table, start, end)
    return gone


def _exists(connection: Connection, name: str) -> bool:
    # Not `to_regclass`: after waiting for an advisory lock it still answers from a stale cache.
    row = connection.execute(
        text(
            "SELECT 1 FROM pg_class JOIN pg_namespace space ON space.oid = relnamespace "
            "WHERE relname = :name AND space.nspname = ANY (current_schemas(false))"
        ),
        {"name": name},
    )
    return row.first() is not None


def _make(connection: Connection, table: str, column: str, start: float, end: float) -> None:
    name = partition_name(table, start)
    inside = f"{column} >= {start!r} AND {column} < {end!r}"
    connection.execute(text(f'CREATE TABLE "{name}" (LIKE {table} INCLUDING DEFAULTS)'))
    if _exists(connection, f"{table}_default"):
        connection.execute(
            text(
                f"WITH moved AS (DELETE FROM {table}_default WHERE {inside} RETURNING *) "  # noqa: S608
                f'INSERT INTO "{name}" SELECT * FROM moved'
            )
        )
    connection.execute(
        text(
            f'ALTER TABLE {table} ATTACH PARTITION "{name}" '
            f"FOR VALUES FROM ({start!r}) TO ({end!r})"
        )
    )


def _partitions(connection: Connection, table: str) -> list[tuple[str, float, float]]:
    """Each monthly partition's name, its start and its end, epoch seconds."""
    if not is_partitioned(connection, table):
        return []
    names = connection.execute(
        text(
            "SELECT child.relname FROM pg_inherits "
            "JOIN pg_class child ON child.oid = inhrelid "
            "WHERE inhparent = to_regclass(:table) AND child.relname ~ :pattern"
        ),
        {"table": table, "pattern": rf"^{table}_\d{{4}}_\d{{2}}$"},
    ).scalars()
    partitions = []
    for name in names:
        year, month = (int(part) for part in name.rsplit("_", 2)[1:])
        start = datetime(year, month, 1, tzinfo=UTC).timestamp()
        partitions.append((name, start, next_month(start)))
    return partitions
