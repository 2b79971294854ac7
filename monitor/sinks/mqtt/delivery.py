"""Which message to send now, and which again: the vehicle's half of the delivery protocol.

In `broker` mode the broker's PUBACK ends a message's delivery. In `application` mode the fleet's
own acknowledgement does, after it has stored the message; until then it is sent again, ever more
seldom while nothing is acknowledged. No clock and no network in here.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from monitor.store.outbox import Outbox
from monitor.store.outbox_table import Pending

# Sent and not confirmed: enough to keep a line busy, few enough to hold in memory.
WINDOW = 200
BURST = 50
# A third of the minute in which an outbox must be empty once everything is back.
LONGEST_RESEND_S = 20.0


@dataclass(slots=True)
class _Flight:
    sequence: int
    sent_s: float
    mid: int
    taken: bool = False  # by the broker


class Delivery:
    """What is under way over the present connection.

    Args:
        outbox: what is to be delivered.
        confirm: what ends a delivery.
        resend_s: send again what was not confirmed by then.
    """

    def __init__(
        self, outbox: Outbox, confirm: Literal["broker", "application"], resend_s: float
    ) -> None:
        self._outbox = outbox
        self._confirm = confirm
        self._first_resend_s = resend_s
        self._resend_s = resend_s
        self._flights: dict[str, _Flight] = {}
        self._ids: dict[int, str] = {}
        self._furthest = 0

    @property
    def idle(self) -> bool:
        """Nothing is under way."""
        return not self._flights

    def due(self, now_s: float) -> list[Pending]:
        """A burst of messages to publish now, oldest first.

        When the window is full because nobody acknowledges, new alerts still go out once: others
        than the fleet listen too.
        """
        self._give_up_waiting(now_s)
        room = WINDOW - len(self._flights)
        if room > 0:
            return self._outbox.next(min(room, BURST), self._flights)
        if len(self._flights) < 2 * WINDOW:
            return self._outbox.next(BURST, self._flights, after=self._furthest)
        return []

    def sent(self, pending: Pending, mid: int, now_s: float) -> None:
        """`pending` was handed to the connection under the packet id `mid`."""
        self._flights[pending.id] = _Flight(pending.sequence, now_s, mid)
        self._ids[mid] = pending.id
        self._furthest = max(self._furthest, pending.sequence)

    def taken(self, mid: int) -> bool:
        """The broker has taken the packet `mid`; False if it is not one of ours."""
        id_ = self._ids.pop(mid, None)
        flight = self._flights.get(id_) if id_ else None
        if id_ is None or flight is None:
            return False
        flight.taken = True
        if self._confirm == "broker":
            self._done([id_])
        return True

    def refused(self, mid: int, now_s: float) -> bool:
        """The broker would not take the packet `mid`: try it again later; False if not ours."""
        id_ = self._ids.pop(mid, None)
        flight = self._flights.get(id_) if id_ else None
        if flight is not None:
            flight.taken, flight.sent_s = True, now_s
        return flight is not None

    def acknowledged(self, ids: Iterable[str]) -> None:
        """The fleet has stored these. Ids that are not under way are no business of ours."""
        if self._confirm == "application":
            self._done([id_ for id_ in ids if id_ in self._flights])

    def reset(self) -> None:
        """The connection is gone, and with it everything under way."""
        self._flights.clear()
        self._ids.clear()
        self._furthest = 0
        self._resend_s = self._first_resend_s

    def wait_s(self, now_s: float) -> float | None:
        """How long until something is to be sent again; None when nothing is."""
        waiting = [flight.sent_s for flight in self._flights.values() if flight.taken]
        return max(0.0, min(waiting) + self._resend_s - now_s) if waiting else None

    def _give_up_waiting(self, now_s: float) -> None:
        # Not yet taken by the broker is TCP's business, and the keepalive's.
        late = [
            id_
            for id_, flight in self._flights.items()
            if flight.taken and now_s - flight.sent_s >= self._resend_s
        ]
        for id_ in late:
            del self._flights[id_]
        if late:
            self._resend_s = min(self._resend_s * 2, LONGEST_RESEND_S)

    def _done(self, ids: list[str]) -> None:
        for id_ in ids:
            flight = self._flights.pop(id_)
            # The id of a packet that was taken may be another's by now.
            if not flight.taken:
                self._ids.pop(flight.mid, None)
        if ids:
            self._resend_s = self._first_resend_s
            self._outbox.confirm(ids)
