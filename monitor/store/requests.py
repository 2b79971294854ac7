"""What the store is asked to write, and the bounded queue in which it waits for the writer."""

import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sqlalchemy import Table

from monitor.protocol.schemas import CoverageData
from monitor.store.outbox_table import Pending
from monitor.types import Event

# Events held for a database that cannot be written; some 15 MB. Beyond it the oldest go.
VITAL = 5_000
OTHER = 200


@dataclass(frozen=True, slots=True)
class TableRow:
    """A row for one of the tables; a sample may be lost in need, an audit may not."""

    table: Table
    values: Mapping[str, object]
    vital: bool = False


@dataclass(frozen=True, slots=True)
class Clip:
    """The file that shows an event."""

    event_id: str
    file_name: str


@dataclass(frozen=True, slots=True)
class Mark:
    """Calls `reached` once everything before it is on disk."""

    reached: Callable[[], None]


Request = Event | CoverageData | TableRow | Clip | Pending | Mark


class RequestQueue:
    """Requests on their way to the writer. Nobody who puts one waits.

    Attributes:
        dropped: vital requests that had to go, here or later, because nothing could be written.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self._news = threading.Condition()
        self._vital: deque[Request] = deque()
        self._other: deque[TableRow] = deque(maxlen=OTHER)

    def put(self, request: Request) -> None:
        """Take a request. Returns at once."""
        with self._news:
            if isinstance(request, TableRow) and not request.vital:
                self._other.append(request)
            else:
                self._vital.append(request)
            if len(self._vital) > VITAL:
                self._vital.popleft()
                self.dropped += 1
            self._news.notify()

    def wake(self) -> None:
        """Let the writer look, though nothing new is in here."""
        with self._news:
            self._news.notify()

    def take(self, wait_s: float) -> list[Request]:
        """Everything that waits; an empty queue is waited for, so long at most."""
        with self._news:
            if wait_s > 0 and not self:
                self._news.wait(wait_s)
            requests = [*self._vital, *self._other]
            self._vital.clear()
            self._other.clear()
        return requests

    def __len__(self) -> int:
        return len(self._vital) + len(self._other)
