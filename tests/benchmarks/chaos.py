"""Chaos: a real Mosquitto, a real PostgreSQL, vehicles and ingesters in processes of their own.

All of them but PostgreSQL are killed with SIGKILL again and again while vehicles tell of events.
Afterwards every event that a vehicle committed must be in the fleet's database, once, as it was
last told, and nothing else; every outbox must be empty within a minute.

    python -m tests.benchmarks.chaos                     10 vehicles, 2 ingesters, 20 kills of each
    python -m tests.benchmarks.chaos --seconds 15 --vehicles 3 --kills 3
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from sqlalchemy import create_engine, text

from tests.support.chaos_processes import ingester_process, vehicle_process
from tests.support.paths import ROOT
from tests.support.servers import Mosquitto, Postgres

COMPARED = "id, vehicle, kind, phase, level, started_at, ended_at, acknowledged, sequence"
DRAINED_S = 60.0


@dataclass(frozen=True)
class Plan:
    """What to run and what to do to it.

    Attributes:
        vehicles, ingesters: processes.
        kills: at least so many SIGKILLs of the broker, of ingesters and of vehicles each.
        seconds: at least this long.
        pace_s: a vehicle begins an event this often.
        seed: of who is killed when.
    """

    vehicles: int = 10
    ingesters: int = 2
    kills: int = 20
    seconds: float = 60.0
    pace_s: float = 0.1
    seed: int = 1


@dataclass
class Outcome:
    """What came of it; `fine` when every invariant held."""

    kills: Counter[str] = field(default_factory=Counter)
    committed: int = 0
    stored: int = 0
    tellings: int = 0
    lost: int = 0
    differing: int = 0
    phantoms: int = 0
    doubled: int = 0
    left_in_outboxes: int = 0
    dead_letters: int = 0
    drained_s: float = 0.0
    damaged: int = 0

    @property
    def fine(self) -> bool:
        """Nothing lost, doubled, invented or damaged; drained in time."""
        wrong = (self.lost, self.differing, self.phantoms, self.doubled, self.left_in_outboxes)
        return not any((*wrong, self.dead_letters, self.damaged)) and self.drained_s <= DRAINED_S

    def table(self) -> Table:
        """For people."""
        rows = Table("invariant", "found", "wanted", title="chaos")
        for name, found, wanted in (
            ("SIGKILLs of the broker", self.kills["broker"], ""),
            ("SIGKILLs of ingesters", self.kills["ingester"], ""),
            ("SIGKILLs of vehicles", self.kills["vehicle"], ""),
            ("tellings committed in vehicles", self.tellings, ""),
            ("events committed in vehicles", self.committed, ""),
            ("events in the fleet's database", self.stored, self.committed),
            ("lost", self.lost, 0),
            ("not as last told", self.differing, 0),
            ("phantoms", self.phantoms, 0),
            ("doubled", self.doubled, 0),
            ("dead letters", self.dead_letters, 0),
            ("left in outboxes", self.left_in_outboxes, 0),
            ("databases damaged", self.damaged, 0),
            ("drained after", f"{self.drained_s:.1f} s", f"≤ {DRAINED_S:g} s"),
        ):
            rows.add_row(name, str(found), str(wanted))
        return rows


class Victim:
    """A process that is killed and started again, for as long as the chaos lasts."""

    def __init__(self, kind: str, arguments: list[str], home: Path) -> None:
        self.kind = kind
        self._command = [sys.executable, "-m", "tests.benchmarks.chaos", kind, *arguments]
        self._environment = {**os.environ, "WAKEFUL_HOME": str(home), "OMP_NUM_THREADS": "1"}
        self._log = (home / f"{kind}.log").open("ab")
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(
            self._command, cwd=ROOT, env=self._environment, stdout=self._log, stderr=self._log
        )

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Ask it to end and see that it does."""
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()
        self._log.close()

    @property
    def alive(self) -> bool:
        return self._process.poll() is None


def run(plan: Plan, url: str, say: Callable[[str], None] = lambda _: None) -> Outcome:
    """Let a fleet live through it, with an empty database at `url`."""
    outcome = Outcome()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wakeful-chaos-")))
        broker = stack.enter_context(Mosquitto(folder))
        ingesters = [_ingester(folder, n, url, broker.port) for n in range(plan.ingesters)]
        vehicles = [_vehicle(folder, n, broker.port, plan) for n in range(plan.vehicles)]
        for victim in (*ingesters, *vehicles):
            stack.callback(victim.stop)
        say("started; waiting for every vehicle's first event in the fleet's database")
        _await(lambda: _vehicles_heard(url) == plan.vehicles, 90.0)
        _torment(plan, broker, ingesters, vehicles, outcome, say)
        say("calm; vehicles stop telling and drain")
        (folder / "calm").touch()
        outcome.drained_s = _drain(folder, plan)
        for victim in (*vehicles, *ingesters):
            victim.stop()
        _judge(folder, url, plan, outcome)
    return outcome


