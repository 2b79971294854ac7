"""What `wakeful run --show` draws: bars beside the face, its expression on the box, the rate."""

import numpy as np
import pytest

from models.registry import FER_PLUS_LABELS
from monitor.sinks.window import COLOURS, RATE_OVER, DisplayRate, draw
from monitor.types import Box, DriverState, Emotion, Image, Level, Observation

PICTURE = np.full((480, 640, 3), 120, np.uint8)
LEFT, RIGHT = Box(60, 80, 220, 260), Box(420, 80, 600, 260)
BAR = np.array(COLOURS[Level.INFO])


def seen(face: Box, *shares: float) -> Observation:
    best = int(np.argmax(shares))
    pairs = tuple(zip(FER_PLUS_LABELS, shares, strict=True))
    emotion = Emotion(FER_PLUS_LABELS[best], shares[best], pairs)
    return Observation(0.0, 0.0, size_px=(640, 480), face=face, faces=1, emotion=emotion)


def bars(picture: Image) -> list[tuple[int, int]]:
    """Left edge and length in pixels of each bar, from the top."""
    rows = (picture == BAR).all(2)
    starts = np.flatnonzero(np.diff(rows.sum(1) > 0, prepend=False)).reshape(-1, 2)
    columns = [np.flatnonzero(rows[top]) for top, _ in starts]
    return [(int(c[0]), len(c)) for c in columns]


def test_every_expression_has_a_bar_as_long_as_it_is_likely() -> None:
    shares = (0.05, 0.5, 0.1, 0.05, 0.1, 0.1, 0.05, 0.05)
    drawn = bars(draw(PICTURE, seen(LEFT, *shares), DriverState(0.0, 0.0)))
    assert len(drawn) == len(FER_PLUS_LABELS)
    lengths = np.array([length for _, length in drawn])
    assert lengths.argmax() == shares.index(max(shares))
    assert lengths / lengths.max() == pytest.approx(np.array(shares) / max(shares), abs=0.05)


@pytest.mark.parametrize(("face", "beside"), [(LEFT, "right"), (RIGHT, "left")])
def test_bars_stand_beside_the_face_where_there_is_room(face: Box, beside: str) -> None:
    drawn = bars(draw(PICTURE, seen(face, *[0.125] * 8), DriverState(0.0, 0.0)))
    for left, length in drawn:
        assert left > face.x2 if beside == "right" else left + length < face.x1


def test_the_label_stands_on_the_box_and_the_keys_in_the_banner() -> None:
    state = DriverState(0.0, 0.0)
    observation = seen(LEFT, *[0.125] * 8)
    plain = draw(PICTURE, observation, state)
    label = plain[int(LEFT.y1) - 16 : int(LEFT.y1) - 4, int(LEFT.x1) : int(LEFT.x2)]
    assert (label > 230).all(2).any()
    noted = draw(PICTURE, observation, state, note="30 fps   q quits")
    changed = (noted != plain).any(2)
    assert changed[:34, 400:].any()
    assert not changed[34:].any()


def test_without_an_expression_there_are_no_bars() -> None:
    unread = Observation(0.0, 0.0, size_px=(640, 480), face=LEFT, faces=1)
    assert bars(draw(PICTURE, unread, DriverState(0.0, 0.0))) == []


def test_the_rate_is_that_of_the_last_frames() -> None:
    rate = DisplayRate()
    assert rate.tick(0.0) is None
    slow = [rate.tick(k / 10) for k in range(1, 20)]
    assert slow[-1] == pytest.approx(10)
    fast = [rate.tick(1.9 + k / 50) for k in range(1, RATE_OVER + 2)]
    assert fast[-1] == pytest.approx(50)
