"""What waits for a verdict: similar alerts of one drive as one item, the most urgent first."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import ColumnElement, and_, func, select, true

from dashboard.queries.comments import assigned_to
from dashboard.queries.database import Database, columns_of
from dashboard.queries.events import AlertRow
from dashboard.queries.reviews import judged
from monitor.store.schema import events
from monitor.types import Kind, Level

ITEMS: Final = 60
ALERTS_OF_ITEM: Final = 200
_e = events.c


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
    """Which of them: at least this urgent, since then (epoch seconds), of one person."""

    min_level: int = Level.CAUTION
    since: float = 0.0
    assignee: str | None = None


def items(database: Database, wanted: QueueFilter) -> list[QueueItem]:
    """The first `ITEMS` of the queue, the most urgent first, of those the latest first."""
    level, last_at = func.max(_e.level).label("level"), func.max(_e.started_at).label("last_at")
    statement = (
        select(
            _e.vehicle,
            _e.drive,
            _e.camera,
            _e.kind,
            level,
            func.count().label("alerts"),
            func.min(_e.started_at).label("first_at"),
            last_at,
        )
        .where(_waiting(database, wanted))
        .group_by(_e.vehicle, _e.drive, _e.camera, _e.kind)
        .order_by(level.desc(), last_at.desc())
        .limit(ITEMS)
    )
    return database.fetch(QueueItem, statement)


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
        _e.started_at >= wanted.since,
        _e.level >= wanted.min_level,
        _e.kind != Kind.DEGRADED.value,
        ~judged(_e.id, None, None, wanted.since),
        mine,
    )
