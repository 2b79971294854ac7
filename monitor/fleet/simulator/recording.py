"""What the real engine made of recorded drives, in the pieces that simulated drives are made of.

`recorder` writes the file; nothing in it is invented. A piece is a stretch of a recorded drive: the
driver's state once a second, every event that was sent, the camera's status.
"""

import gzip
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter

from monitor.protocol.mapping import event_line
from monitor.protocol.schemas import CameraStatus
from monitor.types import Cause, DriverState, Event

FILE: Final = Path(__file__).with_name("recording.jsonl.gz")
START, QUIET = "start", "quiet"
# What a piece is about: the rule that found its most urgent event, its cause, whether the vehicle
# stood.
About = tuple[str, Cause | None, bool]


@dataclass(frozen=True, eq=False)
class Piece:
    """A stretch of a recorded drive. All its times are seconds from its start.

    Attributes:
        scene: `start`, `quiet` or the name of what was played.
        drowsiness: of a quiet piece: 0 rested, 1 tired, 2 sleepy, short of an alert.
        states: one a second.
        fps: frames in the second before each of them.
        events: everything that was sent, in order; each that began is over in the end.
        statuses: the camera's status whenever it changed.
    """

    scene: str
    drowsiness: int
    states: tuple[DriverState, ...]
    fps: tuple[float, ...]
    events: tuple[Event, ...] = ()
    statuses: tuple[tuple[float, CameraStatus], ...] = ()

    @cached_property
    def tellings(self) -> Mapping[str, tuple[int, ...]]:
        """Places in `events` by the event's id, in the order in which the events began."""
        places: dict[str, list[int]] = {}
        for place, event in enumerate(self.events):
            places.setdefault(event.id, []).append(place)
        return {name: tuple(places) for name, places in places.items()}

    @cached_property
    def main(self) -> Event:
        """The last word on its most urgent event."""
        last = [self.events[places[-1]] for places in self.tellings.values()]
        return max(last, key=lambda event: event.level)

    @property
    def about(self) -> About:
        """What it is about."""
        evidence = self.main.evidence
        return evidence.rule, self.main.cause, not evidence.speed_kmh

    @cached_property
    def unwatched(self) -> tuple[tuple[int, int, str], ...]:
        """(from, to, cause): the seconds in which something impaired the watch."""
        spans: list[tuple[int, int, str]] = []
        for second, state in enumerate(self.states):
            cause = state.degraded[0].value if state.degraded else ""
            if spans and spans[-1][1:] == (second, cause):
                spans[-1] = (spans[-1][0], second + 1, cause)
            elif cause:
                spans.append((second, second + 1, cause))
        return tuple(spans)


class Recording:
    """All pieces, by what is asked of them."""

    def __init__(self, pieces: Iterable[Piece]) -> None:
        self._about: dict[About, list[Piece]] = {}
        quiet: dict[int, Piece] = {}
        for piece in pieces:
            if piece.scene == START:
                self.start = piece
            elif piece.scene == QUIET:
                quiet[piece.drowsiness] = piece
            else:
                self._about.setdefault(piece.about, []).append(piece)
        self.quiet = [quiet[drowsiness] for drowsiness in sorted(quiet)]
        # Of the policy that the engine had.
        self.policy = next(p.main.policy for alike in self._about.values() for p in alike)
        for alike in self._about.values():
            alike.sort(key=lambda piece: piece.main.duration_s)
        self._seconds = {
            about: [piece.main.duration_s for piece in alike]
            for about, alike in self._about.items()
        }

    @property
    def abouts(self) -> frozenset[About]:
        """Everything that was recorded."""
        return frozenset(self._about)

    def of(self, about: About) -> list[Piece]:
        """Every piece about this, the shortest alert first."""
        return self._about[about]

    def like(self, about: About, seconds: float, chance: float) -> Piece:
        """A piece whose alert lasted about so long; of several as near, `chance` (0..1) takes one.

        Raises:
            KeyError: nothing like it was recorded.
        """
        lengths = self._seconds[about]
        nearest_s = min(lengths, key=lambda length: abs(length - seconds))
        near = [n for n, length in enumerate(lengths) if abs(length - nearest_s) <= _ALIKE_S]
        return self._about[about][near[int(chance * len(near))]]


# Recordings of one film at another speed differ by less.
_ALIKE_S = 0.3
_PIECE: TypeAdapter[Piece] = TypeAdapter(Piece)
_STATES: TypeAdapter[tuple[DriverState, ...]] = TypeAdapter(tuple[DriverState, ...])


def write_recording(pieces: Iterable[Piece], file: Path) -> None:
    """Write pieces, one JSON line each; the same pieces give the same bytes."""
    lines = []
    for piece in pieces:
        values = {
            "scene": piece.scene,
            "drowsiness": piece.drowsiness,
            "fps": piece.fps,
            "states": _STATES.dump_python(piece.states, mode="json", exclude_defaults=True),
            "events": [json.loads(event_line(event)) for event in piece.events],
            "statuses": [(at_s, status.value) for at_s, status in piece.statuses],
        }
        lines.append(json.dumps(values, separators=(",", ":")))
    text = "".join(f"{line}\n" for line in lines)
    file.write_bytes(gzip.compress(text.encode(), mtime=0))


def read_recording(file: Path) -> Recording:
    """The pieces of a file, checked."""
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        return Recording([_PIECE.validate_json(line) for line in lines])


@cache
def shipped_recording() -> Recording:
    """What ships with the simulator."""
    return read_recording(FILE)
