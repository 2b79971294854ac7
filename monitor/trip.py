"""Two optional inputs from the vehicle: who drives, by a pseudonym, and where."""

import json
import re
import threading
import time
from collections.abc import Callable

import structlog

from monitor.config import IDENTIFIER, DriverConfig, PositionConfig
from monitor.types import Position, Trip

log = structlog.get_logger(__name__)

LONGEST_BYTES = 4096
_LATITUDE = ("Vehicle.CurrentLocation.Latitude", "latitude", "lat")
_LONGITUDE = ("Vehicle.CurrentLocation.Longitude", "longitude", "lon")
_DRIVER = ("Vehicle.Driver.Identifier.Subject", "value", "driver")


class TripSource:
    """What MQTT topics tell of driver and place.

    A driver holds until another is told; an empty message, or one that names nobody, makes the
    driver unknown: an alert must not be put down to whoever drove before. A position older than
    `stale_s` is unknown.

    Args:
        driver: a fixed id, or the topic that tells it.
        position: the topic, how long it holds and how far it is rounded.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        driver: DriverConfig,
        position: PositionConfig,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._driver_topic, self._position = driver.topic, position
        self._clock = clock
        self._lock = threading.Lock()
        self._driver = driver.id
        self._latest: tuple[float, Position] | None = None
        self._complaints: set[str] = set()

    @property
    def listeners(self) -> dict[str, Callable[[bytes, bool], None]]:
        """The topics to subscribe to and what to do with their messages."""
        wanted = {self._driver_topic: self.hear_driver, self._position.topic: self.hear_position}
        return {topic: hear for topic, hear in wanted.items() if topic}

    def hear_driver(self, payload: bytes, retained: bool = False) -> None:
        """Take the id of who drives from now on; a retained one holds as well."""
        del retained
        try:
            driver = _driver(payload)
        except ValueError as error:
            driver = None
            self._complain("driver", error)
        with self._lock:
            self._driver = driver

    def hear_position(self, payload: bytes, retained: bool = False) -> None:
        """Take a position; a retained one is of a time that nobody knows."""
        if retained:
            return
        try:
            position = self._rounded(*_place(payload))
        except ValueError as error:
            self._complain("position", error)
            return
        with self._lock:
            self._latest = (self._clock(), position)

    def now(self) -> Trip:
        """Who drives and where, as far as it is known now."""
        with self._lock:
            driver, latest = self._driver, self._latest
        fresh = latest is not None and self._clock() - latest[0] <= self._position.stale_s
        return Trip(driver, latest[1] if latest and fresh else None)

    def _rounded(self, latitude_deg: float, longitude_deg: float) -> Position:
        decimals = self._position.decimals
        return Position(round(latitude_deg, decimals), round(longitude_deg, decimals))

    def _complain(self, what: str, error: ValueError) -> None:
        """Once each: a source that is wrong is wrong every second."""
        if what not in self._complaints:
            log.warning(f"{what} ignored", why=str(error))
        self._complaints.add(what)


def _driver(payload: bytes) -> str | None:
    if not payload.strip():
        return None
    driver: object = payload.decode("utf-8", "replace").strip()
    if payload.lstrip().startswith((b"{", b'"')):
        driver = _json(payload)
        if isinstance(driver, dict):
            driver = _first(driver, _DRIVER)
    if driver is None or driver == "":
        return None
    if not isinstance(driver, str) or not re.fullmatch(IDENTIFIER, driver):
        raise ValueError(f"{payload[:40]!r} is no id; send letters, digits, - and _, 64 at most")
    return driver


def _place(payload: bytes) -> tuple[float, float]:
    values = _json(payload)
    if not isinstance(values, dict):
        raise ValueError(f'{payload[:40]!r} is no place; send {{"latitude": 1.5, "longitude": 2}}')
    if isinstance(values.get("value"), dict):
        values = values["value"]
    place = (_first(values, _LATITUDE), _first(values, _LONGITUDE))
    degrees = [v for v in place if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(degrees) < len(place):
        raise ValueError(f"{payload[:40]!r} holds no latitude and longitude in degrees")
    try:
        return float(degrees[0]), float(degrees[1])
    except OverflowError:  # a whole number of hundreds of digits
        raise ValueError(f"{payload[:40]!r} is no place on earth") from None


def _json(payload: bytes) -> object:
    if len(payload) > LONGEST_BYTES:
        raise ValueError(f"{len(payload)} bytes; at most {LONGEST_BYTES}")
    try:
        return json.loads(payload)
    except (ValueError, RecursionError):
        raise ValueError(f"{payload[:40]!r} is no JSON") from None


def _first(values: dict[object, object], names: tuple[str, ...]) -> object:
    return next((values[name] for name in names if values.get(name) is not None), None)
