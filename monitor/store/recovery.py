"""A damaged event log is set aside, never deleted, and what can still be read is carried over."""

import time
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.exc import DatabaseError

from monitor.protocol.messages import CLOUDEVENTS_JSON, Message
from monitor.store import schema
from monitor.store.database import open_engine
from monitor.store.event_log import highest_sequence
from monitor.store.outbox import Pending


@dataclass(frozen=True, slots=True)
class Salvage:
    """What was read out of a damaged file: its undelivered messages and its last number."""

    moved_to: Path
    undelivered: tuple[Pending, ...]
    sequence: int


def quarantine(path: Path) -> Salvage:
    """Rename the SQLite file and its log to `<name>.corrupt-<time>` and read what is readable.

    The engines on it must be disposed of before.
    """
    moved_to = path.with_name(f"{path.name}.corrupt-{time.strftime('%Y%m%dT%H%M%S')}")
    for suffix in ("", "-wal", "-shm"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(moved_to.with_name(moved_to.name + suffix))
    return _salvage(moved_to)


def _salvage(path: Path) -> Salvage:
    undelivered: list[Pending] = []
    # Without the old count, the clock stands in: it is far beyond any count, so order is kept.
    sequence = int(time.time())
    engine = open_engine(f"sqlite:///{path}")
    try:
        with engine.connect() as connection:
            sequence = highest_sequence(connection) or sequence
            for row in connection.execute(select(schema.outbox).order_by("sequence")).mappings():
                message = Message(
                    row["topic"], row["payload"], row["message"], content_type=CLOUDEVENTS_JSON
                )
                undelivered.append(Pending(row["sequence"], row["created_at"], message))
    except (DatabaseError, TypeError, ValueError):
        pass  # the rest is beyond reading
    finally:
        engine.dispose()
    return Salvage(path, tuple(undelivered), sequence)
