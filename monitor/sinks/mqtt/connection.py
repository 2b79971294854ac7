"""One connection to a broker, from its CONNECT to its end; a new one is made for the next.

A fresh paho client each time leaves no hidden queue behind: what is to be sent again is the
outbox's to know. The last will says `offline`, and with MQTT 5 only after a while, so that a
short gap is no news.
"""

import queue
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from monitor.addresses import shown_host
from monitor.config import MqttConfig
from monitor.errors import BrokerError
from monitor.protocol.messages import Message
from monitor.sinks.mqtt.client import password, tls_context
from monitor.sinks.mqtt.tls_faults import explain_tls, fault_after_handshake

PACKETS_UNCONFIRMED = 100
_UNSPECIFIED = 128
_SESSION_TAKEN_OVER = 142  # MQTT 5, 3.14.2.1
# A broker on this machine answers at once; an old one may not answer MQTT 5 at all.
LOCAL = {"127.0.0.1", "::1", "localhost"}
LOCAL_ANSWER_S = 1.0


class ProtocolError(BrokerError):
    """The broker does not speak this version of MQTT."""


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message that came; with MQTT 5 its sender may name where an answer goes."""

    topic: str
    payload: bytes
    retained: bool = False
    answer_to: str | None = None
    correlation: bytes | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """The broker's word on a packet; `refusal` is None when it took it."""

    mid: int
    refusal: str | None = None


class Connection:
    """Open from construction until `close` or until the network ends it.

    Args:
        config: a real host, port and credentials.
        client_id: the vehicle's own; a second client of that name throws the first out.
        will: what the broker says when we are gone without a word.
        on_change: called whenever there is something in `incoming` or `receipts`, or the
            connection has ended.
        modern: MQTT 5, else 3.1.1.
        resume: take the last session up again. The first of a process begins a new one: what an
            earlier one had subscribed to is not wanted any more.

    Raises:
        ProtocolError: the broker does not speak this version.
        BrokerError: not there, refuses, or does not answer; one line with the cure.
    """

    def __init__(
        self,
        config: MqttConfig,
        client_id: str,
        will: Message,
        on_change: Callable[[], None],
        *,
        modern: bool,
        resume: bool = True,
    ) -> None:
        self.modern = modern
        self._resume = resume
        self.incoming: queue.SimpleQueue[Incoming] = queue.SimpleQueue()
        self.receipts: queue.SimpleQueue[Receipt] = queue.SimpleQueue()
        self.ended: str | None = None
        self.closed_by_broker = False
        self.max_packet_bytes: int | None = None
        self._config = config
        self._where = f"mqtt {shown_host(config.host, config.port)}"
        self._client_id = client_id
        self._fault = ""
        self._on_change = on_change
        self._answered = threading.Event()
        self._refusal: ReasonCode | None = None
        self._client = self._new_client(client_id, will)
        self._connect()

    @property
    def alive(self) -> bool:
        """The connection stands, as far as is known."""
        return self.ended is None

    def publish(self, message: Message, correlation: bytes | None = None) -> int:
        """Hand a message to the network; returns its packet id, to be found in `receipts`."""
        properties = None
        if self.modern:
            properties = _properties(PacketTypes.PUBLISH, ContentType=message.content_type)
            if correlation is not None:
                properties.CorrelationData = correlation
        return self._client.publish(
            message.topic, message.payload, message.qos, message.retain, properties
        ).mid

    def subscribe(self, topics: list[str]) -> None:
        """Ask for messages, at least once each.

        Raises:
            ValueError: a topic that no broker would take.
        """
        self._client.subscribe([(topic, 1) for topic in topics])

    def close(self) -> None:
        """Say goodbye, so that the will is not told, and end the network thread."""
        self._client.disconnect()
        self._client.loop_stop()

    def _new_client(self, client_id: str, will: Message) -> paho.Client:
        config = self._config
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id,
            clean_session=None if self.modern else True,
            protocol=paho.MQTTv5 if self.modern else paho.MQTTv311,
            reconnect_on_failure=False,
        )
        client.max_inflight_messages_set(PACKETS_UNCONFIRMED)
        client.connect_timeout = max(0.1, config.connect_timeout_s)
        if config.username is not None:
            client.username_pw_set(config.username, password(config))
        if config.tls:
            client.tls_set_context(tls_context(config))
        properties = None
        if self.modern:
            properties = _properties(PacketTypes.WILLMESSAGE, WillDelayInterval=config.will_delay_s)
        client.will_set(will.topic, will.payload, will.qos, will.retain, properties)
        client.on_socket_open = _send_at_once
        client.on_connect = self._connected
        client.on_disconnect = self._disconnected
        client.on_message = self._message
        client.on_publish = self._receipt
        client.on_log = self._note_fault
        return client

    def _connect(self) -> None:
        config = self._config
        options: dict[str, Any] = {}
        if self.modern:
            # The will waits only as long as the session lives; and after a gap the session is taken
            # up again, since ending it would tell the will at once.
            expiry_s = config.will_delay_s
            options["properties"] = _properties(PacketTypes.CONNECT, SessionExpiryInterval=expiry_s)
            options["clean_start"] = not self._resume
        try:
            self._client.connect(config.host, config.port, _ping_s(config.keepalive_s), **options)
        except (OSError, ValueError) as error:
            raise BrokerError(f"{self._where}: {_unreachable(error, config)}") from None
        self._client.loop_start()
        timeout_s = max(0.1, config.connect_timeout_s)
        if self.modern and config.protocol == "auto" and config.host in LOCAL:
            timeout_s = min(timeout_s, LOCAL_ANSWER_S)
        self._answered.wait(timeout_s)
        if self._refusal is None and self._answered.is_set() and self.alive:
            return
        self.close()
        raise self._explained()

    def _note_fault(self, _: object, __: object, ___: int, text: str) -> None:
        """What ended the network thread: paho tells it to its log alone."""
        if "failed to receive" in text or "failed to send" in text:
            self._fault = text.partition(": ")[2] or text

    def _explained(self) -> BrokerError:
        refusal = self._refusal
        if refusal is None:
            if self._config.tls and self._answered.is_set():
                # With TLS 1.3 a refusal comes after the handshake, and paho does not say it.
                fault = fault_after_handshake(self._config) or self._fault
                return BrokerError(f"{self._where}: {explain_tls(fault, self._config)}")
            # Some older brokers do not even refuse what they do not understand.
            text = "ended the connection" if self._answered.is_set() else "does not answer"
            error = ProtocolError if self.modern else BrokerError
            return error(f"{self._where}: {text}; {_wrong_port(self._config)}")
        name = refusal.getName()
        if "protocol version" in name.lower():
            return ProtocolError(f"{self._where}: {name}")
        if refusal.value in {134, 135, 140}:
            name += "; set mqtt.username and WAKEFUL_MQTT__PASSWORD, or the client certificate"
        if refusal.value == 133:
            name += f"; it does not take the client id {self._client_id}: set `vehicle` to another"
        return BrokerError(f"{self._where} refuses: {name}")

    def _connected(
        self, _: object, __: object, ___: object, code: ReasonCode, properties: Properties | None
    ) -> None:
        self.max_packet_bytes = getattr(properties, "MaximumPacketSize", None)
        if code.is_failure:
            self._refusal = code
        self._answered.set()

    def _disconnected(
        self, _: object, __: object, ___: object, code: ReasonCode, ____: object
    ) -> None:
        # Told twice where the broker said why: the second time without a reason.
        self.ended = self.ended or self._why_ended(code)
        self._answered.set()
        self._on_change()

    def _why_ended(self, code: ReasonCode) -> str:
        if code.value == _SESSION_TAKEN_OVER:
            return (
                f"another client took over the id {self._client_id}; give each vehicle its own "
                "`vehicle` setting"
            )
        if code.value == _UNSPECIFIED and not self._fault:
            self.closed_by_broker = True
            return "closed by the broker without a word"
        return self._fault or code.getName()

    def _message(self, _: object, __: object, message: paho.MQTTMessage) -> None:
        properties = message.properties
        self.incoming.put(
            Incoming(
                message.topic,
                bytes(message.payload),
                message.retain,
                getattr(properties, "ResponseTopic", None),
                getattr(properties, "CorrelationData", None),
            )
        )
        self._on_change()

    def _receipt(self, _: object, __: object, mid: int, code: ReasonCode, ___: object) -> None:
        self.receipts.put(Receipt(mid, code.getName() if code.is_failure else None))
        self._on_change()


