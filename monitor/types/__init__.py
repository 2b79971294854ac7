"""What travels: a frame, what was measured on it, the driver's state, an event.

Everything here is frozen and validated at birth. Units stand in the names: `_s` seconds,
`_deg` degrees, `_px` pixels; probabilities and shares are 0..1. A quantity that was not
measured is `None`, never a default that looks like a measurement.

Two clocks travel side by side. `timestamp_s` is the monotonic capture time: every duration and
every rule uses it. `captured_at` is the wall clock (UTC epoch seconds) of the same instant: it is
written on events for people and never subtracted from anything.
"""

from monitor.types.evidence import (
    AbsenceEvidence,
    ClosureEvidence,
    DegradedEvidence,
    DistractionEvidence,
    EndedBy,
    Evidence,
    PerclosEvidence,
    YawnEvidence,
)
from monitor.types.kinds import CAUSES, CLOSURES, KINDS, Kind
from monitor.types.observation import (
    Box,
    Detection,
    Emotion,
    EyeProbabilities,
    Frame,
    HeadPose,
    Image,
    Observation,
    Quality,
)
from monitor.types.reading import Calibration, DriverState, Event, Reading
from monitor.types.terms import CameraCondition, Cause, Command, Eyes, Level, Phase
from monitor.types.trip import NO_TRIP, Position, Trip

__all__ = [
    "CAUSES",
    "CLOSURES",
    "KINDS",
    "NO_TRIP",
    "AbsenceEvidence",
    "Box",
    "Calibration",
    "CameraCondition",
    "Cause",
    "ClosureEvidence",
    "Command",
    "DegradedEvidence",
    "Detection",
    "DistractionEvidence",
    "DriverState",
    "Emotion",
    "EndedBy",
    "Event",
    "Evidence",
    "EyeProbabilities",
    "Eyes",
    "Frame",
    "HeadPose",
    "Image",
    "Kind",
    "Level",
    "Observation",
    "PerclosEvidence",
    "Phase",
    "Position",
    "Quality",
    "Reading",
    "Trip",
    "YawnEvidence",
]
