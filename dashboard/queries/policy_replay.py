"""Recorded drives run again: what a policy makes of a trace, and how much of that is true."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from dashboard.queries.sensitivity import Labels
from monitor.policy import Policy
from monitor.replay import Given, events_of
from monitor.scoring import intervals_of, score
from monitor.sinks.trace import TraceHeader, read_trace
from monitor.types import Event, Kind, Level

MAX_OBSERVATIONS: Final = 500_000  # about five hours at 30 fps


@dataclass(frozen=True, slots=True)
class PolicyRun:
    """What a policy made of a trace.

    Attributes:
        header: of the trace.
        events: every telling, in order.
        first_s: the trace's first instant on its monotonic clock.
        seconds: how long the trace is.
        cut: it is longer than what was run.
    """

    header: TraceHeader
    events: list[Event]
    first_s: float
    seconds: float
    cut: bool

    @property
    def alerts(self) -> list[Event]:
        """Each alert once, at its highest level; what impaired the watch is left out."""
        latest: dict[str, Event] = {}
        for event in self.events:
            held = latest.get(event.id)
            if event.kind is not Kind.DEGRADED and (held is None or event.level >= held.level):
                latest[event.id] = event
        return list(latest.values())

    def count(self, level: Level = Level.CAUTION) -> int:
        """Alerts of at least this level."""
        return sum(event.level >= level for event in self.alerts)


@dataclass(frozen=True, slots=True)
class ReplayScore:
    """Over labelled drives: alerts that were due, of them found, and alerts nobody called for."""

    due: int
    matched: int
    false: int


def run_again(file: Path, policy: Policy) -> PolicyRun:
    """Run a trace under a policy.

    Raises:
        SourceError: it is no trace, or damaged.
    """
    header, given = read_trace(file)
    clock = _Clock(given)
    made = events_of(
        clock,
        policy,
        drive=header.drive,
        camera=header.camera,
        models=header.models,
        mount=header.mount_pose,
    )
    events = list(made)
    seconds = clock.last_s - clock.first_s
    return PolicyRun(header, events, clock.first_s, seconds, clock.count >= MAX_OBSERVATIONS)


def score_runs(runs: list[PolicyRun], labels: list[Labels | None], policy: Policy) -> ReplayScore:
    """Found and false alerts over the drives of which it is known what the driver did."""
    due = matched = false = 0
    for run, labelled in zip(runs, labels, strict=True):
        if labelled is None or not labelled.intervals:
            continue
        result = score(intervals_of(labelled.truth), run.events, policy)
        due += len(result.matches)
        matched += sum(event is not None for _, event in result.matches)
        false += sum(alert.level >= Level.CAUTION for alert in result.false)
    return ReplayScore(due, matched, false)


class _Clock:
    """Passes on what an engine is given and remembers how long it took."""

    def __init__(self, given: Iterable[Given]) -> None:
        self._given = given
        self.first_s = self.last_s = 0.0
        self.count = 0

    def __iter__(self) -> Iterator[Given]:
        for one in islice(self._given, MAX_OBSERVATIONS):
            self.last_s = one[0].timestamp_s
            if not self.count:
                self.first_s = self.last_s
            self.count += 1
            yield one
