"""What made an alert: one frozen type a rule, the same in the engine, the payload and the row.

`Evidence` is the union of them, told apart by `rule`. Every rule's own numbers come first; what
the life of the alert adds (repeats, its end, the vehicle's speed) is in the base and filled in by
`monitor.engine.alerts`. A field at its default is left out of the JSON (`evidence_json`).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Any, ClassVar, Literal, TypeVar

from monitor.types.checks import finite, share
from monitor.types.terms import Cause


class EndedBy(StrEnum):
    """Why an alert is over."""

    OVER = "over"  # its condition no longer holds
    ATTENTIVE = "attentive"  # the driver was seen attentive for long enough
    NOBODY_THERE = "nobody_there"  # nobody has been seen for so long that the driver must have left
    DRIVE = "drive"  # the drive ended first
    PROCESS = "process"  # the process that watched was gone; the next one closed the alert


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleEvidence:
    """What the evidence of every rule has.

    Attributes:
        rule: which rule found it; the type's discriminator.
        speed_kmh: the vehicle's speed when the alert began or last climbed; None if unknown.
        capped_by_speed_kmh: the speed that kept the alert quieter; None if none did.
        unanswered_s: how long a warning went unanswered before it climbed; None if it did not.
        repeat: how often an unchanged alert has been repeated, with this one; 0 for the others.
        fleet_notice: so much was critical in this drive that the fleet should know.
        ended_by: why it is over; None before the end.
    """

    # Of these fields the extreme over the whole alert is kept, not the latest value.
    EXTREMES: ClassVar[Mapping[str, Callable[[float, float], float]]] = {}

    rule: str
    speed_kmh: float | None = None
    capped_by_speed_kmh: float | None = None
    unanswered_s: float | None = None
    repeat: int = 0
    fleet_notice: bool = False
    ended_by: EndedBy | None = None

    def __post_init__(self) -> None:
        finite(self, *(f.name for f in fields(self) if isinstance(getattr(self, f.name), float)))


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosureEvidence(RuleEvidence):
    """Eyes closed: `monitor.engine.rules.closure`.

    Attributes:
        closed_s: how long, the unknown that counts included; the longest of the closure.
        confidence: 0..1, how sure the eyes were seen closed, when they last were.
        held_over_unknown: for a part of it the eyes were out of sight.
        nod: the head dropped with them.
        openness: least eye opening seen, a share of the driver's own open eye; None if unknown.
        pitch_deg: lowest head pitch seen, from the driver's neutral, + up; None if unknown.
        contributions: log-odds of closed eyes by witness when they last were seen closed, loudest
            first: + spoke for, - against; empty if unknown.
    """

    EXTREMES: ClassVar[Mapping[str, Callable[[float, float], float]]] = {
        "closed_s": max,
        "openness": min,
        "pitch_deg": min,
    }

    rule: Literal["closure"] = "closure"
    closed_s: float
    confidence: float = 0.0
    held_over_unknown: bool = False
    nod: bool = False
    openness: float | None = None
    pitch_deg: float | None = None
    contributions: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        RuleEvidence.__post_init__(self)
        for witness, log_odds in self.contributions:
            if not math.isfinite(log_odds):
                raise ValueError(f"contribution of {witness} must be finite, got {log_odds!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class PerclosEvidence(RuleEvidence):
    """Drowsiness: `monitor.engine.rules.perclos`.

    Attributes:
        band: the degree reached.
        perclos: last known share of observed time with closed eyes, 0..1.
        coverage: share of the window in which the eyes were observed, 0..1.
        window_s: length of that window in seconds.
    """

    rule: Literal["perclos"] = "perclos"
    band: Literal["advisory", "drowsy", "severe"]
    perclos: float | None = None
    coverage: float = 0.0
    window_s: float

    def __post_init__(self) -> None:
        RuleEvidence.__post_init__(self)
        share(self, "perclos", "coverage")


@dataclass(frozen=True, slots=True, kw_only=True)
class DistractionEvidence(RuleEvidence):
    """Eyes off the road: `monitor.engine.rules.distraction`.

    Attributes:
        limit: which limit was broken: one long look, a look into the low area (EU 2023/2590), or
            many short ones within a window (Euro NCAP's VATS).
        away_s: seconds away, by that limit's count.
        looking_down: the eyes were lowered.
        yaw_deg: head yaw at its furthest from neutral, + left; None if unknown.
        pitch_deg: lowest head pitch, + up; None if unknown.
    """

    EXTREMES: ClassVar[Mapping[str, Callable[[float, float], float]]] = {
        "away_s": max,
        "yaw_deg": lambda one, other: max(one, other, key=abs),
        "pitch_deg": min,
    }

    rule: Literal["distraction"] = "distraction"
    limit: Literal["long", "addw", "vats"]
    away_s: float
    looking_down: bool = False
    yaw_deg: float | None = None
    pitch_deg: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class YawnEvidence(RuleEvidence):
    """A yawn: `monitor.engine.rules.yawn`.

    Attributes:
        open_s: how long the mouth has stood wide open.
        yawns: how many within the window, this one included.
        window_s: length of that window in seconds.
    """

    rule: Literal["yawn"] = "yawn"
    open_s: float
    yawns: int
    window_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AbsenceEvidence(RuleEvidence):
    """Nobody in the driver's place: `monitor.engine.rules.absence`.

    Attributes:
        gone_s: for how long.
    """

    rule: Literal["absence"] = "absence"
    gone_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DegradedEvidence(RuleEvidence):
    """The watch itself is impaired: `monitor.engine.rules.degraded`.

    Attributes:
        cause: by what.
    """

    rule: Literal["degraded"] = "degraded"
    cause: Cause


Evidence = (
    ClosureEvidence
    | PerclosEvidence
    | DistractionEvidence
    | YawnEvidence
    | AbsenceEvidence
    | DegradedEvidence
)
EvidenceType = TypeVar("EvidenceType", bound=RuleEvidence)


def merged(earlier: EvidenceType, later: EvidenceType) -> EvidenceType:
    """`later`, with what `earlier` must not lose.

    What once was true stays true, what was measured once is not forgotten, and of `EXTREMES` the
    value is that of both.
    """
    kept: dict[str, Any] = {}
    for field in fields(earlier):
        before, now = getattr(earlier, field.name), getattr(later, field.name)
        if before is None:
            continue
        if now is None or before is True:
            kept[field.name] = before
        elif field.name in later.EXTREMES:
            kept[field.name] = later.EXTREMES[field.name](before, now)
    return replace(later, **kept) if kept else later


def evidence_json(evidence: RuleEvidence) -> Mapping[str, object]:
    """JSON-ready: `rule` first, then every field that is not at its default."""
    values: dict[str, object] = {"rule": evidence.rule}
    for field in fields(evidence):
        value = getattr(evidence, field.name)
        if value != field.default and field.name != "rule":
            values[field.name] = _plain(value)
    return values


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value.value if isinstance(value, StrEnum) else value
