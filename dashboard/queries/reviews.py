"""Verdicts on alerts: append-only; the latest row is the verdict, the others are its audit."""

import time
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, exists, insert, select

from dashboard.queries.database import Record, Store
from monitor.store.schema import audit, events, reviews

VERDICTS: Final = {"true": "real", "false": "false alarm", "unsure": "not sure"}
# Why an alert was false: what peers' users report (facts: glasses, light, talking, looking down).
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
DAY_S: Final = 86_400.0


def judged(
    event: ColumnElement[str], verdict: str | None, cause: str | None, since: float | None = None
) -> Any:
    """Whether the last review of an event says so; None of either is any.

    Args:
        event: the column of ids.
        verdict, cause: what it must say.
        since: no event before it matters (epoch seconds), so no review long before it does.
    """
    said, later = reviews.alias("said"), reviews.alias("later")
    # An anti-join over the index of (event, at) in place of sorting every review there is.
    superseded = exists().where(later.c.event == said.c.event, later.c.id > said.c.id)
    clauses = [said.c.event == event, ~superseded]
    if since is not None:
        # An alert is reviewed after it happened, give or take a vehicle's wrong clock.
        clauses.append(said.c.at >= since - DAY_S)
    if verdict:
        clauses.append(said.c.verdict == verdict)
    if cause:
        clauses.append(said.c.cause == cause)
    return exists().where(*clauses)


def verdicts(store: Store, ids: Sequence[str]) -> dict[str, Record]:
    """The latest verdict, cause and reviewer of those of these alerts that have one."""
    if not ids:
        return {}
    r = reviews.c
    # Ascending, so that the last one written is the one that stays.
    statement = (
        select(r.event, r.verdict, r.cause, r.reviewer).where(r.event.in_(ids)).order_by(r.id)
    )
    return {row.pop("event"): row for row in store.rows(statement)}


def history(store: Store, event: str) -> list[Record]:
    """Every review of an alert, the latest first."""
    statement = select(reviews).where(reviews.c.event == event).order_by(reviews.c.id.desc())
    return store.rows(statement.limit(200))


def add(
    store: Store, event: str, reviewer: str, verdict: str, cause: str | None, note: str = ""
) -> None:
    """Write a verdict.

    Args:
        store: the event log.
        event: id of an alert that is there.
        reviewer: who says so.
        verdict: a key of `VERDICTS`.
        cause: a key of `CAUSES`, for a false alarm; None otherwise.
        note: free text.

    Raises:
        ValueError: no such alert, verdict or cause, or a cause that does not fit the verdict.
    """
    if verdict not in VERDICTS:
        raise ValueError(f"verdict {verdict!r} is none of {', '.join(VERDICTS)}")
    if (verdict == "false") != (cause is not None) or (cause and cause not in CAUSES):
        raise ValueError("a false alarm has one of the causes on the page, nothing else has any")
    if store.one(select(events.c.id).where(events.c.id == event)) is None:
        raise ValueError(f"there is no alert {event!r} to review")
    row = {
        "event": event,
        "reviewer": reviewer[:128],
        "at": time.time(),
        "verdict": verdict,
        "cause": cause,
        # PostgreSQL text cannot hold NUL.
        "note": note.replace("\0", "").strip()[:NOTE_LENGTH] or None,
    }
    store.write((insert(reviews), row))


def note_export(store: Store, actor: str, subject: str, detail: Record) -> None:
    """Write into the audit who took data out."""
    row = {"at": time.time(), "actor": actor[:128], "action": "export", "subject": subject}
    store.write((insert(audit), {**row, "detail": detail}))
