"""Opening the database: SQLite in a vehicle, PostgreSQL for a fleet, the same tables in both.

SQLite runs in WAL with `synchronous=FULL`: it survives SIGKILL and power cuts. Whatever is wrong
is raised in one line: an `UnwritableError` database may get well by itself (locked, disk full,
server down) and the watch goes on without it; any other `StoreError` needs a person.
"""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config as AlembicConfig
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import (
    URL,
    Connection,
    Engine,
    Table,
    create_engine,
    event,
    make_url,
    text,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DatabaseError, NoSuchModuleError, OperationalError

from monitor.errors import StoreError

BUSY_S = 2.0
# A server that is away must not hold up a stop for longer.
CONNECT_S = 3
# The driver's own default: what is asked so often is prepared.
PREPARED_AFTER = 5
# Any number that every wakeful takes and nobody else: one migration at a time.
_MIGRATION_LOCK = 0x3A6E_F01D
_NOT_OURS = re.compile("not a database|malformed|corrupt", re.IGNORECASE)


class UnwritableError(StoreError):
    """The database cannot be written now: locked, read-only, disk full, server away."""


class CorruptError(StoreError):
    """The file is no database, or a damaged one."""


def open_engine(url: str, *, busy_s: float = BUSY_S, immediate: bool = False) -> Engine:
    """An engine on `url`, with SQLite's pragmas set; connects when first used.

    Args:
        url: SQLAlchemy URL; a SQLite file's folder is made.
        busy_s: how long SQLite waits for another writer.
        immediate: SQLite transactions take the write lock at once, so that a batch cannot fail
            half way for want of it.

    Raises:
        StoreError: a URL that names no database, or a driver that is not installed.
    """
    target = target_of(url)
    options: dict[str, Any] = {}
    if target.get_backend_name() == "sqlite":
        if not target.database or target.database == ":memory:":
            raise StoreError("store.url: SQLite needs a file, as in sqlite:////var/lib/wakeful.db")
        make_folder(Path(target.database).parent)
        options["connect_args"] = {"timeout": busy_s, "check_same_thread": False}
    else:
        options["pool_pre_ping"] = True
        # Nothing is prepared before it is known that no pooler stands between.
        options["connect_args"] = {"prepare_threshold": None, "connect_timeout": CONNECT_S}
    with driver_is_there():
        engine = create_engine(target, **options)
    if target.get_backend_name() == "sqlite":
        _tune_sqlite(engine, "BEGIN IMMEDIATE" if immediate else "BEGIN")
    else:
        event.listen(engine, "connect", _prepare_where_direct)
    return engine


@contextmanager
def driver_is_there() -> Iterator[None]:
    """Say which driver is missing.

    Raises:
        StoreError: one is.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise StoreError(
            f"store.url: the driver {error.name} is not installed; pip install 'wakeful[fleet]'"
        ) from None


def upgrade(url: str) -> str:
    """Create the tables or bring them to this version; returns the revision.

    Raises:
        StoreError: a newer version's database, not a database, not writable, a wrong URL.
    """
    engine = open_engine(url, immediate=True)
    try:
        with explained(url), engine.begin() as connection:
            return _migrate(connection, url)
    finally:
        engine.dispose()


@contextmanager
def explained(url: str) -> Iterator[None]:
    """Turn the database's own errors into one line that names it and the cure.

    Raises:
        CorruptError: damaged, or no database at all.
        UnwritableError: it cannot be reached or written now.
    """
    name = shown(url)
    try:
        yield
    except OperationalError as error:
        if _NOT_OURS.search(str(error.orig)):
            raise CorruptError(f"{name}: is damaged; move it away and start again") from error
        raise UnwritableError(f"{name}: {_cause(error)}; {_cure(error)}") from error
    except DatabaseError as error:
        if _NOT_OURS.search(str(error.orig)):
            raise CorruptError(
                f"{name}: is not a database or is damaged; move it away or set store.url"
            ) from error
        raise StoreError(f"{name}: {_cause(error)}") from error


def shown(url: str) -> str:
    """The URL as it may be printed: no password; a SQLite file by its path alone.

    Without the driver's settings, too, which may hold secrets of their own.
    """
    target = target_of(url)
    if target.get_backend_name() == "sqlite":
        return str(target.database)
    return target.set(query={}).render_as_string(hide_password=True)


def sqlite_file(url: str) -> Path | None:
    """The file of a SQLite URL; None for a server's."""
    target = target_of(url)
    return Path(str(target.database)) if target.get_backend_name() == "sqlite" else None


def insert(dialect: str, table: Table) -> sqlite.Insert | postgresql.Insert:
    """An INSERT that knows `on_conflict_do_update`, for either database."""
    return postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)


