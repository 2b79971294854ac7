"""A sum of curves: log-odds that anybody can read, from a file.

Each measure adds its own piecewise-linear curve; a measure that is missing adds nothing, and so
does one at nought. There is no product of two measures, so what spoke for and against a verdict is
exactly the list of the terms. (A generalised additive model: Hastie & Tibshirani 1986.)
"""

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Curve:
    """Piecewise linear, level beyond its ends.

    Attributes:
        knots: where it bends, rising.
        values: log-odds at each knot.
    """

    knots: tuple[float, ...]
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.knots) != len(self.values) or list(self.knots) != sorted(set(self.knots)):
            raise ValueError(f"a curve needs rising knots and a value for each: {self}")

    def __call__(self, x: float) -> float:
        """The log-odds at `x`."""
        place = bisect_right(self.knots, x)
        if place == 0:
            return self.values[0]
        if place == len(self.knots):
            return self.values[-1]
        x0, x1 = self.knots[place - 1], self.knots[place]
        y0, y1 = self.values[place - 1], self.values[place]
        return y0 + (y1 - y0) * (x - x0) / (x1 - x0)


@dataclass(frozen=True, slots=True)
class AdditiveModel:
    """Log-odds of one question.

    Attributes:
        bias: with nothing measured.
        curves: by the measure's name.
    """

    bias: float
    curves: Mapping[str, Curve]

    def terms(self, measures: Mapping[str, float | None]) -> dict[str, float]:
        """What each measure adds, without the bias; those that are missing add nothing."""
        return {
            name: curve(value)
            for name, curve in self.curves.items()
            if (value := measures[name]) is not None
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "AdditiveModel":
        """From the model's file."""
        return cls(
            float(values["bias"]),
            {
                name: Curve(tuple(curve["knots"]), tuple(curve["values"]))
                for name, curve in values["curves"].items()
            },
        )

    def to_dict(self) -> dict[str, object]:
        """For the model's file."""
        curves = {
            name: {"knots": list(curve.knots), "values": list(curve.values)}
            for name, curve in self.curves.items()
        }
        return {"bias": self.bias, "curves": curves}


@dataclass(frozen=True, slots=True)
class Questions:
    """The two questions of the fusion.

    Attributes:
        shut: are the lids down? closed or lowered against open.
        closed: if they are, closed or lowered to look down?
    """

    shut: AdditiveModel
    closed: AdditiveModel


@dataclass(frozen=True, slots=True)
class FusionModel:
    """The questions, each asked of whoever is there: without a network the lids must say more.

    Attributes:
        network: where the eye network sees an eye.
        landmarks: where only the mesh (and perhaps the detector) speaks.
        detector: where nobody but the detector sees the head.
        id: name and the first digits of the content's sha256.
    """

    network: Questions
    landmarks: Questions
    detector: Questions
    id: str

    def questions(self, measures: Mapping[str, float | None]) -> Questions:
        """Those for the witnesses that measured something."""
        if measures["net_shut"] is not None:
            return self.network
        return self.landmarks if measures["lids"] is not None else self.detector


def fusion_from(values: Mapping[str, Any]) -> FusionModel:
    """The model of a file's content.

    Raises:
        ValueError: it is not a fusion model.
    """
    try:
        asked = {
            witness: Questions(
                AdditiveModel.from_dict(values[witness]["shut"]),
                AdditiveModel.from_dict(values[witness]["closed"]),
            )
            for witness in WITNESSES
        }
        return FusionModel(**asked, id=f"{values['name']}@{values['sha256'][:12]}")
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a fusion model: {error!r}") from None


# Who may be asked, in the words of the model's file.
WITNESSES = ("network", "landmarks", "detector")
_SILENCE = Questions(AdditiveModel(0.0, {}), AdditiveModel(0.0, {}))
# Says nothing: for taking measures before anything was learned from them.
SILENT = FusionModel(_SILENCE, _SILENCE, _SILENCE, "")
