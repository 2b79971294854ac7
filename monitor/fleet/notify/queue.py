"""What has to be sent, in the database: taken in from the events, claimed, marked as sent.

Every step is one short transaction, and every one may be the last before a crash.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sqlalchemy import ColumnElement, Connection, Engine, and_, delete, func, select, update

from monitor.fleet.notify.config import NotifyConfig, NotifyRule
from monitor.fleet.notify.rules import Incident, recipients
from monitor.store import schema
from monitor.store.database import insert
from monitor.types import Kind, Level, Phase

# Ingesters stamp a row just before they commit it, by their own clocks: whoever reads by the stamp
# looks back as far as a clock may be off or a transaction may take.
LOOK_BACK_S: Final = 600.0
# Of one rule in one transaction; the rest follows at once.
MANY: Final = 1000

_EVENTS = schema.events.c
_ROWS = schema.notifications
_RULES = schema.notification_rules


class Status(StrEnum):
    """Where a notification stands."""

    PENDING = "pending"
    SENDING = "sending"  # claimed; if its claim runs out, nobody knows whether it was sent
    SENT = "sent"
    HELD = "held"  # a repeat within the rule's `repeat_s`
    FAILED = "failed"  # given up, or its event is no longer there


@dataclass(frozen=True, slots=True)
class Notification:
    """A row of `notifications` that is to be sent.

    Attributes:
        id: of the row.
        rule, recipient, subject: what it is, once and for all.
        created_at: epoch seconds.
        attempts: how often its sending was begun, this time included.
        in_doubt: an earlier attempt may have got through.
    """

    id: int
    rule: str
    recipient: str
    subject: str
    created_at: float
    attempts: int
    in_doubt: bool = False


def begin(engine: Engine, rules: Iterable[str], now: float) -> None:
    """Make the rules known: a new one starts now, one that is gone is forgotten."""
    names = list(rules)
    with engine.begin() as connection:
        connection.execute(delete(_RULES).where(_RULES.c.rule.not_in(names)))
        rows = [{"rule": name, "since": now, "looked_at": now} for name in names]
        if rows:
            connection.execute(
                insert(connection.dialect.name, _RULES).on_conflict_do_nothing(), rows
            )


def take_in(engine: Engine, config: NotifyConfig, now: float) -> int:
    """Write a row for each rule, recipient and event that is new.

    Returns:
        How many events concerned a rule for the first time.
    """
    new = 0
    for name in config.rules:
        with engine.begin() as connection:
            new += _take_in(connection, name, config, now)
    return new


def _take_in(connection: Connection, name: str, config: NotifyConfig, now: float) -> int:
    at = connection.execute(
        select(_RULES.c.since, _RULES.c.looked_at).where(_RULES.c.rule == name)
    ).one()
    newest = connection.execute(select(func.max(_EVENTS.changed_at))).scalar()
    since = max(at.since, at.looked_at - LOOK_BACK_S)
    incidents = _incidents(connection, _new_to(name, config.rules[name], since), MANY)
    concerned = [(to, i) for i in incidents for to in recipients(name, i, config)]
    for to, incident in concerned:
        _add(connection, name, to, incident, config.rules[name], now)
    looked_at = max(at.looked_at, min(newest or 0.0, now))
    if len(incidents) < MANY and looked_at > at.looked_at:
        connection.execute(update(_RULES).where(_RULES.c.rule == name).values(looked_at=looked_at))
    return len({incident.id for _, incident in concerned})


def _new_to(name: str, rule: NotifyRule, since: float) -> ColumnElement[bool]:
    """Events that changed after `since` and that this rule has not sent anybody."""
    sent = select(_ROWS.c.id).where(_ROWS.c.rule == name, _ROWS.c.subject == _EVENTS.id)
    where = and_(_EVENTS.changed_at > since, _EVENTS.level >= int(rule.least_level), ~sent.exists())
    return and_(where, _EVENTS.kind.in_([k.value for k in rule.kinds])) if rule.kinds else where


def incident(connection: Connection, event: str) -> Incident | None:
    """An event as it now stands; None if it is no longer in the log."""
    return next(iter(_incidents(connection, _EVENTS.id == event, 1)), None)


def _incidents(connection: Connection, where: ColumnElement[bool], limit: int) -> list[Incident]:
    columns = (
        _EVENTS.id, _EVENTS.vehicle, _EVENTS.kind, _EVENTS.level, _EVENTS.started_at,
        _EVENTS.duration_s, _EVENTS.phase, _EVENTS.driver,
    )  # fmt: skip
    rows = connection.execute(
        select(*columns).where(where).order_by(_EVENTS.changed_at, _EVENTS.id).limit(limit)
    ).all()
    groups = _groups(connection, {row.vehicle for row in rows})
    return [
        Incident(
            id=row.id,
            vehicle=row.vehicle,
            kind=Kind(row.kind),
            level=Level(row.level),
            started_at=row.started_at,
            duration_s=row.duration_s,
            ended=row.phase == Phase.END.value,
            driver=row.driver,
            groups=groups[row.vehicle],
        )
        for row in rows
    ]


def _groups(connection: Connection, vehicles: set[str]) -> defaultdict[str, frozenset[str]]:
    table = schema.vehicle_groups.c
    groups: defaultdict[str, frozenset[str]] = defaultdict(frozenset)
    rows = connection.execute(
        select(table.vehicle, table.group_name).where(table.vehicle.in_(vehicles))
    )
    for vehicle, group in rows:
        groups[vehicle] |= {group}
    return groups


def _add(
    connection: Connection,
    rule: str,
    recipient: str,
    incident: Incident,
    settings: NotifyRule,
    now: float,
) -> None:
    before = select(_ROWS.c.id).where(
        _ROWS.c.rule == rule,
        _ROWS.c.recipient == recipient,
        _ROWS.c.vehicle == incident.vehicle,
        _ROWS.c.kind == incident.kind.value,
        _ROWS.c.status.in_([Status.PENDING, Status.SENDING, Status.SENT]),
        _ROWS.c.created_at > now - settings.repeat_s,
    )
    repeat = connection.execute(before.limit(1)).first() is not None
    row = _row(rule, recipient, incident.id, now)
    row |= {"vehicle": incident.vehicle, "kind": incident.kind.value}
    row |= {"status": Status.HELD.value} if repeat else {}
    _insert(connection, row)


def add_report(engine: Engine, recipients: Sequence[str], subject: str, now: float) -> None:
    """Write a row for each recipient of a report, unless there is one."""
    with engine.begin() as connection:
        for recipient in recipients:
            _insert(connection, _row("weekly", recipient, subject, now))


def _row(rule: str, recipient: str, subject: str, now: float) -> dict[str, str | float]:
    return {
        "rule": rule,
        "recipient": recipient,
        "subject": subject,
        "status": Status.PENDING.value,
        "created_at": now,
        "due_at": now,
        "attempts": 0,
    }


def _insert(connection: Connection, row: dict[str, str | float]) -> None:
    connection.execute(insert(connection.dialect.name, _ROWS).values(row).on_conflict_do_nothing())


def held_before(connection: Connection, notification: Notification) -> int:
    """How many repeats were held back between the one sent before this and this one."""
    this = select(_ROWS).where(_ROWS.c.id == notification.id).subquery()
    same = and_(
        _ROWS.c.rule == this.c.rule,
        _ROWS.c.recipient == this.c.recipient,
        _ROWS.c.vehicle == this.c.vehicle,
        _ROWS.c.kind == this.c.kind,
        _ROWS.c.id < this.c.id,
    )
    last = select(func.max(_ROWS.c.id)).where(same, _ROWS.c.status != Status.HELD)
    since = connection.execute(last).scalar() or 0
    held = select(func.count()).where(same, _ROWS.c.status == Status.HELD, _ROWS.c.id > since)
    return connection.execute(held).scalar_one()


def waiting(engine: Engine, now: float) -> dict[str, list[int]]:
    """Rows that are due, oldest first, by recipient: pending ones, and claims that ran out."""
    due = (
        select(_ROWS.c.recipient, _ROWS.c.id)
        .where(_ROWS.c.status.in_([Status.PENDING, Status.SENDING]), _ROWS.c.due_at <= now)
        .order_by(_ROWS.c.id)
        .limit(MANY)
    )
    rows: defaultdict[str, list[int]] = defaultdict(list)
    with engine.connect() as connection:
        for recipient, number in connection.execute(due):
            rows[recipient].append(number)
    return rows


def claim(engine: Engine, number: int, now: float, lease_s: float) -> Notification | None:
    """Take a row to send it; None if another notifier has it or had it.

    The claim is committed before anything is sent, and runs out after `lease_s`.
    """
    due = and_(
        _ROWS.c.id == number,
        _ROWS.c.status.in_([Status.PENDING, Status.SENDING]),
        _ROWS.c.due_at <= now,
    )
    with engine.begin() as connection:
        row = connection.execute(select(_ROWS).where(due).with_for_update()).first()
        if row is None:
            return None
        attempts = row.attempts + 1
        values = {"status": Status.SENDING.value, "attempts": attempts, "due_at": now + lease_s}
        connection.execute(update(_ROWS).where(_ROWS.c.id == number).values(values))
    return Notification(
        id=row.id,
        rule=row.rule,
        recipient=row.recipient,
        subject=row.subject,
        created_at=row.created_at,
        attempts=attempts,
        in_doubt=row.status == Status.SENDING,
    )


def sent(engine: Engine, notification: Notification, now: float) -> None:
    """The recipient's server has it."""
    _mark(engine, notification, status=Status.SENT, sent_at=now, error=None)


def put_off(engine: Engine, notification: Notification, reason: str, until: float) -> None:
    """It could not be sent: again at `until`."""
    _mark(engine, notification, status=Status.PENDING, due_at=until, error=reason)


def give_up(engine: Engine, notification: Notification, reason: str) -> None:
    """It is not sent any more; `reason` says why."""
    _mark(engine, notification, status=Status.FAILED, error=reason)


def counts(engine: Engine) -> dict[str, int]:
    """How many rows wait and how many were given up."""
    query = select(_ROWS.c.status, func.count()).where(
        _ROWS.c.status.in_([Status.PENDING, Status.SENDING, Status.FAILED])
    )
    with engine.connect() as connection:
        return {row.status: row[1] for row in connection.execute(query.group_by(_ROWS.c.status))}


def _mark(engine: Engine, notification: Notification, **values: str | float | None) -> None:
    with engine.begin() as connection:
        connection.execute(update(_ROWS).where(_ROWS.c.id == notification.id).values(values))
