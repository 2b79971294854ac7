"""What the fleet's database takes in: one batch, one transaction, any number of times.

Every write is idempotent: a message that comes twice, late or in another order leaves the rows as
they are. An event is one row that moves only forward by the vehicle's own sequence.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from sqlalchemy import Connection, Engine, text

from monitor.protocol.mapping import EventRow, coverage_rows, event_row, sample_row
from monitor.protocol.schemas import Alert, Availability, CameraStatus, Coverage, State, Stats
from monitor.store import schema
from monitor.store.upsert import ONCE, insert_rows, insert_samples, later, upsert_events

# What a dead letter keeps of its payload.
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
class IngestBatch:
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

    events: dict[tuple[str, float], EventRow] = field(default_factory=dict)
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
        data, sequence = alert.data, int(alert.sequence)
        row = event_row(data.event, data.vehicle, sequence=sequence, received_at=received_at)
        key = row["id"], row["started_at"]
        held = self.events.get(key)
        self.events[key] = row if held is None else later(held, row)
        self.recorded_at = self.recorded_at or alert.recordedtime.timestamp()
        self.tellings += 1

    @property
    def empty(self) -> bool:
        """Nothing to write."""
        return not (self.seen or self.dead)


def write(engine: Engine, batch: IngestBatch, passing: Callable[[], None] = lambda: None) -> int:
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
        events = [batch.events[key] | {"changed_at": now} for key in sorted(batch.events)]
        moved = upsert_events(connection, events)
        insert_rows(connection, schema.coverage, _coverage_rows(batch.coverage), ONCE)
        insert_samples(connection, map(sample_row, batch.samples))
        for seen in batch.statuses:
            _write_status(connection, seen)
        insert_rows(connection, schema.dead_letters, map(_dead_row, batch.dead))
        passing()
    return moved


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


def _write_vehicles(connection: Connection, batch: IngestBatch) -> None:
    rows = []
    for vehicle, at in sorted(batch.seen.items()):
        state, state_at = batch.states.get(vehicle, (None, None))
        stats = batch.stats.get(vehicle)
        rows.append(
            {
                "vehicle": vehicle,
                "availability": "unknown",
                "availability_at": None,
                "first_seen_at": at,
                "last_seen_at": at,
                "state": state.encode().decode() if state else None,
                "state_at": state_at,
                "stats": stats.encode().decode() if stats else None,
                "version": stats.software[:32] if stats else None,
                "clock_skew_s": round(state.at - state_at, 3) if state and state_at else None,
            }
        )
    insert_rows(connection, schema.vehicles, rows, _KNOWN)


def _coverage_rows(reports: Iterable[Coverage]) -> Iterable[dict[str, object]]:
    for report in reports:
        yield from coverage_rows(report.data)


def _dead_row(letter: DeadLetter) -> dict[str, object]:
    # PostgreSQL's text holds no NUL; a topic or reason may have carried one.
    topic, reason = (part.replace("\0", "\\0") for part in (letter.topic, letter.reason))
    return {
        "at": letter.at,
        "topic": topic[:1024],
        "payload": letter.payload[:DEAD_LETTER_BYTES],
        "reason": reason[:1024],
    }


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
