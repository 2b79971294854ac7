"""Alerts over MQTT: whatever the network does, the watch does not notice.

One thread connects, delivers the outbox in order, publishes the retained state and the stats,
and takes commands. It tries MQTT 5 first and 3.1.1 where the broker is older, for ever, with
growing and scattered pauses. The frame loop only leaves the latest state here.
"""

import random
import threading
import time
from collections.abc import Callable, Mapping

import structlog

from monitor import __version__
from monitor.config import Config
from monitor.errors import WakefulError
from monitor.protocol import messages
from monitor.protocol.messages import Address, Topics
from monitor.protocol.schemas import Ack, Availability, Loop, Stats
from monitor.sinks.mqtt.cameras import Cameras
from monitor.sinks.mqtt.connection import Connection, Incoming, ProtocolError
from monitor.sinks.mqtt.delivery import Delivery
from monitor.sinks.mqtt.discovery import BIRTH, discovery
from monitor.store import Store
from monitor.types import Command, DriverState, Event, Frame, Observation

log = structlog.get_logger(__name__)

CLOSE_S = 3.0
HEALTHY_S = 30.0  # a connection that lasted this long ends the growing of pauses
FIRST_STATS_S = 5.0  # by then the loops have numbers
PACKET_OVERHEAD = 128  # fixed header, packet id and the properties we set


