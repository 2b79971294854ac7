"""Tell a simulated fleet over MQTT, as its vehicles would, faster than real time.

Alerts and reports are durable: each is sent again until the fleet's own acknowledgement names it,
as a vehicle's outbox would. States, numbers and status are told once.
"""

import heapq
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count

import paho.mqtt.client as mqtt

from monitor.config import MqttConfig
from monitor.errors import BrokerError
from monitor.fleet.simulator.live_state import state_message, stats_of
from monitor.fleet.simulator.rows import (
    availability_rows,
    camera_status_rows,
    coverage_rows,
)
from monitor.fleet.simulator.seeding import Plan
from monitor.fleet.simulator.vehicle import CAMERA, Life
from monitor.protocol import messages
from monitor.protocol.messages import Message, Narrator, Topics
from monitor.protocol.schemas import Ack, Availability, CameraStatus, CoverageData
from monitor.sinks.mqtt.client import new_client
from monitor.types import Event

# Unacknowledged messages at a time, over all vehicles: a real fleet's outboxes are as patient.
WINDOW = 4000
STATE_EVERY_S = 60.0
STATS_EVERY_S = 600.0
CONNECT_S = 10.0
# Nothing acknowledged for this long: nobody takes it in.
PATIENCE_S = 30.0


@dataclass(frozen=True, slots=True)
class Published:
    """What came of a publisher's run.

    Attributes:
        published: messages handed to the broker, repeats left out.
        acknowledged: durable ones that the fleet has stored.
        missing: durable ones that it has not said to have.
        seconds: wall time.
    """

    published: int
    acknowledged: int
    missing: int
    seconds: float


def messages_of(life: Life, prefix: str) -> Iterator[tuple[float, Message]]:
    """Everything a vehicle publishes in its life, each with its time, in that order."""
    topics = Topics(prefix, life.vehicle.id)
    narrator, sequence = Narrator(), count(1)
    for at, what in sorted(_moments(life, topics), key=lambda moment: moment[0]):
        match what:
            case Event():
                yield at, messages.alert(topics, narrator.tell(what), next(sequence), at)
            case CoverageData():
                yield at, messages.coverage(topics, what, next(sequence), at)
            case _:
                yield at, what


def _moments(life: Life, topics: Topics) -> Iterator[tuple[float, Event | CoverageData | Message]]:
    for episode in life.episodes:
        yield from ((event.at, event) for event in episode.events())
    yield from _reports(life)
    for _, at, status, _ in availability_rows(life):
        yield at, messages.available(topics, Availability(status))
    for _, _, at, status in camera_status_rows(life):
        yield at, messages.camera_status(topics, CAMERA, CameraStatus(status))
    for leg in life.legs:
        for at in _every(STATE_EVERY_S, leg.started_at, leg.ended_at):
            yield at, state_message(life, leg, at, topics.prefix)
        for at in _every(STATS_EVERY_S, leg.started_at, leg.ended_at):
            yield at, messages.stats(topics, stats_of(life, leg, at))


def _reports(life: Life) -> Iterator[tuple[float, CoverageData]]:
    reports: dict[tuple[str, float], dict[str, float]] = {}
    for _, leg, _, started_at, cause, seconds, _ in coverage_rows(life):
        reports.setdefault((leg, started_at), {})[cause] = seconds
    for (leg, started_at), by_cause in reports.items():
        ended_at = started_at + sum(by_cause.values())
        data = CoverageData.model_validate(
            {
                "vehicle": life.vehicle.id,
                "drive": leg,
                "camera": CAMERA,
                "started_at": started_at,
                "ended_at": ended_at,
                "seconds": by_cause,
            },
            strict=False,
        )
        yield ended_at, data


