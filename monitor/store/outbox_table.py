"""The outbox's statements: each takes a connection and does one thing, in either database."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, delete, func, select, update

from monitor.clock import is_set
from monitor.protocol.messages import CLOUDEVENTS_JSON, Message, redated
from monitor.store import schema
from monitor.store.database import insert
from monitor.store.event_log import BATCH_ROWS
from monitor.types import Event

LOST: Final = "outbox.lost"  # the audit's word for messages dropped undelivered
_TABLE = schema.outbox
_BYTES = func.coalesce(func.sum(func.length(_TABLE.c.payload)), 0)


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


@dataclass(frozen=True, slots=True)
class Size:
    """So many messages, of so many payload bytes together."""

    messages: int = 0
    bytes: int = 0


def size(connection: Connection) -> Size:
    """What is in the table."""
    return Size(*connection.execute(select(func.count(), _BYTES).select_from(_TABLE)).one())


def lost(connection: Connection) -> int:
    """Messages dropped undelivered since the log was begun, by the audit."""
    audit = schema.audit
    losses = connection.scalars(select(audit.c.detail).where(audit.c.action == LOST))
    return sum(int(detail["messages"]) for detail in losses)


def add(connection: Connection, pending: Pending) -> None:
    """Insert a message; one that is there already is the same, any other clash is an error."""
    values = {
        "sequence": pending.sequence,
        "message": pending.id,
        "topic": pending.message.topic,
        "payload": pending.message.payload,
        "created_at": pending.created_at,
    }
    statement = insert(connection.dialect.name, _TABLE).values(values)
    connection.execute(statement.on_conflict_do_nothing(index_elements=["message"]))


def oldest(connection: Connection, limit: int | None = None, after: int = 0) -> Iterator[Pending]:
    """Messages with a sequence greater than `after`, in its order, one by one."""
    query = select(_TABLE).where(_TABLE.c.sequence > after).order_by(_TABLE.c.sequence)
    for row in connection.execute(query.limit(limit)).mappings():
        yield _pending(row)


def redate(connection: Connection, event: Event) -> None:
    """Date anew what is still to be told of an event whose date was put right."""
    mine = _TABLE.c.message.startswith(f"{event.id}.", autoescape=True)
    for row in connection.execute(select(_TABLE).where(mine)).mappings().all():
        message = redated(_pending(row).message, event.started_at)
        moved = update(_TABLE).where(_TABLE.c.sequence == row["sequence"])
        connection.execute(moved.values(payload=message.payload))


def remove(connection: Connection, ids: Sequence[str]) -> Size:
    """Delete these messages; returns what went."""
    chosen = _TABLE.c.message.in_(ids)
    size_bytes = connection.scalar(select(_BYTES).where(chosen))
    rows = connection.execute(delete(_TABLE).where(chosen)).rowcount
    return Size(rows, int(size_bytes or 0))


def drop_oldest(connection: Connection, now_at: float, before: float, excess_bytes: int) -> Size:
    """Delete at most a batch of what was created `before` or is too much, and audit the loss.

    Args:
        connection: in a transaction.
        now_at: the time of the audit's row, epoch seconds.
        before: older messages go, epoch seconds; not those dated before the clock was set.
        excess_bytes: so many bytes go, whatever their age.
    """
    query = select(_TABLE.c.sequence, func.length(_TABLE.c.payload), _TABLE.c.created_at)
    doomed: list[int] = []
    size_bytes = 0
    for sequence, length, created_at in connection.execute(
        query.order_by(_TABLE.c.sequence).limit(BATCH_ROWS)
    ).all():
        young = created_at >= before or not is_set(created_at)
        if size_bytes >= excess_bytes and young:
            break
        doomed.append(sequence)
        size_bytes += length
    if doomed:
        connection.execute(delete(_TABLE).where(_TABLE.c.sequence.in_(doomed)))
        row = {"at": now_at, "actor": "store", "action": LOST, "subject": "outbox"}
        detail = {"messages": len(doomed), "bytes": size_bytes}
        connection.execute(schema.audit.insert().values(**row, detail=detail))
    return Size(len(doomed), size_bytes)


def _pending(row: Mapping[Any, Any]) -> Pending:
    message = Message(row["topic"], row["payload"], row["message"], content_type=CLOUDEVENTS_JSON)
    return Pending(row["sequence"], row["created_at"], message)
