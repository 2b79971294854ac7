"""Configuration in, a running watch out: the room that knows every real part.

broker ─ store ─┬─ chime, store, mqtt, trace, clips …   (sinks, in the order of urgency)
                └─ one Watch a camera: source → perception → engine
"""

import gc
import signal
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self

import structlog
from rich.console import Console

from monitor.camera import open_source
from monitor.camera.source import Source
from monitor.config import CameraConfig, Config, broker_address
from monitor.engine import Engine
from monitor.errors import BrokerError, ConfigError
from monitor.logs import configure_logging, natives_silenced
from monitor.perception import open_perception
from monitor.policy import load_policy
from monitor.protocol.schemas import Loop
from monitor.sinks.base import Sink
from monitor.sinks.chime import ChimeSink
from monitor.sinks.clips import ClipsSink
from monitor.sinks.console import ConsoleSink
from monitor.sinks.jsonl import EventFileSink
from monitor.sinks.mqtt import MqttSink
from monitor.sinks.mqtt.broker import LOOPBACK, broker_for
from monitor.sinks.store import StoreSink
from monitor.sinks.trace import TraceHeader, TraceWriter
from monitor.sinks.window import WindowSink
from monitor.speed import SpeedSource
from monitor.store import Store, open_store
from monitor.trip import TripSource
from monitor.types import Command
from monitor.worker import Heartbeat, Pulse, Watch

log = structlog.get_logger(__name__)


def overrides(
    *,
    cameras: Sequence[str] | None,
    policy: str | None,
    vehicle: str | None,
    broker: str | None,
    trace: Path | None,
    realtime: bool,
    expressions: str | None = None,
) -> dict[str, object]:
    """What the command line says, as sections of the configuration; silence overrides nothing."""
    values: dict[str, object] = {"policy": policy, "vehicle": vehicle}
    if cameras:
        values["cameras"] = tuple(
            {
                "id": "driver" if number == 0 else f"driver-{number + 1}",
                "source": source,
                "realtime": realtime,
            }
            for number, source in enumerate(cameras)
        )
    if broker is not None:
        values["mqtt"] = (
            {"enabled": False} if broker == "none" else {"enabled": True, **_broker(broker)}
        )
    if trace is not None:
        values["trace"] = {"enabled": True, "folder": trace}
    if expressions is not None:
        values["perception"] = {"emotion": None if expressions == "none" else expressions}
    return {name: value for name, value in values.items() if value is not None}


def _broker(text: str) -> dict[str, object]:
    try:
        return broker_address(text, "--broker")
    except ValueError as error:
        raise ConfigError(str(error)) from None


