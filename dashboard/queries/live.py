"""What is true now: every vehicle at a glance, one vehicle's last minutes."""

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import select

from dashboard.queries.database import Record, Store
from monitor.store.schema import availability, events, samples, vehicles
from monitor.types import Cause, Level, Phase

# A state comes once a second; after this long its vehicle has fallen silent, not become fine.
STALE_S: Final = 15.0
VEHICLES_SHOWN: Final = 500
# No alert stays open for longer than a drive.
LONGEST_S: Final = 6 * 3600.0


# The watch goes on, with less behind it (the policy's `degraded.minor`).
MINOR: Final = {Cause.LOW_FPS.value, Cause.MULTIPLE_FACES.value, Cause.UNCALIBRATED.value}


class Standing(StrEnum):
    """How a vehicle stands, most pressing first. Only `WATCHED` may look fine."""

    ALERT = "alert"
    UNWATCHED = "not monitored"
    SILENT = "not seen"
    WATCHED = "watched"
    PARKED = "stopped"


@dataclass(frozen=True, slots=True)
class Now:
    """A vehicle's latest state, or the lack of one.

    Attributes:
        vehicle: its identifier.
        standing: the one word for it.
        level, kind: of the most urgent open alert, if `state` is fresh.
        seen_at: when it was last heard of, epoch seconds.
        state: the latest state message; None when none was ever told.
        causes: why the driver is not monitored.
        stats, version: of the process.
    """

    vehicle: str
    standing: Standing
    level: Level
    kind: str | None
    seen_at: float
    availability: str
    state: Record | None
    causes: tuple[str, ...]
    stats: Record | None
    version: str | None

    @property
    def word(self) -> str:
        """The standing in words; a watch that goes on with less behind it is limited."""
        limited = self.standing is Standing.UNWATCHED and set(self.causes) <= MINOR
        return "watch limited" if limited else self.standing.value

    @property
    def urgency(self) -> tuple[int, int, float]:
        """Sorts the most pressing first."""
        order = list(Standing)
        return (order.index(self.standing), -int(self.level), -self.seen_at)


def now_of_all(store: Store, now: float) -> list[Now]:
    """Every vehicle now, the most pressing first; the `VEHICLES_SHOWN` last heard of."""
    statement = select(vehicles).order_by(vehicles.c.last_seen_at.desc()).limit(VEHICLES_SHOWN)
    found = store.rows(statement) or _from_samples(store)
    return sorted((_now(store, row, now) for row in found), key=lambda one: one.urgency)


def now_of(store: Store, vehicle: str, now: float) -> Now | None:
    """One vehicle now; None if there is no such vehicle."""
    row = store.one(select(vehicles).where(vehicles.c.vehicle == vehicle))
    if row is None:
        row = next((one for one in _from_samples(store) if one["vehicle"] == vehicle), None)
    return _now(store, row, now) if row else None


def open_since(store: Store, fleet: list[Now], now: float) -> dict[str, float]:
    """When the alert began that a vehicle has open, epoch seconds by vehicle."""
    e = events.c
    kinds = {one.vehicle: one.kind for one in fleet if one.standing is Standing.ALERT}
    if not kinds:
        return {}
    statement = select(e.vehicle, e.kind, e.started_at).where(
        e.vehicle.in_(sorted(kinds)), e.started_at >= now - LONGEST_S, e.phase != Phase.END.value
    )
    rows = store.rows(statement.order_by(e.started_at))
    return {
        row["vehicle"]: row["started_at"] for row in rows if row["kind"] == kinds[row["vehicle"]]
    }


def names(store: Store) -> list[str]:
    """Every vehicle's identifier, sorted."""
    rows = store.rows(select(vehicles.c.vehicle).order_by(vehicles.c.vehicle).limit(20_000))
    return [row["vehicle"] for row in rows or _from_samples(store)]


def _from_samples(store: Store) -> list[Record]:
    """Rows as of `vehicles`, for a vehicle's own log: there nothing came in over the network."""
    s = samples.c
    watched = store.rows(select(s.vehicle, s.camera).distinct().limit(64))
    last: dict[str, float] = {}
    for one in watched:
        newest = store.one(
            select(s.at)
            .where(s.vehicle == one["vehicle"], s.camera == one["camera"])
            .order_by(s.at.desc())
            .limit(1)
        )
        if newest:
            last[one["vehicle"]] = max(newest["at"], last.get(one["vehicle"], 0.0))
    unknown = {"state": None, "state_at": None, "stats": None, "version": None}
    return [
        {"vehicle": name, "last_seen_at": at, "availability": _availability(store, name), **unknown}
        for name, at in sorted(last.items())
    ]


def _availability(store: Store, vehicle: str) -> str:
    """The last status of a vehicle's own history."""
    a = availability.c
    newest = select(a.status).where(a.vehicle == vehicle).order_by(a.at.desc()).limit(1)
    row = store.one(newest)
    return str(row["status"]) if row else "unknown"


def _now(store: Store, row: Record, now: float) -> Now:
    state, stats = _json(row["state"]), _json(row["stats"])
    seen_at = row["state_at"] or row["last_seen_at"]
    if state is None and now - row["last_seen_at"] <= STALE_S:
        state = _state_of_sample(store, row["vehicle"], now)
    fresh = state is not None and now - seen_at <= STALE_S
    level = Level[state["level"].upper()] if fresh else Level.NONE
    causes = tuple(state["degraded"]) if fresh else ()
    return Now(
        vehicle=row["vehicle"],
        standing=_standing(row["availability"], fresh=fresh, level=level, causes=causes),
        level=level,
        kind=state["kind"] if fresh else None,
        seen_at=seen_at,
        availability=row["availability"],
        state=state,
        causes=causes,
        stats=stats,
        version=row["version"],
    )


def _standing(availability: str, *, fresh: bool, level: Level, causes: tuple[str, ...]) -> Standing:
    if availability == "stopped":
        return Standing.PARKED
    if not fresh:
        return Standing.SILENT
    if level >= Level.CAUTION and not causes:
        return Standing.ALERT
    if level >= Level.WARNING:
        return Standing.ALERT
    return Standing.UNWATCHED if causes else Standing.WATCHED


def _state_of_sample(store: Store, vehicle: str, now: float) -> Record | None:
    """A state from the last sample, for a store that no state message reached."""
    s = samples.c
    row = store.one(
        select(samples)
        .where(s.vehicle == vehicle, s.at > now - STALE_S)
        .order_by(s.at.desc())
        .limit(1)
    )
    if row is None:
        return None
    signals = {
        "Vehicle.Driver.FatigueLevel": row["fatigue"],
        "Vehicle.Occupant.Row1.DriverSide.HeadPosition.Yaw": row["yaw_deg"],
        "Vehicle.Occupant.Row1.DriverSide.HeadPosition.Pitch": row["pitch_deg"],
        "Vehicle.Occupant.Row1.DriverSide.HeadPosition.Roll": row["roll_deg"],
        "Vehicle.Speed": row["speed_kmh"],
    }
    calibration = row["calibration"]
    return {
        "camera": row["camera"],
        "drive": row["drive"],
        "at": row["at"],
        "level": Level(row["level"]).name.lower(),
        "kind": row["kind"],
        "eyes": row["eyes"],
        "openness": row["openness"],
        "closure_s": row["closure_s"],
        "perclos": row["perclos"],
        "emotion": row["emotion"],
        "degraded": _json(row["degraded"]),
        "calibration": None if calibration is None else {"percent": 100 * calibration},
        "fps": row["fps"],
        "signals": signals,
    }


def _json(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value
