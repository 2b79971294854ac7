"""Alerts over MQTT: whatever the network does, the watch does not notice.

    Session ── one thread: connects, wakes, loops
       ├─ OutboxPublisher    alerts and reports, until they are confirmed
       ├─ StatePublisher     the retained state, each camera's status
       ├─ StatsPublisher     the process's own numbers
       ├─ DiscoveryPublisher Home Assistant's
       ├─ ClipSender         clips that the fleet asks for, where that is allowed
       ├─ CommandListener    what is asked of the watch
       └─ TopicListener      what parts of the watch want to hear of others

The frame loop leaves its latest state here and goes on.
"""

import time
from collections.abc import Callable, Mapping

from monitor.config import Config
from monitor.protocol.messages import Topics
from monitor.protocol.schemas import Loop
from monitor.sinks.base import Sink, Step
from monitor.sinks.mqtt.cameras import Cameras
from monitor.sinks.mqtt.clips import ClipSender
from monitor.sinks.mqtt.commands import CommandListener, Listener, TopicListener
from monitor.sinks.mqtt.discovery import DiscoveryPublisher
from monitor.sinks.mqtt.outbox import OutboxPublisher
from monitor.sinks.mqtt.publisher import Publisher
from monitor.sinks.mqtt.session import Session
from monitor.sinks.mqtt.state import StatePublisher
from monitor.sinks.mqtt.stats import StatsPublisher
from monitor.store import Store
from monitor.types import Command


class MqttSink(Sink):
    """Tells the world, and hears it.

    Events are not sent from here: the store puts each into the outbox, which is delivered.

    Args:
        config: `mqtt` with a real host, `vehicle`, `cameras`, `speed`.
        store: its outbox is delivered; it has one because MQTT is enabled.
        drive, policy: written on the state.
        loops: how each camera's loop does, for the stats.
        troubles: what is wrong now, by part, for the stats.
        listeners: topics that others want to hear, and where to put the payload.
        on_command: called with every command that was taken, at once, on the MQTT thread.
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
        listeners: Mapping[str, Listener] | None = None,
        on_command: Callable[[Command], None] = lambda _: None,
    ) -> None:
        if store.outbox is None:
            raise ValueError("the store was opened with mqtt.enabled false; it has no outbox")
        mqtt, topics = config.mqtt, Topics(config.mqtt.prefix, config.vehicle)
        self._store, self._outbox = store, store.outbox
        self._cameras = Cameras((c.id for c in config.cameras), mqtt.state_hz)
        self._delivered = OutboxPublisher(mqtt, topics, self._outbox)
        commands = CommandListener(topics, self._cameras, on_command)
        parts: list[Publisher] = [
            self._delivered,
            StatePublisher(
                topics,
                self._cameras,
                drive=drive,
                policy=policy,
                loops=loops,
                warnings=lambda: commands.warnings,
            ),
            StatsPublisher(
                topics,
                mqtt.stats_every_s,
                store=store,
                outbox=self._outbox,
                loops=loops,
                troubles=troubles,
            ),
            # Before the commands, of which one asks for a clip.
            ClipSender(topics, config.clips, store, mqtt.max_payload_bytes),
            commands,
            TopicListener(listeners or {}),
        ]
        if mqtt.discovery:
            parts.append(DiscoveryPublisher(topics, mqtt.discovery_prefix))
        self._session = Session(mqtt, topics, parts)
        self._outbox.on_news = self._session.wake
        self._session.start()

    @property
    def connected(self) -> bool:
        """A broker is there."""
        return self._session.trouble is None

    def on_step(self, step: Step) -> None:
        """Leave the latest state to be published; at once when the level changes."""
        if self._cameras.see(step.frame, step.state, time.monotonic()):
            self._session.wake()

    def take_commands(self, camera: str) -> list[Command]:
        """What was asked of the watch since the last call, for one camera's loop."""
        return self._cameras.take_commands(camera)

    def trouble(self) -> str | None:
        """Why nothing is delivered now; None when all is well."""
        trouble = self._session.trouble or self._delivered.refusal
        if trouble is None and self._outbox.lost:
            return f"{self._outbox.lost} undelivered alerts were dropped, too old or too many"
        return trouble

    def close(self) -> None:
        """Deliver what is waiting, for a few seconds, say `stopped` and go.

        Close the store after this, not before.
        """
        self._store.flush(1.0)
        self._session.close()
