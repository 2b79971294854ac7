"""The vehicle's speed is what was told lately, and unknown otherwise."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.config import SpeedConfig
from monitor.speed import FASTEST_KMH, SpeedSource

CONFIG = SpeedConfig(topic="vehicle/speed", stale_s=5.0)


class Clock:
    """Tells the time it was set to."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.mark.parametrize(
    ("payload", "kmh"),
    [
        (b"53.5", 53.5),
        (b"0", 0.0),
        (b"-4.5", -4.5),
        (b'{"value": 88}', 88.0),
        (b'{"value": 88.5, "timestamp": "2026-11-24T12:00:00Z"}', 88.5),
        (b'{"Vehicle.Speed": 12}', 12.0),
    ],
)
def test_a_speed_is_a_number_or_json(payload: bytes, kmh: float) -> None:
    speed = SpeedSource(CONFIG)
    assert speed.kmh() is None
    speed.hear(payload)
    assert speed.kmh() == kmh


@pytest.mark.parametrize(
    "payload",
    [b"", b"fast", b"NaN", b"1e999", b"true", b"null", b"[1]", b'{"value": "1"}', b"\xff",
     b"9" * 400, b"[" * 900, b"1" * 5000, b"5000", b'{"value": NaN}'],
)  # fmt: skip
def test_what_is_no_speed_changes_nothing(payload: bytes) -> None:
    speed = SpeedSource(CONFIG)
    speed.hear(b"50")
    speed.hear(payload)
    assert speed.kmh() == 50.0


def test_an_old_speed_is_unknown() -> None:
    clock = Clock()
    speed = SpeedSource(CONFIG, clock)
    speed.hear(b"50")
    clock.now_s += CONFIG.stale_s
    assert speed.kmh() == 50.0
    clock.now_s += 0.1
    assert speed.kmh() is None
    speed.hear(b"51")
    assert speed.kmh() == 51.0


def test_without_a_topic_nothing_is_listened_to() -> None:
    assert SpeedSource(SpeedConfig()).listeners == {}
    assert list(SpeedSource(CONFIG).listeners) == ["vehicle/speed"]


@given(st.binary(max_size=200))
def test_no_bytes_break_it(payload: bytes) -> None:
    speed = SpeedSource(CONFIG)
    speed.hear(payload)
    told = speed.kmh()
    assert told is None or abs(told) <= FASTEST_KMH
