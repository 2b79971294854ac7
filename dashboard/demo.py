"""`wakeful dashboard --demo`: a simulated fleet with a past, that goes on living while you look.

The past is written at once into a SQLite file of its own. From then on a thread writes what
happens as it happens: the driver's state every second, a sample every five, alerts when they
begin and end. When the simulated time is over the vehicles fall silent, as real ones would.
"""

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.progress import track
from sqlalchemy import Engine, delete, insert, update

from dashboard import demo_drive
from monitor.config import state_dir
from monitor.fleet.simulator.live_state import state_message, stats_of
from monitor.fleet.simulator.rows import Detail, Row, sample_row
from monitor.fleet.simulator.seeding import Plan, columns_of, everything
from monitor.fleet.simulator.vehicle import Life
from monitor.store import schema
from monitor.store.database import open_engine, upgrade
from monitor.types import Level, Phase

HORIZON_S: Final = 4 * 3600.0
REPORT_S: Final = 600.0
SAMPLE_S: Final = 5.0
STATS_S: Final = 60.0
# Which column says when a row came to be.
_TIME: Final = {
    "events": "started_at",
    "samples": "at",
    "coverage": "started_at",
    "availability": "at",
    "camera_status": "at",
    "reviews": "at",
}
Moment = tuple[float, str, dict[str, Any]]


def prepare(console: Console, vehicles: int, days: float) -> str:
    """Write the fleet's past into a fresh file and start its present; returns the file's URL."""
    file = state_dir() / "demo.db"
    for path in (file, *(file.with_name(file.name + end) for end in ("-wal", "-shm"))):
        path.unlink(missing_ok=True)
    url = f"sqlite:///{file}"
    upgrade(url)
    now = time.time()
    fleet = Fleet(open_engine(url, immediate=True), vehicles, days, now)
    numbers = range(1, vehicles + 1)
    for number in track(numbers, "Simulating a fleet", console=console, transient=True):
        fleet.write_past(number)
    console.print(f"A simulated fleet of {vehicles} vehicles over {days:g} days in {_short(file)}")
    threading.Thread(target=fleet.live, args=(time.time, time.sleep), daemon=True).start()
    threading.Thread(target=_one_real_drive, args=(url,), daemon=True).start()
    return url


def _one_real_drive(url: str) -> None:
    """When it is over, a clip can be played and a drive replayed."""
    log = demo_drive.record(state_dir())
    if log is not None:
        demo_drive.write_truth(state_dir())
        engine = open_engine(url, immediate=True, busy_s=20)
        demo_drive.join(log, engine)
        engine.dispose()


def _short(file: Path) -> str:
    return str(file).replace(str(Path.home()), "~", 1)


