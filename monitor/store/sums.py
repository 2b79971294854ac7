"""Sums of events, monitored and online time, so that a fleet of ten thousand is read at a glance.

    a row of `events`, `coverage`, `availability` comes, changes or goes
      ──trigger──▶ a row of a journal, in the same transaction
      ──`fold`, now and then──▶ added to the totals

Whoever writes those tables, and however, the sums follow: a total and what the journal still holds
of it are together what the rows say, at any moment. A journal is only appended to, so that no two
writers wait for each other. The latest review of an event is kept in its row in the same way.

Times are summed in whole milliseconds: integers add up to the same in any order.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import (
    CTE,
    ColumnElement,
    Connection,
    Insert,
    Select,
    Subquery,
    Table,
    and_,
    case,
    delete,
    func,
    literal_column,
    select,
    text,
    true,
    union_all,
    update,
)

from monitor.protocol.mapping import CELL_DEG
from monitor.protocol.schemas import MONITORED, Availability
from monitor.store import schema
from monitor.store.database import insert
from monitor.store.triggers import FLOOR, JOURNAL_OF, LATEST_REVIEW, NEXT_STATUS, SUMMED_TABLES
from monitor.types import Kind, Level

HOUR_S: Final = 3_600.0
DAY_S: Final = 86_400.0
# Any number that whoever writes totals takes and nobody else: one at a time.
_LOCK: Final = 0x3A6E_F02D
Columns = Any  # a table's or a subquery's, by name
Value = ColumnElement[Any]
Query = Select[Any]
Expression = Callable[[Columns], Value]


@dataclass(frozen=True)
class Total:
    """What of one journal is added up in a table.

    Attributes:
        table: of the totals.
        journal: of the changes.
        keys, values: by column of the table, made of a journal's columns.
        counts: which changes count.
    """

    table: Table
    journal: Table
    keys: Mapping[str, Expression]
    values: Mapping[str, Expression]
    counts: Expression = field(default=lambda _c: true())

    def changes(self, source: Columns) -> Query:
        """Each change as a row of the table, not added up."""
        columns = {**self.keys, **self.values}
        chosen = [make(source).label(name) for name, make in columns.items()]
        return select(*chosen).where(self.counts(source))

    def summed(self, source: Columns) -> Query:
        """The changes added up by key."""
        keys = [make(source) for make in self.keys.values()]
        values = [func.sum(make(source)) for make in self.values.values()]
        return select(*keys, *values).where(self.counts(source)).group_by(*keys)


def day_of(at: float) -> float:
    """Epoch seconds of the start of the day (UTC) that holds `at`."""
    return at - at % DAY_S


def _when(condition: Expression, value: str) -> Expression:
    return lambda c: case((condition(c), c[value]), else_=0)


def _alert(c: Columns) -> ColumnElement[bool]:
    condition: ColumnElement[bool] = c.kind != Kind.DEGRADED.value
    return condition


def _of_level(level: Level) -> Expression:
    return _when(lambda c: and_(_alert(c), c.level == int(level)), "events")


def _judged(verdict: str) -> Expression:
    return _when(lambda c: c.verdict == verdict, "events")


def _online(status: Availability) -> Expression:
    return _when(lambda c: c.status == status.value, "milliseconds")


def _same(*names: str) -> dict[str, Expression]:
    return {name: lambda c, name=name: c[name] for name in names}  # type: ignore[misc]


_VEHICLE_DAY: Final[dict[str, Expression]] = _same("day", "vehicle")
_EVENTS: Final = _same("events")
TOTALS: Final = (
    Total(
        schema.vehicle_days,
        schema.event_changes,
        _VEHICLE_DAY,
        {
            **{level.name.lower(): _of_level(level) for level in Level if level is not Level.NONE},
            **{f"verdict_{word}": _judged(word) for word in ("true", "false", "unsure")},
        },
    ),
    Total(
        schema.vehicle_days,
        schema.coverage_changes,
        _VEHICLE_DAY,
        {
            "monitored_ms": _when(lambda c: c.cause == MONITORED, "milliseconds"),
            "driven_ms": lambda c: c.milliseconds,
        },
    ),
    Total(
        schema.vehicle_days,
        schema.availability_changes,
        _VEHICLE_DAY,
        {
            "online_ms": _online(Availability.ONLINE),
            "offline_ms": _online(Availability.OFFLINE),
        },
    ),
    Total(
        schema.event_days,
        schema.event_changes,
        _same("day", "camera", "kind", "level", "verdict"),
        _EVENTS,
    ),
    Total(schema.event_hours, schema.event_changes, _same("hour", "level"), _EVENTS, _alert),
    Total(
        schema.coverage_hours,
        schema.coverage_changes,
        _same("hour", "cause"),
        _same("milliseconds"),
    ),
    Total(
        schema.place_days,
        schema.event_changes,
        _same("day", "cell_row", "cell_column", "level"),
        _EVENTS,
        lambda c: and_(_alert(c), c.cell_row.is_not(None)),
    ),
)
JOURNALS: Final = (schema.event_changes, schema.coverage_changes, schema.availability_changes)
SUMMED: Final = tuple(dict.fromkeys(total.table for total in TOTALS))


def current(table: Table) -> Subquery:
    """Totals and what is not folded yet, as rows of `table` to be added up by whoever asks."""
    parts = [select(table)]
    for total in TOTALS:
        if total.table is table:
            changes = total.changes(total.journal.c).subquery()
            parts.append(select(*(_column(changes, column.name) for column in table.columns)))
    return union_all(*parts).subquery()


def _column(changes: Subquery, name: str) -> Value:
    return changes.c[name] if name in changes.c else literal_column("0").label(name)


def fold(connection: Connection, *, wait: bool = False) -> int:
    """Add what the journals hold to the totals; returns how many changes there were.

    Args:
        connection: in a transaction.
        wait: while another process folds; else that one does it, and 0 is returned.
    """
    if connection.dialect.name == "postgresql":
        if not _locked(connection, wait=wait):
            return 0
        return sum(_fold_postgresql(connection, journal) for journal in JOURNALS)
    return sum(_fold_sqlite(connection, journal) for journal in JOURNALS)


def _locked(connection: Connection, *, wait: bool) -> bool:
    if wait:
        connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
        return True
    return bool(connection.scalar(select(func.pg_try_advisory_xact_lock(_LOCK))))


def _fold_postgresql(connection: Connection, journal: Table) -> int:
    """In one statement: of what others write meanwhile it neither deletes nor adds anything."""
    gone = delete(journal).returning(*journal.columns).cte("gone")
    additions = [
        _addition("postgresql", total, gone).cte(f"added_{number}")
        for number, total in enumerate(TOTALS)
        if total.journal is journal
    ]
    counted = select(func.count()).select_from(gone).add_cte(*additions)
    return int(connection.scalar(counted) or 0)


def _fold_sqlite(connection: Connection, journal: Table) -> int:
    """Nobody else writes during a transaction."""
    for total in TOTALS:
        if total.journal is journal:
            connection.execute(_addition("sqlite", total, journal))
    return connection.execute(delete(journal)).rowcount


def _addition(dialect: str, total: Total, source: Table | CTE | Subquery) -> Insert:
    table, names = total.table, [*total.keys, *total.values]
    statement = insert(dialect, table).from_select(names, total.summed(source.c))
    return statement.on_conflict_do_update(
        index_elements=list(table.primary_key.columns),
        set_={name: table.c[name] + statement.excluded[name] for name in total.values},
    )


def sweep(connection: Connection) -> None:
    """Forget totals of nothing: a vehicle that was erased leaves no row."""
    for table in SUMMED:
        values = [column for column in table.columns if not column.primary_key]
        connection.execute(delete(table).where(*(value == 0 for value in values)))


def forget(connection: Connection, source: str, since: float, until: float) -> None:
    """Forget the sums of `events` or `coverage` between two starts of days (epoch seconds).

    For rows that go without a trigger's notice, as a whole partition does.
    """
    journal = JOURNAL_OF.get(source)
    if journal is None:
        return
    if connection.dialect.name == "postgresql":
        _locked(connection, wait=True)
    connection.execute(delete(journal).where(journal.c.hour >= since, journal.c.hour < until))
    for total in TOTALS:
        if total.journal is journal:
            at = next(iter(total.table.columns))
            inside = update(total.table).where(at >= since, at < until)
            connection.execute(inside.values(dict.fromkeys(total.values, 0)))
    sweep(connection)


def rebuild(connection: Connection) -> None:
    """Make every sum, verdict and cell again from the rows.

    For a database that was filled without the triggers, as an earlier version's was.
    """
    for derived in _derived(connection.dialect.name):
        connection.exec_driver_sql(derived)
    add_up(connection)


def add_up(connection: Connection) -> None:
    """Make the totals again from the rows, whose verdicts, cells and ends of status are right."""
    dialect = connection.dialect.name
    if dialect == "postgresql":
        _locked(connection, wait=True)
    for table in (*SUMMED, *JOURNALS):
        connection.execute(delete(table))
    for source in SUMMED_TABLES:
        rows = text(f"{source.change(dialect, source.table, '+')} FROM {source.table}")
        changes = rows.columns(*source.columns).subquery()
        for total in TOTALS:
            if total.journal is source.journal:
                connection.execute(_addition(dialect, total, changes))


@contextmanager
def without_triggers(connection: Connection) -> Iterator[None]:
    """PostgreSQL: rows go in without a sum being made; at the end `add_up` makes all of them.

    Nobody else writes meanwhile. The rows' verdicts, cells and ends of status must be right.
    """
    tables = [*(source.table for source in SUMMED_TABLES), schema.reviews.name]
    for table in tables:
        connection.exec_driver_sql(f"ALTER TABLE {table} DISABLE TRIGGER USER")
    yield
    for table in tables:
        connection.exec_driver_sql(f"ALTER TABLE {table} ENABLE TRIGGER USER")
    add_up(connection)


def _derived(dialect: str) -> Iterator[str]:
    """What rows hold of other rows, or of themselves."""
    cells = ", ".join(
        f"cell_{name} = {FLOOR[dialect].format(f'({degrees} / {CELL_DEG})')}"
        for name, degrees in (("row", "latitude"), ("column", "longitude"))
    )
    located = "latitude IS NOT NULL AND longitude IS NOT NULL AND cell_row IS NULL"
    yield f"UPDATE events SET {cells} WHERE {located}"  # noqa: S608 - names of our own
    yield LATEST_REVIEW.format(which="IN (SELECT event FROM reviews)")
    yield f"UPDATE availability SET until_at = {NEXT_STATUS.format(a='availability')}"  # noqa: S608
