"""The whole watch on real pictures: animated drives and real faces, to the alert that goes out."""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from models.synthesis.drive import Drive
from monitor.app import Assembly
from monitor.config import CameraConfig, Config, load
from monitor.demo import MemorySink
from monitor.policy import load_policy
from monitor.replay import events_of
from monitor.scoring import intervals_of, score
from monitor.sinks.trace import read_trace
from monitor.store import recent_events
from monitor.types import KINDS, Event, Kind, Phase
from tests.support.paths import SHARED
from tests.support.servers import Mosquitto, until

VIDEO = SHARED / "video"
POLICY = load_policy("default")
# Landmarks alone: these stories are about the watch, whatever weights ship.
PERCEPTION = {"emotion": None}  # the eyes as they ship
ALERTING = {Kind.MICROSLEEP, Kind.SLEEP, Kind.UNRESPONSIVE, Kind.DROWSY}

needs_clips = pytest.mark.skipif(
    not VIDEO.is_dir(), reason="the real clips of ../shared/video are not here"
)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Config]:
    monkeypatch.setenv("WAKEFUL_HOME", str(tmp_path))

    def make(source: str, **sections: Any) -> Config:
        camera = CameraConfig(source=source, **sections.pop("camera", {}))
        defaults: dict[str, Any] = {
            "mqtt": {"enabled": False},
            "chime": {"enabled": False},
            "perception": PERCEPTION,
            "store": {"sample_every_s": 1.0},
        }
        return load(vehicle="test-car", cameras=(camera,), **{**defaults, **sections})

    return make


def watched(config: Config) -> list[Event]:
    memory = MemorySink()
    with Assembly(config, extra=(memory,)) as assembly:
        assembly.run()
    return memory.events


def closures(events: list[Event]) -> list[Event]:
    """The final word on each closure episode."""
    return [e for e in events if KINDS[e.kind].track == "closure" and e.phase is Phase.END]


@pytest.mark.parametrize("fps", [10.0, 30.0, 60.0])
def test_a_drive_gives_the_same_alerts_at_any_rate(
    settings: Callable[..., Config], fps: float
) -> None:
    script = (
        "attentive 5, closed 1.7, attentive 3, closed 3.6, attentive 3, look_away 5, attentive 3"
    )
    events = watched(settings("animated", camera={"script": script, "fps": fps}))
    result = score(intervals_of(Drive.parse(script).truth()), events, POLICY)
    assert result.perfect, [(e.name, f) for e, f in result.matches] + result.false
    for expected, event in result.matches:
        assert event is not None
        # Half of the lids' ramp of 0.2 s, one frame to see it, two to be sure. Euro NCAP 2026
        # allows 0.2 s: the fusion takes up to a tenth more, by chip and face (docs/eyes.md).
        tolerance_s = max(0.3, 0.1 + 3 / fps)
        if KINDS[event.kind].track == "closure":
            assert abs(event.at_s - expected.due_s) <= tolerance_s + 1e-6


def test_eyes_shut_then_the_head_drops_is_one_unbroken_alert(
    settings: Callable[..., Config],
) -> None:
    script = "attentive 6, closed 8 + nod 6 at=2 angle=40, attentive 4"
    events = watched(settings("animated", camera={"script": script, "fps": 15}))
    (episode,) = closures(events)
    assert episode.kind is Kind.UNRESPONSIVE
    assert episode.started_s == pytest.approx(6.0, abs=0.25)
    assert episode.at_s >= 6 + 8 - 2 / 15  # the lids are half open at 14 s


def test_eyes_shut_then_out_of_the_picture_is_one_unbroken_alert(
    settings: Callable[..., Config],
) -> None:
    script = "attentive 6, closed 8 + absent 5 at=2, attentive 4"
    events = watched(settings("animated", camera={"script": script, "fps": 15}))
    (episode,) = closures(events)
    assert episode.started_s == pytest.approx(6.0, abs=0.25)
    assert episode.at_s >= 6 + 8 - 2 / 15  # the lids are half open at 14 s


def test_a_recorded_trace_gives_the_same_events_byte_for_byte(
    settings: Callable[..., Config], tmp_path: Path
) -> None:
    from monitor.protocol.mapping import event_line

    folder = tmp_path / "traces"
    script = "attentive 5, closed 3.6, attentive 3"
    camera = {"script": script, "fps": 10}
    events = watched(settings("animated", camera=camera, trace={"enabled": True, "folder": folder}))
    header, given = read_trace(folder)
    again = events_of(given, POLICY, drive=header.drive, camera=header.camera, models=header.models)
    assert [event_line(e) for e in again] == [event_line(e) for e in events]
    assert events


def test_every_alert_is_in_the_log_when_the_watch_is_over(
    settings: Callable[..., Config], tmp_path: Path
) -> None:
    script = "attentive 5, closed 1.7, attentive 3"
    events = watched(settings("animated", camera={"script": script, "fps": 10}))
    logged = recent_events(f"sqlite:///{tmp_path / 'wakeful.db'}")
    assert {e.id for e in logged} == {e.id for e in events}
    assert all(e.phase is Phase.END for e in logged)


