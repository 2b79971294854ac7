"""What one camera's loop leaves in the event log: events, samples, status and monitored time."""

from collections import defaultdict, deque
from typing import Final, TypedDict

from monitor.protocol.camera_status import StatusFilter
from monitor.protocol.mapping import SampleRow, sample_row, state_payload
from monitor.protocol.schemas import MONITORED, CoverageData, Watched
from monitor.sinks.base import Sink, Step
from monitor.sinks.event_dates import CLOCK_STEP_S, EventDates
from monitor.store import Store, schema
from monitor.store.requests import TableRow
from monitor.types import DriverState, Event, Eyes, Kind, Level

# Round an alert, and while the eyes are closed, samples are this close together and reach this
# far: a microsleep lasts 1.5 s, and whoever judges it must see it.
CLOSE_STEP_S: Final = 1.0
AROUND_S: Final = 20.0
# Frames come at least once a second, a lost camera's too. A longer gap was watched by nobody.
LONGEST_STEP_S = 2.0


class MonitoredTime:
    """How long the driver was watched, and why not, by the monotonic capture clock.

    Time belongs to the most important cause that impaired the frame before it. What
    is left of the whole is time in which no frame came.
    """

    def __init__(self) -> None:
        self.started_at: float | None = None
        self._started_s = 0.0
        self._last: DriverState | None = None
        self._seconds: defaultdict[Watched, float] = defaultdict(float)

    @property
    def elapsed_s(self) -> float:
        """Seconds since the report was begun."""
        return self._last.timestamp_s - self._started_s if self._last else 0.0

    @property
    def driver(self) -> str | None:
        """Whose time the report is."""
        return self._last.trip.driver if self._last else None

    def add(self, state: DriverState) -> None:
        """Count the time since the last frame."""
        if self._last is None:
            self.started_at, self._started_s = state.captured_at, state.timestamp_s
        else:
            step_s = state.timestamp_s - self._last.timestamp_s
            if 0 < step_s <= LONGEST_STEP_S:
                degraded = self._last.degraded
                self._seconds[degraded[0] if degraded else MONITORED] += step_s
        self._last = state

    def settle(self, vehicle: str, drive: str, camera: str) -> CoverageData | None:
        """The report so far, and begin anew; None if no time has passed."""
        last, started_at = self._last, self.started_at
        if last is None or started_at is None or not self.elapsed_s:
            return None
        report = CoverageData(
            vehicle=vehicle,
            drive=drive,
            camera=camera,
            driver=self.driver,
            started_at=started_at,
            ended_at=started_at + self.elapsed_s,
            seconds=dict(self._seconds),
        )
        self._seconds.clear()
        # Where this one ends the next begins, unless the clock was set meanwhile.
        stepped = abs(last.captured_at - report.ended_at) >= CLOCK_STEP_S
        self.started_at = last.captured_at if stepped else report.ended_at
        self._started_s = last.timestamp_s
        return report


class Sampler:
    """Which instants of a drive are worth a row: few while nothing happens, all of them round it.

    Args:
        every_s: between rows while nothing happens; 0 keeps none at all.
    """

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._step_s = min(CLOSE_STEP_S, every_s)
        self._next_s = self._next_close_s = float("-inf")
        self._close_until_s = float("-inf")
        self._now_s = 0.0
        # What was not written; an alert that begins now wants to know how it came about.
        self._before: deque[tuple[float, SampleRow]] = deque()

    def due(self, state: DriverState) -> bool:
        """Whether this instant is to be given to `keep`."""
        self._now_s = now_s = state.timestamp_s
        if self._every_s and _pressing(state):
            self._close_until_s = max(self._close_until_s, now_s)
        return bool(self._every_s) and now_s >= min(self._next_s, self._next_close_s)

    def keep(self, row: SampleRow) -> list[SampleRow]:
        """The rows to write now: this one, or none; it is remembered for a while then."""
        now_s = self._now_s
        self._next_close_s = now_s + self._step_s
        if now_s < self._next_s and now_s > self._close_until_s:
            self._remember(row)
            return []
        self._next_s = now_s + self._every_s
        return [row]

    def look_closely(self) -> list[SampleRow]:
        """Something is happening: the rows that led to it, and from here on a row a step."""
        self._close_until_s = max(self._close_until_s, self._now_s + AROUND_S)
        rows = [row for at_s, row in self._before if at_s >= self._now_s - AROUND_S]
        self._before.clear()
        return rows

    def _remember(self, row: SampleRow) -> None:
        self._before.append((self._now_s, row))
        while self._before[0][0] < self._now_s - AROUND_S:
            self._before.popleft()


def _pressing(state: DriverState) -> bool:
    return state.eyes is Eyes.CLOSED or state.level >= Level.CAUTION


class _Whose(TypedDict):
    vehicle: str
    drive: str
    camera: str


class StoreSink(Sink):
    """Writes one camera's drive into the store.

    Args:
        store: closed by its owner, after this.
        vehicle, drive, camera: whose rows they are.
        sample_every_s: a row of the driver's state this often, and more round an alert; 0 writes
            none.
        coverage_every_s: a report of monitored time this often, and at the end.
    """

    name = "store"

    def __init__(
        self,
        store: Store,
        *,
        vehicle: str,
        drive: str,
        camera: str,
        sample_every_s: float,
        coverage_every_s: float,
    ) -> None:
        self._store = store
        self._whose: _Whose = {"vehicle": vehicle, "drive": drive, "camera": camera}
        self._sampler = Sampler(sample_every_s)
        self._coverage_every_s = coverage_every_s
        self._monitored = MonitoredTime()
        self._status = StatusFilter()
        self._dates = EventDates()
        self._frames = 0
        self._sampled_s: float | None = None

    def on_step(self, step: Step) -> None:
        """Count the time, write a sample now and then, date events anew once the clock is right."""
        state = step.state
        for event in self._dates.follow(state):
            self._store.record(event)
        if self._monitored.driver != state.trip.driver:
            self._report()  # a report is one driver's
        self._monitored.add(state)
        if self._monitored.elapsed_s >= self._coverage_every_s:
            self._report()
        status = self._status.update(step.frame.condition, state)
        if status is not None:
            row = {
                "vehicle": self._whose["vehicle"],
                "camera": self._whose["camera"],
                "at": state.captured_at,
                "status": status.value,
            }
            self._store.add(TableRow(schema.camera_status, row))
        self._frames += 1
        if self._sampler.due(state):
            self._write(self._sampler.keep(self._sample(state)))

    def on_event(self, event: Event) -> None:
        """Write the event down; the store sends it on its way."""
        self._store.record(self._dates.dated(event))
        if event.kind is not Kind.DEGRADED:
            self._write(self._sampler.look_closely())

    def _write(self, rows: list[SampleRow]) -> None:
        for row in rows:
            self._store.add(TableRow(schema.samples, row))

    def trouble(self) -> str | None:
        """What is wrong with the store."""
        return self._store.trouble()

    def close(self) -> None:
        """Report the last monitored time; every event so far reaches the disk."""
        self._report()
        self._store.flush(1.0)

    def _report(self) -> None:
        report = self._monitored.settle(**self._whose)
        if report is not None:
            self._store.account(report)

    def _sample(self, state: DriverState) -> SampleRow:
        since_s = None if self._sampled_s is None else state.timestamp_s - self._sampled_s
        fps = self._frames / since_s if since_s else None
        self._frames, self._sampled_s = 0, state.timestamp_s
        return sample_row(state_payload(state, policy="", fps=fps, **self._whose))
