"""How fast one ingester stores durably, beside a bare loop over the same rows, in one run.

The messages are real alerts of a simulated fleet, handed to a real Mosquitto by `mosquitto_pub`
at QoS 1. "Backlog": they wait in the broker, as after an outage, and the clock runs from when the
ingester is let at them to the last commit. "Live": ten publishers share the machine with it, which
the loops beside it need not. Those, in the same PostgreSQL with the same indexes and partitions,
are `COPY` and `executemany` in transactions of a thousand rows.

    python -m tests.benchmarks.throughput                 the table of docs/fleet.md
    python -m tests.benchmarks.throughput --minutes 10    again and again, watching the ingester's
    memory
"""

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table
from sqlalchemy import text

from monitor.fleet.admin import partitions
from monitor.fleet.ingest import upsert
from monitor.fleet.simulator.seeding import Plan
from monitor.protocol import messages
from monitor.protocol.messages import Narrator, Topics, read
from monitor.protocol.schemas import Alert
from monitor.store import schema
from monitor.store.database import open_engine, upgrade
from monitor.types import Phase
from tests.support.fleet_stories import NOON
from tests.support.servers import Mosquitto, Postgres, free_port, until

ROWS_AT_ONCE = 1000


@dataclass(frozen=True)
class Load:
    """What is stored: a file of payloads for each vehicle, and the same events as rows."""

    files: dict[str, Path]
    rows: list[tuple[Any, ...]]


def make_load(folder: Path, vehicles: int, days: float) -> Load:
    """One telling of every event of a fleet: its end, so that a message is a row."""
    plan = Plan(vehicles=vehicles, days=days, end=NOON)
    files, rows = {}, []
    for number in range(1, vehicles + 1):
        life, narrator, sequence = plan.life(number), Narrator(), itertools.count(1)
        topics = Topics("dms/v1", life.vehicle.id)
        files[life.vehicle.id] = file = folder / f"{life.vehicle.id}.jsonl"
        with file.open("wb") as lines:
            for episode in life.episodes:
                if episode.event.phase is not Phase.END:
                    continue
                telling = narrator.tell(episode.event)
                message = messages.alert(topics, telling, next(sequence), time.time())
                lines.write(message.payload + b"\n")
                told = read(topics.parse(message.topic), message.payload)
                assert isinstance(told, Alert)
                batch = upsert.IngestBatch()
                batch.tell(told, time.time())
                rows += batch.events.values()
    return Load(files, rows)


def prepared(url: str, days: float) -> str:
    """An empty fleet's database with the months of the load."""
    upgrade(url)
    engine = open_engine(url)
    with engine.begin() as connection:
        partitions.ensure(connection, NOON - days * 86_400, NOON)
    engine.dispose()
    return url


def copy_rate(url: str, rows: list[tuple[Any, ...]]) -> float:
    """Rows a second of a bare COPY."""
    names = ", ".join(schema.events.columns.keys())
    engine = open_engine(url)
    began = time.perf_counter()
    for first in range(0, len(rows), ROWS_AT_ONCE):
        with engine.begin() as connection:
            driver: Any = connection.connection.driver_connection
            with (
                driver.cursor() as cursor,
                cursor.copy(f"COPY events ({names}) FROM STDIN") as copy,
            ):
                for row in rows[first : first + ROWS_AT_ONCE]:
                    copy.write_row(row)
    engine.dispose()
    return len(rows) / (time.perf_counter() - began)


def executemany_rate(url: str, rows: list[tuple[Any, ...]]) -> float:
    """Rows a second of a bare `executemany`."""
    names = ", ".join(schema.events.columns.keys())
    marks = ", ".join(["%s"] * len(schema.events.columns))
    statement = f"INSERT INTO events ({names}) VALUES ({marks}) ON CONFLICT DO NOTHING"  # noqa: S608
    engine = open_engine(url)
    began = time.perf_counter()
    for first in range(0, len(rows), ROWS_AT_ONCE):
        with engine.begin() as connection:
            driver: Any = connection.connection.driver_connection
            with driver.cursor() as cursor:
                cursor.executemany(statement, rows[first : first + ROWS_AT_ONCE])
    engine.dispose()
    return len(rows) / (time.perf_counter() - began)


