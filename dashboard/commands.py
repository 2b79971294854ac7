"""The one thing the dashboard may ask of a vehicle: take an alert as seen."""

import socket
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from dashboard.settings import settings
from monitor.config import MqttConfig
from monitor.errors import BrokerError
from monitor.protocol.messages import Topics
from monitor.sinks.mqtt.client import new_client
from monitor.types import Command

ANSWER_S = 5.0


def possible() -> bool:
    """Whether a broker is known. The embedded one can be reached from its own machine only."""
    config = settings().config.mqtt
    return config.enabled and (config.host != "embedded" or config.port != 0)


def acknowledge(vehicle: str) -> str:
    """Ask a vehicle to take its open alerts as seen; returns what came of it, for the user."""
    try:
        ask(settings().config.mqtt, vehicle, Command.ACKNOWLEDGE)
    except (BrokerError, ValueError) as error:
        return str(error)
    return f"{vehicle} was asked to acknowledge; its alert clears when the vehicle agrees."


def ask(config: MqttConfig, vehicle: str, command: Command) -> None:
    """Publish a command and wait until the broker has it.

    Raises:
        BrokerError: not reachable, not allowed, no answer within `ANSWER_S`.
    """
    embedded = config.host == "embedded"
    host = "127.0.0.1" if embedded else config.host
    topic = Topics(config.prefix, vehicle).command(command.value)
    client = _version_3() if embedded else new_client(config)
    try:
        client.connect(host, config.port, keepalive=config.keepalive_s)
        client.loop_start()
        receipt = client.publish(topic, b"", qos=1)
        receipt.wait_for_publish(ANSWER_S)
        if not receipt.is_published():
            raise BrokerError(f"{host}:{config.port} gave no answer within {ANSWER_S:.0f} s")
    except (OSError, socket.gaierror, RuntimeError, ValueError) as error:
        raise BrokerError(
            f"{host}:{config.port} cannot be asked ({error}); is the broker running, and may "
            "this dashboard write there (mqtt.host, mqtt.username)?"
        ) from None
    finally:
        client.disconnect()
        client.loop_stop()


def _version_3() -> Any:
    # The embedded broker (amqtt) speaks MQTT 3.1.1 only.
    return mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv311)
