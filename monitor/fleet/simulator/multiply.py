"""A few simulated vehicles made into many inside the database: ten thousand within minutes.

Each copy lives its original's days a little earlier, under a name and ids of its own; its depot's
and drivers' are the original's. It has no samples: those of ten thousand would be a billion rows.
"""

from collections.abc import Callable
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Insert,
    Integer,
    String,
    Table,
    case,
    cast,
    func,
    insert,
    literal,
    select,
)

from monitor.store import schema, sums

# A copy is this much earlier than the one before it, so that not all alert in the same second.
SHIFT_S: Final = 37.0
SHIFTS: Final = 100
# Sums are folded after so many rounds, so that their journal stays small.
ROUNDS_AT_ONCE: Final = 10
COUNTED: Final = {"preserve_rowcount": True}
_COPIED: Final = (
    schema.vehicles,
    schema.vehicle_groups,
    schema.events,
    schema.coverage,
    schema.availability,
    schema.camera_status,
)
_TIMES: Final = frozenset(
    {"started_at", "updated_at", "ended_at", "received_at", "changed_at", "at", "availability_at",
     "first_seen_at", "last_seen_at", "state_at", "until_at"}
)  # fmt: skip


def multiply(
    connection: Connection, originals: int, vehicles: int, progress: Callable[[int], None]
) -> dict[str, int]:
    """Copy vehicles 1 to `originals` until there are `vehicles`, all of them once a round.

    Args:
        connection: in a transaction; the originals' rows are written.
        originals: how many live a life of their own.
        vehicles: how many there are to be.
        progress: called with how many there are, after each round.

    Returns:
        Rows written, by table.
    """
    # So that the planner knows how few the originals are; both databases know the word.
    connection.exec_driver_sql("ANALYZE")
    last_review = connection.scalar(select(func.coalesce(func.max(schema.reviews.c.id), 0)))
    written: dict[str, int] = {}
    for first in range(originals, vehicles, originals):
        number = min(originals, vehicles - first)
        copy = _Round([name_of(n) for n in range(1, number + 1)], first, first // originals)
        for table in _COPIED:
            rows = connection.execute(copy.statement(table), execution_options=COUNTED).rowcount
            written[table.name] = written.get(table.name, 0) + rows
        rows = connection.execute(copy.reviews(last_review), execution_options=COUNTED).rowcount
        written["reviews"] = written.get("reviews", 0) + rows
        if first // originals % ROUNDS_AT_ONCE == 0:
            sums.fold(connection, wait=True)
        progress(first + number)
    return written


def name_of(number: int) -> str:
    """The id of vehicle `number`, from 1."""
    return f"truck-{number:03d}"


class _Round:
    """The statements that copy each original once.

    Args:
        originals: ids of those that are copied.
        offset: between the number of an original and that of its copy.
        round_: number of the round, from 1.
    """

    def __init__(self, originals: list[str], offset: int, round_: int) -> None:
        self._originals = originals
        self._offset = offset
        self._shift_s = SHIFT_S * (round_ % SHIFTS)
        # Of a UUID the last twelve digits; the first twenty-four tell the originals' apart.
        self._tail = f"{round_:012x}"

    def statement(self, table: Table) -> Insert:
        """INSERT … SELECT of one table."""
        columns = [column for column in table.columns if column.autoincrement is not True]
        values = [self._value(table, column.name) for column in columns]
        chosen = select(*values).where(table.c.vehicle.in_(self._originals))
        return insert(table).from_select([column.name for column in columns], chosen)

    def reviews(self, last: int | None) -> Insert:
        """INSERT … SELECT of what was judged, up to the review `last`."""
        r, e = schema.reviews.c, schema.events.c
        chosen = (
            select(self._id(r.event), r.reviewer, r.at - self._shift_s, r.verdict, r.cause, r.note)
            .join(schema.events, e.id == r.event)
            .where(r.id <= last, e.vehicle.in_(self._originals))
        )
        names = ["event", "reviewer", "at", "verdict", "cause", "note"]
        return insert(schema.reviews).from_select(names, chosen)

    def _value(self, table: Table, name: str) -> ColumnElement[Any]:
        column = table.c[name]
        if name == "vehicle":
            return self._name(column)
        if name == "id":
            return self._id(column)
        if name == "drive":
            vehicle = table.c.vehicle
            return self._name(vehicle) + func.substr(column, func.length(vehicle) + 1)
        return column - self._shift_s if name in _TIMES else column

    def _name(self, vehicle: ColumnElement[str]) -> ColumnElement[str]:
        """`name_of` in SQL."""
        number = cast(func.substr(vehicle, len("truck-") + 1), Integer) + self._offset
        zeros = case((number < 10, "truck-00"), (number < 100, "truck-0"), else_="truck-")
        return zeros + cast(number, String)

    def _id(self, column: ColumnElement[str]) -> ColumnElement[str]:
        return func.substr(column, 1, 24) + literal(self._tail)
