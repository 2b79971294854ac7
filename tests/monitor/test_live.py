"""Live cameras: the newest frame wins, a lost one is told at once and tried for ever."""

import threading
from collections.abc import Iterator
from itertools import islice

import numpy as np
import pytest
import structlog

from monitor.addresses import escaped, redacted
from monitor.camera import open_source
from monitor.camera.live import LiveSource
from monitor.config import CameraConfig, Config, StoreConfig, dump
from monitor.types import CameraCondition, Image
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


@pytest.mark.parametrize(
    "device",
    [
        "/dev/video99",
        "/dev/v4l/by-id/usb-046d_HD_Webcam_C525-video-index0",
        "/dev/v4l/by-path/platform-fd500000.pcie-usb-0:1.2:1.0-video-index0",
        "/dev/dashcam",
    ],
)
def test_a_missing_device_keeps_trying(device: str) -> None:
    config = CameraConfig(source=device, retry_s=(0.01, 0.05))
    with open_source(config) as source:
        assert source.live
        assert next(iter(source)).condition == CameraCondition.LOST


SECRET = "s3cret"
LEAKY = [
    f"rtsp://me:{SECRET}@127.0.0.1:9/x",
    f"rtsp://me:a[{SECRET}@127.0.0.1:9/x",
    f"rtsp://me:a]{SECRET}@127.0.0.1:9/x",
    f"rtsp://me:#{SECRET}@127.0.0.1:9/x",
    f"rtsp://me:a/{SECRET}@127.0.0.1:9/x",
    f"rtsp://me:?{SECRET}@127.0.0.1:9/x",
    f"rtsp://me:@{SECRET}@127.0.0.1:9/x",
    f"rtsp://me:%zz{SECRET}@127.0.0.1:9/x",
    f"rtsp://127.0.0.1:9/user=admin&password={SECRET}&channel=1&stream=0.sdp",
    f"rtsp://127.0.0.1:9/user=admin_password={SECRET}_channel=1_stream=0.sdp",
    f"http://127.0.0.1:9/video?user=admin&password={SECRET}",
    f"http://127.0.0.1:9/videostream.cgi?loginuse=admin&loginpas={SECRET}",
    f"http://127.0.0.1:9/snap?usr=admin&pwd={SECRET}",
    f"http://127.0.0.1:9/live?access_token={SECRET}",
    f"rtmp://me:a[{SECRET}@127.0.0.1:9/x",
    f"rtsp://me:a {SECRET}@127.0.0.1:9/x",
    f"http://127.0.0.1:9/live?api-key={SECRET}",
    f"http://127.0.0.1:9/live?key={SECRET}&x=1",
]


@pytest.mark.parametrize("url", LEAKY)
def test_a_password_in_a_url_is_neither_told_nor_in_the_way(url: str) -> None:
    assert SECRET not in redacted(url)
    config = CameraConfig(source=url, retry_s=(0.0, 0.01), open_timeout_s=1.0)
    with structlog.testing.capture_logs() as logged, open_source(config) as source:
        frames = iter(source)
        assert next(frames).condition == CameraCondition.LOST
        assert next(frames).condition == CameraCondition.LOST
    assert logged
    assert SECRET not in str(logged)
    assert SECRET not in dump(Config(cameras=(config,), store=StoreConfig(url=url)))


@pytest.mark.parametrize(
    ("url", "meant"),
    [
        ("rtsp://me:s3cret@cam/live", "rtsp://me:s3cret@cam/live"),
        ("rtsp://me:a[b@cam/live", "rtsp://me:a%5Bb@cam/live"),
        ("rtsp://me:a#b/c?d@cam:554/live@2", "rtsp://me:a%23b%2Fc%3Fd@cam:554/live@2"),
        ("rtsp://me:a@b@[fe80::1]:554/s", "rtsp://me:a%40b@[fe80::1]:554/s"),
        ("rtsp://me:100%@cam/s", "rtsp://me:100%25@cam/s"),
        ("rtsp://me:p%40ss@cam/s", "rtsp://me:p%40ss@cam/s"),
        ("rtsp://[fe80::1%25eth0]:554/s", "rtsp://[fe80::1%25eth0]:554/s"),
        ("http://cam/s?at=a@b", "http://cam/s?at=a@b"),
        ("rtsp://cam:554/live@2", "rtsp://cam:554/live@2"),
        ("/dev/video0", "/dev/video0"),
    ],
)
def test_a_password_s_characters_do_not_end_it(url: str, meant: str) -> None:
    assert escaped(url) == meant


def test_what_is_no_secret_stays_readable() -> None:
    for url in ("rtsp://cam:554/live?channel=1", "http://a/?bypass=no&compass=3", "drive.mp4"):
        assert redacted(url) == url.replace("compass=3", "compass=***")


def test_a_camera_asks_with_the_password_that_was_written() -> None:
    server = MjpegServer()
    url = server.url.replace("http://", "http://me:p[a#s/s@")
    config = CameraConfig(source=url, open_timeout_s=3.0, read_timeout_s=2.0)
    with open_source(config) as source:
        assert any(f.condition == CameraCondition.OK for f in islice(source, 20))
    server.kill()


class Unruly:
    """A driver that fails in ways nobody has thought of, then works."""

    def __init__(self) -> None:
        self.opened = 0

    def __call__(self) -> "Unruly":
        self.opened += 1
        if self.opened == 1:
            raise RuntimeError("no such thing")
        return self

    def read(self) -> Image:
        if self.opened == 2:
            raise ValueError("Invalid IPv6 URL")
        if self.opened == 3:
            return np.zeros((0, 0, 3), np.uint8)
        return noisy(self.opened)

    def close(self) -> None:
        pass


def test_nothing_that_a_driver_does_ends_the_capture() -> None:
    config = CameraConfig(source="0", retry_s=(0.0, 0.01))
    with LiveSource(Unruly(), config, lost_every_s=0.05) as source:
        assert any(f.condition == CameraCondition.OK for f in islice(source, 100))


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
