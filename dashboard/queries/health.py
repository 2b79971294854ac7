"""Is the pipeline itself well: how late, how deep, how big, which versions, what was refused."""

from pathlib import Path
from typing import Final

from sqlalchemy import func, select, text

from dashboard.queries.database import Record, Store
from monitor.store.schema import audit, dead_letters, events, metadata, outbox, vehicles

LAG_EVENTS: Final = 2_000
DAY_S: Final = 86_400.0


def lags_s(store: Store, since: float) -> list[Record]:
    """Of the newest alerts: when each was told, and seconds until the fleet's database had it."""
    e = events.c
    newest = (
        select(e.updated_at, e.received_at)
        .where(e.started_at >= since, e.received_at.is_not(None))
        .order_by(e.started_at.desc())
        .limit(LAG_EVENTS)
        .subquery()
    )
    lag = (newest.c.received_at - newest.c.updated_at).label("lag_s")
    return store.rows(select(newest.c.updated_at.label("at"), lag))


def dead_by_reason(store: Store, since: float) -> list[Record]:
    """How many messages were refused since then, by reason; the most frequent first."""
    d = dead_letters.c
    statement = (
        select(d.reason, func.count().label("n"), func.max(d.at).label("last_at"))
        .where(d.at >= since)
        .group_by(d.reason)
        .order_by(func.count().desc())
        .limit(50)
    )
    return store.rows(statement)


def dead_newest(store: Store, limit: int = 50) -> list[Record]:
    """The last refused messages: when, on which topic, why, and their first bytes."""
    statement = select(dead_letters).order_by(dead_letters.c.id.desc()).limit(limit)
    return [{**row, "payload": bytes(row["payload"])[:256]} for row in store.rows(statement)]


def processes(store: Store) -> list[Record]:
    """Every vehicle's process as it last told of itself."""
    v = vehicles.c
    statement = (
        select(v.vehicle, v.version, v.availability, v.last_seen_at, v.stats, v.clock_skew_s)
        .order_by(v.last_seen_at.desc())
        .limit(1_000)
    )
    return store.rows(statement)


def own_outbox(store: Store) -> Record:
    """The backlog in this very database: rows, bytes, and when the oldest was written."""
    o = outbox.c
    statement = select(
        func.count().label("rows"),
        func.coalesce(func.sum(func.length(o.payload)), 0).label("bytes"),
        func.min(o.created_at).label("oldest_at"),
    )
    return store.rows(statement)[0]


def last_audited(store: Store, limit: int = 50) -> list[Record]:
    """Who exported, erased or changed something, the latest first."""
    return store.rows(select(audit).order_by(audit.c.id.desc()).limit(limit))


def storage(store: Store) -> list[Record]:
    """Bytes and rows (estimated by PostgreSQL, counted in SQLite) of each table."""
    return _storage_postgresql(store) if store.postgresql else _storage_sqlite(store)


def database_bytes(store: Store) -> int:
    """The whole database on disk."""
    if store.postgresql:
        row = store.one(text("SELECT pg_database_size(current_database()) AS bytes"))
        return int(row["bytes"]) if row else 0
    file = Path(store.url.database or "")
    beside = [file, file.with_name(file.name + "-wal")]
    return sum(path.stat().st_size for path in beside if path.is_file())


def _storage_postgresql(store: Store) -> list[Record]:
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
    return store.rows(statement)


def _storage_sqlite(store: Store) -> list[Record]:
    there = store.tables()
    found = []
    for table in metadata.sorted_tables:
        if table.name in there:
            # max(rowid) is one seek; a count would read the whole table.
            row = store.one(text(f'SELECT max(rowid) AS n FROM "{table.name}"'))  # noqa: S608
            found.append({"name": table.name, "bytes": None, "rows": (row or {}).get("n") or 0})
    return sorted(found, key=lambda one: -one["rows"])
