"""Make `recording.jsonl.gz` anew: `python -m monitor.fleet.simulator.recorder FOLDER`.

The films of `films` are put together to short drives: a minute in which the engine learns the
driver, something that happens, quiet minutes. Each drive goes through an engine of its own under
the default policy, on the road and in town, with a driver who answers and one who does not. What
the engine says, from twenty seconds before it happens until twenty seconds after all is over, is a
piece. FOLDER keeps what was measured on the films, so that the engines' part is done in a minute.
"""

import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace
from itertools import cycle, islice
from pathlib import Path
from typing import Final

from monitor.engine import Engine
from monitor.fleet.simulator import films, recording
from monitor.fleet.simulator.films import FPS
from monitor.fleet.simulator.recording import Piece, write_recording
from monitor.policy import Policy, load_policy
from monitor.protocol.camera_status import StatusFilter
from monitor.protocol.schemas import CameraStatus
from monitor.types import (
    CameraCondition,
    Command,
    DriverState,
    EndedBy,
    Event,
    HeadPose,
    Level,
    Observation,
    Phase,
)

Films = Mapping[str, Sequence[Observation]]

LEARNING_S: Final = 75
AROUND_S: Final = 20
AFTER_S: Final = 150
QUIET_S: Final = 240
ANSWERS_AFTER_S: Final = 3.0
ROAD_KMH, TOWN_KMH, STANDING_KMH = 84.0, 45.0, 0.0
# The speed swings, as speeds do.
SWING_KMH, SWING_S = 3.0, 40.0
# In every film of something that hides the driver: it has come, and does not yet begin to go.
STEADY: Final = slice(int(4.5 * FPS), int(7.5 * FPS))


@dataclass(frozen=True, slots=True)
class Strip:
    """What was measured while something was played, and how many frames a second there were."""

    observations: Sequence[Observation]
    fps: float = FPS


@dataclass(frozen=True, slots=True)
class Take:
    """A drive to be recorded.

    Attributes:
        name: of what happens.
        strips: films of it, one after another.
        speed_kmh: of the vehicle, about.
        answers: the driver acknowledges each warning.
    """

    name: str
    strips: Sequence[Strip]
    speed_kmh: float = ROAD_KMH
    answers: bool = False


@dataclass
class Recorded:
    """What an engine said of a drive, by the drive's clock; a state and a frame rate a second."""

    states: list[DriverState] = field(default_factory=list)
    fps: list[float] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    statuses: list[tuple[float, CameraStatus]] = field(default_factory=list)


# --- what is played ----------------------------------------------------------------------------


def takes(seen: Films) -> Iterator[Take]:
    """Every drive to be recorded."""
    for name, strips in [*_of_drivers(seen), *_of_drowsiness(seen)]:
        yield Take(name, strips)
        yield Take(name, strips, answers=True)
        yield Take(name, strips, TOWN_KMH)
    for seconds in (15, 45, 120, 300):
        yield Take(f"away {seconds} s", [lasting(seen["absent"], seconds)], STANDING_KMH)
    for name, strips in _of_cameras(seen):
        yield Take(name, strips)


def _of_drivers(seen: Films) -> Iterator[tuple[str, Sequence[Strip]]]:
    singly = ("closed_", "nod_", "yawn_", "left_", "right_", "down_")
    for name, strip in seen.items():
        if name.startswith(singly):
            yield name, [Strip(strip)]
    pause, yawns = quiet(seen, 60), [Strip(seen[f"yawn_{s}"]) for s in ("3", "4.4", "2.2")]
    yield "three yawns", [yawns[0], pause, yawns[1], pause, yawns[2]]
    yield "many glances", [Strip(seen["glance"])] * 6
    for seconds in (6, 9, 15, 30):
        yield f"absent {seconds} s", [lasting(seen["absent"], seconds)]


def _of_drowsiness(seen: Films) -> Iterator[tuple[str, Sequence[Strip]]]:
    for film, every_s in (("long_blink", 5.0), ("long_blink", 3.4), ("longer_blink", 2.1)):
        for seconds in (60, 150, 300):
            yield f"{film} every {every_s:g} s", [blinking(seen, film, every_s, seconds)]


def _of_cameras(seen: Films) -> Iterator[tuple[str, Sequence[Strip]]]:
    hidden = {
        "covered": (30, 120, 420),
        "dim": (6, 12, 30, 60),
        "glare": (6, 10, 16, 30),
        "frozen": (8, 30, 120, 300),
        "passenger": (8, 20, 40),
    }
    for film, lengths in hidden.items():
        for seconds in lengths:
            yield f"{film} {seconds} s", [lasting(seen[film], seconds)]
    for seconds in (3, 10, 45, 120, 300):
        yield f"lost {seconds} s", [lost(seconds)]
    for seconds in (15, 60, 150):
        yield f"slow {seconds} s", [Strip(quiet(seen, seconds).observations[::3], FPS / 3)]
        yield f"sunglasses {seconds} s", [_repeated(seen[films.SUNGLASSES], seconds)]


def quiet(seen: Films, seconds: float) -> Strip:
    """An attentive driver."""
    return _repeated(seen[films.QUIET], seconds)


def lasting(film: Sequence[Observation], seconds: float) -> Strip:
    """A film in which something hides the driver for 6 s, as if it had been so many."""
    more = islice(cycle(film[STEADY]), max(int((seconds - 6) * FPS), 0))
    return Strip([*film[: STEADY.stop], *more, *film[STEADY.stop :]])


def blinking(seen: Films, film: str, every_s: float, seconds: float) -> Strip:
    """Heavy lids: a film of one blink, over and over."""
    blink = seen[film]
    pause = quiet(seen, max(every_s - len(blink) / FPS, 0.0)).observations
    return _repeated([*blink, *pause], seconds)


