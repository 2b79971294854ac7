"""Who drives and where: told by the vehicle, written on what happens, given out and erased."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.config import DriverConfig, PositionConfig, load
from monitor.engine import Engine
from monitor.errors import ConfigError
from monitor.fleet.admin.operation import Subject, erase, export
from monitor.policy import Policy
from monitor.protocol import messages
from monitor.protocol.mapping import event_from_row, event_row
from monitor.protocol.messages import Message, Narrator, Topics
from monitor.sinks.store import MonitoredTime
from monitor.trip import TripSource
from monitor.types import DriverState, Event, Kind, Phase, Position, Trip
from tests.support.drivers import attentive, eyes_closed
from tests.support.events import NOW, settings
from tests.support.fleet_stories import NOON, Desk, Vehicle, desk, on_both, sqlite_url
from tests.support.listeners import Listener, watching
from tests.support.servers import Mosquitto, until

BERLIN = Position(52.52, 13.405)
ANNA = Trip("shift_12", BERLIN)
BEN = Trip("shift_13", Position(48.137, 11.575))
TOPICS = Topics("dms/v1", "truck-1")


class Clock:
    """Tells the time it was set to."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def source(clock: Clock | None = None, **position: object) -> TripSource:
    values = {"topic": "car/position", **position}
    return TripSource(
        DriverConfig(topic="car/driver"), PositionConfig.model_validate(values), clock or Clock()
    )


@pytest.fixture
def office(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Desk]:
    postgres = getattr(request, "param", "sqlite") == "postgres"
    url = request.getfixturevalue("postgres_url") if postgres else sqlite_url(tmp_path)
    with desk(url) as found:
        yield found


@pytest.mark.parametrize(
    "payload",
    [
        b"shift-12",
        b" shift-12\n",
        b'"shift-12"',
        b'{"value": "shift-12"}',
        b'{"Vehicle.Driver.Identifier.Subject": "shift-12"}',
    ],
)
def test_a_driver_is_an_id_or_json(payload: bytes) -> None:
    trip = source()
    trip.hear_driver(payload, True)
    assert trip.now() == Trip("shift-12")


@pytest.mark.parametrize("payload", [b"", b"{}", b'{"value": null}', b"Anna Smith", b"\xff", b"{"])
def test_after_a_message_that_names_nobody_the_driver_is_unknown(payload: bytes) -> None:
    """An alert must not be put down to whoever drove before."""
    trip = source()
    trip.hear_driver(b"shift-12")
    trip.hear_driver(payload)
    assert trip.now().driver is None


@pytest.mark.parametrize(
    "payload",
    [
        b'{"Vehicle.CurrentLocation.Latitude":52.5200066,"Vehicle.CurrentLocation.Longitude":13.405}',
        b'{"latitude": 52.5200066, "longitude": 13.404954, "speed": 50}',
        b'{"_type": "location", "lat": 52.5200066, "lon": 13.404954}',
        b'{"value": {"latitude": 52.5200066, "longitude": 13.404954}}',
    ],
)
def test_a_position_is_rounded_as_configured(payload: bytes) -> None:
    fine, coarse = source(), source(decimals=1)
    for trip in (fine, coarse):
        trip.hear_position(payload)
    assert fine.now() == Trip(None, BERLIN)
    assert coarse.now() == Trip(None, Position(52.5, 13.4))


@pytest.mark.parametrize(
    "payload",
    [b"", b"52.5,13.4", b'{"latitude": 91, "longitude": 0}', b'{"latitude": NaN, "longitude": 1}',
     b'{"latitude": true, "longitude": 1}', b'{"latitude": 52.5}', b"[52, 13]", b"[" * 900,
     b'{"latitude": 1' + b"0" * 400 + b', "longitude": 1}'],
)  # fmt: skip
def test_what_is_no_place_changes_nothing(payload: bytes) -> None:
    trip = source()
    trip.hear_position(b'{"lat": 52.52, "lon": 13.405}')
    trip.hear_position(payload)
    assert trip.now().position == BERLIN


def test_an_old_position_and_a_kept_one_are_unknown() -> None:
    clock = Clock()
    trip = source(clock, stale_s=30)
    trip.hear_position(b'{"lat": 52.52, "lon": 13.405}', True)
    assert trip.now().position is None
    trip.hear_position(b'{"lat": 52.52, "lon": 13.405}')
    clock.now_s += 30
    assert trip.now().position == BERLIN
    clock.now_s += 0.1
    assert trip.now().position is None


@given(st.binary(max_size=200))
def test_no_bytes_break_it(payload: bytes) -> None:
    trip = source()
    trip.hear_driver(payload)
    trip.hear_position(payload)
    assert isinstance(trip.now(), Trip)


def test_nothing_is_listened_to_unless_it_is_asked_for(tmp_path: Path) -> None:
    config = settings(tmp_path)
    assert TripSource(config.driver, config.position).listeners == {}
    fixed = settings(tmp_path, driver={"id": "anna-7"})
    assert TripSource(fixed.driver, fixed.position).now() == Trip("anna-7")


def test_one_topic_cannot_tell_two_things() -> None:
    with pytest.raises(ConfigError, match="must differ"):
        load(None, speed={"topic": "car"}, position={"topic": "car"})


