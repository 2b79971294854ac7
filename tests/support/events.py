"""Events and settings for the tests of the telling: each a line to read."""

import multiprocessing
import sqlite3
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import select

from monitor.config import Config, load
from monitor.sinks.base import Step
from monitor.store import schema
from monitor.store.database import open_engine
from monitor.store.requests import TableRow
from monitor.types import (
    ClosureEvidence,
    Command,
    DriverState,
    Event,
    Frame,
    Kind,
    Level,
    Observation,
    Phase,
)

NOW = float(int(time.time()))


def event(
    name: str = "one",
    phase: Phase = Phase.START,
    *,
    level: Level = Level.WARNING,
    kind: Kind = Kind.MICROSLEEP,
    after_s: float = 0.0,
    began_s: float = 0.0,
    **more: Any,
) -> Event:
    """The event `name`, told `after_s` seconds after its start."""
    values: dict[str, Any] = {
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, name)),
        "kind": kind,
        "phase": phase,
        "level": level,
        "started_at": NOW + began_s,
        "at": NOW + began_s + after_s,
        "started_s": 5.0 + began_s,
        "at_s": 5.0 + began_s + after_s,
        "drive": "drive-1",
        "evidence": ClosureEvidence(closed_s=1.02),
        "policy": "default-1a2b3c",
        "calibration": "9f8e7d",
        "models": ("landmarks", "awake_sleep_n"),
    }
    return Event(**{**values, **more})


def large_event(name: str, **more: Any) -> Event:
    """An event whose alert is as large as one can be, some 2 KB."""
    names = tuple(f"{n:02d}{'x' * 62}" for n in range(16))
    return event(name, models=names, policy="p" * 64, calibration="c" * 64, **more)


def alerts(count: int, *, start: int = 0) -> list[Event]:
    """That many events, each only raised, so each one message."""
    return [event(f"alert-{n}", began_s=n) for n in range(start, start + count)]


def settings(folder: Path, vehicle: str = "car-7", **sections: dict[str, Any]) -> Config:
    """A vehicle whose log is `log.db` in `folder`; sections as in the YAML."""
    store = {"url": f"sqlite:///{folder / 'log.db'}", **sections.pop("store", {})}
    return load(None, vehicle=vehicle, store=store, **sections)


def moment(at_s: float, *, image: Any = None, **state: Any) -> Step:
    """A frame, its observation and the driver's state at the capture time `at_s`."""
    image = np.zeros((4, 6, 3), np.uint8) if image is None else image
    frame = Frame(image, at_s, NOW + at_s, round(at_s * 30))
    return step(frame, DriverState(at_s, NOW + at_s, **state))


def step(
    frame: Frame,
    state: DriverState,
    observation: Observation | None = None,
    speed_kmh: float | None = None,
    commands: tuple[Command, ...] = (),
) -> Step:
    """A frame's way through the watch."""
    observation = observation or Observation(frame.timestamp_s, frame.captured_at)
    return Step(frame, observation, speed_kmh, commands, state)


def given_step(
    observation: Observation, speed_kmh: float | None, commands: tuple[Command, ...] = ()
) -> Step:
    """What an engine was given, as a trace takes it."""
    at_s, at = observation.timestamp_s, observation.captured_at
    frame = Frame(None, at_s, at, observation.index)
    return step(frame, DriverState(at_s, at), observation, speed_kmh, commands)


def rows(config: Config, table: Any) -> list[dict[str, Any]]:
    engine = open_engine(config.store.url)
    try:
        with engine.connect() as connection:
            return [dict(row) for row in connection.execute(select(table)).mappings()]
    finally:
        engine.dispose()


def database(config: Config) -> Path:
    return Path(config.store.url.removeprefix("sqlite:///"))


def in_a_process(what: Callable[[Path], None], folder: Path) -> int | None:
    """Run it in a fresh process; its exit code."""
    process = multiprocessing.get_context("spawn").Process(target=what, args=(folder,))
    process.start()
    process.join()
    return process.exitcode


def lock(path: Path) -> sqlite3.Connection:
    """Another program that holds the write lock until it is closed."""
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    return other


def sample(at: float) -> TableRow:
    values = {"vehicle": "car-7", "camera": "driver", "at": at, "drive": "d", "level": 0}
    return TableRow(schema.samples, {**values, "eyes": "open", "degraded": []})


def fill(config: Config, samples: int) -> None:
    engine = open_engine(config.store.url, immediate=True)
    with engine.begin() as connection:
        values = [dict(sample(NOW + n).values) for n in range(samples)]
        connection.execute(schema.samples.insert(), values)
    engine.dispose()
