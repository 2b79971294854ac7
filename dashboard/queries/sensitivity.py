"""Alerts against what is known of a drive: found, missed, false, and the DDAW's own figure.

Labels are a JSON document: `intervals` as `wakeful models synthesize` writes them (what the driver
did, when), `kss` with the driver's own reports (`at_s`, `kss` 1..9), or both.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from monitor.types import Event, Kind, Level

# EU 2021/1341, Part 2: a warning is due from KSS 8, and right if the report before or after it
# is at least 7. Accepted: mean sensitivity over 40 %, or the lower bound of the 90 % interval
# over 20 %.
DUE_KSS, RIGHT_KSS = 8, 7
ACCEPTED_MEAN, ACCEPTED_BOUND = 0.40, 0.20
MAX_LABEL_BYTES: Final = 5_000_000
# Student's t, one-sided 95 %, by degrees of freedom; beyond the table the normal's 1.645.
_T95: Final = (6.314, 2.920, 2.353, 2.132, 2.015, 1.943, 1.895, 1.860, 1.833, 1.812)
DROWSINESS: Final = {Kind.DROWSY, Kind.MICROSLEEP, Kind.SLEEP, Kind.UNRESPONSIVE}


class Interval(BaseModel):
    """Something the driver did."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)

    kind: str
    start_s: float = Field(ge=0)
    end_s: float = Field(ge=0)


class KssReport(BaseModel):
    """The driver's own word on their sleepiness over the minutes before."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    at_s: float = Field(ge=0)
    kss: int = Field(ge=1, le=9)


class Labels(BaseModel):
    """What is known of a drive, on its own clock."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    intervals: tuple[Interval, ...] = Field((), max_length=100_000)
    kss: tuple[KssReport, ...] = Field((), max_length=10_000)

    @property
    def truth(self) -> list[dict[str, Any]]:
        """The intervals as plain dictionaries."""
        return [interval.model_dump() for interval in self.intervals]


@dataclass(frozen=True, slots=True)
class Answered:
    """Of one drive: warnings that were due and given, due and missing, and undue."""

    right: int
    missed: int
    undue: int

    @property
    def sensitivity(self) -> float | None:
        """TP / (TP + FN); None where no warning was due."""
        due = self.right + self.missed
        return self.right / due if due else None


def read_labels(data: bytes) -> Labels:
    """Labels from a file.

    Raises:
        ValueError: too large, not JSON, or not labels; one line.
    """
    if len(data) > MAX_LABEL_BYTES:
        raise ValueError(f"labels have more than {MAX_LABEL_BYTES // 1_000_000} MB")
    try:
        return Labels.model_validate(json.loads(data))
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(str(part) for part in fault["loc"])
        raise ValueError(f"labels: {place}: {fault['msg']}") from None
    except (ValueError, RecursionError):
        raise ValueError("labels: not JSON") from None


def answered(events: Sequence[Event], reports: Sequence[KssReport]) -> Answered:
    """Warnings of drowsiness against the driver's own reports.

    Each report covers the time since the one before. A warning is right if the report before or
    after it is at least 7; what follows a right one is not judged (Part 2, 5.1). A report of 8 or
    more without a warning in its time is a miss, unless the next one is below 8 (7: an outlier;
    6 or less: left out).
    """
    warnings = sorted(e.started_s for e in events if _warns(e))
    ordered = sorted(reports, key=lambda report: report.at_s)
    right = missed = undue = 0
    since = -math.inf
    for index, report in enumerate(ordered):
        inside = [at for at in warnings if since < at <= report.at_s]
        before = ordered[index - 1].kss if index else 0
        if inside and max(before, report.kss) >= RIGHT_KSS:
            return Answered(right + 1, missed, undue)
        undue += len(inside)
        following = ordered[index + 1].kss if index + 1 < len(ordered) else report.kss
        if not inside and report.kss >= DUE_KSS and following >= DUE_KSS:
            missed += 1
        since = report.at_s
    return Answered(right, missed, undue)


def _warns(event: Event) -> bool:
    return event.kind in DROWSINESS and event.level >= Level.CAUTION


def accepted(sensitivities: Sequence[float]) -> tuple[float, float | None, bool]:
    """Mean sensitivity over participants, the lower bound of its 90 % interval, and the verdict.

    Raises:
        ValueError: no participant.
    """
    if not sensitivities:
        raise ValueError("no labelled drive with a due warning")
    count = len(sensitivities)
    mean = math.fsum(sensitivities) / count
    if count < 2:
        return mean, None, mean > ACCEPTED_MEAN
    spread = math.sqrt(math.fsum((s - mean) ** 2 for s in sensitivities) / (count - 1))
    t = _T95[count - 2] if count - 2 < len(_T95) else 1.645
    bound = mean - t * spread / math.sqrt(count)
    return mean, bound, mean > ACCEPTED_MEAN or bound > ACCEPTED_BOUND
