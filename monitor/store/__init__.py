"""The event log: what happened, written down for good by one thread.

    Store ──requests──▶ RequestQueue ──▶ Writer (thread) ──jobs──▶ LogDatabase (SQL)
                                            └──▶ Outbox (pending messages) ──▶ whoever delivers

The frame loop only puts requests into a bounded queue. Whatever happens to the database, the loop
goes on and alerts go out from memory.
"""

import threading
import time
from collections.abc import Callable, Mapping

from monitor.clock import fault_of
from monitor.config import Config
from monitor.protocol.messages import Topics
from monitor.protocol.schemas import Availability, CoverageData
from monitor.store import event_log, schema
from monitor.store.database import explained, open_engine, upgrade
from monitor.store.encoder import MessageEncoder
from monitor.store.log_database import LogDatabase
from monitor.store.outbox import Outbox
from monitor.store.requests import Clip, Mark, RequestQueue, TableRow
from monitor.store.writer import Writer
from monitor.types import Event

__all__ = ["Store", "open_store", "recent_events", "upgrade"]


def open_store(config: Config, *, failpoint: Callable[[str], None] = lambda _: None) -> "Store":
    """Open the vehicle's event log and start its writer.

    A database that cannot be written now (read-only, full, locked, server away) does not stop
    the watch: the store tries again by itself and says so in `trouble`.

    Args:
        config: `store`, `mqtt` and the vehicle's id are used.
        failpoint: called at named points (`store.before_commit`, ...); tests crash there.

    Raises:
        StoreError: a newer version's database, not a database, a wrong URL, or one that another
            process writes to.
    """
    return Store(config, failpoint)


def recent_events(url: str, *, limit: int = 100, drive: str | None = None) -> list[Event]:
    """The last events as they stand, newest first.

    Raises:
        StoreError: the database cannot be read.
    """
    engine = open_engine(url)
    try:
        with explained(url), engine.connect() as connection:
            return event_log.recent_events(connection, limit=limit, drive=drive)
    finally:
        engine.dispose()


class Store:
    """The log of one vehicle; see `open_store`.

    Attributes:
        outbox: what is still to be delivered; None where MQTT is off.
    """

    def __init__(self, config: Config, failpoint: Callable[[str], None]) -> None:
        mqtt = config.mqtt
        keep_s = config.store.outbox_keep_days * 86_400
        self.outbox = Outbox(config.store.outbox_max_bytes, keep_s) if mqtt.enabled else None
        self._url = config.store.resolved_url()
        self._vehicle = config.vehicle
        self._requests = RequestQueue()
        self._writer = Writer(
            self._requests,
            MessageEncoder(
                Topics(mqtt.prefix, config.vehicle), self.outbox, mqtt.max_payload_bytes
            ),
            LogDatabase(config.store, config.vehicle, self.outbox, failpoint),
            self.outbox,
        )
        if self.outbox is not None:
            self.outbox.on_confirm = self._requests.wake
        self._writer.start()

    @property
    def restarts(self) -> int:
        """Earlier starts that no clean stop followed."""
        return self._writer.restarts

    def record(self, event: Event) -> None:
        """Write down an event as it stands and send it on its way. Returns at once."""
        self._requests.put(event)

    def account(self, data: CoverageData) -> None:
        """Write down and report monitored time. Returns at once."""
        self._requests.put(data)

    def add(self, row: TableRow) -> None:
        """Write a row. Returns at once."""
        self._requests.put(row)

    def note_clip(self, event_id: str, file_name: str) -> None:
        """Note the clip of an event. Returns at once."""
        self._requests.put(Clip(event_id, file_name))

    def audit(self, action: str, subject: str, detail: Mapping[str, object] | None = None) -> None:
        """Write down what was done. Returns at once."""
        values = {"at": time.time(), "actor": "watch", "action": action, "subject": subject}
        self.add(TableRow(schema.audit, {**values, "detail": detail}, vital=True))

    def recent_events(self, *, limit: int = 100, drive: str | None = None) -> list[Event]:
        """The last events as they stand, newest first.

        Raises:
            StoreError: the database cannot be read.
        """
        return recent_events(self._url, limit=limit, drive=drive)

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Wait until everything put so far is on disk; False if it is not by then."""
        done = threading.Event()
        self._requests.put(Mark(done.set))
        return done.wait(timeout_s)

    def trouble(self) -> str | None:
        """What is wrong now and the cure; None when all is well."""
        if self._writer.trouble is not None:
            return self._writer.trouble
        if dropped := self._requests.dropped:
            return f"{dropped} entries of the log were lost while it could not be written"
        return self._writer.notice or fault_of(time.time())

    def close(self) -> None:
        """Write what is waiting, for a few seconds at most, and let go."""
        stopped = {"vehicle": self._vehicle, "at": time.time(), "status": Availability.STOPPED}
        self.add(TableRow(schema.availability, stopped, vital=True))
        self._writer.close()