@contextmanager
def ingesters(url: str, broker: Mosquitto, count: int) -> Iterator[list[psutil.Process]]:
    """Real `wakeful fleet ingest` processes."""
    command = [sys.executable, "-c", "from monitor.fleet import fleet_app; fleet_app()", "ingest"]
    started = []
    for _ in range(count):
        port = free_port()
        options = ["--database", url, "--broker", f"127.0.0.1:{broker.port}"]
        process = subprocess.Popen(
            [*command, *options, "--metrics-port", str(port)],
            stderr=subprocess.DEVNULL,
            env={**os.environ, "WAKEFUL_FLEET_RETENTION__ENABLED": "false"},
        )
        started.append((process, port))
    try:
        for _, port in started:
            until(lambda port=port: _healthy(port), deadline_s=60, what="an ingester is healthy")
        yield [psutil.Process(process.pid) for process, _ in started]
    finally:
        for process, _ in started:
            process.terminate()
            process.wait(30)


def _healthy(port: int) -> bool:
    import urllib.request

    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def live_rate(url: str, broker: Mosquitto, load: Load) -> float:
    """Events a second from the first handed to the broker to the last committed."""
    _empty(url)
    began = time.perf_counter()
    publishers = _published(broker, load)
    rate = _await_stored(url, load, began)
    for publisher in publishers:
        publisher.wait(30)
    return rate


def backlog_rate(url: str, broker: Mosquitto, load: Load, ingesting: list[psutil.Process]) -> float:
    """Events a second once everything waits in the broker: nobody but the ingesters is busy."""
    _empty(url)
    for process in ingesting:
        process.suspend()
    for publisher in _published(broker, load):
        publisher.wait(60)
    began = time.perf_counter()
    for process in ingesting:
        process.resume()
    return _await_stored(url, load, began)


def _empty(url: str) -> None:
    engine = open_engine(url)
    with engine.begin() as connection:
        connection.execute(text("TRUNCATE events"))
    engine.dispose()


def _published(broker: Mosquitto, load: Load) -> list[subprocess.Popen[bytes]]:
    return [
        subprocess.Popen(
            ["mosquitto_pub", "-p", str(broker.port), "-V", "5", "-q", "1", "-l",
             "-t", f"dms/v1/{vehicle}/alert"],
            stdin=file.open("rb"),
        )
        for vehicle, file in load.files.items()
    ]  # fmt: skip


def _await_stored(url: str, load: Load, began: float) -> float:
    """The rate since `began`, once all is stored, each once."""
    engine, wanted = open_engine(url), len(load.rows)
    count = text("SELECT count(*) FROM events")
    with engine.connect() as connection:
        # Asked seldom: counting costs the server what it should spend on storing.
        while connection.execute(count).scalar() != wanted:
            time.sleep(0.1)
            assert time.perf_counter() - began < 600, "not everything was stored in 10 minutes"
        rate = wanted / (time.perf_counter() - began)
        distinct = connection.execute(text("SELECT count(DISTINCT id) FROM events")).scalar()
    assert distinct == wanted
    engine.dispose()
    return rate


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--vehicles", type=int, default=10)
    parser.add_argument("--days", type=float, default=100)
    parser.add_argument("--minutes", type=float, default=0.0)
    given = parser.parse_args()
    postgres = Postgres()
    with tempfile.TemporaryDirectory() as name, Mosquitto(Path(name)) as broker:
        load = make_load(Path(name), given.vehicles, given.days)
        if given.minutes:
            _watch_memory(postgres, broker, load, given.days, given.minutes)
        else:
            _compare(postgres, broker, load, given.days)
    postgres.close()


