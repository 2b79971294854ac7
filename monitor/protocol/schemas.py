"""The payloads: every shape that crosses the network, read as strictly as it is written.

No unknown key, no coercion, no NaN, no NUL, bounded lengths and depths: what comes from a network
is either exactly one of these or refused. Signals bear their COVESA VSS names.
"""

import math
from dataclasses import fields
from enum import StrEnum
from typing import Annotated, Any, Literal, Self, cast

from pydantic import (
    AfterValidator,
    AwareDatetime,
    Base64Bytes,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    model_validator,
)
from pydantic.json_schema import models_json_schema

from monitor.config import Identifier
from monitor.types import Cause, Event, Evidence, Eyes, Kind, Level, Phase, Position, Trip
from monitor.types.evidence import evidence_json

# What a stretch of time is accounted to: nothing impaired the watch, or the first cause that did.
Watched = Literal["monitored"] | Cause
MONITORED: Literal["monitored"] = "monitored"

# OpenTelemetry's log data model: INFO 9, WARN 13, ERROR 17, FATAL 21.
SEVERITY = {
    Level.NONE: 5,
    Level.INFO: 9,
    Level.CAUTION: 13,
    Level.WARNING: 17,
    Level.CRITICAL: 21,
}


def _no_nul(text: str) -> str:
    # PostgreSQL text cannot hold it.
    if "\0" in text:
        raise ValueError("must not contain NUL")
    return text


Text64 = Annotated[str, Field(max_length=64), AfterValidator(_no_nul)]
Line = Annotated[str, Field(max_length=500), AfterValidator(_no_nul)]
EventId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,36}$")]
MessageId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
Share = Annotated[float, Field(ge=0, le=1)]
Percent = Annotated[float, Field(ge=0, le=100)]
# Up to the year 9999, the last that RFC 3339 can write.
Epoch = Annotated[float, Field(ge=0, lt=253_402_300_800)]
Count = Annotated[int, Field(ge=0, le=2**53)]
Sequence = Annotated[str, Field(pattern=r"^[0-9]{1,18}$")]
LevelName = Literal["none", "info", "caution", "warning", "critical"]


def level_name(level: Level) -> LevelName:
    """The level's word, as in settings and payloads."""
    return cast("LevelName", level.name.lower())


def source_of(vehicle: str, camera: str) -> str:
    """CloudEvents `source` of what one camera of a vehicle tells."""
    return f"/vehicles/{vehicle}/cameras/{camera}"


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)


class Availability(StrEnum):
    """Whether a vehicle's watch runs: `offline` is the will, `stopped` a clean end."""

    ONLINE = "online"
    OFFLINE = "offline"
    STOPPED = "stopped"


class CameraStatus(StrEnum):
    """What a camera delivers, debounced."""

    ONLINE = "online"
    OFFLINE = "offline"
    FROZEN = "frozen"
    OBSCURED = "obscured"
    DISABLED = "disabled"


class Payload(BaseModel):
    """Strict: no unknown key, no coercion, no NaN."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, populate_by_name=True
    )

    def encode(self) -> bytes:
        """The payload's bytes, the same for the same content."""
        return self.model_dump_json(by_alias=True).encode()


def _plain_evidence(evidence: dict[str, object]) -> dict[str, object]:
    budget = [256]
    _check_json(evidence, 0, budget)
    return evidence


def _check_json(value: object, depth: int, budget: list[int]) -> None:
    # Every alert that an ingester reads comes through here: the commonest values come first.
    budget[0] -= 1
    if depth > 4 or budget[0] < 0:
        raise ValueError("evidence must hold at most 256 values, nested at most 4 deep")
    if isinstance(value, float):
        _require(-math.inf < value < math.inf, "evidence must be finite")
    elif isinstance(value, str):
        _check_text(value)
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_text(key)
            _check_json(item, depth + 1, budget)
    elif isinstance(value, list):
        for item in value:
            _check_json(item, depth + 1, budget)
    elif isinstance(value, int):
        _require(-(2**53) <= value <= 2**53, "evidence integer is beyond 2^53")


def _check_text(text: str) -> None:
    if len(text) > 500 or "\0" in text:
        raise ValueError("evidence text must have at most 500 characters and no NUL")


class DmsSignals(Payload):
    """What the monitoring system says of itself, by its COVESA VSS v6 names."""

    warning: bool = Field(alias="Vehicle.ADAS.DMS.IsWarning")
    error: bool = Field(alias="Vehicle.ADAS.DMS.IsError")
    enabled: bool = Field(True, alias="Vehicle.ADAS.DMS.IsEnabled")


