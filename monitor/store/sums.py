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
    journal = _JOURNAL_OF.get(source)
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
    for source in _SOURCES:
        rows = text(f"{source.change(dialect, source.table, '+')} FROM {source.table}")
        changes = rows.columns(*source.columns).subquery()
        for total in TOTALS:
            if total.journal is source.journal:
                connection.execute(_addition(dialect, total, changes))


def _derived(dialect: str) -> Iterator[str]:
    """What rows hold of other rows, or of themselves."""
    cells = ", ".join(
        f"cell_{name} = {_FLOOR[dialect].format(f'({degrees} / {CELL_DEG})')}"
        for name, degrees in (("row", "latitude"), ("column", "longitude"))
    )
    located = "latitude IS NOT NULL AND longitude IS NOT NULL AND cell_row IS NULL"
    yield f"UPDATE events SET {cells} WHERE {located}"  # noqa: S608 - names of our own
    yield _LATEST_REVIEW.format(which="IN (SELECT event FROM reviews)")
    yield f"UPDATE availability SET until_at = {_NEXT.format(a='availability')}"  # noqa: S608


# --- triggers ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Source:
    """A table whose rows are summed.

    Attributes:
        table: its name.
        journal: where its changes go.
        values: by column of the journal, SQL of a row `r`; `+` in front of what is counted.
    """

    table: str
    journal: Table
    values: Mapping[str, str]

    @property
    def columns(self) -> list[Columns]:
        """The journal's, as it selects them."""
        return [self.journal.c[name] for name in self.values]

    @property
    def insert(self) -> str:
        """INSERT INTO the journal."""
        return f"INSERT INTO {self.journal.name} ({', '.join(self.values)})"

    def change(self, dialect: str, row: str, sign: str) -> str:
        """SELECT of a row as a change.

        Args:
            dialect: of the database.
            row: a table or alias, as `OLD`.
            sign: `+` where it came, `-` where it went.
        """
        start = _START_OF[dialect]
        at = f"r.{_AT[self.table]}"
        marks = {"{day}": start.format(at, 86_400), "{hour}": start.format(at, 3_600)}
        marks["{sign}"] = sign
        values = [f"{value} AS {name}" for name, value in self.values.items()]
        for mark, sql in marks.items():
            values = [value.replace(mark, sql) for value in values]
        return f"SELECT {', '.join(values)}".replace("r.", f"{row}.")

    def differs(self, old: str, new: str, distinct: str) -> str:
        """Condition that an update changes a sum."""
        pairs = [f"{old}.{c} {distinct} {new}.{c}" for c in _SUMMED_BY[self.table]]
        return " OR ".join(pairs)


# The start of the hour or day that holds a time. SQLite may have been built without floor(); CAST
# goes towards zero, which for times is downwards.
_START_OF: Final = {
    "postgresql": "floor({0} / {1}) * {1}",
    "sqlite": "CAST({0} / {1} AS INTEGER) * {1}.0",
}
_AT: Final = {"events": "started_at", "coverage": "started_at", "availability": "at"}
_SUMMED_BY: Final = {
    "events": (
        "started_at",
        "vehicle",
        "camera",
        "kind",
        "level",
        "verdict",
        "cell_row",
        "cell_column",
    ),
    "coverage": ("started_at", "vehicle", "cause", "seconds"),
    "availability": ("at", "vehicle", "status", "until_at"),
}
_MS: Final = "{sign}CAST(round(CAST(1000 * (%s) AS NUMERIC)) AS BIGINT)"
_SOURCES: Final = (
    _Source(
        "events",
        schema.event_changes,
        {
            "day": "{day}",
            "hour": "{hour}",
            "vehicle": "r.vehicle",
            "camera": "r.camera",
            "kind": "r.kind",
            "level": "r.level",
            "verdict": "coalesce(r.verdict, '')",
            "cell_row": "r.cell_row",
            "cell_column": "r.cell_column",
            "events": "{sign}1",
        },
    ),
    _Source(
        "coverage",
        schema.coverage_changes,
        {
            "day": "{day}",
            "hour": "{hour}",
            "vehicle": "r.vehicle",
            "cause": "r.cause",
            "milliseconds": _MS % "r.seconds",
        },
    ),
    _Source(
        "availability",
        schema.availability_changes,
        {
            "day": "{day}",
            "hour": "{hour}",
            "vehicle": "r.vehicle",
            "status": "r.status",
            "milliseconds": _MS % "coalesce(r.until_at - r.at, 0)",
        },
    ),
)
_JOURNAL_OF: Final = {source.table: source.journal for source in _SOURCES}

