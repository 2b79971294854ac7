"""Thresholds of seeing: the driver's own eye, how witnesses are weighed, what a picture must be.

The units every threshold is written in stand here too: seconds, shares, degrees, km/h, levels.
"""

import itertools
from typing import Annotated, Any, Self

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


def _level(value: Any) -> Any:
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
    """Head pose of looking at the road before the driver's own has been learned."""

    yaw_deg: float = Field(0.0, ge=-90, le=90)
    pitch_deg: float = Field(0.0, ge=-90, le=90)


class CalibrationPolicy(Section):
    """How the driver's own baseline is learned."""

    min_valid_s: Long = 60.0
    max_learning_s: Long = 300.0
    min_speed_kmh: Speed = 20.0
    provisional_s: Short = 2.0
    pose_provisional_s: Short = 20.0
    quantile: Share = 0.60
    neutral: Neutral = Neutral()
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
    """Turned further than this from neutral, the lids cannot be judged."""

    yaw: Degrees = 25.0
    pitch_down: Degrees = 20.0
    pitch_up: Degrees = 25.0


class EyePolicy(Section):
    """The eye's own measures."""

    calibration: CalibrationPolicy = CalibrationPolicy()
    population_ear_open: float = Field(0.257, gt=0.05, lt=0.6)
    closed_ratio: Share = 0.15
    closed_ratio_per_deg_down: float = Field(0.02, ge=0, le=0.05)
    lids_down_deg: Degrees = 12.0
    openness: Openness = Openness()
    pose_gate_deg: PoseGate = PoseGate()


class Weights(Section):
    """How much each witness of the eyes' state counts."""

    landmarks: float = Field(0.5, ge=0, le=10)
    eye_net: float = Field(2.0, ge=0, le=10)
    detector: float = Field(2.0, ge=0, le=10)


class LookingDown(Section):
    """Lids lowered to look down, told apart from lids that close."""

    pitch_change_deg: Degrees = 5.0
    within_s: Short = 1.0
    gaze_down: Share = 0.60
    lower_lid: Share = 0.72
    lower_lid_least: Share = 0.66
    lower_lid_sure: Share = 0.78
    frontal_deg: Degrees = 12.0
    half_open: Share = 0.65
    doubt: Share = 0.25

    @model_validator(mode="after")
    def _order(self) -> Self:
        rising(
            "",
            lower_lid_least=self.lower_lid_least,
            lower_lid=self.lower_lid,
            lower_lid_sure=self.lower_lid_sure,
        )
        return self


class EvidencePolicy(Section):
    """How the witnesses are weighed."""

    weights: Weights = Weights()
    detector_min_score: Share = 0.25
    detector_alone: Share = 0.5
    open_lids_at_most: float = Field(1.0, ge=0, le=4)
    looking_down: LookingDown = LookingDown()


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
