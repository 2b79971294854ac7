"""The embedded broker serves this machine alone, and says in one line why it cannot."""

import logging
import socket
import threading

import paho.mqtt.client as paho
import psutil
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from monitor.errors import BrokerError
from monitor.sinks.mqtt.broker import LOOPBACK, EmbeddedBroker
from tests.support.servers import free_port, listening, until

# amqtt leaves the sockets and the loop of a broker that could not start to garbage collection.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def client(port: int) -> paho.Client:
    found = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv311)
    found.connect(LOOPBACK, port)
    found.loop_start()
    until(found.is_connected, what="connected")
    return found


def test_a_retained_message_reaches_who_comes_late() -> None:
    with EmbeddedBroker(0) as broker:
        early, heard, arrived = client(broker.port), [], threading.Event()
        early.publish("dms/v1/car-7/available", b"online", qos=1, retain=True).wait_for_publish(5)
        late = client(broker.port)
        late.on_message = lambda _, __, message: (heard.append(message.payload), arrived.set())
        late.subscribe("dms/v1/+/available", qos=1)
        assert arrived.wait(10)
        for one in (early, late):
            one.disconnect()
            one.loop_stop()
    assert heard == [b"online"]


def test_it_listens_on_loopback_alone() -> None:
    with EmbeddedBroker(0) as broker:
        own = psutil.Process().net_connections("tcp")
        listeners = {
            c.laddr.ip for c in own if c.laddr.port == broker.port and c.status == "LISTEN"
        }
    assert listeners == {LOOPBACK}


def test_a_taken_port_is_one_line_with_the_setting_and_the_cure() -> None:
    with socket.socket() as other:
        other.bind((LOOPBACK, 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(BrokerError, match=f"mqtt.port {port}: ") as caught:
            EmbeddedBroker(port)
    assert "set mqtt.host to 127.0.0.1, else set mqtt.port" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_it_can_be_started_again_on_the_same_port() -> None:
    port = free_port()
    for _ in range(2):
        with EmbeddedBroker(port) as broker:
            one = client(broker.port)
            one.disconnect()
            one.loop_stop()
        assert not listening(port)


def test_clients_that_come_and_go_are_no_news(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), EmbeddedBroker(0) as broker:
        one = client(broker.port)
        one.socket().shutdown(socket.SHUT_RDWR)  # type: ignore[union-attr]
        one.disconnect()
        one.loop_stop()
    assert [r for r in caplog.records if r.name.startswith(("amqtt", "transitions"))] == []
