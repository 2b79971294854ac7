"""The durable messages: what the store's outbox holds, sent until they are confirmed."""

import time
from collections.abc import Sequence

from monitor.config import MqttConfig
from monitor.protocol import messages
from monitor.protocol.messages import Topics
from monitor.protocol.schemas import Ack
from monitor.sinks.mqtt.connection import Connection, Incoming, Receipt
from monitor.sinks.mqtt.delivery import Delivery
from monitor.sinks.mqtt.publisher import Publisher
from monitor.store.outbox import Outbox

PACKET_OVERHEAD = 128  # fixed header, packet id and the properties we set


class OutboxPublisher(Publisher):
    """Sends alerts and reports in order, and hears which of them the fleet has stored.

    Args:
        config: what ends a delivery, and when to send again.
        topics: of the vehicle.
        outbox: what is to be delivered.

    Attributes:
        refusal: why the broker will not take alerts; None when it does.
    """

    def __init__(self, config: MqttConfig, topics: Topics, outbox: Outbox) -> None:
        self.refusal: str | None = None
        self._topics = topics
        self._outbox = outbox
        self._delivery = Delivery(outbox, config.confirm, config.resend_s)

    @property
    def topics(self) -> Sequence[str]:
        """The fleet's acknowledgements."""
        return [self._topics.channel("ack")]

    @property
    def idle(self) -> bool:
        """Everything is delivered."""
        return self._delivery.idle and not self._outbox.waiting

    def wait_s(self, now_s: float) -> float | None:
        """Until something is to be sent again; what is new wakes the session."""
        return self._delivery.wait_s(now_s)

    def publish(self, connection: Connection, now_s: float) -> bool:
        """Send a burst of what waits, oldest first."""
        batch = self._delivery.due(now_s)
        limit = connection.max_packet_bytes
        for pending in batch:
            size = len(pending.message.payload) + len(pending.message.topic) + PACKET_OVERHEAD
            if limit is not None and size > limit:
                self._outbox.discard(pending, f"{size} bytes; the broker takes {limit}")
                continue
            mid = connection.publish(pending.message)
            self._delivery.sent(pending, mid, time.monotonic())
        return bool(batch)

    def hear(self, connection: Connection, incoming: Incoming) -> bool:
        """Take an acknowledgement of the fleet."""
        del connection
        if incoming.topic != self._topics.channel("ack"):
            return False
        payload = messages.read(self._topics.parse(incoming.topic), incoming.payload)
        if isinstance(payload, Ack):
            self._delivery.acknowledged(payload.ids)
        return True

    def confirm(self, receipt: Receipt, now_s: float) -> bool:
        """Take the broker's word on one of ours."""
        if receipt.refusal is None:
            ours = self._delivery.taken(receipt.mid)
            self.refusal = None if ours else self.refusal
            return ours
        if not self._delivery.refused(receipt.mid, now_s):
            return False
        self.refusal = (
            f"mqtt: the broker will not take alerts ({receipt.refusal}); let this user "
            f"write {self._topics.channel('#')} in the broker's access list"
        )
        return True

    def disconnected(self) -> None:
        """Everything under way is to be sent again."""
        self._delivery.reset()
