"""Which events concern which recipients."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time
from zoneinfo import ZoneInfo

from monitor.fleet.notify.config import NotifyConfig, NotifyRule
from monitor.types import Kind, Level


@dataclass(frozen=True, slots=True)
class Incident:
    """What a notification is about: an event of the fleet, as it now stands in the log.

    Attributes:
        id, vehicle, kind, level: of the event; `level` is the highest it reached.
        started_at, duration_s: epoch seconds and seconds.
        ended: it is over.
        driver: pseudonym, where the vehicle has one.
        groups: those that the vehicle is in.
    """

    id: str
    vehicle: str
    kind: Kind
    level: Level
    started_at: float
    duration_s: float
    ended: bool
    driver: str | None
    groups: frozenset[str]


def concerns(rule: NotifyRule, incident: Incident) -> bool:
    """Whether an event is one of those that a rule is about."""
    return (
        incident.level >= rule.least_level
        and (not rule.kinds or incident.kind in rule.kinds)
        and (not rule.groups or not incident.groups.isdisjoint(rule.groups))
        and _at_its_time(rule, incident.started_at)
    )


def recipients(name: str, incident: Incident, config: NotifyConfig) -> list[str]:
    """Whom a rule tells of an event: nobody learns of a vehicle outside their own groups."""
    rule = config.rules[name]
    if not concerns(rule, incident):
        return []
    return [to for to in rule.to if may_learn(config, to, incident.groups)]


def may_learn(config: NotifyConfig, recipient: str, groups: frozenset[str]) -> bool:
    """Whether a recipient may learn of vehicles of these groups; one without limits may of all."""
    limits = config.recipients[recipient].groups
    return not limits or not groups.isdisjoint(limits)


def least_level(rules: Mapping[str, NotifyRule]) -> Level:
    """The lowest level that any rule is about."""
    return min((rule.least_level for rule in rules.values()), default=Level.CRITICAL)


def _at_its_time(rule: NotifyRule, at: float) -> bool:
    if rule.between is None and not rule.weekdays:
        return True
    local = datetime.fromtimestamp(at, UTC).astimezone(ZoneInfo(rule.timezone))
    if rule.weekdays and local.strftime("%a").lower() not in rule.weekdays:
        return False
    return rule.between is None or _within(local.time(), *rule.between)


def _within(moment: time, begin: time, end: time) -> bool:
    """Whether a time of day lies in `begin..end`, which may span midnight."""
    if begin <= end:
        return begin <= moment < end
    return moment >= begin or moment < end
