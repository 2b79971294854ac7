"""Thresholds of seeing: the driver's own eye, how witnesses are weighed, what a picture must be.

The units every threshold is written in stand here too: seconds, shares, degrees, km/h, levels.
"""

import itertools
from typing import Annotated, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    WithJsonSchema,
    model_validator,
)

from monitor.config import Section
from monitor.types import Level


def _level(value: object) -> Level:
    if isinstance(value, str) and value.upper() in Level.__members__:
        return Level[value.upper()]
    if isinstance(value, Level):
        return value
    raise ValueError(f"must be one of {', '.join(name.lower() for name in Level.__members__)}")


def _seconds(value: float) -> float:
    if value > 120:
        raise ValueError("is in seconds and at most 120: was it meant in milliseconds?")
    return value


def _share(value: float) -> float:
    if value > 1:
        raise ValueError("is a share of 0..1: was it meant in percent?")
    return value


LevelName = Annotated[
    Level,
    BeforeValidator(_level),
    PlainSerializer(lambda level: level.name.lower(), return_type=str),
    WithJsonSchema({"enum": [name.lower() for name in Level.__members__]}),
]
Short = Annotated[float, Field(ge=0, allow_inf_nan=False), AfterValidator(_seconds)]
Long = Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, allow_inf_nan=False), AfterValidator(_share)]
Degrees = Annotated[float, Field(ge=0, le=90, allow_inf_nan=False)]
Speed = Annotated[float, Field(ge=0, le=300, allow_inf_nan=False)]


def rising(where: str, **values: float) -> None:
    """Refuse thresholds out of order, naming the two that clash."""
    pairs = list(values.items())
    for (low, a), (high, b) in itertools.pairwise(pairs):
        if not a < b:
            raise ValueError(f"{where}{low} ({a:g}) must be less than {high} ({b:g})")


class Neutral(Section):
    """Head pose of looking at the road, where the camera's mount is known."""

    yaw_deg: float = Field(0.0, ge=-90, le=90)
    pitch_deg: float = Field(0.0, ge=-90, le=90)


class CalibrationPolicy(Section):
    """How the driver's own baseline is learned."""

    min_valid_s: Long = 60.0
    max_learning_s: Long = 300.0
    min_speed_kmh: Speed = 20.0
    provisional_s: Short = 2.0
    neutral_after_s: Short = 2.5
    neutral_within_deg: Degrees = 7.0
    neutral_share: Share = 0.5
    quantile: Share = 0.60
    neutral: Neutral | None = None
    step_share: Share = 0.12
    step_hold_s: Short = 30.0


class Openness(Section):
    """Shares of the driver's own open eye."""

    closed_enter: Share = 0.30
    closed_exit: Share = 0.40

    @model_validator(mode="after")
    def _order(self) -> Self:
        rising("", closed_enter=self.closed_enter, closed_exit=self.closed_exit)
        return self


class PoseGate(Section):
    """Turned further the lids cannot be judged: yaw from the camera, pitch from neutral."""

    yaw: Degrees = 45.0
    pitch_down: Degrees = 25.0
    pitch_up: Degrees = 28.0


class EyePolicy(Section):
    """The eye's own measures."""

    calibration: CalibrationPolicy = CalibrationPolicy()
    population_ear_open: float = Field(0.257, gt=0.05, lt=0.6)
    closed_ratio: Share = 0.15
    openness: Openness = Openness()
    pose_gate_deg: PoseGate = PoseGate()


class Unanimous(Section):
    """Lids that every witness calls shut for so long are closed, whatever the irises do."""

    after_s: Short = 0.2
    lids: Share = 0.30
    log_odds: float = Field(2.0, ge=0, le=6)


class EvidencePolicy(Section):
    """What makes of the fusion's probabilities a verdict on the eyes."""

    closed_enter: Share = 0.6
    closed_exit: Share = 0.4
    open_enter: Share = 0.6
    open_exit: Share = 0.5
    lowered: Share = 0.6
    detector_min_score: Share = 0.25
    detector_alone: Share = 0.5
    unanimous: Unanimous = Unanimous()

    @model_validator(mode="after")
    def _order(self) -> Self:
        rising("", closed_exit=self.closed_exit, closed_enter=self.closed_enter)
        rising("", open_exit=self.open_exit, open_enter=self.open_enter)
        return self


class QualityPolicy(Section):
    """Below this a picture says nothing about the eyes."""

    min_brightness: float = Field(18.0, ge=0, le=255)
    max_brightness: float = Field(238.0, ge=0, le=255)
    obscured_brightness: float = Field(4.0, ge=0, le=255)
    min_contrast: float = Field(6.0, ge=0, le=255)
    min_sharpness: float = Field(4.0, ge=0)
    min_face_height_px: float = Field(48.0, ge=0, le=4320)

    @model_validator(mode="after")
    def _order(self) -> Self:
        rising(
            "",
            obscured_brightness=self.obscured_brightness,
            min_brightness=self.min_brightness,
            max_brightness=self.max_brightness,
        )
        return self
