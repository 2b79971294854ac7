"""The loop goes on whatever breaks, and says what broke."""

from collections.abc import Sequence

import numpy as np
import pytest

from monitor.sinks.base import Sink, Step
from monitor.types import (
    NO_TRIP,
    CameraCondition,
    ClosureEvidence,
    Command,
    DriverState,
    Event,
    Frame,
    Kind,
    Level,
    Observation,
    Phase,
    Trip,
)
from monitor.worker import Heartbeat, Pulse, Watch


def frames(count: int, fps: float = 10.0) -> list[Frame]:
    image = np.zeros((4, 4, 3), np.uint8)
    return [Frame(image, n / fps, 1e9 + n / fps, n, skipped=n) for n in range(count)]


def seen(frame: Frame) -> Observation:
    return Observation(frame.timestamp_s, frame.captured_at, frame.index, frame.camera)


def told(frame_s: float, phase: Phase) -> Event:
    return Event(
        "id-1",
        Kind.MICROSLEEP,
        phase,
        Level.WARNING,
        1e9,
        1e9 + frame_s,
        0.0,
        frame_s,
        "drive",
        ClosureEvidence(closed_s=1.0),
    )


class ScriptedEngine:
    """Raises one alert on the third observation and closes it at the end."""

    def __init__(self) -> None:
        self.given: list[tuple[Observation, float | None, Sequence[Command]]] = []
        self.trips: list[Trip] = []

    def update(
        self,
        observation: Observation,
        speed_kmh: float | None = None,
        commands: Sequence[Command] = (),
        trip: Trip = NO_TRIP,
    ) -> tuple[DriverState, list[Event]]:
        self.given.append((observation, speed_kmh, commands))
        self.trips.append(trip)
        state = DriverState(observation.timestamp_s, observation.captured_at)
        events = [told(observation.timestamp_s, Phase.START)] if len(self.given) == 3 else []
        return state, events

    def finish(self) -> list[Event]:
        return [told(99.0, Phase.END)]


class Ear(Sink):
    """A sink that remembers, and fails when asked to."""

    def __init__(self, name: str = "ear", fails_on: Sequence[int] = ()) -> None:
        self.name = name
        self.fails_on = fails_on
        self.events: list[Event] = []
        self.states: list[DriverState] = []

    def on_step(self, step: Step) -> None:
        if step.frame.index in self.fails_on:
            raise OSError(f"no space left for frame {step.frame.index}")
        self.states.append(step.state)

    def on_event(self, event: Event) -> None:
        self.events.append(event)


def test_every_frame_is_seen_and_every_alert_told_to_its_end() -> None:
    ear = Ear()
    watch = Watch(frames(5), seen, ScriptedEngine(), [ear])
    pulse = watch.run()
    assert [e.phase for e in ear.events] == [Phase.START, Phase.END]
    assert len(ear.states) == pulse.frames == 5
    assert pulse.skipped == 4
    assert watch.troubles() == {}


def test_a_failing_sink_costs_the_others_nothing_and_is_named() -> None:
    deaf, ear = Ear("store", fails_on=range(5)), Ear("mqtt")
    watch = Watch(frames(5), seen, ScriptedEngine(), [deaf, ear])
    watch.run()
    assert len(ear.states) == 5
    assert [e.phase for e in ear.events] == [Phase.START, Phase.END]
    assert watch.troubles() == {"store": "OSError: no space left for frame 4"}


def test_a_failing_perception_is_an_unknown_observation_not_a_calm_one() -> None:
    def broken(frame: Frame) -> Observation:
        raise RuntimeError("the graph is gone")

    engine = ScriptedEngine()
    watch = Watch(frames(3), broken, engine)
    watch.run()
    assert [o.errors for o, _, _ in engine.given] == [("perception",)] * 3
    assert all(o.face is None and o.ear_left is None for o, _, _ in engine.given)
    assert "the graph is gone" in watch.troubles()["perception"]


def test_speed_and_commands_reach_the_engine_with_the_frame_they_came_before() -> None:
    engine = ScriptedEngine()
    asked = iter([(), (Command.ACKNOWLEDGE,), ()])
    shifts = iter([Trip("anna"), Trip("ben"), NO_TRIP])
    Watch(
        frames(3),
        seen,
        engine,
        speed_kmh=lambda: 88.0,
        commands=lambda: next(asked),
        trip=lambda: next(shifts),
    ).run()
    assert [trip.driver for trip in engine.trips] == ["anna", "ben", None]
    assert [(s, c) for _, s, c in engine.given] == [
        (88.0, ()),
        (88.0, (Command.ACKNOWLEDGE,)),
        (88.0, ()),
    ]


def test_a_stopped_watch_closes_its_open_alerts() -> None:
    ear = Ear()
    watch = Watch(frames(100), seen, ScriptedEngine(), [ear])
    watch.stop.set()
    assert watch.run().frames == 1
    assert [e.phase for e in ear.events] == [Phase.END]


def test_a_lost_camera_reaches_the_engine_as_such() -> None:
    lost = [Frame(None, 0.0, 1e9, 0, condition=CameraCondition.LOST)]

    def broken(frame: Frame) -> Observation:
        raise RuntimeError

    engine = ScriptedEngine()
    Watch(lost, broken, engine).run()
    assert engine.given[0][0].condition is CameraCondition.LOST


@pytest.mark.parametrize("fps", [5.0, 10.0, 30.0, 60.0])
def test_the_pulse_knows_its_rate_and_its_latency(fps: float) -> None:
    pulse = Pulse()
    assert pulse.fps is None
    assert pulse.latency_ms(0.5) is None
    for n in range(50):
        pulse.mark(n / fps, n / fps + 0.004, 0)
    assert pulse.fps == pytest.approx(fps)
    assert pulse.latency_ms(0.99) == pytest.approx(4.0)


def test_a_hung_loop_withholds_the_heartbeat_and_an_unbegun_one_does_not() -> None:
    running, unbegun = Pulse(), Pulse()
    heart = Heartbeat([running, unbegun], hung_after_s=8.0)
    assert not heart.hung(now_s=1000.0)
    running.mark(999.0, 1000.0, 0)
    assert not heart.hung(now_s=1007.9)
    assert heart.hung(now_s=1008.1)
