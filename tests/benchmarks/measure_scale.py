"""How long a fleet's database works for each page's questions, beside reading the table whole.

    wakeful fleet simulate --vehicles 10000 --distinct 100 --days 66 --database URL
    python -m tests.benchmarks.measure_scale URL

Each question is asked several times about other vehicles and times, past every cache; what a page
asks in one run is added up. Beside it the same answers are got from the rows themselves, as version
0.1.0's pages did for days that were not summed yet.
"""

# ruff: noqa: S608 - statements of our own, with values bound

import argparse
import math
import statistics
import time
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.table import Table
from sqlalchemy import func, select, text

from dashboard.queries import (
    coaching,
    events,
    fleet,
    health,
    live,
    places,
    precision,
    review_queue,
)
from dashboard.queries.database import Database, begin_view
from dashboard.queries.events import Filter
from dashboard.queries.fleet import TimeRange
from dashboard.queries.review_queue import QueueFilter
from monitor.store import schema
from monitor.store.database import open_engine

DAY_S = 86_400.0
Question = Callable[[Database, int, float], Any]
# The rows' own answers, for 30 days.
_INSIDE = "started_at >= :since AND started_at < :at"
_ALERTS = f"FROM events WHERE {_INSIDE} AND level >= 2 AND kind <> 'degraded'"
_UNJUDGED = (
    "NOT EXISTS (SELECT 1 FROM reviews r WHERE r.event = events.id AND r.verdict <> 'withdrawn' "
    "AND NOT EXISTS (SELECT 1 FROM reviews l WHERE l.event = r.event AND l.id > r.id))"
)
_FLEET = (
    f"SELECT vehicle, level, count(*) {_ALERTS} GROUP BY 1, 2",
    (
        "SELECT vehicle, sum(seconds), sum(seconds) FILTER (WHERE cause = 'monitored') "
        f"FROM coverage WHERE {_INSIDE} GROUP BY 1"
    ),
    f"SELECT floor(started_at / 86400), kind, level, count(*) {_ALERTS} GROUP BY 1, 2, 3",
    f"SELECT floor(started_at / 3600), count(*) {_ALERTS} GROUP BY 1",
    f"SELECT cause, sum(seconds) FROM coverage WHERE {_INSIDE} GROUP BY 1",
    f"SELECT floor(started_at / 3600), sum(seconds) FROM coverage WHERE {_INSIDE} GROUP BY 1",
    (
        "SELECT vehicle, status, sum(later - at) FROM (SELECT vehicle, status, at, "
        "lead(at, 1, :at) OVER (PARTITION BY vehicle ORDER BY at) AS later "
        "FROM availability WHERE at >= :since) s "
        "GROUP BY 1, 2"
    ),
)
_REVIEW = (
    (
        "SELECT vehicle, drive, camera, kind, max(level), count(*), max(started_at) "
        f"{_ALERTS} AND {_UNJUDGED} GROUP BY 1, 2, 3, 4 ORDER BY 5 DESC, 7 DESC LIMIT 60"
    ),
)
_RIGHT = tuple(
    f"SELECT events.{by}, verdict_of.verdict, count(*) FROM events JOIN reviews verdict_of "
    "ON verdict_of.event = events.id WHERE events.started_at >= :since AND NOT EXISTS "
    "(SELECT 1 FROM reviews l WHERE l.event = verdict_of.event AND l.id > verdict_of.id) "
    "GROUP BY 1, 2"
    for by in ("kind", "vehicle", "camera")
)
_PLACES = (
    (
        "SELECT floor(latitude / 0.01), floor(longitude / 0.01), count(*), "
        f"count(DISTINCT vehicle), max(level), max(started_at) "
        f"{_ALERTS} AND latitude IS NOT NULL GROUP BY 1, 2 "
        "ORDER BY 3 DESC LIMIT 100"
    ),
)
PAGES: dict[str, tuple[list[Question], tuple[str, ...]]] = {
    "Live, the fleet": ([lambda d, n, at: live.now_of_all(d, at - n)], ()),
    "Live, one vehicle": (
        [
            lambda d, n, at: live.now_of(d, _name(n), at),
            lambda d, n, at: events.of_vehicle(d, _name(n), at - DAY_S, at),
        ],
        (),
    ),
    "Review": (
        [
            lambda d, n, at: review_queue.items(d, _queue(n, at)),
            lambda d, n, at: review_queue.waiting(d, _queue(n, at)),
        ],
        _REVIEW,
    ),
    "Review, how often right": (
        [
            lambda d, n, at: precision.precision(d, "kind", at - _days(n) * DAY_S, at),
            lambda d, n, at: precision.precision(d, "vehicle", at - _days(n) * DAY_S, at),
            lambda d, n, at: precision.precision(d, "camera", at - _days(n) * DAY_S, at),
            lambda d, n, at: precision.cause_trends(d, at - _days(n) * DAY_S, at),
        ],
        _RIGHT,
    ),
    "Events, list": (
        [
            lambda d, n, at: events.page(d, _filter(n, at), list(events.SORTS)[n % 5]),
            lambda d, n, at: events.count(d, _filter(n, at)),
        ],
        (f"SELECT count(*) FROM events WHERE {_INSIDE}",),
    ),
    "Fleet": (
        [
            lambda d, n, at: fleet.by_vehicle(d, _span(n, at)),
            lambda d, n, at: fleet.watched_by_vehicle(d, _span(n, at)),
            lambda d, n, at: fleet.by_day(d, _span(n, at)),
            lambda d, n, at: fleet.by_hour(d, _span(n, at)),
            lambda d, n, at: fleet.watched_by_cause(d, _span(n, at)),
            lambda d, n, at: fleet.watched_by_hour(d, _span(n, at)),
            lambda d, n, at: fleet.reachable(d, _span(n, at)),
        ],
        _FLEET,
    ),
    "Places": (
        [
            lambda d, n, at: places.positions(d, at - _days(n) * DAY_S, at),
            lambda d, n, at: places.repeating(d, at - _days(n) * DAY_S, at),
        ],
        _PLACES,
    ),
    "Coaching": ([lambda d, _, __: coaching.items(d)], ()),
    "Health": (
        [
            lambda d, _, __: health.processes(d),
            lambda d, n, at: health.lags_s(d, at - DAY_S - n),
            lambda d, n, at: health.dead_by_reason(d, at - DAY_S - n),
        ],
        (),
    ),
}


