"""What people say about an alert, and who is to look at it. Append-only."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import ColumnElement, exists, insert, select

from dashboard.queries.database import Database, columns_of
from dashboard.queries.reviews import check_visible, clean
from monitor.store.schema import comments, events

# An assignment to nobody: the last one is taken back.
NOBODY: Final = ""


@dataclass(frozen=True, slots=True)
class Comment:
    """An entry of the talk about an alert.

    Attributes:
        assignee: to whom the alert was given by it; None where it only says something.
        text: None where it only assigns.
    """

    id: int
    event: str
    at: float
    author: str
    assignee: str | None
    text: str | None


def of_alert(database: Database, event: str) -> list[Comment]:
    """The talk about an alert, the oldest first; at most 200."""
    visible = exists().where(events.c.id == event, database.allows(events.c.vehicle))
    statement = (
        select(*columns_of(comments, Comment))
        .where(comments.c.event == event, visible)
        .order_by(comments.c.id)
    )
    return database.fetch(Comment, statement.limit(200))


def assignee(talk: Sequence[Comment]) -> str | None:
    """Whose turn it is, by the latest assignment; None for nobody's."""
    names = [entry.assignee for entry in talk if entry.assignee is not None]
    return names[-1] or None if names else None


def add(
    database: Database,
    alerts: Sequence[str],
    author: str,
    text: str = "",
    assignee: str | None = None,
) -> None:
    """Say something about alerts, give them to somebody, or both.

    Args:
        database: the event log.
        alerts: ids of alerts that are there.
        author: who says so.
        text: free text.
        assignee: to whom they are given; `NOBODY` takes them back, None leaves it as it is.

    Raises:
        ValueError: no such alert, or nothing to write.
    """
    words = clean(text)
    if words is None and assignee is None:
        raise ValueError("a comment needs some text")
    check_visible(database, alerts)
    about = {
        "at": time.time(),
        "author": author[:128],
        "assignee": None if assignee is None else assignee[:128],
        "text": words,
    }
    database.write((insert(comments), [{"event": event, **about} for event in alerts]))


def assigned_to(event: ColumnElement[str], name: str) -> ColumnElement[bool]:
    """The condition that the latest assignment of an alert names somebody."""
    last, later = comments.alias("last"), comments.alias("later")
    superseded = exists().where(
        later.c.event == last.c.event, later.c.id > last.c.id, later.c.assignee.is_not(None)
    )
    return exists().where(last.c.event == event, last.c.assignee == name, ~superseded)
