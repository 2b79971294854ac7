"""Observations in, the driver's state and events out. No clock, no I/O, no randomness.

    observation ──EyeFusion──▶ reading ──rules──▶ findings ──Alerts──▶ events
         │                       ▲
         └───────Baseline────────┘

The same calls give the same events, byte for byte: ids are UUIDv5 of drive, camera, track and
start, and wall-clock times are an anchor plus the monotonic clock. A clock that is set during the
drive moves the anchor: what begins later bears the new time, while an alert that is open keeps the
clock it began by, so that neither its id nor its duration changes.
"""

from collections.abc import Sequence
from dataclasses import replace

from monitor.engine.alerts import AlertContext, Alerts, Origin
from monitor.engine.calibration import Baseline
from monitor.engine.eye_state.fusion import EyeFusion
from monitor.engine.finding import Finding
from monitor.engine.ruleset import Ruleset
from monitor.policy import Policy
from monitor.types import (
    CAUSES,
    KINDS,
    NO_TRIP,
    CameraCondition,
    Cause,
    Command,
    DegradedEvidence,
    DriverState,
    Event,
    Eyes,
    HeadPose,
    Kind,
    Level,
    Observation,
    Reading,
    Trip,
)

_URGENCY = list(CAUSES)
# While a distraction stands the pose counts so much less for where the road is: a proposal.
_DISTRACTED_SHARE = 0.2
# A wall clock that goes on so much further than the monotonic one was set; less is drift.
_CLOCK_STEP_S = 2.0