@pytest.mark.broker
def test_a_plain_subscriber_hears_the_alert_in_its_envelope(
    settings: Callable[..., Config], tmp_path: Path
) -> None:
    script = "attentive 5, closed 1.7, attentive 2"
    camera = {"script": script, "fps": 10}
    with (
        Mosquitto(tmp_path) as broker,
        subscribed(broker.port, "dms/v1/test-car/alert") as heard,
    ):
        events = watched(
            settings("animated", camera=camera, mqtt={"host": "127.0.0.1", "port": broker.port})
        )
        until(lambda: any(m["type"].endswith("cleared") for m in heard), what="cleared heard")
    first = heard[0]
    assert first["specversion"] == "1.0"
    assert first["type"] == "org.wakeful.alert.raised"
    assert first["source"] == "/vehicles/test-car/cameras/driver"
    assert {m["subject"] for m in heard} == {e.id for e in events}


@pytest.mark.broker
def test_a_broker_that_is_away_for_the_whole_drive_loses_nothing(
    settings: Callable[..., Config], tmp_path: Path
) -> None:
    script = "attentive 5, closed 1.7, attentive 2"
    broker = Mosquitto(tmp_path)
    mqtt = {"host": "127.0.0.1", "port": broker.port, "retry_s": (0.1, 0.2)}
    config = settings("animated", camera={"script": script, "fps": 10}, mqtt=mqtt)
    told = watched(config)  # nobody listens; the process ends
    with broker, subscribed(broker.port, "dms/v1/test-car/alert") as heard:
        calm = settings("animated", camera={"script": "attentive 1", "fps": 10}, mqtt=mqtt)
        watched(calm)  # the next start of the vehicle delivers what waited on disk
        until(lambda: len(heard) >= len(told), what="the backlog")
    assert [m["subject"] for m in heard] == [e.id for e in told]
    assert len({m["id"] for m in heard}) == len(told)


@contextmanager
def subscribed(port: int, topic: str) -> Iterator[list[dict[str, Any]]]:
    """`mosquitto_sub`, as a user would run it; yields what it has printed so far."""
    heard: list[dict[str, Any]] = []
    ready = threading.Event()
    command = ["stdbuf", "-oL", "mosquitto_sub", "-p", str(port), "-t", topic, "-q", "1", "-d"]

    def read(lines: Iterable[str]) -> None:
        for line in lines:
            if "SUBACK" in line:
                ready.set()
            elif line.startswith("{"):
                heard.append(json.loads(line))

    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        reader = threading.Thread(target=read, args=(process.stdout,))
        reader.start()
        try:
            assert ready.wait(10), "mosquitto_sub did not subscribe"
            yield heard
        finally:
            process.kill()
            reader.join()


@pytest.mark.shared
@needs_clips
def test_heavy_lids_and_a_fluttering_closure_are_one_episode(
    settings: Callable[..., Config],
) -> None:
    (episode,) = closures(watched(settings(str(VIDEO / "d14.mp4"))))
    # Shut from 5.0 to 6.45 s by what a person sees; the lids are heavy before and after, and no two
    # chips agree to the frame when that ends.
    assert 4.2 <= episode.started_s <= 5.5
    assert 6.2 <= episode.at_s <= 7.0


@pytest.mark.shared
@needs_clips
@pytest.mark.parametrize("clip", ["d6.mp4", "d11.mp4", "head-pose-face-detection-male.gif"])
def test_talking_blinking_people_raise_no_drowsiness(
    settings: Callable[..., Config], clip: str
) -> None:
    assert [e for e in watched(settings(str(VIDEO / clip))) if e.kind in ALERTING] == []


@pytest.mark.shared
@needs_clips
def test_eyes_lowered_to_look_down_are_not_asleep(settings: Callable[..., Config]) -> None:
    events = watched(settings(str(VIDEO / "d3.mp4")))
    assert [e for e in events if e.kind in {Kind.SLEEP, Kind.UNRESPONSIVE}] == []


def test_the_frame_loop_on_the_cpu_never_imports_a_training_framework(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from monitor.app import Assembly\n"
        "from monitor.config import CameraConfig, load\n"
        "camera = CameraConfig(source='animated', script='attentive 1', fps=5)\n"
        "off = {'enabled': False}\n"
        "with Assembly(load(cameras=(camera,), mqtt=off, chime=off)) as assembly:\n"
        "    assembly.run()\n"
        "print([m for m in ('torch', 'ultralytics', 'streamlit') if m in sys.modules])\n"
    )
    environment = {"WAKEFUL_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True
    )
    assert done.stdout.strip().endswith("[]")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_drive_in_order(tmp_path: Path, number: signal.Signals) -> None:
    """Killed in the middle of a closure: the alert is closed and logged, the exit is clean."""
    (tmp_path / "drive.yaml").write_text(
        "mqtt: {enabled: false}\nchime: {enabled: false}\n"
        "perception: {detector: null, eyes: null, emotion: null}\n"
        "cameras: [{source: animated, fps: 10, realtime: true, "
        "script: 'attentive 3, closed 3000'}]\n"
    )
    command = [sys.executable, "-m", "monitor", "run", "--config", "drive.yaml", "--events", "-"]
    environment = {"WAKEFUL_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        first = json.loads(process.stdout.readline())
        process.send_signal(number)
        last = json.loads(process.stdout.read().splitlines()[-1])
    assert process.returncode == 0
    assert (first["phase"], last["phase"], last["id"]) == ("start", "end", first["id"])
    (logged,) = recent_events(f"sqlite:///{tmp_path / 'wakeful.db'}")
    assert logged.phase is Phase.END