_FLOOR: Final = {
    "postgresql": "floor{0}",
    "sqlite": "CAST({0} AS INTEGER) - ({0} < CAST({0} AS INTEGER))",
}

# The latest review of an event; one that was withdrawn is none.
_LATEST_REVIEW: Final = (
    "UPDATE events SET (verdict, verdict_cause) = (SELECT nullif(r.verdict, 'withdrawn'), r.cause "
    "FROM reviews r WHERE r.event = events.id ORDER BY r.id DESC LIMIT 1) WHERE events.id {which}"
)
# The same of many; copied events come with their verdict, and what is so already is left alone.
_LATEST_REVIEWS: Final = (
    "UPDATE events e SET verdict = l.verdict, verdict_cause = l.cause FROM (SELECT DISTINCT "
    "i.event, nullif(r.verdict, 'withdrawn') AS verdict, r.cause FROM {rows} i LEFT JOIN LATERAL "
    "(SELECT verdict, cause FROM reviews WHERE event = i.event ORDER BY id DESC LIMIT 1) r ON true"
    ") l WHERE e.id = l.event AND (e.verdict, e.verdict_cause) IS DISTINCT FROM "
    "(l.verdict, l.cause)"
)
# When the status after this one began.
_NEXT: Final = (
    "(SELECT min(n.at) FROM availability n WHERE n.vehicle = {a}.vehicle AND n.at > {a}.at)"
)
_BEFORE: Final = (
    "(SELECT max(p.at) FROM availability p WHERE p.vehicle = {r}.vehicle AND p.at < {r}.at)"
)


def install(connection: Connection) -> None:
    """Create the triggers, in place of an earlier version's."""
    statements = _postgresql() if connection.dialect.name == "postgresql" else _sqlite()
    for statement in statements:
        connection.exec_driver_sql(statement)


@contextmanager
def without_triggers(connection: Connection) -> Iterator[None]:
    """PostgreSQL: rows go in without a sum being made; at the end `add_up` makes all of them.

    Nobody else writes meanwhile. The rows' verdicts, cells and ends of status must be right.
    """
    tables = [*_AT, schema.reviews.name]
    for table in tables:
        connection.exec_driver_sql(f"ALTER TABLE {table} DISABLE TRIGGER USER")
    yield
    for table in tables:
        connection.exec_driver_sql(f"ALTER TABLE {table} ENABLE TRIGGER USER")
    add_up(connection)


def uninstall(connection: Connection) -> None:
    """Drop the triggers; sums stand still from then on."""
    for statement in _postgresql() if connection.dialect.name == "postgresql" else _sqlite():
        if statement.startswith("DROP TRIGGER"):
            connection.exec_driver_sql(statement)


