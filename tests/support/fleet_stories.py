"""The language of the fleet's tests: vehicles that tell, and what the database then holds."""

import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select

from monitor.fleet.config import FleetConfig, load_fleet
from monitor.fleet.ingest.decoder import Arrival
from monitor.fleet.ingest.ingester import Ingester
from monitor.fleet.ingest.metrics import IngestMetrics
from monitor.protocol import messages
from monitor.protocol.messages import Message, Narrator, Topics
from monitor.protocol.schemas import CoverageData, Loop, Stats
from monitor.store import schema
from monitor.store.database import open_engine, upgrade
from monitor.types import (
    Calibration,
    Cause,
    ClosureEvidence,
    DriverState,
    Event,
    Eyes,
    HeadPose,
    Kind,
    Level,
    Phase,
)
from tests.support.fakes import FakeInbox

NOON = 1_790_000_000.0
PREFIX = "dms/v1"


def an_event(**changes: Any) -> Event:
    """A microsleep that has just begun."""
    event = Event(
        id="11111111-2222-5333-8444-555555555555",
        kind=Kind.MICROSLEEP,
        phase=Phase.START,
        level=Level.WARNING,
        started_at=NOON,
        at=NOON,
        started_s=10.0,
        at_s=10.0,
        drive="drive-1",
        evidence=ClosureEvidence(closed_s=1.0, openness=0.05),
        policy="default-1",
        calibration="abc",
        models=("yolov5n_awake",),
    )
    return replace(event, **changes)


def later(event: Event, seconds: float, **changes: Any) -> Event:
    """The same event, told this much after its start."""
    return replace(
        event,
        **{
            "phase": Phase.UPDATE,
            "at": event.started_at + seconds,
            "at_s": event.started_s + seconds,
            **changes,
        },
    )


class Vehicle:
    """A vehicle that tells: makes the messages its process would publish."""

    def __init__(self, name: str = "truck-1") -> None:
        self.name = name
        self.topics = Topics(PREFIX, name)
        self._narrator = Narrator()
        self._sequence = itertools.count(1)

    def tell(self, event: Event) -> Message:
        return messages.alert(
            self.topics, self._narrator.tell(event), next(self._sequence), event.at
        )

    def tell_life(self, **changes: Any) -> list[Message]:
        """An event that begins, climbs, is acknowledged and ends."""
        begin = an_event(**changes)
        return [
            self.tell(begin),
            self.tell(later(begin, 2.0, kind=Kind.SLEEP, level=Level.CRITICAL)),
            self.tell(later(begin, 3.0, kind=Kind.SLEEP, level=Level.CRITICAL, acknowledged=True)),
            self.tell(
                later(
                    begin, 4.5, kind=Kind.SLEEP, level=Level.WARNING, phase=Phase.END,
                    acknowledged=True, evidence=ClosureEvidence(closed_s=4.5),
                )
            ),
        ]  # fmt: skip

    def report(self, seconds: dict[str, float], started_at: float = NOON) -> Message:
        data = CoverageData.model_validate(
            {
                "vehicle": self.name,
                "drive": "drive-1",
                "camera": "driver",
                "started_at": started_at,
                "ended_at": started_at + sum(seconds.values()),
                "seconds": seconds,
            },
            strict=False,
        )
        return messages.coverage(self.topics, data, next(self._sequence), NOON)

    def state(
        self, at: float = NOON, *, camera: str = "driver", apart: bool = False, **changes: Any
    ) -> Message:
        state = DriverState(
            timestamp_s=at - NOON + 100,
            captured_at=at,
            eyes=Eyes.OPEN,
            openness=0.97,
            perclos=0.03,
            coverage=0.98,
            pose=HeadPose(3.0, -2.0, 0.5),
            emotion="neutral",
            calibration=Calibration(1.0, ready=True, ear_open=0.3, mar_closed=0.05,
                                    neutral=HeadPose(0, 0, 0), id="abc"),
        )  # fmt: skip
        return messages.state(
            self.topics,
            replace(state, **changes),
            camera=camera,
            apart=apart,
            drive="drive-1",
            policy="default-1",
            fps=29.5,
        )

    def stats(self, **changes: Any) -> Message:
        values: dict[str, Any] = {
            "vehicle": self.name,
            "time": messages.utc(NOON),
            "at": NOON,
            "software": "0.1.0",
            "uptime_s": 60.0,
            "cameras": {
                "driver": Loop(
                    fps=30.0, frames=1800, skipped=0, latency_p50_ms=9.0, latency_p95_ms=12.0
                )
            },
            "outbox_depth": 0,
            "outbox_bytes": 0,
            "lost": 0,
            "restarts": 0,
            "troubles": {},
        }
        return messages.stats(self.topics, Stats(**{**values, **changes}))


def arrived(message: Message, at: float = NOON) -> Arrival:
    """A message as the broker brings it."""
    return Arrival(message.topic, message.payload, at, mid=1, qos=message.qos, connection=1)


class Desk:
    """An ingester over a real database and a fake network."""

    def __init__(self, url: str, **ingest: Any) -> None:
        upgrade(url)
        self.config: FleetConfig = load_fleet(
            ingest=ingest, database={"retry_s": (0.01, 0.05)}, metrics={"port": 0}
        )
        self.engine: Engine = open_engine(url, busy_s=0.05, immediate=True)
        self.inbox = FakeInbox()
        self.metrics = IngestMetrics()
        self.ingester = Ingester(self.config, self.engine, self.inbox, self.metrics)
        self.stop = threading.Event()

    def take(self, *told: Message | Arrival) -> None:
        """Take in one batch."""
        arrivals = [one if isinstance(one, Arrival) else arrived(one) for one in told]
        self.ingester.step(arrivals, self.stop)

    def rows(self, table: str) -> list[dict[str, Any]]:
        """Everything in a table."""
        with self.engine.connect() as connection:
            found = connection.execute(select(schema.metadata.tables[table])).mappings()
            return [dict(row) for row in found]

    def row(self, table: str) -> dict[str, Any]:
        """The only row of a table."""
        (row,) = self.rows(table)
        return row


@contextmanager
def desk(url: str, **ingest: Any) -> Iterator[Desk]:
    """A desk that is cleared away afterwards."""
    found = Desk(url, **ingest)
    try:
        yield found
    finally:
        found.engine.dispose()


def sqlite_url(folder: Path) -> str:
    """A desk's database."""
    return f"sqlite:///{folder / 'fleet.db'}"


# For tests that take `office`: on a desk's SQLite and in a fleet's PostgreSQL.
on_both = pytest.mark.parametrize(
    "office", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True
)

CAUSES = tuple(cause.value for cause in Cause)
