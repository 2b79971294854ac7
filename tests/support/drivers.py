"""Drivers as stories: `attentive(5) + eyes_closed(2.5) + attentive(5)`.

A story says what a driver does and for how long; `.at(fps=30)` turns it into the observations that
perception would make of it, with the lids, poses and mouths of the `Person` who drives. Nothing
here knows a rule or a threshold.
"""

import math
import random
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

import pytest

from monitor.engine import Engine
from monitor.policy import Policy, load_policy
from monitor.types import (
    CLOSURES,
    Box,
    CameraCondition,
    Command,
    Detection,
    DriverState,
    Event,
    EyeProbabilities,
    HeadPose,
    Kind,
    Level,
    Observation,
    Phase,
    Quality,
)

FACE = Box(220, 120, 420, 360)
GOOD = Quality(brightness=120, contrast=45, sharpness=180, face_height_px=240)
# An evening in 2026; any wall clock would do.
WALL_S = 1_780_000_000.0


@dataclass(frozen=True)
class Person:
    """How one driver measures."""

    ear_open: float = 0.30
    ear_closed: float = 0.06
    mar_rest: float = 0.05
    lower_lid: float = 0.14
    yaw_deg: float = 0.0
    pitch_deg: float = 0.0
    glasses: float = 1.0


@dataclass(frozen=True)
class Scene:
    """What is to be seen at one instant; the default is an attentive driver."""

    openness: float = 1.0
    lower_lid: float = 1.0
    gaze_down: float = 0.3
    mouth: float = 0.0
    yaw_deg: float = 0.0
    pitch_deg: float = 0.0
    face: bool = True
    landmarks: bool = True
    faces: int = 1
    closed: float | None = None
    sleep: float | None = None
    condition: CameraCondition = CameraCondition.OK
    quality: Quality | None = GOOD
    face_box: Box = FACE
    glasses: float = 1.0
    dropped: bool = False
    errors: tuple[str, ...] = ()
    speed_kmh: float | None = None
    commands: tuple[Command, ...] = ()


Change = Callable[[float, Scene], Scene]


@dataclass(frozen=True)
class Part:
    """So many seconds, and what happens in them (time since the part's start, scene before)."""

    seconds: float
    change: Change


@dataclass(frozen=True)
class Story:
    """Parts one after another, under conditions that hold throughout."""

    parts: tuple[Part, ...] = ()

    def __add__(self, other: "Story") -> "Story":
        return Story(self.parts + other.parts)

    def __mul__(self, times: int) -> "Story":
        return Story(self.parts * times)

    @property
    def seconds(self) -> float:
        return sum(part.seconds for part in self.parts)

    def but(self, **fields: Any) -> "Story":
        """The same story with these fields of every scene overridden."""

        def over(change: Change) -> Change:
            return lambda t, scene: replace(change(t, scene), **fields)

        return Story(tuple(Part(part.seconds, over(part.change)) for part in self.parts))

    def driving(self, kmh: float | None) -> "Story":
        """The same story at this speed."""
        return self.but(speed_kmh=kmh)

    def _scene(self, t: float, starts: list[float]) -> Scene:
        # A hair late, so that a frame on the boundary belongs to what begins there.
        place = min(bisect_right(starts, t + 1e-9) - 1, len(self.parts) - 1)
        return self.parts[place].change(t - starts[place], Scene())

    def at(
        self,
        fps: float = 30,
        *,
        person: Person | None = None,
        start_s: float = 100.0,
        noise: float = 0.0,
        seed: int = 0,
        wall: Callable[[float], float] = lambda t: WALL_S + t,
    ) -> Iterator[tuple[Observation, float | None, tuple[Command, ...]]]:
        """What perception makes of it: observation, speed and commands of every frame."""
        rng = random.Random(seed)
        told: set[int] = set()
        starts = [0.0, *accumulate(part.seconds for part in self.parts)]
        for index in range(round(self.seconds * fps)):
            t = index / fps
            scene = self._scene(t, starts)
            if scene.dropped:
                continue
            commands = () if id(scene.commands) in told else scene.commands
            told.add(id(scene.commands))
            measured = _measured(scene, person or Person(), rng, noise)
            observation = Observation(start_s + t, wall(t), index=index, **measured)
            yield observation, scene.speed_kmh, commands


def both_eyes(closed: float | None) -> dict[str, EyeProbabilities | None]:
    """Both eyes closed with this probability by the eye-state network, else open."""
    eye = None if closed is None else EyeProbabilities(1 - closed, closed, 0.0, 0.0)
    return {"eye_left": eye, "eye_right": eye}


