"""What is known of a model, as one JSON document: accuracy, cost, latency, robustness, budget.

Torch-free, so that the dashboard and `wakeful models list` read it at once. Figures that were
published and figures that were measured here never share a record: each says its `origin`.
"""

import json
import math
from pathlib import Path
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from models.registry import RESULTS

Origin = Literal["published", "measured"]
Interval = tuple[float, float]
PUBLISHED = "published.json"
# Behind a split's name: counted without the faces that are nearly in the training split too.
WITHOUT = " without near duplicates"


class ReportError(ValueError):
    """A report that cannot be read, in one line."""


class Record(BaseModel):
    """A part of a report: unknown keys are refused, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Accuracy(Record):
    """How often a classifier is right on one data set.

    Attributes:
        overall: share of pictures that are right; mean_class: mean of the classes' recalls.
        ci: 95 % interval of `overall` (Wilson); mean_class_ci: of `mean_class` (bootstrap).
        selection: what the weights were chosen on: `validation`, or the `test` set itself.
        filter: which pictures of the split were counted.
        confusion: rows are the truth, columns the answer, in the order of `labels`.
        source: paper or command the figure comes from.
    """

    dataset: str
    split: str
    n: int | None = Field(None, ge=1)
    overall: float | None = Field(None, ge=0, le=1)
    mean_class: float | None = Field(None, ge=0, le=1)
    ci: Interval | None = None
    mean_class_ci: Interval | None = None
    selection: Literal["validation", "test", "unknown"] = "unknown"
    origin: Origin
    filter: str = ""
    labels: tuple[str, ...] = ()
    confusion: tuple[tuple[int, ...], ...] = ()
    source: str = ""

    @model_validator(mode="after")
    def _square(self) -> Self:
        rows = {len(row) for row in self.confusion}
        if self.confusion and rows | {len(self.confusion)} != {len(self.labels)}:
            raise ValueError("confusion must be square and as wide as labels")
        return self

    @property
    def per_class(self) -> dict[str, float | None]:
        """Recall of each label; None where the set has none of it."""
        return {
            label: row[i] / sum(row) if sum(row) else None
            for i, (label, row) in enumerate(zip(self.labels, self.confusion, strict=False))
        }


class DetectionAccuracy(Record):
    """How well a detector finds and names faces on one data set."""

    dataset: str
    split: str
    n: int | None = Field(None, ge=1)
    instances: int | None = None
    precision: float | None = None
    recall: float | None = None
    map50: float | None = None
    map50_95: float | None = None
    ci_map50: Interval | None = None
    per_class: dict[str, dict[str, float]] = Field(default_factory=dict)
    selection: Literal["validation", "test", "unknown"] = "unknown"
    origin: Origin
    source: str = ""


class Cost(Record):
    """What one look costs. `flops` follows from `macs` and is never typed in.

    Attributes:
        params_total: of the file as released, dead layers included.
        params_live: that a picture reaches.
        params_trainable: that training changes.
        macs: multiply-accumulates of one picture, attention counted.
        counter: what counted them.
    """

    params_total: int | None = None
    params_live: int | None = None
    params_trainable: int | None = None
    macs: int | None = None
    input_hw: tuple[int, int] | None = None
    counter: str = ""
    origin: Origin = "measured"
    source: str = ""

    @property
    def flops(self) -> int | None:
        """Floating-point operations: two a multiply-accumulate."""
        return None if self.macs is None else 2 * self.macs


class Latency(Record):
    """Milliseconds of one call, picture in memory to probabilities."""

    runtime: str
    device: str
    threads: int | None = None
    precision: str = "fp32"
    batch: int = 1
    warm_up: int = 0
    n: int = 0
    p50_ms: float
    p95_ms: float | None = None
    origin: Origin = "measured"
    source: str = ""


class Robustness(Record):
    """Accuracy on the same pictures, spoiled in one way."""

    condition: str
    dataset: str
    n: int
    overall: float
    ci: Interval
    drop: float


class Agreement(Record):
    """How often another runtime names the same best label as eager fp32."""

    runtime: str
    precision: str
    n: int
    same_top1: float
    accuracy: float | None = None


class Budget(Record):
    """What the training cost, and on what hardware."""

    epochs: int
    best_epoch: int | None = None
    hours: float
    device: str
    threads: int | None = None
    processes: int = 1
    pictures: int
    input_hw: tuple[int, int] | None = None
    recipe: str = ""
    note: str = ""


class Report(Record):
    """Everything known of one model from one origin."""

    model: str
    task: str = "expression"
    labels: tuple[str, ...] = ()
    weights_sha256: str = ""
    created: str = ""
    command: str = ""
    accuracy: tuple[Accuracy, ...] = ()
    detection: tuple[DetectionAccuracy, ...] = ()
    cost: Cost | None = None
    latency: tuple[Latency, ...] = ()
    robustness: tuple[Robustness, ...] = ()
    agreement: tuple[Agreement, ...] = ()
    budget: Budget | None = None
    notes: tuple[str, ...] = ()

    def to_json(self) -> str:
        """The report as a JSON document, without what is not known."""
        return json.dumps(self.model_dump(mode="json", exclude_defaults=True), indent=1) + "\n"

    def save(self, path: Path) -> None:
        """Write the report where `load_reports` finds it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.to_json(), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> "Report":
        """Read one report.

        Raises:
            ReportError: unreadable, not JSON, unknown key or wrong value.
        """
        return _parse(cls, _read(path), path)


