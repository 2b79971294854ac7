"""Verdicts on alerts: append-only; the latest row is the verdict, the others are its audit.

A trigger of `monitor.store.sums` keeps it in the alert's own row, by which alerts are found.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import ColumnElement, exists, insert, select

from dashboard.queries.database import Database, Record, columns_of
from monitor.store.schema import audit, events, reviews

VERDICTS: Final = {"true": "real", "false": "false alarm", "unsure": "not sure"}
# A verdict that was undone: the alert waits for one again.
WITHDRAWN: Final = "withdrawn"
# Why an alert was false: what users of such systems report (glasses, light, talking …).
CAUSES: Final = {
    "glasses": "glasses or reflections",
    "light": "light, glare or shadow",
    "talking": "talking, laughing or eating",
    "looking_down": "looked down",
    "passenger": "the passenger",
    "camera": "the camera",
    "calibration": "the calibration",
    "other": "something else",
}
NOTE_LENGTH: Final = 2_000


@dataclass(frozen=True, slots=True)
class ReviewRow:
    """A row of `reviews`; `at` is epoch seconds."""

    id: int
    event: str
    reviewer: str
    at: float
    verdict: str
    cause: str | None
    note: str | None


def latest(database: Database, ids: Sequence[str]) -> dict[str, ReviewRow]:
    """The latest review of those of these alerts that have one, by the alert's id."""
    if not ids:
        return {}
    # Ascending, so that the last one written is the one that stays.
    statement = (
        select(*columns_of(reviews, ReviewRow))
        .where(reviews.c.event.in_(ids), _visible(database, reviews.c.event))
        .order_by(reviews.c.id)
    )
    last = {row.event: row for row in database.fetch(ReviewRow, statement)}
    return {event: row for event, row in last.items() if row.verdict != WITHDRAWN}


def history(database: Database, event: str) -> list[ReviewRow]:
    """Every review of an alert, the latest first; at most 200."""
    statement = (
        select(*columns_of(reviews, ReviewRow))
        .where(reviews.c.event == event, _visible(database, reviews.c.event))
        .order_by(reviews.c.id.desc())
    )
    return database.fetch(ReviewRow, statement.limit(200))


def add(
    database: Database,
    alerts: Sequence[str],
    reviewer: str,
    verdict: str,
    cause: str | None = None,
    note: str = "",
) -> None:
    """Write one verdict on some alerts, on all of them or on none.

    Args:
        database: the event log.
        alerts: ids of alerts that are there.
        reviewer: who says so.
        verdict: a key of `VERDICTS`, or `WITHDRAWN` to undo the last one.
        cause: a key of `CAUSES`, for a false alarm; None otherwise.
        note: free text.

    Raises:
        ValueError: no such alert, verdict or cause, or a cause that does not fit the verdict.
    """
    if verdict not in {*VERDICTS, WITHDRAWN}:
        raise ValueError(f"verdict {verdict!r} is none of {', '.join(VERDICTS)}")
    if (verdict == "false") != (cause is not None) or (cause and cause not in CAUSES):
        raise ValueError("a false alarm has one of the causes on the page, nothing else has any")
    check_visible(database, alerts)
    about = {
        "reviewer": reviewer[:128],
        "at": time.time(),
        "verdict": verdict,
        "cause": cause,
        "note": clean(note),
    }
    database.write((insert(reviews), [{"event": event, **about} for event in alerts]))


def check_visible(database: Database, alerts: Sequence[str]) -> None:
    """Refuse to write about an alert that is not there, or that this reader may not see.

    Raises:
        ValueError: it names the first of them.
    """
    e = events.c
    statement = select(e.id).where(e.id.in_(list(alerts)), database.allows(e.vehicle))
    seen = {row["id"] for row in database.rows(statement)}
    for event in alerts:
        if event not in seen:
            raise ValueError(f"there is no alert {event!r} to write about")


def _visible(database: Database, event: ColumnElement[str]) -> ColumnElement[bool]:
    """The condition that an alert's vehicle is inside the scope."""
    return exists().where(events.c.id == event, database.allows(events.c.vehicle))


def clean(note: str) -> str | None:
    """Free text as it is stored; None for nothing. PostgreSQL text cannot hold NUL."""
    return note.replace("\0", "").strip()[:NOTE_LENGTH] or None


def note_export(database: Database, actor: str, subject: str, detail: Record) -> None:
    """Write into the audit who took data out."""
    row = {"at": time.time(), "actor": actor[:128], "action": "export", "subject": subject}
    database.write((insert(audit), {**row, "detail": detail}))
