"""Somebody at the broker who hears everything, and the vehicle that is heard."""

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from monitor.config import Config
from monitor.protocol import messages
from monitor.protocol.messages import Topics
from monitor.protocol.schemas import Alert
from monitor.sinks.mqtt import MqttSink
from monitor.store import Store, open_store
from tests.support.events import settings

TOPICS = Topics("dms/v1", "car-7")


@dataclass
class Listener:
    """Somebody at the broker who hears everything."""

    port: int
    host: str = "127.0.0.1"
    heard: list[paho.MQTTMessage] = field(default_factory=list)

    def __enter__(self) -> Self:
        self.client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv311)
        self.client.on_message = lambda _, __, message: self.heard.append(message)
        ready = threading.Event()
        self.client.on_connect = lambda client, *_: client.subscribe([("#", 1)])
        self.client.on_subscribe = lambda *_: ready.set()
        self.client.reconnect_delay_set(1, 1)
        self.client.connect(self.host, self.port)
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
