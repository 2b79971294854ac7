"""The words of a notification."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import quote
from zoneinfo import ZoneInfo

from monitor.fleet.notify.rules import Incident

# An event that is older than this when it is sent came late: the vehicle was without network.
LATE_S = 300.0


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that goes with a message."""

    name: str
    content: bytes
    type: str


@dataclass(frozen=True, slots=True)
class OutgoingMessage:
    """What is sent.

    Attributes:
        id: the same whenever this message is sent again.
        title, text: plain text.
        html: the text as a page; None when there is none.
        attachments: files.
        fields: what a webhook's program reads.
    """

    id: str
    title: str
    text: str
    html: str | None = None
    attachments: tuple[Attachment, ...] = ()
    fields: dict[str, str] = field(default_factory=dict)


def of_incident(
    message_id: str, incident: Incident, *, timezone: str, held: int, now: float, dashboard: str
) -> OutgoingMessage:
    """A message about an event.

    Args:
        message_id: the notification's own.
        incident: the event as it now stands.
        timezone: in which times are written.
        held: how many like it were held back before.
        now: epoch seconds.
        dashboard: its address, for the link; empty for none.
    """
    began = datetime.fromtimestamp(incident.started_at, UTC).astimezone(ZoneInfo(timezone))
    level = incident.level.name.lower()
    link = f"{dashboard.rstrip('/')}/events?event={quote(incident.id)}" if dashboard else ""
    name = incident.kind.words
    lasted = f"lasted {incident.duration_s:.1f} s" if incident.ended else "not over yet"
    lines = [
        f"{name} ({level}), vehicle {incident.vehicle}",
        f"Began {began:%Y-%m-%d %H:%M:%S} ({timezone}), {lasted}.",
        f"Groups: {', '.join(sorted(incident.groups))}" if incident.groups else "",
        f"Driver: {incident.driver}" if incident.driver else "",
        f"The vehicle reported it late, {_span(now - incident.started_at)} after it began."
        if now - incident.started_at > LATE_S
        else "",
        f"{held} more of this kind were held back before it." if held else "",
        link,
    ]
    return OutgoingMessage(
        id=message_id,
        title=f"{name} ({level}): {incident.vehicle}",
        text="\n".join(line for line in lines if line),
        fields={
            "event": incident.id,
            "vehicle": incident.vehicle,
            "kind": incident.kind.value,
            "level": level,
            "started_at": datetime.fromtimestamp(incident.started_at, UTC).isoformat(),
            "held_back": str(held),
            "link": link,
        },
    )


def _span(seconds: float) -> str:
    for unit, length in (("days", 86_400.0), ("hours", 3600.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds / 60:.0f} minutes"
