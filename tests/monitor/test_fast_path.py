"""Speed changes nothing: the fast path raises the slow path's events on every clip and drive.

Slow is every network eager in torch, in single precision, one after another on one thread, the
detector waited for before anything else is done. Fast is what ships.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest

from monitor.camera import open_source
from monitor.config import CameraConfig, PerceptionConfig
from monitor.engine import Engine
from monitor.perception import Perception
from monitor.perception.networks import SAME_FACE, Parts, open_parts
from monitor.policy import load_policy
from monitor.types import Box, Detection, Event, Image
from tests.support.paths import SHARED

CLIPS = SHARED / "video"
CLIP_NAMES = ("d3.mp4", "d6.mp4", "d11.mp4", "d14.mp4", "head-pose-face-detection-male.gif")
DRIVES = {
    "closures": "attentive 6, closed 1.4, attentive 4, closed 3.4, attentive 3",
    "yawns and talk": "attentive 4, yawn 4, talk 3, blink, attentive 2",
    "looks": "attentive 5, look_away 4, attentive 2, look_down 4, attentive 2",
}
SLOW: dict[str, Any] = {"device": "cpu", "runtime": "torch", "precision": "fp32", "threads": 1}

pytestmark = pytest.mark.slow


@dataclass
class InTurn:
    """A detector that is waited for at once."""

    detector: Any

    def __call__(self, image: Image, near: Box | None = None) -> list[Detection]:
        found: list[Detection] = self.detector(image, near)
        return found

    def start(self, image: Image, near: Box) -> Callable[[], list[Detection]]:
        found = self(image, near)
        return lambda: found


@dataclass
class Everywhere(InTurn):
    """A detector that looks over the whole picture on every frame."""

    def __call__(self, image: Image, near: Box | None = None) -> list[Detection]:
        found: list[Detection] = self.detector(image)
        return [one for one in found if near is None or one.box.iou(near) > SAME_FACE]


Paths = Callable[[CameraConfig, str], list[tuple[Any, ...]]]


def told(camera: CameraConfig, config: PerceptionConfig, parts: Parts) -> list[Event]:
    engine = Engine(load_policy("default"), drive="drive")
    events: list[Event] = []
    perceive = Perception(config, camera, parts)
    with open_source(camera) as source:
        for frame in source:
            observation = perceive(frame)
            assert observation.errors == ()
            events += engine.update(observation)[1]
    return events + engine.finish()


def story(events: list[Event]) -> list[tuple[Any, ...]]:
    """Everything that a driver or a fleet is told of them, to the frame."""
    return [(e.kind, e.phase, e.level, round(e.started_s, 3), round(e.at_s, 3)) for e in events]


@pytest.fixture(scope="module")
def by() -> Paths:
    """The story of a camera, looked at by one of the paths; networks are loaded once."""
    shipped, plain = PerceptionConfig(), PerceptionConfig(**SLOW)
    fast, slow = open_parts(shipped), open_parts(plain)
    in_turn: Any = InTurn(slow.detector)
    everywhere: Any = Everywhere(fast.detector)
    paths = {
        "fast": (shipped, fast),
        "slow": (plain, Parts(in_turn, slow.eyes, slow.emotion)),
        "ungated": (shipped, Parts(everywhere, fast.eyes, fast.emotion)),
    }

    @cache
    def looked(camera: CameraConfig, path: str) -> list[tuple[Any, ...]]:
        return story(told(camera, *paths[path]))

    return looked


@pytest.mark.shared
@pytest.mark.skipif(not CLIPS.is_dir(), reason=f"no clips at {CLIPS}")
@pytest.mark.parametrize("clip", CLIP_NAMES)
def test_the_same_events_on_every_clip(clip: str, by: Paths) -> None:
    camera = CameraConfig(source=str(CLIPS / clip))
    assert by(camera, "fast") == by(camera, "slow")


@pytest.mark.shared
@pytest.mark.skipif(not CLIPS.is_dir(), reason=f"no clips at {CLIPS}")
@pytest.mark.parametrize("clip", CLIP_NAMES)
def test_the_close_look_misses_nothing_that_the_whole_picture_shows(clip: str, by: Paths) -> None:
    """It may raise less: eyes lowered on d3 look asleep from afar, and not from close by."""
    camera = CameraConfig(source=str(CLIPS / clip))
    close, whole = by(camera, "fast"), by(camera, "ungated")
    assert close == ([] if clip == "d3.mp4" else whole)


@pytest.mark.parametrize("other", ["slow", "ungated"])
@pytest.mark.parametrize("drive", DRIVES)
def test_the_same_events_on_every_drive(drive: str, other: str, by: Paths) -> None:
    camera = CameraConfig(source="animated", script=DRIVES[drive], fps=15)
    assert by(camera, "fast")
    assert by(camera, "fast") == by(camera, other)
