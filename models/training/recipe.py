"""A training recipe: one validated YAML file, `configs/train/*.yaml`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from models.data.augmentation import Augmentation


class TrainingError(ValueError):
    """A training that cannot start or go on, in one line."""


class RecipeError(TrainingError):
    """A recipe that cannot be used, one line a fault."""


class Growth(BaseModel):
    """A part of a training at a smaller picture size: cheap epochs first (Howard 2018)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    until: float = Field(gt=0, lt=1, description="Share of the training at which it ends.")
    px: int = Field(ge=16, le=1024, description="Side of the pictures up to there.")


class Recipe(BaseModel):
    """How a model is trained. The defaults are the small POSTER V2's own."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    source: str = Field("", description="Where the recipe comes from.")
    arguments: dict[str, JsonValue] = Field(
        default_factory=dict, description="Arguments of the architecture other than its card's."
    )
    input_px: int | None = Field(None, ge=16, le=1024, description="Side; None is the card's own.")
    grow: tuple[Growth, ...] = Field(
        (), description="Smaller pictures at first; the last part is at the full size."
    )
    epochs: int = Field(40, ge=1, le=10_000)
    batch: int = Field(128, ge=2, le=65_536)
    optimizer: Literal["adam", "adamw", "sgd"] = "adamw"
    lr: float = Field(2e-3, gt=0, le=10)
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = Field(0.05, ge=0, le=1)
    sam_rho: float = Field(0.0, ge=0, le=1, description="Radius of SAM; 0 trains without it.")
    sam_from: float = Field(
        0.0, ge=0, le=1, description="SAM only after this share of the epochs: it costs twice."
    )
    schedule: Literal["constant", "exponential", "multistep", "one_cycle"] = "one_cycle"
    gamma: float = Field(0.98, gt=0, le=1, description="Decay an epoch, or a milestone.")
    milestones: tuple[int, ...] = ()
    warm_up: float = Field(0.1, ge=0, lt=1, description="Share of a one-cycle schedule that rises.")
    clip_norm: float = Field(0.0, ge=0, description="Largest gradient norm; 0 does not clip.")
    ema: float = Field(0.999, ge=0, lt=1, description="Decay of the averaged weights; 0 is none.")
    amp: Literal["auto", "off", "bf16"] = Field(
        "auto", description="bf16 autocast; `auto` where the device has it."
    )
    balance: Literal["none", "sampler", "loss"] = "none"
    target: Literal["majority", "distribution"] = "majority"
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    teacher: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Weight of a trained model's answers (`--teacher FILE`) in each target.",
    )
    objective: dict[str, float] = Field(
        default_factory=dict, description="Weights of the architecture's own further losses."
    )
    landmarks: bool = Field(
        False, description="Teach the landmark branch with MediaPipe's landmarks of each face."
    )
    augmentation: Augmentation = Augmentation()
    validation: float = Field(
        0.1, gt=0, lt=0.9, description="Share held out by picture hash, where the set has no split."
    )
    patience: int = Field(0, ge=0, description="Stop after this many epochs without gain; 0: run.")
    seed: int = 0

    @model_validator(mode="after")
    def _milestones_rise(self) -> Self:
        if list(self.milestones) != sorted(set(self.milestones)):
            raise ValueError("milestones must rise")
        return self

    @model_validator(mode="after")
    def _grows(self) -> Self:
        ends, sides = [g.until for g in self.grow], [g.px for g in self.grow]
        if ends != sorted(set(ends)) or sides != sorted(set(sides)):
            raise ValueError("grow: both `until` and `px` must rise")
        return self

    def side_at(self, epoch: float) -> int | None:
        """Side of the pictures at a moment of the training; None is the full size."""
        done = epoch / self.epochs
        return next((part.px for part in self.grow if done < part.until), None)


def load_recipe(path: Path, **overrides: object) -> Recipe:
    """The recipe of a YAML file, with some settings replaced.

    Raises:
        RecipeError: unreadable, not YAML, unknown key or wrong value.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: not a YAML file ({' '.join(str(error).split())})") from None
    if not isinstance(values, dict):
        raise RecipeError(f"{path}: a recipe is a mapping, got {type(values).__name__}")
    return make_recipe(values | overrides, str(path))


def make_recipe(values: Mapping[str, object], where: str = "recipe") -> Recipe:
    """A recipe from plain values.

    Raises:
        RecipeError: one line a fault, with its dotted path.
    """
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        faults = (
            f"{where}: {'.'.join(str(p) for p in fault['loc']) or 'recipe'}: {fault['msg']}"
            for fault in error.errors(include_url=False, include_context=False)
        )
        raise RecipeError("\n".join(faults)) from None
