"""Opening a database to look back: nothing can be written through this door, and no file is made.

Whoever reads is not the watch: a missing file is an error, a statement has a time limit, and faults
are told in words for the one who asked.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from monitor.errors import StoreError
from monitor.store.database import CONNECT_S, driver_is_there, target_of

BUSY_S: Final = 5
# A page that takes longer than this is answered with a message, not with a spinner for ever.
STATEMENT_TIMEOUT_S: Final = 15


def open_reader(url: str) -> Engine:
    """An engine that reads what a watch or an ingester writes.

    Args:
        url: SQLAlchemy URL of SQLite or PostgreSQL.

    Raises:
        StoreError: not a URL of either, a driver that is not installed, or a SQLite file that is
            not there.
    """
    target = target_of(url)
    if target.get_backend_name() == "sqlite":
        file = Path(target.database or "")
        if not file.is_file():
            raise StoreError(
                f"{file or 'sqlite://'}: no event log there yet; `wakeful run` or `wakeful demo` "
                "writes one, `wakeful dashboard --demo` fills one with a simulated fleet"
            )
        engine = create_engine(target, connect_args={"timeout": BUSY_S})
        event.listen(engine, "connect", _tune_sqlite)
        return engine
    options = {
        "connect_timeout": CONNECT_S,
        "application_name": "wakeful-dashboard",
        # PgBouncer hands each transaction another connection: nothing prepared may outlive one.
        "prepare_threshold": None,
    }
    with driver_is_there():
        engine = create_engine(target, connect_args=options, pool_pre_ping=True, pool_timeout=10)
    event.listen(engine, "begin", _tune_postgresql)
    return engine


@contextmanager
def explained_reading(name: str) -> Iterator[None]:
    """Turn the database's own errors into one line.

    Args:
        name: of the database, as it may be shown.

    Raises:
        StoreError: what is wrong and what cures it.
    """
    try:
        yield
    except SQLAlchemyError as error:
        raise StoreError(_explanation(error, name)) from None


def _tune_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.execute("PRAGMA query_only = ON")
    # A reader takes its memory from the page cache.
    connection.execute("PRAGMA cache_size = -65536")
    connection.execute("PRAGMA mmap_size = 268435456")


def _tune_postgresql(connection: Connection) -> None:
    # For this transaction alone: PgBouncer takes no such option when a connection is opened.
    connection.exec_driver_sql("SET TRANSACTION READ ONLY")
    connection.exec_driver_sql(f"SET LOCAL statement_timeout = {STATEMENT_TIMEOUT_S * 1000}")


def _explanation(error: SQLAlchemyError, name: str) -> str:
    cause = str(getattr(error, "orig", None) or error).strip().splitlines()
    reason = cause[0] if cause else type(error).__name__
    low = reason.lower()
    if "no such table" in low or ("does not exist" in low and "relation" in low):
        return f"{name}: not this version's tables ({reason}); run `wakeful db upgrade`"
    if "statement timeout" in low:
        return f"{name}: no answer within {STATEMENT_TIMEOUT_S} s; choose a shorter time range"
    if "locked" in low:
        return f"{name}: locked by another program; try again in a moment"
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return f"{name}: the connection was lost ({reason}); is the database still running?"
    return f"{name}: {reason}"
