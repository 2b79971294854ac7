"""The rows of `clip_requests`: what is still to be fetched, and how far it has come."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, Engine, and_, insert, select, update

from monitor.store import schema

OPEN: Final = ("requested", "sending")
# Asked for at once; the others wait for their turn.
MANY: Final = 200
_REQUESTS = schema.clip_requests


@dataclass(frozen=True, slots=True)
class OpenRequest:
    """A clip that has not come yet."""

    id: str
    event: str
    vehicle: str
    status: str
    sha256: str | None


def open_requests(engine: Engine) -> list[OpenRequest]:
    """Every request of which something may still come, the oldest first."""
    r = _REQUESTS.c
    query = (
        select(r.id, r.event, r.vehicle, r.status, r.sha256)
        .where(r.status.in_(OPEN))
        .order_by(r.requested_at)
        .limit(MANY)
    )
    with engine.connect() as connection:
        return [OpenRequest(*row) for row in connection.execute(query)]


def note(engine: Engine, request: str, now: float, **values: object) -> None:
    """Write down how far an open request has come."""
    with engine.begin() as connection:
        _note(connection, request, now, values)


def store(
    engine: Engine, request: OpenRequest, file: str, sha256: str, now: float, keep_until: float
) -> None:
    """The clip lies in the folder under the name `file`."""
    values = {"status": "stored", "file": file, "sha256": sha256, "expires_at": keep_until}
    event = schema.events
    with engine.begin() as connection:
        _note(connection, request.id, now, values)
        mine = and_(event.c.id == request.event, event.c.vehicle == request.vehicle)
        connection.execute(update(event).where(mine).values(clip=file))
        _audit(connection, "clip store", request.event, now, {"vehicle": request.vehicle})


def give_up_late(engine: Engine, now: float) -> list[str]:
    """Requests whose time is over are not asked for any longer; returns which."""
    r = _REQUESTS.c
    late = r.status.in_(OPEN) & (r.expires_at <= now)
    with engine.begin() as connection:
        requests = list(connection.scalars(select(r.id).where(late)))
        if requests:
            gone = {"status": "expired", "updated_at": now}
            connection.execute(update(_REQUESTS).where(r.id.in_(requests)).values(gone))
    return requests


def kept_too_long(engine: Engine, now: float) -> list[tuple[str, str, str]]:
    """Request, event and file of every clip whose time to be kept is over."""
    r = _REQUESTS.c
    old = and_(r.status == "stored", r.file.is_not(None), r.expires_at <= now)
    with engine.connect() as connection:
        rows = connection.execute(select(r.id, r.event, r.file).where(old))
        return [(row.id, row.event, row.file) for row in rows]


def forget_file(engine: Engine, request: str, event: str, now: float) -> None:
    """The file of a stored clip is deleted."""
    with engine.begin() as connection:
        values = {"file": None, "updated_at": now}
        connection.execute(update(_REQUESTS).where(_REQUESTS.c.id == request).values(values))
        _audit(connection, "clip delete", event, now, {"reason": "kept long enough"})


def _note(connection: Connection, request: str, now: float, values: Mapping[str, object]) -> None:
    mine = and_(_REQUESTS.c.id == request, _REQUESTS.c.status.in_(OPEN))
    connection.execute(update(_REQUESTS).where(mine).values(updated_at=now, **values))


def _audit(
    connection: Connection, action: str, subject: str, now: float, detail: Mapping[str, object]
) -> None:
    connection.execute(
        insert(schema.audit).values(
            at=now, actor="fleet clips", action=action, subject=subject, detail=dict(detail)
        )
    )