class TripSignals(DmsSignals):
    """Who drives, by the operator's pseudonym, and where; None is unknown."""

    driver: Identifier | None = Field(None, alias="Vehicle.Driver.Identifier.Subject")
    latitude_deg: float | None = Field(
        None, alias="Vehicle.CurrentLocation.Latitude", ge=-90, le=90
    )
    longitude_deg: float | None = Field(
        None, alias="Vehicle.CurrentLocation.Longitude", ge=-180, le=180
    )

    @property
    def trip(self) -> Trip:
        """The same as the engine has it."""
        if self.latitude_deg is None or self.longitude_deg is None:
            return Trip(self.driver)
        return Trip(self.driver, Position(self.latitude_deg, self.longitude_deg))


class Signals(TripSignals):
    """COVESA VSS v6 signals of the driver; degrees are + left, + up, + right; None is unknown."""

    fatigue: Percent | None = Field(None, alias="Vehicle.Driver.FatigueLevel")
    distraction: Percent | None = Field(None, alias="Vehicle.Driver.DistractionLevel")
    eyes_on_road: bool | None = Field(None, alias="Vehicle.Driver.IsEyesOnRoad")
    yaw_deg: float | None = Field(
        None, alias="Vehicle.Occupant.Row1.DriverSide.HeadPosition.Yaw", ge=-180, le=180
    )
    pitch_deg: float | None = Field(
        None, alias="Vehicle.Occupant.Row1.DriverSide.HeadPosition.Pitch", ge=-90, le=90
    )
    roll_deg: float | None = Field(
        None, alias="Vehicle.Occupant.Row1.DriverSide.HeadPosition.Roll", ge=-180, le=180
    )
    speed_kmh: float | None = Field(None, alias="Vehicle.Speed", ge=-250, le=1000)


class CalibrationStatus(Payload):
    """How far the driver's own baseline is known."""

    percent: Percent
    ready: bool
    id: Text64


class State(Payload):
    """The driver's state now, as retained on `state`."""

    version: Literal[1] = 1
    vehicle: Identifier
    camera: Identifier
    drive: Identifier
    time: AwareDatetime
    at: Epoch
    level: LevelName
    kind: Kind | None
    eyes: Eyes
    openness: float | None
    closure_s: float
    perclos: Share | None
    coverage: Share
    emotion: Text64 | None
    monitored: bool
    degraded: tuple[Cause, ...] = Field(max_length=len(Cause))
    calibration: CalibrationStatus | None
    open_alerts: tuple[EventId, ...] = Field(max_length=64)
    warnings: bool  # False: the chime was muted by command
    policy: Text64
    fps: float | None
    signals: Signals


class Loop(Payload):
    """How one camera's loop does."""

    fps: float | None
    frames: Count
    skipped: Count
    latency_p50_ms: float | None
    latency_p95_ms: float | None


class Stats(Payload):
    """How the process does, every minute on `stats`."""

    version: Literal[1] = 1
    vehicle: Identifier
    time: AwareDatetime
    at: Epoch
    software: Text64
    uptime_s: float
    cameras: dict[Identifier, Loop] = Field(max_length=64)
    outbox_depth: Count
    outbox_bytes: Count
    lost: Count  # undelivered messages dropped by age or size since the store began
    restarts: Count  # starts that followed no clean stop, as far as the store remembers
    troubles: dict[Text64, Line] = Field(max_length=64)


class Ack(Payload):
    """What the fleet has stored: the vehicle may forget these messages."""

    version: Literal[1] = 1
    vehicle: Identifier
    ids: tuple[MessageId, ...] = Field(min_length=1, max_length=2000)


class ClipAsk(Payload):
    """The fleet asks for a piece of the clip of one alert, on `cmd/clip`."""

    version: Literal[1] = 1
    request: EventId
    event: EventId
    offset: Count = 0
    parts: int = Field(16, ge=1, le=256)


class ClipPart(Payload):
    """A piece of a clip, or why there is none, on `clip`.

    `data` is base64; of a refusal it is empty and `reason` says why.
    """

    version: Literal[1] = 1
    vehicle: Identifier
    request: EventId
    event: EventId
    total_bytes: Count = 0
    sha256: str = Field("", pattern=r"^([0-9a-f]{64})?$")  # of the whole file
    offset: Count = 0
    data: Base64Bytes = b""
    reason: Line | None = None


class Envelope(Payload):
    """CloudEvents 1.0 attributes of every durable message."""

    specversion: Literal["1.0"] = "1.0"
    id: MessageId
    source: Line
    subject: Text64
    time: AwareDatetime
    recordedtime: AwareDatetime
    sequence: Sequence
    datacontenttype: Literal["application/json"] = "application/json"


