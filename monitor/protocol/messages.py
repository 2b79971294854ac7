"""What goes over MQTT: each topic, and how its message is made and read.

    <prefix>/<vehicle>/available                retained  online | offline | stopped
    <prefix>/<vehicle>/camera/<camera>/status   retained  online | offline | frozen | obscured | ...
    <prefix>/<vehicle>/state                    retained  State
    <prefix>/<vehicle>/alert                    QoS 1     Alert, a structured CloudEvent
    <prefix>/<vehicle>/coverage                 QoS 1     Coverage, a structured CloudEvent
    <prefix>/<vehicle>/stats                              Stats
    <prefix>/<vehicle>/clip                     QoS 1     ClipPart, a piece of a clip asked for
    <prefix>/<vehicle>/cmd/<name>               in        ack | calibrate | warnings | clip
    <prefix>/<vehicle>/ack                      in        Ack, what the fleet has stored

and, of a vehicle with several cameras, each camera's own:

    <prefix>/<vehicle>/camera/<camera>/state    retained  State
    <prefix>/<vehicle>/camera/<camera>/cmd/<n>  in        ack | calibrate

The shapes are in `monitor.protocol.schemas`. `read` answers whatever comes from a network with one
of them or with a `ValueError` that says why in one line, and never with anything else.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeVar
from uuid import UUID, uuid5

from pydantic import ValidationError

from monitor.protocol.mapping import alert_data, evidence_from, state_payload
from monitor.protocol.mapping import utc as utc  # noqa: PLC0414 - part of this seam
from monitor.protocol.schemas import (
    SEVERITY,
    Ack,
    Alert,
    AlertData,
    AlertType,
    AlertV1,
    Availability,
    CameraStatus,
    ClipAsk,
    ClipPart,
    Coverage,
    CoverageData,
    Payload,
    State,
    Stats,
    level_name,
    source_of,
)
from monitor.protocol.topics import TopicAddress as TopicAddress  # noqa: PLC0414 - part of this seam, as is the next
from monitor.protocol.topics import Topics as Topics  # noqa: PLC0414
from monitor.protocol.topics import short
from monitor.types import Command, DriverState, Event, Level, Phase

CLOUDEVENTS_JSON = "application/cloudevents+json; charset=utf-8"
# Ours are some 2 KB; more is not ours.
MAX_PAYLOAD_BYTES = 65_536

_NAMESPACE = UUID("6f1d2c1e-8a55-5c39-9d0c-1f5a3c1f7b11")
_COMMANDS = {
    ("ack", ""): Command.ACKNOWLEDGE,
    ("calibrate", ""): Command.RECALIBRATE,
    ("calibrate", "reset"): Command.RECALIBRATE,
    ("warnings", "on"): Command.WARNINGS_ON,
    ("warnings", "off"): Command.WARNINGS_OFF,
}

Content = Alert | Coverage | State | Stats | Ack | ClipPart | Availability | CameraStatus
Shape = TypeVar("Shape", bound=Payload)
_SHAPES: dict[str, type[Alert | Coverage | State | Stats | Ack | ClipPart]] = {
    "alert": Alert,
    "coverage": Coverage,
    "state": State,
    "stats": Stats,
    "ack": Ack,
    "clip": ClipPart,
}


@dataclass(frozen=True, slots=True)
class Message:
    """Bytes for a topic. One with an id is durable: it goes through the outbox."""

    topic: str
    payload: bytes
    id: str = ""
    qos: int = 1
    retain: bool = False
    content_type: str = "application/json"


def read(address: TopicAddress, payload: bytes) -> Content:
    """What a message says, if it is exactly what its topic may carry.

    Raises:
        ValueError: anything else, with the reason in one line.
    """
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise ValueError(f"payload of {len(payload)} bytes; at most {MAX_PAYLOAD_BYTES}")
    if address.channel == "available":
        return Availability(_word(payload, Availability))
    if address.channel == "camera":
        return CameraStatus(_word(payload, CameraStatus))
    shape = _SHAPES.get(address.channel)
    if shape is None:
        raise ValueError(f"nothing is published on {address.channel}")
    content = _alert(payload) if shape is Alert else _validated(shape, payload)
    vehicle = content.data.vehicle if isinstance(content, Alert | Coverage) else content.vehicle
    if vehicle != address.vehicle:
        raise ValueError(f"payload of vehicle {vehicle} on the topic of {address.vehicle}")
    if address.camera and isinstance(content, State) and content.camera != address.camera:
        raise ValueError(f"payload of camera {content.camera} on the topic of {address.camera}")
    return content


def read_command(name: str, payload: bytes, camera: str | None = None) -> Command:
    """The command asked for on `cmd/<name>`: a bare word, or nothing.

    Raises:
        ValueError: unknown command or argument, or one that is not for a single camera.
    """
    if camera is not None and name == "warnings":
        raise ValueError("cmd/warnings is the vehicle's, whose chime it is; no camera has its own")
    try:
        word = payload.decode("ascii").strip().lower()
        # Home Assistant's buttons send PRESS unless told otherwise.
        return _COMMANDS[name, "" if word == "press" else word]
    except (UnicodeDecodeError, KeyError):
        commands = "cmd/ack, cmd/calibrate, cmd/warnings with ON or OFF"
        raise ValueError(
            f"cmd/{short(name)} {short(payload)}: no such command; known: {commands}"
        ) from None


def read_clip_ask(payload: bytes) -> ClipAsk:
    """What `cmd/clip` asks for.

    Raises:
        ValueError: it asks for no clip, with the reason in one line.
    """
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise ValueError(f"payload of {len(payload)} bytes; at most {MAX_PAYLOAD_BYTES}")
    return _validated(ClipAsk, payload)


def _alert(payload: bytes) -> Alert:
    """An alert of this version or, brought up to it, of the one before."""
    try:
        return _validated(Alert, payload)
    except ValueError as error:
        if not str(error).startswith("data.version: "):
            raise
        old = _validated(AlertV1, payload)
    values = dict(old)
    data = {**dict(old.data), "evidence": evidence_from(old.data.kind, old.data.evidence)}
    del data["version"]
    return Alert(**{**values, "data": AlertData(**data)})


def _validated(shape: type[Shape], payload: bytes) -> Shape:
    try:
        return shape.model_validate_json(payload)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(short(part).strip("'") for part in fault["loc"]) or "payload"
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise ValueError(f"{where}: {fault['msg']}{more}") from None
    except (RecursionError, OverflowError, UnicodeError) as error:
        raise ValueError(f"payload: {type(error).__name__}") from None


def _word(payload: bytes, words: type[StrEnum]) -> str:
    word = payload[:64].decode("ascii", "replace")
    if len(payload) > 64 or word not in set(words):
        raise ValueError(f"{short(payload)} is not one of {', '.join(words)}")
    return word


@dataclass(frozen=True, slots=True)
class Telling:
    """One message of an event: which it is in the event's life, and its id."""

    event: Event
    type: AlertType
    id: str