class MqttSink:
    """Tells the world, and hears it.

    Args:
        config: `mqtt` with a real host, `vehicle`, `cameras`, `speed`.
        store: its outbox is delivered; it has one because MQTT is enabled.
        drive, policy: written on the state.
        loops: how each camera's loop does, for the stats.
        troubles: what is wrong now, by part, for the stats.
        listeners: topics that others want to hear, and where to put the payload.
        on_command: told every command that was taken, at once, on the MQTT thread.
    """

    name = "mqtt"

    def __init__(
        self,
        config: Config,
        store: Store,
        *,
        drive: str,
        policy: str,
        loops: Callable[[], Mapping[str, Loop]] = dict,
        troubles: Callable[[], Mapping[str, str]] = dict,
        listeners: Mapping[str, Callable[[bytes], None]] | None = None,
        on_command: Callable[[Command], None] = lambda _: None,
    ) -> None:
        if store.outbox is None:
            raise ValueError("the store was opened with mqtt.enabled false; it has no outbox")
        self._config = config.mqtt
        self._topics = Topics(config.mqtt.prefix, config.vehicle)
        self._store, self._outbox = store, store.outbox
        self._drive, self._policy = drive, policy
        self._loops, self._troubles = loops, troubles
        self._listeners = dict(listeners or {})
        self._on_command = on_command
        self._delivery = Delivery(self._outbox, config.mqtt.confirm, config.mqtt.resend_s)
        self._cameras = Cameras((c.id for c in config.cameras), config.mqtt.state_hz)
        self._modern = config.mqtt.protocol != "3.1.1"
        self._warnings = True
        self._began_s = time.monotonic()
        self._birth = f"{config.mqtt.discovery_prefix}/{BIRTH}"
        self._wake = threading.Event()
        self._pausing = threading.Event()
        self._closing_s: float | None = None
        self._next_stats_s = 0.0
        self._trouble: str | None = "mqtt: not connected yet"
        self._refusal: str | None = None
        self._outbox.on_news = self._wake.set
        self._thread = threading.Thread(target=self._run, name="mqtt", daemon=True)
        self._thread.start()

    @property
    def connected(self) -> bool:
        """A broker is there."""
        return self._trouble is None

    def see(self, frame: Frame, observation: Observation, state: DriverState) -> None:
        """Leave the latest state to be published; at once when the level changes."""
        del observation
        if self._cameras.see(frame, state, time.monotonic()):
            self._wake.set()

    def tell(self, event: Event) -> None:
        """Nothing: the store puts every event into the outbox, which is delivered from here."""

    def take_commands(self, camera: str) -> list[Command]:
        """What was asked of the watch since the last call, for one camera's loop."""
        return self._cameras.take_commands(camera)

    def trouble(self) -> str | None:
        """Why nothing is delivered now; None when all is well."""
        if self._trouble is not None:
            return self._trouble
        if self._refusal is not None:
            return self._refusal
        if self._outbox.lost:
            return f"{self._outbox.lost} undelivered alerts were dropped, too old or too many"
        return None

    def close(self) -> None:
        """Deliver what is waiting, for a few seconds, say `stopped` and go.

        Close the store after this, not before.
        """
        self._store.flush(1.0)
        self._closing_s = time.monotonic()
        self._wake.set()
        self._pausing.set()
        self._thread.join(CLOSE_S + self._config.connect_timeout_s + 1.0)

    def _run(self) -> None:
        pause_s = 0.0
        while self._closing_s is None:
            began_s = time.monotonic()
            connection = self._connect()
            if connection is not None:
                self._session(connection)
                if time.monotonic() - began_s > HEALTHY_S:
                    pause_s = 0.0
            pause_s = self._pause(pause_s)

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
            self._say(str(error))
            return None

    def _connection(self, *, modern: bool) -> Connection:
        will = messages.available(self._topics, Availability.OFFLINE)
        client_id = f"wakeful-{self._topics.vehicle}"
        return Connection(self._config, client_id, will, self._wake.set, modern=modern)

    def _pause(self, last_s: float) -> float:
        first_s, longest_s = self._config.retry_s
        pause_s = min(max(last_s * 2, first_s), longest_s)
        # Scattered, so that a fleet does not come back to its broker all at once.
        self._pausing.wait(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
        return pause_s

    def _session(self, connection: Connection) -> None:
        log.info("connected", protocol="5" if connection.modern else "3.1.1")
        self._greet(connection)
        self._trouble = None
        while connection.alive and not self._done():
            self._wake.wait(self._until_due_s())
            self._wake.clear()
            self._hear(connection)
            self._deliver(connection)
            self._publish_states(connection)
            self._publish_stats(connection)
        self._delivery.reset()
        if connection.alive:
            self._part(connection)
        else:
            self._say(f"mqtt: connection lost ({connection.ended}); alerts wait on disk")
            connection.close()

    def _done(self) -> bool:
        if self._closing_s is None:
            return False
        over = time.monotonic() - self._closing_s > CLOSE_S
        return over or (self._delivery.idle and not self._outbox.waiting)

    def _greet(self, connection: Connection) -> None:
        topics = [self._topics.command("+"), self._topics.channel("ack"), *self._listeners]
        if self._cameras.several:
            topics.append(self._topics.command("+", camera="+"))
        if self._config.discovery:
            topics.append(self._birth)
        # In this order: who hears `online` may send a command, and it is heard.
        connection.subscribe(topics)
        connection.publish(messages.available(self._topics, Availability.ONLINE))
        if self._config.discovery:
            self._publish_discovery(connection)
        self._cameras.greet()
        self._next_stats_s = time.monotonic() + min(FIRST_STATS_S, self._config.stats_every_s)

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
        self._trouble = "mqtt: closed"

    def _until_due_s(self) -> float:
        now_s = time.monotonic()
        due_s = [1.0, self._next_stats_s - now_s]
        if (state_s := self._cameras.wait_s(now_s)) is not None:
            due_s.append(state_s)
        if (resend_s := self._delivery.wait_s(now_s)) is not None:
            due_s.append(resend_s)
        return max(0.0, min(due_s))

    def _deliver(self, connection: Connection) -> None:
        pending = self._delivery.due(time.monotonic())
        limit = connection.max_packet_bytes
        for one in pending:
            size = len(one.message.payload) + len(one.message.topic) + PACKET_OVERHEAD
            if limit is not None and size > limit:
                self._outbox.discard(one, f"{size} bytes; the broker takes {limit}")
                continue
            mid = connection.publish(one.message)
            self._delivery.sent(one, mid, time.monotonic())
        if pending:
            self._wake.set()  # there may be more

    def _hear(self, connection: Connection) -> None:
        now_s = time.monotonic()
        while not connection.receipts.empty():
            receipt = connection.receipts.get()
            if receipt.refusal is None:
                if self._delivery.taken(receipt.mid):
                    self._refusal = None
            elif self._delivery.refused(receipt.mid, now_s):
                self._refusal = (
                    f"mqtt: the broker will not take alerts ({receipt.refusal}); let this user "
                    f"write {self._topics.channel('#')} in the broker's access list"
                )
        while not connection.incoming.empty():
            self._take(connection, connection.incoming.get())

    def _take(self, connection: Connection, incoming: Incoming) -> None:
        if incoming.topic in self._listeners:
            self._listeners[incoming.topic](incoming.payload)
        elif incoming.topic == self._birth:
            if incoming.payload == b"online":
                self._publish_discovery(connection)
        else:
            try:
                self._obey(connection, incoming)
            except ValueError as error:
                log.warning("message ignored", topic=incoming.topic[:200], why=str(error))

    def _obey(self, connection: Connection, incoming: Incoming) -> None:
        address = self._topics.parse(incoming.topic)
        if address.channel == "ack":
            told = messages.read(address, incoming.payload)
            if isinstance(told, Ack):
                self._delivery.acknowledged(told.ids)
        elif incoming.retained:
            raise ValueError("a command must not be retained: it would be obeyed at every start")
        else:
            self._command(connection, address, incoming)

    def _command(self, connection: Connection, address: Address, incoming: Incoming) -> None:
        name, camera = address.name, address.camera or None
        try:
            command, fault = messages.read_command(name, incoming.payload, camera), None
            self._cameras.command(command, camera)
        except ValueError as error:
            command, fault = None, str(error)
        if command is not None:
            if command in {Command.WARNINGS_ON, Command.WARNINGS_OFF}:
                self._warnings = command is Command.WARNINGS_ON
            self._on_command(command)
        if incoming.answer_to is not None:
            reply = messages.answer(incoming.answer_to, name, fault)
            connection.publish(reply, incoming.correlation)
        if fault is not None:
            raise ValueError(fault)

    def _publish_discovery(self, connection: Connection) -> None:
        for message in discovery(self._topics, self._config.discovery_prefix):
            connection.publish(message)

    def _publish_states(self, connection: Connection) -> None:
        for name, status in self._cameras.statuses():
            connection.publish(messages.camera_status(self._topics, name, status))
        for name, state, of_vehicle in self._cameras.states(time.monotonic()):
            loop = self._loops().get(name)
            message = messages.state(
                self._topics,
                state,
                camera=name,
                apart=not of_vehicle,
                drive=self._drive,
                policy=self._policy,
                fps=loop.fps if loop else None,
                warnings=self._warnings,
            )
            connection.publish(message)

    def _publish_stats(self, connection: Connection) -> None:
        now_s = time.monotonic()
        if now_s < self._next_stats_s:
            return
        self._next_stats_s = now_s + self._config.stats_every_s
        now_at = time.time()
        told = Stats(
            vehicle=self._topics.vehicle,
            time=messages.utc(now_at),
            at=now_at,
            software=__version__,
            uptime_s=now_s - self._began_s,
            cameras=dict(self._loops()),
            outbox_depth=self._outbox.waiting,
            outbox_bytes=self._outbox.bytes,
            lost=self._outbox.lost,
            restarts=self._store.restarts,
            troubles={k[:64]: v[:500] for k, v in self._troubles().items()},
        )
        connection.publish(messages.stats(self._topics, told))

    def _say(self, trouble: str) -> None:
        if trouble != self._trouble:
            log.warning("not connected", why=trouble)
        self._trouble = trouble
