"""How long the database works for a page, and how much the browser gets.

A fleet of 200 vehicles over 90 days (over a million events) is simulated in PostgreSQL. Every page
is opened in a real Chromium, each time with a question nobody has asked yet, so that nothing comes
from a cache; the dashboard's own log tells statements and milliseconds. Beside it stands what the
naive page would do: read the whole tables it is about and hand them to the browser.
"""

import argparse
import json
import re
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
from rich.console import Console
from rich.table import Table
from sqlalchemy import create_engine

from dashboard.queries.database import Database
from tests.support.browser import Reader, chromium, dashboard
from tests.support.dashboards import simulated
from tests.support.servers import Postgres

console = Console(width=120)
VIEW = re.compile(r"view=(\w+) db_ms=([\d.]+) statements=(\d+) rows=(\d+)")
# Page, what is asked, and the tables a naive page would read for it.
VIEWS: dict[str, tuple[list[str], tuple[str, ...]]] = {
    "Live, the fleet": ([""] * 8, ("vehicles", "samples")),
    "Live, one vehicle": ([f"?vehicle=truck-{n:03d}" for n in range(1, 9)], ("samples", "events")),
    "Events, list": (
        [
            f"events?time={span}&sort={sort}{more}"
            for span in ("7+days", "all")
            for sort in ("Newest", "Longest", "Most+urgent", "Vehicle")
            for more in ("", "&kinds=Sleep", "&review=Not+reviewed&level=Warning+and+up",
                         "&review=False+alarms")
        ],
        ("events", "reviews"),
    ),
    "Events, one alert": (["events?event={event}"] * 10, ("events", "samples", "reviews")),
    "Fleet, all vehicles": (
        [f"fleet?days={days}+days&from={level}" for days in (7, 30, 90)
         for level in ("Caution+and+up", "Warning+and+up", "Critical")],
        ("events", "coverage", "availability"),
    ),
    "Fleet, one vehicle": (
        [f"fleet?of=truck-{n:03d}&days={days}+days" for n in range(11, 14) for days in (7, 30, 90)],
        ("events", "coverage"),
    ),
    "Models": (["models"], ()),
    "Replay": (["replay"], ()),
    "Health": (["health"] * 3, ("vehicles", "dead_letters", "events")),
}  # fmt: skip


def main() -> None:
    """Simulate, measure, print the table, write it as JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vehicles", type=int, default=200)
    parser.add_argument("--days", type=float, default=90)
    parser.add_argument("--database", help="a filled one, in place of simulating")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", default="", help="views whose names begin so, as `Events`")
    parser.add_argument(
        "--when-idle", action="store_true", help="let other programs finish before each view"
    )
    given = parser.parse_args()
    server = None
    url = given.database
    if url is None:
        server = Postgres()
        url = server.database("measured")
        simulated(url, vehicles=given.vehicles, days=given.days, end=time.time())
    store = Database(url)
    ids = [row["id"] for row in store.rows(_some_events())]
    with tempfile.TemporaryDirectory() as home:
        rows = measured(url, Path(home), ids, given.only, when_idle=given.when_idle)
    store.close()
    show(rows)
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1))
    if server is not None:
        server.close()


def _some_events() -> Any:
    from sqlalchemy import select

    from monitor.store.schema import events

    return select(events.c.id).where(events.c.level >= 3).limit(10)


def measured(
    url: str, home: Path, ids: list[str], only: str = "", *, when_idle: bool = False
) -> list[dict[str, Any]]:
    """A row a view: database milliseconds, statements, bytes, and the naive load's."""
    views = {name: view for name, view in VIEWS.items() if name.startswith(only)}
    needed = {table for _, tables in views.values() for table in tables}
    naive = {table: whole(url, table) for table in sorted(needed)}
    rows = []
    with dashboard(url, home, WAKEFUL_LOG__LEVEL="debug") as base, chromium() as context:
        log = home / "dashboard.log"
        for name, (links, tables) in views.items():
            took: list[float] = []
            sent: list[int] = []
            statements = 0
            for number, link in enumerate(links):
                if when_idle:
                    _wait_for_idle()
                seen = len(log.read_text())
                reader = Reader(context.new_page(), base)
                reader.go(link.format(event=ids[number % len(ids)] if ids else ""))
                reader.page.wait_for_timeout(300)
                sent.append(reader.received)
                reader.page.close()
                found = VIEW.findall(log.read_text()[seen:])
                took.append(_first_run(found))
                statements = max(statements, *(int(n) for _, _, n, _ in found), 0)
            rows.append(
                {
                    "view": name, "views": len(links), "statements": statements,
                    "p50_ms": statistics.median(took), "p95_ms": _p95(took), "max_ms": max(took),
                    "bytes_max": max(sent),
                    "naive_ms": sum(naive[table][0] for table in tables),
                    "naive_bytes": sum(naive[table][1] for table in tables),
                }
            )  # fmt: skip
            console.print(f"{name}: p95 {rows[-1]['p95_ms']:.1f} ms")
    return rows


def _wait_for_idle(busy_percent: float = 35.0, patience_s: float = 120.0) -> None:
    """Wait until the machine's cores have been mostly idle for a second."""
    end = time.monotonic() + patience_s
    while psutil.cpu_percent(interval=1.0) > busy_percent and time.monotonic() < end:
        pass


def _first_run(found: list[tuple[str, str, str, str]]) -> float:
    """Database milliseconds of opening the page: its script and the fragment in it."""
    first: dict[str, float] = {}
    for name, took, _, _ in found:
        first.setdefault(name, float(took))
    return sum(first.values())


def whole(url: str, table: str) -> tuple[float, int]:
    """Milliseconds to read a whole table as a frame, and its bytes as JSON for a browser."""
    engine = create_engine(url)
    began = time.perf_counter()
    frame = pd.read_sql_table(table, engine)
    took = 1000 * (time.perf_counter() - began)
    engine.dispose()
    if frame.empty:
        return took, 0
    part = frame.head(2_000)
    return took, round(len(part.to_json(orient="records")) / len(part) * len(frame))


def _p95(values: list[float]) -> float:
    ordered = sorted(values)
    return ordered[min(int(0.95 * len(ordered)), len(ordered) - 1)]


def show(rows: list[dict[str, Any]]) -> None:
    """The table for people."""
    table = Table("view", "views", "statements", "p50 ms", "p95 ms", "max ms", "kB sent",
                  "naive ms", "naive MB")  # fmt: skip
    for row in rows:
        naive = (f"{row['naive_ms']:,.0f}", f"{row['naive_bytes'] / 1e6:,.0f}")
        table.add_row(
            row["view"], str(row["views"]), str(row["statements"]),
            *(f"{row[key]:.1f}" for key in ("p50_ms", "p95_ms", "max_ms")),
            f"{row['bytes_max'] / 1000:,.0f}", *(naive if row["naive_ms"] else ("-", "-")),
        )  # fmt: skip
    console.print(table)


if __name__ == "__main__":
    main()