@dataclass(frozen=True)
class Measured:
    """One way of storing the load.

    Attributes:
        rate: events a second by the clock, on this machine as busy as it was.
        client_us, server_us: processor time an event took in the storing process(es) and in
            PostgreSQL; unlike the rate it hardly depends on what else the machine does.
        serial: the client waits while the server works.
    """

    rate: float
    client_us: float
    server_us: float
    serial: bool = True

    @property
    def alone(self) -> float:
        """Events a second with nothing else on the machine and a core for each process."""
        together = self.client_us + self.server_us
        return 1e6 / (together if self.serial else max(self.client_us, self.server_us))


def _measured(
    postgres: Postgres, events: int, clients: list[psutil.Process], store: Callable[[], float]
) -> Measured:
    server = _Server(postgres)
    before = sum(map(_cpu_s, clients)), server.cpu_s()
    rate = store()
    time.sleep(0.5)  # until PostgreSQL has taken leave of a connection that has ended
    spent = sum(map(_cpu_s, clients)) - before[0], server.cpu_s() - before[1]
    client_us, server_us = (seconds / events * 1e6 for seconds in spent)
    return Measured(rate, client_us, server_us)


class _Server:
    """PostgreSQL's processor time, that of connections which have ended meanwhile as well."""

    def __init__(self, postgres: Postgres) -> None:
        self._postmaster = psutil.Process(postgres.pid)

    def cpu_s(self) -> float:
        times = self._postmaster.cpu_times()
        ended = float(times.children_user + times.children_system)
        return ended + sum(map(_cpu_s, self._postmaster.children()))


def _cpu_s(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)


def _compare(postgres: Postgres, broker: Mosquitto, load: Load, days: float) -> None:
    rows, found = load.rows, {}
    for name, loop in (("bare COPY", copy_rate), ("bare executemany", executemany_rate)):
        url = prepared(postgres.database(name.split()[1].lower()), days)
        found[name] = _measured(postgres, len(rows), [psutil.Process()], partial(loop, url, rows))
    url = prepared(postgres.database("fleet"), days)
    for name, count, live in (
        ("one ingester, live", 1, True),
        ("one ingester, backlog", 1, False),
        ("two ingesters, backlog", 2, False),
    ):
        with ingesters(url, broker, count) as processes:
            rate = partial(live_rate, url, broker, load)
            if not live:
                rate = partial(backlog_rate, url, broker, load, processes)
            one = _measured(postgres, len(rows), processes, rate)
            found[name] = replace(one, serial=False, client_us=one.client_us / count)
    Console(width=120).print(_table(found, len(rows)))


def _table(found: dict[str, Measured], events: int) -> Table:
    table = Table(
        "what", "events/s", "of COPY", "of executemany", "client µs", "server µs", "events/s alone",
        "of executemany", title=f"{events:,} events",
    )  # fmt: skip
    copied, inserted = found["bare COPY"], found["bare executemany"]
    for name, one in found.items():
        table.add_row(
            name,
            f"{one.rate:,.0f}",
            f"{one.rate / copied.rate:.0%}",
            f"{one.rate / inserted.rate:.0%}",
            f"{one.client_us:.0f}",
            f"{one.server_us:.0f}",
            f"{one.alone:,.0f}",
            f"{one.alone / inserted.alone:.0%}",
        )
    return table


def _watch_memory(
    postgres: Postgres, broker: Mosquitto, load: Load, days: float, minutes: float
) -> None:
    url = prepared(postgres.database("fleet"), days)
    table = Table("minute", "events stored", "events/s", "ingester's memory, MB")
    began, stored, told = time.monotonic(), 0, 0
    with ingesters(url, broker, 1) as (process,):
        while told < minutes:
            rate = live_rate(url, broker, load)
            stored += len(load.rows)
            minute = (time.monotonic() - began) / 60
            if minute >= told + 1:
                told = int(minute)
                memory_mb = process.memory_info().rss / 1e6
                table.add_row(f"{told}", f"{stored:,}", f"{rate:,.0f}", f"{memory_mb:.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