def main() -> None:
    """Ask every page's questions and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("database")
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--naive", action="store_true", help="the same from the rows alone, too")
    given = parser.parse_args()
    database, console = Database(given.database), Console(width=110)
    at = _last(database)
    table = Table("page", "n", "p50 ms", "p95 ms", "max ms", "of the rows alone, ms")
    for page, (questions, plain) in PAGES.items():
        took = sorted(_ask(database, questions, n, at) for n in range(given.times))
        naive = f"{_plainly(given.database, plain, at):,.0f}" if given.naive and plain else ""
        p95 = took[math.ceil(0.95 * len(took)) - 1]
        cells = (f"{ms:,.0f}" for ms in (statistics.median(took), p95, took[-1]))
        table.add_row(page, str(len(took)), *cells, naive)
        console.print(f"{page}: p95 {p95:,.0f} ms, of the rows alone {naive}")
    console.print(table)
    database.close()


def _ask(database: Database, questions: list[Question], n: int, at: float) -> float:
    """Milliseconds in the database, fetching included, of one view's questions."""
    spent = begin_view()
    for question in questions:
        question(database, n, at)
    return 1000 * spent.seconds


def _plainly(url: str, statements: tuple[str, ...], at: float) -> float:
    """Milliseconds of the same questions, each once, put to the rows without sums."""
    engine = open_engine(url)
    began = time.perf_counter()
    with engine.connect() as connection:
        for statement in statements:
            values = {"at": at, "since": at - 30 * DAY_S}
            connection.execute(text(statement), values).all()
    engine.dispose()
    return 1000 * (time.perf_counter() - began)


def _last(database: Database) -> float:
    row = database.first(select(func.max(schema.events.c.started_at).label("at")))
    assert row is not None
    return float(row["at"])


def _name(n: int) -> str:
    return f"truck-{37 * n + 11:03d}"


def _days(n: int) -> int:
    """As the pages offer them."""
    return (7, 30, 90)[n % 3]


def _span(n: int, at: float) -> TimeRange:
    return TimeRange(at - _days(n) * DAY_S, at)


def _queue(n: int, at: float) -> QueueFilter:
    return QueueFilter(min_level=2 + n % 3, since=at - (1, 7, 30, 90)[n % 4] * DAY_S)


def _filter(n: int, at: float) -> Filter:
    """Some of what can be asked of the list: kinds, levels, verdicts, one vehicle, in turn."""
    since = at - (1, 7, 30)[n % 3] * DAY_S - n
    return (
        Filter(since=since),
        Filter(since=since, kinds=("sleep",)),
        Filter(since=since, min_level=3, reviewed=False),
        Filter(since=since, verdict="false", cause="glasses"),
        Filter(since=since, vehicles=(_name(n),)),
        Filter(since=since, kinds=("yawning", "drowsy"), min_level=2),
        Filter(since=since, min_level=4),
    )[n % 7]


if __name__ == "__main__":
    main()
