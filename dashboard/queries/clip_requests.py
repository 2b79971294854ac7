"""Asking a vehicle for the clip of one alert; the fleet's service writes what comes of it."""

import time
import uuid
from dataclasses import dataclass
from typing import Final

from sqlalchemy import insert, select

from dashboard.queries.database import Database, columns_of
from monitor.store.schema import audit, clip_requests, events

# A vehicle that has not been reached by then is not asked any longer.
ASKED_FOR_S: Final = 14 * 86_400.0
# Something may still come of it.
PENDING: Final = {"requested", "sending"}


@dataclass(frozen=True, slots=True)
class ClipRequest:
    """A request and how far it has come.

    Attributes:
        status: requested, sending, stored, refused, failed or expired.
        received_bytes, total_bytes: of the clip; the total is None until the vehicle said it.
        file: its name in the folder of clips, once it is stored.
        reason: why it was refused or failed.
    """

    id: str
    event: str
    vehicle: str
    requested_by: str
    requested_at: float
    status: str
    received_bytes: int
    total_bytes: int | None
    file: str | None
    reason: str | None
    updated_at: float


def latest(database: Database, event: str) -> ClipRequest | None:
    """The last request for an alert's clip; None where nobody has asked."""
    r = clip_requests.c
    statement = (
        select(*columns_of(clip_requests, ClipRequest))
        .where(r.event == event, database.allows(r.vehicle))
        .order_by(r.requested_at.desc())
        .limit(1)
    )
    return database.fetch_first(ClipRequest, statement)


def ask(database: Database, event: str, who: str) -> None:
    """Ask for the clip of an alert, and note it in the audit.

    Raises:
        ValueError: no such alert, or it has been asked for and may still come.
    """
    e, now = events.c, time.time()
    row = database.first(select(e.vehicle).where(e.id == event, database.allows(e.vehicle)))
    if row is None:
        raise ValueError(f"there is no alert {event!r}")
    last = latest(database, event)
    if last is not None and last.status in PENDING:
        raise ValueError("its clip has been asked for already")
    request = {
        "id": str(uuid.uuid4()),
        "event": event,
        "vehicle": row["vehicle"],
        "requested_by": who[:128],
        "requested_at": now,
        "status": "requested",
        "received_bytes": 0,
        "updated_at": now,
        "expires_at": now + ASKED_FOR_S,
    }
    note = {
        "at": now,
        "actor": who[:128],
        "action": "clip request",
        "subject": event,
        "detail": {"vehicle": row["vehicle"]},
    }
    database.write((insert(clip_requests), request), (insert(audit), note))
