"""Alerts reach whoever listens, whatever the broker does; and the loop never waits for it."""

import json
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from monitor.protocol import messages
from monitor.sinks.mqtt.discovery import discovery
from monitor.speed import SpeedSource
from monitor.types import (
    CameraCondition,
    Cause,
    Command,
    DriverState,
    Frame,
    Kind,
    Level,
    Phase,
)
from tests.support.events import NOW, event, moment, settings, step
from tests.support.listeners import TOPICS, Listener, vehicle, watching
from tests.support.paths import ROOT
from tests.support.servers import Mosquitto, until


@pytest.fixture
def listener(mosquitto: Mosquitto) -> Iterator[Listener]:
    with Listener(mosquitto.port) as listener:
        yield listener


pytestmark = pytest.mark.broker


def test_an_alert_arrives_as_a_cloudevent(
    mosquitto: Mosquitto, listener: Listener, tmp_path: Path
) -> None:
    with watching(vehicle(tmp_path, mosquitto.port)) as (store, _):
        store.record(event())
        store.record(event(phase=Phase.END, after_s=2))
        until(lambda: len(listener.alerts()) == 2, what="both tellings")
    raised, cleared = listener.alerts()
    assert (raised.type, cleared.type) == ("org.wakeful.alert.raised", "org.wakeful.alert.cleared")
    assert raised.subject == cleared.subject == event().id
    assert [int(raised.sequence), int(cleared.sequence)] == [1, 2]
    assert raised.data.event == event()


def test_availability_is_retained_from_online_to_stopped(
    mosquitto: Mosquitto, listener: Listener, tmp_path: Path
) -> None:
    with watching(vehicle(tmp_path, mosquitto.port)):
        until(lambda: listener.on("available") == [b"online"], what="online")
        with Listener(mosquitto.port) as late:
            until(lambda: late.on("available") == [b"online"], what="online retained")
    until(lambda: listener.on("available") == [b"online", b"stopped"], what="stopped")


VEHICLE = """
import sys, time
from pathlib import Path
from tests.support.listeners import vehicle, watching
with watching(vehicle(Path(sys.argv[1]), int(sys.argv[2]))):
    time.sleep(60)
"""


