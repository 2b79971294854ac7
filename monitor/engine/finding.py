"""What a rule says when it saw something, and the words rules share about time."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

from monitor.types import Evidence, Kind, Level

# Capture times are differences of floats: a threshold is reached within this.
EPSILON_S = 1e-6

State = TypeVar("State")


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule's condition holds.

    Attributes:
        track: what it is about; there is one open alert a track.
        kind, level: the rung reached.
        since_s: when the condition began, monotonic.
        until_s: when it was last true: the end of the episode once nothing is found any more.
        evidence: the numbers that made it.
        rung: how far up the rule's own steps, where level and kind alone do not say it.
    """

    track: str
    kind: Kind
    level: Level
    since_s: float
    until_s: float
    evidence: Evidence
    rung: int = 0


def reached(seconds: float, threshold_s: float) -> bool:
    """`seconds` has come to the threshold, give or take a rounding of the clock."""
    return seconds >= threshold_s - EPSILON_S


def rounded(value: float | None, digits: int) -> float | None:
    """`value` as it is written in evidence, a plain float; None stays None."""
    return None if value is None else round(float(value), digits)


@dataclass
class Elapsed:
    """Cuts time into spans of one state each, whatever the frame rate.

    A reading stands for half the time to each of its neighbours: half a frame early or late at any
    rate, so that no frame rate finds closures longer than another. What lies in a gap was seen by
    nobody.
    """

    max_gap_s: float
    _at_s: float | None = None

    def spans(
        self, now_s: float, was: State, now: State, unseen: State
    ) -> Iterator[tuple[float, float, State]]:
        """(start_s, end_s, state) from the last reading to this one; nothing at the first.

        Args:
            now_s: time of this reading.
            was, now: the state the last reading found, and this one.
            unseen: the state of a gap.
        """
        then_s, self._at_s = self._at_s, now_s
        if then_s is None:
            return
        if now_s - then_s > self.max_gap_s:
            yield then_s, now_s, unseen
        elif was == now:
            yield then_s, now_s, now
        else:
            middle_s = (then_s + now_s) / 2
            yield then_s, middle_s, was
            yield middle_s, now_s, now