class Narrator:
    """Remembers each open event, and so what its next message is: an escalation, an update.

    Message ids are deterministic: the event's id, the phase and how many there were of it before.
    """

    def __init__(self) -> None:
        self._open: dict[str, tuple[Level, bool, int]] = {}

    def tell(self, event: Event) -> Telling:
        """The next message of `event`."""
        level, acknowledged, updates = self._open.get(event.id, (event.level, False, 0))
        if event.phase is Phase.END:
            self._open.pop(event.id, None)
            # What has ended is told once more when its date is put right.
            again = 0 if event.redated_from is None else round(event.started_at)
            return Telling(event, "org.wakeful.alert.cleared", f"{event.id}.end.{again}")
        if event.phase is Phase.START:
            self._open[event.id] = (event.level, event.acknowledged, 0)
            return Telling(event, "org.wakeful.alert.raised", f"{event.id}.start.0")
        self._open[event.id] = (event.level, event.acknowledged, updates + 1)
        verb: AlertType = "org.wakeful.alert.updated"
        if event.acknowledged and not acknowledged:
            verb = "org.wakeful.alert.acknowledged"
        elif event.level > level:
            verb = "org.wakeful.alert.escalated"
        return Telling(event, verb, f"{event.id}.update.{updates}")


def alert(topics: Topics, telling: Telling, sequence: int, recorded_at: float) -> Message:
    """The alert message of an event.

    Args:
        topics: of the vehicle.
        telling: from a `Narrator`.
        sequence: the vehicle's own count of durable messages.
        recorded_at: wall clock of the writing, epoch seconds.
    """
    event = telling.event
    payload = Alert(
        id=telling.id,
        source=source_of(topics.vehicle, event.camera),
        subject=event.id,
        time=utc(event.at),
        recordedtime=utc(recorded_at),
        sequence=str(sequence),
        type=telling.type,
        severitytext=level_name(event.level),
        severitynumber=SEVERITY[event.level],
        data=alert_data(event, topics.vehicle),
    )
    return Message(
        topics.channel("alert"), payload.encode(), telling.id, content_type=CLOUDEVENTS_JSON
    )


