"""What is true now: every vehicle at a glance, one vehicle's last minutes."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Self

from sqlalchemy import ColumnElement, and_, case, func, or_, select

from dashboard.queries.database import Database, Record, columns_of
from dashboard.queries.events import DriverSample
from monitor.store.schema import availability, events, samples, vehicles
from monitor.types import Cause, Level, Phase

# A state comes once a second; after this long its vehicle has fallen silent, not become fine.
STALE_S: Final = 15.0
VEHICLES_SHOWN: Final = 500
# No alert stays open for longer than a drive.
LONGEST_S: Final = 6 * 3600.0


# The watch goes on, with less behind it (the policy's `degraded.minor`).
MINOR: Final = {Cause.LOW_FPS.value, Cause.MULTIPLE_FACES.value, Cause.UNCALIBRATED.value}


class WatchStatus(StrEnum):
    """How a vehicle is watched, most pressing first. Only `WATCHED` may look fine."""

    ALERT = "alert"
    UNWATCHED = "not monitored"
    SILENT = "no signal"
    WATCHED = "watched"
    PARKED = "stopped"


@dataclass(frozen=True, slots=True)
class LiveState:
    """The latest state of a driver, from a `state` message or from a sample.

    Attributes:
        level, kind: of the most urgent open alert; kind is None when attentive.
        eyes: open, closed or unknown.
        openness, perclos: shares, 0..1; None is unknown.
        closure_s: how long the eyes have been closed.
        emotion: the smoothed expression, context only.
        degraded: why the driver is not monitored.
        calibrated: how far the driver's own baseline is known, 0..1.
        fatigue: 0..100.
        yaw_deg, pitch_deg, roll_deg: + left, + up, + right.
        driver: the pseudonym that the vehicle was given; None without.
        latitude, longitude: degrees, rounded by the vehicle; None where it is not known.
    """

    level: Level
    kind: str | None
    eyes: str
    openness: float | None
    closure_s: float | None
    perclos: float | None
    emotion: str | None
    degraded: tuple[str, ...]
    calibrated: float | None
    fps: float | None
    fatigue: float | None
    yaw_deg: float | None
    pitch_deg: float | None
    roll_deg: float | None
    speed_kmh: float | None
    driver: str | None = None
    latitude: float | None = None
    longitude: float | None = None

    @classmethod
    def from_message(cls, message: Record) -> Self:
        """From a `state` payload, as the ingester stored it."""
        signals: dict[str, Any] = message.get("signals") or {}
        calibration: dict[str, Any] = message.get("calibration") or {}
        percent = calibration.get("percent")
        return cls(
            level=Level[message["level"].upper()],
            kind=message["kind"],
            eyes=message.get("eyes", "unknown"),
            openness=message.get("openness"),
            closure_s=message.get("closure_s"),
            perclos=message.get("perclos"),
            emotion=message.get("emotion"),
            degraded=tuple(message["degraded"]),
            calibrated=None if percent is None else percent / 100,
            fps=message.get("fps"),
            **{field: signals.get(path) for field, path in _SIGNALS.items()},
        )

    @classmethod
    def from_sample(cls, row: DriverSample) -> Self:
        """From a stored sample, for a log that no state message reached."""
        return cls(
            level=Level(row.level),
            kind=row.kind,
            eyes=row.eyes,
            openness=row.openness,
            closure_s=row.closure_s,
            perclos=row.perclos,
            emotion=row.emotion,
            degraded=tuple(row.degraded),
            calibrated=row.calibration,
            fps=row.fps,
            fatigue=row.fatigue,
            yaw_deg=row.yaw_deg,
            pitch_deg=row.pitch_deg,
            roll_deg=row.roll_deg,
            speed_kmh=row.speed_kmh,
            driver=row.driver,
            latitude=row.latitude,
            longitude=row.longitude,
        )


# Where a state message holds them, by their COVESA VSS names.
_HEAD: Final = "Vehicle.Occupant.Row1.DriverSide.HeadPosition"
_SIGNALS: Final = {
    "fatigue": "Vehicle.Driver.FatigueLevel",
    "yaw_deg": f"{_HEAD}.Yaw",
    "pitch_deg": f"{_HEAD}.Pitch",
    "roll_deg": f"{_HEAD}.Roll",
    "speed_kmh": "Vehicle.Speed",
    "driver": "Vehicle.Driver.Identifier.Subject",
    "latitude": "Vehicle.CurrentLocation.Latitude",
    "longitude": "Vehicle.CurrentLocation.Longitude",
}


@dataclass(frozen=True, slots=True)
class VehicleRow:
    """A row of `vehicles`; times are epoch seconds."""

    vehicle: str
    availability: str
    last_seen_at: float
    state: Record | None = None
    state_at: float | None = None
    version: str | None = None


@dataclass(frozen=True, slots=True)
class VehicleNow:
    """A vehicle's latest state, or the lack of one.

    Attributes:
        vehicle: its identifier.
        status: the one word for it.
        level, kind: of the most urgent open alert, if `state` is fresh.
        seen_at: when it was last heard of, epoch seconds.
        state: the latest state; None when none ever arrived.
        causes: why the driver is not monitored.
        version: of its software.
    """

    vehicle: str
    status: WatchStatus
    level: Level
    kind: str | None
    seen_at: float
    availability: str
    state: LiveState | None
    causes: tuple[str, ...]
    version: str | None

    @property
    def word(self) -> str:
        """The standing in words; one that goes on with less behind it is monitored in part."""
        limited = self.status is WatchStatus.UNWATCHED and set(self.causes) <= MINOR
        return "monitored in part" if limited else self.status.value

    @property
    def urgency(self) -> tuple[int, int, float]:
        """Sorts the most pressing first."""
        order = list(WatchStatus)
        return (order.index(self.status), -int(self.level), -self.seen_at)


def now_of_all(database: Database, now: float) -> list[VehicleNow]:
    """Every vehicle now, the most pressing first; at most `VEHICLES_SHOWN`."""
    v = vehicles.c
    statement = (
        select(*columns_of(vehicles, VehicleRow))
        .where(database.allows(v.vehicle))
        .order_by(*_most_pressing_first(now), v.last_seen_at.desc())
    )
    rows = database.fetch(VehicleRow, statement.limit(VEHICLES_SHOWN)) or _from_samples(database)
    return sorted((_now(database, row, now) for row in rows), key=lambda vehicle: vehicle.urgency)


def _most_pressing_first(now: float) -> tuple[ColumnElement[int], ColumnElement[int]]:
    """`VehicleNow.urgency` as the database sorts it: no pressing one is left out."""
    v, order = vehicles.c, list(WatchStatus)
    level = case(
        {one.name.lower(): int(one) for one in Level},
        value=v.state["level"].as_string(),
        else_=int(Level.NONE),
    )
    impaired = v.state["degraded"][0].as_string().is_not(None)
    alert = or_(level >= Level.WARNING, and_(level == Level.CAUTION, ~impaired))
    silent = func.coalesce(v.state_at, v.last_seen_at) < now - STALE_S
    status = case(
        (v.availability == "stopped", order.index(WatchStatus.PARKED)),
        (silent, order.index(WatchStatus.SILENT)),
        (alert, order.index(WatchStatus.ALERT)),
        (impaired, order.index(WatchStatus.UNWATCHED)),
        else_=order.index(WatchStatus.WATCHED),
    )
    return status, -level


def now_of(database: Database, vehicle: str, now: float) -> VehicleNow | None:
    """One vehicle now; None if there is no such vehicle."""
    v = vehicles.c
    statement = select(*columns_of(vehicles, VehicleRow)).where(
        v.vehicle == vehicle, database.allows(v.vehicle)
    )
    row = database.fetch_first(VehicleRow, statement)
    if row is None:
        row = next((r for r in _from_samples(database) if r.vehicle == vehicle), None)
    return _now(database, row, now) if row else None


def open_since(database: Database, fleet: list[VehicleNow], now: float) -> dict[str, float]:
    """When the alert began that a vehicle has open, epoch seconds by vehicle."""
    e = events.c
    kinds = {row.vehicle: row.kind for row in fleet if row.status is WatchStatus.ALERT}
    if not kinds:
        return {}
    statement = select(e.vehicle, e.kind, e.started_at).where(
        database.allows(e.vehicle),
        e.vehicle.in_(sorted(kinds)),
        e.started_at >= now - LONGEST_S,
        e.phase != Phase.END.value,
    )
    rows = database.rows(statement.order_by(e.started_at))
    return {
        row["vehicle"]: row["started_at"] for row in rows if row["kind"] == kinds[row["vehicle"]]
    }


def names(database: Database) -> list[str]:
    """Every vehicle's identifier, sorted."""
    v = vehicles.c.vehicle
    rows = database.rows(select(v).where(database.allows(v)).order_by(v).limit(20_000))
    return [row["vehicle"] for row in rows] or [row.vehicle for row in _from_samples(database)]


