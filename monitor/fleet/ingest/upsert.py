"""What the fleet's database takes in: one batch, one transaction, any number of times.

Every write is idempotent: a message that comes twice, late or in another order leaves the rows as
they are. An event is one row that moves only forward by the vehicle's own sequence.
"""

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Any

from pydantic_core import to_json
from sqlalchemy import Connection, Engine, Table, text

from monitor.protocol.schemas import Alert, Availability, CameraStatus, Coverage, State, Stats
from monitor.store import schema
from monitor.types import Level, Phase

# Fault matrix 18: what a dead letter keeps of its payload.
DEAD_LETTER_BYTES = 4096


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that could not be taken in, and why."""

    at: float
    topic: str
    payload: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class Seen:
    """True of a moment only: what, of which vehicle (and camera), when it came."""

    vehicle: str
    at: float
    status: Availability | CameraStatus
    camera: str = ""


@dataclass(slots=True)
class Batch:
    """What one transaction writes.

    Attributes:
        events: by id and start, the row of each event that was told of, whatever was told.
        tellings: how many alerts those rows are made of.
        recorded_at: when its vehicle recorded the first of them, epoch seconds.
        coverage: reports of monitored time.
        states: latest state of each vehicle with its time, to be shown live.
        samples: states to be kept as history.
        stats: latest numbers of each vehicle's process.
        statuses: availability and camera status, in the order they came.
        dead: what could not be read.
        seen: vehicles that were heard of, and when last.
    """

    events: dict[tuple[Any, ...], tuple[Any, ...]] = field(default_factory=dict)
    tellings: int = 0
    recorded_at: float = 0.0
    coverage: list[Coverage] = field(default_factory=list)
    states: dict[str, tuple[State, float]] = field(default_factory=dict)
    samples: list[State] = field(default_factory=list)
    stats: dict[str, Stats] = field(default_factory=dict)
    statuses: list[Seen] = field(default_factory=list)
    dead: list[DeadLetter] = field(default_factory=list)
    seen: dict[str, float] = field(default_factory=dict)

    def tell(self, alert: Alert, received_at: float) -> None:
        """Take in what an alert tells of its event; it came at `received_at`, epoch seconds."""
        row = _event_row(alert, received_at)
        held = self.events.get(row[:2])
        self.events[row[:2]] = row if held is None else _later(held, row)
        self.recorded_at = self.recorded_at or alert.recordedtime.timestamp()
        self.tellings += 1

    @property
    def empty(self) -> bool:
        """Nothing to write."""
        return not (self.seen or self.dead)


def write(engine: Engine, batch: Batch, passing: Callable[[], None] = lambda: None) -> int:
    """Write a batch, all of it or nothing.

    Args:
        engine: of the fleet's database.
        batch: what to write.
        passing: called when all is written and nothing committed; tests crash there.

    Returns:
        How many of its events were new or moved forward; the rest were repeats.
    """
    with engine.begin() as connection:
        # Rows are locked in one order by every ingester, so that none waits in a circle.
        _write_vehicles(connection, batch)
        # Stamped at the writing, not at the arrival: whoever reads what is new looks by it, and a
        # batch may have waited hours for its database.
        now = time.time()
        events = [(*batch.events[key], now) for key in sorted(batch.events)]
        moved = _bulk(connection, schema.events, events, _FORWARD)
        _bulk(connection, schema.coverage, _coverage_rows(batch.coverage), _ONCE)
        _bulk(connection, schema.samples, map(_sample_row, batch.samples), _ONCE)
        for seen in batch.statuses:
            _write_status(connection, seen)
        _bulk(connection, schema.dead_letters, map(_dead_row, batch.dead), "")
        passing()
    return moved


_ONCE = "ON CONFLICT DO NOTHING"
_NEWER = "excluded.sequence > events.sequence"
_FOLLOWS = (
    "kind", "phase", "updated_at", "ended_at", "duration_s", "evidence", "policy", "calibration",
    "models", "sequence", "driver", "latitude", "longitude",
)  # fmt: skip
# A late telling changes nothing but what only grows: the highest level and the acknowledgement.
_FORWARD = (
    "ON CONFLICT (id, started_at) DO UPDATE SET "
    + ", ".join(
        f"{name} = CASE WHEN {_NEWER} THEN excluded.{name} ELSE events.{name} END"
        for name in _FOLLOWS
    )
    + ", level = CASE WHEN excluded.level > events.level THEN excluded.level ELSE events.level END"
    ", acknowledged = (excluded.acknowledged OR events.acknowledged)"
    ", changed_at = excluded.changed_at"
    # No vehicle touches another's event, whatever id it claims.
    f" WHERE excluded.vehicle = events.vehicle AND ({_NEWER} OR excluded.level > events.level"
    " OR (excluded.acknowledged AND NOT events.acknowledged))"
)
_KNOWN = (
    "ON CONFLICT (vehicle) DO UPDATE SET "
    "last_seen_at = CASE WHEN excluded.last_seen_at > vehicles.last_seen_at "
    "THEN excluded.last_seen_at ELSE vehicles.last_seen_at END, "
    "state = CASE WHEN excluded.state_at >= coalesce(vehicles.state_at, 0) "
    "THEN excluded.state ELSE vehicles.state END, "
    "clock_skew_s = CASE WHEN excluded.state_at >= coalesce(vehicles.state_at, 0) "
    "THEN excluded.clock_skew_s ELSE vehicles.clock_skew_s END, "
    "state_at = CASE WHEN excluded.state_at >= coalesce(vehicles.state_at, 0) "
    "THEN excluded.state_at ELSE vehicles.state_at END, "
    "stats = coalesce(excluded.stats, vehicles.stats), "
    "version = coalesce(excluded.version, vehicles.version)"
)


def _write_vehicles(connection: Connection, batch: Batch) -> None:
    rows = []
    for vehicle, at in sorted(batch.seen.items()):
        state, state_at = batch.states.get(vehicle, (None, None))
        stats = batch.stats.get(vehicle)
        rows.append(
            (
                vehicle,
                "unknown",
                None,
                at,
                at,
                state.encode().decode() if state else None,
                state_at,
                stats.encode().decode() if stats else None,
                stats.software[:32] if stats else None,
                round(state.at - state_at, 3) if state and state_at else None,
            )
        )
    _bulk(connection, schema.vehicles, rows, _KNOWN)


_LEVEL, _ACKNOWLEDGED, _SEQUENCE = (
    list(schema.events.columns.keys()).index(name) for name in ("level", "acknowledged", "sequence")
)


def _later(one: tuple[Any, ...], other: tuple[Any, ...]) -> tuple[Any, ...]:
    """The later telling of the two, with what only grows taken from both."""
    merged = list(one if one[_SEQUENCE] > other[_SEQUENCE] else other)
    merged[_LEVEL] = max(one[_LEVEL], other[_LEVEL])
    merged[_ACKNOWLEDGED] = one[_ACKNOWLEDGED] or other[_ACKNOWLEDGED]
    return tuple(merged)


def _event_row(told: Alert, received_at: float) -> tuple[Any, ...]:
    data = told.data
    return (
        data.id,
        data.started_at,
        data.vehicle,
        data.drive,
        data.camera,
        data.kind.value,
        data.phase.value,
        int(data.level),
        data.at,
        data.at if data.phase is Phase.END else None,
        data.at_s - data.started_s,
        data.acknowledged,
        to_json(data.evidence).decode(),
        data.policy,
        data.calibration,
        _listed(data.models),
        int(told.sequence),
        received_at,
        None,
        None,
        None,
        None,
    )


@lru_cache(maxsize=1024)
def _listed(models: tuple[str, ...]) -> str:
    """The same few lists come with every event."""
    return json.dumps(models)


def _coverage_rows(reports: Iterable[Coverage]) -> Iterable[tuple[Any, ...]]:
    for report in reports:
        data = report.data
        for cause, seconds in data.seconds.items():
            yield data.vehicle, data.drive, data.camera, data.started_at, str(cause), seconds, None


def _sample_row(state: State) -> tuple[Any, ...]:
    signals, calibration = state.signals, state.calibration
    return (
        state.vehicle,
        state.camera,
        state.at,
        state.drive,
        int(Level[state.level.upper()]),
        state.kind.value if state.kind else None,
        state.eyes.value,
        state.openness,
        state.closure_s,
        state.perclos,
        signals.fatigue,
        signals.yaw_deg,
        signals.pitch_deg,
        signals.roll_deg,
        state.emotion[:32] if state.emotion else None,
        state.fps,
        calibration.percent / 100 if calibration else None,
        signals.speed_kmh,
        json.dumps([cause.value for cause in state.degraded]),
        None,
        None,
        None,
    )


def _dead_row(letter: DeadLetter) -> tuple[Any, ...]:
    # PostgreSQL's text holds no NUL; a topic or reason may have carried one.
    topic, reason = (part.replace("\0", "\\0") for part in (letter.topic, letter.reason))
    return letter.at, topic[:1024], letter.payload[:DEAD_LETTER_BYTES], reason[:1024]


_NOW_AVAILABLE = text(
    "UPDATE vehicles SET availability = :status, availability_at = :at WHERE vehicle = :vehicle "
    "AND availability <> :status AND coalesce(availability_at, 0) < :at"
)
_WAS_AVAILABLE = text(
    "INSERT INTO availability (vehicle, at, status) VALUES (:vehicle, :at, :status) "
    "ON CONFLICT DO NOTHING"
)
_CAMERA_NOW = text(
    "INSERT INTO camera_status (vehicle, camera, at, status) "
    # In a SELECT, PostgreSQL cannot tell the types of what is bound.
    "SELECT CAST(:vehicle AS VARCHAR), CAST(:camera AS VARCHAR), CAST(:at AS DOUBLE PRECISION), "
    "CAST(:status AS VARCHAR) WHERE NOT EXISTS (SELECT 1 FROM camera_status "
    "WHERE vehicle = :vehicle AND camera = :camera AND at >= :at) "
    "AND :status <> coalesce((SELECT status FROM camera_status WHERE vehicle = :vehicle "
    "AND camera = :camera ORDER BY at DESC LIMIT 1), '') ON CONFLICT DO NOTHING"
)


def _write_status(connection: Connection, seen: Seen) -> None:
    """History of changes only: a status that is told again is no news."""
    values = {"vehicle": seen.vehicle, "at": seen.at, "status": seen.status.value}
    if seen.camera:
        connection.execute(_CAMERA_NOW, {**values, "camera": seen.camera})
    elif connection.execute(_NOW_AVAILABLE, values).rowcount:
        connection.execute(_WAS_AVAILABLE, values)


def _bulk(
    connection: Connection, table: Table, rows: Iterable[Sequence[Any]], conflict: str
) -> int:
    """Insert rows given in the order of the table's columns; returns how many took effect.

    PostgreSQL takes them by `COPY` into a table of the connection's own and upserts from there:
    a third of the cost of a statement with as many parameters.
    """
    listed = list(rows)
    if not listed:
        return 0
    driver: Any = connection.connection.driver_connection
    names = ", ".join(_filled(table))
    if connection.dialect.name != "postgresql":
        marks = ", ".join("?" * len(_filled(table)))
        statement = f"INSERT INTO {table.name} ({names}) VALUES ({marks}) {conflict}"  # noqa: S608
        return int(driver.executemany(statement, listed).rowcount)
    staged = f"staged_{table.name}"
    with driver.cursor() as cursor:
        cursor.execute(
            f"CREATE TEMP TABLE IF NOT EXISTS {staged} (LIKE {table.name} INCLUDING DEFAULTS) "
            "ON COMMIT DELETE ROWS"
        )
        with cursor.copy(f"COPY {staged} ({names}) FROM STDIN") as copy:
            for row in listed:
                copy.write_row(row)
        # Names of our own schema alone; values went by COPY.
        chosen = f"INSERT INTO {table.name} ({names}) SELECT {names} FROM {staged}"  # noqa: S608
        return int(cursor.execute(f"{chosen} {conflict}").rowcount)


@cache
def _filled(table: Table) -> tuple[str, ...]:
    """Columns that a row fills: all but numbers that the database hands out itself."""
    return tuple(c.name for c in table.columns if c.autoincrement is not True)
