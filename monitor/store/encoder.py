"""Makes requests to the event log ready: numbers them and writes the message that goes out."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from sqlalchemy import Connection

from monitor.protocol import messages
from monitor.protocol.mapping import coverage_rows, event_row
from monitor.protocol.messages import Message, Narrator, Topics
from monitor.protocol.schemas import CoverageData
from monitor.store import event_log, schema
from monitor.store.outbox import Outbox
from monitor.store.outbox_table import Pending
from monitor.store.requests import Clip, Mark, Request, TableRow
from monitor.store.upsert import ONCE, insert_rows, upsert_events
from monitor.types import Event

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Job:
    """What to write in a transaction, and the message that it sends on its way."""

    write: Callable[[Connection], object]
    pending: Pending | None = None
    vital: bool = True
    written: Callable[[], None] = lambda: None


class MessageEncoder:
    """Numbers durable messages and writes them.

    Args:
        topics: of the vehicle.
        outbox: where messages go; None where nothing is sent.
        max_payload_bytes: what the broker takes; a larger message would stop those behind it.

    Attributes:
        sequence: the last number given.
    """

    def __init__(self, topics: Topics, outbox: Outbox | None, max_payload_bytes: int) -> None:
        self._topics = topics
        self._outbox = outbox
        self._limit = max_payload_bytes
        self._narrator = Narrator()
        self.sequence = 0

    def job(self, request: Request) -> Job:
        """The request made ready to be written."""
        match request:
            case Event():
                return self._event(request)
            case CoverageData():
                return self._coverage(request)
            case Pending():
                return self._job(lambda _: None, request)
            case TableRow():
                table, values = request.table, request.values
                return Job(lambda c: event_log.add_row(c, table, values), vital=request.vital)
            case Clip():
                event_id, file_name = request.event_id, request.file_name
                return Job(lambda c: event_log.add_clip(c, event_id, file_name))
            case Mark():
                return Job(lambda _: None, written=request.reached)

    def _event(self, event: Event) -> Job:
        telling = self._narrator.tell(event)
        self.sequence += 1
        number, vehicle = self.sequence, self._topics.vehicle
        pending = self._pending(lambda at: messages.alert(self._topics, telling, number, at))
        row = event_row(event, vehicle, sequence=number)

        def write(connection: Connection) -> None:
            if self._outbox is not None and event.redated_from is not None:
                self._outbox.redate(connection, event)
            upsert_events(connection, [row])

        return self._job(write, pending)

    def _coverage(self, data: CoverageData) -> Job:
        self.sequence += 1
        number = self.sequence
        pending = self._pending(lambda at: messages.coverage(self._topics, data, number, at))
        return self._job(
            lambda c: insert_rows(c, schema.coverage, coverage_rows(data), ONCE), pending
        )

    def _pending(self, make: Callable[[float], Message]) -> Pending | None:
        if self._outbox is None:
            return None
        now_at = time.time()
        try:
            message = make(now_at)
            reason = f"{len(message.payload)} bytes, mqtt.max_payload_bytes is {self._limit}"
            if len(message.payload) <= self._limit:
                return Pending(self.sequence, now_at, message)
        except ValueError as error:
            reason = str(error)
        log.error("message refused; it is in the log only", reason=reason)
        return None

    def _job(self, write: Callable[[Connection], object], pending: Pending | None) -> Job:
        outbox = self._outbox
        if outbox is None or pending is None:
            return Job(write)

        def both(connection: Connection) -> None:
            write(connection)
            outbox.add(connection, pending)

        return Job(both, pending)
