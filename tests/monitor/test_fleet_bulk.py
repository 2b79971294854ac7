"""Messages cut out of a stream: however it comes in, each comes out once and whole."""

import inspect
import socket
import threading
from collections.abc import Iterator
from itertools import pairwise

import paho.mqtt.client as mqtt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from monitor.fleet.ingest.bulk import BulkClient, ReadAhead
from monitor.fleet.ingest.decoder import Arrival
from tests.support.servers import Mosquitto, until

PINGRESP = b"\xd0\x00"


def publish(topic: bytes, payload: bytes, mid: int = 0, properties: bytes = b"") -> bytes:
    """A PUBLISH packet of MQTT 5; QoS 1 if it has a number."""
    numbered = mid.to_bytes(2, "big") if mid else b""
    body = len(topic).to_bytes(2, "big") + topic + numbered
    body += varying(len(properties)) + properties + payload
    return bytes([0x32 if mid else 0x30]) + varying(len(body)) + body


def varying(number: int) -> bytes:
    """A variable byte integer."""
    rest, low = divmod(number, 128)
    return bytes([low | 128]) + varying(rest) if rest else bytes([low])


class Line:
    """A client whose socket is ours to write to."""

    def __init__(self) -> None:
        self.taken: list[Arrival] = []
        self.client = BulkClient("test", self.taken.extend)
        self.far, near = socket.socketpair()
        near.setblocking(False)
        self.near = self.client._sock = ReadAhead(near)
        self.client._state = mqtt._ConnectionState.MQTT_CS_CONNECTED

    def say(self, data: bytes) -> MQTTErrorCode:
        self.far.sendall(data)
        return self.client.loop_read()

    def close(self) -> None:
        self.far.close()
        self.near.close()


@pytest.fixture
def line() -> Iterator[Line]:
    line = Line()
    yield line
    line.close()


@given(
    messages=st.lists(
        st.tuples(
            st.sampled_from([b"dms/v1/truck-1/alert", b"\xff/not/utf-8", b""]),
            st.binary(max_size=400),
            st.integers(0, 65_535),
            # 8.: a content type of three letters.
            st.sampled_from([b"", b"\x03\x00\x03abc"]),
        ),
        min_size=1,
        max_size=8,
    ),
    cuts=st.lists(st.integers(0, 3000), max_size=6),
)
def test_a_stream_cut_anywhere_gives_every_message_once_and_whole(
    messages: list[tuple[bytes, bytes, int, bytes]], cuts: list[int]
) -> None:
    line = Line()
    stream = PINGRESP.join(publish(*message) for message in messages)
    edges = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    for start, end in pairwise(edges):
        assert line.say(stream[start:end]) == MQTTErrorCode.MQTT_ERR_SUCCESS
    found = [(one.topic, one.payload, one.mid, one.qos) for one in line.taken]
    line.close()
    assert found == [
        (topic.decode("utf-8", "replace"), payload, mid, 1 if mid else 0)
        for topic, payload, mid, _ in messages
    ]


def test_what_came_before_the_end_is_taken_and_the_end_is_told(line: Line) -> None:
    ended: list[str] = []
    line.client.on_disconnect = lambda *_: ended.append("told")
    line.far.sendall(publish(b"a", b"1", 7) + publish(b"a", b"2", 8)[:-1])
    line.far.close()
    line.client.loop_read()
    assert [one.payload for one in line.taken] == [b"1"]
    assert ended == ["told"]


@pytest.mark.parametrize("junk", [b"\x32\xff\xff\xff\xff\x7f", b"\x32\x03\x00\x50a", b"\xf7\x00"])
def test_what_is_no_mqtt_ends_the_connection(line: Line, junk: bytes) -> None:
    ended: list[str] = []
    line.client.on_disconnect = lambda *_: ended.append("told")
    line.say(publish(b"a", b"1", 7) + junk)
    assert [one.payload for one in line.taken] == [b"1"]
    assert ended == ["told"]


def test_paho_has_the_parts_that_are_used_past_its_public_ones() -> None:
    queue = inspect.signature(mqtt.Client._packet_queue).parameters
    assert list(queue)[:5] == ["self", "command", "packet", "mid", "qos"]
    assert list(inspect.signature(mqtt.Client._create_socket).parameters) == ["self"]
    assert "_create_socket" in inspect.getsource(mqtt.Client.reconnect)
    assert list(inspect.signature(mqtt.Client.loop_read).parameters) == ["self", "max_packets"]


@pytest.mark.broker
def test_a_broker_is_told_of_many_at_once_and_sends_none_again(mosquitto: Mosquitto) -> None:
    taken: list[Arrival] = []
    client = BulkClient("reader", taken.extend)
    properties = Properties(PacketTypes.CONNECT)
    properties.SessionExpiryInterval = 60
    subscribed = threading.Event()
    client.on_connect = lambda client, *_: client.subscribe("a/#", 1)
    client.on_subscribe = lambda *_: subscribed.set()
    client.connect("127.0.0.1", mosquitto.port, clean_start=False, properties=properties)
    client.loop_start()
    assert subscribed.wait(10)
    teller = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    teller.connect("127.0.0.1", mosquitto.port)
    teller.loop_start()

    def tell(count: int) -> None:
        told = [teller.publish("a/b", str(n), 1) for n in range(count)]
        for one in told:
            one.wait_for_publish(10)

    tell(500)
    until(lambda: len(taken) == 500, what="all have come")
    assert [int(one.payload) for one in taken] == list(range(500))
    client.confirm([one.mid for one in taken[:499]])
    # The broker takes in order: when it has this one, it has the confirmations.
    client.publish("b", "", 1).wait_for_publish(10)
    before = len(taken)
    client.reconnect()
    until(lambda: len(taken) > before, what="the one unconfirmed comes again")
    tell(1)
    until(lambda: len(taken) > before + 1, what="and nothing else does")
    assert [int(one.payload) for one in taken[before:]] == [499, 0]
    assert taken[before].connection == 2
    for one in (client, teller):
        one.disconnect()
        one.loop_stop()
