"""Alerts reach whoever listens, whatever the broker does; and the loop never waits for it."""

import json
import os
import queue
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import jinja2
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from monitor import messages
from monitor.config import Config
from monitor.messages import Topics
from monitor.mqtt import MqttSink
from monitor.mqtt.broker import EmbeddedBroker, broker_for
from monitor.mqtt.discovery import discovery
from monitor.payloads import Alert
from monitor.store import Store, open_store
from monitor.types import (
    CameraCondition,
    Cause,
    Command,
    DriverState,
    Frame,
    Kind,
    Level,
    Observation,
    Phase,
)
from monitor.vehicle import SpeedSource
from tests.servers import Mosquitto, free_port, pause, resume, until
from tests.tellings import NOW, alerts, event, moment, settings
from tests.test_provision import Yard

TOPICS = Topics("dms/v1", "car-7")


@dataclass
class Listener:
    """Somebody at the broker who hears everything."""

    port: int
    heard: list[paho.MQTTMessage] = field(default_factory=list)

    def __enter__(self) -> Self:
        self.client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv311)
        self.client.on_message = lambda _, __, message: self.heard.append(message)
        ready = threading.Event()
        self.client.on_connect = lambda client, *_: client.subscribe([("#", 1)])
        self.client.on_subscribe = lambda *_: ready.set()
        self.client.reconnect_delay_set(1, 1)
        self.client.connect("127.0.0.1", self.port)
        self.client.loop_start()
        assert ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def on(self, channel: str) -> list[bytes]:
        topic = TOPICS.channel(channel)
        return [message.payload for message in list(self.heard) if message.topic == topic]

    def ask(self, topic: str, payload: bytes = b"", *, retain: bool = False) -> None:
        self.client.publish(topic, payload, 1, retain).wait_for_publish(5)

    def alerts(self) -> list[Alert]:
        told = [messages.read(TOPICS.parse(TOPICS.channel("alert")), p) for p in self.on("alert")]
        return [alert for alert in told if isinstance(alert, Alert)]


def vehicle(folder: Path, port: int, **mqtt: Any) -> Config:
    quick = {"host": "127.0.0.1", "port": port, "retry_s": (0.05, 0.3), "will_delay_s": 0}
    return settings(folder, mqtt={**quick, **mqtt})


@contextmanager
def watching(config: Config, **more: Any) -> Iterator[tuple[Store, MqttSink]]:
    """A store and its MQTT sink, closed in order."""
    with closing(open_store(config)) as store:
        sink = MqttSink(config, store, drive="drive-1", policy="default-1a", **more)
        with closing(sink):
            yield store, sink


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
from tests.test_mqtt import vehicle, watching
with watching(vehicle(Path(sys.argv[1]), int(sys.argv[2]))):
    time.sleep(60)
