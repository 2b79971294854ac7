"""The ingester: whatever comes, in whatever order and however often, the rows come out right."""

import random
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitor.fleet.ingest.decoder import Arrival
from monitor.types import Cause, Eyes, Kind, Level, Phase
from tests.support.fleet_stories import (
    NOON,
    PREFIX,
    Desk,
    Vehicle,
    an_event,
    arrived,
    later,
    on_both,
)


@on_both
def test_an_event_told_in_four_messages_is_one_row(office: Desk) -> None:
    told = Vehicle().tell_life()
    office.take(*told)
    row = office.row("events")
    assert (row["kind"], row["phase"], row["level"]) == ("sleep", "end", Level.CRITICAL)
    assert (row["started_at"], row["ended_at"], row["duration_s"]) == (NOON, NOON + 4.5, 4.5)
    assert row["acknowledged"]
    assert row["evidence"] == {"rule": "closure", "closed_s": 4.5}
    assert row["models"] == ["yolov5n_awake"]
    assert row["sequence"] == 4
    assert row["received_at"] == NOON
    assert office.inbox.acknowledged == {"truck-1": [message.id for message in told]}
    assert len(office.inbox.confirmed) == 4


@on_both
def test_duplicates_and_disorder_change_nothing(office: Desk) -> None:
    """Every message three times, shuffled, in batches of every size."""
    vehicles = [Vehicle(f"truck-{n}") for n in range(3)]
    told = [
        message
        for n, vehicle in enumerate(vehicles)
        for m in range(4)
        for message in vehicle.tell_life(id=f"event-{n}-{m}", started_at=NOON + m, at=NOON + m)
    ]
    office.take(*told)
    before = office.rows("events")
    shuffled = random.Random(7)
    for _ in range(3):
        again = told * 3
        shuffled.shuffle(again)
        while again:
            size = shuffled.randint(1, 20)
            office.take(*again[:size])
            del again[:size]
    assert office.rows("events") == before
    assert len(before) == 12


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(4)), cut=st.integers(0, 4), seed=st.integers(0, 10**9))
def test_every_order_of_arrival_ends_in_the_same_row(
    office: Desk, order: list[int], cut: int, seed: int
) -> None:
    told = Vehicle(f"truck-{seed}").tell_life(id=f"event-{seed}")
    arrival = [told[n] for n in order]
    office.take(*arrival[:cut])
    office.take(*arrival[cut:])
    (row,) = [r for r in office.rows("events") if r["id"] == f"event-{seed}"]
    assert (row["phase"], row["level"], row["sequence"]) == ("end", Level.CRITICAL, 4)
    assert row["ended_at"] == NOON + 4.5


def test_no_vehicle_touches_the_event_of_another(office: Desk) -> None:
    office.take(*Vehicle("truck-1").tell_life())
    before = office.row("events")
    stranger = Vehicle("truck-2")
    begin = an_event()
    for _ in range(9):
        office.take(stranger.tell(begin), stranger.tell(later(begin, 9, level=Level.CRITICAL)))
    assert office.row("events") == before


@on_both
def test_reports_of_watched_time_are_counted_once(office: Desk) -> None:
    report = Vehicle().report({"monitored": 540.0, "glare": 60.0})
    office.take(report)
    office.take(report, report)
    seconds = {row["cause"]: row["seconds"] for row in office.rows("coverage")}
    assert seconds == {"monitored": 540.0, "glare": 60.0}
    assert office.inbox.acknowledged["truck-1"] == [report.id] * 3


@on_both
def test_the_live_state_is_the_latest_that_came(office: Desk) -> None:
    vehicle = Vehicle()
    office.take(arrived(vehicle.state(perclos=0.30), NOON + 2))
    office.take(arrived(vehicle.state(perclos=0.10), NOON + 1), vehicle.stats())
    row = office.row("vehicles")
    assert row["state"]["perclos"] == 0.30
    assert (row["state_at"], row["first_seen_at"], row["last_seen_at"]) == (
        NOON + 2,
        NOON + 2,
        NOON + 2,
    )
    assert (row["version"], row["stats"]["cameras"]["driver"]["fps"]) == ("0.1.0", 30.0)
    assert row["availability"] == "unknown"


def test_history_is_a_sample_every_few_seconds(office: Desk) -> None:
    vehicle = Vehicle()
    every_s = office.config.ingest.sample_every_s
    for n in range(21):
        at = NOON + n * every_s / 4
        office.take(arrived(vehicle.state(at, degraded=(Cause.GLARE,)), at))
    samples = office.rows("samples")
    assert [row["at"] for row in samples] == [NOON + n * every_s for n in range(6)]
    assert samples[0]["degraded"] == ["glare"]
    assert samples[0]["yaw_deg"] == 3.0
    assert samples[0]["calibration"] == 1.0


def test_while_an_alert_stands_or_the_eyes_are_closed_history_is_closer(office: Desk) -> None:
    vehicle = Vehicle()
    pressing = [{"eyes": Eyes.CLOSED}, {"level": Level.WARNING, "kind": Kind.SLEEP}]
    told = [*[{}] * 3, *pressing, *pressing, *[{}] * 3]
    for second, how in enumerate(told):
        # A state comes when a frame does: now and then a little before its second is over.
        at = NOON + second - (0.05 if second % 2 else 0.0)
        office.take(arrived(vehicle.state(at, **how), at))
    since = [row["at"] - NOON for row in office.rows("samples")]
    assert since == pytest.approx([0, 3, 4, 5, 6], abs=0.1)