def redated(message: Message, started_at: float) -> Message:
    """An alert's message whose event began at `started_at` (epoch seconds), by a clock set since.

    Raises:
        ValueError: it is no alert's message.
    """
    before = _validated(Alert, message.payload)
    at = round(before.data.at + started_at - before.data.started_at, 3)
    first_at = before.data.redated_from
    moved = {
        "started_at": started_at,
        "at": at,
        "redated_from": before.data.started_at if first_at is None else first_at,
    }
    data = before.data.model_copy(update=moved)
    alert = before.model_copy(update={"time": utc(at), "data": data})
    return replace(message, payload=alert.encode())


def coverage(topics: Topics, data: CoverageData, sequence: int, recorded_at: float) -> Message:
    """The report of how long the driver was watched; one stretch of time has one message id."""
    stretch = f"coverage/{data.vehicle}/{data.drive}/{data.camera}/{data.started_at!r}"
    payload = Coverage(
        id=str(uuid5(_NAMESPACE, stretch)),
        source=source_of(data.vehicle, data.camera),
        subject=data.drive,
        time=utc(data.ended_at),
        recordedtime=utc(recorded_at),
        sequence=str(sequence),
        data=data,
    )
    return Message(
        topics.channel("coverage"), payload.encode(), payload.id, content_type=CLOUDEVENTS_JSON
    )


def state(
    topics: Topics,
    driver_state: DriverState,
    *,
    camera: str,
    drive: str,
    policy: str,
    apart: bool = False,
    fps: float | None = None,
    warnings: bool = True,
) -> Message:
    """The retained state of the driver, with VSS names; `apart` on the camera's own topic."""
    payload = state_payload(
        driver_state,
        vehicle=topics.vehicle,
        camera=camera,
        drive=drive,
        policy=policy,
        fps=fps,
        warnings=warnings,
    )
    topic = topics.camera_state(camera) if apart else topics.channel("state")
    return Message(topic, payload.encode(), retain=True)


def stats(topics: Topics, payload: Stats) -> Message:
    """The process's own numbers."""
    return Message(topics.channel("stats"), payload.encode(), qos=0)


def available(topics: Topics, status: Availability) -> Message:
    """Whether the vehicle's watch runs."""
    return _bare_word(topics.channel("available"), status)


def camera_status(topics: Topics, camera: str, status: CameraStatus) -> Message:
    """What a camera delivers."""
    return _bare_word(topics.camera(camera), status)


def acknowledgement(topics: Topics, ids: Sequence[str]) -> Message:
    """From the fleet to a vehicle: these messages are stored."""
    payload = Ack(vehicle=topics.vehicle, ids=tuple(ids))
    return Message(topics.channel("ack"), payload.encode())


def answer(topic: str, command: str, fault: str | None) -> Message:
    """Reply to a command on the topic that its sender chose (MQTT 5 response topic)."""
    payload = {"version": 1, "command": command, "accepted": fault is None, "reason": fault}
    return Message(topic, json.dumps(payload).encode())


def _bare_word(topic: str, word: StrEnum) -> Message:
    return Message(topic, word.value.encode(), retain=True, content_type="text/plain")


def clip_ask(topics: Topics, ask: ClipAsk) -> Message:
    """The request for a piece of a clip."""
    return Message(topics.command("clip"), ask.encode())


def clip_part(topics: Topics, part: ClipPart) -> Message:
    """A piece of a clip, or the refusal of one."""
    return Message(topics.channel("clip"), part.encode())
