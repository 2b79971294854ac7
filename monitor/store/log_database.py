"""The vehicle's database: opened, written in batches, kept small, set aside when damaged.

No thread and no queue in here; `monitor.store.writer` has those. Every method raises `StoreError`s
of `monitor.store.database` and leaves nothing half done.
"""

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from monitor.config import StoreConfig
from monitor.protocol.schemas import Availability
from monitor.store import event_log, schema
from monitor.store.database import (
    CorruptError,
    explained,
    make_folder,
    open_engine,
    sqlite_file,
    upgrade,
)
from monitor.store.disk_reserve import DiskReserve
from monitor.store.encoder import Job
from monitor.store.lock import DatabaseLock
from monitor.store.maintenance import Retention
from monitor.store.outbox import Outbox
from monitor.store.recovery import Rescued, quarantine
from monitor.types import Event

log = structlog.get_logger(__name__)

# Short: while the writer waits for a lock, nothing new is handed out.
BUSY_S = 0.5


@dataclass(frozen=True, slots=True)
class Earlier:
    """What an earlier process left in the log.

    Attributes:
        sequence: the last number given to a durable message.
        unended: events that an earlier process left open.
        restarts: earlier starts that no clean stop followed.
    """

    sequence: int
    unended: tuple[Event, ...]
    restarts: int


class LogDatabase:
    """The database of one vehicle.

    Args:
        config: where it is and what is kept how long.
        vehicle: whose it is.
        outbox: kept up with what is on disk; None where nothing is sent.
        failpoint: called at named points; tests crash there.
    """

    def __init__(
        self,
        config: StoreConfig,
        vehicle: str,
        outbox: Outbox | None,
        failpoint: Callable[[str], None],
    ) -> None:
        self._url = config.resolved_url()
        self._path = sqlite_file(self._url)
        self._vehicle = vehicle
        self._outbox = outbox
        self._failpoint = failpoint
        self._retention = Retention(config, outbox)
        self._reserve: DiskReserve | None = None
        if self._path is not None:
            self._reserve = DiskReserve(self._path.with_name(f"{self._path.name}.reserve"))
        self._lock: DatabaseLock | None = None
        self._engine: Engine | None = None
        self._reader: Engine | None = None

    @property
    def opened(self) -> bool:
        """The database is open."""
        return self._engine is not None

    @property
    def local(self) -> bool:
        """It is a file of this machine, not a server."""
        return self._path is not None

    @property
    def ours(self) -> bool:
        """The file was written by this vehicle before: a damaged one may be set aside."""
        return self._lock is not None and self._lock.taken_before

    def open(self, began_at: float) -> Earlier:
        """Lock, migrate and check the database, and note that the watch began.

        Raises:
            StoreError: of another version, written by another process, or no database.
        """
        if self._path is not None and self._lock is None:
            make_folder(self._path.parent)
            self._lock = DatabaseLock(self._path)
        new = self._path is not None and not self._path.exists()
        upgrade(self._url)
        if self._path is not None and new:
            # When somebody drove, slept or looked away is nobody else's business. (FAT knows none.)
            with suppress(OSError):
                self._path.chmod(0o600)
        self._engine = open_engine(self._url, busy_s=BUSY_S, immediate=True)
        self._reader = open_engine(self._url)
        try:
            earlier = self._take_up(self._engine, self._reader, began_at)
        except BaseException:
            self._dispose()
            raise
        if self._reserve:
            self._reserve.fill()
        return earlier

    def write(self, jobs: Sequence[Job]) -> None:
        """Write `jobs` in one transaction; all of them or, with an error, none."""
        if self._engine is None:
            return
        with explained(self._url), self._engine.begin() as connection:
            for job in jobs:
                job.write(connection)
            self._failpoint("store.before_commit")
        self._failpoint("store.after_commit")
        if self._outbox is not None:
            self._outbox.committed([job.pending for job in jobs if job.pending])
        for job in jobs:
            job.written()

    def forget_delivered(self) -> bool:
        """Delete a batch of delivered messages; False when there was none."""
        outbox, engine = self._outbox, self._engine
        if outbox is None or engine is None or not outbox.confirmed:
            return False
        self._failpoint("outbox.before_delete")
        with explained(self._url):
            outbox.forget_confirmed(engine)
        self._failpoint("outbox.after_delete")
        return True

    def due_s(self) -> float:
        """Seconds until `maintain` has something to do."""
        return self._retention.due_s()

    def maintain(self) -> None:
        """Forget what is old or too much."""
        if self._engine is None:
            return
        with explained(self._url):
            self._retention.apply(self._engine)
        if self._reserve:
            self._reserve.fill()

    def make_room(self) -> None:
        """The disk is full: give back the reserve, shorten the log, drop the oldest samples."""
        if self._reserve and self._reserve.drop():
            log.warning("disk full: the reserve was given back")
        if self._engine is None or self._path is None:
            return
        # First of all: a long write-ahead log is what stands in the way of every change.
        _checkpoint(self._engine)
        for _ in range(10):
            try:
                with self._engine.begin() as connection:
                    if not event_log.forget_oldest(connection, schema.samples, "at", 50):
                        return
            except SQLAlchemyError:
                return
        _checkpoint(self._engine)

    def set_aside(self) -> Rescued:
        """Move the damaged file away and read what is readable; open a new one afterwards.

        Raises:
            CorruptError: there is no file to move, or it cannot be moved.
        """
        self._dispose()
        if self._path is None:
            raise CorruptError(f"{self._url}: is damaged; restore it from a backup")
        try:
            return quarantine(self._path)
        except OSError as error:
            raise CorruptError(
                f"{self._path}: is damaged and cannot be moved away ({error.strerror})"
            ) from None

    def close(self) -> None:
        """Let go of the database."""
        self._dispose()
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _take_up(self, engine: Engine, reader: Engine, began_at: float) -> Earlier:
        with explained(self._url), engine.begin() as connection:
            damage = event_log.damage(connection) if self._path else None
            if damage is not None:
                raise CorruptError(f"{self._path}: is damaged ({damage}); move it away")
            earlier = Earlier(
                event_log.highest_sequence(connection),
                tuple(event_log.unended_events(connection, self._vehicle)),
                event_log.unclean_ends(connection, self._vehicle),
            )
            if self._retention.calendar.newest_at is None:  # before anything of today is in there
                self._retention.calendar.newest_at = event_log.newest_at(connection)
            online = {"vehicle": self._vehicle, "at": began_at, "status": Availability.ONLINE}
            event_log.add_row(connection, schema.availability, online)
            if self._outbox is not None:
                self._outbox.open(reader, connection)
            return earlier

    def _dispose(self) -> None:
        if self._outbox is not None:
            self._outbox.closed()
        for engine in (self._engine, self._reader):
            if engine is not None:
                engine.dispose()
        self._engine = self._reader = None


def _checkpoint(engine: Engine) -> None:
    # On the driver's own connection: SQLAlchemy would begin a transaction first.
    with suppress(SQLAlchemyError, sqlite3.Error), engine.connect() as connection:
        raw = connection.connection.driver_connection
        if raw is not None:
            raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
