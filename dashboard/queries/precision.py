"""How many alerts were right by their reviews, of each kind, vehicle and camera; why not.

Only judged alerts count, each by its latest review. "Not sure" counts on neither side.
"""

from dataclasses import dataclass
from typing import Final, Literal

from sqlalchemy import Boolean, ColumnElement, case, func, literal, literal_column, select

from dashboard.queries import statistics
from dashboard.queries.database import Database
from dashboard.queries.statistics import Estimate
from monitor.store import sums
from monitor.store.schema import JUDGED, event_days, events, vehicle_days
from monitor.store.sums import Value, day_of

By = Literal["kind", "vehicle", "camera"]
SHOWN: Final = 200


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

    From the start (UTC) of the day that holds `since`. The one with the most judged alerts first,
    at most `SHOWN`.
    """
    if by == "vehicle":
        column, counts, wanted = _of_vehicles(database, day_of(since), until)
    elif database.scope.limited:
        column, counts, wanted = _of_rows(database, by, day_of(since), until)
    else:
        column, counts, wanted = _of_days(by, day_of(since), until)
    totals = [func.sum(count).label(name) for name, count in counts.items()]
    judged = sum(counts.values(), literal(0))
    statement = (
        select(column.label("name"), *totals)
        .where(*wanted)
        .group_by(column)
        .having(func.sum(judged) > 0)
        .order_by(func.sum(judged).desc(), column)
        .limit(SHOWN)
    )
    return [
        Precision(row["name"], int(row["right"]), int(row["wrong"]), int(row["unsure"]))
        for row in database.rows(statement)
    ]


# What to group by, what to add up, and of which rows.
_Source = tuple[Value, dict[str, Value], list[ColumnElement[bool]]]
_VERDICTS: Final = {"right": "true", "wrong": "false", "unsure": "unsure"}


def _of_vehicles(database: Database, since: float, until: float) -> _Source:
    d = sums.current(vehicle_days).c
    counts: dict[str, Value] = {
        name: d[f"verdict_{verdict}"] for name, verdict in _VERDICTS.items()
    }
    return d.vehicle, counts, [database.allows(d.vehicle), d.day >= since, d.day < until]


def _of_days(by: By, since: float, until: float) -> _Source:
    d = sums.current(event_days).c
    counts: dict[str, Value] = {
        name: case((d.verdict == verdict, d.events), else_=0) for name, verdict in _VERDICTS.items()
    }
    return d[by], counts, [d.day >= since, d.day < until]


def _of_rows(database: Database, by: By, since: float, until: float) -> _Source:
    e = events.c
    counts: dict[str, Value] = {
        name: case((e.verdict == verdict, 1), else_=0) for name, verdict in _VERDICTS.items()
    }
    return e[by], counts, [literal_column(JUDGED, Boolean), *_within(database, since, until)]


def cause_trends(database: Database, since: float, until: float) -> list[CauseTrend]:
    """Causes of false alarms in the earlier and the later half, the most frequent first."""
    e, middle = events.c, (since + until) / 2
    later = func.sum(case((e.started_at >= middle, 1), else_=0))
    statement = (
        select(e.verdict_cause, func.count().label("both"), later.label("later"))
        .where(
            literal_column(JUDGED, Boolean), e.verdict == "false", *_within(database, since, until)
        )
        .group_by(e.verdict_cause)
        .order_by(func.count().desc())
    )
    return [
        CauseTrend(row["verdict_cause"], int(row["both"]) - int(row["later"]), int(row["later"]))
        for row in database.rows(statement)
    ]


def _within(database: Database, since: float, until: float) -> tuple[ColumnElement[bool], ...]:
    e = events.c
    return database.allows(e.vehicle), e.started_at >= since, e.started_at < until
