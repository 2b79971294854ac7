"""A camera that hangs upside down or on its side is told, and nobody is judged in its picture."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import structlog

from monitor.camera import open_source
from monitor.config import CameraConfig, PerceptionConfig
from monitor.engine import Engine
from monitor.perception import Perception, open_perception
from monitor.perception.networks import Parts, open_parts
from monitor.policy import load_policy
from monitor.types import Cause, Event, Frame, Kind

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
