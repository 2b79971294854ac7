"""Five real faces on film, through the real perception and the default policy.

What a person sees in them is written in ../shared/data/README.md, checked frame by frame.
"""

from functools import cache

import pytest

from monitor.types import Event, Kind, Observation, Phase
from tests.support.paths import SHARED

CLIPS = SHARED / "video"
DROWSINESS = {Kind.DROWSY, Kind.MICROSLEEP, Kind.SLEEP, Kind.UNRESPONSIVE}

pytestmark = [
    pytest.mark.shared,
    pytest.mark.slow,
    pytest.mark.skipif(not CLIPS.is_dir(), reason=f"no clips at {CLIPS}"),
]


# What the rules must get right without any network, and as it ships.
LOOKS = {
    "landmarks": {"detector": None, "eyes": None},
    "shipped": {"detector": "auto", "eyes": "auto"},
}
look_by = pytest.mark.parametrize("look", LOOKS)


@cache
def observed(clip: str, look: str) -> tuple[Observation, ...]:
    """The clip as perception measures it."""
    from monitor.camera import open_source
    from monitor.config import CameraConfig, PerceptionConfig
    from monitor.perception import open_perception

    camera = CameraConfig(source=str(CLIPS / clip))
    perceive = open_perception(PerceptionConfig(emotion=None, **LOOKS[look]), camera)
    return tuple(perceive(frame) for frame in open_source(camera))


def told(clip: str, look: str, every: int = 1) -> list[Event]:
    """Events on every n-th frame; times are seconds of the clip."""
    from monitor.engine import Engine
    from monitor.policy import load_policy

    engine = Engine(load_policy("default"), drive="clip")
    events: list[Event] = []
    for observation in observed(clip, look)[::every]:
        events += engine.update(observation)[1]
    return events + engine.finish()


def drowsiness(events: list[Event]) -> list[Event]:
    return [event for event in events if event.kind in DROWSINESS]


@look_by
@pytest.mark.parametrize("every", [1, 3])
def test_one_fluttering_closure_is_one_episode_in_its_time(every: int, look: str) -> None:
    began_s = observed("d14.mp4", look)[0].timestamp_s
    events = drowsiness(told("d14.mp4", look, every))
    assert len({event.id for event in events}) == 1
    end = events[-1]
    assert end.phase is Phase.END
    assert end.kind is Kind.MICROSLEEP
    assert 4.9 <= end.started_s - began_s <= 5.5
    assert end.at_s - began_s <= 6.8


@look_by
@pytest.mark.parametrize("every", [1, 2, 3])
@pytest.mark.parametrize("clip", ["d6.mp4", "d11.mp4", "head-pose-face-detection-male.gif"])
def test_people_who_talk_and_blink_are_not_drowsy(clip: str, every: int, look: str) -> None:
    assert drowsiness(told(clip, look, every)) == []


@look_by
@pytest.mark.parametrize("every", [1, 2, 3])
def test_eyes_lowered_to_look_down_are_not_asleep(every: int, look: str) -> None:
    assert drowsiness(told("d3.mp4", look, every)) == []