def _from_samples(database: Database) -> list[VehicleRow]:
    """Rows as of `vehicles`, for a vehicle's own log: there nothing came in over the network."""
    s = samples.c
    watched = database.rows(
        select(s.vehicle, s.camera).where(database.allows(s.vehicle)).distinct().limit(64)
    )
    last: dict[str, float] = {}
    for row in watched:
        newest = database.first(
            select(s.at)
            .where(s.vehicle == row["vehicle"], s.camera == row["camera"])
            .order_by(s.at.desc())
            .limit(1)
        )
        if newest:
            last[row["vehicle"]] = max(newest["at"], last.get(row["vehicle"], 0.0))
    return [
        VehicleRow(name, _availability(database, name), last_seen_at=at)
        for name, at in sorted(last.items())
    ]


def _availability(database: Database, vehicle: str) -> str:
    """The last status of a vehicle's own history."""
    a = availability.c
    newest = (
        select(a.status)
        .where(database.allows(a.vehicle), a.vehicle == vehicle)
        .order_by(a.at.desc())
        .limit(1)
    )
    row = database.first(newest)
    return str(row["status"]) if row else "unknown"


def _now(database: Database, row: VehicleRow, now: float) -> VehicleNow:
    state = None if row.state is None else LiveState.from_message(row.state)
    seen_at = row.state_at or row.last_seen_at
    if state is None and now - row.last_seen_at <= STALE_S:
        state = _state_of_sample(database, row.vehicle, now)
    fresh = state if now - seen_at <= STALE_S else None
    level = fresh.level if fresh else Level.NONE
    causes = fresh.degraded if fresh else ()
    return VehicleNow(
        vehicle=row.vehicle,
        status=_status(row.availability, fresh=fresh is not None, level=level, causes=causes),
        level=level,
        kind=fresh.kind if fresh else None,
        seen_at=seen_at,
        availability=row.availability,
        state=state,
        causes=causes,
        version=row.version,
    )


def _status(
    availability: str, *, fresh: bool, level: Level, causes: tuple[str, ...]
) -> WatchStatus:
    if availability == "stopped":
        return WatchStatus.PARKED
    if not fresh:
        return WatchStatus.SILENT
    if level >= Level.CAUTION and not causes:
        return WatchStatus.ALERT
    if level >= Level.WARNING:
        return WatchStatus.ALERT
    return WatchStatus.UNWATCHED if causes else WatchStatus.WATCHED


def _state_of_sample(database: Database, vehicle: str, now: float) -> LiveState | None:
    """A state from the last sample, for a store that no state message reached."""
    s = samples.c
    statement = (
        select(*columns_of(samples, DriverSample))
        .where(database.allows(s.vehicle), s.vehicle == vehicle, s.at > now - STALE_S)
        .order_by(s.at.desc())
        .limit(1)
    )
    row = database.fetch_first(DriverSample, statement)
    return LiveState.from_sample(row) if row else None