def test_a_process_that_vanishes_is_offline_by_its_will(
    mosquitto: Mosquitto, listener: Listener, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", VEHICLE, str(tmp_path), str(mosquitto.port)]
    with subprocess.Popen(command, cwd=ROOT) as process:
        until(lambda: listener.on("available") == [b"online"], what="online")
        process.kill()
    until(lambda: listener.on("available") == [b"online", b"offline"], what="the will")


def test_the_state_is_retained_once_a_second_and_at_once_when_it_changes(
    mosquitto: Mosquitto, listener: Listener, tmp_path: Path
) -> None:
    with watching(vehicle(tmp_path, mosquitto.port, state_hz=0.1)) as (_, sink):
        sink.on_step(moment(0.0))
        until(lambda: len(listener.on("state")) == 1, what="the first state")
        for n in range(20):
            sink.on_step(moment(0.1 + n / 10))
        sink.on_step(moment(3.0, level=Level.WARNING, kind=Kind.MICROSLEEP, fatigue=40.0))
        until(lambda: len(listener.on("state")) == 2, what="the change at once")
        with Listener(mosquitto.port) as late:
            (retained,) = until(lambda: late.on("state"), what="retained")
    told = json.loads(retained)
    assert told["level"] == "warning"
    assert told["signals"]["Vehicle.Driver.FatigueLevel"] == 40.0
    assert told["policy"] == "default-1a"


def test_a_camera_s_status_is_told_when_it_has_lasted(
    mosquitto: Mosquitto, listener: Listener, tmp_path: Path
) -> None:
    def frames(condition: CameraCondition, from_s: float, to_s: float) -> None:
        count = int((to_s - from_s) * 10)
        for n in range(count):
            at_s = from_s + n / 10
            frame = Frame(None, at_s, NOW + at_s, n, condition=condition)
            state = DriverState(at_s, NOW + at_s, degraded=degraded)
            sink.on_step(step(frame, state))

    status = "camera/driver/status"
    degraded: tuple[Cause, ...] = ()
    with watching(vehicle(tmp_path, mosquitto.port)) as (_, sink):
        frames(CameraCondition.OK, 0, 1)
        until(lambda: listener.on(status) == [b"online"], what="online")
        frames(CameraCondition.LOST, 1, 2)
        frames(CameraCondition.OK, 2, 3)
        frames(CameraCondition.FROZEN, 3, 6)
        until(lambda: listener.on(status)[-1] == b"frozen", what="frozen")
        degraded = (Cause.OBSCURED,)
        frames(CameraCondition.OK, 6, 9)
        until(lambda: listener.on(status)[-1] == b"obscured", what="obscured")
    assert listener.on(status) == [b"online", b"frozen", b"obscured"], "a flicker is no news"


def test_commands_are_taken_and_answered(
    mosquitto: Mosquitto, listener: Listener, tmp_path: Path
) -> None:
    obeyed: list[Command] = []
    with watching(vehicle(tmp_path, mosquitto.port), on_command=obeyed.append) as (_, sink):
        sink.on_step(moment(0.0))
        until(lambda: listener.on("state"), what="subscribed")
        answers = _ask(mosquitto.port, "warnings", b"OFF")
        assert answers == {"version": 1, "command": "warnings", "accepted": True, "reason": None}
        refused = _ask(mosquitto.port, "warnings", b"LOUDER")
        assert not refused["accepted"]
        assert "ON or OFF" in refused["reason"]
        listener.ask(TOPICS.command("ack"))
        until(lambda: len(obeyed) == 2, what="both obeyed")
        assert sink.take_commands("driver") == [Command.WARNINGS_OFF, Command.ACKNOWLEDGE]
        assert sink.take_commands("driver") == []
        sink.on_step(moment(9.0, level=Level.INFO, kind=Kind.YAWNING))
        until(lambda: json.loads(listener.on("state")[-1])["warnings"] is False, what="muted told")
    assert obeyed == [Command.WARNINGS_OFF, Command.ACKNOWLEDGE]


def _ask(port: int, command: str, payload: bytes) -> dict[str, Any]:
    """Ask with MQTT 5 where the answer is to go."""
    answers: queue.SimpleQueue[paho.MQTTMessage] = queue.SimpleQueue()
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
    client.on_message = lambda _, __, message: answers.put(message)
    ready = threading.Event()
    client.on_subscribe = lambda *_: ready.set()
    client.on_connect = lambda client, *_: client.subscribe("home/answers", 1)
    client.connect("127.0.0.1", port)
    client.loop_start()
    assert ready.wait(5)
    properties = Properties(PacketTypes.PUBLISH)
    properties.ResponseTopic = "home/answers"
    properties.CorrelationData = b"42"
    client.publish(TOPICS.command(command), payload, 1, properties=properties)
    message = answers.get(timeout=10)
    client.disconnect()
    client.loop_stop()
    assert message.properties is not None
    assert message.properties.CorrelationData == b"42"
    answer: dict[str, Any] = json.loads(message.payload)
    return answer


def test_a_retained_command_is_not_obeyed(
    mosquitto: Mosquitto, listener: Listener, tmp_path: Path
) -> None:
    listener.ask(TOPICS.command("ack"), b"", retain=False)
    listener.ask(TOPICS.command("warnings"), b"OFF", retain=True)
    with watching(vehicle(tmp_path, mosquitto.port)) as (_, sink):
        until(lambda: listener.on("available")[-1:] == [b"online"], what="commands are heard")
        listener.ask(TOPICS.command("calibrate"))
        taken: list[Command] = []
        until(lambda: taken.extend(sink.take_commands("driver")) or taken, what="the live one")
        assert taken == [Command.RECALIBRATE]
    listener.ask(TOPICS.command("warnings"), retain=True)


def test_the_vehicle_s_speed_comes_in(
    mosquitto: Mosquitto, listener: Listener, tmp_path: Path
) -> None:
    config = settings(
        tmp_path,
        mqtt={"host": "127.0.0.1", "port": mosquitto.port},
        speed={"topic": "vehicle/speed"},
    )
    speed = SpeedSource(config.speed)
    with watching(config, listeners=speed.listeners) as (_, sink):
        until(lambda: sink.connected, what="connected")
        until(lambda: listener.on("available"), what="subscribed")
        listener.ask("vehicle/speed", b"53.5")
        assert until(speed.kmh, what="a speed") == 53.5


def test_stats_tell_how_the_process_does(
    mosquitto: Mosquitto, listener: Listener, tmp_path: Path
) -> None:
    config = vehicle(tmp_path, mosquitto.port, stats_every_s=0.2)
    with watching(config, troubles=lambda: {"chime": "silent"}):
        payload = until(lambda: listener.on("stats"), what="stats")[0]
    told = messages.read(TOPICS.parse(TOPICS.channel("stats")), payload)
    assert told.troubles == {"chime": "silent"}  # type: ignore[union-attr]


def test_home_assistant_finds_the_vehicle_again_after_its_own_start(
    mosquitto: Mosquitto, listener: Listener, tmp_path: Path
) -> None:
    def configs() -> list[str]:
        return [m.topic for m in list(listener.heard) if m.topic.endswith("/config")]

    with watching(vehicle(tmp_path, mosquitto.port)):
        until(lambda: len(configs()) == 12, what="discovered")
        listener.ask("homeassistant/status", b"online")
        until(lambda: len(configs()) == 24, what="discovered again")
    assert "homeassistant/sensor/wakeful_car-7/fatigue/config" in configs()


def _rendered(template: str, payload: bytes) -> str:
    """As Home Assistant does it, with `true`, `false` and None as in its templates."""
    value = json.loads(payload)
    return jinja2.Template(template).render(value_json=value)


def test_home_assistant_shows_a_vehicle_as_unavailable_unless_its_watch_runs() -> None:
    for message in discovery(TOPICS, "ha"):
        config = json.loads(message.payload)
        assert config["availability_topic"] == TOPICS.channel("available")
        template = jinja2.Template(config["availability_template"])
        shown = {word: template.render(value=word) for word in ("online", "offline", "stopped")}
        assert shown == {"online": "online", "offline": "offline", "stopped": "offline"}
        component = message.topic.split("/")[1]
        assert config["default_entity_id"] == f"{component}.{config['object_id']}"


def test_home_assistant_s_templates_read_the_state() -> None:
    found = {m.topic.split("/")[3]: json.loads(m.payload) for m in discovery(TOPICS, "ha")}
    state = DriverState(1.0, NOW, level=Level.WARNING, kind=Kind.SLEEP, fatigue=72.5)
    payload = messages.state(TOPICS, state, camera="driver", drive="d", policy="p").payload
    values = {
        name: _rendered(config["value_template"], payload)
        for name, config in found.items()
        if config.get("state_topic") == TOPICS.channel("state")
    }
    assert values["level"] == "warning"
    assert values["level"] in found["level"]["options"]
    assert values["kind"] == "sleep"
    assert values["fatigue"] == "72.5"
    assert values["warning"] == "ON"
    assert values["monitored"] == "ON"
    assert values["eyes_on_road"] == "None", "unknown is neither ON nor OFF"
    assert values["calibration"] == "None"
    alert = messages.alert(TOPICS, messages.Narrator().tell(event()), 1, NOW).payload
    assert _rendered(found["last_alert"]["value_template"], alert) == "microsleep"
    attributes = json.loads(_rendered(found["last_alert"]["json_attributes_template"], alert))
    assert attributes["what"] == "raised"
    assert found["acknowledge"]["command_topic"] == TOPICS.command("ack")
    assert len({config["unique_id"] for config in found.values()}) == len(found)
