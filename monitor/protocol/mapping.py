"""Type, payload and row: the one place that turns each into the others.

    Event ──event_row──▶ row of `events` ──event_from_row──▶ Event
    Event ──alert_data─▶ payload of an alert; `AlertData.event` is the way back
    DriverState ──state_payload──▶ State ──sample_row──▶ row of `samples`
    CoverageData ──coverage_rows──▶ rows of `coverage`

Rows are keyed by column. What is JSON in the database is a Python value here.
"""

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, fields
from datetime import UTC, datetime
from typing import Annotated, Any, Final, TypedDict

from pydantic import Field, TypeAdapter, ValidationError

from monitor.protocol import evidence_v1
from monitor.protocol.schemas import (
    AlertData,
    CalibrationStatus,
    CoverageData,
    Signals,
    State,
    TripSignals,
    level_name,
)
from monitor.types import (
    CAUSES,
    KINDS,
    DriverState,
    Event,
    Evidence,
    Kind,
    Level,
    Phase,
    Position,
    Trip,
)
from monitor.types.evidence import evidence_json

# A cell of the map is so many degrees of latitude and longitude: 1.1 km from south to north.
CELL_DEG: Final = 0.01
_EVIDENCE: TypeAdapter[Evidence] = TypeAdapter(Annotated[Evidence, Field(discriminator="rule")])


class EventRow(TypedDict):
    """A row of `events`."""

    id: str
    started_at: float
    vehicle: str
    drive: str
    camera: str
    kind: str
    phase: str
    level: int
    updated_at: float
    ended_at: float | None
    duration_s: float
    acknowledged: bool
    evidence: Mapping[str, object]
    policy: str
    calibration: str
    models: list[str]
    sequence: int | None
    received_at: float | None
    clip: str | None
    driver: str | None
    latitude: float | None
    longitude: float | None
    cell_row: int | None
    cell_column: int | None
    changed_at: float | None
    verdict: str | None
    verdict_cause: str | None
    redated_from: float | None  # no column: where the row stood until now


class SampleRow(TypedDict):
    """A row of `samples`."""

    vehicle: str
    camera: str
    at: float
    drive: str
    level: int
    kind: str | None
    eyes: str
    openness: float | None
    closure_s: float | None
    perclos: float | None
    fatigue: float | None
    yaw_deg: float | None
    pitch_deg: float | None
    roll_deg: float | None
    emotion: str | None
    fps: float | None
    calibration: float | None
    speed_kmh: float | None
    degraded: list[str]
    driver: str | None
    latitude: float | None
    longitude: float | None


def event_row(
    event: Event,
    vehicle: str,
    *,
    sequence: int | None = None,
    received_at: float | None = None,
    clip: str | None = None,
) -> EventRow:
    """The row of an event as this telling of it has it.

    Args:
        event: at its start, an update or its end.
        vehicle: whose it is.
        sequence: the vehicle's own count of its messages.
        received_at: when an ingester had it, epoch seconds; None in the vehicle.
        clip: file name of the film that shows it.
    """
    return {
        "id": event.id,
        "started_at": event.started_at,
        "vehicle": vehicle,
        "drive": event.drive,
        "camera": event.camera,
        "kind": event.kind.value,
        "phase": event.phase.value,
        "level": int(event.level),
        "updated_at": event.at,
        "ended_at": event.at if event.phase is Phase.END else None,
        "duration_s": event.duration_s,
        "acknowledged": event.acknowledged,
        "evidence": evidence_json(event.evidence),
        "policy": event.policy,
        "calibration": event.calibration,
        "models": list(event.models),
        "sequence": sequence,
        "received_at": received_at,
        "clip": clip,
        **_trip_columns(event.trip),
        **cell_of(event.trip.position),
        "changed_at": None,
        "verdict": None,
        "verdict_cause": None,
        "redated_from": event.redated_from,
    }


def event_from_row(row: Mapping[Any, Any]) -> Event:
    """The event of a row; its monotonic clock starts at 0, since the row knows only durations."""
    kind = Kind(row["kind"])
    return Event(
        id=row["id"],
        kind=kind,
        phase=Phase(row["phase"]),
        level=Level(row["level"]),
        started_at=row["started_at"],
        at=row["updated_at"],
        started_s=0.0,
        at_s=row["duration_s"],
        drive=row["drive"],
        camera=row["camera"],
        acknowledged=bool(row["acknowledged"]),
        evidence=evidence_from(kind, row["evidence"]),
        policy=row["policy"],
        calibration=row["calibration"],
        models=tuple(row["models"]),
        trip=_trip_from(row),
    )


def event_line(event: Event) -> str:
    """One JSON line without its line end: every field, floats exact, keys in a fixed order."""
    values = {field.name: getattr(event, field.name) for field in fields(Event)}
    values["evidence"] = evidence_json(event.evidence)
    values["trip"] = asdict(event.trip)
    values["duration_s"] = event.duration_s
    if event.redated_from is None:
        del values["redated_from"]
    return json.dumps(values, separators=(",", ":"), ensure_ascii=False)


def evidence_from(kind: Kind, stored: Mapping[str, object]) -> Evidence:
    """Evidence out of JSON of any version.

    What an older or newer version wrote and this one does not know is left out: an event is never
    lost over its evidence. A payload from the network is read strictly instead (`AlertData`).
    """
    least = evidence_v1.LEAST[evidence_v1.rule_of(kind.value, stored)]
    values = evidence_v1.upgraded(kind.value, stored)
    try:
        return _EVIDENCE.validate_python(values)
    except ValidationError as error:
        strange = {fault["loc"][-1] for fault in error.errors() if fault["loc"]}
    with suppress(ValidationError):
        plain = {name: value for name, value in values.items() if name not in strange}
        return _EVIDENCE.validate_python({**least, **plain})
    return _EVIDENCE.validate_python(least)


