"""The event log: what happened, written down for good by one thread.

The frame loop only puts requests into a bounded queue. The writer takes them out in batches, one
transaction each, an event together with its outbox row. Whatever happens to the database, the
loop goes on and alerts go out from memory. Locked or full: the batch is kept and tried again,
ballast and the oldest samples making room. Damaged: the file is set aside, a new one is begun.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import structlog

from monitor.config import Config
from monitor.errors import StoreError
from monitor.protocol.messages import Topics
from monitor.protocol.schemas import Availability, CoverageData
from monitor.store import event_log, schema
from monitor.store.database import (
    CorruptError,
    UnwritableError,
    explained,
    open_engine,
    upgrade,
)
from monitor.store.encoder import Clip, Job, Mark, MessageEncoder, Request, Row
from monitor.store.outbox import Outbox
from monitor.store.writer import BUSY_S, Writer
from monitor.types import EndedBy, Event, Phase

__all__ = ["Store", "open_store", "recent_events", "upgrade"]

log = structlog.get_logger(__name__)

# Tellings held for a database that cannot be written; some 15 MB. Beyond it the oldest go.
QUEUE_VITAL = 5_000
QUEUE_OTHER = 200
TRANSACTION_JOBS = 200
# Forgetting what was delivered may wait, so that its write to the disk delays no alert's.
FORGET_EVERY_S = 0.5
RETRY_S = (0.2, 5.0)
CLOSE_S = 4.0


def open_store(config: Config, *, passing: Callable[[str], None] = lambda _: None) -> "Store":
    """Open the vehicle's event log and start its writer.

    A database that cannot be written now (read-only, full, locked, server away) does not stop
    the watch: the store tries again by itself and says so in `trouble`.

    Args:
        config: `store`, `mqtt` and the vehicle's id are used.
        passing: called at named points (`store.before_commit`, ...); tests crash there.

    Raises:
        StoreError: a newer version's database, not a database, a wrong URL, or one that another
            process writes to.
    """
    store = Store(config, passing)
    store.start()
    return store


def recent_events(url: str, *, limit: int = 100, drive: str | None = None) -> list[Event]:
    """The last events as last told, newest first.

    Raises:
        StoreError: the database cannot be read.
    """
    engine = open_engine(url)
    try:
        with explained(url), engine.connect() as connection:
            return event_log.recent_events(connection, limit=limit, drive=drive)
    finally:
        engine.dispose()


class Store:
    """The log of one vehicle; see `open_store`.

    Attributes:
        outbox: what is still to be delivered; None where MQTT is off.
        restarts: earlier starts that no clean stop followed.
    """

    def __init__(self, config: Config, passing: Callable[[str], None]) -> None:
        mqtt = config.mqtt
        keep_s = config.store.outbox_keep_days * 86_400
        self.outbox = Outbox(config.store.outbox_max_bytes, keep_s) if mqtt.enabled else None
        self.restarts = 0
        self._url = config.store.resolved_url()
        self._vehicle = config.vehicle
        self._writer = Writer(config.store, config.vehicle, self.outbox, passing)
        topics = Topics(mqtt.prefix, config.vehicle)
        self._encoder = MessageEncoder(topics, self.outbox, mqtt.max_payload_bytes)
        self._began_at = time.time()
        self._ever_open = False
        self._news = threading.Condition()
        self._vital: deque[Request] = deque()
        self._other: deque[Row] = deque(maxlen=QUEUE_OTHER)
        self._jobs: deque[Job] = deque()
        self._dropped = 0
        self._closing_s: float | None = None
        self._retry_s = 0.0
        self._retry_at_s = 0.0
        self._forgot_s = 0.0
        self._trouble: str | None = None
        self._notice: str | None = None
        self._thread = threading.Thread(target=self._run, name="store", daemon=True)
        if self.outbox is not None:
            self.outbox.on_confirm = self._wake

    def start(self) -> None:
        """Open the database and start the writer; see `open_store` for what is raised."""
        try:
            self._open()
        except UnwritableError as error:
            self._fail(error)
        except CorruptError as error:
            if not self._writer.ours:
                self._writer.close()
                raise  # perhaps a stranger's file, named by mistake
            self._set_aside(error)
        except StoreError:
            self._writer.close()
            raise
        self._thread.start()

    def record(self, event: Event) -> None:
        """Write down one telling of an event and send it on its way. Returns at once."""
        self._put(event)

    def account(self, data: CoverageData) -> None:
        """Write down and report monitored time. Returns at once."""
        self._put(data)

    def add(self, row: Row) -> None:
        """Write a row. Returns at once."""
        if row.vital:
            self._put(row)
            return
        with self._news:
            self._other.append(row)
            self._news.notify()

    def note_clip(self, event_id: str, file_name: str) -> None:
        """Note the clip of an event. Returns at once."""
        self._put(Clip(event_id, file_name))

    def audit(self, action: str, subject: str, detail: Mapping[str, Any] | None = None) -> None:
        """Write down what was done. Returns at once."""
        values = {"at": time.time(), "actor": "watch", "action": action, "subject": subject}
        self.add(Row(schema.audit, {**values, "detail": detail}, vital=True))

    def recent_events(self, *, limit: int = 100, drive: str | None = None) -> list[Event]:
        """The last events as last told, newest first.

        Raises:
            StoreError: the database cannot be read.
        """
        return recent_events(self._url, limit=limit, drive=drive)

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Wait until everything put so far is on disk; False if it is not by then."""
        done = threading.Event()
        self._put(Mark(done.set))
        return done.wait(timeout_s)

    def trouble(self) -> str | None:
        """What is wrong now and the cure; None when all is well."""
        if self._trouble is not None:
            return self._trouble
        if self._dropped:
            return f"{self._dropped} entries of the log were lost while it could not be written"
        return self._notice

    def close(self) -> None:
        """Write what is waiting, for a few seconds at most, and let go."""
        stopped = {"vehicle": self._vehicle, "at": time.time(), "status": Availability.STOPPED}
        self._put(Row(schema.availability, stopped, vital=True))
        with self._news:
            self._closing_s = time.monotonic()
            self._news.notify()
        self._thread.join(CLOSE_S + 4 * BUSY_S)
        unwritten = len(self._jobs) + len(self._vital)
        if unwritten:
            log.error("closed with entries unwritten", entries=unwritten, why=self._trouble)
        self._writer.close()

    def _put(self, request: Request) -> None:
        with self._news:
            self._vital.append(request)
            if len(self._vital) > QUEUE_VITAL:
                self._vital.popleft()
                self._dropped += 1
            self._news.notify()

    def _wake(self) -> None:
        with self._news:
            self._news.notify()

    def _run(self) -> None:
        while not self._finished():
            try:
                self._gather()
                if time.monotonic() < self._retry_at_s and self._closing_s is None:
                    continue
                self._turn()
            except Exception as error:  # noqa: BLE001 - the writer outlives whatever comes
                self._survive(error)
            else:
                self._retry_s = self._retry_at_s = 0.0
                self._trouble = None

    def _survive(self, error: Exception) -> None:
        try:
            if isinstance(error, CorruptError):
                self._set_aside(error)
            elif isinstance(error, StoreError):
                self._fail(error)
            else:
                log.error("event log failed in an unforeseen way", exc_info=error)
                self._fail(StoreError(f"{type(error).__name__}: {error}"))
        except Exception as worse:  # noqa: BLE001 - so it does from what comes of the cure
            self._trouble = f"{type(worse).__name__}: {worse}"
            self._wait_before_retry()

    def _finished(self) -> bool:
        with self._news:
            if self._closing_s is None:
                return False
            over = time.monotonic() - self._closing_s > CLOSE_S
            confirmed = self.outbox is not None and self.outbox.confirmed
            return over or not (self._jobs or self._vital or self._other or confirmed)

    def _idle_s(self) -> float:
        """How long there is nothing to do, if nothing new comes."""
        if self._retry_s:
            return max(0.0, self._retry_at_s - time.monotonic())
        due_s = self._writer.due_s()
        if self.outbox is not None and self.outbox.confirmed:
            due_s = min(due_s, self._forgot_s + FORGET_EVERY_S - time.monotonic())
        return max(0.0, due_s)

    def _gather(self) -> None:
        with self._news:
            if self._closing_s is not None and self._retry_s:
                self._news.wait(RETRY_S[0])
            elif self._closing_s is None and not (self._vital or self._other):
                self._news.wait(self._idle_s())
            requests = [*self._vital, *self._other]
            self._vital.clear()
            self._other.clear()
        fresh = [self._encoder.job(request) for request in requests]
        self._jobs.extend(fresh)
        if self._retry_s:
            self._from_memory(fresh)
        while len(self._jobs) > QUEUE_VITAL:
            self._jobs.popleft()
            self._dropped += 1

    def _turn(self) -> None:
        if not self._writer.opened:
            self._open()
        while self._jobs:
            batch = [self._jobs[n] for n in range(min(TRANSACTION_JOBS, len(self._jobs)))]
            self._write(batch)
            for _ in batch:
                self._jobs.popleft()
        forget = time.monotonic() - self._forgot_s >= FORGET_EVERY_S or self._closing_s is not None
        while forget and self._writer.forget_delivered():
            self._forgot_s = time.monotonic()
        if self._writer.due_s() <= 0:
            self._writer.keep_house()

    def _write(self, batch: Sequence[Job]) -> None:
        try:
            self._writer.write(batch)
        except (UnwritableError, CorruptError):
            raise
        except StoreError:
            # One bad entry must not hold up the others.
            for job in batch:
                self._write_alone(job)

    def _write_alone(self, job: Job) -> None:
        try:
            self._writer.write([job])
        except (UnwritableError, CorruptError):
            raise
        except StoreError as error:
            self._dropped += 1
            log.warning("entry refused by the database", why=str(error))

    def _open(self) -> None:
        found = self._writer.open(self._began_at)
        self._encoder.sequence = max(self._encoder.sequence, found.sequence)
        if not self._ever_open:
            # Only what an earlier process left: our own open events are not in there yet.
            self._ever_open = True
            self.restarts = found.restarts
            closings = [self._encoder.job(_ended(event)) for event in found.unended]
            self._jobs.extendleft(reversed(closings))

    def _fail(self, error: StoreError) -> None:
        if self._trouble is None:
            log.error("event log cannot be written; alerts go out from memory", why=str(error))
        if not self._ever_open and not self._encoder.sequence:
            # The old count is unknown; the clock is far beyond it.
            self._encoder.sequence = int(time.time())
        self._trouble = f"{error}; meanwhile alerts go out from memory"
        self._from_memory(self._jobs)
        self._wait_before_retry()
        if "free space" in str(error):
            self._jobs = deque(job for job in self._jobs if job.vital)
            self._writer.make_room()

    def _wait_before_retry(self) -> None:
        self._retry_s = min(max(self._retry_s * 2, RETRY_S[0]), RETRY_S[1])
        self._retry_at_s = time.monotonic() + self._retry_s

    def _from_memory(self, jobs: Sequence[Job] | deque[Job]) -> None:
        if self.outbox is not None:
            self.outbox.remember([job.pending for job in jobs if job.pending])

    def _set_aside(self, error: CorruptError) -> None:
        try:
            salvage = self._writer.set_aside()
        except StoreError as worse:
            self._fail(worse)
            return
        self._encoder.sequence = max(self._encoder.sequence, salvage.sequence)
        self._jobs.extendleft(self._encoder.job(p) for p in reversed(salvage.undelivered))
        self._ever_open = True
        self._notice = f"the event log was damaged; it is {salvage.moved_to} now, a new one began"
        log.error("event log set aside", why=str(error), moved_to=str(salvage.moved_to))
        self.audit("store.quarantine", salvage.moved_to.name, {"why": str(error)})
        self._from_memory(self._jobs)


def _ended(event: Event) -> Event:
    """The end of an event whose process is gone, as late as it is known to have lasted."""
    evidence = replace(event.evidence, ended_by=EndedBy.PROCESS)
    return replace(event, phase=Phase.END, evidence=evidence)
