"""What has still to be delivered, oldest first, and what was lost on the way.

A row enters in the transaction of its event and leaves when its delivery is confirmed: by the
broker's PUBACK or by the fleet's own acknowledgement. Rows are written and deleted on the store's
thread; whoever delivers only reads and confirms. While the database cannot be written, messages
wait in memory and are delivered from there. The statements are in `monitor.store.outbox_table`.
"""

import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from itertools import islice

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from monitor.protocol.messages import redated
from monitor.store import outbox_table
from monitor.store.event_log import BATCH_ROWS
from monitor.store.outbox_table import Pending, Size
from monitor.types import Event

log = structlog.get_logger(__name__)

# Some 20 MB; beyond it the oldest give way, counted as lost.
MEMORY_MESSAGES = 10_000


class Outbox:
    """The undelivered messages of one vehicle.

    Args:
        max_bytes: payload bytes kept on disk; beyond it the oldest are dropped and counted.
        keep_s: messages older than this are dropped and counted.

    Attributes:
        on_news: called when there is something new to deliver.
        on_confirm: called when something was confirmed and its row may go.
        depth, bytes: messages and payload bytes on disk.
        lost: messages dropped undelivered since the log was begun.

    More than fifteen methods: two threads meet here, six of them serve the one that delivers and
    eight the one that writes, over the same lock and sets.
    """

    def __init__(self, max_bytes: int, keep_s: float) -> None:
        self._max_bytes = max_bytes
        self._keep_s = keep_s
        self._lock = threading.Lock()
        self._reader: Engine | None = None
        self._memory: dict[str, Pending] = {}
        self._confirmed: set[str] = set()
        self.on_news: Callable[[], None] = lambda: None
        self._news = 0  # counts what may have brought messages
        self._empty_at = -1  # of `_news`, when nothing was found
        self.on_confirm: Callable[[], None] = lambda: None
        self.depth = 0
        self.bytes = 0
        self.lost = 0

    # --- for whoever delivers --------------------------------------------------------------

    def next(self, limit: int, in_flight: Collection[str] = (), *, after: int = 0) -> list[Pending]:
        """The oldest messages that are neither confirmed nor `in_flight`, at most `limit`.

        Args:
            limit: how many.
            in_flight: ids of messages that are under way.
            after: only messages with a greater sequence.
        """
        with self._lock:
            news = self._news
            if self._empty_at == news:
                return []
            confirmed = set(self._confirmed)
            pending = {p.id: p for p in self._memory.values() if p.sequence > after}
        # What is in flight or confirmed may come first in the table, so it is asked for on top.
        stored = self._stored(limit + len(confirmed) + len(in_flight), after)
        pending.update({p.id: p for p in stored or ()})
        if stored == [] and not (pending or in_flight or after):
            self._empty_at = news  # who asks on every frame does not read the table each time
        waiting = [p for p in pending.values() if p.id not in confirmed and p.id not in in_flight]
        return sorted(waiting, key=lambda p: p.sequence)[:limit]

    def confirm(self, ids: Iterable[str]) -> None:
        """These were delivered: they are not handed out again."""
        with self._lock:
            for id_ in ids:
                self._confirmed.add(id_)
                self._memory.pop(id_, None)
        self.on_confirm()

    def discard(self, pending: Pending, why: str) -> None:
        """It can never be delivered: count it as lost, and let those behind it through."""
        with self._lock:
            self.lost += 1
        log.error("undeliverable message dropped", message=pending.id, why=why)
        self.confirm([pending.id])

    @property
    def waiting(self) -> int:
        """Messages not yet confirmed, on disk and in memory."""
        with self._lock:
            return max(0, self.depth - len(self._confirmed)) + len(self._memory)

    # --- for the thread that writes --------------------------------------------------------

    @property
    def confirmed(self) -> bool:
        """There are delivered messages whose rows may go."""
        return bool(self._confirmed)

    @property
    def too_large(self) -> bool:
        """More is on disk than may be."""
        return self.bytes > self._max_bytes

    def open(self, reader: Engine, connection: Connection) -> None:
        """Take up what an earlier process left."""
        size, lost = outbox_table.size(connection), outbox_table.lost(connection)
        with self._lock:
            self._reader = reader
            self._news += 1
            self.depth, self.bytes = size.messages, size.bytes
            self.lost += lost
        self.on_news()

    def closed(self) -> None:
        """The database is gone for now: only memory is left."""
        with self._lock:
            self._reader = None

    def add(self, connection: Connection, pending: Pending) -> None:
        """Write the row, in the transaction of its event; not if it was delivered meanwhile."""
        with self._lock:
            delivered = pending.id in self._confirmed
        if not delivered:
            outbox_table.add(connection, pending)

    def redate(self, connection: Connection, event: Event) -> None:
        """Date anew what is still to be told of `event`, in the transaction of its row."""
        outbox_table.redate(connection, event)
        with self._lock:
            for id_, pending in self._memory.items():
                if id_.startswith(f"{event.id}."):
                    message = redated(pending.message, event.started_at)
                    self._memory[id_] = replace(pending, message=message)

    def committed(self, batch: Sequence[Pending]) -> None:
        """The rows of `batch` are on disk."""
        with self._lock:
            self._news += 1
            for pending in batch:
                self._memory.pop(pending.id, None)
                if pending.id in self._confirmed:
                    self._confirmed.discard(pending.id)
                else:
                    self.depth += 1
                    self.bytes += len(pending.message.payload)
        self.on_news()

    def remember(self, batch: Sequence[Pending]) -> None:
        """The database cannot be written: hand these out from memory."""
        with self._lock:
            self._news += 1
            for pending in batch:
                if pending.id not in self._confirmed:
                    self._memory[pending.id] = pending
            while len(self._memory) > MEMORY_MESSAGES:
                del self._memory[next(iter(self._memory))]
                self.lost += 1
        self.on_news()

    def forget_confirmed(self, engine: Engine) -> None:
        """Delete the rows of a batch of delivered messages, in a transaction of its own."""
        with self._lock:
            ids = list(islice(self._confirmed, BATCH_ROWS))
        with engine.begin() as connection:
            removed = outbox_table.remove(connection, ids)
        with self._lock:
            self._confirmed.difference_update(ids)
            self._shrink(removed)

    def prune(self, engine: Engine, now_at: float | None) -> bool:
        """Drop a batch of what is too old or too much, in a transaction; False if nothing is.

        Without a date (`now_at` is None) nothing is too old.
        """
        excess_bytes = self.bytes - self._max_bytes
        before = 0.0 if now_at is None else now_at - self._keep_s
        with engine.begin() as connection:
            dropped = outbox_table.drop_oldest(
                connection, now_at or time.time(), before, excess_bytes
            )
        if not dropped.messages:
            return False
        with self._lock:
            self._shrink(dropped)
            self.lost += dropped.messages
        log.error("undelivered messages dropped", messages=dropped.messages, bytes=dropped.bytes)
        return True

    def _shrink(self, removed: Size) -> None:
        self.depth = max(0, self.depth - removed.messages)
        self.bytes = max(0, self.bytes - removed.bytes)

    def _stored(self, limit: int, after: int) -> list[Pending] | None:
        """The oldest rows; None where the table cannot be read."""
        reader = self._reader
        if reader is None:
            return None
        try:
            with reader.connect() as connection:
                return list(outbox_table.oldest(connection, limit, after))
        except SQLAlchemyError:
            # The writer finds out and tells; meanwhile memory is all there is.
            return None
