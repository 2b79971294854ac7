"""The watch itself: one loop from a frame to an alert.

>>> for frame in source:
>>>     observation = perceive(frame)
>>>     state, events = engine.update(observation, speed_kmh, commands, trip)
>>>     # every sink takes the events, then the step

Nothing in here knows a camera, a model, a broker or a database: they arrive through their seams.
A sink may fail and a stage may fail; the watch goes on and says so. Only the end of the source
or `stop` ends it, and then the open events are closed and sent.
"""

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Protocol, Self

import sdnotify
import structlog

from monitor.sinks.base import Overlay, Sink, Step
from monitor.types import NO_TRIP, Command, DriverState, Event, Frame, Observation, Trip

log = structlog.get_logger(__name__)

# A failing sink is logged at most this often; its trouble stays visible in health meanwhile.
LOG_EVERY_S = 60.0


class Watcher(Protocol):
    """What the loop needs of `monitor.engine.Engine`."""

    def update(
        self,
        observation: Observation,
        speed_kmh: float | None = None,
        commands: Sequence[Command] = (),
        trip: Trip = NO_TRIP,
    ) -> tuple[DriverState, list[Event]]:
        """One observation in; the state and the events it made out."""

    def finish(self) -> list[Event]:
        """Close the open events."""


@dataclass
class Pulse:
    """How the loop is doing: rates and latencies over the last frames.

    Attributes:
        frames: frames looked at since the start.
        skipped: live frames dropped because a newer one had come.
        beat_s: `time.monotonic()` of the last finished frame; a watchdog compares it.
        over: the source has ended, and no more frames are to be expected.
    """

    frames: int = 0
    skipped: int = 0
    beat_s: float = 0.0
    over: bool = False
    _finished_s: deque[float] = field(default_factory=lambda: deque(maxlen=301))
    _took_ms: deque[float] = field(default_factory=lambda: deque(maxlen=300))

    def mark(self, began_s: float, ended_s: float, skipped: int) -> None:
        """Count one frame that took from `began_s` to `ended_s`."""
        self.frames += 1
        self.skipped = skipped
        self.beat_s = ended_s
        self._finished_s.append(ended_s)
        self._took_ms.append((ended_s - began_s) * 1000)

    @property
    def fps(self) -> float | None:
        """Frames a second over the last 300 frames; None before the second."""
        if len(self._finished_s) < 2:
            return None
        spent_s = self._finished_s[-1] - self._finished_s[0]
        return (len(self._finished_s) - 1) / spent_s if spent_s > 0 else None

    def latency_ms(self, share: float) -> float | None:
        """The latency that `share` (0..1) of the last 300 frames stayed under."""
        if not self._took_ms:
            return None
        ordered = sorted(self._took_ms)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class Watch:
    """One camera's loop.

    Args:
        source: frames, closed by its owner.
        perceive: a frame in, an observation out.
        engine: observations in, state and events out.
        sinks: told in this order; the chime first, since it is the one that wakes.
        speed_kmh: the vehicle's speed now, None if unknown.
        commands: takes what was asked since the last frame.
        trip: who drives and where now.
        overlay: what perception saw on the last frame, to be drawn.
    """

    def __init__(
        self,
        source: Iterable[Frame],
        perceive: Callable[[Frame], Observation],
        engine: Watcher,
        sinks: Sequence[Sink] = (),
        *,
        speed_kmh: Callable[[], float | None] = lambda: None,
        commands: Callable[[], Sequence[Command]] = tuple,
        trip: Callable[[], Trip] = Trip,
        overlay: Callable[[], Overlay] = lambda: None,
    ) -> None:
        self._source = source
        self._perceive = perceive
        self._engine = engine
        self._sinks = list(sinks)
        self._speed_kmh = speed_kmh
        self._commands = commands
        self._trip = trip
        self._overlay = overlay
        self._failed: dict[str, tuple[str, float]] = {}
        self.pulse = Pulse()
        self.stop = threading.Event()

    def add(self, *sinks: Sink) -> None:
        """Tell these as well; before `run`."""
        self._sinks.extend(sinks)

    def run(self) -> Pulse:
        """Watch until the source ends or `stop` is set; then close and send the open events."""
        for frame in self._source:
            began_s = time.monotonic()
            observation = self._look(frame)
            speed_kmh, commands = self._speed_kmh(), tuple(self._commands())
            state, events = self._engine.update(observation, speed_kmh, commands, self._trip())
            self._send(events)
            step = Step(frame, observation, speed_kmh, commands, state, self._overlay())
            for sink in self._sinks:
                self._guarded(sink.name, sink.on_step, step)
            self.pulse.mark(began_s, time.monotonic(), frame.skipped)
            if self.stop.is_set():
                break
        self._send(self._engine.finish())
        self.pulse.over = True
        return self.pulse

    def troubles(self) -> dict[str, str]:
        """What is wrong now, by sink: its own word or the exception it let out."""
        troubles = {name: text for name, (text, _) in self._failed.items()}
        for sink in self._sinks:
            trouble = sink.trouble()
            if trouble is not None:
                troubles[sink.name] = trouble
        return troubles

    def _look(self, frame: Frame) -> Observation:
        try:
            return self._perceive(frame)
        except Exception as error:  # noqa: BLE001 - whatever breaks, the watch goes on and says so
            self._note("perception", error)
            return Observation(
                timestamp_s=frame.timestamp_s,
                captured_at=frame.captured_at,
                index=frame.index,
                camera=frame.camera,
                condition=frame.condition,
                skipped=frame.skipped,
                errors=("perception",),
            )

    def _send(self, events: Sequence[Event]) -> None:
        for event in events:
            for sink in self._sinks:
                self._guarded(sink.name, sink.on_event, event)

    def _guarded(self, name: str, call: Callable[..., None], *what: object) -> None:
        try:
            call(*what)
        except Exception as error:  # noqa: BLE001 - one sink's failure is not the others'
            self._note(name, error)
        else:
            if name in self._failed:
                self._forget(name)

    def _note(self, name: str, error: Exception) -> None:
        now_s = time.monotonic()
        _, logged_s = self._failed.get(name, ("", -LOG_EVERY_S))
        if now_s - logged_s >= LOG_EVERY_S:
            log.error("part failed; the watch goes on", part=name, error=repr(error))
            logged_s = now_s
        self._failed[name] = (f"{type(error).__name__}: {error}", logged_s)

    def _forget(self, name: str) -> None:
        # Kept until the next log is due, so that a part failing now and then cannot flood the log.
        if time.monotonic() - self._failed[name][1] >= LOG_EVERY_S:
            log.info("part works again", part=name)
            del self._failed[name]


