"""An optional input from the vehicle: how fast it goes."""

import json
import math
import threading
import time
from collections.abc import Callable

import structlog

from monitor.config import SpeedConfig

log = structlog.get_logger(__name__)

# Faster than any road vehicle: a value beyond it is another unit or a fault.
FASTEST_KMH = 500.0


class SpeedSource:
    """VSS `Vehicle.Speed` in km/h from an MQTT topic: `53.5`, or JSON with a `value`.

    A value that is older than `stale_s` is unknown: a silent sensor must not hold the vehicle at
    its last speed for ever.

    Args:
        config: topic and how long a value holds.
        clock: monotonic seconds.
    """

    def __init__(self, config: SpeedConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self._stale_s = config.stale_s
        self._clock = clock
        self._lock = threading.Lock()
        self._latest: tuple[float, float] | None = None
        self._complained = False
        self.topic = config.topic

    @property
    def listeners(self) -> dict[str, Callable[[bytes, bool], None]]:
        """The topic to subscribe to and what to do with its messages; empty without a topic."""
        return {self.topic: self.hear} if self.topic else {}

    def hear(self, payload: bytes, retained: bool = False) -> None:
        """Take a message; one that is no speed is ignored and logged once.

        A retained one is how fast the vehicle went at some time: nobody knows when.
        """
        if retained:
            return
        try:
            speed_kmh = _speed(payload)
        except ValueError as error:
            if not self._complained:
                log.warning("speed ignored", topic=self.topic, why=str(error))
            self._complained = True
            return
        with self._lock:
            self._latest = (self._clock(), speed_kmh)

    def kmh(self) -> float | None:
        """The speed now; None if never told or told too long ago."""
        with self._lock:
            latest = self._latest
        if latest is None or self._clock() - latest[0] > self._stale_s:
            return None
        return latest[1]


def _speed(payload: bytes) -> float:
    if len(payload) > 1024:
        raise ValueError(f"{len(payload)} bytes are no speed")
    try:
        value = json.loads(payload)
    except (ValueError, RecursionError):
        raise ValueError(f"{payload[:40]!r} is neither a number nor JSON") from None
    if isinstance(value, dict):
        value = value.get("value", value.get("Vehicle.Speed"))
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f'{payload[:40]!r} holds no number; send 53.5 or {{"value": 53.5}}')
    if not abs(value) <= FASTEST_KMH or not math.isfinite(value):
        raise ValueError(f"{payload[:40]!r} is no speed in km/h")
    return float(value)
