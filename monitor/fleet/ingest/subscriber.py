"""The ingester's side of the broker: a shared subscription, and acknowledgement when stored.

A message is confirmed to the broker only after the database has it, on the connection it came on;
what a lost connection leaves unconfirmed comes again. The vehicle's own outbox is what makes this
safe, so the session is clean: nothing piles up in the broker for an ingester that is gone.
"""

import queue
import threading
import time
from collections.abc import Mapping, Sequence

import paho.mqtt.client as mqtt
import structlog
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from monitor.config import MqttConfig
from monitor.errors import BrokerError
from monitor.fleet.config import IngestConfig
from monitor.fleet.ingest.bulk import BulkClient
from monitor.fleet.ingest.decoder import Arrival
from monitor.protocol.messages import MAX_PAYLOAD_BYTES, Topics, acknowledgement
from monitor.sinks.mqtt.client import fresh_id, new_client, set_up

log = structlog.get_logger(__name__)

# Ids in one acknowledgement: `monitor.protocol.schemas.Ack` allows 2000.
IDS_AT_ONCE = 1000
# Room for the topic and the properties round the largest payload.
PACKET_BYTES = MAX_PAYLOAD_BYTES + 4096


class Intake:
    """Takes messages from the broker into a queue, and confirms them when told.

    Args:
        mqtt_config: which broker, and who we are to it.
        config: the group and how much may be in flight.

    More than fifteen methods: five are paho's callbacks, on its thread; the others are the
    ingester's, and both share what is in flight.
    """

    def __init__(self, mqtt_config: MqttConfig, config: IngestConfig) -> None:
        self._mqtt_config, self._config = mqtt_config, config
        self._topics = Topics(mqtt_config.prefix)
        self._arrivals: queue.SimpleQueue[list[Arrival]] = queue.SimpleQueue()
        self._rest: list[Arrival] = []
        self._taken = self._gathered = 0  # each counted by one thread alone
        self._subscribed = threading.Event()
        self.dropped = 0
        self.refusal: str | None = "not connected yet"
        self._client = BulkClient(config.client or fresh_id(), self._take)
        set_up(self._client, mqtt_config)
        self._client.on_connect = self._on_connect
        self._client.on_connect_fail = self._on_connect_fail
        self._client.on_disconnect = self._on_disconnect
        self._client.on_subscribe = self._on_subscribe

    @property
    def connected(self) -> bool:
        """The broker has granted our subscriptions and the connection stands."""
        return self._subscribed.is_set()

    @property
    def waiting(self) -> int:
        """Messages taken and not yet gathered."""
        return self._taken - self._gathered

    def start(self) -> None:
        """Connect in the background, and again whenever the connection is lost."""
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.ReceiveMaximum = self._config.in_flight
        properties.MaximumPacketSize = PACKET_BYTES
        self._client.connect_async(
            self._mqtt_config.host,
            self._mqtt_config.port,
            # paho notices a dead line after twice its keepalive; we promise 1.5 times ours.
            keepalive=max(2, int(self._mqtt_config.keepalive_s * 0.75) - 1),
            clean_start=True,
            properties=properties,
        )
        self._client.loop_start()

    def wait_connected(self, timeout_s: float) -> bool:
        """Wait until messages flow; False if they do not by then."""
        return self._subscribed.wait(timeout_s)

    def gather(self, wait_s: float) -> list[Arrival]:
        """What has arrived: waits for a first message, then a moment for more of them."""
        arrived, batch = self._rest, self._config.batch
        try:
            if not arrived:
                arrived += self._arrivals.get(timeout=wait_s)
            # Asleep rather than woken by each that comes.
            if self.waiting < batch:
                time.sleep(self._config.gather_ms / 1000)
            while len(arrived) < batch:
                arrived += self._arrivals.get_nowait()
        except queue.Empty:
            pass
        arrivals, self._rest = arrived[:batch], arrived[batch:]
        self._gathered += len(arrivals)
        return arrivals

    def confirm(self, arrivals: Sequence[Arrival]) -> None:
        """Tell the broker that these need not come again."""
        now = self._client.connection
        # Packet numbers start again with each connection: an old one would confirm another.
        self._client.confirm([one.mid for one in arrivals if one.qos and one.connection == now])

    def acknowledge(self, ids: Mapping[str, Sequence[str]]) -> None:
        """Tell each vehicle which of its messages are stored for good."""
        for vehicle, stored in ids.items():
            topics = Topics(self._mqtt_config.prefix, vehicle)
            for first in range(0, len(stored), IDS_AT_ONCE):
                message = acknowledgement(topics, stored[first : first + IDS_AT_ONCE])
                # Lost acknowledgements are harmless: the vehicle sends again and is told again.
                self._client.publish(message.topic, message.payload, qos=0)

    def leave(self) -> None:
        """Ask for no more; what has arrived can still be gathered and confirmed."""
        if self.connected:
            self._client.unsubscribe([filter_ for filter_, _ in self._filters()])

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()

    def _filters(self) -> list[tuple[str, SubscribeOptions]]:
        shared = f"$share/{self._config.group}/"
        # Status topics are not shared: the broker sends retained messages to plain subscriptions
        # only, and each ingester needs them to know who was online before it came.
        return [
            (shared + self._topics.channel("alert"), SubscribeOptions(qos=1)),
            (shared + self._topics.channel("coverage"), SubscribeOptions(qos=1)),
            (shared + self._topics.channel("state"), SubscribeOptions(qos=0)),
            (shared + self._topics.camera_state("+"), SubscribeOptions(qos=0)),
            (shared + self._topics.channel("stats"), SubscribeOptions(qos=0)),
            (self._topics.channel("available"), SubscribeOptions(qos=1)),
            (self._topics.camera("+"), SubscribeOptions(qos=1)),
        ]

    def _on_connect(
        self,
        client: mqtt.Client,
        _userdata: object,
        _flags: mqtt.ConnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        if reason.is_failure:
            self._trouble(f"the broker refuses: {reason}")
            return
        client.subscribe(self._filters())

    def _on_subscribe(
        self,
        _client: mqtt.Client,
        _userdata: object,
        _mid: int,
        reasons: list[ReasonCode],
        _properties: Properties | None,
    ) -> None:
        refused = [str(reason) for reason in reasons if reason.is_failure]
        if refused:
            self._trouble(f"the broker refuses our subscriptions ({refused[0]}); see its ACL")
            return
        self.refusal = None
        self._subscribed.set()
        log.info("taking in", broker=f"{self._mqtt_config.host}:{self._mqtt_config.port}")

    def _on_connect_fail(self, _client: mqtt.Client, _userdata: object) -> None:
        self._trouble("the broker cannot be reached")

    def _on_disconnect(
        self,
        _client: mqtt.Client,
        _userdata: object,
        _flags: mqtt.DisconnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        # After a refusal the end of the connection is no news, and hides the cause.
        if reason.is_failure and self.refusal is None:
            self._trouble(f"the connection is lost: {reason}")
        self._subscribed.clear()

    def _trouble(self, what: str) -> None:
        self._subscribed.clear()
        if what != self.refusal:
            log.warning(what, broker=f"{self._mqtt_config.host}:{self._mqtt_config.port}")
        self.refusal = what

    def _take(self, arrivals: list[Arrival]) -> None:
        # The broker holds back QoS 1 by our receive maximum; QoS 0 has to be bounded here.
        if self.waiting > 2 * self._config.in_flight:
            kept = [one for one in arrivals if one.qos]
            self.dropped += len(arrivals) - len(kept)
            arrivals = kept
        self._taken += len(arrivals)
        if arrivals:
            self._arrivals.put(arrivals)


def forget(config: MqttConfig, vehicle: str, timeout_s: float = 10.0) -> None:
    """Clear what the broker retains of a vehicle.

    Raises:
        BrokerError: the broker cannot be reached or refuses.
    """
    topics = Topics(config.prefix, vehicle)
    retained: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    client = new_client(config)

    def heard(_client: mqtt.Client, _userdata: object, message: mqtt.MQTTMessage) -> None:
        if message.retain and message.payload:
            retained.put(message.topic)

    client.on_message = heard
    client.on_subscribe = lambda *_: retained.put(None)
    try:
        client.connect(config.host, config.port, keepalive=config.keepalive_s)
    except (OSError, ValueError) as error:
        raise BrokerError(f"{config.host}:{config.port}: {error}; see mqtt.host") from None
    client.loop_start()
    try:
        client.subscribe(topics.channel("#"), qos=1)
        _clear(client, retained, config, timeout_s)
    finally:
        client.disconnect()
        client.loop_stop()


def _clear(
    client: mqtt.Client,
    retained: "queue.SimpleQueue[str | None]",
    config: MqttConfig,
    timeout_s: float,
) -> None:
    """Retained messages follow the broker's grant at once; half a second of silence ends them."""
    wait_s = timeout_s
    while True:
        try:
            topic = retained.get(timeout=wait_s)
        except queue.Empty:
            if wait_s == timeout_s:
                raise BrokerError(
                    f"{config.host}:{config.port}: no answer within {timeout_s:g} s; see its log"
                ) from None
            return
        wait_s = 0.5
        if topic is not None:
            client.publish(topic, b"", qos=1, retain=True).wait_for_publish(timeout_s)
