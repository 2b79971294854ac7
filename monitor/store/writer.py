"""The thread that writes the event log, and outlives whatever happens to the database.

Requests are taken in batches, one transaction each, an event together with its outbox row. Locked
or full: the batch is kept and tried again, the disk reserve and the oldest samples making room.
Damaged: the file is set aside, a new one is begun. Meanwhile alerts go out from memory.
"""

import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import structlog

from monitor.backoff import Backoff
from monitor.clock import beyond_any_count
from monitor.config import state_dir
from monitor.errors import StoreError
from monitor.store import schema
from monitor.store.database import CorruptError, UnwritableError
from monitor.store.encoder import Job, MessageEncoder
from monitor.store.log_database import BUSY_S, LogDatabase
from monitor.store.outbox import Outbox
from monitor.store.requests import VITAL, RequestQueue, TableRow
from monitor.types import EndedBy, Event, Phase

log = structlog.get_logger(__name__)

TRANSACTION_JOBS = 200
# Forgetting what was delivered may wait, so that its write to the disk delays no alert's.
FORGET_EVERY_S = 0.5
RETRY_S = (0.2, 5.0)
CLOSE_S = 4.0


class Writer:
    """Writes what comes into the queue, from `start` to `close`.

    Args:
        requests: what to write.
        encoder: makes it ready.
        database: where it goes.
        outbox: handed what cannot be written; None where nobody is told.

    Attributes:
        restarts: earlier starts that no clean stop followed.
        trouble: why nothing is written now; None when all is well.
        notice: what happened to the file, for good; None if nothing did.

    More than fifteen methods, each a step of one loop or of one recovery: they share the jobs in
    hand, which must survive every one of them.
    """

    def __init__(
        self,
        requests: RequestQueue,
        encoder: MessageEncoder,
        database: LogDatabase,
        outbox: Outbox | None,
    ) -> None:
        self.restarts = 0
        self.trouble: str | None = None
        self.notice: str | None = None
        self._requests = requests
        self._encoder = encoder
        self._database = database
        self._outbox = outbox
        self._began_at = time.time()
        self._ever_open = False
        self._jobs: deque[Job] = deque()
        self._closing_s: float | None = None
        self._away_at_end = False
        self._backoff = Backoff(*RETRY_S, scatter=0)
        self._retry_at_s = 0.0
        self._forgot_s = 0.0
        self._thread = threading.Thread(target=self._run, name="store", daemon=True)

    def start(self) -> None:
        """Open the database and start the thread.

        Raises:
            StoreError: a newer version's database, not a database, a wrong URL, or one that
                another process writes to. One that cannot be written now is tried again.
        """
        try:
            self._open()
        except UnwritableError as error:
            self._fail(error)
        except CorruptError as error:
            if not self._database.ours:
                self._database.close()
                raise  # perhaps a stranger's file, named by mistake
            self._set_aside(error)
        except StoreError:
            self._database.close()
            raise
        self._thread.start()

    def close(self) -> None:
        """Write what is waiting, for a few seconds at most, and let go."""
        self._closing_s = time.monotonic()
        self._requests.wake()
        self._thread.join(CLOSE_S + 4 * BUSY_S)
        unwritten = len(self._jobs) + len(self._requests)
        if unwritten:
            kept = self._keep_unwritten()
            log.error(
                "closed with entries unwritten", entries=unwritten, why=self.trouble, kept=kept
            )
        self._database.close()

    def _keep_unwritten(self) -> str:
        """Write what no database took beside the state, a JSON line a message; returns where."""
        self._gather()
        messages = [job.pending.message for job in self._jobs if job.pending is not None]
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
        path = state_dir() / f"unwritten-{stamp}.jsonl"
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.write_bytes(b"".join(message.payload + b"\n" for message in messages))
        except OSError as error:
            return f"nowhere: {path} cannot be written ({error.strerror})"
        return str(path)

    def _run(self) -> None:
        while not self._finished():
            try:
                self._gather()
                if time.monotonic() < self._retry_at_s and self._closing_s is None:
                    continue
                self._work()
            except Exception as error:  # noqa: BLE001 - the writer outlives whatever comes
                self._survive(error)
            else:
                self._backoff.reset()
                self._retry_at_s = 0.0
                self.trouble = None

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
            self.trouble = f"{type(worse).__name__}: {worse}"
            self._wait_before_retry()

    def _finished(self) -> bool:
        if self._closing_s is None:
            return False
        # A lock is soon given back; a server that is away at the end is not waited for.
        over = time.monotonic() - self._closing_s > CLOSE_S or self._away_at_end
        confirmed = self._outbox is not None and self._outbox.confirmed
        return over or not (self._jobs or len(self._requests) or confirmed)

    def _wait_s(self) -> float:
        """How long there is nothing to do, if nothing new comes."""
        if self._closing_s is not None:
            return RETRY_S[0] if self._backoff.failing else 0.0
        if self._backoff.failing:
            return max(0.0, self._retry_at_s - time.monotonic())
        due_s = self._database.due_s()
        if self._outbox is not None and self._outbox.confirmed:
            due_s = min(due_s, self._forgot_s + FORGET_EVERY_S - time.monotonic())
        return max(0.0, due_s)

    def _gather(self) -> None:
        fresh = [self._encoder.job(request) for request in self._requests.take(self._wait_s())]
        self._jobs.extend(fresh)
        if self._backoff.failing:
            self._from_memory(fresh)
        while len(self._jobs) > VITAL:
            self._jobs.popleft()
            self._requests.dropped += 1

    def _work(self) -> None:
        if not self._database.opened:
            self._open()
        while self._jobs:
            batch = [self._jobs[n] for n in range(min(TRANSACTION_JOBS, len(self._jobs)))]
            self._write(batch)
            for _ in batch:
                self._jobs.popleft()
        forget = time.monotonic() - self._forgot_s >= FORGET_EVERY_S or self._closing_s is not None
        while forget and self._database.forget_delivered():
            self._forgot_s = time.monotonic()
        if self._database.due_s() <= 0:
            self._database.maintain()

    def _write(self, batch: Sequence[Job]) -> None:
        try:
            self._database.write(batch)
        except (UnwritableError, CorruptError):
            raise
        except StoreError:
            # One bad entry must not hold up the others.
            for job in batch:
                self._write_alone(job)

    def _write_alone(self, job: Job) -> None:
        try:
            self._database.write([job])
        except (UnwritableError, CorruptError):
            raise
        except StoreError as error:
            self._requests.dropped += 1
            log.warning("entry refused by the database", why=str(error))

    def _open(self) -> None:
        earlier = self._database.open(self._began_at)
        self._encoder.sequence = max(self._encoder.sequence, earlier.sequence)
        if not self._ever_open:
            # Only what an earlier process left: our own open events are not in there yet.
            self._ever_open = True
            self.restarts = earlier.restarts
            closings = [self._encoder.job(_ended(event)) for event in earlier.unended]
            self._jobs.extendleft(reversed(closings))

    def _fail(self, error: StoreError) -> None:
        if self.trouble is None:
            log.error("event log cannot be written; alerts go out from memory", why=str(error))
        if not self._ever_open and not self._encoder.sequence:
            # The old count is unknown; the clock is far beyond it.
            self._encoder.sequence = beyond_any_count()
        self.trouble = f"{error}; meanwhile alerts go out from memory"
        self._from_memory(self._jobs)
        self._wait_before_retry()
        if "free space" in str(error):
            self._jobs = deque(job for job in self._jobs if job.vital)
            self._database.make_room()

    def _wait_before_retry(self) -> None:
        self._away_at_end = self._closing_s is not None and not self._database.local
        self._retry_at_s = time.monotonic() + self._backoff.next_s()

    def _from_memory(self, jobs: Iterable[Job]) -> None:
        if self._outbox is not None:
            self._outbox.remember([job.pending for job in jobs if job.pending])

    def _set_aside(self, error: CorruptError) -> None:
        try:
            rescued = self._database.set_aside()
        except StoreError as worse:
            self._fail(worse)
            return
        self._encoder.sequence = max(self._encoder.sequence, rescued.sequence)
        self._jobs.extendleft(self._encoder.job(p) for p in reversed(rescued.undelivered))
        self._ever_open = True
        self.notice = f"the event log was damaged; it is {rescued.moved_to} now, a new one began"
        log.error("event log set aside", why=str(error), moved_to=str(rescued.moved_to))
        entry = {"at": time.time(), "actor": "watch", "action": "store.quarantine"}
        detail = {"subject": rescued.moved_to.name, "detail": {"why": str(error)}}
        self._requests.put(TableRow(schema.audit, {**entry, **detail}, vital=True))
        self._from_memory(self._jobs)


def _ended(event: Event) -> Event:
    """The end of an event whose process is gone, as late as it is known to have lasted."""
    evidence = replace(event.evidence, ended_by=EndedBy.PROCESS)
    return replace(event, phase=Phase.END, evidence=evidence)