def load_reports(folder: Path = RESULTS) -> list[Report]:
    """Every measured report of a folder, by model name; an absent folder holds none."""
    paths = sorted(p for p in folder.glob("*.json") if p.name != PUBLISHED)
    return [Report.load(path) for path in paths]


def load_published(path: Path = RESULTS / PUBLISHED) -> list[Report]:
    """The figures papers give, each with its source."""
    entries = _read(path)
    if not isinstance(entries, list):
        raise ReportError(f"{path}: must be a list of reports")
    return [_parse(Report, entry, path) for entry in entries]


def _read(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ReportError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise ReportError(f"{path}: not JSON ({error})") from None


def _parse(kind: type[Report], values: object, path: Path) -> Report:
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False)[0]
        place = ".".join(str(p) for p in fault["loc"]) or "report"
        raise ReportError(f"{path}: {place}: {fault['msg']}") from None


def wilson(right: int, n: int, z: float = 1.959964) -> Interval:
    """95 % interval of a share (Wilson 1927).

    Raises:
        ValueError: n is not positive, or right does not lie in 0..n.
    """
    if n <= 0 or not 0 <= right <= n:
        raise ValueError(f"need 0 <= right <= n and n > 0, got {right} of {n}")
    share = right / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    # At the ends the interval touches 0 or 1 exactly; rounding must not put the share outside.
    return min(max(0.0, centre - half), share), max(min(1.0, centre + half), share)


def mean_class_interval(confusion: NDArray[np.int64], draws: int = 2000, seed: int = 0) -> Interval:
    """95 % bootstrap interval of the mean of the classes' recalls, drawn within each class."""
    rng = np.random.default_rng(seed)
    totals = confusion.sum(1)
    present = totals > 0
    recalls = np.diag(confusion)[present] / totals[present]
    drawn = rng.binomial(totals[present], recalls, size=(draws, int(present.sum())))
    means = (drawn / totals[present]).mean(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def accuracy_of(
    truth: NDArray[np.int64], answers: NDArray[np.int64], labels: tuple[str, ...], **about: str
) -> Accuracy:
    """The accuracy record of measured answers.

    Args:
        truth, found: (N,) indices into labels.
        labels: in the order of the indices.
        about: `dataset`, `split`, `selection`, `filter`, `source`.
    """
    confusion = np.zeros((len(labels), len(labels)), dtype=np.int64)
    np.add.at(confusion, (truth, answers), 1)
    right, n = int(np.trace(confusion)), int(confusion.sum())
    present = confusion.sum(1) > 0
    recalls = np.diag(confusion)[present] / confusion.sum(1)[present]
    return Accuracy.model_validate({
        "n": n, "overall": right / n, "mean_class": float(recalls.mean()),
        "ci": wilson(right, n), "mean_class_ci": mean_class_interval(confusion),
        "origin": "measured", "labels": labels, "confusion": confusion.tolist(), **about,
    })  # fmt: skip
