"""Live cameras: the newest frame wins, a lost one is told at once and tried for ever."""

import threading
from collections.abc import Iterator
from itertools import islice

import numpy as np
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from monitor.camera import open_source
from monitor.camera.live import LiveSource, pauses, redacted
from monitor.config import CameraConfig
from monitor.types import CameraCondition
from tests.monitor.test_camera import noisy
from tests.support.fakes import FakeCamera, MjpegServer

FPS = 20.0
DEADLINE_S = 30.0


@pytest.fixture
def camera() -> Iterator[FakeCamera]:
    yield (fake := FakeCamera())
    fake.unplug()


def live(camera: FakeCamera, **settings: object) -> LiveSource:
    config = CameraConfig.model_validate({"source": "0", "retry_s": (0.0, 0.05), **settings})
    return LiveSource(camera.open, config, lost_every_s=0.05)


def test_the_newest_frame_wins_and_the_skipped_are_counted(camera: FakeCamera) -> None:
    with live(camera) as source:
        frames = iter(source)
        camera.show(noisy(0))
        assert next(frames).skipped == 0
        camera.show(*(noisy(n) for n in range(1, 6)))
        camera.show(noisy(6))  # once this one is taken, those before it have been offered
        camera.wait_until_read()
        taken = next(frames)
        if taken.skipped == 4:  # the last one was still on its way
            taken = next(frames)
        assert taken.image is not None
        np.testing.assert_array_equal(taken.image, noisy(6))
        assert taken.skipped in {4, 5}


def test_a_lost_camera_is_told_at_once_and_found_again(camera: FakeCamera) -> None:
    with live(camera) as source:
        frames = iter(source)
        camera.show(noisy(0))
        seen = [next(frames)]
        camera.unplug()
        seen.append(next(frames))
        assert seen[-1].condition == CameraCondition.LOST
        assert seen[-1].image is None
        assert camera.failed.acquire(timeout=DEADLINE_S)
        camera.plug()
        camera.show(noisy(1))
        while seen[-1].image is None:
            seen.append(next(frames))
        assert seen[-1].condition == CameraCondition.OK
        assert np.diff([f.timestamp_s for f in seen]).min() > 0
        assert [f.index for f in seen] == list(range(len(seen)))


def test_a_camera_missing_from_the_start_is_tried_for_ever() -> None:
    camera = FakeCamera(plugged=False)
    with live(camera) as source:
        frames = iter(source)
        assert next(frames).condition == CameraCondition.LOST
        for _ in range(5):
            assert camera.failed.acquire(timeout=DEADLINE_S)
        assert next(frames).condition == CameraCondition.LOST
        camera.plug()
        camera.show(noisy(0))
        assert any(frame.image is not None for frame in islice(frames, 50))
    camera.unplug()


def test_a_silent_camera_is_lost_though_its_read_hangs(camera: FakeCamera) -> None:
    with live(camera, read_timeout_s=0.05) as source:
        frames = iter(source)
        camera.show(noisy(0))
        assert next(frames).image is not None
        assert next(frames).condition == CameraCondition.LOST
        camera.show(noisy(1))
        assert any(frame.image is not None for frame in islice(frames, 50))


def test_a_silent_camera_does_not_hold_up_closing(camera: FakeCamera) -> None:
    source = live(camera)
    assert camera.opened.acquire(timeout=DEADLINE_S)
    ended = threading.Event()
    watcher = threading.Thread(target=lambda: (list(source), ended.set()))
    watcher.start()
    source.close()
    assert ended.wait(DEADLINE_S)
    camera.unplug()
    assert camera.closed.acquire(timeout=DEADLINE_S)
    watcher.join()


def test_a_flapping_camera_does_not_flood_the_log() -> None:
    camera = FakeCamera(plugged=False)
    config = CameraConfig(source="0", retry_s=(0.0, 0.0))
    with structlog.testing.capture_logs() as logged, LiveSource(camera.open, config, lambda: 7.0):
        for _ in range(4):
            assert camera.failed.acquire(timeout=DEADLINE_S)
    assert len([line for line in logged if "lost" in line["event"]]) == 1


def test_the_back_off_doubles_to_its_limit_and_stays() -> None:
    assert list(islice(pauses(1.0, 30.0), 8)) == [1, 2, 4, 8, 16, 30, 30, 30]


@given(st.floats(0, 1e4), st.floats(0, 1e4))
def test_a_back_off_never_spins_and_never_shrinks(first_s: float, longest_s: float) -> None:
    waits = list(islice(pauses(first_s, longest_s), 30))
    assert waits[1:] == sorted(waits[1:])
    assert min(waits[1:]) > 0


def test_a_missing_device_keeps_trying() -> None:
    config = CameraConfig(source="/dev/video99", retry_s=(0.01, 0.05))
    with open_source(config) as source:
        assert source.live
        assert next(iter(source)).condition == CameraCondition.LOST


def test_a_password_in_a_url_is_not_told() -> None:
    assert redacted("rtsp://me:s3cret@host:554/x") == "rtsp://me:***@host:554/x"
    config = CameraConfig(source="rtsp://me:s3cret@127.0.0.1:9/x", retry_s=(0.0, 0.01))
    with structlog.testing.capture_logs() as logged, open_source(config) as source:
        assert next(iter(source)).condition == CameraCondition.LOST
    assert logged
    assert "s3cret" not in str(logged)


def test_a_network_camera_dies_and_comes_back() -> None:
    server = MjpegServer()
    config = CameraConfig(
        source=server.url, retry_s=(0.05, 0.1), open_timeout_s=3.0, read_timeout_s=2.0
    )
    with open_source(config) as source:
        frames = iter(source)
        assert any(f.condition == CameraCondition.OK for f in islice(frames, 20))
        server.kill()
        assert any(f.condition == CameraCondition.LOST for f in islice(frames, 50))
        server = MjpegServer(server.port)
        assert any(f.condition == CameraCondition.OK for f in islice(frames, 30))
    server.kill()
