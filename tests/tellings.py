"""Events and settings for the tests of the telling: each a line to read."""

import time
import uuid
from pathlib import Path
from typing import Any

import numpy as np

from monitor.config import Config, load
from monitor.types import DriverState, Event, Frame, Kind, Level, Observation, Phase

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
        "evidence": {"closed_s": 1.02, "threshold_s": 1.0},
        "policy": "default-1a2b3c",
        "calibration": "9f8e7d",
        "models": ("landmarks", "awake_sleep_n"),
    }
    return Event(**{**values, **more})


def alerts(count: int, *, start: int = 0) -> list[Event]:
    """That many events, each only raised, so each one message."""
    return [event(f"alert-{n}", began_s=n) for n in range(start, start + count)]


def settings(folder: Path, vehicle: str = "car-7", **sections: dict[str, Any]) -> Config:
    """A vehicle whose log is `log.db` in `folder`; sections as in the YAML."""
    store = {"url": f"sqlite:///{folder / 'log.db'}", **sections.pop("store", {})}
    return load(None, vehicle=vehicle, store=store, **sections)


def moment(
    at_s: float, *, image: Any = None, **state: Any
) -> tuple[Frame, Observation, DriverState]:
    """A frame, its observation and the driver's state at the capture time `at_s`."""
    image = np.zeros((4, 6, 3), np.uint8) if image is None else image
    frame = Frame(image, at_s, NOW + at_s, round(at_s * 30))
    return frame, Observation(at_s, NOW + at_s), DriverState(at_s, NOW + at_s, **state)
