"""The life of an alert: begun, escalated, repeated, acknowledged, latched, released, over.

    (finding) ──▶ open ──finding rises──▶ UPDATE        one id from START to END
                   │ ──repeat_s──▶ UPDATE  until acknowledged
                   │ ──unanswered──▶ UNRESPONSIVE
                   └─ finding gone ─▶ END               below the latch: at once
                                    └▶ latched ──attentive_s of open eyes on the road──▶ END

A latched alert is released by an attentive driver and by nothing else: not by a face that hides,
not by a camera that fails. Only when nobody has been in the picture for so long that the driver
must have left does it end, and it says so. `END` carries the time at which the condition was over
(the eyes opened), not the later one at which the driver was believed.
"""

import math
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from monitor.engine.finding import Finding, reached
from monitor.policy import Policy
from monitor.types import (
    CAUSES,
    KINDS,
    NO_TRIP,
    DegradedEvidence,
    EndedBy,
    Event,
    Evidence,
    Kind,
    Level,
    Phase,
    Trip,
)
from monitor.types.evidence import merged

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://wakeful.example/events")


@dataclass(frozen=True, slots=True)
class AlertContext:
    """What alerts need to know of this instant, besides the findings.

    Attributes:
        now_s: monotonic time.
        attentive_s: seconds of open eyes on the road, up to now.
        answered_s: when the driver was last seen attentive.
        blind: the camera gives no usable picture.
        silent: the vehicle stands: nothing is repeated.
        speed_kmh: the vehicle's speed; None if unknown.
        abandoned: nobody has been seen for so long that the driver must have left.
        calibration: id of the baseline in use.
        trip: who drives and where.
    """

    now_s: float
    attentive_s: float
    answered_s: float
    blind: bool
    silent: bool
    speed_kmh: float | None
    abandoned: bool
    calibration: str
    trip: Trip = NO_TRIP


@dataclass
class OpenAlert:
    """One open alert.

    Attributes:
        id, track, kind, level: of its events.
        evidence: of its rule, over the whole alert so far.
        anchor_s: turns monotonic into wall-clock time, as the clock stood when the alert began.
        started_s: when its condition began.
        over_s: when its condition last held.
        sent_s: time of its latest event.
        warned_s: when it began or last climbed.
        rung: the highest reached.
        acknowledged: the driver answered.
        repeats: how often it was repeated unchanged.
        unanswered_s: how long the present warning has gone unanswered.
        trip: who drove and where at its start.
    """

    id: str
    track: str
    kind: Kind
    level: Level
    evidence: Evidence
    anchor_s: float
    started_s: float
    over_s: float
    sent_s: float
    warned_s: float
    rung: int = 0
    acknowledged: bool = False
    repeats: int = 0
    unanswered_s: float = 0.0
    trip: Trip = NO_TRIP


@dataclass(frozen=True, slots=True)
class Origin:
    """What every event of one watch carries; `anchor_s` turns monotonic into wall-clock time."""

    drive: str
    camera: str
    policy: str
    models: tuple[str, ...]
    anchor_s: float