def lost(seconds: int) -> Strip:
    """As perception tells a camera that is gone: once a second, and nothing else."""
    return Strip([Observation(0.0, 0.0, condition=CameraCondition.LOST)] * seconds, fps=1.0)


def _repeated(film: Sequence[Observation], seconds: float) -> Strip:
    return Strip(list(islice(cycle(film), int(seconds * FPS))))


def on_one_clock(strips: Iterable[Strip]) -> Iterator[Observation]:
    """Strips one after another; both clocks begin at 0."""
    now_s, index = 0.0, 0
    for strip in strips:
        for observation in strip.observations:
            yield replace(observation, timestamp_s=now_s, captured_at=now_s, index=index)
            now_s, index = round(now_s + 1 / strip.fps, 6), index + 1


# --- what the engine says of it ----------------------------------------------------------------


def record(observations: Iterable[Observation], take: Take, policy: Policy) -> Recorded:
    """Run a drive through a fresh engine, to its end."""
    engine = Engine(policy, drive=f"{take.name} {take.speed_kmh:g} {take.answers}")
    status, out, warned_s, frames = StatusFilter(), Recorded(), math.inf, 0
    for observation in observations:
        now_s = observation.timestamp_s
        swing = math.sin(2 * math.pi * now_s / SWING_S) if take.speed_kmh else 0.0
        answer = take.answers and now_s - warned_s >= ANSWERS_AFTER_S
        state, events = engine.update(
            observation,
            take.speed_kmh + round(SWING_KMH * swing, 1),
            (Command.ACKNOWLEDGE,) if answer else (),
        )
        begun = any(e.phase is Phase.START and e.level >= Level.WARNING for e in events)
        warned_s = now_s if begun else math.inf if answer else warned_s
        out.events += events
        if (changed := status.update(observation.condition, state)) is not None:
            out.statuses.append((now_s, changed))
        frames += 1
        while len(out.states) <= now_s:
            out.states.append(state)
            out.fps.append(float(frames))
            frames = 0
    out.events += engine.finish()
    return out


def cut(recorded: Recorded, scene: str, begin_s: int, end_s: int, drowsiness: int = 0) -> Piece:
    """A stretch of a recorded drive, its clock beginning at 0.

    Raises:
        ValueError: an alert began in it that is not over at its end.
    """
    events = [e for e in recorded.events if begin_s <= e.started_s < end_s]
    cut_off = [e.kind for e in events if e.evidence.ended_by is EndedBy.DRIVE or e.at_s > end_s]
    if cut_off:
        raise ValueError(f"{scene}: {cut_off[0]} is not over after {end_s - begin_s} s")
    return Piece(
        scene=scene,
        drowsiness=drowsiness,
        fps=tuple(recorded.fps[begin_s:end_s]),
        states=tuple(_state_from(begin_s, s) for s in recorded.states[begin_s:end_s]),
        events=tuple(_event_from(begin_s, event) for event in events),
        statuses=tuple((at - begin_s, s) for at, s in recorded.statuses if begin_s <= at < end_s),
    )


def _state_from(begin_s: float, state: DriverState) -> DriverState:
    return replace(
        state,
        timestamp_s=round(state.timestamp_s - begin_s, 3),
        captured_at=round(state.captured_at - begin_s, 3),
        openness=_rounded(state.openness, 3),
        perclos=_rounded(state.perclos, 4),
        coverage=round(state.coverage, 3),
        fatigue=_rounded(state.fatigue, 1),
        pose=state.pose and HeadPose(*(round(angle, 1) for angle in astuple(state.pose))),
    )


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def _event_from(begin_s: float, event: Event) -> Event:
    return replace(
        event,
        started_at=round(event.started_at - begin_s, 3),
        at=round(event.at - begin_s, 3),
        started_s=round(event.started_s - begin_s, 3),
        at_s=round(event.at_s - begin_s, 3),
    )


def pieces(seen: Films, policy: Policy) -> Iterator[Piece]:
    """Everything that is recorded; a drive in which nothing is raised gives none."""
    learning, calm_s = quiet(seen, LEARNING_S), AFTER_S + QUIET_S
    calm = quiet(seen, calm_s), *(blinking(seen, "long_blink", s, calm_s) for s in (14.0, 9.0))
    for drowsiness, strip in enumerate(calm):
        drive = record(on_one_clock([learning, strip]), Take(recording.QUIET, [strip]), policy)
        if drive.events:
            raise ValueError(f"quiet, drowsiness {drowsiness}: {drive.events[0].kind} was raised")
        if drowsiness == 0:
            yield cut(drive, recording.START, 0, LEARNING_S)
        yield cut(drive, recording.QUIET, AFTER_S, AFTER_S + QUIET_S, drowsiness)
    for take in takes(seen):
        strips = [learning, *take.strips, quiet(seen, AFTER_S)]
        drive = record(on_one_clock(strips), take, policy)
        if drive.events:
            end_s = math.ceil(max(event.at_s for event in drive.events)) + AROUND_S
            yield cut(drive, take.name, LEARNING_S - AROUND_S, end_s)


def main(folder: Path, file: Path = recording.FILE) -> None:
    """Record everything and write it down."""
    seen, models = films.measured(folder)
    made = [_by(models, piece) for piece in pieces(seen, load_policy("default"))]
    write_recording(made, file)
    events = sum(len(piece.tellings) for piece in made)
    sys.stdout.write(f"{len(made)} pieces, {events} events, {file.stat().st_size} bytes: {file}\n")


def _by(models: tuple[str, ...], piece: Piece) -> Piece:
    events = (replace(event, models=(*models, *event.models)) for event in piece.events)
    return replace(piece, events=tuple(events))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
