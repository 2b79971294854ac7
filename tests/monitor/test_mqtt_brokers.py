"""Brokers that are away, hung, old, strict or none at all: nothing is lost, and it is told."""

import json
import os
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from monitor.config import SpeedConfig, load
from monitor.protocol import messages
from monitor.sinks.mqtt.broker import EmbeddedBroker, broker_for
from monitor.speed import SpeedSource
from monitor.store import open_store
from tests.monitor.test_provisioning import Yard
from tests.support.events import alerts, event, large_event, moment, settings
from tests.support.listeners import TOPICS, Listener, vehicle, watching
from tests.support.servers import Island, Mosquitto, free_port, pause, resume, until


@pytest.fixture
def island() -> Iterator[Island]:
    """A network that can be cut off."""
    try:
        made = Island().__enter__()
    except OSError as error:
        pytest.skip(f"no network of its own may be made here ({error})")
    yield made
    made.__exit__()


@pytest.fixture
def listener(mosquitto: Mosquitto) -> Iterator[Listener]:
    with Listener(mosquitto.port) as listener:
        yield listener


pytestmark = pytest.mark.broker


def test_a_broker_that_is_away_for_the_whole_drive_loses_nothing(tmp_path: Path) -> None:
    """A broker that is not there."""
    broker = Mosquitto(tmp_path)
    with watching(vehicle(tmp_path, broker.port)) as (store, sink):
        longest_s = 0.0
        for told in alerts(120):
            began_s = time.perf_counter()
            store.record(told)
            sink.on_step(moment(told.at_s))
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
    """SIGKILL, default persistence."""
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


KEEPALIVE_S = 6


def lose_and_find(
    broker: Mosquitto, folder: Path, cut: Callable[[], None], mend: Callable[[], None]
) -> None:
    """A vehicle notices in time that its broker is gone, and delivers when it is back."""
    config = vehicle(folder, broker.port, host=broker.host, keepalive_s=KEEPALIVE_S)
    with watching(config) as (store, sink):
        until(lambda: sink.connected, what="connected")
        cut()
        try:
            began_s = time.monotonic()
            until(lambda: not sink.connected, deadline_s=30, what="noticed")
            noticed_s = time.monotonic() - began_s
            store.record(event())
            assert store.flush()
        finally:
            mend()
        assert noticed_s <= 1.5 * KEEPALIVE_S + 0.5
        with Listener(broker.port, broker.host):
            until(lambda: store.outbox and store.outbox.waiting == 0, what="delivered after all")


@pytest.mark.slow
def test_a_hung_broker_is_noticed_within_one_and_a_half_keepalives(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    """SIGSTOP."""
    pid = mosquitto.pid
    lose_and_find(mosquitto, tmp_path, cut=lambda: pause(pid), mend=lambda: resume(pid))


@pytest.mark.slow
def test_a_network_cut_in_two_loses_nothing(island: Island, tmp_path: Path) -> None:
    """The link is down, and nobody says goodbye."""
    with Mosquitto(tmp_path, island=island) as broker:
        lose_and_find(broker, tmp_path, cut=island.pull, mend=island.plug)


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
    """The broker's own limit."""
    text = "listener {port} 127.0.0.1\nallow_anonymous true\nmax_packet_size 2000\n"
    with (
        Mosquitto(tmp_path, text) as broker,
        Listener(broker.port) as listener,
        watching(vehicle(tmp_path, broker.port)) as (store, sink),
    ):
        store.record(large_event("large"))
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


# --- two of one id, odd topics -------------------------------------------------------------------


def test_two_vehicles_of_one_id_are_told_so(tmp_path: Path) -> None:
    """Mosquitto 2.0.11 throws the first one out without a reason; each comes back at once."""
    with Mosquitto(tmp_path) as broker:
        doubles = [
            vehicle(tmp_path / name, broker.port, retry_s=(0.05, 0.1)) for name in ("one", "two")
        ]
        with watching(doubles[0]) as (_, first), watching(doubles[1]) as (_, second):
            said: set[str] = set()

            def named() -> bool:
                said.update(sink.trouble() or "" for sink in (first, second))
                return any("another client" in text for text in said)

            until(named, what="the double is named")
        [text] = [text for text in said if "another client" in text][:1]
        assert "give each vehicle its own `vehicle`" in text


def test_a_vehicle_makes_an_id_of_its_own_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = []
    for name in ("one", "two", "one"):
        monkeypatch.setenv("WAKEFUL_HOME", str(tmp_path / name))
        ids.append(load().vehicle)
    assert ids[0] == ids[2]
    assert ids[0] != ids[1]
    assert load(None, vehicle="truck").vehicle == "truck"


def test_a_speed_of_any_car_is_heard_and_an_old_one_is_not(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker, Listener(broker.port) as other:
        other.ask("car/7/speed", b"0", retain=True)
        config = vehicle(tmp_path, broker.port).model_copy(
            update={"speed": SpeedConfig(topic="car/+/speed")}
        )
        speed = SpeedSource(config.speed)
        with watching(config, listeners=speed.listeners) as (_, sink):
            until(lambda: sink.connected, what="connected")
            assert speed.kmh() is None
            other.ask("car/8/speed", b"53.5")
            assert until(speed.kmh, what="a speed") == 53.5


def test_a_session_that_breaks_is_begun_again(tmp_path: Path) -> None:
    """A topic that no broker takes, past the check of the settings."""
    taken: list[bytes] = []
    with Mosquitto(tmp_path) as broker:
        config = vehicle(tmp_path, broker.port, retry_s=(0.05, 0.1))
        wrong = {"a/#/b": lambda payload, _: taken.append(payload)}
        with watching(config, listeners=wrong) as (_, sink):
            until(lambda: "the session broke" in (sink.trouble() or ""), what="trouble told")