@pytest.mark.broker
def test_driver_and_place_come_in_over_mqtt(mosquitto: Mosquitto, tmp_path: Path) -> None:
    config = settings(
        tmp_path,
        mqtt={"host": "127.0.0.1", "port": mosquitto.port},
        driver={"topic": "car/driver"},
        position={"topic": "car/position"},
    )
    trip = TripSource(config.driver, config.position)
    with Listener(mosquitto.port) as outside:
        # The shift began before the watch did.
        outside.ask("car/driver", b"shift_12", retain=True)
        with watching(config, listeners=trip.listeners):
            until(lambda: trip.now().driver, what="the driver")
            until(lambda: outside.on("available"), what="subscribed")
            outside.ask("car/position", b'{"lat": 52.52, "lon": 13.405}')
            until(lambda: trip.now() == ANNA, what="the place")
        outside.ask("car/driver", b"", retain=True)


def driven(change_after_s: float) -> tuple[list[DriverState], list[Event]]:
    """A microsleep of Anna's, who hands over to Ben while it goes on, and one of his."""
    story = attentive(75) + eyes_closed(2.5) + attentive(10) + eyes_closed(2.5) + attentive(5)
    engine = Engine(Policy(), drive="drive-1")
    states, events = [], []
    for observation, _, commands in story.at(30, start_s=0.0):
        trip = ANNA if observation.timestamp_s < change_after_s else BEN
        state, new = engine.update(observation, 80.0, commands, trip)
        states.append(state)
        events += new
    return states, [*events, *engine.finish()]


def test_an_event_keeps_who_and_where_it_began_with() -> None:
    _, events = driven(change_after_s=77.0)
    asleep = [event for event in events if event.kind is Kind.MICROSLEEP]
    ended = [event for event in asleep if event.phase is Phase.END]
    assert [event.trip for event in ended] == [ANNA, BEN]
    assert {event.trip for event in events if event.id == ended[0].id} == {ANNA}


def test_the_watch_is_the_same_whoever_drives() -> None:
    """No rule asks who or where."""
    as_anna, as_ben = driven(1e9)[1], driven(0.0)[1]
    assert len(as_anna) > 3
    assert [(e.id, e.kind, e.at_s, e.evidence) for e in as_anna] == [
        (e.id, e.kind, e.at_s, e.evidence) for e in as_ben
    ]


@on_both
def test_the_fleet_has_both_on_events_samples_and_watched_time(office: Desk) -> None:
    states, events = driven(change_after_s=77.0)
    narrator = Narrator()
    told = [
        messages.alert(TOPICS, narrator.tell(event), number, event.at)
        for number, event in enumerate(events, start=1)
    ]
    shown = messages.state(TOPICS, states[0], camera="driver", drive="drive-1", policy="p")
    office.take(*told, shown)
    rows = [row for row in office.rows("events") if row["kind"] == Kind.MICROSLEEP]
    assert sorted((row["driver"], row["latitude"], row["longitude"]) for row in rows) == [
        ("shift_12", 52.52, 13.405),
        ("shift_13", 48.137, 11.575),
    ]
    sample = office.row("samples")
    assert (sample["driver"], sample["latitude"]) == ("shift_12", 52.52)


def test_a_row_and_its_event_are_the_same() -> None:
    _, events = driven(1e9)
    assert event_from_row(event_row(events[0], "truck-1")).trip == ANNA
    nobody = Event(**{**{f: getattr(events[0], f) for f in Event.__slots__}, "trip": Trip()})
    assert event_from_row(event_row(nobody, "truck-1")).trip == Trip()


def test_a_report_of_watched_time_is_one_driver_s() -> None:
    monitored = MonitoredTime()
    for n in range(11):
        monitored.add(DriverState(float(n), NOW + n, trip=ANNA))
    report = monitored.settle("car-7", "d", "driver")
    assert report is not None
    assert (report.driver, report.seconds["monitored"]) == ("shift_12", 10.0)


def strange(vehicle: Vehicle, trip: Trip) -> Message:
    """What no ingester takes, and keeps as a dead letter that names the driver."""
    payload = f'{{"unheard_of": "{trip.driver}"}}'.encode()
    return Message(vehicle.topics.channel("state"), payload)


@on_both
def test_all_of_a_driver_is_given_out_and_erased_and_nothing_of_others(
    office: Desk, tmp_path: Path
) -> None:
    for vehicle in (Vehicle("truck-1"), Vehicle("truck-2")):
        for number, trip in enumerate((ANNA, BEN)):
            state = vehicle.state(at=NOON + 60 * number, trip=trip)
            office.take(state, strange(vehicle, trip))
    assert {row["driver"] for row in office.rows("samples")} == {"shift_12", "shift_13"}
    out = tmp_path / "out"
    assert export(office.engine, Subject(driver="shift_12"), out, "eve", NOON)["samples"] == 2
    gone = erase(office.engine, Subject(driver="shift_13"), "eve", NOON)
    # Each vehicle's latest state was Ben's.
    assert (gone["samples"], gone["vehicles"], gone["dead_letters"]) == (2, 2, 2)
    assert [row["driver"] for row in office.rows("samples")] == ["shift_12", "shift_12"]
    assert all(row["state"] is None for row in office.rows("vehicles"))
    assert "shift_13" not in str([office.rows(name) for name in ("samples", "dead_letters")])
