"""A damaged event log is set aside, never deleted, and what can still be read is carried over."""

import time
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.exc import DatabaseError

from monitor.clock import beyond_any_count
from monitor.store import outbox_table
from monitor.store.database import open_engine
from monitor.store.event_log import highest_sequence
from monitor.store.outbox_table import Pending


@dataclass(frozen=True, slots=True)
class Rescued:
    """What was read out of a damaged file: its undelivered messages and its last number."""

    moved_to: Path
    undelivered: tuple[Pending, ...]
    sequence: int


def quarantine(path: Path) -> Rescued:
    """Rename the SQLite file and its log to `<name>.corrupt-<time>` and read what is readable.

    The engines on it must be disposed of before.
    """
    moved_to = path.with_name(f"{path.name}.corrupt-{time.strftime('%Y%m%dT%H%M%S')}")
    for suffix in ("", "-wal", "-shm"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(moved_to.with_name(moved_to.name + suffix))
    return _rescued(moved_to)


def _rescued(path: Path) -> Rescued:
    undelivered: list[Pending] = []
    # Without the old count, the clock stands in: it is far beyond any count, so order is kept.
    sequence = beyond_any_count()
    engine = open_engine(f"sqlite:///{path}")
    try:
        with engine.connect() as connection:
            sequence = highest_sequence(connection) or sequence
            for pending in outbox_table.oldest(connection):
                undelivered.append(pending)  # noqa: PERF402 - each as it is read: the next may fail
    except (DatabaseError, TypeError, ValueError):
        pass  # the rest is beyond reading
    finally:
        engine.dispose()
    return Rescued(path, tuple(undelivered), sequence)