def target_of(url: str) -> URL:
    """The URL, checked, with the driver that is used here.

    Raises:
        StoreError: not a SQLAlchemy URL, or one of another database.
    """
    try:
        # As hosting services print it.
        target = make_url(re.sub("^postgres://", "postgresql://", url))
        backend = target.get_backend_name()
    except (ArgumentError, NoSuchModuleError):
        raise StoreError(
            "store.url: not a SQLAlchemy URL; write sqlite:////path/to/wakeful.db or "
            "postgresql+psycopg://user@host/database"
        ) from None
    if backend not in {"sqlite", "postgresql"}:
        raise StoreError(f"store.url: {backend} is not supported; use sqlite or postgresql+psycopg")
    # `postgresql://` alone would ask for psycopg2, which nothing here installs.
    return target.set(drivername="postgresql+psycopg") if backend == "postgresql" else target


def make_folder(folder: Path) -> None:
    """Make the folder of a database, for its owner alone.

    Raises:
        UnwritableError: it cannot be made.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UnwritableError(
            f"{folder}: cannot be made ({error.strerror}); set store.url or WAKEFUL_HOME to a "
            "folder that can be written"
        ) from None


def _tune_sqlite(engine: Engine, begin: str) -> None:
    @event.listens_for(engine, "connect")
    def _connect(connection: sqlite3.Connection, _: object) -> None:
        # The driver's own transaction handling is off: BEGIN is ours to say.
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA journal_size_limit=8000000")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)


def _prepare_where_direct(connection: Any, _: object) -> None:
    """Let statements be prepared on a server's own connection: batches take about half the time.

    PgBouncer hands each transaction another connection, where what was prepared is not. A pooler
    gives itself away: it makes up the process id that it tells at the sign-in.
    """
    with connection.cursor() as cursor:
        [server_pid] = cursor.execute("SELECT pg_backend_pid()").fetchone()
    connection.rollback()
    if server_pid == connection.info.backend_pid:
        connection.prepare_threshold = PREPARED_AFTER


def _migrate(connection: Connection, url: str) -> str:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:n)"), {"n": _MIGRATION_LOCK})
    config = migrations(connection)
    script = ScriptDirectory.from_config(config)
    revisions = {revision.revision for revision in script.walk_revisions()}
    current = MigrationContext.configure(connection).get_current_revision()
    if current is not None and current not in revisions:
        raise StoreError(
            f"{shown(url)}: is of a newer version (revision {current}, this one knows up to "
            f"{script.get_current_head()}); install that version or set store.url to another file"
        )
    head = script.get_current_head()
    if current != head:
        command.upgrade(config, "head")
    return str(head)


def migrations(connection: Connection) -> AlembicConfig:
    """Alembic's configuration of our migrations, to be run on this connection."""
    config = AlembicConfig()
    folder = str(Path(__file__).parent / "migrations")
    config.set_main_option("script_location", folder.replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def _cause(error: DatabaseError) -> str:
    return str(error.orig).strip().splitlines()[0]


def _cure(error: OperationalError) -> str:
    cause = _cause(error).lower()
    if "locked" in cause:
        return "another program holds it; close that one"
    if "full" in cause or "disk i/o" in cause:
        return "free space on the disk"
    if "readonly" in cause or "unable to open" in cause:
        return "make it writable, or set store.url or WAKEFUL_HOME"
    return "start the server or correct its URL"