def alert_data(event: Event, vehicle: str) -> AlertData:
    """The payload of an event."""
    values = {f.name: getattr(event, f.name) for f in fields(Event) if f.name != "trip"}
    over = event.phase is Phase.END
    failed = event.cause is not None and CAUSES[event.cause].failed
    return AlertData(
        **values,
        vehicle=vehicle,
        signals=TripSignals(
            warning=_is_warning(event.level, event.kind) and not over,
            error=failed and not over,
            **_trip_signals(event.trip),
        ),
    )


def state_payload(
    state: DriverState,
    *,
    vehicle: str,
    camera: str,
    drive: str,
    policy: str,
    fps: float | None = None,
    warnings: bool = True,
) -> State:
    """The driver's state as it is published, with VSS names."""
    return State(
        vehicle=vehicle,
        camera=camera,
        drive=drive,
        time=utc(state.captured_at),
        at=state.captured_at,
        level=level_name(state.level),
        kind=state.kind,
        eyes=state.eyes,
        openness=state.openness,
        closure_s=state.closure_s,
        perclos=state.perclos,
        coverage=state.coverage,
        emotion=state.emotion,
        monitored=state.monitored,
        degraded=state.degraded,
        calibration=_calibration(state),
        open_alerts=state.open_alerts,
        warnings=warnings,
        policy=policy,
        fps=fps,
        signals=_signals(state),
    )


def sample_row(state: State) -> SampleRow:
    """The row of `samples` that keeps this state."""
    signals, calibration = state.signals, state.calibration
    return {
        "vehicle": state.vehicle,
        "camera": state.camera,
        "at": state.at,
        "drive": state.drive,
        "level": int(Level[state.level.upper()]),
        "kind": state.kind.value if state.kind else None,
        "eyes": state.eyes.value,
        "openness": state.openness,
        "closure_s": state.closure_s,
        "perclos": state.perclos,
        "fatigue": signals.fatigue,
        "yaw_deg": signals.yaw_deg,
        "pitch_deg": signals.pitch_deg,
        "roll_deg": signals.roll_deg,
        "emotion": state.emotion[:32] if state.emotion else None,
        "fps": state.fps,
        "calibration": calibration.percent / 100 if calibration else None,
        "speed_kmh": signals.speed_kmh,
        "degraded": [cause.value for cause in state.degraded],
        **_trip_columns(signals.trip),
    }


def coverage_rows(data: CoverageData) -> Iterator[dict[str, object]]:
    """The rows of `coverage` of a report: one a cause."""
    for cause, seconds in data.seconds.items():
        yield {
            "vehicle": data.vehicle,
            "drive": data.drive,
            "camera": data.camera,
            "started_at": data.started_at,
            "cause": str(cause),
            "seconds": seconds,
            "driver": data.driver,
        }


def utc(at: float) -> datetime:
    """Epoch seconds as an aware time."""
    return datetime.fromtimestamp(at, UTC)


def _is_warning(level: Level, kind: Kind | None) -> bool:
    return level >= Level.CAUTION and (kind is None or KINDS[kind].about == "driver")


def _calibration(state: DriverState) -> CalibrationStatus | None:
    if (calibration := state.calibration) is None:
        return None
    percent = round(calibration.progress * 100, 1)
    return CalibrationStatus(percent=percent, ready=calibration.ready, id=calibration.id)


def _signals(state: DriverState) -> Signals:
    pose = state.pose
    return Signals(
        fatigue=state.fatigue,
        distraction=state.distraction,
        eyes_on_road=state.eyes_on_road,
        yaw_deg=_within(pose.yaw_deg, 180) if pose else None,
        pitch_deg=_within(pose.pitch_deg, 90) if pose else None,
        roll_deg=_within(pose.roll_deg, 180) if pose else None,
        warning=_is_warning(state.level, state.kind),
        error=any(CAUSES[cause].failed for cause in state.degraded),
        speed_kmh=state.speed_kmh,
        **_trip_signals(state.trip),
    )


class _TripColumns(TypedDict):
    driver: str | None
    latitude: float | None
    longitude: float | None


def _trip_columns(trip: Trip) -> _TripColumns:
    signals = _trip_signals(trip)
    return {
        "driver": signals["driver"],
        "latitude": signals["latitude_deg"],
        "longitude": signals["longitude_deg"],
    }


class CellColumns(TypedDict):
    """The columns of `events` that say in which cell of the map it was."""

    cell_row: int | None
    cell_column: int | None


def cell_of(position: Position | None) -> CellColumns:
    """The cell of `CELL_DEG` by `CELL_DEG` that holds a position."""
    if position is None:
        return {"cell_row": None, "cell_column": None}
    return {
        "cell_row": math.floor(position.latitude_deg / CELL_DEG),
        "cell_column": math.floor(position.longitude_deg / CELL_DEG),
    }


def _trip_from(row: Mapping[Any, Any]) -> Trip:
    driver, latitude_deg, longitude_deg = row["driver"], row["latitude"], row["longitude"]
    if latitude_deg is None or longitude_deg is None:
        return Trip(driver)
    return Trip(driver, Position(latitude_deg, longitude_deg))


class _TripSignals(TypedDict):
    driver: str | None
    latitude_deg: float | None
    longitude_deg: float | None


def _trip_signals(trip: Trip) -> _TripSignals:
    place = trip.position
    return {
        "driver": trip.driver,
        "latitude_deg": place.latitude_deg if place else None,
        "longitude_deg": place.longitude_deg if place else None,
    }


def _within(angle_deg: float, limit_deg: float) -> float:
    return min(max(angle_deg, -limit_deg), limit_deg)
