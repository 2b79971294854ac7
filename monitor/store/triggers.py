"""The triggers that write every change of a row into a journal, and what a row holds of others.

    events, coverage, availability  ──▶ a journal, which `monitor.store.sums` adds up
    reviews                         ──▶ the latest verdict, in the event's row
    availability                    ──▶ when a status ended, in its own row

Written in each database's own SQL: they run in the writer's transaction, whoever it is.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Column, Connection, Table

from monitor.store import schema


@dataclass(frozen=True)
class SummedTable:
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
    def columns(self) -> list[Column[Any]]:
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
SUMMED_TABLES: Final = (
    SummedTable(
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
    SummedTable(
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
    SummedTable(
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
JOURNAL_OF: Final = {source.table: source.journal for source in SUMMED_TABLES}

FLOOR: Final = {
    "postgresql": "floor{0}",
    "sqlite": "CAST({0} AS INTEGER) - ({0} < CAST({0} AS INTEGER))",
}

# The latest review of an event; one that was withdrawn is none.
LATEST_REVIEW: Final = (
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
NEXT_STATUS: Final = (
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


def uninstall(connection: Connection) -> None:
    """Drop the triggers; sums stand still from then on."""
    for statement in _postgresql() if connection.dialect.name == "postgresql" else _sqlite():
        if statement.startswith("DROP TRIGGER"):
            connection.exec_driver_sql(statement)


def _sqlite() -> Iterator[str]:
    for source in SUMMED_TABLES:
        added = f"{source.insert} {source.change('sqlite', 'NEW', '+')}"
        removed = f"{source.insert} {source.change('sqlite', 'OLD', '-')}"
        differs = source.differs("OLD", "NEW", "IS NOT")
        yield from _sqlite_trigger(source.table, "INSERT", added)
        yield from _sqlite_trigger(source.table, "UPDATE", removed, added, when=differs)
        yield from _sqlite_trigger(source.table, "DELETE", removed)
    for verb, row in (("INSERT", "NEW"), ("DELETE", "OLD")):
        latest = LATEST_REVIEW.format(which=f"= {row}.event")
        yield from _sqlite_trigger("reviews", verb, latest)
        chained = (
            f"UPDATE availability SET until_at = {NEXT_STATUS.format(a='availability')} "  # noqa: S608
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
    for source in SUMMED_TABLES:
        added = f"{source.insert} {source.change('postgresql', 'n', '+')} FROM new_rows n"
        removed = f"{source.insert} {source.change('postgresql', 'o', '-')} FROM old_rows o"
        yield from _postgresql_trigger(source.table, "INSERT", added)
        yield from _postgresql_trigger(source.table, "UPDATE", _moved(source))
        yield from _postgresql_trigger(source.table, "DELETE", removed)
    for verb, rows in (("INSERT", "new_rows"), ("DELETE", "old_rows")):
        yield from _postgresql_trigger("reviews", verb, _LATEST_REVIEWS.format(rows=rows))
        chained = (
            f"UPDATE availability a SET until_at = {NEXT_STATUS.format(a='a')} FROM {rows} r "  # noqa: S608
            f"WHERE a.vehicle = r.vehicle AND (a.at = r.at OR a.at = {_BEFORE.format(r='r')}) "
            f"AND a.until_at IS DISTINCT FROM {NEXT_STATUS.format(a='a')}"
        )
        yield from _postgresql_trigger("availability", verb, chained, name="chain")


def _moved(source: SummedTable) -> str:
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
