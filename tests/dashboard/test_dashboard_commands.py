"""What the dashboard may ask of a vehicle, over a real broker."""

import queue

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from dashboard.commands import ask
from monitor.config import MqttConfig
from monitor.errors import BrokerError
from monitor.protocol.messages import read_command
from monitor.types import Command
from tests.support.servers import Mosquitto, free_port


@pytest.mark.broker
def test_an_acknowledgement_reaches_the_vehicle_as_its_command(mosquitto: Mosquitto) -> None:
    heard: queue.Queue[tuple[str, bytes]] = queue.Queue()
    ready: queue.Queue[bool] = queue.Queue()
    vehicle = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    vehicle.on_subscribe = lambda *_: ready.put(True)
    vehicle.on_message = lambda _c, _u, told: heard.put((told.topic, told.payload))
    vehicle.connect("127.0.0.1", mosquitto.port)
    vehicle.subscribe("dms/v1/truck-1/cmd/+", qos=1)
    vehicle.loop_start()
    try:
        ready.get(timeout=20)
        ask(MqttConfig(host="127.0.0.1", port=mosquitto.port), "truck-1", Command.ACKNOWLEDGE)
        topic, payload = heard.get(timeout=20)
    finally:
        vehicle.disconnect()
        vehicle.loop_stop()
    assert topic == "dms/v1/truck-1/cmd/ack"
    assert read_command("ack", payload) is Command.ACKNOWLEDGE


def test_a_broker_that_is_not_there_is_one_clear_line() -> None:
    config = MqttConfig(host="127.0.0.1", port=free_port())
    with pytest.raises(BrokerError, match="is the broker running") as caught:
        ask(config, "truck-1", Command.ACKNOWLEDGE)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("hostile", ["../x", "a/b", "+", "#", "", "x" * 65])
def test_a_vehicle_that_is_no_identifier_is_never_asked(hostile: str) -> None:
    with pytest.raises((BrokerError, ValueError)):
        ask(MqttConfig(host="127.0.0.1", port=1), hostile, Command.ACKNOWLEDGE)