class Assembly:
    """Everything a configuration asks for, opened; a context manager that lets go of it all.

    Args:
        config: the effective configuration.
        console: draw a live table there; None draws none.
        events: file to append every event to as a JSON line, `-` for standard output.
        show: draw what is seen in a window.
        extra: further sinks.

    Raises:
        WakefulError: a part that the watch cannot do without is missing or wrong.
    """

    def __init__(
        self,
        config: Config,
        *,
        console: Console | None = None,
        events: str | None = None,
        show: bool = False,
        extra: Sequence[Sink] = (),
    ) -> None:
        self.config = config
        self.drive = uuid.uuid4().hex
        self.policy = load_policy(config.policy)
        self.watches: dict[str, Watch] = {}
        self._broken: dict[str, Exception] = {}
        self._stack = ExitStack()
        try:
            self._open(console, events, show, extra)
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def run(self) -> Pulse:
        """Run every camera's loop until its source ends or `stop`; the first camera's pulse."""
        first, *others = self.watches
        threads = [
            threading.Thread(target=self._run, args=(name,), name="watch") for name in others
        ]
        with _undisturbed(), Heartbeat([watch.pulse for watch in self.watches.values()]):
            for thread in threads:
                thread.start()
            try:
                self._run(first)
            finally:
                for thread in threads:
                    thread.join()
        if self._broken:
            raise next(iter(self._broken.values()))
        return self.watches[first].pulse

    def stop(self) -> None:
        """Ask every loop to end after the frame in hand."""
        for watch in self.watches.values():
            watch.stop.set()

    def troubles(self) -> dict[str, str]:
        """What is wrong now, by part; of several cameras the part is told with its camera."""
        troubles = {f"camera {name}": str(error) for name, error in list(self._broken.items())}
        for camera, watch in self.watches.items():
            for part, text in watch.troubles().items():
                shared = troubles.get(part, text) == text
                troubles[part if shared else f"{part} of {camera}"] = text
        return troubles

    def _run(self, name: str) -> None:
        """One camera's loop; what breaks it is told while the others go on, and raised at the end.

        Its pulse stands still meanwhile, so that a service manager starts everything anew.
        """
        try:
            self.watches[name].run()
        except Exception as error:  # noqa: BLE001 - the other cameras' drivers are watched all the same
            self._broken[name] = error
            if len(self.watches) > 1:
                log.error("camera broke; the others go on", camera=name, why=repr(error))  # noqa: TRY400

    def _open(
        self,
        console: Console | None,
        events: str | None,
        show: bool,
        extra: Sequence[Sink],
    ) -> None:
        # Bad input is found before anything is started.
        sources = [self._stack.enter_context(open_source(c)) for c in self.config.cameras]
        self.config = self._with_broker(self.config)
        store = open_store(self.config)
        self._stack.callback(store.close)
        self._speed = SpeedSource(self.config.speed)
        self._trip = TripSource(self.config.driver, self.config.position)
        chime = ChimeSink(self.config.chime)
        # Closed last in, first out: the log takes the last words, then MQTT delivers them.
        mqtt = [self._mqtt(store, chime)] if self.config.mqtt.enabled else []
        self._closing(*mqtt, chime)
        shared: list[Sink] = [chime, *mqtt, *self._closing(*extra)]
        if events is not None:
            shared += self._closing(EventFileSink(events))
        from monitor.perception.networks import open_parts  # - brings the inference runtimes along

        # One set of models for all cameras.
        self._parts = open_parts(self.config.perception, len(sources))
        for camera, source in zip(self.config.cameras, sources, strict=True):
            self._watch(camera, source, store, shared, mqtt, show)
        if console is not None:
            live = ConsoleSink(
                console, lambda camera: self.watches[camera].pulse.fps, sources[0].duration_s
            )
            self._closing(live)
            for watch in self.watches.values():
                watch.add(live)
            live.start()

    def _closing(self, *sinks: Sink) -> tuple[Sink, ...]:
        for sink in sinks:
            self._stack.callback(sink.close)
        return sinks

    def _watch(
        self,
        camera: CameraConfig,
        source: Source,
        store: Store,
        shared: Sequence[Sink],
        mqtt: Sequence[MqttSink],
        show: bool,
    ) -> None:
        perceive = self._stack.enter_context(
            open_perception(self.config.perception, camera, live=source.live, parts=self._parts)
        )
        models = perceive.models
        engine = Engine(
            self.policy, drive=self.drive, camera=camera.id, models=models, mount=camera.mount_pose
        )
        own: list[Sink] = [self._log(camera, store)]
        own += [self._trace(camera, models)] if self.config.trace.enabled else []
        own += [ClipsSink(self.config.clips, store)] if self.config.clips.enabled else []
        own += [WindowSink(self.stop)] if show else []
        self.watches[camera.id] = Watch(
            source,
            perceive,
            engine,
            [*shared, *self._closing(*own)],
            speed_kmh=self._speed.kmh,
            commands=(lambda: mqtt[0].take_commands(camera.id)) if mqtt else tuple,
            trip=self._trip.now,
            overlay=lambda: perceive.overlay.landmarks,
        )

    def _log(self, camera: CameraConfig, store: Store) -> StoreSink:
        return StoreSink(
            store,
            vehicle=self.config.vehicle,
            drive=self.drive,
            camera=camera.id,
            sample_every_s=self.config.store.sample_every_s,
            coverage_every_s=self.config.store.coverage_every_s,
        )

    def _trace(self, camera: CameraConfig, models: tuple[str, ...]) -> TraceWriter:
        header = TraceHeader(
            vehicle=self.config.vehicle,
            drive=self.drive,
            camera=camera.id,
            policy=self.config.policy,
            policy_hash=self.policy.hash,
            models=models,
            started_at=time.time(),
            mount=(camera.mount.yaw_deg, camera.mount.pitch_deg) if camera.mount else None,
        )
        return TraceWriter(self.config.trace, header)

    def _with_broker(self, config: Config) -> Config:
        try:
            mqtt, broker = broker_for(config.mqtt)
        except BrokerError as error:
            # Somebody's broker, most likely. If it is none, the MQTT sink will say so.
            log.warning("no broker of our own; telling whatever listens there", why=str(error))
            mqtt = config.mqtt.model_copy(update={"host": LOOPBACK})
        else:
            if broker is not None:
                self._stack.enter_context(broker)
        return config.model_copy(update={"mqtt": mqtt})

    def _mqtt(self, store: Store, chime: ChimeSink) -> MqttSink:
        def obey(command: Command) -> None:
            if command in (Command.WARNINGS_ON, Command.WARNINGS_OFF):
                chime.muted = command is Command.WARNINGS_OFF

        return MqttSink(
            self.config,
            store,
            drive=self.drive,
            policy=self.policy.hash,
            loops=self._loops,
            troubles=self.troubles,
            listeners=self._speed.listeners | self._trip.listeners,
            on_command=obey,
        )

    def _loops(self) -> Mapping[str, Loop]:
        return {
            name: Loop(
                fps=watch.pulse.fps,
                frames=watch.pulse.frames,
                skipped=watch.pulse.skipped,
                latency_p50_ms=watch.pulse.latency_ms(0.5),
                latency_p95_ms=watch.pulse.latency_ms(0.95),
            )
            for name, watch in self.watches.items()
        }


# A thread that wants the interpreter gets it this soon: a sink may make a frame wait for no more.
SWITCH_S = 0.0005


@contextmanager
def _undisturbed() -> Iterator[None]:
    """No search for garbage in what was loaded to stay, which takes longer than a frame."""
    switch_s = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_S)
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        sys.setswitchinterval(switch_s)


@contextmanager
def _stopped_by_signals() -> Iterator[list[Assembly]]:
    """Ctrl-C and SIGTERM end the drive in order: alerts closed, log written, `stopped` told.

    Yields a list for the assembly that is to be stopped; before there is one they simply end.
    """
    running: list[Assembly] = []

    def stop(number: int, _: object) -> None:
        for assembly in running:
            assembly.stop()
        if not running:
            raise SystemExit(128 + number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield running
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run(
    config: Config,
    *,
    console: Console | None = None,
    events: str | None = None,
    show: bool = False,
    extra: Sequence[Sink] = (),
) -> Pulse:
    """Watch until the source ends or a signal comes; what happened is in the sinks.

    Args:
        config, console, events, show, extra: as `Assembly` takes them.

    Raises:
        WakefulError: a part that the watch cannot do without is missing or wrong.
    """
    with natives_silenced(config.log), _stopped_by_signals() as running:
        configure_logging(config.log)
        with Assembly(config, console=console, events=events, show=show, extra=extra) as assembly:
            running.append(assembly)
            return assembly.run()