def _torment(
    plan: Plan,
    broker: Mosquitto,
    ingesters: list[Victim],
    vehicles: list[Victim],
    outcome: Outcome,
    say: Callable[[str], None],
) -> None:
    dice = random.Random(plan.seed)
    began = time.monotonic()
    every_s = plan.seconds / (3 * plan.kills)
    while time.monotonic() - began < plan.seconds or min(_killed(outcome)) < plan.kills:
        kind = ("broker", "ingester", "vehicle")[sum(outcome.kills.values()) % 3]
        if kind == "broker":
            broker.kill()
            time.sleep(dice.uniform(0.0, 0.5))
            broker.start()
        else:
            victim = dice.choice(ingesters if kind == "ingester" else vehicles)
            victim.kill()
            victim.start()
        outcome.kills[kind] += 1
        say(f"killed {kind} (number {outcome.kills[kind]})")
        time.sleep(dice.uniform(0.5, 1.5) * every_s)


def _killed(outcome: Outcome) -> tuple[int, ...]:
    return tuple(outcome.kills[kind] for kind in ("broker", "ingester", "vehicle"))


def _ingester(folder: Path, number: int, url: str, port: int) -> Victim:
    home = folder / f"ingester-{number}"
    home.mkdir()
    return Victim("ingester", ["--url", url, "--port", str(port)], home)


def _vehicle(folder: Path, number: int, port: int, plan: Plan) -> Victim:
    home = folder / f"truck-{number}"
    home.mkdir()
    arguments = ["--name", f"truck-{number}", "--port", str(port), "--pace", str(plan.pace_s)]
    return Victim("vehicle", [*arguments, "--calm", str(folder / "calm")], home)


def _drain(folder: Path, plan: Plan) -> float:
    """Seconds until every vehicle's outbox is empty, at most twice what is allowed."""
    began = time.monotonic()
    files = [folder / f"truck-{n}" / "drained" for n in range(plan.vehicles)]
    _await(lambda: all(file.exists() for file in files), 2 * DRAINED_S, patient=True)
    return time.monotonic() - began


def _await(condition: Callable[[], bool], deadline_s: float, *, patient: bool = False) -> None:
    end = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > end:
            if patient:
                return
            raise TimeoutError(f"not within {deadline_s:g} s")
        time.sleep(0.1)


def _vehicles_heard(url: str) -> int:
    try:
        return len({row[1] for row in _events(url)})
    except Exception:  # noqa: BLE001 - the ingesters have not made the tables yet
        return 0


def _events(url: str) -> list[Any]:
    return _query(url, f"SELECT {COMPARED} FROM events")  # noqa: S608 - our own columns


def _query(url: str, query: str) -> list[Any]:
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            return list(connection.execute(text(query)))
    finally:
        engine.dispose()


def _judge(folder: Path, url: str, plan: Plan, outcome: Outcome) -> None:
    """Compare what the vehicles committed with what the fleet holds, row by row."""
    committed: dict[str, Any] = {}
    for number in range(plan.vehicles):
        log = f"sqlite:///{folder / f'truck-{number}' / 'vehicle.db'}"
        committed |= {row[0]: tuple(row) for row in _events(log)}
        outcome.left_in_outboxes += _query(log, "SELECT count(*) FROM outbox")[0][0]
        outcome.damaged += _query(log, "PRAGMA integrity_check")[0][0] != "ok"
        outcome.tellings += _query(log, "SELECT coalesce(max(sequence), 0) FROM events")[0][0]
    rows = [tuple(row) for row in _events(url)]
    stored = {row[0]: row for row in rows}
    outcome.committed, outcome.stored = len(committed), len(rows)
    outcome.doubled = len(rows) - len(stored)
    outcome.lost = len(committed.keys() - stored.keys())
    outcome.phantoms = len(stored.keys() - committed.keys())
    both = committed.keys() & stored.keys()
    outcome.differing = sum(
        tuple(map(_plain, committed[key])) != tuple(map(_plain, stored[key])) for key in both
    )
    outcome.dead_letters = _query(url, "SELECT count(*) FROM dead_letters")[0][0]


def _plain(value: Any) -> Any:
    """SQLite has no booleans."""
    return int(value) if isinstance(value, bool) else value


@contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """A line that says what is being done."""
    with Console(stderr=True).status("starting") as status:
        yield status.update


def main() -> None:
    """`python -m tests.benchmarks.chaos`, and the processes that it starts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("process", nargs="?", choices=("vehicle", "ingester"))
    for name, kind in (("name", str), ("url", str), ("port", int), ("pace", float)):
        parser.add_argument(f"--{name}", type=kind, help=argparse.SUPPRESS)
    parser.add_argument("--calm", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--crash-at", default="", help=argparse.SUPPRESS)
    defaults = Plan()
    for name in ("vehicles", "ingesters", "kills", "seed"):
        parser.add_argument(f"--{name}", type=int, default=getattr(defaults, name))
    parser.add_argument("--seconds", type=float, default=defaults.seconds)
    given = parser.parse_args()
    if given.process == "vehicle":
        vehicle_process(given.name, given.port, given.pace, given.calm)
    elif given.process == "ingester":
        ingester_process(given.url, given.port, given.crash_at)
    else:
        plan = Plan(given.vehicles, given.ingesters, given.kills, given.seconds, seed=given.seed)
        postgres = Postgres()
        try:
            with progress() as say:
                outcome = run(plan, postgres.database("fleet"), say)
        finally:
            postgres.close()
        Console().print(outcome.table())
        raise SystemExit(0 if outcome.fine else 1)


if __name__ == "__main__":
    main()
