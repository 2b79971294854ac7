"""Whatever a network brings: each message is stored or set aside with a reason, and none kills."""

import json
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from monitor.fleet.ingest.decoder import Arrival
from monitor.protocol.messages import Message
from tests.support.fleet_stories import NOON, PREFIX, Desk, Vehicle, an_event, on_both


def hostile() -> dict[str, bytes]:
    """What a network may bring on a vehicle's alert topic."""
    good = json.loads(Vehicle().tell(an_event()).payload)

    def changed(**values: object) -> bytes:
        return json.dumps({**good, "data": {**good["data"], **values}}).encode()

    return {
        "nothing": b"",
        "not json": b"hello",
        "not utf-8": b'{"id": "\xff\xfe"}',
        "nan": changed(at_s=float("nan")),
        "infinite": json.dumps(good).replace("10.0", "1e999").encode(),
        "too deep": b"[" * 50_000 + b"]" * 50_000,
        "a number of 400 digits": changed(started_at=10**400),
        "an unknown key": json.dumps({**good, "extra": 1}).encode(),
        "another version": changed(version=3),
        "a naive time": json.dumps({**good, "time": "2026-09-21T14:13:20"}).encode(),
        "nul in evidence": changed(evidence={"rule": "absence", "gone_s": "a\x00b"}),
        "nul in a drive": changed(drive="a\x00b"),
        "traversal in a drive": changed(drive="../../etc/passwd"),
        "a lone surrogate": json.dumps(good).replace("abc", "\\ud800").encode(),
        "another vehicle": changed(vehicle="truck-2"),
        "a level that is none": changed(level=9),
        "told before its start": changed(at_s=9.0),
        "65 KB": changed(policy="x" * 66_000),
        "a list": b"[]",
        "a string for a number": changed(at="1790000000.0"),
    }


@pytest.mark.parametrize("name", list(hostile()))
def test_what_cannot_be_read_is_set_aside_with_its_reason(office: Desk, name: str) -> None:
    payload = hostile()[name]
    good = Vehicle().tell(an_event())
    office.take(Arrival(f"{PREFIX}/truck-1/alert", payload, NOON, qos=1), good)
    letter = office.row("dead_letters")
    assert letter["topic"] == f"{PREFIX}/truck-1/alert"
    assert letter["payload"] == payload[:4096]
    assert letter["reason"]
    assert "\n" not in letter["reason"]
    assert len(office.inbox.confirmed) == 2  # it must not come again
    assert office.row("events")["id"] == an_event().id  # and what came with it is kept
    count = office.metrics.registry.get_sample_value
    assert count("wakeful_ingest_dead_letters_total", {"channel": "alert"}) == 1


@on_both
def test_one_batch_of_everything_hostile_costs_only_the_hostile(office: Desk) -> None:
    topic = f"{PREFIX}/truck-1/alert"
    payloads = hostile().values()
    office.take(*(Arrival(topic, one, NOON, qos=1) for one in payloads), *Vehicle().tell_life())
    assert len(office.rows("dead_letters")) == len(payloads)
    assert office.row("events")["phase"] == "end"


@pytest.mark.parametrize(
    "vehicle", ["..", "../x", "a/b", "a%00", "a\x00b", "ünï", "x" * 65, "", "+", "#", "a b", "a.b"]
)
def test_a_vehicle_that_is_no_identifier_reaches_no_table_but_one(
    office: Desk, vehicle: str
) -> None:
    payload = Vehicle().tell(an_event()).payload.replace(b"truck-1", vehicle.encode())
    office.take(Arrival(f"{PREFIX}/{vehicle}/alert", payload, NOON, qos=1))
    assert "\0" not in office.row("dead_letters")["topic"]
    assert not office.rows("events")
    assert not office.rows("vehicles")


def test_topic_and_payload_must_name_the_same_vehicle(office: Desk) -> None:
    message = Vehicle("truck-1").tell(an_event())
    office.take(Arrival(f"{PREFIX}/truck-2/alert", message.payload, NOON, qos=1))
    assert "truck-1" in office.row("dead_letters")["reason"]
    assert not office.rows("events")


def test_a_vehicle_stops_sending_what_can_never_be_stored(office: Desk) -> None:
    message = Vehicle().tell(an_event())
    spoilt = json.dumps({**json.loads(message.payload), "extra": 1}).encode()
    office.take(Arrival(message.topic, spoilt, NOON, qos=1))
    assert office.inbox.acknowledged == {"truck-1": [message.id]}