def _sqlite() -> Iterator[str]:
    for source in _SOURCES:
        added = f"{source.insert} {source.change('sqlite', 'NEW', '+')}"
        removed = f"{source.insert} {source.change('sqlite', 'OLD', '-')}"
        differs = source.differs("OLD", "NEW", "IS NOT")
        yield from _sqlite_trigger(source.table, "INSERT", added)
        yield from _sqlite_trigger(source.table, "UPDATE", removed, added, when=differs)
        yield from _sqlite_trigger(source.table, "DELETE", removed)
    for verb, row in (("INSERT", "NEW"), ("DELETE", "OLD")):
        latest = _LATEST_REVIEW.format(which=f"= {row}.event")
        yield from _sqlite_trigger("reviews", verb, latest)
        chained = (
            f"UPDATE availability SET until_at = {_NEXT.format(a='availability')} "  # noqa: S608
            f"WHERE vehicle = {row}.vehicle AND (at = {row}.at OR at = {_BEFORE.format(r=row)})"
        )
        yield from _sqlite_trigger("availability", verb, chained, name="chain")


def _sqlite_trigger(
    table: str, verb: str, *statements: str, when: str = "", name: str = "sums"
) -> Iterator[str]:
    trigger = f"{name}_{table}_{verb.lower()}"
    condition = f"WHEN {when} " if when else ""
    yield f"DROP TRIGGER IF EXISTS {trigger}"
    yield (
        f"CREATE TRIGGER {trigger} AFTER {verb} ON {table} FOR EACH ROW {condition}"
        f"BEGIN {'; '.join(statements)}; END"
    )


def _postgresql() -> Iterator[str]:
    for source in _SOURCES:
        added = f"{source.insert} {source.change('postgresql', 'n', '+')} FROM new_rows n"
        removed = f"{source.insert} {source.change('postgresql', 'o', '-')} FROM old_rows o"
        yield from _postgresql_trigger(source.table, "INSERT", added)
        yield from _postgresql_trigger(source.table, "UPDATE", _moved(source))
        yield from _postgresql_trigger(source.table, "DELETE", removed)
    for verb, rows in (("INSERT", "new_rows"), ("DELETE", "old_rows")):
        yield from _postgresql_trigger("reviews", verb, _LATEST_REVIEWS.format(rows=rows))
        chained = (
            f"UPDATE availability a SET until_at = {_NEXT.format(a='a')} FROM {rows} r "  # noqa: S608
            f"WHERE a.vehicle = r.vehicle AND (a.at = r.at OR a.at = {_BEFORE.format(r='r')}) "
            f"AND a.until_at IS DISTINCT FROM {_NEXT.format(a='a')}"
        )
        yield from _postgresql_trigger("availability", verb, chained, name="chain")


def _moved(source: _Source) -> str:
    """Old rows went and new ones came; what is the same in both is no change.

    Rows are not told apart by their keys: an event's date may be put right.
    """
    *keys, value = source.values
    both = (
        f"{source.change('postgresql', 'o', '-')} FROM old_rows o UNION ALL "
        f"{source.change('postgresql', 'n', '+')} FROM new_rows n"
    )
    return (
        f"{source.insert} SELECT {', '.join(keys)}, sum({value}) FROM ({both}) changes "  # noqa: S608
        f"GROUP BY {', '.join(keys)} HAVING sum({value}) <> 0"
    )


def _postgresql_trigger(table: str, verb: str, statement: str, name: str = "sums") -> Iterator[str]:
    trigger = f"{name}_{table}_{verb.lower()}"
    rows = {
        "INSERT": "NEW TABLE AS new_rows",
        "DELETE": "OLD TABLE AS old_rows",
        "UPDATE": "OLD TABLE AS old_rows NEW TABLE AS new_rows",
    }[verb]
    yield (
        f"CREATE OR REPLACE FUNCTION {trigger}() RETURNS trigger LANGUAGE plpgsql "
        # Whoever may write a review need not be allowed to write what follows from it.
        f"SECURITY DEFINER SET search_path FROM CURRENT AS $$BEGIN {statement}; RETURN NULL; END$$"
    )
    yield f"DROP TRIGGER IF EXISTS {trigger} ON {table}"
    yield (
        f"CREATE TRIGGER {trigger} AFTER {verb} ON {table} REFERENCING {rows} "
        f"FOR EACH STATEMENT EXECUTE FUNCTION {trigger}()"
    )