def _every(step_s: float, begin: float, end: float) -> Iterator[float]:
    steps = int((end - begin) // step_s)
    return (begin + n * step_s for n in range(steps + 1))


class Traffic:
    """Tells a plan's fleet to a broker.

    Args:
        plan: the fleet.
        config: which broker, and who we are to it: one that may write for every vehicle.
    """

    def __init__(self, plan: Plan, config: MqttConfig) -> None:
        self._config = config
        lives = (plan.life(number) for number in range(1, plan.vehicles + 1))
        streams = [list(messages_of(life, config.prefix)) for life in lives]
        self._messages = heapq.merge(*streams, key=lambda timed: timed[0])
        self.total = sum(len(stream) for stream in streams)
        self._unacknowledged: dict[str, Message] = {}
        self._lock = threading.Lock()
        self._moved = threading.Condition(self._lock)
        self._acknowledged = 0

    @property
    def missing(self) -> int:
        """Durable messages told that the fleet has not said to have."""
        with self._lock:
            return len(self._unacknowledged)

    def run(self, advance: Callable[[int], None] = lambda _count: None) -> Published:
        """Tell everything and wait until it is stored.

        Raises:
            BrokerError: the broker cannot be reached or refuses.
        """
        client = self._connected()
        began = time.monotonic()
        published = 0
        try:
            for _, message in self._messages:
                if message.id:
                    self._await_room(client)
                    with self._lock:
                        self._unacknowledged[message.id] = message
                self._publish(client, message)
                published += 1
                advance(1)
            self._await_rest(client)
        finally:
            client.disconnect()
            client.loop_stop()
        seconds = time.monotonic() - began
        return Published(published, self._acknowledged, len(self._unacknowledged), seconds)

    def _connected(self) -> mqtt.Client:
        config = self._config
        ready = threading.Event()
        client = new_client(config)
        client.max_inflight_messages_set(1000)
        client.on_message = self._on_message
        client.on_connect = lambda client, *_: client.subscribe(
            Topics(config.prefix).channel("ack"), qos=0
        )
        client.on_subscribe = lambda *_: ready.set()
        try:
            client.connect(config.host, config.port, keepalive=config.keepalive_s)
        except (OSError, ValueError) as error:
            raise BrokerError(
                f"{config.host}:{config.port}: {error}; is the broker running?"
            ) from None
        client.loop_start()
        if not ready.wait(CONNECT_S):
            client.loop_stop()
            raise BrokerError(
                f"{config.host}:{config.port}: refuses us; see mqtt.username and mqtt.password"
            )
        return client

    def _publish(self, client: mqtt.Client, message: Message) -> None:
        client.publish(message.topic, message.payload, qos=message.qos, retain=message.retain)

    def _await_room(self, client: mqtt.Client) -> None:
        """Wait until fewer than `WINDOW` are unacknowledged, sending again what takes long."""
        with self._lock:
            full = len(self._unacknowledged) >= WINDOW
        if full:
            self._await(client, lambda: len(self._unacknowledged) < WINDOW)

    def _await_rest(self, client: mqtt.Client) -> None:
        self._await(client, lambda: not self._unacknowledged)

    def _await(self, client: mqtt.Client, condition: Callable[[], bool]) -> None:
        silent_s = 0.0
        while True:
            with self._lock:
                before = self._acknowledged
                if self._moved.wait_for(condition, timeout=self._config.resend_s):
                    return
                waiting = list(self._unacknowledged.values())
                silent_s = 0.0 if self._acknowledged > before else silent_s + self._config.resend_s
            if silent_s > PATIENCE_S:
                return
            for message in waiting:
                self._publish(client, message)

    def _on_message(
        self, _client: mqtt.Client, _userdata: object, message: mqtt.MQTTMessage
    ) -> None:
        try:
            stored = Ack.model_validate_json(message.payload)
        except ValueError:
            return
        with self._lock:
            for message_id in stored.ids:
                if self._unacknowledged.pop(message_id, None) is not None:
                    self._acknowledged += 1
            self._moved.notify_all()