class Fleet:
    """The simulated vehicles, and what of their lives has still to come.

    Args:
        engine: of an empty event log.
        vehicles: how many.
        days: of the past.
        now: epoch seconds at which the past ends.
    """

    def __init__(self, engine: Engine, vehicles: int, days: float, now: float) -> None:
        span = days + HORIZON_S / 86_400
        detail = Detail(sample_hours=(HORIZON_S + 7_200) / 3600, report_every_s=REPORT_S)
        self._plan = Plan(vehicles, span, now + HORIZON_S, detail=detail)
        self._engine = engine
        self._now = now
        self._lives: list[Life] = []
        self._coming: list[Moment] = []
        self._sampled_at = now

    def write_past(self, number: int) -> None:
        """Write what a vehicle has lived through; keep the rest for later."""
        life = self._plan.life(number)
        self._lives.append(life)
        with self._engine.begin() as connection:
            for name, rows in everything(self._plan, number).items():
                table = schema.metadata.tables[name]
                stored = [_named(name, row) for row in rows]
                if name == "vehicles":
                    stored = [_as_of(row, life, self._now) for row in stored]
                past = [row for one in stored if (row := self._past(name, one)) is not None]
                if past:
                    connection.execute(insert(table), past)
        self._coming.sort(key=lambda moment: moment[0])

    def _past(self, name: str, row: dict[str, Any]) -> dict[str, Any] | None:
        """The row as it stands now; what is still to come of it waits."""
        at = row[_TIME[name]] if name in _TIME else 0.0
        if name == "coverage":
            at += REPORT_S  # a report is made when its time is over
        if name != "events":
            if at <= self._now:
                return row
            if name != "samples":  # the present is sampled as it passes
                self._coming.append((at, name, row))
            return None
        begun = {**row, "phase": Phase.START.value, "ended_at": None, "acknowledged": False}
        begun |= {"updated_at": row["started_at"], "duration_s": 0.0, "received_at": at + 0.1}
        if row["updated_at"] <= self._now:
            return row
        self._coming.append((row["updated_at"], name, row))
        if at <= self._now:
            return begun
        self._coming.append((at, name, begun))
        return None

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    def live(self, clock: Callable[[], float], sleep: Callable[[float], None]) -> None:
        """Go on until the simulated time is over."""
        second = int(clock())
        while second < self._plan.end:
            self.tick(float(second))
            second = max(second + 1, int(clock()))
            sleep(max(second - clock(), 0.0))

    def tick(self, at: float) -> None:
        """Write what happened up to this second (epoch seconds)."""
        with self._engine.begin() as connection:
            while self._coming and self._coming[0][0] <= at:
                _, name, row = self._coming.pop(0)
                table = schema.metadata.tables[name]
                if name == "events":
                    connection.execute(delete(table).where(table.c.id == row["id"]))
                if name == "availability":
                    changed = {"availability": row["status"], "availability_at": row["at"]}
                    connection.execute(_of(row["vehicle"]), changed)
                connection.execute(insert(table), row)
            due = at - self._sampled_at >= SAMPLE_S
            for life in self._lives:
                self._state(connection, life, at, sampled=due)
            if due:
                self._sampled_at = at

    def _state(self, connection: Any, life: Life, at: float, *, sampled: bool) -> None:
        leg = next((t for t in life.legs if t.started_at <= at < t.ended_at), None)
        if leg is None:
            return
        state = json.loads(state_message(life, leg, at).payload)
        values = {"state": state, "state_at": at, "last_seen_at": at}
        if at % STATS_S == 0:
            values["stats"] = json.loads(stats_of(life, leg, at).encode())
        connection.execute(_of(life.vehicle.id), values)
        # As the watch does: a closer look while something happens.
        close = state["eyes"] == "closed" or Level[state["level"].upper()] >= Level.CAUTION
        if sampled or close:
            row = sample_row(life, leg, at)
            connection.execute(insert(schema.samples), _named("samples", row))


def _of(vehicle: str) -> Any:
    return update(schema.vehicles).where(schema.vehicles.c.vehicle == vehicle)


def _as_of(row: dict[str, Any], life: Life, now: float) -> dict[str, Any]:
    """The row of `vehicles` as it stood when the past ends."""
    begun = [leg for leg in life.legs if leg.started_at <= now]
    if not begun:
        return {**row, "availability": "unknown", "state": None, "stats": None, "state_at": None}
    last = begun[-1]
    at = min(now, last.ended_at - 0.1)
    driving = now < last.ended_at
    return {
        **row,
        "availability": "online" if driving else "stopped",
        "availability_at": last.started_at if driving else last.ended_at,
        "last_seen_at": at,
        "state": json.loads(state_message(life, last, at).payload),
        "state_at": at,
        "stats": json.loads(stats_of(life, last, at).encode()),
    }


def _named(table: str, row: Row) -> dict[str, Any]:
    """A simulated row by column, its JSON text as values."""
    columns = schema.metadata.tables[table].columns
    return {
        name: json.loads(value)
        if isinstance(columns[name].type, type(schema.Json)) and isinstance(value, str)
        else value
        for name, value in zip(columns_of(table), row, strict=True)
    }