class Alerts:
    """The open alerts of one driver.

    Args:
        policy: escalation, levels and limits.
        origin: provenance of the events.

    More than fifteen methods, most of a few lines: each arrow of the drawing above is one, and they
    share the open alerts.
    """

    def __init__(self, policy: Policy, origin: Origin) -> None:
        self._policy = policy
        self._origin = origin
        self._open: dict[str, OpenAlert] = {}
        self._cooling: dict[str, tuple[float, Level]] = {}
        self._criticals = 0
        self._critical_s = 0.0
        self._before_s: float | None = None

    def set_clock(self, anchor_s: float) -> None:
        """The wall clock was set: what begins from now on bears the new time."""
        self._origin = replace(self._origin, anchor_s=anchor_s)

    @property
    def open(self) -> tuple[OpenAlert, ...]:
        """The open alerts, the most urgent first."""
        return tuple(sorted(self._open.values(), key=lambda a: (-a.level, a.started_s)))

    def update(self, findings: Sequence[Finding], now: AlertContext) -> list[Event]:
        """Take what the rules found; give the events to send."""
        step_s = 0.0 if self._before_s is None else now.now_s - self._before_s
        self._before_s = now.now_s
        if any(alert.level is Level.CRITICAL for alert in self._open.values()):
            self._critical_s += step_s
        by_track = {finding.track: finding for finding in findings}
        events: list[Event] = []
        for finding in findings:
            if not (KINDS[finding.kind].ends_with_driver and now.abandoned):
                events.extend(self._take(finding, now))
        for alert in list(self._open.values()):
            events.extend(self._follow(alert, by_track.get(alert.track), now, step_s))
        return events

    def acknowledge(self, now: AlertContext) -> list[Event]:
        """The driver answered: the repeating ends, the watch does not."""
        events = []
        for alert in self.open:
            if alert.level >= Level.CAUTION and not alert.acknowledged:
                alert.acknowledged = True
                events.append(self._event(alert, Phase.UPDATE, now))
        return events

    def finish(self, now: AlertContext) -> list[Event]:
        """Close what is open: the drive is over."""
        return [self._end(alert, now, EndedBy.DRIVE) for alert in self.open]

    # --- a finding comes in ----------------------------------------------------------------

    def _take(self, finding: Finding, now: AlertContext) -> Iterator[Event]:
        alert = self._open.get(finding.track)
        if alert is None:
            if self._suppressed(finding, now):
                return
            alert = self._open[finding.track] = self._begin(finding, now)
            yield self._event(alert, Phase.START, now)
            return
        alert.evidence = merged(alert.evidence, finding.evidence)
        alert.over_s = finding.until_s
        rises = (finding.level, KINDS[finding.kind].rank) > (alert.level, KINDS[alert.kind].rank)
        # Eyes that are opening raise no alarm, whatever the vehicle has begun to do meanwhile.
        fading = finding.until_s < now.now_s
        if not fading and (rises or finding.rung > alert.rung):
            alert.rung = max(alert.rung, finding.rung)
            yield self._escalate(alert, max(alert.level, finding.level), finding.kind, now)

    def _suppressed(self, finding: Finding, now: AlertContext) -> bool:
        """A latched alert speaks for what comes with it; a slow state just ended is not new."""
        evidence = finding.evidence
        by = (
            CAUSES[evidence.cause].suppressed_by
            if isinstance(evidence, DegradedEvidence)
            else KINDS[finding.kind].suppressed_by
        )
        spokesman = self._open.get(by) if by else None
        if spokesman is not None and self._latched(spokesman):
            return True
        if finding.kind in self._policy.escalation.cooldown_kinds:
            ended_s, level = self._cooling.get(finding.track, (-math.inf, Level.NONE))
            quiet_s = self._policy.escalation.cooldown_s.of(level)
            return finding.level <= level and now.now_s - ended_s < quiet_s
        return False

    def _begin(self, finding: Finding, now: AlertContext) -> OpenAlert:
        started_at_ms = round((self._origin.anchor_s + finding.since_s) * 1000)
        name = f"{self._origin.drive}/{self._origin.camera}/{finding.track}/{started_at_ms}"
        self._criticals += finding.level is Level.CRITICAL
        return OpenAlert(
            id=str(uuid.uuid5(_NAMESPACE, name)),
            track=finding.track,
            kind=finding.kind,
            level=finding.level,
            anchor_s=self._origin.anchor_s,
            started_s=finding.since_s,
            over_s=finding.until_s,
            sent_s=now.now_s,
            warned_s=now.now_s,
            rung=finding.rung,
            evidence=replace(finding.evidence, speed_kmh=now.speed_kmh),
            trip=now.trip,
        )

    # --- an alert goes on ------------------------------------------------------------------

    def _follow(
        self, alert: OpenAlert, finding: Finding | None, now: AlertContext, step_s: float
    ) -> Iterator[Event]:
        if KINDS[alert.kind].ends_with_driver and now.abandoned:
            yield self._end(alert, now, EndedBy.NOBODY_THERE)
            return
        if finding is None and self._released(alert, now):
            yield self._end(alert, now, EndedBy.ATTENTIVE if self._latched(alert) else EndedBy.OVER)
            return
        yield from self._unanswered(alert, now, step_s)
        yield from self._repeat(alert, now)

    def _latched(self, alert: OpenAlert) -> bool:
        latch = self._policy.escalation.latch
        return KINDS[alert.kind].latched and alert.level >= latch.from_level

    def _released(self, alert: OpenAlert, now: AlertContext) -> bool:
        if not self._latched(alert):
            return True
        return reached(now.attentive_s, self._policy.escalation.latch.attentive_s)

    def _unanswered(self, alert: OpenAlert, now: AlertContext, step_s: float) -> Iterator[Event]:
        """Warned, and not seen attentive since (Euro NCAP 2023: within 3 s)."""
        latch = self._policy.escalation.latch
        waits = KINDS[alert.kind].answered and alert.level >= latch.from_level
        answered = alert.acknowledged or now.answered_s > alert.warned_s
        if not waits or answered or now.silent or alert.kind is Kind.UNRESPONSIVE:
            alert.unanswered_s = 0.0
            return
        # A camera that fails is no driver who fails to answer, and opening eyes may yet answer.
        if not now.blind and now.now_s > alert.warned_s:
            alert.unanswered_s += step_s
        opening = now.attentive_s > 0
        if not opening and reached(alert.unanswered_s, self._policy.unresponsive_after_warning_s):
            unanswered_s = round(alert.unanswered_s, 3)
            alert.evidence = replace(alert.evidence, unanswered_s=unanswered_s)
            level = max(alert.level, self._policy.levels.unresponsive)
            yield self._escalate(alert, level, Kind.UNRESPONSIVE, now)

    def _repeat(self, alert: OpenAlert, now: AlertContext) -> Iterator[Event]:
        every_s = self._policy.escalation.repeat_s.of(alert.level)
        if now.attentive_s > 0 or alert.acknowledged or now.silent or every_s <= 0:
            return
        if reached(now.now_s - alert.sent_s, every_s):
            alert.repeats += 1
            yield self._event(alert, Phase.UPDATE, now, repeat=alert.repeats)

    def _escalate(self, alert: OpenAlert, level: Level, kind: Kind, now: AlertContext) -> Event:
        if level > alert.level:
            self._criticals += level is Level.CRITICAL
            alert.acknowledged = False
        if KINDS[kind].rank > KINDS[alert.kind].rank:
            alert.kind = kind
        alert.level = level
        alert.warned_s = now.now_s
        alert.unanswered_s = 0.0
        alert.evidence = replace(alert.evidence, speed_kmh=now.speed_kmh)
        return self._event(alert, Phase.UPDATE, now)

    # --- events ----------------------------------------------------------------------------

    def _end(self, alert: OpenAlert, now: AlertContext, why: EndedBy) -> Event:
        del self._open[alert.track]
        self._cooling[alert.track] = (now.now_s, alert.level)
        alert.evidence = replace(alert.evidence, ended_by=why)
        # Never before the latest event, so that those of one alert stay in order.
        return self._event(alert, Phase.END, now, max(alert.over_s, alert.sent_s))

    def _event(
        self,
        alert: OpenAlert,
        phase: Phase,
        now: AlertContext,
        at_s: float | None = None,
        repeat: int = 0,
    ) -> Event:
        at_s = now.now_s if at_s is None else at_s
        alert.sent_s = at_s
        notice = self._too_much(alert)
        return Event(
            id=alert.id,
            kind=alert.kind,
            phase=phase,
            level=alert.level,
            started_at=round(alert.anchor_s + alert.started_s, 3),
            at=round(alert.anchor_s + at_s, 3),
            started_s=round(alert.started_s, 6),
            at_s=round(at_s, 6),
            drive=self._origin.drive,
            camera=self._origin.camera,
            acknowledged=alert.acknowledged,
            evidence=replace(alert.evidence, repeat=repeat, fleet_notice=notice),
            policy=self._origin.policy,
            calibration=now.calibration,
            models=self._origin.models,
            trip=alert.trip,
        )

    def _too_much(self, alert: OpenAlert) -> bool:
        """So much critical in one drive is the fleet's business."""
        notice = self._policy.escalation.fleet_notice
        often = self._criticals >= notice.terminal_count
        return alert.level is Level.CRITICAL and (often or self._critical_s >= notice.terminal_s)
