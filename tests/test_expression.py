"""Expressions: at their own rate, smoothed over time, never in the frame loop's way."""

import numpy as np
import pytest

from monitor.expression import SMOOTHING_S, STALE_S, ExpressionReader, square_crop
from monitor.types import Box
from tests.fakes import FakeEmotionNet

FACE = Box(200, 100, 400, 350)
IMAGE = np.full((480, 640, 3), 100, np.uint8)


def look(reader: ExpressionReader, seconds: float, fps: float = 30, start_s: float = 0.0) -> None:
    for k in range(round(seconds * fps)):
        reader.look(IMAGE, FACE, start_s + k / fps)


@pytest.mark.parametrize("fps", [10, 30, 60])
def test_a_face_is_read_at_its_own_rate_whatever_the_cameras(fps: float) -> None:
    net = FakeEmotionNet("neutral")
    look(ExpressionReader(net, 5, live=False), 4, fps)
    assert len(net.crops) == pytest.approx(20, abs=1)


def test_at_rate_zero_nothing_is_read() -> None:
    net = FakeEmotionNet("neutral")
    reader = ExpressionReader(net, 0, live=False)
    look(reader, 2)
    assert net.crops == []
    assert reader.latest(2) is None


def test_one_odd_reading_does_not_change_the_expression() -> None:
    net = FakeEmotionNet(*["neutral"] * 10, "happiness", "neutral")
    reader = ExpressionReader(net, 5, live=False)
    for k in range(12):
        reader.look(IMAGE, FACE, k / 5)
        latest = reader.latest(k / 5)
        assert latest is not None
        assert latest.label == "neutral"


@pytest.mark.parametrize("rate_hz", [2, 5, 20])
def test_smoothing_is_in_seconds_not_in_readings(rate_hz: float) -> None:
    net = FakeEmotionNet("neutral", "happiness")
    reader = ExpressionReader(net, rate_hz, live=False)
    look(reader, 1 + SMOOTHING_S, fps=rate_hz)
    latest = reader.latest(1 + SMOOTHING_S)
    assert latest is not None
    share = dict(latest.probabilities)["happiness"]
    lasted_s = 1 + SMOOTHING_S - 1 / rate_hz
    assert share == pytest.approx(1 - np.exp(-lasted_s / SMOOTHING_S), abs=0.03)


def test_probabilities_stay_probabilities() -> None:
    net = FakeEmotionNet("neutral", "happiness", "neutral", "happiness")
    reader = ExpressionReader(net, 5, live=False)
    look(reader, 3)
    latest = reader.latest(3)
    assert latest is not None
    assert sum(p for _, p in latest.probabilities) == pytest.approx(1)


def test_an_expression_not_seen_for_some_seconds_is_unknown() -> None:
    reader = ExpressionReader(FakeEmotionNet("neutral"), 5, live=False)
    reader.look(IMAGE, FACE, 0)
    assert reader.latest(STALE_S) is not None
    assert reader.latest(STALE_S + 0.1) is None


def test_live_the_newest_face_wins_and_none_waits_in_a_queue() -> None:
    net = FakeEmotionNet("neutral")
    net.go.clear()  # the net is busy with the first face
    reader = ExpressionReader(net, 1000, live=True)
    reader.look(IMAGE, FACE, 0)
    assert net.began.acquire(timeout=10)
    for value in range(10, 60, 10):
        reader.look(np.full_like(IMAGE, value), FACE, value)
    net.go.set()
    assert net.looked.acquire(timeout=10)
    assert net.looked.acquire(timeout=10)
    reader.close()
    assert [crop.mean() for crop in net.crops] == [100, 50]


def test_live_the_camera_may_write_over_its_picture() -> None:
    net = FakeEmotionNet("neutral")
    net.go.clear()
    reader = ExpressionReader(net, 5, live=True)
    image = IMAGE.copy()
    reader.look(image, FACE, 0)
    image[:] = 0
    net.go.set()
    assert net.looked.acquire(timeout=10)
    reader.close()
    assert net.crops[0].mean() == 100


def test_live_a_failure_on_the_thread_is_raised_by_the_next_look() -> None:
    net = FakeEmotionNet("neutral")
    net.error = RuntimeError("out of memory")
    reader = ExpressionReader(net, 5, live=True)
    reader.look(IMAGE, FACE, 0)
    assert net.looked.acquire(timeout=10)
    reader.close()  # the thread has noted its failure
    with pytest.raises(RuntimeError, match="out of memory"):
        reader.look(IMAGE, FACE, 1)


@pytest.mark.parametrize(
    ("face", "margin", "shape"),
    [
        (Box(200, 100, 300, 200), 0.0, (100, 100)),
        (Box(200, 100, 300, 200), 0.25, (150, 150)),
        (Box(200, 100, 280, 200), 0.0, (100, 100)),
        (Box(-50, 100, 50, 200), 0.0, (100, 50)),
        (Box(600, 440, 700, 540), 0.0, (40, 40)),
    ],
)
def test_the_crop_is_a_square_round_the_face_cut_at_the_pictures_edge(
    face: Box, margin: float, shape: tuple[int, int]
) -> None:
    assert square_crop(IMAGE, face, margin).shape[:2] == shape
