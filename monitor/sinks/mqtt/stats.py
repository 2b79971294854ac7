"""The process's own numbers, every minute."""

import time
from collections.abc import Callable, Mapping

from monitor import __version__
from monitor.protocol import messages
from monitor.protocol.messages import Topics
from monitor.protocol.schemas import Loop, Stats
from monitor.sinks.mqtt.connection import Connection
from monitor.sinks.mqtt.publisher import Publisher
from monitor.store import Store
from monitor.store.outbox import Outbox

FIRST_S = 5.0  # by then the loops have numbers


class StatsPublisher(Publisher):
    """Sends how the process does.

    Args:
        topics: of the vehicle.
        every_s: seconds from one message to the next.
        store, outbox: counted.
        loops: how each camera's loop does.
        troubles: what is wrong now, by part.
    """

    def __init__(
        self,
        topics: Topics,
        every_s: float,
        *,
        store: Store,
        outbox: Outbox,
        loops: Callable[[], Mapping[str, Loop]],
        troubles: Callable[[], Mapping[str, str]],
    ) -> None:
        self._topics = topics
        self._every_s = every_s
        self._store, self._outbox = store, outbox
        self._loops, self._troubles = loops, troubles
        self._began_s = time.monotonic()
        self._next_s = 0.0

    def greet(self, connection: Connection) -> None:
        """Soon, and from then on regularly."""
        del connection
        self._next_s = time.monotonic() + min(FIRST_S, self._every_s)

    def wait_s(self, now_s: float) -> float | None:
        """Until the next message."""
        return self._next_s - now_s

    def publish(self, connection: Connection, now_s: float) -> bool:
        """Send the numbers when it is time."""
        if now_s >= self._next_s:
            self._next_s = now_s + self._every_s
            connection.publish(messages.stats(self._topics, self._stats(now_s)))
        return False

    def _stats(self, now_s: float) -> Stats:
        now_at = time.time()
        return Stats(
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
            troubles={part[:64]: text[:500] for part, text in self._troubles().items()},
        )