def _measured(scene: Scene, person: Person, rng: random.Random, noise: float) -> dict[str, Any]:
    if scene.condition is not CameraCondition.OK:
        return {"condition": scene.condition}
    seen: dict[str, Any] = {"size_px": (640, 480), "quality": scene.quality, "errors": scene.errors}
    if not scene.face:
        if scene.quality is not None:
            seen["quality"] = replace(scene.quality, face_height_px=None)
        return {**seen, "faces": scene.faces - 1}
    seen |= {"face": scene.face_box, "faces": scene.faces, **both_eyes(scene.closed)}
    if scene.sleep is not None:
        seen["detection"] = Detection(scene.face_box, awake=1 - scene.sleep, sleep=scene.sleep)
    if not scene.landmarks:
        return seen
    yaw = person.yaw_deg + scene.yaw_deg + rng.gauss(0, noise * 2)
    pitch = person.pitch_deg + scene.pitch_deg + rng.gauss(0, noise * 2)
    ear = person.ear_closed + scene.openness * (person.ear_open - person.ear_closed)
    ear *= scene.glasses * math.cos(math.radians(pitch)) / math.cos(math.radians(yaw))
    return seen | {
        "ear_left": max(ear + rng.gauss(0, noise * 0.02), 0.0),
        "ear_right": max(ear + rng.gauss(0, noise * 0.02), 0.0),
        "mar": max(person.mar_rest + scene.mouth + rng.gauss(0, noise * 0.02), 0.0),
        "gaze_down": scene.gaze_down,
        "lower_lid": person.lower_lid * scene.lower_lid,
        "pose": HeadPose(yaw, pitch, 0.0),
    }


def _story(seconds: float, **fields: Any) -> Story:
    return Story((Part(seconds, lambda _t, scene: replace(scene, **fields)),))


# --- what drivers do ---


def attentive(seconds: float) -> Story:
    """Eyes open, on the road."""
    return _story(seconds)


def eyes_closed(seconds: float, **fields: Any) -> Story:
    """Lids shut, the lower one raised a little, as real lids do."""
    return _story(seconds, **{"openness": 0.0, "lower_lid": 0.45, "gaze_down": 0.6, **fields})


def blink(seconds: float = 0.15) -> Story:
    return eyes_closed(seconds)


