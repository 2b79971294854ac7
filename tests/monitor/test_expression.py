"""Expressions: at their own rate, smoothed over time, never in the frame loop's way."""

import itertools
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.architectures.yolov5 import yolov5
from models.checkpoint import write_weights
from models.registry import MODELS
from monitor.app import overrides
from monitor.config import PerceptionConfig
from monitor.errors import ConfigError
from monitor.perception.expression import (
    LOOKS_UNDER_WAY,
    SMOOTHING_S,
    STALE_S,
    ExpressionReader,
    Framing,
    cut,
)
from monitor.perception.face import eye_centre
from monitor.perception.networks import open_parts
from monitor.types import Box, Emotion, Image
from tests.support.fakes import FakeEmotionNet, a_mesh
from tests.support.servers import until

FACE = Box(200, 100, 400, 350)
IMAGE = np.full((480, 640, 3), 100, np.uint8)


def look(reader: ExpressionReader, seconds: float, fps: float = 30, start_s: float = 0.0) -> None:
    for k in range(round(seconds * fps)):
        reader.look(IMAGE, FACE, start_s + k / fps)


@pytest.fixture
def recorded() -> Iterator[Callable[..., ExpressionReader]]:
    """Readers of a recording, closed after the test."""
    opened: list[ExpressionReader] = []

    def reader(net: FakeEmotionNet, rate_hz: float = 5) -> ExpressionReader:
        opened.append(ExpressionReader(net, rate_hz, live=False))
        return opened[-1]

    yield reader
    for one in opened:
        one.close()


@pytest.mark.parametrize("fps", [10, 30, 60])
def test_a_face_is_read_at_its_own_rate_whatever_the_cameras(
    recorded: Callable[..., ExpressionReader], fps: float
) -> None:
    net = FakeEmotionNet("neutral")
    reader = recorded(net)
    look(reader, 4, fps)
    reader.close()
    assert len(net.crops) == pytest.approx(20, abs=1)


def test_at_rate_zero_nothing_is_read(recorded: Callable[..., ExpressionReader]) -> None:
    net = FakeEmotionNet("neutral")
    reader = recorded(net, 0)
    look(reader, 2)
    assert net.crops == []
    assert reader.latest(2) is None


def test_in_a_recording_an_expression_is_told_when_the_next_but_one_is_due(
    recorded: Callable[..., ExpressionReader],
) -> None:
    net = FakeEmotionNet("neutral")
    reader = recorded(net)
    told = []
    for k in range(18):
        reader.look(IMAGE, FACE, k / 30)
        told.append(reader.latest(k / 30) is not None)
    assert told == [False] * 12 + [True] * 6


def test_two_faces_read_at_once_are_told_in_their_order(
    recorded: Callable[..., ExpressionReader],
) -> None:
    class Overtaking(FakeEmotionNet):
        """Holds the first face back until the second is read."""

        at_once = 2

        def __call__(self, crop: Image) -> Emotion:
            if crop.mean() == 100:
                assert self.looked.acquire(timeout=10)
            return super().__call__(crop)

    net = Overtaking("happiness", "neutral")
    reader = recorded(net)
    reader.look(IMAGE, FACE, 0.0)
    reader.look(np.full_like(IMAGE, 50), FACE, 0.2)
    reader.look(np.full_like(IMAGE, 50), FACE, 0.4)
    assert [crop.mean() for crop in net.crops[:2]] == [50, 100]
    first = reader.latest(0.4)
    assert first is not None
    assert first.label == "neutral"


def test_a_recording_gives_the_same_expressions_however_slow_the_net(
    recorded: Callable[..., ExpressionReader],
) -> None:
    def run(*, slow: bool) -> list[Emotion | None]:
        net = FakeEmotionNet("neutral", "happiness", "neutral", "happiness")
        if slow:  # the net begins only when the loop already waits for it
            net.go.clear()
            threading.Timer(0.05, net.go.set).start()
        reader = recorded(net)
        seen = []
        for k in range(40):
            reader.look(IMAGE, FACE, k / 30)
            seen.append(reader.latest(k / 30))
        return seen

    assert run(slow=False) == run(slow=True)


def test_one_odd_reading_does_not_change_the_expression(
    recorded: Callable[..., ExpressionReader],
) -> None:
    reader = recorded(FakeEmotionNet(*["neutral"] * 10, "happiness", "neutral"))
    labels = set()
    for k in range(14):
        reader.look(IMAGE, FACE, k / 5)
        latest = reader.latest(k / 5)
        labels.add(latest.label if latest else None)
    assert labels == {None, "neutral"}


@pytest.mark.parametrize("rate_hz", [2, 5, 20])
def test_smoothing_is_in_seconds_not_in_readings(
    recorded: Callable[..., ExpressionReader], rate_hz: float
) -> None:
    reader = recorded(FakeEmotionNet("neutral", "happiness"), rate_hz)
    looks = round(2 * SMOOTHING_S * rate_hz)
    for k in range(looks + 1):
        reader.look(IMAGE, FACE, k / rate_hz)
    latest = reader.latest(looks / rate_hz)
    assert latest is not None
    share = dict(latest.probabilities)["happiness"]
    happy_s = (looks - LOOKS_UNDER_WAY) / rate_hz  # the last looks are not told yet
    assert share == pytest.approx(1 - np.exp(-happy_s / SMOOTHING_S), abs=1e-6)


def test_probabilities_stay_probabilities(recorded: Callable[..., ExpressionReader]) -> None:
    reader = recorded(FakeEmotionNet("neutral", "happiness", "neutral", "happiness"))
    look(reader, 3)
    latest = reader.latest(3)
    assert latest is not None
    assert sum(p for _, p in latest.probabilities) == pytest.approx(1)


