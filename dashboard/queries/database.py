"""The event log, opened for looking back: who asks, how long it took, what is wrong with it."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Table, inspect
from sqlalchemy.sql import Executable

from dashboard.queries.scope import EVERYTHING, Scope
from monitor.store.database import open_engine, target_of
from monitor.store.reader import BUSY_S, explained_reading, open_reader

Record = dict[str, Any]  # values by column, on their way into or out of the database
Row = TypeVar("Row")


@dataclass(slots=True)
class Spent:
    """What one page view has cost so far: statements, seconds in the database, rows read."""

    statements: int = 0
    seconds: float = 0.0
    rows: int = 0

    def add(self, seconds: float, rows: int) -> None:
        """Count one more statement."""
        self.statements += 1
        self.seconds += seconds
        self.rows += rows


_spent = threading.local()


def columns_of(table: Table, row_type: type[Any]) -> list[ColumnElement[Any]]:
    """The columns of a table that a row type has fields for."""
    return [table.c[field.name] for field in fields(row_type) if field.name in table.c]


def begin_view() -> Spent:
    """Start counting for this thread's page view; streamlit runs each view in one thread."""
    view = Spent()
    _spent.view = view
    return view


def _view() -> Spent:
    view: Spent | None = getattr(_spent, "view", None)
    return view if view is not None else begin_view()


class Database:
    """An open event log. Thread-safe; every fault is a `StoreError` of one line.

    Pages read through a door through which nothing can be written; what people say of alerts, and
    the sums of past days, go through another.

    Args:
        url: SQLAlchemy URL of SQLite or PostgreSQL. A SQLite file is never created here.

    Raises:
        StoreError: not a URL of either, or a SQLite file that is not there.
    """

    def __init__(self, url: str) -> None:
        self.url = target_of(url)
        self.name = self.url.render_as_string(hide_password=True)
        self.engine = open_reader(url)
        self.writer = open_engine(url, busy_s=BUSY_S)
        self.scope = EVERYTHING
        self._tables: frozenset[str] = frozenset()

    def scoped(self, scope: Scope) -> "Database":
        """The same log, open once, of which only a scope's vehicles are seen."""
        view = copy(self)
        view.scope = scope
        return view

    def allows(self, vehicle: ColumnElement[str]) -> ColumnElement[bool]:
        """The condition that a row's vehicle is inside the scope; in every query."""
        return self.scope.allows(vehicle)

    @property
    def key(self) -> tuple[str, tuple[str, ...] | None]:
        """What an answer depends on besides its question: the log and the scope."""
        groups = self.scope.groups
        return self.name, None if groups is None else tuple(sorted(groups))

    @property
    def postgresql(self) -> bool:
        """PostgreSQL, else SQLite."""
        return self.engine.dialect.name == "postgresql"

    @property
    def place(self) -> str:
        """Where the log is, in words for people."""
        if not self.postgresql:
            return str(self.url.database)
        host = f" at {self.url.host}" if self.url.host else ""
        return f"PostgreSQL {self.url.database}{host}"

    def fetch(self, row_type: type[Row], statement: Executable) -> list[Row]:
        """All rows of a statement, each as one `row_type`, whose fields are its columns."""
        return [row_type(**row) for row in self.rows(statement)]

    def fetch_first(self, row_type: type[Row], statement: Executable) -> Row | None:
        """The first row as one `row_type`, or None."""
        rows = self.fetch(row_type, statement)
        return rows[0] if rows else None

    def rows(self, statement: Executable, values: Record | None = None) -> list[Record]:
        """All rows of a statement, by column."""
        began = time.perf_counter()
        with self.explained(), self.engine.connect() as connection:
            # SQLite works while it is read, so fetching belongs to the time that is counted.
            fetched = connection.execute(statement, values or {}).mappings().all()
        _view().add(time.perf_counter() - began, len(fetched))
        return [dict(row) for row in fetched]

    def first(self, statement: Executable, values: Record | None = None) -> Record | None:
        """The first row by column, or None."""
        rows = self.rows(statement, values)
        return rows[0] if rows else None

    def write(self, *statements: tuple[Executable, Sequence[Record] | Record]) -> None:
        """Run statements with their values in one transaction."""
        with self.explained(), self.writer.begin() as connection:
            for statement, values in statements:
                connection.execute(statement, values)

    def close(self) -> None:
        """Let go of every connection."""
        self.engine.dispose()
        self.writer.dispose()

    def tables(self) -> frozenset[str]:
        """Names of the tables that are there; asked once, they only change with a migration."""
        if not self._tables:
            with self.explained():
                self._tables = frozenset(inspect(self.engine).get_table_names())
        return self._tables

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn the database's own errors into one line.

        Raises:
            StoreError: what is wrong and what cures it.
        """
        with explained_reading(self.name):
            yield
