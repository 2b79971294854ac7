"""The same trace gives the same events; another policy gives others. Which, and when?"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from monitor.engine import Engine
from monitor.policy import Policy
from monitor.types import Command, Event, HeadPose, Observation, Phase

Given = tuple[Observation, float | None, Sequence[Command]]


def events_of(
    given: Iterable[Given],
    policy: Policy,
    *,
    drive: str,
    camera: str,
    models: tuple[str, ...] = (),
    mount: HeadPose | None = None,
) -> Iterator[Event]:
    """Every event that `policy` makes of what an engine was given, in order."""
    engine = Engine(policy, drive=drive, camera=camera, models=models, mount=mount)
    for observation, speed_kmh, commands in given:
        _, events = engine.update(observation, speed_kmh, commands)
        yield from events
    yield from engine.finish()


@dataclass(frozen=True, slots=True)
class Difference:
    """One alert as two policies saw it; None where one did not raise it."""

    before: Event | None
    after: Event | None

    @property
    def word(self) -> str:
        """`same`, `changed`, `only before` or `only after`."""
        if self.before is None:
            return "only after"
        if self.after is None:
            return "only before"
        same = (self.before.kind, self.before.level) == (self.after.kind, self.after.level)
        return "same" if same and self.before.started_s == self.after.started_s else "changed"


def compare(before: Iterable[Event], after: Iterable[Event]) -> list[Difference]:
    """Pair the alerts of two runs over one trace: same track, overlapping in time."""
    left, right = _final(before), _final(after)
    differences: list[Difference] = []
    for event in left:
        match = next((other for other in right if _same_alert(event, other)), None)
        if match is not None:
            right.remove(match)
        differences.append(Difference(event, match))
    differences.extend(Difference(None, event) for event in right)
    return sorted(differences, key=lambda d: (d.before or d.after).started_s)  # type: ignore[union-attr]


def _final(events: Iterable[Event]) -> list[Event]:
    """The final word on each alert: at its highest level, at its end."""
    final: dict[str, Event] = {}
    for event in events:
        latest = final.get(event.id)
        final[event.id] = (
            event
            if latest is None or event.phase is Phase.END
            else max(latest, event, key=lambda e: (e.level, e.at_s))
        )
    return list(final.values())


def _same_alert(one: Event, other: Event) -> bool:
    overlap = min(one.at_s, other.at_s) >= max(one.started_s, other.started_s)
    return overlap and one.kind.track == other.kind.track
