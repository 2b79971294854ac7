"""Pictures around an alert, if and only if somebody switched them on.

Pictures wait in memory as JPEG, some seconds of them. An alert makes a film of what was before
and after it. Films are forgotten by age and size. That clips are on, each film and each removal
is written to the audit.
"""

import queue
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from monitor.clock import Calendar, is_set
from monitor.config import ClipsConfig, state_dir
from monitor.sinks.base import Sink, Step
from monitor.sinks.mp4 import blurred, jpeg, shrunk, write_mp4
from monitor.store import Store
from monitor.types import Event, Image, Level, Observation, Phase

log = structlog.get_logger(__name__)

RING_BYTES = 64_000_000
LONGEST_S = 120.0  # of one film, however long the alert lasts
RETENTION_EVERY_S = 3600.0
QUEUE = 4  # frames that may wait for their JPEG; more means that the machine is busy


@dataclass(slots=True)
class _Recording:
    event_id: str
    pictures: list[tuple[float, bytes]]
    until_s: float
    alert_at_s: float


@dataclass(slots=True)
class _Picture:
    at_s: float
    image: Image
    observation: Observation


@dataclass
class _Ring:
    """The last seconds as JPEG, bounded in time and bytes."""

    seconds: float
    pictures: deque[tuple[float, bytes]] = field(default_factory=deque)
    size: int = 0

    def add(self, at_s: float, picture: bytes) -> None:
        self.pictures.append((at_s, picture))
        self.size += len(picture)
        while self.size > RING_BYTES or self.pictures[0][0] < at_s - self.seconds:
            self.size -= len(self.pictures.popleft()[1])


class ClipsSink(Sink):
    """Keeps the last seconds of one camera and films alerts.

    Args:
        config: with `enabled` true.
        store: notes the film's name at the event and writes the audit.
    """

    name = "clips"

    def __init__(self, config: ClipsConfig, store: Store) -> None:
        self._config = config
        self._store = store
        self._min_level = Level[config.min_level.upper()]
        self.folder = config.folder or state_dir() / "clips"
        self._ring = _Ring(config.before_s + 2.0)
        self._recordings: dict[str, _Recording] = {}
        self._filmed: set[str] = set()
        self._last_s = float("-inf")
        self._calendar = Calendar()
        self._trouble: str | None = None
        self._pictures: queue.Queue[_Picture | Event | None] = queue.Queue()
        self._films: queue.Queue[_Recording | None] = queue.Queue()
        self._threads = [
            threading.Thread(target=self._collect, name="clips", daemon=True),
            threading.Thread(target=self._film, name="clips-film", daemon=True),
        ]
        detail = {"keep_days": config.keep_days, "blur_faces": config.blur_faces}
        store.audit("clips.on", str(self.folder), detail)
        for thread in self._threads:
            thread.start()

    def on_step(self, step: Step) -> None:
        """Take a picture, as often as set; not when the machine is too busy."""
        frame = step.frame
        due = frame.timestamp_s - self._last_s >= 0.999 / self._config.fps
        if frame.image is None or not due or self._pictures.qsize() >= QUEUE:
            return
        self._last_s = frame.timestamp_s
        self._pictures.put(_Picture(frame.timestamp_s, frame.image, step.observation))

    def on_event(self, event: Event) -> None:
        """Film the event, if it is urgent enough."""
        urgent = event.level >= self._min_level and event.phase is not Phase.END
        if urgent and event.id not in self._filmed:
            self._filmed.add(event.id)
            self._pictures.put(event)
        elif event.phase is Phase.END and event.id in self._filmed:
            self._filmed.discard(event.id)
            self._pictures.put(event)

    @property
    def idle(self) -> bool:
        """No picture waits for its JPEG."""
        return self._pictures.empty()

    def trouble(self) -> str | None:
        """Why no film was made; None when all is well."""
        return self._trouble

    def close(self) -> None:
        """Finish the films that were begun, for a few seconds at most."""
        self._pictures.put(None)
        for thread in self._threads:
            thread.join(5.0)

    def _collect(self) -> None:
        while (item := self._pictures.get()) is not None:
            if isinstance(item, Event):
                self._extend(item)
            else:
                self._add(item)
        for recording in self._recordings.values():
            self._films.put(recording)
        self._films.put(None)

    def _add(self, taken: _Picture) -> None:
        picture = jpeg(self._prepared(taken))
        self._ring.add(taken.at_s, picture)
        for recording in list(self._recordings.values()):
            if taken.at_s <= recording.until_s:
                recording.pictures.append((taken.at_s, picture))
            else:
                self._films.put(self._recordings.pop(recording.event_id))

    def _prepared(self, taken: _Picture) -> Image:
        image, observation = taken.image, taken.observation
        if self._config.blur_faces:
            # Whose face is where is only known of the driver: with others, or without, blur all.
            alone = observation.faces <= 1
            image = blurred(image, observation.face if alone else None)
        return shrunk(image, self._config.width_px)

    def _extend(self, event: Event) -> None:
        recording = self._recordings.get(event.id)
        if event.phase is Phase.END:
            if recording is not None:
                recording.until_s = min(event.at_s + self._config.after_s, recording.until_s)
            return
        begin_s = event.started_s - self._config.before_s
        before = [picture for picture in self._ring.pictures if picture[0] >= begin_s]
        self._recordings[event.id] = _Recording(
            event.id, before, event.started_s + LONGEST_S, event.started_s
        )

    def _film(self) -> None:
        self._calendar.newest_at = max(map(_dated, self.folder.glob("*.mp4")), default=None)
        self._retain()
        cleaned_s = time.monotonic()
        while (recording := self._films.get()) is not None:
            if time.monotonic() - cleaned_s > RETENTION_EVERY_S:
                self._retain()
                cleaned_s = time.monotonic()
            if recording.pictures:
                self._write(recording)

    def _write(self, recording: _Recording) -> None:
        path = self.folder / f"{recording.event_id}.mp4"
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_mp4(path, recording.pictures, recording.alert_at_s)
        except Exception as error:  # noqa: BLE001 - libav's errors are many; the watch goes on
            self._trouble = f"no film of {recording.event_id}: {error}"
            log.warning("no film", event_id=recording.event_id, why=str(error))
            return
        self._trouble = None
        self._store.note_clip(recording.event_id, path.name)
        self._store.audit("clips.write", path.name, {"bytes": path.stat().st_size})

    def _retain(self) -> None:
        try:
            doomed = list(_beyond(self.folder, self._config, self._calendar.now_at()))
            for file in doomed:
                file.unlink(missing_ok=True)
        except OSError as error:
            self._trouble = f"{self.folder}: old films cannot be removed ({error.strerror})"
            return
        if doomed:
            self._store.audit("clips.delete", str(self.folder), {"files": len(doomed)})


def _beyond(folder: Path, config: ClipsConfig, now_at: float | None) -> Iterator[Path]:
    """Films that are too much, the oldest first, or too old; without a date none is too old."""
    files = sorted(folder.glob("*.mp4"), key=_dated)
    excess = sum(file.stat().st_size for file in files) - config.keep_bytes
    oldest_at = 0.0 if now_at is None else now_at - config.keep_days * 86_400
    for file in files:
        # One of a clock that was not set has no age; it goes when there is too much.
        if excess > 0 or (is_set(_dated(file)) and _dated(file) < oldest_at):
            excess -= file.stat().st_size
            yield file


def _dated(file: Path) -> float:
    return file.stat().st_mtime
