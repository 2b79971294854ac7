"""Is the pipeline itself well: how late, how deep, how big, which versions, what was refused."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from sqlalchemy import func, select, text

from dashboard.queries.database import Database, Record, columns_of
from monitor.store.schema import audit, dead_letters, events, metadata, outbox, vehicles

LAG_EVENTS: Final = 2_000
DAY_S: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class LagRow:
    """When an alert was last reported (epoch seconds), and how long until it was stored."""

    at: float
    lag_s: float


@dataclass(frozen=True, slots=True)
class RefusalCount:
    """How many messages were refused for a reason, and when the last one was (epoch seconds)."""

    reason: str
    n: int
    last_at: float


@dataclass(frozen=True, slots=True)
class DeadLetterRow:
    """A refused message: its first bytes."""

    id: int
    at: float
    topic: str
    payload: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class WatchProcess:
    """A vehicle's process as it last reported; `stats` is its message of the last minute."""

    vehicle: str
    version: str | None
    availability: str
    last_seen_at: float
    stats: Record | None
    clock_skew_s: float | None

    def count(self, name: str) -> int | None:
        """`outbox_depth`, `lost` or `restarts`; None where it has not reported yet."""
        return None if self.stats is None else self.stats.get(name)

    @property
    def fps(self) -> float | None:
        """Of its slowest camera."""
        return min((loop.get("fps") or 0.0 for loop in self._loops), default=None)

    @property
    def latency_p95_ms(self) -> float | None:
        """Of its slowest camera, from a frame's capture to the state."""
        return max((loop.get("latency_p95_ms") or 0.0 for loop in self._loops), default=None)

    @property
    def troubles(self) -> str:
        """What is wrong inside it, by the name of the part."""
        troubles = (self.stats or {}).get("troubles", {})
        return "; ".join(f"{part}: {text}" for part, text in troubles.items())

    @property
    def _loops(self) -> list[Record]:
        return list((self.stats or {}).get("cameras", {}).values())


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits in this database's own outbox; `oldest_at` is epoch seconds."""

    rows: int
    bytes: int
    oldest_at: float | None


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Who did what, when (epoch seconds)."""

    id: int
    at: float
    actor: str
    action: str
    subject: str
    detail: Record | None


@dataclass(frozen=True, slots=True)
class TableSize:
    """A table's rows, about, and bytes; None where the database does not say."""

    name: str
    bytes: int | None
    rows: int


def lags_s(database: Database, since: float) -> list[LagRow]:
    """Of the newest alerts: when each was told, and seconds until the fleet's database had it."""
    e = events.c
    newest = (
        select(e.updated_at, e.received_at)
        .where(database.allows(e.vehicle), e.started_at >= since, e.received_at.is_not(None))
        .order_by(e.started_at.desc())
        .limit(LAG_EVENTS)
        .subquery()
    )
    lag = (newest.c.received_at - newest.c.updated_at).label("lag_s")
    return database.fetch(LagRow, select(newest.c.updated_at.label("at"), lag))


def dead_by_reason(database: Database, since: float) -> list[RefusalCount]:
    """How many messages were refused since then, by reason; the most frequent first.

    Nothing to a limited scope: whose a message is that could not be read, nobody knows.
    """
    if database.scope.limited:
        return []
    d = dead_letters.c
    statement = (
        select(d.reason, func.count().label("n"), func.max(d.at).label("last_at"))
        .where(d.at >= since)
        .group_by(d.reason)
        .order_by(func.count().desc())
        .limit(50)
    )
    return database.fetch(RefusalCount, statement)


def dead_newest(database: Database, limit: int = 50) -> list[DeadLetterRow]:
    """The last refused messages: when, on which topic, why, and their first bytes."""
    if database.scope.limited:
        return []
    statement = select(*columns_of(dead_letters, DeadLetterRow)).order_by(dead_letters.c.id.desc())
    rows = database.fetch(DeadLetterRow, statement.limit(limit))
    return [replace(row, payload=bytes(row.payload)[:256]) for row in rows]


def processes(database: Database) -> list[WatchProcess]:
    """Every vehicle's process as it last told of itself."""
    v = vehicles.c
    statement = (
        select(v.vehicle, v.version, v.availability, v.last_seen_at, v.stats, v.clock_skew_s)
        .where(database.allows(v.vehicle))
        .order_by(v.last_seen_at.desc())
        .limit(1_000)
    )
    return database.fetch(WatchProcess, statement)


def own_outbox(database: Database) -> Backlog:
    """The backlog in this very database: rows, bytes, and when the oldest was written."""
    o = outbox.c
    statement = select(
        func.count().label("rows"),
        func.coalesce(func.sum(func.length(o.payload)), 0).label("bytes"),
        func.min(o.created_at).label("oldest_at"),
    )
    return database.fetch(Backlog, statement)[0]


def last_audited(database: Database, limit: int = 50) -> list[AuditEntry]:
    """Who exported, erased or changed something, the latest first; all of it or nothing."""
    if database.scope.limited:
        return []
    return database.fetch(
        AuditEntry, select(*columns_of(audit, AuditEntry)).order_by(audit.c.id.desc()).limit(limit)
    )


def storage(database: Database) -> list[TableSize]:
    """Bytes and rows (estimated by PostgreSQL, counted in SQLite) of each table."""
    return _storage_postgresql(database) if database.postgresql else _storage_sqlite(database)


def database_bytes(database: Database) -> int:
    """The whole database on disk."""
    if database.postgresql:
        row = database.first(text("SELECT pg_database_size(current_database()) AS bytes"))
        return int(row["bytes"]) if row else 0
    file = Path(database.url.database or "")
    beside = [file, file.with_name(file.name + "-wal")]
    return sum(path.stat().st_size for path in beside if path.is_file())


def _storage_postgresql(database: Database) -> list[TableSize]:
    # A partitioned table is itself empty: its partitions are counted under its name.
    statement = text(
        "SELECT coalesce(parent.relname, c.relname) AS name, "
        "sum(pg_total_relation_size(c.oid))::bigint AS bytes, "
        "sum(greatest(c.reltuples, 0))::bigint AS rows "
        "FROM pg_class c LEFT JOIN pg_inherits i ON i.inhrelid = c.oid "
        "LEFT JOIN pg_class parent ON parent.oid = i.inhparent "
        "JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE c.relkind = 'r' AND n.nspname = current_schema() GROUP BY 1 ORDER BY 2 DESC"
    )
    return database.fetch(TableSize, statement)


def _storage_sqlite(database: Database) -> list[TableSize]:
    there = database.tables()
    sizes = []
    for table in metadata.sorted_tables:
        if table.name in there:
            # max(rowid) is one seek; a count would read the whole table.
            row = database.first(text(f'SELECT max(rowid) AS n FROM "{table.name}"'))  # noqa: S608
            sizes.append(TableSize(table.name, None, (row or {}).get("n") or 0))
    return sorted(sizes, key=lambda size: -size.rows)