def test_each_of_several_cameras_has_a_history_and_the_vehicle_one_live_state(office: Desk) -> None:
    vehicle = Vehicle()
    office.take(
        arrived(vehicle.state(camera="cabin", level=Level.WARNING, kind=Kind.MICROSLEEP), NOON),
        arrived(vehicle.state(camera="cabin", apart=True), NOON),
        arrived(vehicle.state(NOON + 0.1, camera="driver", apart=True), NOON + 0.1),
    )
    assert [row["camera"] for row in office.rows("samples")] == ["cabin", "driver"]
    assert office.row("vehicles")["state"]["camera"] == "cabin"
    forged = vehicle.state(NOON + 9, camera="driver", apart=True)
    office.take(Arrival(forged.topic.replace("driver", "cabin"), forged.payload, NOON + 9))
    assert "camera driver" in office.row("dead_letters")["reason"]


def test_a_clock_that_is_off_is_flagged(office: Desk) -> None:
    """Skew is flagged at ingest."""
    off = office.config.ingest.skew_s + 3595.0
    office.take(arrived(Vehicle("late").state(NOON - off), NOON))
    office.take(arrived(Vehicle("right").state(NOON), NOON + 0.2))
    skew = {row["vehicle"]: row["clock_skew_s"] for row in office.rows("vehicles")}
    assert skew == {"late": -off, "right": -0.2}
    assert office.metrics.registry.get_sample_value("wakeful_ingest_skewed_vehicles") == 1
    office.take(arrived(Vehicle("late").state(NOON + 9), NOON + 9))
    assert office.metrics.registry.get_sample_value("wakeful_ingest_skewed_vehicles") == 0


@on_both
def test_availability_is_a_history_of_changes(office: Desk) -> None:
    topic = f"{PREFIX}/truck-1/available"
    for at, status in ((1, b"online"), (2, b"online"), (9, b"offline"), (12, b"online")):
        office.take(Arrival(topic, status, NOON + at, qos=1))
    # What another ingester took late must not turn the vehicle's light off again.
    office.take(Arrival(topic, b"offline", NOON + 9.1, qos=1))
    history = [(r["at"] - NOON, r["status"]) for r in office.rows("availability")]
    assert sorted(history) == [
        (1, "online"),
        (9, "offline"),
        (12, "online"),
    ]
    row = office.row("vehicles")
    assert (row["availability"], row["availability_at"]) == ("online", NOON + 12)


@on_both
def test_camera_status_is_a_history_of_changes(office: Desk) -> None:
    topic = f"{PREFIX}/truck-1/camera/driver/status"
    for at, status in ((1, b"online"), (2, b"frozen"), (3, b"frozen"), (4, b"online")):
        office.take(Arrival(topic, status, NOON + at, qos=1))
    office.take(Arrival(topic, b"frozen", NOON + 3.5, qos=1))
    told = [(r["at"] - NOON, r["camera"], r["status"]) for r in office.rows("camera_status")]
    assert told == [(1, "driver", "online"), (2, "driver", "frozen"), (4, "driver", "online")]


def test_nothing_is_confirmed_while_the_database_is_away(office: Desk) -> None:
    """Another program holds the file; then it lets go."""
    other = office.engine.connect()
    held = other.begin()  # BEGIN IMMEDIATE
    worker = threading.Thread(target=office.take, args=Vehicle().tell_life())
    worker.start()
    failures = office.metrics.registry.get_sample_value
    deadline = threading.Event()
    while not failures("wakeful_ingest_database_failures_total"):
        assert not deadline.wait(0.01)
    assert not office.inbox.confirmed
    assert not office.inbox.acknowledged
    assert "database" in office.ingester.health()["troubles"]
    held.rollback()
    other.close()
    worker.join(10)
    assert len(office.inbox.confirmed) == 4
    assert len(office.rows("events")) == 1
    assert not office.ingester.health()["troubles"]


def test_asked_to_stop_it_finishes_what_it_took(office: Desk) -> None:
    office.inbox.given = [arrived(message) for message in Vehicle().tell_life()]
    office.stop.set()
    office.ingester.run(office.stop)
    assert office.inbox.steps == ["start", "leave", "close"]
    assert len(office.inbox.confirmed) == 4
    assert len(office.rows("events")) == 1


def test_asked_to_stop_without_a_database_it_confirms_nothing(office: Desk) -> None:
    with office.engine.connect() as other, other.begin():
        office.inbox.given = [arrived(message) for message in Vehicle().tell_life()]
        office.stop.set()
        office.ingester.run(office.stop)
    assert not office.inbox.confirmed
    assert not office.inbox.acknowledged


def test_health_says_which_part_is_missing(office: Desk) -> None:
    assert office.ingester.health()["troubles"] == {}
    office.inbox.connected, office.inbox.refusal = False, "the broker cannot be reached"
    assert office.ingester.health()["troubles"] == {"broker": "the broker cannot be reached"}


def test_the_story_language_tells_what_it_says() -> None:
    begin = an_event()
    assert later(begin, 2).duration_s == pytest.approx(2)
    assert begin.phase is Phase.START
    assert begin.kind is Kind.MICROSLEEP