class Engine:
    """Watches one driver through one camera.

    Args:
        policy: the thresholds.
        drive: identifier of the drive; part of every event's id.
        camera: which camera it is.
        models: ids of the models that made the observations, written on every event with the
            fusion's own.
        mount: head pose of looking at the road, where the camera's mount is known.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        drive: str,
        camera: str = "driver",
        models: tuple[str, ...] = (),
        mount: HeadPose | None = None,
    ) -> None:
        self._policy = policy
        self._drive, self._camera, self._models = drive, camera, models
        self._baseline = Baseline(policy, mount)
        self._fusion = EyeFusion(policy)
        self._ruleset = Ruleset(policy)
        self._alerts: Alerts | None = None
        self._anchor_s = 0.0
        self._learning_s = 0.0
        self._last_s = 0.0
        self._context: AlertContext | None = None

    def update(
        self,
        observation: Observation,
        speed_kmh: float | None = None,
        commands: Sequence[Command] = (),
        trip: Trip = NO_TRIP,
    ) -> tuple[DriverState, list[Event]]:
        """Take one observation.

        Args:
            observation: times must grow; one that goes back is taken as seen at the last time.
            speed_kmh: the vehicle's speed; None where no source tells.
            commands: what was asked since the last observation. `WARNINGS_ON` and `WARNINGS_OFF`
                are the chime's business.
            trip: who drives and where; written on what comes out, and no rule asks for it.

        Returns:
            The state now, and what is to be told.
        """
        if self._alerts is None:
            self._alerts = self._begin(observation)
        if observation.timestamp_s < self._last_s:
            observation = replace(observation, timestamp_s=self._last_s)
        self._follow_clock(self._alerts, observation)
        if Command.RECALIBRATE in commands:
            self._learn_anew(looking_ahead=True)
        reading = self._read(observation, speed_kmh)
        self._last_s = observation.timestamp_s
        findings = [self._capped(finding, speed_kmh) for finding in self._ruleset.update(reading)]
        self._context = now = self._now(reading, trip)
        events = self._alerts.update(findings, now)
        if Command.ACKNOWLEDGE in commands:
            events.extend(self._alerts.acknowledge(now))
        if now.abandoned:
            self._ruleset.forget_driver()
            self._learn_anew(looking_ahead=False)
        frozen = self._frozen(reading)
        self._baseline.update(observation, frozen, self._pose_share(reading))
        return self._state(reading, trip), events

    def finish(self) -> list[Event]:
        """Close what is open: the drive is over."""
        if self._alerts is None or self._context is None:
            return []
        return self._alerts.finish(self._context)

    def _begin(self, first: Observation) -> Alerts:
        self._anchor_s = first.captured_at - first.timestamp_s
        self._last_s = first.timestamp_s
        models = (*self._models, self._fusion.model.id)
        return Alerts(
            self._policy,
            Origin(self._drive, self._camera, self._policy.hash, models, self._anchor_s),
        )

    def _follow_clock(self, alerts: Alerts, observation: Observation) -> None:
        anchor_s = observation.captured_at - observation.timestamp_s
        if abs(anchor_s - self._anchor_s) >= _CLOCK_STEP_S:
            self._anchor_s = anchor_s
            alerts.set_clock(anchor_s)

    def _learn_anew(self, *, looking_ahead: bool) -> None:
        self._learning_s = 0.0
        self._baseline.reset(looking_ahead=looking_ahead)

    def _read(self, observation: Observation, speed_kmh: float | None) -> Reading:
        calibration = self._baseline.calibration
        reading = self._fusion.weigh(observation, calibration, speed_kmh)
        if reading.present:
            self._learning_s += min(observation.timestamp_s - self._last_s, self._policy.max_gap_s)
        limit_s = self._policy.eye.calibration.max_learning_s
        if calibration.ready or self._learning_s < limit_s:
            return reading
        return replace(reading, causes=reading.causes | {Cause.UNCALIBRATED})

    def _now(self, reading: Reading, trip: Trip) -> AlertContext:
        return AlertContext(
            now_s=reading.timestamp_s,
            attentive_s=self._ruleset.attentive_s,
            answered_s=self._ruleset.answered_s,
            blind=any(CAUSES[cause].blind for cause in reading.causes),
            silent=self._stands(reading.speed_kmh),
            speed_kmh=reading.speed_kmh,
            abandoned=self._abandoned(reading.speed_kmh),
            calibration=self._baseline.calibration.id,
            trip=trip,
        )

    # --- the vehicle -----------------------------------------------------------------------

    def _stands(self, speed_kmh: float | None) -> bool:
        activation = self._policy.activation
        if speed_kmh is None:
            return activation.speed_unknown == "assume_standstill"
        return speed_kmh < activation.standstill.below_kmh

    def _abandoned(self, speed_kmh: float | None) -> bool:
        """Nobody for long. In a vehicle known to move somebody must be there: never."""
        limits, gone_s = self._policy.abandoned, self._ruleset.gone_s
        if speed_kmh is not None and not self._stands(speed_kmh):
            return False
        limit_s = limits.speed_unknown_s if speed_kmh is None else limits.standstill_s
        return gone_s > 0 and gone_s >= limit_s

    def _capped(self, finding: Finding, speed_kmh: float | None) -> Finding:
        """Below its activation speed a rule may inform, not warn."""
        if KINDS[finding.kind].about == "watch":
            return finding
        activation = self._policy.activation
        most = activation.standstill.max_level if self._stands(speed_kmh) else Level.CRITICAL
        if speed_kmh is not None and speed_kmh < activation.min_speed_kmh(finding.kind):
            most = min(most, Level.INFO)
        if finding.level <= most:
            return finding
        evidence = replace(finding.evidence, capped_by_speed_kmh=speed_kmh)
        return replace(finding, level=most, evidence=evidence)

    # --- learning, and what is true now -----------------------------------------------------

    def _looks_down(self, reading: Reading) -> bool:
        """Judged by the own eyes: by the population's, small eyes look down for ever."""
        rules, progress = self._policy.eye.calibration, self._baseline.calibration.progress
        return bool(reading.looking_down) and progress * rules.min_valid_s >= rules.provisional_s

    def _pose_share(self, reading: Reading) -> float:
        """How much the head's pose teaches where the road is: at any speed, but not asleep.

        A look away teaches a little: should the neutral pose be wrong, that puts it right.
        """
        open_kinds = {alert.kind for alert in self._alerts.open} if self._alerts else set()
        hindering = {kind for kind in open_kinds if KINDS[kind].hinders_learning}
        unlike = reading.eyes is Eyes.CLOSED or self._looks_down(reading)
        if unlike or hindering - {Kind.DISTRACTION} or reading.camera is not CameraCondition.OK:
            return 0.0
        return _DISTRACTED_SHARE if hindering else 1.0

    def _frozen(self, reading: Reading) -> bool:
        """Not the time to learn what is normal: an alert, closing lids, a look away, too slow."""
        speed, least_kmh = reading.speed_kmh, self._policy.eye.calibration.min_speed_kmh
        alerted = self._alerts is not None and any(
            KINDS[alert.kind].hinders_learning for alert in self._alerts.open
        )
        return (
            alerted
            or (speed is not None and speed < least_kmh)
            or reading.eyes is Eyes.CLOSED
            or self._looks_down(reading)
            or reading.camera is not CameraCondition.OK
        )

    def _state(self, reading: Reading, trip: Trip) -> DriverState:
        alerts = self._alerts.open if self._alerts is not None else ()
        rules = self._ruleset
        causes = [a.evidence.cause for a in alerts if isinstance(a.evidence, DegradedEvidence)]
        if any(alert.kind is Kind.ABSENT for alert in alerts):
            causes.append(Cause.NO_FACE)
        return DriverState(
            timestamp_s=reading.timestamp_s,
            captured_at=round(self._anchor_s + reading.timestamp_s, 3),
            level=alerts[0].level if alerts else Level.NONE,
            kind=alerts[0].kind if alerts else None,
            eyes=reading.eyes,
            openness=reading.openness,
            closure_s=round(rules.closed_s, 3),
            perclos=rules.perclos,
            coverage=rules.coverage,
            fatigue=rules.fatigue,
            distraction=rules.distraction,
            eyes_on_road=rules.eyes_on_road,
            pose=reading.pose,
            emotion=reading.emotion,
            degraded=tuple(sorted(causes, key=_URGENCY.index)),
            calibration=self._baseline.calibration,
            open_alerts=tuple(alert.id for alert in alerts),
            speed_kmh=reading.speed_kmh,
            trip=trip,
        )
