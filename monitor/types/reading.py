"""What the engine makes of it: readings, the baseline, the driver's state, events."""

from dataclasses import dataclass

from monitor.types.checks import finite, share
from monitor.types.evidence import DegradedEvidence, Evidence
from monitor.types.kinds import Kind
from monitor.types.observation import EyeProbabilities, HeadPose
from monitor.types.terms import CameraCondition, Cause, Eyes, Level, Phase
from monitor.types.trip import NO_TRIP, Trip


@dataclass(frozen=True, slots=True)
class Reading:
    """An observation weighed against the driver's own baseline: what the rules see.

    Attributes:
        timestamp_s: monotonic capture time.
        captured_at: wall clock of the same instant, for writing on events only.
        present: a driver's face, or a detector's box in the driver's place; None when the
            picture says nothing (camera lost, frozen, dark, glare).
        eyes: open, closed or unknown.
        openness: eye opening as a share of the driver's own open eye, 0..1.5; None if unknown.
        confidence: 0..1, how sure `eyes` is; detector and landmarks at odds lower it.
        probabilities: open, closed, lowered and not visible, of all witnesses together; None if the
            picture says nothing.
        contributions: log-odds of closed eyes by witness, loudest first: + spoke for, - against.
        pose: head pose relative to the driver's own neutral; None if unknown.
        neutral_known: what `pose` is relative to has been learned or was set.
        mouth: MAR relative to the driver's own closed mouth; None if unknown.
        looking_down: eyes lowered to look down, told apart from closing; None if unknown.
        emotion: label of the smoothed expression, context only.
        camera: the source's word on the picture.
        causes: what impairs this very frame.
        speed_kmh: vehicle speed; None if no source says.
    """

    timestamp_s: float
    captured_at: float
    present: bool | None = None
    eyes: Eyes = Eyes.UNKNOWN
    openness: float | None = None
    confidence: float = 0.0
    probabilities: EyeProbabilities | None = None
    contributions: tuple[tuple[str, float], ...] = ()
    pose: HeadPose | None = None
    neutral_known: bool = True
    mouth: float | None = None
    looking_down: bool | None = None
    emotion: str | None = None
    camera: CameraCondition = CameraCondition.OK
    causes: frozenset[Cause] = frozenset()
    speed_kmh: float | None = None

    def __post_init__(self) -> None:
        finite(self, "timestamp_s", "captured_at", "openness", "mouth", "speed_kmh")
        share(self, "confidence")


@dataclass(frozen=True, slots=True)
class Calibration:
    """Where the driver's own baseline stands.

    Attributes:
        progress: 0..1 of the valid time needed.
        ready: the baseline is the driver's own, no longer the population's.
        ear_open: EAR of the open eye in use.
        mar_closed: MAR of the resting mouth in use.
        neutral: head pose of looking at the road.
        id: short hash of the baseline; written on every event.
        lower_lid_open: `Observation.lower_lid` of the open eye; None until seen.
        neutral_known: `neutral` was learned or set; until then it is a guess.
    """

    progress: float
    ready: bool
    ear_open: float
    mar_closed: float
    neutral: HeadPose
    id: str
    lower_lid_open: float | None = None
    neutral_known: bool = False

    def __post_init__(self) -> None:
        share(self, "progress")


@dataclass(frozen=True, slots=True)
class DriverState:
    """What is true of the driver now.

    Attributes:
        timestamp_s, captured_at: of the frame it was computed from.
        level: the most urgent of the open alerts.
        kind: what that alert is about; None when attentive.
        eyes, openness, pose, emotion: from the reading.
        closure_s: how long the eyes have been closed, held over unknown; 0 when open.
        perclos: share of observed time with closed eyes over the policy's first window; None
            until enough was observed.
        coverage: share of that window's time in which the eyes were observed, 0..1.
        fatigue: 0..100, a project convention (docs), never called KSS.
        distraction: 0..100, a project convention.
        eyes_on_road: None if unknown.
        degraded: what impairs the watch at this moment, most important first.
        calibration: of the driver's baseline.
        open_alerts: ids of the events now open.
        speed_kmh: the vehicle's; None if no source says.
        trip: who drives and where, as far as somebody says.
    """

    timestamp_s: float
    captured_at: float
    level: Level = Level.NONE
    kind: Kind | None = None
    eyes: Eyes = Eyes.UNKNOWN
    openness: float | None = None
    closure_s: float = 0.0
    perclos: float | None = None
    coverage: float = 0.0
    fatigue: float | None = None
    distraction: float | None = None
    eyes_on_road: bool | None = None
    pose: HeadPose | None = None
    emotion: str | None = None
    degraded: tuple[Cause, ...] = ()
    calibration: Calibration | None = None
    open_alerts: tuple[str, ...] = ()
    speed_kmh: float | None = None
    trip: Trip = NO_TRIP

    def __post_init__(self) -> None:
        share(self, "perclos", "coverage")

    @property
    def monitored(self) -> bool:
        """The driver's eyes are being watched: nothing impairs it."""
        return not self.degraded


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, as it stood at its start, at a change or at its end.

    Attributes:
        id: deterministic (UUIDv5 of drive, camera, track and start); the same in every phase.
        kind, phase, level: what, where in its life, how urgent now.
        started_at, at: wall clock of its start and of this phase, UTC epoch seconds. Both come
            from one wall-clock anchor and monotonic differences, so a clock step cannot make an
            event end before it began.
        started_s, at_s: the same two instants on the monotonic capture clock.
        drive: identifier of the drive (one run of the process).
        camera: which camera saw it.
        acknowledged: the driver answered.
        evidence: the numbers that made it, as the rule that found it gave them.
        policy, calibration, models: provenance: policy hash, calibration id, model ids.
        trip: who drove and where when it began, as far as somebody said.
        redated_from: `started_at` as it was told until the clock was set right; None otherwise.
    """

    id: str
    kind: Kind
    phase: Phase
    level: Level
    started_at: float
    at: float
    started_s: float
    at_s: float
    drive: str
    evidence: Evidence
    camera: str = "driver"
    acknowledged: bool = False
    policy: str = ""
    calibration: str = ""
    models: tuple[str, ...] = ()
    trip: Trip = NO_TRIP
    redated_from: float | None = None

    def __post_init__(self) -> None:
        finite(self, "started_at", "at", "started_s", "at_s", "redated_from")
        if self.at_s < self.started_s:
            raise ValueError(f"Event {self.id} at {self.at_s} is before its start")

    @property
    def cause(self) -> Cause | None:
        """What impairs the watch; None where the event is about the driver."""
        return self.evidence.cause if isinstance(self.evidence, DegradedEvidence) else None

    @property
    def duration_s(self) -> float:
        """From the start to this phase, on the monotonic clock."""
        return self.at_s - self.started_s