def _send_at_once(_: object, __: object, connection: Any) -> None:
    # Nagle's algorithm and delayed ACKs together would hold a small message back for 40 ms.
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _ping_s(keepalive_s: int) -> int:
    # paho notices a dead line after twice its keepalive and a second; we promise 1.5 times ours.
    return max(2, int(keepalive_s * 0.75) - 1)


def _properties(packet: int, **values: int | str) -> Properties:
    properties = Properties(packet)  # type: ignore[no-untyped-call]
    for name, value in values.items():
        setattr(properties, name, value)
    return properties


def _wrong_port(config: MqttConfig) -> str:
    """What to try where a port says nothing that is MQTT."""
    if config.tls:
        return "is it an MQTT broker?"
    return "is it an MQTT broker? If its port wants TLS, set mqtt.tls to true (usually port 8883)"


def _unreachable(error: Exception, config: MqttConfig) -> str:
    """Why there is no connection at all, and the cure."""
    if isinstance(error, ssl.SSLError):
        return explain_tls(str(error), config)
    if isinstance(error, socket.gaierror):
        return f"nobody knows the host {config.host}; correct mqtt.host; alerts wait on disk"
    if isinstance(error, ConnectionResetError | BrokenPipeError):
        if config.tls:
            return explain_tls("unexpected eof", config)
        return f"ended the connection; {_wrong_port(config)}"
    if isinstance(error, TimeoutError):
        return "does not answer; start it or open its port in the firewall; alerts wait on disk"
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return (
        f"{str(text)[:200].lower()}; start a broker there or correct mqtt.host and mqtt.port; "
        "alerts wait on disk"
    )