def blinking(seconds: float, every_s: float = 3.0, blink_s: float = 0.15) -> Story:
    """Awake as people are: a blink every few seconds."""
    times = int(seconds // every_s)
    one = attentive((every_s - blink_s) / 2) + blink(blink_s) + attentive((every_s - blink_s) / 2)
    return one * times + attentive(seconds - times * every_s)


def heavy_lids(seconds: float, openness: float = 0.55) -> Story:
    return _story(seconds, openness=openness, lower_lid=0.75)


def head_down(seconds: float, pitch_deg: float = -35.0, *, over_s: float = 0.4) -> Story:
    """The head sinks on the chest, eyes closed; beyond the gate nobody can judge the lids."""

    def sink(t: float, scene: Scene) -> Scene:
        share = 1.0 if over_s == 0 else min(t / over_s, 1.0)
        return replace(
            scene, openness=0.0, lower_lid=0.45, gaze_down=0.6, pitch_deg=pitch_deg * share
        )

    return Story((Part(seconds, sink),))


def look_left(seconds: float, yaw_deg: float = 45.0) -> Story:
    return _story(seconds, yaw_deg=yaw_deg)


def look_down(seconds: float, pitch_deg: float = -32.0) -> Story:
    """Head and eyes down: a phone in the lap."""
    return _story(seconds, pitch_deg=pitch_deg, openness=0.5, gaze_down=0.8, lower_lid=0.95)


def lower_eyes(seconds: float, pitch_deg: float = -6.0) -> Story:
    """Eyes lowered, the head only a little: lids nearly shut, the lower one down."""
    return _story(seconds, pitch_deg=pitch_deg, openness=0.1, gaze_down=0.75, lower_lid=0.85)


def talking(seconds: float) -> Story:
    def speak(t: float, scene: Scene) -> Scene:
        return replace(scene, mouth=0.3 * abs(math.sin(7 * t)) + 0.05 * abs(math.sin(31 * t)))

    return Story((Part(seconds, speak),))


def laughing(seconds: float) -> Story:
    """Mouth open, cheeks up, eyes narrow."""
    return _story(seconds, mouth=0.45, openness=0.6)


def yawning(seconds: float) -> Story:
    return _story(seconds, mouth=0.9, openness=0.6)


def absent(seconds: float) -> Story:
    return _story(seconds, face=False)


def camera_lost(seconds: float) -> Story:
    return _story(seconds, condition=CameraCondition.LOST)


def frozen(seconds: float) -> Story:
    return _story(seconds, condition=CameraCondition.FROZEN)


def dark(seconds: float) -> Story:
    return _story(seconds, condition=CameraCondition.DARK)


def glare(seconds: float) -> Story:
    return _story(seconds, condition=CameraCondition.GLARE)


def sunglasses(seconds: float) -> Story:
    """A face, but no eyes: what perception cannot measure is None."""
    return _story(seconds, landmarks=False)


def hand_before_eyes(seconds: float) -> Story:
    return sunglasses(seconds)


def dropped_frames(seconds: float) -> Story:
    return _story(seconds, dropped=True)


def slumped(seconds: float, sleep: float = 0.9) -> Story:
    """Landmarks lost; the detector still sees a sleeping head."""
    return _story(seconds, landmarks=False, sleep=sleep)


def with_passenger(story: Story) -> Story:
    return story.but(faces=2)


def acknowledging(story: Story) -> Story:
    """The driver presses the button as this part begins."""
    return story.but(commands=(Command.ACKNOWLEDGE,))


def recalibrating(story: Story) -> Story:
    return story.but(commands=(Command.RECALIBRATE,))


# --- a whole drive round what happens ---

POLICY = load_policy("default")
DROWSINESS = (*CLOSURES, Kind.DROWSY)
# Long enough for a provisional baseline, and for a latched alert to be released.
WARM_UP = blinking(4)
COOL_DOWN = attentive(POLICY.escalation.latch.attentive_s + 1)
BEGAN_S = WARM_UP.seconds

every_rate = pytest.mark.parametrize("fps", [5, 10, 30, 60])


def drive(middle: Story) -> Story:
    """An attentive driver, what happens at `BEGAN_S`, and an attentive driver again."""
    return WARM_UP + middle + COOL_DOWN


# --- watching them ---


@dataclass
class Watched:
    """What the engine made of a story; times are seconds of the story."""

    events: list[Event]
    states: list[DriverState]
    start_s: float
    fps: float

    def of(self, *kinds: Kind) -> list[Event]:
        """Every telling of alerts that ever were of one of these kinds, in order."""
        wanted = {event.id for event in self.events if event.kind in kinds}
        return [event for event in self.events if event.id in wanted]

    def alerts(self, *kinds: Kind) -> list[Event]:
        """The last word on each alert (of these kinds, if any are named)."""
        last: dict[str, Event] = {}
        for event in self.events:
            last[event.id] = event
        return [event for event in last.values() if not kinds or event.kind in kinds]

    def first_s(self, kind: Kind, level: Level = Level.NONE) -> float | None:
        """When an alert of this kind was first told with at least this level."""
        for event in self.events:
            if event.kind is kind and event.level >= level and event.phase is not Phase.END:
                return event.at_s - self.start_s
        return None

    def state(self, t: float) -> DriverState:
        """The state at the last frame up to `t` seconds of the story."""
        found = self.states[0]
        for state in self.states:
            if state.timestamp_s - self.start_s > t + 1e-6:
                break
            found = state
        return found

    def levels(self, from_s: float, to_s: float) -> list[Level]:
        """The level at every frame in between."""
        return [
            state.level
            for state in self.states
            if from_s <= state.timestamp_s - self.start_s + 1e-6
            and state.timestamp_s - self.start_s <= to_s + 1e-6
        ]


def watch(
    story: Story,
    fps: float = 30,
    *,
    policy: Policy | None = None,
    start_s: float = 100.0,
    **at: Any,
) -> Watched:
    """Run a story through a fresh engine, to its end."""
    engine = Engine(policy or Policy(), drive="story", models=("fake@1",))
    events: list[Event] = []
    states: list[DriverState] = []
    for observation, speed_kmh, commands in story.at(fps, start_s=start_s, **at):
        state, told = engine.update(observation, speed_kmh, commands)
        states.append(state)
        events.extend(told)
    events.extend(engine.finish())
    return Watched(events, states, start_s, fps)


def kinds(events: Sequence[Event]) -> list[Kind]:
    return [event.kind for event in events]


def only(seen: Watched, *wanted: Kind) -> Event:
    """The last word on the one alert there was; fails when there were others."""
    assert kinds(seen.alerts()) == list(wanted)
    return seen.alerts()[0]


def within_a_frame(told_s: float | None, expected_s: float, fps: float) -> bool:
    return told_s is not None and abs(told_s - expected_s) <= 1 / fps + 1e-6