class Heartbeat:
    """Tells systemd that the loops move; stays silent when one hangs, so that it is restarted.

    Without systemd (no NOTIFY_SOCKET) a hung loop is still logged, once each time.
    """

    def __init__(self, pulses: Sequence[Pulse], hung_after_s: float = 8.0) -> None:
        self._pulses = pulses
        self._hung_after_s = hung_after_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(timeout=2.0)

    def hung(self, now_s: float) -> bool:
        """True when a loop that has begun did not finish a frame for too long."""
        begun = (pulse for pulse in self._pulses if pulse.beat_s and not pulse.over)
        return any(now_s - pulse.beat_s > self._hung_after_s for pulse in begun)

    def _run(self) -> None:
        if "NOTIFY_SOCKET" not in os.environ:
            self._beat(lambda _: None)
            return
        notifier = sdnotify.SystemdNotifier()
        with closing(notifier.socket):
            self._beat(notifier.notify)

    def _beat(self, notify: Callable[[str], object]) -> None:
        notify("READY=1")
        logged = False
        while not self._stop.wait(1.0):
            hung = self.hung(time.monotonic())
            if not hung:
                notify("WATCHDOG=1")
            elif not logged:
                log.error("the watch hangs: no frame finished", for_s=self._hung_after_s)
            logged = hung
        notify("STOPPING=1")
