"""The dates of a drive's events when the wall clock is set right on the way.

An event's two clocks say how wrong its date is: its start on the monotonic clock, which does not
jump, belongs to another time by the clock as it stands now.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from monitor.clock import is_correction
from monitor.types import DriverState, Event, Phase

# A wall clock that differs from the monotonic one by more was set.
CLOCK_STEP_S: Final = 1.0
# Some 2 MB; what began before the latest so many events keeps its date.
REMEMBERED: Final = 2_000


class EventDates:
    """Dates the events of one camera's drive, those told before too once the clock is right."""

    def __init__(self) -> None:
        self._anchor_s: float | None = None  # monotonic to wall-clock time, as the clock stands
        self._told: OrderedDict[str, Event] = OrderedDict()

    def dated(self, event: Event) -> Event:
        """An event as it is to be told: one that was dated anew keeps its new date."""
        before = self._told.pop(event.id, None)
        if before is not None and before.redated_from is not None:
            event = _moved(event, _anchor_s(before), before.redated_from)
        self._told[event.id] = event
        if len(self._told) > REMEMBERED:
            self._told.popitem(last=False)
        return event

    def follow(self, state: DriverState) -> Iterator[Event]:
        """Where the clock was set right since the state before: events to be told anew."""
        anchor_s, before_s = state.captured_at - state.timestamp_s, self._anchor_s
        if before_s is not None and abs(anchor_s - before_s) < CLOCK_STEP_S:
            return
        self._anchor_s = anchor_s
        if before_s is None or not is_correction(state.timestamp_s + before_s, state.captured_at):
            return
        for event in list(self._told.values()):
            if abs(anchor_s - _anchor_s(event)) >= CLOCK_STEP_S:
                yield self._redated(event, anchor_s)

    def _redated(self, event: Event, anchor_s: float) -> Event:
        again = event if event.phase is Phase.END else replace(event, phase=Phase.UPDATE)
        self._told[event.id] = right = _moved(again, anchor_s, event.started_at)
        return right


def _anchor_s(event: Event) -> float:
    return event.started_at - event.started_s


def _moved(event: Event, anchor_s: float, redated_from: float) -> Event:
    started_at, at = round(anchor_s + event.started_s, 3), round(anchor_s + event.at_s, 3)
    return replace(event, started_at=started_at, at=at, redated_from=redated_from)