def test_an_expression_not_seen_for_some_seconds_is_unknown(
    recorded: Callable[..., ExpressionReader],
) -> None:
    reader = recorded(FakeEmotionNet("neutral"))
    reader.look(IMAGE, FACE, 0)
    reader.look(IMAGE, FACE, 0.2)
    reader.look(IMAGE, FACE, 0.4)
    assert reader.latest(STALE_S) is not None
    assert reader.latest(STALE_S + 0.1) is None


def test_a_face_outside_the_picture_is_not_read(recorded: Callable[..., ExpressionReader]) -> None:
    net = FakeEmotionNet("neutral")
    reader = recorded(net)
    reader.look(IMAGE, Box(700, 500, 800, 600), 0)
    reader.close()
    assert net.crops == []


def test_live_a_face_is_read_when_the_net_is_free_and_none_waits_in_a_queue() -> None:
    net = FakeEmotionNet("neutral")
    net.go.clear()  # the net is busy with the first face
    reader = ExpressionReader(net, 1000, live=True)
    reader.look(IMAGE, FACE, 0)
    assert net.began.acquire(timeout=10)
    for second in range(1, 6):
        reader.look(np.full_like(IMAGE, 50), FACE, second)
    net.go.set()
    seconds = itertools.count(6)

    def read_again() -> bool:
        reader.look(np.full_like(IMAGE, 70), FACE, next(seconds))
        return net.began.acquire(blocking=False)

    until(read_again, what="another face is read")
    reader.close()
    assert {crop.mean() for crop in net.crops} == {100, 70}


@pytest.mark.parametrize("live", [True, False])
def test_the_camera_may_write_over_its_picture(*, live: bool) -> None:
    net = FakeEmotionNet("neutral")
    net.go.clear()
    reader = ExpressionReader(net, 5, live=live)
    image = IMAGE.copy()
    reader.look(image, FACE, 0)
    image[:] = 0
    net.go.set()
    assert net.looked.acquire(timeout=10)
    reader.close()
    assert net.crops[0].mean() == 100


@pytest.mark.parametrize("live", [True, False])
def test_a_failure_on_a_thread_is_raised_by_a_later_look(*, live: bool) -> None:
    net = FakeEmotionNet("neutral")
    net.error = RuntimeError("out of memory")
    reader = ExpressionReader(net, 5, live=live)
    seconds = itertools.count()

    def looked() -> Exception | None:
        try:
            reader.look(IMAGE, FACE, next(seconds))
        except RuntimeError as error:
            return error
        return None

    assert "out of memory" in str(until(looked, what="the failure"))
    reader.close()


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
    assert cut(IMAGE, Framing(margin).square(face)).shape[:2] == shape


@given(
    x=st.floats(100, 500), y=st.floats(100, 400), size=st.floats(60, 300),
    down=st.floats(0.3, 0.5), apart=st.floats(0.2, 0.4),
)  # fmt: skip
def test_eyes_come_to_lie_where_the_net_was_trained_to_see_them(
    x: float, y: float, size: float, down: float, apart: float
) -> None:
    face = Box(x - size / 2, y - size / 2, x + size / 2, y + size / 2)
    points = a_mesh(face)
    square = Framing(eyes_xy=(0.5, down), eyes_apart=apart).square(face, points)
    right, left = eye_centre(points, "right"), eye_centre(points, "left")
    assert square.width_px == pytest.approx(square.height_px)
    middle_y = (right[1] + left[1]) / 2
    assert (middle_y - square.y1) / square.height_px == pytest.approx(down, abs=0.01)
    shown = (left[0] - right[0]) / square.width_px
    assert shown == pytest.approx(apart, abs=0.01) or square.width_px == pytest.approx(1.1 * size)


def test_a_turned_heads_crop_does_not_shrink_to_its_eyes() -> None:
    face = Box(200, 100, 360, 300)
    points = a_mesh(face)
    points[:, 0] = 280 + (points[:, 0] - 280) * 0.2
    square = Framing(eyes_xy=(0.5, 0.39), eyes_apart=0.37).square(face, points)
    assert square.height_px >= face.height_px


def test_yolov5_reads_expressions_where_it_is_asked_for(tmp_path: Path) -> None:
    """`wakeful run --expressions FILE`: untrained weights, the real network and runtime."""
    torch.manual_seed(0)
    card = MODELS["yolov5_faces"]
    weights = tmp_path / "faces.safetensors"
    write_weights(yolov5(card.labels, **card.arguments), card, weights)
    asked = overrides(
        cameras=None, policy=None, vehicle=None, broker=None, trace=None, realtime=False,
        expressions=str(weights),
    )  # fmt: skip
    parts = open_parts(PerceptionConfig(detector=None, eyes=None, **asked["perception"]))
    assert parts.emotion is not None
    found = parts.emotion(cut(IMAGE, parts.emotion.framing.square(FACE)))
    assert [label for label, _ in found.probabilities] == list(card.labels)
    assert sum(share for _, share in found.probabilities) == pytest.approx(1)
    assert found.probability == max(share for _, share in found.probabilities)


def test_a_model_that_reads_no_expressions_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"perception\.emotion: awake_sleep_n is a model for"):
        open_parts(PerceptionConfig(detector=None, eyes=None, emotion="awake_sleep_n"))
    with pytest.raises(ConfigError, match="yolov5_faces: no weights at"):
        open_parts(PerceptionConfig(detector=None, eyes=None, emotion="yolov5_faces"))
