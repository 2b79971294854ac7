"""Rows into the tables, by vehicle, ingester and simulator alike, in either database.

Every write is idempotent: what comes twice, late or in another order leaves the rows as they are.
An event is one row that moves only forward, by the vehicle's own sequence; its level and its
acknowledgement only grow.
"""

import json
from collections.abc import Iterable, Mapping
from functools import cache, lru_cache
from typing import Any, Final

from sqlalchemy import JSON, Connection, Table, text

from monitor.protocol.mapping import EventRow, SampleRow
from monitor.store import schema

Rows = list[tuple[object, ...]]
# From here on a staging table costs less than a statement with as many parameters.
COPY_FROM_ROWS: Final = 20
ONCE: Final = "ON CONFLICT DO NOTHING"
_NEWER: Final = "excluded.sequence > coalesce(events.sequence, 0)"
_LATEST: Final = (
    "kind", "phase", "updated_at", "ended_at", "duration_s", "evidence", "policy", "calibration",
    "models", "sequence", "driver", "latitude", "longitude",
    "cell_row", "cell_column",
)  # fmt: skip
# A late message changes nothing but what only grows: the highest level and the acknowledgement.
_FORWARD: Final = (
    "ON CONFLICT (id, started_at) DO UPDATE SET "
    + ", ".join(
        f"{name} = CASE WHEN {_NEWER} THEN excluded.{name} ELSE events.{name} END"
        for name in _LATEST
    )
    + ", level = CASE WHEN excluded.level > events.level THEN excluded.level ELSE events.level END"
    ", acknowledged = (excluded.acknowledged OR events.acknowledged)"
    ", changed_at = excluded.changed_at"
    # No vehicle touches another's event, whatever id it claims.
    f" WHERE excluded.vehicle = events.vehicle AND ({_NEWER} OR excluded.level > events.level"
    " OR (excluded.acknowledged AND NOT events.acknowledged))"
)


# The row of an event whose date was put right; the second one goes if both dates have a row.
_STALE: Final = (
    "id = :id AND started_at = :redated_from AND vehicle = :vehicle "
    "AND coalesce(sequence, 0) < :sequence"
)
_MOVE: Final = text(
    f"UPDATE events SET started_at = :started_at WHERE {_STALE} AND NOT EXISTS "  # noqa: S608 - ours
    "(SELECT 1 FROM events AS there WHERE there.id = :id AND there.started_at = :started_at)"
)
_DROP: Final = text(f"DELETE FROM events WHERE {_STALE}")  # noqa: S608 - our own words


def upsert_events(connection: Connection, rows: Iterable[EventRow]) -> int:
    """Write events as they stand; returns how many were new or moved forward."""
    rows = list(rows)
    moved = [row for row in rows if row["redated_from"] is not None]
    for row in moved:
        names = ("id", "started_at", "redated_from", "vehicle", "sequence")
        values = {name: row.get(name) for name in names}
        connection.execute(_MOVE, values)
        connection.execute(_DROP, values)
    left = {(row["id"], row["redated_from"]) for row in moved}
    current = [row for row in rows if (row["id"], row["started_at"]) not in left]
    return insert_rows(connection, schema.events, current, _FORWARD)


def insert_samples(connection: Connection, rows: Iterable[SampleRow]) -> int:
    """Write samples; one of an instant already written changes nothing."""
    return insert_rows(connection, schema.samples, rows, ONCE)


def later(one: EventRow, other: EventRow) -> EventRow:
    """Of two rows of one event the later, with what only grows taken from both."""
    newer = one if (one["sequence"] or 0) > (other["sequence"] or 0) else other
    return {
        **newer,
        "level": max(one["level"], other["level"]),
        "acknowledged": one["acknowledged"] or other["acknowledged"],
    }


def insert_rows(
    connection: Connection, table: Table, rows: Iterable[Mapping[str, object]], conflict: str = ""
) -> int:
    """Insert rows keyed by column, in bulk; returns how many took effect.

    PostgreSQL takes many by `COPY` into a table of the connection's own and inserts from there: a
    third of the cost of a statement with as many parameters.

    Args:
        connection: in a transaction.
        table: of the schema.
        rows: a value for each of its columns but numbers that the database hands out itself; what
            is JSON in the database may be JSON text already.
        conflict: an `ON CONFLICT` clause.
    """
    values = _in_order(table, rows)
    if not values:
        return 0
    # Names of our own schema alone stand in the statements; values are bound or copied.
    names = ", ".join(_filled(table))
    insert = f"INSERT INTO {table.name} ({names})"
    if connection.dialect.name == "postgresql" and len(values) >= COPY_FROM_ROWS:
        return _copied(connection, table, values, f"{insert} SELECT {names} FROM", conflict)
    mark = "%s" if connection.dialect.name == "postgresql" else "?"
    marks = ", ".join([mark] * len(values[0]))
    statement = f"{insert} VALUES ({marks}) {conflict}"
    return int(connection.exec_driver_sql(statement, values).rowcount)


def _copied(
    connection: Connection, table: Table, values: Rows, insert_from: str, conflict: str
) -> int:
    driver: Any = connection.connection.driver_connection
    staged, names = f"staged_{table.name}", ", ".join(_filled(table))
    with driver.cursor() as cursor:
        cursor.execute(
            f"CREATE TEMP TABLE IF NOT EXISTS {staged} (LIKE {table.name} INCLUDING DEFAULTS) "
            "ON COMMIT DELETE ROWS"
        )
        with cursor.copy(f"COPY {staged} ({names}) FROM STDIN") as copy:
            for row in values:
                copy.write_row(row)
        return int(cursor.execute(f"{insert_from} {staged} {conflict}").rowcount)


def _in_order(table: Table, rows: Iterable[Mapping[str, object]]) -> Rows:
    columns = [(name, isinstance(table.c[name].type, JSON)) for name in _filled(table)]
    return [
        tuple(_json(row[name]) if is_json else row[name] for name, is_json in columns)
        for row in rows
    ]


@cache
def _filled(table: Table) -> tuple[str, ...]:
    return tuple(c.name for c in table.columns if c.autoincrement is not True)


def _json(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    # The same few lists come with every event.
    return _listed(tuple(value)) if isinstance(value, list) else json.dumps(value)


@lru_cache(maxsize=1024)
def _listed(values: tuple[str, ...]) -> str:
    return json.dumps(values)
