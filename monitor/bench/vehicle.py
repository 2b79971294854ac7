"""The whole vehicle process at 30 fps: from the picture to the message in a subscriber's hand.

The real `wakeful run` on a video played at its own rate, a real broker on loopback in another
process or thread, and a subscriber of our own that compares clocks: both are this machine's.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import paho.mqtt.client as mqtt
import psutil
import yaml
from paho.mqtt.enums import CallbackAPIVersion

from models.inference.cache import own_environment
from monitor.bench.figures import Percentiles, Soak, SoakStretch, Stretch, VehicleFigures
from monitor.errors import WakefulError
from monitor.sinks.mqtt.broker import LOOPBACK, EmbeddedBroker

# Short closures, so that alerts come often enough to be counted.
DRIVE = "attentive 2, closed 1.8, attentive 3, closed 2, attentive 4"
FPS = 30.0
STATES_PER_S = 10
WARM_UP_S = 5.0
START_S = 60.0
STRETCHES = 6  # of ten minutes in an hour


class Ear:
    """Subscribes to everything and notes how late each message is.

    Attributes:
        late_ms: of every message, by kind.
        first_at: when the first one came, epoch seconds.
        captured_at: capture time of the last state's frame, epoch seconds.
    """

    def __init__(self, port: int) -> None:
        self.late_ms: dict[str, list[float]] = {"state": [], "alert": []}
        self.first_at: float | None = None
        self.captured_at = 0.0
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self._client.on_connect = lambda client, *_: client.subscribe("dms/v1/#", qos=1)
        self._client.on_message = self._note
        self._client.connect(LOOPBACK, port)
        self._client.loop_start()

    def forget(self) -> None:
        """Begin to count anew."""
        self.late_ms = {kind: [] for kind in self.late_ms}

    def close(self) -> None:
        """Stop listening."""
        self._client.disconnect()
        self._client.loop_stop()

    def _note(self, _: object, __: object, message: mqtt.MQTTMessage) -> None:
        now = time.time()
        kind = message.topic.rpartition("/")[2]
        if kind not in self.late_ms or message.retain:
            return
        envelope = json.loads(message.payload)
        data = envelope.get("data", envelope)
        if kind == "state":
            self.captured_at = data["at"]
        if kind == "alert" and data.get("phase") != "start":
            return  # an end is told when it is sure, not when it happened
        self.first_at = self.first_at or now
        self.late_ms[kind].append((now - data["at"]) * 1000)


@dataclass
class Watched:
    """`wakeful run` at work, and who listens to it.

    Attributes:
        ear: hears every message.
        process: the vehicle's.
        broker: which one is between them.
        began_at: when the process was begun, epoch seconds.
    """

    ear: Ear
    process: psutil.Process
    broker: str
    began_at: float


@contextmanager
def watched_vehicle(folder: Path) -> Iterator[Watched]:
    """The real process on a looped drive, warmed up.

    Args:
        folder: for the video, the configuration and the database.

    Raises:
        WakefulError: the process ended or told nothing.
    """
    video = _video(folder)
    with _broker(folder) as (port, broker), closing(Ear(port)) as ear:
        config = _config(folder, video, port)
        began_at = time.time()
        with _vehicle(config) as process:
            _wait_for_the_first(ear, process)
            time.sleep(WARM_UP_S)
            yield Watched(ear, psutil.Process(process.pid), broker, began_at)


def measure_stretch(watched: Watched, seconds: float) -> Stretch:
    """Processor time, memory and latency over some seconds from now.

    Raises:
        WakefulError: the process has ended.
    """
    process = watched.process
    try:
        watched.ear.forget()
        cpu_s, started_s = sum(process.cpu_times()[:2]), time.monotonic()
        captured_s = watched.ear.captured_at
        time.sleep(seconds)
        cpu_s = sum(process.cpu_times()[:2]) - cpu_s
        wall_s = time.monotonic() - started_s
        # Every frame of the film is watched, late or not: on a busy machine they are fewer.
        frames = (watched.ear.captured_at - captured_s) * FPS
        late_ms = watched.ear.late_ms
        memory = process.memory_full_info()
    except psutil.NoSuchProcess:
        raise WakefulError("bench: `wakeful run` ended while it was measured") from None
    return {
        "cores": cpu_s / wall_s,
        "frame_cpu_ms": cpu_s * 1000 / frames if frames > 0 else None,
        "watched_fps": frames / wall_s,
        "memory_mb": memory.uss / 2**20,
        "resident_mb": memory.rss / 2**20,
        "late_ms": {kind: _late(values) for kind, values in late_ms.items()},
    }


def measure_vehicle(folder: Path, seconds: float) -> VehicleFigures:
    """Start-up, memory, CPU share and latency of `wakeful run` on a looped drive.

    Args:
        folder: for the video, the configuration and the database.
        seconds: of counting, after the warm-up.

    Raises:
        WakefulError: the process ended or told nothing.
    """
    with watched_vehicle(folder) as watched:
        measured = measure_stretch(watched, seconds)
        torch = any("libtorch" in part.path for part in watched.process.memory_maps())
        start_s = (watched.ear.first_at or watched.began_at) - watched.began_at
    return {"broker": watched.broker, "fps": FPS, "start_s": start_s, "torch": torch, **measured}


def measure_soak(folder: Path, minutes: float, tell: Callable[[SoakStretch], None]) -> Soak:
    """The same for long, in `STRETCHES` stretches: memory must stay flat and latency where it is.

    Args:
        folder: as above.
        minutes: in all.
        tell: is given every stretch as soon as it is over.

    Raises:
        WakefulError: the process ended or told nothing.
    """
    stretches: list[SoakStretch] = []
    with watched_vehicle(folder) as watched:
        first = watched.process.memory_full_info()
        for number in range(1, STRETCHES + 1):
            stretch: SoakStretch = {
                **measure_stretch(watched, minutes * 60 / STRETCHES),
                "minute": minutes * number / STRETCHES,
                "load": os.getloadavg()[0],
                "threads": watched.process.num_threads(),
                "files": watched.process.num_fds(),
            }
            stretches.append(stretch)
            tell(stretch)
    return {
        "broker": watched.broker,
        "minutes": minutes,
        "start": {"memory_mb": first.uss / 2**20, "resident_mb": first.rss / 2**20},
        "stretches": stretches,
    }


def _late(values: list[float]) -> Percentiles:
    if not values:
        return {"n": 0}
    p50, p95, p99 = np.percentile(values, [50, 95, 99]).tolist()
    return {"p50": p50, "p95": p95, "p99": p99, "max": max(values), "n": len(values)}


def _video(folder: Path) -> Path:
    from models.synthesis import Portrait  # noqa: PLC0415
    from models.synthesis.drive import Drive  # noqa: PLC0415 - a second of imports
    from models.synthesis.film import animate, write_mp4  # noqa: PLC0415

    path = folder / "drive.mp4"
    write_mp4(path, (image for _, image in animate(Portrait(), Drive.parse(DRIVE), FPS)), FPS)
    return path


def _config(folder: Path, video: Path, port: int) -> Path:
    path = folder / "bench.yaml"
    values = {
        "vehicle": "bench",
        "cameras": [{"source": str(video), "realtime": True, "loop": True}],
        "mqtt": {"host": LOOPBACK, "port": port, "state_hz": STATES_PER_S, "discovery": False},
        "store": {"url": f"sqlite:///{folder / 'bench.db'}"},
        "chime": {"enabled": False},
    }
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


@contextmanager
def _vehicle(config: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = "from monitor.cli import main; main()"
    process = subprocess.Popen(  # noqa: S603 - our own command, no shell
        [sys.executable, "-c", command, "run", "--quiet", "--config", str(config)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**own_environment(), "WAKEFUL_HOME": str(config.parent)},
    )
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=20)


def _wait_for_the_first(ear: Ear, process: "subprocess.Popen[bytes]") -> None:
    end_s = time.monotonic() + START_S
    while ear.first_at is None:
        if process.poll() is not None or time.monotonic() > end_s:
            process.terminate()
            stderr = (process.communicate()[1] or b"").decode(errors="replace").strip().splitlines()
            raise WakefulError(f"bench: `wakeful run` told nothing: {stderr[-1] if stderr else ''}")
        time.sleep(0.01)


@contextmanager
def _broker(folder: Path) -> Iterator[tuple[int, str]]:
    """Mosquitto where there is one, as vehicles have; else the embedded broker."""
    binary = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if binary is None:
        with EmbeddedBroker(0) as embedded:
            yield embedded.port, "embedded (amqtt)"
        return
    with EmbeddedBroker(0) as embedded:
        port = embedded.port  # a free one
    config = folder / "mosquitto.conf"
    config.write_text(f"listener {port} {LOOPBACK}\nallow_anonymous true\n", encoding="utf-8")
    process = subprocess.Popen(  # noqa: S603 - a known program, no shell
        [binary, "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _wait_for_port(port)
        yield port, "Mosquitto"
    finally:
        process.terminate()
        process.wait(10)


def _wait_for_port(port: int) -> None:
    import socket  # noqa: PLC0415

    end_s = time.monotonic() + 10
    while time.monotonic() < end_s:
        with socket.socket() as probe:
            if probe.connect_ex((LOOPBACK, port)) == 0:
                return
        time.sleep(0.02)
    raise WakefulError("bench: Mosquitto does not come up")
