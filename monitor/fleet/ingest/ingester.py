"""From MQTT into the fleet's database, nothing lost and nothing doubled.

    gather what arrived in a few milliseconds → read it strictly → one transaction
    → confirm to the broker → tell each vehicle what is stored

Any number of ingesters may share the work. One that dies at any point leaves either nothing or
everything of a batch in the database; what it had not acknowledged its vehicles send again.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import sdnotify
import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError

from monitor.backoff import Backoff
from monitor.fleet.config import FleetConfig
from monitor.fleet.ingest import upsert
from monitor.fleet.ingest.decoder import Arrival, Sorted, Sorter
from monitor.fleet.ingest.metrics import IngestMetrics

log = structlog.get_logger(__name__)

BEAT_S = 1.0


class Inbox(Protocol):
    """The seam to the network.

    Either `monitor.fleet.ingest.subscriber.Intake` or
    `tests.support.fakes.FakeInbox`.
    """

    dropped: int
    refusal: str | None

    @property
    def connected(self) -> bool:
        """Messages flow."""

    @property
    def waiting(self) -> int:
        """Messages taken and not yet gathered."""

    def start(self) -> None:
        """Begin to take messages."""

    def gather(self, wait_s: float) -> list[Arrival]:
        """What has arrived, after waiting at most this long for a first message."""

    def confirm(self, arrivals: Sequence[Arrival]) -> None:
        """These need not come again."""

    def acknowledge(self, ids: Mapping[str, Sequence[str]]) -> None:
        """Tell each vehicle which of its messages are stored."""

    def leave(self) -> None:
        """Ask for no more."""

    def close(self) -> None:
        """Let go."""


class Ingester:
    """One ingester: a loop over batches in the caller's thread.

    Args:
        config: of the fleet.
        engine: of a database at the current version.
        inbox: where messages come from.
        metrics: where they are counted.
        passing: called at named points of a batch (`ingest.before_commit`, ...); tests crash there.
    """

    def __init__(
        self,
        config: FleetConfig,
        engine: Engine,
        inbox: Inbox,
        metrics: IngestMetrics,
        passing: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._config, self._engine, self._inbox = config, engine, inbox
        self._metrics, self._passing = metrics, passing
        self._sorter = Sorter(config.mqtt.prefix, config.ingest, metrics)
        self._faults = _Faults(engine)
        self._trouble: str | None = None
        self._stored_at: float | None = None
        # Outside systemd the library would open a socket and drop it.
        systemd = "NOTIFY_SOCKET" in os.environ
        self._systemd = sdnotify.SystemdNotifier() if systemd else None
        self._beat_at = 0.0

    def run(self, stop: threading.Event) -> None:
        """Take in until `stop` is set; then finish what was taken, within `drain_s`."""
        self._inbox.start()
        try:
            # While the database writes one batch, the next is read.
            with ThreadPoolExecutor(1, thread_name_prefix="writer") as writer:
                writing = writer.submit(lambda: None)
                for arrivals in self._batches(stop):
                    decoded = self._sorter.sort(arrivals)
                    writing.result()
                    writing = writer.submit(self._finish, decoded, arrivals, stop)
                writing.result()
        finally:
            self._notify("STOPPING=1")
            self._inbox.close()

    def step(self, arrivals: list[Arrival], stop: threading.Event) -> None:
        """Store a batch, however often it takes; then confirm and acknowledge it."""
        self._finish(self._sorter.sort(arrivals), arrivals, stop)

    def _batches(self, stop: threading.Event) -> Iterator[list[Arrival]]:
        """What comes until `stop` is set, an empty batch when nothing does; then what was taken."""
        while not stop.is_set():
            yield self._inbox.gather(wait_s=0.2)
            self._beat()
        self._inbox.leave()
        until = time.monotonic() + self._config.ingest.drain_s
        while time.monotonic() < until and (arrivals := self._inbox.gather(wait_s=0.2)):
            yield arrivals

    def _finish(self, decoded: Sorted, arrivals: list[Arrival], stop: threading.Event) -> None:
        if not arrivals:
            return
        self._metrics.states_skipped.inc(decoded.skipped)
        if not decoded.batch.empty and not self._persist(decoded, arrivals, stop):
            return
        self._passing("ingest.after_commit")
        self._inbox.confirm(arrivals)
        self._passing("ingest.after_confirm")
        self._inbox.acknowledge(decoded.ids)
        self._account(decoded, len(arrivals))

    def health(self) -> dict[str, object]:
        """How it stands; `troubles` is empty when all is well."""
        troubles = {}
        if not self._inbox.connected:
            troubles["broker"] = self._inbox.refusal or "not connected"
        if self._trouble:
            troubles["database"] = self._trouble
        return {
            "troubles": troubles,
            "waiting": self._inbox.waiting,
            "dropped": self._inbox.dropped,
            "last_stored_at": self._stored_at,
        }

    def _persist(self, decoded: Sorted, arrivals: list[Arrival], stop: threading.Event) -> bool:
        """Write the batch; False if the database was away when we were asked to stop.

        While the database is away nothing is confirmed: the broker holds back, the vehicles keep.
        """
        # Scattered, so that a hundred ingesters do not return to the database as one.
        backoff = Backoff(*self._config.database.retry_s)
        while True:
            try:
                self._store(decoded)
            except self._faults.of_data as error:
                return self._split(arrivals, error, stop)
            except self._faults.of_database as error:
                self._failed(error)
            else:
                self._trouble = None
                self._metrics.database.set(1)
                return True
            if stop.wait(backoff.next_s()):
                return False
            self._beat()

    def _store(self, decoded: Sorted) -> None:
        with self._metrics.transaction.time():
            moved = upsert.write(
                self._engine, decoded.batch, lambda: self._passing("ingest.before_commit")
            )
        self._metrics.events.labels("new").inc(moved)
        self._metrics.events.labels("repeat").inc(max(decoded.batch.tellings - moved, 0))

    def _split(self, arrivals: list[Arrival], error: Exception, stop: threading.Event) -> bool:
        """The database refuses something in this batch: find it by halves and set it aside."""
        if len(arrivals) > 1:
            middle = len(arrivals) // 2
            return all(
                self._persist(self._sorter.sort(half), half, stop)
                for half in (arrivals[:middle], arrivals[middle:])
            )
        aside = Sorted()
        reason = f"the database refuses it: {str(error).splitlines()[0]}"
        self._sorter.refuse(arrivals[0], reason, aside)
        return self._persist(aside, [], stop)

    def _failed(self, error: Exception) -> None:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        if self._trouble is None:
            log.warning("the database does not take it; keeping on", reason=lines[0])
        self._trouble = lines[0]
        self._metrics.failures.inc()
        self._metrics.database.set(0)

    def _account(self, decoded: Sorted, messages: int) -> None:
        now = self._stored_at = time.time()
        self._metrics.batch.observe(messages)
        if decoded.batch.tellings:
            self._metrics.lag.observe(max(now - decoded.batch.recorded_at, 0.0))

    def _beat(self) -> None:
        """Say that the loop turns: to systemd's watchdog and to Prometheus."""
        now = time.monotonic()
        if now - self._beat_at < BEAT_S:
            return
        self._beat_at = now
        self._metrics.waiting.set(self._inbox.waiting)
        self._metrics.broker.set(self._inbox.connected)
        if self._inbox.connected:
            self._notify("READY=1")
        self._notify("WATCHDOG=1")

    def _notify(self, what: str) -> None:
        if self._systemd is not None:
            self._systemd.notify(what)


class _Faults:
    """Which errors are the data's fault and which the database's, for this engine's driver.

    The bulk statements go past SQLAlchemy, so its wrapped errors and the driver's own both occur.
    """

    def __init__(self, engine: Engine) -> None:
        driver: Any = engine.dialect.loaded_dbapi
        self.of_data: tuple[type[Exception], ...] = (
            DataError,
            IntegrityError,
            driver.DataError,
            driver.IntegrityError,
            ValueError,
            OverflowError,
        )
        self.of_database: tuple[type[Exception], ...] = (SQLAlchemyError, driver.Error, OSError)
