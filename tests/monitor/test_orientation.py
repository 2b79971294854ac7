"""A camera that hangs upside down or on its side is told, and nobody is judged in its picture."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
import structlog

from monitor.camera import open_source
from monitor.config import CameraConfig, PerceptionConfig
from monitor.engine import Engine
from monitor.perception import Perception, open_perception
from monitor.perception.networks import Parts, open_parts
from monitor.perception.orientation import Orientation
from monitor.perception.stages import Stages
from monitor.policy import load_policy
from monitor.types import Box, Cause, Detection, Event, Frame, Image, Kind

CLOSED_S = 3.5
SCRIPT = f"attentive 4, closed {CLOSED_S}, attentive 3"
LOOK = PerceptionConfig(emotion=None)


@pytest.fixture(scope="module")
def parts() -> Parts:
    return open_parts(LOOK)


def drive(rotate: int = 0) -> Iterator[Frame]:
    camera = CameraConfig.model_validate(
        {"source": "animated", "script": SCRIPT, "fps": 10, "rotate": rotate}
    )
    with open_source(camera) as source:
        yield from source


def events(parts: Parts, frames: Iterator[Frame]) -> list[Event]:
    engine = Engine(load_policy("default"), drive="test")
    found: list[Event] = []
    with Perception(LOOK, CameraConfig(), parts) as perceive:
        for frame in frames:
            found += engine.update(perceive(frame))[1]
    return found + engine.finish()


@pytest.mark.parametrize("hangs", [90, 180, 270])
def test_a_turned_camera_is_told_with_its_cure_and_judges_nobody(parts: Parts, hangs: int) -> None:
    with structlog.testing.capture_logs() as logged:
        told = events(parts, drive(hangs))
    assert {event.kind for event in told} == {Kind.DEGRADED}
    assert {event.cause for event in told} == {Cause.CAMERA_TURNED}
    assert told[0].started_at - 0.0 <= told[0].at
    cures = [line["cure"] for line in logged if "turned" in line["event"]]
    assert cures
    assert f"cameras[].rotate to {(360 - hangs) % 360}," in cures[-1]


def test_an_upright_camera_is_not_called_turned(parts: Parts) -> None:
    told = events(parts, drive())
    assert Kind.SLEEP in {event.kind for event in told}
    assert Kind.DEGRADED not in {event.kind for event in told}


def test_the_setting_cures_it(parts: Parts) -> None:
    """What hangs upside down is turned back by `rotate`: the sleep is found."""
    hanging = (
        replace(frame, image=np.ascontiguousarray(np.rot90(frame.image, 2)))
        for frame in drive(180)
        if frame.image is not None
    )
    assert Kind.SLEEP in {event.kind for event in events(parts, hanging)}


def test_a_camera_set_right_during_the_drive_is_believed(parts: Parts) -> None:
    turned = [replace(f, index=n) for n, f in enumerate(drive(180)) if f.timestamp_s < 3]
    upright = [
        replace(f, timestamp_s=f.timestamp_s + 3, captured_at=f.captured_at + 3, index=30 + n)
        for n, f in enumerate(drive())
    ]
    with open_perception(LOOK, CameraConfig(), parts=parts) as perceive:
        conditions = [perceive(frame).condition.value for frame in [*turned, *upright]]
    assert conditions[:30].count("turned") >= 29
    assert set(conditions[-20:]) == {"ok"}


def test_a_driver_seen_upright_who_turns_far_away_is_no_turned_camera() -> None:
    """What the detectors see in a head in profile, in all four turns, is not to be trusted."""
    stages = Stages()
    orientation = Orientation(SeesHeadsUpsideDown(), lambda image: [], stages, "driver")
    picture, second_s = np.zeros((24, 32, 3), np.uint8), 0.0
    while second_s < 2:  # faces, on which the detectors are not of one mind
        orientation.seen(second_s, eyes_open=True)
        second_s += 0.1
    assert orientation.look(picture, second_s) == 0


def test_eyes_that_are_not_seen_open_do_not_set_a_turned_camera_right() -> None:
    stages = Stages()
    orientation = Orientation(SeesHeadsUpsideDown(), lambda image: [], stages, "driver")
    for tenth in range(20):
        orientation.seen(tenth / 10, eyes_open=False)
    assert orientation.look(np.zeros((24, 32, 3), np.uint8), 2.0) == 180


class SeesHeadsUpsideDown:
    """A detector that finds a face where the first row is the last one of the picture shown."""

    def __init__(self) -> None:
        self._asked = 0

    def __call__(self, image: Image, near: Box | None = None) -> list[Detection]:
        self._asked += 1
        upside_down = self._asked % 4 == 3  # the third of the four turns
        return [Detection(Box(4, 4, 20, 20), 0.9, 0.0, 0.0)] if upside_down else []

    def start(self, image: Image, near: Box) -> Callable[[], list[Detection]]:
        return list
