"""What has still to be delivered, oldest first, and what was lost on the way.

A row enters in the transaction of its event and leaves when its delivery is confirmed: by the
broker's PUBACK or by the fleet's own acknowledgement. Rows are written and deleted by the store's
writer alone; whoever delivers only reads and confirms. While the database cannot be written,
messages wait in memory and are delivered from there.
"""

import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import structlog
from sqlalchemy import Connection, Engine, delete, func, select
from sqlalchemy.exc import SQLAlchemyError

from monitor.protocol.messages import CLOUDEVENTS_JSON, Message
from monitor.store import schema
from monitor.store.database import insert
from monitor.store.event_log import BATCH_ROWS

log = structlog.get_logger(__name__)

# Some 20 MB; beyond it the oldest give way, counted as lost.
MEMORY_MESSAGES = 10_000
LOST = "outbox.lost"


@dataclass(frozen=True, slots=True)
class Pending:
    """A durable message that is not delivered yet, with the vehicle's own number for it."""

    sequence: int
    created_at: float
    message: Message

    @property
    def id(self) -> str:
        """The message's id."""
        return self.message.id


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
    """

    def __init__(self, max_bytes: int, keep_s: float) -> None:
        self._max_bytes = max_bytes
        self._keep_s = keep_s
        self._lock = threading.Lock()
        self._reader: Engine | None = None
        self._memory: dict[str, Pending] = {}
        self._confirmed: set[str] = set()
        self.on_news: Callable[[], None] = lambda: None
        self.on_confirm: Callable[[], None] = lambda: None
        self.depth = 0
        self.bytes = 0
        self.lost = 0

    def next(self, limit: int, in_flight: Collection[str] = (), *, after: int = 0) -> list[Pending]:
        """The oldest messages that are neither confirmed nor `in_flight`, at most `limit`.

        Args:
            limit: how many.
            in_flight: ids of messages that are under way.
            after: only messages with a greater sequence.
        """
        with self._lock:
            confirmed = set(self._confirmed)
            found = {p.id: p for p in self._memory.values() if p.sequence > after}
        # What is in flight or confirmed may come first in the table, so it is asked for on top.
        for pending in self._stored(limit + len(confirmed) + len(in_flight), after):
            found[pending.id] = pending
        waiting = [p for p in found.values() if p.id not in confirmed and p.id not in in_flight]
        return sorted(waiting, key=lambda pending: pending.sequence)[:limit]

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

    @property
    def confirmed(self) -> bool:
        """There are delivered messages whose rows may go."""
        return bool(self._confirmed)

    @property
    def too_large(self) -> bool:
        """More is on disk than may be."""
        return self.bytes > self._max_bytes

    # From here on only the store's writer calls.

    def open(self, reader: Engine, connection: Connection) -> None:
        """Take up what an earlier process left."""
        table, audit = schema.outbox, schema.audit
        count, size = connection.execute(
            select(func.count(), func.coalesce(func.sum(func.length(table.c.payload)), 0))
        ).one()
        losses = connection.scalars(select(audit.c.detail).where(audit.c.action == LOST))
        with self._lock:
            self._reader = reader
            self.depth, self.bytes = int(count), int(size)
            self.lost += sum(int(detail["messages"]) for detail in losses)
        self.on_news()

    def closed(self) -> None:
        """The database is gone for now: only memory is left."""
        with self._lock:
            self._reader = None

    def insert(self, connection: Connection, pending: Pending) -> None:
        """Write the row, in the transaction of its event; not if it was delivered meanwhile."""
        with self._lock:
            delivered = pending.id in self._confirmed
        if not delivered:
            values = _row(pending)
            statement = insert(connection.dialect.name, schema.outbox).values(values)
            # A message already there is the same one; any other clash is an error.
            connection.execute(statement.on_conflict_do_nothing(index_elements=["message"]))

    def committed(self, batch: Sequence[Pending]) -> None:
        """The rows of `batch` are on disk."""
        with self._lock:
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
            for pending in batch:
                if pending.id not in self._confirmed:
                    self._memory[pending.id] = pending
            while len(self._memory) > MEMORY_MESSAGES:
                del self._memory[next(iter(self._memory))]
                self.lost += 1
        self.on_news()

    def take_confirmed(self) -> list[str]:
        """A batch of delivered messages whose rows may go; hand it to `deleted` afterwards."""
        with self._lock:
            return list(islice(self._confirmed, BATCH_ROWS))

    def delete(self, connection: Connection, ids: Sequence[str]) -> tuple[int, int]:
        """Delete delivered rows; returns how many there were and their payload bytes."""
        table = schema.outbox
        chosen = table.c.message.in_(ids)
        size = connection.scalar(
            select(func.coalesce(func.sum(func.length(table.c.payload)), 0)).where(chosen)
        )
        return connection.execute(delete(table).where(chosen)).rowcount, int(size or 0)

    def deleted(self, ids: Sequence[str], rows: int, size: int) -> None:
        """The deletion of `ids` is committed."""
        with self._lock:
            self._confirmed.difference_update(ids)
            self.depth = max(0, self.depth - rows)
            self.bytes = max(0, self.bytes - size)

    def prune(self, connection: Connection, now_at: float) -> tuple[int, int]:
        """Drop at most a batch of what is too old or too much; returns rows and bytes.

        The loss is written to the audit in the same transaction; hand it to `pruned` afterwards.
        """
        table = schema.outbox
        query = select(table.c.sequence, func.length(table.c.payload), table.c.created_at)
        oldest = connection.execute(query.order_by(table.c.sequence).limit(BATCH_ROWS)).all()
        doomed, excess = [], self.bytes - self._max_bytes
        for sequence, size, created_at in oldest:
            if excess <= 0 and created_at >= now_at - self._keep_s:
                break
            doomed.append(sequence)
            excess -= size
        if not doomed:
            return 0, 0
        size = sum(row[1] for row in oldest[: len(doomed)])
        connection.execute(delete(table).where(table.c.sequence.in_(doomed)))
        detail = {"messages": len(doomed), "bytes": size}
        row = {"at": now_at, "actor": "store", "action": LOST, "subject": "outbox"}
        connection.execute(schema.audit.insert().values(**row, detail=detail))
        return len(doomed), int(size)

    def pruned(self, rows: int, size: int) -> None:
        """The pruning is committed."""
        with self._lock:
            self.depth -= rows
            self.bytes -= size
            self.lost += rows
        log.error("undelivered messages dropped", messages=rows, bytes=size)

    def _stored(self, limit: int, after: int) -> list[Pending]:
        reader = self._reader
        if reader is None:
            return []
        table = schema.outbox
        query = select(table).where(table.c.sequence > after)
        try:
            with reader.connect() as connection:
                found = connection.execute(query.order_by(table.c.sequence).limit(limit))
                return [_pending(row) for row in found.mappings()]
        except SQLAlchemyError:
            # The writer finds out and tells; meanwhile memory is all there is.
            return []


def _row(pending: Pending) -> dict[str, object]:
    return {
        "sequence": pending.sequence,
        "message": pending.id,
        "topic": pending.message.topic,
        "payload": pending.message.payload,
        "created_at": pending.created_at,
    }


def _pending(row: Mapping[Any, Any]) -> Pending:
    message = Message(row["topic"], row["payload"], row["message"], content_type=CLOUDEVENTS_JSON)
    return Pending(row["sequence"], row["created_at"], message)
