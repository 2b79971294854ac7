"""An event as a database row and as a JSON line, and back."""

import json
from collections.abc import Mapping
from typing import Any

from monitor.protocol.plain import plain
from monitor.types import Event, Kind, Level, Phase


def event_row(event: Event, vehicle: str, sequence: int | None = None) -> dict[str, Any]:
    """A row of `schema.events`; `received_at` and `clip` are left to whoever knows them."""
    ended_at = event.at if event.phase is Phase.END else None
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
        "ended_at": ended_at,
        "duration_s": event.duration_s,
        "acknowledged": event.acknowledged,
        "evidence": plain(event.evidence),
        "policy": event.policy,
        "calibration": event.calibration,
        "models": list(event.models),
        "sequence": sequence,
    }


def event_of(row: Mapping[Any, Any]) -> Event:
    """The event of a row; its monotonic clock starts at 0, since the row knows only durations."""
    return Event(
        id=row["id"],
        kind=Kind(row["kind"]),
        phase=Phase(row["phase"]),
        level=Level(row["level"]),
        started_at=row["started_at"],
        at=row["updated_at"],
        started_s=0.0,
        at_s=row["duration_s"],
        drive=row["drive"],
        camera=row["camera"],
        acknowledged=bool(row["acknowledged"]),
        evidence=dict(row["evidence"]),
        policy=row["policy"],
        calibration=row["calibration"],
        models=tuple(row["models"]),
    )


def event_line(event: Event) -> str:
    """One JSON line without its line end: every field, floats exact, keys in a fixed order."""
    values = {name: getattr(event, name) for name in Event.__dataclass_fields__}
    values["duration_s"] = event.duration_s
    return json.dumps(plain(values), separators=(",", ":"), ensure_ascii=False)