"""


def test_a_process_that_vanishes_is_offline_by_its_will(
    mosquitto: Mosquitto, listener: Listener, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", VEHICLE, str(tmp_path), str(mosquitto.port)]
    with subprocess.Popen(command, cwd=Path(__file__).parents[1]) as process:
        until(lambda: listener.on("available") == [b"online"], what="online")
        process.kill()
    until(lambda: listener.on("available") == [b"online", b"offline"], what="the will")


def test_the_state_is_retained_once_a_second_and_at_once_when_it_changes(
    mosquitto: Mosquitto, listener: Listener, tmp_path: Path
) -> None:
    with watching(vehicle(tmp_path, mosquitto.port, state_hz=0.1)) as (_, sink):
        sink.see(*moment(0.0))
        until(lambda: len(listener.on("state")) == 1, what="the first state")
        for n in range(20):
            sink.see(*moment(0.1 + n / 10))
        sink.see(*moment(3.0, level=Level.WARNING, kind=Kind.MICROSLEEP, fatigue=40.0))
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
        steps = int((to_s - from_s) * 10)
        for n in range(steps):
            at_s = from_s + n / 10
            frame = Frame(None, at_s, NOW + at_s, n, condition=condition)
            state = DriverState(at_s, NOW + at_s, degraded=degraded)
            sink.see(frame, Observation(at_s, NOW + at_s), state)

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


def test_a_broker_that_is_away_for_the_whole_drive_loses_nothing(tmp_path: Path) -> None:
    """Fault matrix 1: a broker that is not there."""
    broker = Mosquitto(tmp_path)
    with watching(vehicle(tmp_path, broker.port)) as (store, sink):
        longest_s = 0.0
        for told in alerts(120):
            began_s = time.perf_counter()
            store.record(told)
            sink.see(*moment(told.at_s))
            longest_s = max(longest_s, time.perf_counter() - began_s)
        assert store.flush()
        until(lambda: "start a broker there" in (sink.trouble() or ""), what="trouble told")
        assert store.outbox is not None
        assert store.outbox.waiting == 120
        with broker, Listener(broker.port) as listener:
            until(lambda: len(listener.alerts()) >= 120, what="the backlog")
            until(lambda: sink.trouble() is None, what="all is well")
            until(lambda: store.outbox and store.outbox.waiting == 0, what="confirmed")
            order = [int(alert.sequence) for alert in listener.alerts()]
    assert order == sorted(order), "in order"
    assert set(order) == set(range(1, 121))


def test_a_broker_killed_again_and_again_loses_nothing(tmp_path: Path) -> None:
    """Fault matrix 2: SIGKILL, default persistence."""
    broker = Mosquitto(tmp_path).start()
    heard: set[str] = set()
    ready, done = threading.Event(), threading.Event()
    config = vehicle(tmp_path, broker.port, confirm="application", resend_s=0.2)
    fleet = threading.Thread(target=_fleet, args=(broker.port, heard, ready, done))
    fleet.start()
    assert ready.wait(10)
    with watching(config) as (store, _):
        for told in alerts(100):
            store.record(told)
            if int(told.started_s) % 20 == 0:
                until(lambda: len(heard) > 5, what="something stored")
                broker.kill()
                broker.start()
        until(lambda: len(heard) == 100, what="everything stored")
        until(lambda: store.outbox and store.outbox.waiting == 0, what="outbox empty")
    done.set()
    fleet.join()
    broker.kill()


def _fleet(port: int, heard: set[str], ready: threading.Event, done: threading.Event) -> None:
    """Stores alerts and acknowledges them, as the ingester does."""

    def store(client: paho.Client, _: Any, message: paho.MQTTMessage) -> None:
        id_ = json.loads(message.payload)["id"]
        heard.add(id_)
        reply = messages.acknowledgement(TOPICS, [id_])
        client.publish(reply.topic, reply.payload, 1)

    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.on_connect = lambda client, *_: client.subscribe(TOPICS.channel("alert"), 1)
    client.on_subscribe = lambda *_: ready.set()
    client.on_message = store
    client.reconnect_delay_set(1, 1)
    client.connect("127.0.0.1", port)
    client.loop_start()
    done.wait(60)
    client.disconnect()
    client.loop_stop()


def test_without_the_fleet_s_word_nothing_is_forgotten(
    mosquitto: Mosquitto, listener: Listener, tmp_path: Path
) -> None:
    config = vehicle(tmp_path, mosquitto.port, confirm="application", resend_s=0.2)
    with watching(config) as (store, _):
        store.record(event())
        until(lambda: len(listener.alerts()) >= 3, what="sent again")
        assert store.outbox is not None
        assert store.outbox.waiting == 1
        (id_,) = {alert.id for alert in listener.alerts()}
        reply = messages.acknowledgement(TOPICS, ["not-ours", id_])
        listener.ask(reply.topic, reply.payload)
        until(lambda: store.outbox and store.outbox.waiting == 0, what="acknowledged")


@pytest.mark.slow
def test_a_hung_broker_is_noticed_within_one_and_a_half_keepalives(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    """Fault matrix 3: SIGSTOP."""
    config = vehicle(tmp_path, mosquitto.port, keepalive_s=6)
    with watching(config) as (store, sink):
        until(lambda: sink.connected, what="connected")
        pause(mosquitto.pid)
        try:
            stopped_s = time.monotonic()
            until(lambda: not sink.connected, deadline_s=30, what="noticed")
            noticed_s = time.monotonic() - stopped_s
            store.record(event())
            assert store.flush()
        finally:
            resume(mosquitto.pid)
        assert noticed_s <= 1.5 * 6 + 0.5
        with Listener(mosquitto.port):
            until(lambda: store.outbox and store.outbox.waiting == 0, what="delivered after all")


def test_commands_are_taken_and_answered(
    mosquitto: Mosquitto, listener: Listener, tmp_path: Path
) -> None:
    obeyed: list[Command] = []
    with watching(vehicle(tmp_path, mosquitto.port), on_command=obeyed.append) as (_, sink):
        sink.see(*moment(0.0))
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
        sink.see(*moment(9.0, level=Level.INFO, kind=Kind.YAWNING))
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
        listener.ask("vehicle/speed", b"53.5", retain=True)
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


def test_a_wrong_password_is_told_and_never_printed(tmp_path: Path) -> None:
    passwords = tmp_path / "passwords"
    passwords.write_text("car-7:$7$101$bm90IHRoZSBoYXNo$bm90IHRoZSBoYXNo\n")
    passwords.chmod(0o600)
    text = f"listener {{port}} 127.0.0.1\nallow_anonymous false\npassword_file {passwords}\n"
    if os.geteuid() == 0:
        text += "user root\n"
    with Mosquitto(tmp_path, text) as broker:
        config = vehicle(tmp_path, broker.port, username="car-7", password="hush-hush")
        with watching(config) as (store, sink):
            until(lambda: "refuses" in (sink.trouble() or ""), what="the refusal told")
            assert "WAKEFUL_MQTT__PASSWORD" in (sink.trouble() or "")
            assert "hush-hush" not in f"{sink.trouble()} {config!r} {config.mqtt}"
            store.record(event())
            assert store.flush()


@pytest.mark.parametrize("credentials", ["password", "certificate"])
def test_a_provisioned_vehicle_is_let_in_over_tls(tmp_path: Path, credentials: str) -> None:
    yard = Yard(tmp_path / "yard")
    own = yard.folder / "vehicles" / "truck-1"
    mqtt = yard.settings("truck-1")
    if credentials == "certificate":
        pair = {"cert_file": own / "client.crt", "key_file": own / "client.key"}
        nobody = {"username": None, "password_file": None}
        mqtt = mqtt.model_copy(update={"port": yard.certificate_port, **pair, **nobody})
    with yard.broker:
        config = settings(tmp_path, "truck-1").model_copy(update={"mqtt": mqtt})
        with watching(config) as (store, sink):
            store.record(event())
            assert store.flush()
            until(lambda: store.outbox and store.outbox.waiting == 0, what="delivered")
            assert sink.trouble() is None


def test_a_vehicle_under_another_s_name_is_told_that_it_may_not(tmp_path: Path) -> None:
    yard = Yard(tmp_path / "yard")
    with yard.broker:
        mqtt = yard.settings("truck-1")
        config = settings(tmp_path, "truck-2").model_copy(update={"mqtt": mqtt})
        with watching(config) as (store, sink):
            store.record(event())
            until(lambda: "access list" in (sink.trouble() or ""), what="the refusal told")
            assert store.outbox is not None
            assert store.outbox.waiting == 1


# paho leaves the socket of a failed handshake to the garbage collector.
@pytest.mark.filterwarnings("ignore:.*ssl.SSLSocket:pytest.PytestUnraisableExceptionWarning")
def test_a_broker_of_another_authority_is_not_trusted(tmp_path: Path) -> None:
    yard, other = Yard(tmp_path / "yard"), Yard(tmp_path / "other")
    with yard.broker:
        mqtt = yard.settings("truck-1", ca_file=other.folder / "ca.crt")
        config = settings(tmp_path, "truck-1").model_copy(update={"mqtt": mqtt})
        with watching(config) as (_, sink):
            until(lambda: "mqtt.ca_file" in (sink.trouble() or ""), what="distrust told")


def test_an_old_broker_is_spoken_to_in_mqtt_3(tmp_path: Path) -> None:
    with EmbeddedBroker(0) as broker, Listener(broker.port) as listener:
        with watching(vehicle(tmp_path, broker.port)) as (store, _):
            store.record(event())
            until(lambda: len(listener.alerts()) == 1, what="the alert over 3.1.1")
            until(lambda: store.outbox and store.outbox.waiting == 0, what="confirmed")
        until(lambda: listener.on("available")[-1] == b"stopped", what="stopped")


def test_the_embedded_broker_serves_what_the_settings_ask_for(tmp_path: Path) -> None:
    config = settings(tmp_path, mqtt={"host": "embedded", "port": 0})
    mqtt, broker = broker_for(config.mqtt)
    assert broker is not None
    with broker:
        assert (mqtt.host, mqtt.port, mqtt.protocol) == ("127.0.0.1", broker.port, "3.1.1")
    elsewhere, none = broker_for(settings(tmp_path, mqtt={"host": "broker.lan"}).mqtt)
    assert (elsewhere.host, none) == ("broker.lan", None)


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_what_is_no_broker_is_told_as_such(tmp_path: Path, answer: bytes) -> None:
    with _server(answer) as port:
        config = vehicle(tmp_path, port, connect_timeout_s=1)
        with watching(config) as (_, sink):
            until(lambda: "is it an MQTT broker" in (sink.trouble() or ""), what="told")


@contextmanager
def _server(answer: bytes) -> Iterator[int]:
    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(10)
            self.request.sendall(answer)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def test_what_the_broker_can_never_take_does_not_stop_what_is_behind_it(tmp_path: Path) -> None:
    """Fault matrix 20: the broker's own limit."""
    text = "listener {port} 127.0.0.1\nallow_anonymous true\nmax_packet_size 3000\n"
    with (
        Mosquitto(tmp_path, text) as broker,
        Listener(broker.port) as listener,
        watching(vehicle(tmp_path, broker.port)) as (store, sink),
    ):
        store.record(event("large", evidence={f"n{n}": "x" * 400 for n in range(10)}))
        store.record(event("small"))
        (alert,) = until(listener.alerts, what="the small one")
        until(lambda: store.outbox and store.outbox.lost == 1, what="the loss counted")
        assert "1 undelivered alerts were dropped" in (sink.trouble() or "")
        assert len(store.recent_events()) == 2, "both are in the log"
    assert alert.subject == event("small").id


def test_a_broken_store_still_raises_alerts_over_mqtt(
    mosquitto: Mosquitto, listener: Listener, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    config = settings(
        tmp_path,
        mqtt={"host": "127.0.0.1", "port": mosquitto.port},
        store={"url": f"sqlite:///{tmp_path}/file/log.db"},
    )
    with watching(config) as (store, _):
        store.record(event())
        until(lambda: len(listener.alerts()) == 1, what="the alert from memory")
        assert "alerts go out from memory" in (store.trouble() or "")
        (tmp_path / "file").unlink()
        assert store.flush(15.0)
        assert store.outbox is not None
        assert store.outbox.waiting == 0, "it is not sent a second time"


def test_closing_waits_for_no_broker_for_long(tmp_path: Path) -> None:
    with watching(vehicle(tmp_path, free_port())) as (store, _):
        store.record(event())
    with closing(open_store(vehicle(tmp_path, 1))) as store:
        assert store.outbox is not None
        assert store.outbox.waiting >= 1, "it waits on disk"
