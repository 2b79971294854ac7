"""What is written reads back as it was; what is not exactly ours is refused with a reason."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.protocol import messages
from monitor.protocol.mapping import event_from_row, event_line, event_row
from monitor.protocol.messages import Narrator, TopicAddress, Topics, read, read_command
from monitor.protocol.schemas import (
    Ack,
    Alert,
    Availability,
    CameraStatus,
    Coverage,
    CoverageData,
    State,
)
from monitor.types import (
    AbsenceEvidence,
    Calibration,
    Cause,
    ClosureEvidence,
    Command,
    DegradedEvidence,
    DistractionEvidence,
    DriverState,
    EndedBy,
    Evidence,
    Eyes,
    HeadPose,
    Kind,
    Level,
    PerclosEvidence,
    Phase,
    YawnEvidence,
)
from tests.support.events import NOW, event

TOPICS = Topics("dms/v1", "car-7")
ALERT = TopicAddress("car-7", "alert")


def alert_of(told: Any, sequence: int = 7) -> messages.Message:
    return messages.alert(TOPICS, Narrator().tell(told), sequence, NOW + 3)


def spoiled(**changes: Any) -> bytes:
    """A good alert with some places of it overwritten; `data__at` is `at` in `data`."""
    payload = json.loads(alert_of(event()).payload)
    for path, value in changes.items():
        place = payload
        *parents, last = path.split("__")
        for parent in parents:
            place = place[parent]
        place[last] = value
    return json.dumps(payload).encode()


def taken(address: TopicAddress, payload: bytes) -> Any:
    """What was read; None where it was refused, which must be by a plain ValueError."""
    try:
        return read(address, payload)
    except Exception as error:
        if type(error) is not ValueError:
            raise
        return None


def refusal(payload: bytes, address: TopicAddress = ALERT) -> str:
    with pytest.raises(ValueError, match=r".+") as caught:
        read(address, payload)
    assert type(caught.value) is ValueError
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_alert_is_a_cloudevent_that_reads_back_as_the_event() -> None:
    told = event(after_s=1.25, started_at=NOW + 0.1234567)
    message = alert_of(told)
    envelope = json.loads(message.payload)
    assert message.topic == "dms/v1/car-7/alert"
    assert message.content_type == "application/cloudevents+json; charset=utf-8"
    assert (message.qos, message.retain) == (1, False)
    assert envelope["specversion"] == "1.0"
    assert envelope["type"] == "org.wakeful.alert.raised"
    assert envelope["source"] == "/vehicles/car-7/cameras/driver"
    assert envelope["subject"] == told.id
    assert envelope["sequence"] == "7"
    assert envelope["severitytext"] == "warning"
    assert datetime.fromisoformat(envelope["time"]) == datetime.fromtimestamp(told.at, UTC)
    assert envelope["data"]["signals"]["Vehicle.ADAS.DMS.IsWarning"] is True
    read_back = read(ALERT, message.payload)
    assert isinstance(read_back, Alert)
    assert read_back.data.event == told


def test_the_narrator_knows_what_each_telling_is() -> None:
    narrator = Narrator()
    tellings = [
        event(),
        event(phase=Phase.UPDATE, after_s=2),
        event(phase=Phase.UPDATE, after_s=3, level=Level.CRITICAL),
        event(phase=Phase.UPDATE, after_s=4, level=Level.CRITICAL, acknowledged=True),
        event(phase=Phase.END, after_s=5),
    ]
    told = [narrator.tell(telling) for telling in tellings]
    assert [t.type.rpartition(".")[2] for t in told] == [
        "raised",
        "updated",
        "escalated",
        "acknowledged",
        "cleared",
    ]
    assert len({t.id for t in told}) == len(told)
    again = Narrator()
    assert [again.tell(telling).id for telling in tellings] == [t.id for t in told]


finite = st.floats(allow_nan=False, allow_infinity=False)
shared = {
    "speed_kmh": st.none() | finite,
    "repeat": st.integers(0, 1000),
    "ended_by": st.none() | st.sampled_from(EndedBy),
}
any_evidence = st.one_of(
    st.builds(ClosureEvidence, closed_s=finite, openness=st.none() | finite, nod=st.booleans(),
              confidence=finite, pitch_deg=st.none() | finite, contributions=st.lists(
                  st.tuples(st.sampled_from(["eye network", "lids"]), finite), max_size=3,
              ).map(tuple), **shared),
    st.builds(PerclosEvidence, band=st.sampled_from(["advisory", "drowsy", "severe"]),
              perclos=st.none() | st.floats(0, 1), coverage=st.floats(0, 1), window_s=finite,
              **shared),
    st.builds(DistractionEvidence, limit=st.sampled_from(["long", "addw", "vats"]), away_s=finite,
              looking_down=st.booleans(), yaw_deg=st.none() | finite, **shared),
    st.builds(YawnEvidence, open_s=finite, yawns=st.integers(0, 99), window_s=finite, **shared),
    st.builds(AbsenceEvidence, gone_s=finite, **shared),
    st.builds(DegradedEvidence, cause=st.sampled_from(Cause), **shared),
)  # fmt: skip


@given(any_evidence, st.floats(0, 1e6), st.sampled_from([level for level in Level if level]))
def test_every_rule_s_evidence_survives_the_message_and_the_row(
    evidence: Evidence, after_s: float, level: Level
) -> None:
    given_event = event(after_s=after_s, level=level, evidence=evidence)
    read_back = read(ALERT, alert_of(given_event).payload)
    assert isinstance(read_back, Alert)
    assert read_back.data.event == given_event
    assert event_from_row(event_row(given_event, "car-7")).evidence == evidence


def test_an_alert_of_the_first_version_is_read_as_today_s() -> None:
    payload = json.loads(alert_of(event()).payload)
    del payload["dataschema"]
    payload["data"]["version"] = 1
    payload["data"]["evidence"] = {"closure_s": 1.2, "openness": 0.1, "reason": "process ended"}
    read_back = read(ALERT, json.dumps(payload).encode())
    assert isinstance(read_back, Alert)
    assert read_back.data.event.evidence == ClosureEvidence(
        closed_s=1.2, openness=0.1, ended_by=EndedBy.PROCESS
    )


@given(
    st.sampled_from(Kind),
    st.dictionaries(
        st.sampled_from(["rule", "closed_s", "cause", "limit", "away_s", "ended_by", "repeat"]),
        st.sampled_from(["closure", "vats", "", float("nan"), 1.5, -1, True, None,
                         [], {}]),
        max_size=6,
    ),
)  # fmt: skip
def test_no_row_is_lost_over_its_evidence(kind: Kind, stored: dict[str, Any]) -> None:
    row = {**event_row(event(kind=kind), "car-7"), "evidence": stored}
    assert event_from_row(row).kind is kind


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "EOF"),
        (b"not json", "Invalid JSON"),
        (b"\xff\xfe\x00", "Invalid JSON"),
        (b"[" * 60_000, "recursion limit"),
        (b"x" * 100_000, "100000 bytes"),
        (spoiled(data__at=float("nan")), "at: "),
        (spoiled().replace(b'"closed_s": 1.02', b'"closed_s": 1e999'), "finite"),
        (spoiled().replace(b'"closed_s": 1.02', b'"closed_s": ' + b"9" * 400), "finite"),
        (spoiled(data__started_at=10**400), "started_at"),
        (spoiled(data__evidence={"closed_s": 1.0}), "'rule'"),
        (spoiled(data__evidence={"rule": "weather"}), "'weather'"),
        (spoiled(data__policy="x\0y"), "NUL"),
        (spoiled(data__evidence__mouth=1.0), "mouth"),
        (spoiled(data__evidence__closed_s="1"), "closed_s"),
        (spoiled(extra=1), "extra"),
        (spoiled(data__extra=1), "data.extra"),
        (spoiled(time="2026-11-24T12:00:00"), "timezone"),
        (spoiled(specversion="0.3"), "specversion"),
        (spoiled(data__version=3), "version"),
        (spoiled(data__level="3"), "level"),
        (spoiled(data__kind="asleep"), "kind"),
        (spoiled(data__vehicle="../x"), "vehicle"),
        (spoiled(data__vehicle="a" * 65), "vehicle"),
        (spoiled(data__vehicle="car-8"), "source"),
        (spoiled(source="/vehicles/car-8/cameras/driver"), "source"),
        (spoiled(data__camera="rear"), "source"),
        (spoiled(subject="another"), "subject"),
        (spoiled(id="another.start.0"), "id"),
        (spoiled(type="org.wakeful.alert.cleared"), "phase"),
        (spoiled(severitytext="critical"), "severity"),
        (spoiled(severitynumber=21), "severity"),
        (spoiled(time="2001-01-01T00:00:00Z"), "time is not"),
        (spoiled(sequence="-1"), "sequence"),
        (spoiled(data__at_s=0.0), "before its start"),
        (spoiled(data__started_at=-1.0), "started_at"),
    ],
)  # fmt: skip
def test_what_is_not_exactly_an_alert_is_refused_with_the_reason(
    payload: bytes, reason: str
) -> None:
    assert reason in refusal(payload)


def test_the_payload_must_be_of_the_topic_s_vehicle() -> None:
    other = TopicAddress("car-8", "alert")
    assert "car-7 on the topic of car-8" in refusal(alert_of(event()).payload, other)


@given(st.binary(max_size=300), st.sampled_from(["alert", "state", "stats", "ack", "available"]))
def test_no_bytes_are_answered_with_anything_but_a_value_error(raw: bytes, channel: str) -> None:
    told = taken(TopicAddress("car-7", channel), raw)
    assert told is None or isinstance(told, Availability)


@given(st.data())
def test_a_mutated_alert_is_read_or_refused_and_nothing_else(data: st.DataObject) -> None:
    """One byte, key or value changed."""
    payload = bytearray(alert_of(event()).payload)
    for _ in range(data.draw(st.integers(1, 4))):
        where = data.draw(st.integers(0, len(payload) - 1))
        payload[where : where + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
    told = taken(ALERT, bytes(payload))
    assert told is None or isinstance(told, Alert)


@pytest.mark.parametrize(
    "topic",
    [
        "dms/v1/../alert",
        "dms/v1/a/../car-7/alert",
        "dms/v1/a%00/alert",
        "dms/v1//alert",
        "dms/v1/é/alert",
        f"dms/v1/{'a' * 65}/alert",
        "dms/v1/car-7/alert/",
        "dms/v1/car-7/alert\n",
        "dms/v1/car-7",
        "dms/v2/car-7/alert",
        "dms/v1/car-7/camera/../status",
        "",
    ],
)
def test_a_topic_is_matched_segment_by_segment(topic: str) -> None:
    """In a topic."""
    with pytest.raises(ValueError, match="topic"):
        TOPICS.parse(topic)


def test_every_topic_of_ours_parses_to_its_address() -> None:
    assert TOPICS.parse(TOPICS.channel("alert")) == ALERT
    assert TOPICS.parse(TOPICS.camera("rear")) == TopicAddress("car-7", "camera", "rear")
    assert TOPICS.parse(TOPICS.command("ack")) == TopicAddress("car-7", "cmd", "ack")
    with pytest.raises(ValueError, match="vehicle"):
        Topics("dms/v1", "../x")


def test_the_state_bears_vss_names_and_says_what_is_unknown() -> None:
    baseline = Calibration(0.5, False, 0.3, 0.2, HeadPose(0, 0, 0), "9f8e")
    told = DriverState(
        12.0,
        NOW,
        level=Level.WARNING,
        kind=Kind.DISTRACTION,
        eyes=Eyes.OPEN,
        fatigue=35.0,
        eyes_on_road=False,
        pose=HeadPose(31.5, -4.0, 2.0),
        degraded=(Cause.LOW_LIGHT,),
        calibration=baseline,
        coverage=0.9,
    )
    message = messages.state(TOPICS, told, camera="driver", drive="d", policy="default-1a")
    assert message.retain
    signals = json.loads(message.payload)["signals"]
    assert signals["Vehicle.Driver.FatigueLevel"] == 35.0
    assert signals["Vehicle.Driver.DistractionLevel"] is None
    assert signals["Vehicle.Driver.IsEyesOnRoad"] is False
    assert signals["Vehicle.Occupant.Row1.DriverSide.HeadPosition.Yaw"] == 31.5
    assert signals["Vehicle.ADAS.DMS.IsWarning"] is True
    assert signals["Vehicle.ADAS.DMS.IsError"] is False
    read_back = read(TopicAddress("car-7", "state"), message.payload)
    assert isinstance(read_back, State)
    assert read_back.calibration is not None
    assert read_back.calibration.percent == 50.0
    assert read_back.degraded == (Cause.LOW_LIGHT,)
    assert not read_back.monitored


def test_coverage_reads_back_with_its_causes() -> None:
    report = CoverageData(
        vehicle="car-7",
        drive="d",
        camera="driver",
        started_at=NOW,
        ended_at=NOW + 600,
        seconds={"monitored": 550.5, Cause.LOW_LIGHT: 40.0},
    )
    message = messages.coverage(TOPICS, report, 3, NOW + 601)
    again = messages.coverage(TOPICS, report, 9, NOW + 700)
    read_back = read(TopicAddress("car-7", "coverage"), message.payload)
    assert isinstance(read_back, Coverage)
    assert read_back.data == report
    assert message.id == again.id, "the same stretch of time is the same message"


def test_acknowledgements_and_bare_words_read_back() -> None:
    told = read(
        TopicAddress("car-7", "ack"), messages.acknowledgement(TOPICS, ["a.start.0"]).payload
    )
    assert isinstance(told, Ack)
    assert told.ids == ("a.start.0",)
    assert read(TopicAddress("car-7", "available"), b"online") is Availability.ONLINE
    assert read(TopicAddress("car-7", "camera", "driver"), b"frozen") is CameraStatus.FROZEN
    assert "not one of" in refusal(b"Online", TopicAddress("car-7", "available"))
    assert "nothing is published" in refusal(b"x", TopicAddress("car-7", "cmd", "ack"))


@pytest.mark.parametrize(
    ("name", "payload", "command"),
    [
        ("ack", b"", Command.ACKNOWLEDGE),
        ("ack", b"PRESS", Command.ACKNOWLEDGE),
        ("calibrate", b"reset", Command.RECALIBRATE),
        ("warnings", b"OFF", Command.WARNINGS_OFF),
        ("warnings", b"on\n", Command.WARNINGS_ON),
    ],
)
def test_commands_are_bare_words(name: str, payload: bytes, command: Command) -> None:
    assert read_command(name, payload) is command


@pytest.mark.parametrize(
    ("name", "payload"), [("ack", b"x"), ("warnings", b""), ("reboot", b""), ("ack", b"\xff")]
)
def test_other_commands_are_refused(name: str, payload: bytes) -> None:
    with pytest.raises(ValueError, match="known: "):
        read_command(name, payload)


def test_an_event_survives_its_row_and_its_line() -> None:
    told = event(phase=Phase.END, after_s=2.5, acknowledged=True)
    from_row = event_from_row(event_row(told, "car-7", sequence=4))
    assert (from_row.id, from_row.kind, from_row.at) == (told.id, told.kind, told.at)
    assert from_row.duration_s == pytest.approx(2.5)
    line = json.loads(event_line(told))
    assert line["at"] == told.at
    assert line["kind"] == "microsleep"
    assert line["duration_s"] == told.duration_s
