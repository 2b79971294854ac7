"""How long a fleet's database works for each page's questions, beside reading the table whole.

    wakeful fleet simulate --vehicles 10000 --distinct 100 --days 66 --database URL
    python -m tests.benchmarks.measure_scale URL

Each question is asked several times about other vehicles and times, past every cache; what a page
asks in one run is added up.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.table import Table
from sqlalchemy import func, select

from dashboard.queries import (
    coaching,
    events,
    fleet,
    health,
    live,
    places,
    precision,
    review_queue,
    rollup,
)
from dashboard.queries.database import Database
from dashboard.queries.events import Filter
from dashboard.queries.fleet import TimeRange
from dashboard.queries.review_queue import QueueFilter
from monitor.store import schema
from tests.benchmarks.measure_dashboard import whole

DAY_S = 86_400.0
Question = Callable[[Database, int, float], Any]
PAGES: dict[str, tuple[list[Question], str]] = {
    "Live, the fleet": ([lambda d, n, at: live.now_of_all(d, at - n)], "vehicles"),
    "Live, one vehicle": (
        [
            lambda d, n, at: live.now_of(d, _name(n), at),
            lambda d, n, at: events.of_vehicle(d, _name(n), at - DAY_S, at),
        ],
        "events",
    ),
    "Review": (
        [
            lambda d, n, at: review_queue.items(d, QueueFilter(since=at - (1 + n) * DAY_S / 2)),
            lambda d, n, at: review_queue.waiting(d, QueueFilter(since=at - (1 + n) * DAY_S / 2)),
        ],
        "events",
    ),
    "Review, how often right": (
        [lambda d, n, at: precision.precision(d, "vehicle", at - (1 + n) * DAY_S, at)],
        "reviews",
    ),
    "Events, list": (
        [
            lambda d, n, at: events.page(d, _filter(n, at)),
            lambda d, n, at: events.count(d, _filter(n, at)),
        ],
        "events",
    ),
    "Fleet": (
        [
            lambda d, n, at: fleet.by_vehicle(d, _span(n, at)),
            lambda d, n, at: fleet.watched_by_vehicle(d, _span(n, at)),
            lambda d, n, at: fleet.by_day(d, _span(n, at)),
            lambda d, n, at: fleet.by_hour(d, _span(n, at)),
            lambda d, n, at: fleet.reachable(d, _span(n, at)),
        ],
        "events",
    ),
    "Places": (
        [
            lambda d, n, at: places.positions(d, at - (1 + n) * DAY_S, at),
            lambda d, n, at: places.repeating(d, at - (1 + n) * DAY_S, at),
        ],
        "events",
    ),
    "Coaching": ([lambda d, _, __: coaching.items(d)], "coaching"),
    "Health": (
        [
            lambda d, _, __: health.processes(d),
            lambda d, n, at: health.lags_s(d, at - DAY_S - n),
            lambda d, n, at: health.dead_by_reason(d, at - DAY_S - n),
        ],
        "vehicles",
    ),
}


def main() -> None:
    """Ask every page's questions and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("database")
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--naive", action="store_true", help="read the whole tables, too")
    given = parser.parse_args()
    database, console = Database(given.database), Console(width=110)
    began = time.perf_counter()
    days = rollup.refresh(database, time.time())
    console.print(f"{days} days summed in {time.perf_counter() - began:.1f} s")
    at = _last(database)
    table = Table("page", "n", "p50 ms", "p95 ms", "max ms", "naive ms")
    whole_ms: dict[str, float] = {}
    for page, (questions, naive) in PAGES.items():
        took = sorted(_ask(database, questions, n, at) for n in range(given.times))
        if given.naive and naive not in whole_ms:
            whole_ms[naive] = whole(given.database, naive)[0]
        p95 = took[min(int(0.95 * len(took)), len(took) - 1)]
        cells = (statistics.median(took), p95, took[-1], whole_ms.get(naive, 0.0))
        console.print(f"{page}: p95 {p95:,.0f} ms")
        table.add_row(page, str(len(took)), *(f"{cell:,.0f}" for cell in cells))
    console.print(table)
    database.close()


def _ask(database: Database, questions: list[Question], n: int, at: float) -> float:
    began = time.perf_counter()
    for question in questions:
        question(database, n, at)
    return 1000 * (time.perf_counter() - began)


def _last(database: Database) -> float:
    row = database.first(select(func.max(schema.events.c.started_at).label("at")))
    assert row is not None
    return float(row["at"])


def _name(n: int) -> str:
    return f"truck-{37 * n + 11:03d}"


def _span(n: int, at: float) -> TimeRange:
    return TimeRange(at - (7, 30, 90)[n % 3] * DAY_S - n, at)


def _filter(n: int, at: float) -> Filter:
    return Filter(since=at - (1, 7, 30)[n % 3] * DAY_S - n)


if __name__ == "__main__":
    main()
