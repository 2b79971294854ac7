"""What waits for a verdict: similar alerts of one drive as one item, the most urgent first."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Boolean, ColumnElement, and_, func, literal_column, select, true

from dashboard.queries.comments import assigned_to
from dashboard.queries.database import Database, columns_of
from dashboard.queries.events import AlertRow
from monitor.store.schema import WAITING, events
from monitor.types import Level

ITEMS: Final = 60
ALERTS_OF_ITEM: Final = 200
# Looked at for the first `ITEMS` items; more if they are of fewer.
FIRST_ALERTS: Final = 500
_e = events.c
_ITEM: Final = (_e.vehicle, _e.drive, _e.camera, _e.kind)


@dataclass(frozen=True, slots=True)
class QueueItem:
    """Alerts of one kind, drive and camera that nobody has judged yet.

    Attributes:
        level: of the most urgent of them.
        alerts: how many there are.
        first_at, last_at: when the first and the last began, epoch seconds.
    """

    vehicle: str
    drive: str
    camera: str
    kind: str
    level: int
    alerts: int
    first_at: float
    last_at: float

    @property
    def key(self) -> str:
        """The same as long as it is about the same."""
        return "|".join((self.vehicle, self.drive, self.camera, self.kind))


@dataclass(frozen=True, slots=True)
class QueueFilter:
    """Which of them: at least this urgent (never less than caution), since then, of one person."""

    min_level: int = Level.CAUTION
    since: float = 0.0
    assignee: str | None = None


def items(database: Database, wanted: QueueFilter) -> list[QueueItem]:
    """The first `ITEMS` of the queue, by their most urgent alert, of those the latest first."""
    keys: dict[_Key, None] = {}
    step = FIRST_ALERTS
    while True:
        rows = _most_urgent(database, wanted, step)
        keys.update(dict.fromkeys(rows))
        if len(keys) >= ITEMS or len(rows) < step:
            break
        step *= 16
    counted = _counted(database, wanted, list(keys)[:ITEMS])
    return [counted[key] for key in list(keys)[:ITEMS] if key in counted]


_Key = tuple[str, str, str, str]


def _most_urgent(database: Database, wanted: QueueFilter, at_most: int) -> list[_Key]:
    """Of which items the first alerts are, one an alert: an index holds them in this order."""
    statement = (
        select(*_ITEM)
        .where(_waiting(database, wanted))
        .order_by(_e.level.desc(), _e.started_at.desc())
        .limit(at_most)
    )
    return [tuple(row.values()) for row in database.rows(statement)]


def _counted(database: Database, wanted: QueueFilter, keys: list[_Key]) -> dict[_Key, QueueItem]:
    """Each item with what is known of all its alerts."""
    statement = (
        select(
            *_ITEM,
            func.max(_e.level).label("level"),
            func.count().label("alerts"),
            func.min(_e.started_at).label("first_at"),
            func.max(_e.started_at).label("last_at"),
        )
        .where(_waiting(database, wanted), _e.drive.in_(sorted({key[1] for key in keys})))
        .group_by(*_ITEM)
    )
    rows = database.fetch(QueueItem, statement) if keys else []
    return {(row.vehicle, row.drive, row.camera, row.kind): row for row in rows}


def alerts_of(database: Database, item: QueueItem, wanted: QueueFilter) -> list[AlertRow]:
    """The alerts of an item, the most urgent first, of those the longest; `ALERTS_OF_ITEM`."""
    statement = (
        select(*columns_of(events, AlertRow))
        .where(_e.vehicle == item.vehicle, _e.drive == item.drive)
        .where(_e.camera == item.camera, _e.kind == item.kind)
        .where(_waiting(database, wanted))
        .order_by(_e.level.desc(), _e.duration_s.desc(), _e.id)
        .limit(ALERTS_OF_ITEM)
    )
    return database.fetch(AlertRow, statement)


def waiting(database: Database, wanted: QueueFilter, at_most: int = 10_000) -> int:
    """How many alerts wait, counted up to `at_most`."""
    rows = select(_e.id).where(_waiting(database, wanted)).limit(at_most).subquery()
    return int(database.rows(select(func.count().label("n")).select_from(rows))[0]["n"])


def _waiting(database: Database, wanted: QueueFilter) -> ColumnElement[bool]:
    mine = true() if wanted.assignee is None else assigned_to(_e.id, wanted.assignee)
    return and_(
        database.allows(_e.vehicle),
        literal_column(WAITING, Boolean),
        _e.started_at >= wanted.since,
        _e.level >= wanted.min_level,
        mine,
    )
