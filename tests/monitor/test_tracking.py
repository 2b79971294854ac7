"""Who is the driver: stories of faces that come, go, and sit beside each other."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.perception.tracking import DriverTrack
from monitor.types import Box

SIZE = (640, 480)


def head(x: float, y: float = 200, size: float = 120) -> Box:
    return Box(x - size / 2, y - size / 2, x + size / 2, y + size / 2)


DRIVER, PASSENGER = head(200), head(450)


def watch(track: DriverTrack, start_s: float, seconds: float, *faces: Box) -> list[int | None]:
    """The same faces at 5 Hz for so many seconds: who was chosen each time."""
    steps = round(seconds * 5)
    return [track.choose(faces, start_s + k / 5, SIZE) for k in range(steps)]


def test_the_larger_face_is_the_driver_at_first() -> None:
    assert DriverTrack().choose([head(450, size=80), DRIVER], 0, SIZE) == 1


def test_nobody_is_nobody() -> None:
    assert DriverTrack().choose([], 0, SIZE) is None


def test_a_face_outside_the_drivers_zone_is_never_the_driver() -> None:
    track = DriverTrack(zone=(0.5, 0.0, 1.0, 1.0))
    assert track.choose([head(100, size=200)], 0, SIZE) is None
    assert track.choose([head(100, size=200), head(500, size=80)], 1, SIZE) == 1


def test_the_driver_stays_the_driver_beside_a_somewhat_larger_passenger() -> None:
    track = DriverTrack()
    watch(track, 0, 5, DRIVER)
    large = head(450, size=150)
    assert set(watch(track, 5, 20, large, DRIVER)) == {1}


def test_a_passenger_seen_beside_the_driver_is_not_taken_when_the_drivers_head_is_down() -> None:
    track = DriverTrack()
    watch(track, 0, 5, DRIVER, PASSENGER)
    alone = watch(track, 5, track.bystander_s - 5, PASSENGER)
    assert set(alone) == {None}


def test_an_unknown_face_elsewhere_waits_out_the_drivers_memory() -> None:
    track = DriverTrack()
    watch(track, 0, 5, DRIVER)
    chosen = watch(track, 5, track.memory_s + 2, PASSENGER)
    taken = chosen.index(0)
    assert set(chosen[:taken]) == {None}
    # The driver was last seen one step before the passenger came.
    assert taken / 5 == pytest.approx(track.memory_s - 0.2, abs=0.25)


def test_a_driver_who_comes_back_is_known_at_once() -> None:
    track = DriverTrack()
    watch(track, 0, 5, DRIVER, PASSENGER)
    watch(track, 5, 8, PASSENGER)
    assert track.choose([PASSENGER, head(210, 215)], 13, SIZE) == 1


def test_a_head_that_sinks_is_followed_and_may_come_up_in_its_usual_place() -> None:
    track = DriverTrack()
    watch(track, 0, 20, DRIVER)
    for k, y in enumerate(range(200, 400, 20)):
        assert track.choose([head(200, y)], 20 + k / 5, SIZE) == 0
    watch(track, 22, 4)
    assert track.choose([DRIVER], 26, SIZE) == 0


def test_a_leaning_passenger_is_nearer_to_the_passengers_place_than_to_the_drivers() -> None:
    track = DriverTrack()
    watch(track, 0, 5, head(250), head(410))
    assert track.choose([head(370)], 6, SIZE) is None


def test_a_much_larger_face_beside_a_small_one_becomes_the_driver_after_some_seconds() -> None:
    track = DriverTrack()
    far, near = head(450, size=70), head(200, size=140)
    watch(track, 0, 5, far)
    chosen = watch(track, 5, track.rival_s + 2, far, near)
    assert chosen[0] == 0
    assert chosen[-1] == 1
    assert chosen.index(1) / 5 == pytest.approx(track.rival_s, abs=0.25)


def test_one_head_boxed_twice_is_no_bystander_of_itself() -> None:
    track = DriverTrack()
    watch(track, 0, 5, DRIVER, head(206, 204))
    watch(track, 5, 2)
    assert track.choose([head(206, 204)], 8, SIZE) == 0


@given(
    places=st.lists(st.tuples(st.floats(0, 640), st.floats(0, 480), st.floats(1, 300)), max_size=5),
    pauses=st.lists(st.floats(0, 100), min_size=1, max_size=8),
)
def test_the_choice_is_always_one_of_the_faces_in_the_zone(
    places: list[tuple[float, float, float]], pauses: list[float]
) -> None:
    zone = (0.1, 0.1, 0.6, 0.9)
    track, now_s = DriverTrack(zone=zone), 0.0
    faces = [head(*place) for place in places]
    for pause_s in pauses:
        now_s += pause_s
        chosen = track.choose(faces, now_s, SIZE)
        if chosen is not None:
            x, y = faces[chosen].centre
            assert zone[0] <= x / 640 <= zone[2]
            assert zone[1] <= y / 480 <= zone[3]
