"""Following an alert up with its driver: opened, talked about, closed. Append-only."""

import time
from dataclasses import dataclass
from typing import Final

from sqlalchemy import exists, func, insert, select

from dashboard.queries.database import Database, columns_of
from dashboard.queries.reviews import check_visible, clean
from monitor.store.schema import coaching, events

# What may follow what; a closed one may be opened again.
STEPS: Final = {
    None: ("open",),
    "open": ("talked", "closed"),
    "talked": ("closed",),
    "closed": ("open",),
}
WORDS: Final = {"open": "open", "talked": "talked about", "closed": "closed"}
SHOWN: Final = 500
_c, _e = coaching.c, events.c


@dataclass(frozen=True, slots=True)
class CoachingStep:
    """One step: who did it, when (epoch seconds), what was noted."""

    id: int
    event: str
    at: float
    actor: str
    status: str
    note: str | None


@dataclass(frozen=True, slots=True)
class CoachingItem:
    """Where one stands, with the alert it came from; times are epoch seconds."""

    event: str
    status: str
    at: float
    actor: str
    vehicle: str
    driver: str | None
    kind: str
    level: int
    started_at: float
    opened_at: float


def history(database: Database, event: str) -> list[CoachingStep]:
    """Every step of an alert's coaching, the oldest first; empty where there is none."""
    visible = exists().where(_e.id == event, database.allows(_e.vehicle))
    statement = select(*columns_of(coaching, CoachingStep)).where(_c.event == event, visible)
    return database.fetch(CoachingStep, statement.order_by(_c.id).limit(200))


def items(database: Database, status: str | None = None) -> list[CoachingItem]:
    """Every coaching item, the latest step first; those of one status, or all for None."""
    other = coaching.alias("other")
    last = ~exists().where(other.c.event == _c.event, other.c.id > _c.id)
    first = coaching.alias("first")
    opened_at = select(func.min(first.c.at)).where(first.c.event == _c.event).scalar_subquery()
    about = (_e.vehicle, _e.driver, _e.kind, _e.level, _e.started_at)
    statement = (
        select(_c.event, _c.status, _c.at, _c.actor, *about, opened_at.label("opened_at"))
        .select_from(coaching.join(events, _e.id == _c.event))
        .where(last, database.allows(_e.vehicle))
        .order_by(_c.at.desc())
        .limit(SHOWN)
    )
    if status is not None:
        statement = statement.where(_c.status == status)
    return database.fetch(CoachingItem, statement)


def step(database: Database, event: str, actor: str, status: str, note: str = "") -> None:
    """Take the next step.

    Raises:
        ValueError: no such alert, or a step that may not follow the last one.
    """
    check_visible(database, [event])
    steps = history(database, event)
    now = steps[-1].status if steps else None
    if status not in STEPS[now]:
        stands = "not begun" if now is None else WORDS[now]
        raise ValueError(f"coaching that is {stands} cannot become {WORDS.get(status, status)}")
    row = {
        "event": event,
        "at": time.time(),
        "actor": actor[:128],
        "status": status,
        "note": clean(note),
    }
    database.write((insert(coaching), row))
