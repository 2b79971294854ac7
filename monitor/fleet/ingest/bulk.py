"""Messages by the thousand out of one connection.

paho asks the system three times for each packet, wakes for each that comes and builds a dozen
objects round it: half of what an ingester does. Here one call reads all that has arrived, messages
are cut out of it, and everything else that MQTT wants is left to paho. Confirmations leave as one.
"""

import ssl
import struct
import time
from collections.abc import Callable, Sequence
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode

from monitor.fleet.ingest.decoder import Arrival

READ_BYTES = 262_144
# To be woken by every message costs more than the message does.
PAUSE_S = 0.002
_PUBLISH, _PUBACK = 0x30, 0x40
_CONFIRMATION = struct.Struct("!BBH")


class BulkClient(mqtt.Client):
    """An MQTT 5 client that hands messages over in lists and confirms none of itself.

    Args:
        client_id: to the broker.
        take: is given what came, in the order it came, on paho's thread.

    Attributes:
        connection: number of the present connection; packet numbers start again with each.
    """

    def __init__(self, client_id: str, take: Callable[[list[Arrival]], None]) -> None:
        super().__init__(
            CallbackAPIVersion.VERSION2, client_id=client_id, protocol=mqtt.MQTTv5, manual_ack=True
        )
        self.connection = 0
        self._take = take
        self._read_s = 0.0
        self.on_message = self._on_odd_message

    def confirm(self, mids: Sequence[int]) -> None:
        """Tell the broker that these packets need not come again."""
        packets = b"".join([_CONFIRMATION.pack(_PUBACK, 2, mid) for mid in mids])
        if packets:
            self._packet_queue(_PUBACK, packets, mids[-1], 1)

    def loop_read(self, max_packets: int = 1) -> MQTTErrorCode:
        """Read what has arrived and hand the messages over."""
        sock = self.socket()
        if not isinstance(sock, ReadAhead):
            return MQTTErrorCode.MQTT_ERR_NO_CONN
        ahead: ReadAhead = sock
        if time.monotonic() - self._read_s < PAUSE_S:
            time.sleep(PAUSE_S)
        ahead.fill()
        self._read_s = time.monotonic()
        now, arrivals = time.time(), list[Arrival]()
        try:
            while (packet := ahead.cut()) is not None:
                arrival = self._arrival(packet, now)
                if arrival is not None:
                    arrivals.append(arrival)
                    continue
                ahead.grant(packet)
                result = super().loop_read(max_packets)
                if result != MQTTErrorCode.MQTT_ERR_SUCCESS or self.socket() is not sock:
                    return result
        finally:
            if arrivals:
                self._take(arrivals)
        return super().loop_read(max_packets) if ahead.ended else MQTTErrorCode.MQTT_ERR_SUCCESS

    def _create_socket(self) -> Any:
        self.connection += 1
        return ReadAhead(super()._create_socket())

    def _arrival(self, packet: bytes, now: float) -> Arrival | None:
        """The message in a packet; None if paho should have a look at it (MQTT 5, 3.3)."""
        qos = packet[0] >> 1 & 3
        if packet[0] & 0xF0 != _PUBLISH or qos > 1:
            return None
        try:
            _, at = _varying(packet, 1)
            topic_ends = at + 2 + (packet[at] << 8 | packet[at + 1])
            topic = packet[at + 2 : topic_ends]
            mid, at = 0, topic_ends
            if qos:
                mid, at = packet[at] << 8 | packet[at + 1], at + 2
            properties, at = _varying(packet, at)
        except (IndexError, ValueError):
            return None
        at += properties
        if at > len(packet):
            return None
        # A topic that is not UTF-8, which brokers should refuse, becomes one that is not ours.
        name = topic.decode("utf-8", "replace")
        return Arrival(name, packet[at:], now, mid, qos, self.connection)

    def _on_odd_message(
        self, _client: mqtt.Client, _userdata: object, message: mqtt.MQTTMessage
    ) -> None:
        self._take(
            [
                Arrival(
                    message.topic,
                    bytes(message.payload),
                    time.time(),
                    message.mid,
                    message.qos,
                    self.connection,
                )
            ]
        )


class ReadAhead:
    """A connected socket (plain or TLS) whose bytes are read far ahead and given out by the packet.

    paho sees only what was granted to it.

    Attributes:
        ended: the other side is gone; what came before can still be cut.
    """

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self._bytes = bytearray()
        self._granted = bytearray()
        self.ended = False

    def fill(self) -> None:
        """Read what has arrived, without waiting."""
        wanted = len(self._bytes) + READ_BYTES
        try:
            # TLS gives no more than a record at a time.
            while not self.ended and len(self._bytes) < wanted:
                came = self._sock.recv(READ_BYTES)
                self._bytes += came
                self.ended = not came
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return
        except OSError:
            self.ended = True

    def cut(self) -> bytes | None:
        """The next whole packet, or None if it has not all come yet."""
        held = self._bytes
        try:
            length, at = _varying(held, 1)
        except IndexError:
            return None
        except ValueError:
            self.ended = True
            return None
        if len(held) < at + length:
            return None
        packet = bytes(held[: at + length])
        del held[: at + length]
        return packet

    def grant(self, packet: bytes) -> None:
        """Let paho read this packet."""
        self._granted += packet

    def recv(self, size: int) -> bytes:
        """For paho: of what was granted."""
        if not self._granted:
            if self.ended:
                return b""
            raise BlockingIOError
        given = bytes(self._granted[:size])
        del self._granted[:size]
        return given

    def pending(self) -> int:
        """Bytes that TLS has read from the system already and nobody will be woken for."""
        return int(self._sock.pending()) if hasattr(self._sock, "pending") else 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


def _varying(packet: bytes | bytearray, at: int) -> tuple[int, int]:
    """A variable byte integer and where it ends (MQTT 5, 1.5.5).

    Raises:
        IndexError: it has not all come.
        ValueError: it is none.
    """
    number, shift = packet[at] & 127, 0
    while packet[at] & 128:
        at, shift = at + 1, shift + 7
        if shift > 21:
            raise ValueError("no variable byte integer")
        number |= (packet[at] & 127) << shift
    return number, at + 1