class EventPayload(Payload):
    """An event as it stood at its start, at an update or at its end; all but its evidence."""

    vehicle: Identifier
    drive: Identifier
    camera: Identifier
    id: EventId
    kind: Kind
    phase: Phase
    level: Level
    started_at: Epoch
    at: Epoch
    started_s: float
    at_s: float
    acknowledged: bool
    policy: Text64
    calibration: Text64
    models: tuple[Text64, ...] = Field(max_length=16)
    signals: TripSignals
    redated_from: Epoch | None = Field(
        None,
        exclude_if=lambda at: at is None,
        description="`started_at` as it was told until the vehicle's clock was set right.",
    )

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.at_s < self.started_s:
            raise ValueError("ends before its start")
        return self


class AlertData(EventPayload):
    """An event with the evidence of the rule that found it."""

    version: Literal[2] = 2
    evidence: Annotated[
        Evidence, Field(discriminator="rule"), PlainSerializer(evidence_json, return_type=dict)
    ]

    @property
    def event(self) -> Event:
        """The event itself."""
        own = {f.name: getattr(self, f.name) for f in fields(Event) if f.name != "trip"}
        return Event(**own, trip=self.signals.trip)


class AlertDataV1(EventPayload):
    """An event as vehicles sent it before evidence had types."""

    version: Literal[1] = 1
    evidence: Annotated[dict[str, Any], AfterValidator(_plain_evidence)]


AlertType = Literal[
    "org.wakeful.alert.raised",
    "org.wakeful.alert.escalated",
    "org.wakeful.alert.acknowledged",
    "org.wakeful.alert.updated",
    "org.wakeful.alert.cleared",
]


class AlertEnvelope(Envelope):
    """What an alert says outside its data."""

    type: AlertType
    severitytext: LevelName
    severitynumber: int = Field(ge=1, le=24)

    def agree(self, data: EventPayload) -> None:
        """Hold the envelope against the data.

        Raises:
            ValueError: they differ.
        """
        _require(self.source == source_of(data.vehicle, data.camera), "source names another camera")
        _require(self.subject == data.id, "subject is not the event's id")
        _require(self.id.startswith(f"{data.id}.{data.phase.value}."), "id is not the event's")
        _require(self.severitytext == level_name(data.level), "severity is not the level")
        _require(self.severitynumber == SEVERITY[data.level], "severity is not the level")
        _require(abs(self.time.timestamp() - data.at) < 0.01, "time is not data.at")
        ends = {Phase.START: "raised", Phase.END: "cleared"}
        verb = self.type.rpartition(".")[2]
        right = verb == ends[data.phase] if data.phase in ends else verb not in ends.values()
        _require(right, "type does not fit the phase")


class Alert(AlertEnvelope):
    """The start, a change or the end of an event, for the world."""

    dataschema: Literal["urn:wakeful:schema:alert:2"] = "urn:wakeful:schema:alert:2"
    data: AlertData

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        self.agree(self.data)
        return self


class AlertV1(AlertEnvelope):
    """An alert of version 1; `monitor.protocol.messages.read` brings it to today's."""

    data: AlertDataV1

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        self.agree(self.data)
        return self


class CoverageData(Payload):
    """How long the driver was watched in a stretch of time, and why not."""

    version: Literal[1] = 1
    vehicle: Identifier
    drive: Identifier
    camera: Identifier
    driver: Identifier | None = None
    started_at: Epoch
    ended_at: Epoch
    seconds: dict[Watched, Annotated[float, Field(ge=0, le=1e8)]]


class Coverage(Envelope):
    """A report of monitored time; `seconds` by cause, `monitored` where nothing impaired."""

    type: Literal["org.wakeful.coverage.reported"] = "org.wakeful.coverage.reported"
    # Left out by vehicles of version 1.
    dataschema: Literal["urn:wakeful:schema:coverage:1"] = "urn:wakeful:schema:coverage:1"
    data: CoverageData

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        data = self.data
        _require(self.source == source_of(data.vehicle, data.camera), "source names another camera")
        _require(self.subject == data.drive, "subject is not the drive")
        _require(data.ended_at >= data.started_at, "ends before it starts")
        return self


def message_schemas() -> dict[str, object]:
    """JSON Schema (2020-12) of every message that a vehicle sends or a fleet answers.

    A message is valid if it fits the definition of its topic: `$defs/Alert`, `Coverage`, `State`,
    `Stats`, `Ack`, `ClipAsk` or `ClipPart`.
    """
    shapes: tuple[type[Payload], ...] = (Alert, Coverage, State, Stats, Ack, ClipAsk, ClipPart)
    _, schema = models_json_schema(
        [(shape, "validation") for shape in shapes],
        title="Wakeful messages",
        description="dms/v1/<vehicle>/alert: Alert, coverage: Coverage, state: State, "
        "stats: Stats, ack: Ack, cmd/clip: ClipAsk, clip: ClipPart. Status topics carry a bare "
        "word.",
        by_alias=True,
    )
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return {**dialect, "$id": "urn:wakeful:schema:messages:2", **schema}
