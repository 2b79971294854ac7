"""The session with a broker: connect, serve the publishers, and again, for ever.

One thread. MQTT 5 is tried first and 3.1.1 where the broker is older, with growing and scattered
pauses in between. Whatever the network does, nobody waits for it here but this thread.
"""

import threading
import time
from collections import deque
from collections.abc import Sequence

import structlog

from monitor.backoff import Backoff
from monitor.config import MqttConfig
from monitor.errors import WakefulError
from monitor.protocol import messages
from monitor.protocol.messages import Topics
from monitor.protocol.schemas import Availability
from monitor.sinks.mqtt.connection import Connection, ProtocolError
from monitor.sinks.mqtt.publisher import Publisher

log = structlog.get_logger(__name__)

CLOSE_S = 3.0
HEALTHY_S = 30.0  # a connection that lasted this long ends the growing of pauses
LONGEST_WAIT_S = 1.0
# So often closed by a broker that lets us in again at once: a second client has our id. Older
# brokers (Mosquitto 2.0.11) close the first one's connection without a reason.
THROWN_OUT, THROWN_OUT_WITHIN_S = 3, 300.0


class Session:
    """Runs from `start` to `close`.

    Args:
        config: a real host, port and credentials.
        topics: of the vehicle.
        publishers: served in this order.

    Attributes:
        trouble: why there is no connection; None while there is one.

    More than fifteen methods: the steps of one loop, from CONNECT to goodbye, on one thread.
    """

    def __init__(self, config: MqttConfig, topics: Topics, publishers: Sequence[Publisher]) -> None:
        self.trouble: str | None = "mqtt: not connected yet"
        self._config = config
        self._topics = topics
        self._publishers = publishers
        self._modern = config.protocol != "3.1.1"
        self._wake = threading.Event()
        self._pausing = threading.Event()
        self._closing_s: float | None = None
        self._began = False
        self._thrown_out_s: deque[float] = deque(maxlen=THROWN_OUT)
        self._thread = threading.Thread(target=self._run, name="mqtt", daemon=True)

    def start(self) -> None:
        """Begin to connect. Returns at once."""
        self._thread.start()

    def wake(self) -> None:
        """A publisher has something to do."""
        self._wake.set()

    def close(self) -> None:
        """Send what is waiting, for a few seconds, say `stopped` and go."""
        self._closing_s = time.monotonic()
        self._wake.set()
        self._pausing.set()
        self._thread.join(CLOSE_S + self._config.connect_timeout_s + 1.0)

    def _run(self) -> None:
        backoff = Backoff(*self._config.retry_s)
        while self._closing_s is None:
            began_s = time.monotonic()
            try:
                connection = self._connect()
                if connection is not None:
                    self._serve(connection)
            except Exception as error:  # noqa: BLE001 - whatever breaks a session, the next one is tried
                self._note(f"mqtt: the session broke ({error!r}); alerts wait on disk")
            if time.monotonic() - began_s > HEALTHY_S:
                backoff.reset()
            self._pausing.wait(backoff.next_s())

    def _connect(self) -> Connection | None:
        try:
            try:
                return self._connection(modern=self._modern)
            except ProtocolError:
                if self._config.protocol != "auto":
                    raise
                self._modern = False
                return self._connection(modern=False)
        except WakefulError as error:
            self._modern = self._config.protocol != "3.1.1"
            self._thrown_out_s.clear()
            self._note(str(error))
            return None

    def _connection(self, *, modern: bool) -> Connection:
        will = messages.available(self._topics, Availability.OFFLINE)
        connection = Connection(
            self._config,
            f"wakeful-{self._topics.vehicle}",
            will,
            self._wake.set,
            modern=modern,
            resume=self._began,
        )
        self._began = True
        return connection

    def _serve(self, connection: Connection) -> None:
        log.info("connected", protocol="5" if connection.modern else "3.1.1")
        self._greet(connection)
        self.trouble = None
        while connection.alive and not self._finished():
            self._wake.wait(self._wait_s())
            self._wake.clear()
            self._hear(connection)
            self._publish(connection)
        for publisher in self._publishers:
            publisher.disconnected()
        if connection.alive:
            self._part(connection)
        else:
            self._note(self._lost(connection))
            connection.close()

    def _lost(self, connection: Connection) -> str:
        """Why a connection is gone; the third time without a word there is somebody else."""
        text = f"mqtt: connection lost ({connection.ended}); alerts wait on disk"
        if not connection.closed_by_broker:
            return text
        now_s = time.monotonic()
        self._thrown_out_s.append(now_s)
        often = len(self._thrown_out_s) == self._thrown_out_s.maxlen
        if not often or now_s - self._thrown_out_s[0] > THROWN_OUT_WITHIN_S:
            return text
        return (
            f"{text}; the broker lets us in and closes again and again: most likely another client "
            f"uses the id wakeful-{self._topics.vehicle}; give each vehicle its own `vehicle`"
        )

    def _greet(self, connection: Connection) -> None:
        # In this order: who hears `online` may send a command, and it is heard.
        connection.subscribe([topic for p in self._publishers for topic in p.topics])
        connection.publish(messages.available(self._topics, Availability.ONLINE))
        for publisher in self._publishers:
            publisher.greet(connection)

    def _publish(self, connection: Connection) -> None:
        for publisher in self._publishers:
            if publisher.publish(connection, time.monotonic()):
                self._wake.set()

    def _finished(self) -> bool:
        if self._closing_s is None:
            return False
        over = time.monotonic() - self._closing_s > CLOSE_S
        return over or all(publisher.idle for publisher in self._publishers)

    def _wait_s(self) -> float:
        now_s = time.monotonic()
        waits = (publisher.wait_s(now_s) for publisher in self._publishers)
        due_s = min((wait for wait in waits if wait is not None), default=LONGEST_WAIT_S)
        return min(max(due_s, 0.0), LONGEST_WAIT_S)

    def _hear(self, connection: Connection) -> None:
        while not connection.receipts.empty():
            receipt = connection.receipts.get()
            any(p.confirm(receipt, time.monotonic()) for p in self._publishers)
        while not connection.incoming.empty():
            incoming = connection.incoming.get()
            try:
                any(publisher.hear(connection, incoming) for publisher in self._publishers)
            except ValueError as error:
                log.warning("message ignored", topic=incoming.topic[:200], why=str(error))

    def _part(self, connection: Connection) -> None:
        last = connection.publish(messages.available(self._topics, Availability.STOPPED))
        deadline_s = time.monotonic() + 1.0
        while connection.alive and (left_s := deadline_s - time.monotonic()) > 0:
            self._wake.wait(left_s)
            self._wake.clear()
            while not connection.receipts.empty():
                if connection.receipts.get().mid == last:
                    deadline_s = 0.0
        connection.close()
        self.trouble = "mqtt: closed"

    def _note(self, trouble: str) -> None:
        if trouble != self.trouble:
            log.warning("not connected", why=trouble)
        self.trouble = trouble
