"""How many alerts were right by their reviews, of each kind, vehicle and camera; why not.

Only judged alerts count, each by its latest review. "Not sure" counts on neither side.
"""

from dataclasses import dataclass
from typing import Any, Final, Literal

from sqlalchemy import ColumnElement, case, exists, func, select

from dashboard.queries import statistics
from dashboard.queries.database import Database
from dashboard.queries.statistics import Estimate
from monitor.store.schema import events, reviews

By = Literal["kind", "vehicle", "camera"]
SHOWN: Final = 200
_COLUMNS: Final[dict[By, ColumnElement[Any]]] = {
    "kind": events.c.kind,
    "vehicle": events.c.vehicle,
    "camera": events.c.camera,
}


@dataclass(frozen=True, slots=True)
class Precision:
    """Of the judged alerts of one kind, vehicle or camera: how many were right.

    Attributes:
        name: of the kind, vehicle or camera.
        right, wrong, unsure: how many were judged so.
    """

    name: str
    right: int
    wrong: int
    unsure: int

    @property
    def estimate(self) -> Estimate:
        """The share of right ones, with its interval and n."""
        return statistics.share(self.right, self.right + self.wrong)


@dataclass(frozen=True, slots=True)
class CauseTrend:
    """How often a cause of false alarms was named in each half of a stretch of time."""

    cause: str
    earlier: int
    later: int

    @property
    def word(self) -> Literal["grows", "falls", "no clear change"]:
        """Grows or falls only where the interval of the later half's share leaves one half out."""
        later = statistics.share(self.later, self.earlier + self.later)
        if later.n and later.low > 0.5:
            return "grows"
        return "falls" if later.n and later.high < 0.5 else "no clear change"


def precision(database: Database, by: By, since: float, until: float) -> list[Precision]:
    """Precision by kind, vehicle or camera of alerts that began within (epoch seconds).

    The one with the most judged alerts first, at most `SHOWN`.
    """
    column, r = _COLUMNS[by], reviews.c

    def count(verdict: str) -> ColumnElement[int]:
        return func.sum(case((r.verdict == verdict, 1), else_=0))

    statement = (
        select(
            column.label("name"),
            count("true").label("right"),
            count("false").label("wrong"),
            count("unsure").label("unsure"),
        )
        .select_from(events.join(reviews, r.event == events.c.id))
        .where(_latest(), *_within(database, since, until))
        .where(r.verdict.in_(["true", "false", "unsure"]))
        .group_by(column)
        .order_by(func.count().desc())
        .limit(SHOWN)
    )
    rows = database.rows(statement)
    return [Precision(**{**row, **{n: int(row[n]) for n in _COUNTS}}) for row in rows]


_COUNTS: Final = ("right", "wrong", "unsure")


def cause_trends(database: Database, since: float, until: float) -> list[CauseTrend]:
    """Causes of false alarms in the earlier and the later half, the most frequent first."""
    r, middle = reviews.c, (since + until) / 2
    later = func.sum(case((events.c.started_at >= middle, 1), else_=0))
    statement = (
        select(r.cause, func.count().label("both"), later.label("later"))
        .select_from(events.join(reviews, r.event == events.c.id))
        .where(_latest(), r.verdict == "false", *_within(database, since, until))
        .group_by(r.cause)
        .order_by(func.count().desc())
    )
    return [
        CauseTrend(row["cause"], int(row["both"]) - int(row["later"]), int(row["later"]))
        for row in database.rows(statement)
    ]


def _latest() -> ColumnElement[bool]:
    """The review is the last one of its alert."""
    other = reviews.alias("other")
    return ~exists().where(other.c.event == reviews.c.event, other.c.id > reviews.c.id)


def _within(database: Database, since: float, until: float) -> tuple[ColumnElement[bool], ...]:
    e = events.c
    return database.allows(e.vehicle), e.started_at >= since, e.started_at < until