@on_both
def test_what_the_database_alone_refuses_is_found_and_set_aside(office: Desk) -> None:
    """One row of a batch breaks a constraint: it alone becomes a dead letter."""
    with office.engine.begin() as connection:
        if office.engine.dialect.name == "postgresql":
            connection.execute(
                text("ALTER TABLE events ADD CONSTRAINT no_seven CHECK (id <> 'event-7')")
            )
        else:
            connection.execute(
                text(
                    "CREATE TRIGGER no_seven BEFORE INSERT ON events WHEN NEW.id = 'event-7' "
                    "BEGIN SELECT RAISE(ABORT, 'no seven'); END"
                )
            )
    vehicle = Vehicle()
    told = [vehicle.tell(an_event(id=f"event-{n}")) for n in range(16)]
    office.take(*told)
    assert len(office.rows("events")) == 15
    assert "no_seven" in (reason := office.row("dead_letters")["reason"]) or "no seven" in reason
    assert sorted(office.inbox.acknowledged["truck-1"]) == sorted(m.id for m in told)


def told_by_a_fleet() -> list[Message]:
    vehicle = Vehicle()
    return [
        *vehicle.tell_life(),
        vehicle.report({"monitored": 5.0}),
        vehicle.state(),
        vehicle.stats(),
        Message(vehicle.topics.channel("available"), b"online"),
        Message(vehicle.topics.camera("driver"), b"frozen"),
    ]


def mutated(payload: bytes, dice: random.Random) -> bytes:
    """A payload that something has gone over: bytes flipped, cut, doubled, words swapped."""
    body = bytearray(payload)
    for _ in range(dice.randint(1, 4)):
        match dice.randrange(6):
            case 0 if body:
                body[dice.randrange(len(body))] = dice.randrange(256)
            case 1 if body:
                start = dice.randrange(len(body))
                del body[start : start + dice.randint(1, 40)]
            case 2 if body:
                start = dice.randrange(len(body))
                body[start:start] = body[start : start + dice.randint(1, 40)]
            case 3:
                words = (b"null", b"NaN", b"1e999", b"\x00", b"-1", b"{}", b"[[", b'"', b"9" * 400)
                at = dice.randint(0, len(body))
                body[at:at] = dice.choice(words)
            case 4:
                old = dice.choice((b"truck-1", b"driver", b"warning", b"1", b"true", b":"))
                body = bytearray(bytes(body).replace(old, dice.choice((b"", b"..", b"\xff", b"2"))))
            case _:
                body = bytearray(dice.randbytes(dice.randint(0, 60)))
    return bytes(body)


def fuzz(office: Desk, payloads: int, seed: int) -> None:
    """Each payload is stored or in the dead letters with a reason; the ingester lives."""
    dice = random.Random(seed)
    told = told_by_a_fleet()
    names = [message.topic for message in told] + [
        f"{PREFIX}/../alert", f"{PREFIX}/truck-1/cmd/ack", "elsewhere", f"{PREFIX}/truck-1/ack"
    ]  # fmt: skip
    read_before = _counted(office, "wakeful_ingest_messages_total")
    for first in range(0, payloads, 500):
        batch = []
        for _ in range(min(500, payloads - first)):
            message = dice.choice(told)
            topic = message.topic if dice.random() < 0.8 else dice.choice(names)
            batch.append(Arrival(topic, mutated(message.payload, dice), NOON + first, qos=1))
        office.take(*batch)
    letters = office.rows("dead_letters")
    read = _counted(office, "wakeful_ingest_messages_total") - read_before
    assert len(office.inbox.confirmed) == payloads
    assert len(letters) + read == payloads
    assert all(letter["reason"] for letter in letters)
    assert not [letter for letter in letters if "unforeseen" in letter["reason"]]
    assert len(letters) > payloads // 2


def _counted(office: Desk, name: str) -> int:
    samples = [s for m in office.metrics.registry.collect() for s in m.samples]
    return int(sum(s.value for s in samples if s.name == name))


@on_both
def test_three_thousand_fuzzed_payloads_leave_it_alive(office: Desk) -> None:
    fuzz(office, 3_000, seed=1)


@pytest.mark.slow
@on_both
def test_a_hundred_thousand_fuzzed_payloads_leave_it_alive(office: Desk) -> None:
    fuzz(office, 100_000, seed=2)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    payload=st.one_of(
        st.binary(max_size=300),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
            lambda inner: (
                st.lists(inner, max_size=4)
                | st.dictionaries(st.text(max_size=8), inner, max_size=4)
            ),
            max_leaves=20,
        ).map(lambda value: json.dumps(value).encode()),
    ),
    channel=st.sampled_from(["alert", "coverage", "state", "stats", "available"]),
)
def test_no_payload_at_all_can_break_it(office: Desk, payload: bytes, channel: str) -> None:
    confirmed = len(office.inbox.confirmed)
    office.take(Arrival(f"{PREFIX}/truck-1/{channel}", payload, NOON, qos=1))
    assert len(office.inbox.confirmed) == confirmed + 1
    assert not [r for r in office.rows("dead_letters") if "unforeseen" in r["reason"]]
