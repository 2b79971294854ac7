"""Several cameras in one process: a driver each, told apart from the picture to the broker."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monitor.app import Assembly
from monitor.config import Config, load
from monitor.demo import MemorySink
from monitor.protocol import messages
from monitor.protocol.messages import Topics
from monitor.sinks.mqtt.cameras import PATIENCE_S, Cameras, Pace
from monitor.store import recent_events
from monitor.types import Command, DriverState, Frame, Kind, Level
from tests.monitor.test_mqtt import Listener, vehicle, watching
from tests.support.events import NOW, step
from tests.support.servers import Mosquitto, until

pytestmark = pytest.mark.broker

SLEEPER, AWAKE = "attentive 4, closed 2.6, attentive 2", "attentive 7"
LANDMARKS = {"detector": None, "eyes": None, "emotion": None}


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path) as broker:
        yield broker


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A test bench: the settings of a process with an animated driver before every camera."""
    monkeypatch.setenv("WAKEFUL_HOME", str(tmp_path))

    def make(port: int, **drivers: str) -> Config:
        return load(
            vehicle="car-7",
            cameras=tuple(
                {"id": camera, "source": "animated", "script": script, "fps": 10}
                for camera, script in drivers.items()
            ),
            perception=LANDMARKS,
            chime={"enabled": False},
            mqtt={"host": "127.0.0.1", "port": port, "state_hz": 10},
            trace={"enabled": True, "folder": tmp_path / "traces"},
        )

    return make


def run(config: Config) -> MemorySink:
    memory = MemorySink()
    with Assembly(config, extra=(memory,)) as assembly:
        assembly.run()
    return memory


def frame(camera: str, at_s: float) -> Frame:
    return Frame(np.zeros((4, 6, 3), np.uint8), at_s, NOW + at_s, round(at_s * 30), camera)


def state(at_s: float, level: Level = Level.NONE) -> DriverState:
    return DriverState(at_s, NOW + at_s, level=level)


def test_each_camera_has_its_own_driver_down_to_the_broker(
    mosquitto: Mosquitto, rig: Any, tmp_path: Path
) -> None:
    config = rig(mosquitto.port, left=SLEEPER, right=AWAKE)
    with Listener(mosquitto.port) as listener:
        memory = run(config)
        until(lambda: listener.on("available")[-1:] == [b"stopped"], what="the end")
    own = {camera: listener.on(f"camera/{camera}/state") for camera in ("left", "right")}
    for camera, told in own.items():
        assert {json.loads(one)["camera"] for one in told} == {camera}
        assert listener.on(f"camera/{camera}/status")[:1] == [b"online"]
    asleep = [json.loads(one)["level"] != "none" for one in own["left"]]
    assert any(asleep)
    assert not any(json.loads(one)["open_alerts"] for one in own["right"])
    # The vehicle's own state is that of the driver who is worst off.
    assert {json.loads(one)["camera"] for one in listener.on("state") if b"micro" in one} == {
        "left"
    }
    assert {event.camera for event in memory.events if event.kind is Kind.MICROSLEEP} == {"left"}
    alerts = [alert.data for alert in listener.alerts() if alert.data.kind is Kind.MICROSLEEP]
    assert {alert.camera for alert in alerts} == {"left"}
    logged = recent_events(config.store.resolved_url())
    assert {one.camera for one in logged if one.kind is Kind.MICROSLEEP} == {"left"}
    assert len(list((tmp_path / "traces").glob("*_left.*"))) == 1
    assert len(list((tmp_path / "traces").glob("*_right.*"))) == 1


def test_cameras_learn_their_drivers_apart(mosquitto: Mosquitto, rig: Any) -> None:
    config = rig(mosquitto.port, short="attentive 3", long="attentive 9")
    with Listener(mosquitto.port) as listener:
        run(config)
        until(lambda: listener.on("available")[-1:] == [b"stopped"], what="the end")
    learnt = {
        camera: json.loads(listener.on(f"camera/{camera}/state")[-1])["calibration"]["percent"]
        for camera in ("short", "long")
    }
    assert 0 < learnt["short"] < learnt["long"]


def test_one_camera_s_topics_are_as_ever(mosquitto: Mosquitto, rig: Any) -> None:
    with Listener(mosquitto.port) as listener:
        run(rig(mosquitto.port, driver="attentive 2"))
        until(lambda: listener.on("available")[-1:] == [b"stopped"], what="the end")
    assert listener.on("state")
    assert listener.on("camera/driver/status")
    assert not listener.on("camera/driver/state")


def test_a_command_to_one_camera_is_obeyed_by_it_alone(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    config = vehicle(tmp_path, mosquitto.port)
    both = config.model_copy(
        update={"cameras": tuple(config.cameras[0].model_copy(update={"id": c}) for c in "ab")}
    )
    topics = Topics("dms/v1", both.vehicle)
    with watching(both) as (_, sink), Listener(mosquitto.port) as operator:
        sink.on_step(step(frame("a", 0.0), state(0.0)))
        until(lambda: operator.on("camera/a/state"), what="subscribed")
        operator.ask(topics.command("warnings", "b"), b"OFF")
        operator.ask(topics.command("calibrate", "nobody"))
        operator.ask(topics.command("calibrate", "b"))
        operator.ask(topics.command("ack"))
        taken: list[Command] = []

        def acknowledged() -> bool:
            taken.extend(sink.take_commands("b"))
            return Command.ACKNOWLEDGE in taken

        until(acknowledged, what="the last command")
        assert sink.take_commands("a") == [Command.ACKNOWLEDGE]
    assert taken == [Command.RECALIBRATE, Command.ACKNOWLEDGE]


def test_a_camera_that_breaks_ends_nobody_else_s_watch(
    mosquitto: Mosquitto, rig: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = MemorySink()
    config = rig(mosquitto.port, left=AWAKE, right=SLEEPER)
    with Assembly(config, extra=(memory,)) as assembly:
        broken = assembly.watches["left"]

        def torn() -> None:
            raise OSError("the cable is torn")

        monkeypatch.setattr(broken, "run", torn)
        with pytest.raises(OSError, match="cable"):
            assembly.run()
        assert assembly.troubles()["camera left"] == "the cable is torn"
        assert assembly.watches["right"].pulse.over
    assert {event.camera for event in memory.events if event.kind is Kind.MICROSLEEP} == {"right"}


# --- whose turn it is to be told -----------------------------------------------------------------


def test_a_state_is_told_with_the_frame_that_is_due() -> None:
    cameras = Cameras(["driver"], state_hz=10)
    assert cameras.see(frame("driver", 0.0), state(0.0), 100.0)
    assert [name for name, _, _ in cameras.states(100.0)] == ["driver"]
    woken = [cameras.see(frame("driver", n / 30), state(n / 30), 100.0 + n / 30) for n in (1, 2, 3)]
    assert woken == [False, False, True]
    ((_, told, of_vehicle),) = cameras.states(100.1)
    assert told.timestamp_s == pytest.approx(0.1)
    assert of_vehicle


@pytest.mark.parametrize("fps", [7.0, 15.0, 30.0, 60.0])
def test_the_rate_of_states_holds_at_any_camera_s(fps: float) -> None:
    pace, told = Pace(every_s=0.25), 0
    for n in range(round(20 * fps)):
        now = state(n / fps)
        if pace.due(now, 50.0 + n / fps):
            pace.tell(now, 50.0 + n / fps)
            told += 1
    assert told == pytest.approx(20 / 0.25, rel=0.1)


def test_a_state_waits_for_no_frame_that_does_not_come() -> None:
    pace = Pace(every_s=1.0)
    assert pace.wait_s(None, 50.0) is None
    assert pace.wait_s(state(0.0), 50.0) == 0.0
    pace.tell(first := state(0.0), 50.0)
    assert pace.wait_s(first, 50.5) is None
    assert pace.wait_s(state(0.1), 50.5) == pytest.approx(0.5 + PATIENCE_S)


def test_several_cameras_are_told_apart_and_the_most_urgent_as_the_vehicle_s() -> None:
    cameras = Cameras(["a", "b"], state_hz=1)
    cameras.see(frame("a", 0.0), state(0.0), 10.0)
    cameras.see(frame("b", 0.0), state(0.0, Level.WARNING), 10.0)
    told = [(name, of_vehicle) for name, _, of_vehicle in cameras.states(10.0)]
    assert told == [("b", True), ("a", False), ("b", False)]
    assert list(cameras.states(10.0)) == []
    assert dict(cameras.statuses()).keys() == {"a", "b"}


def test_a_payload_of_another_camera_is_refused() -> None:
    topics = Topics("dms/v1", "car-7")
    told = messages.state(topics, state(0.0), camera="a", drive="d", policy="p", apart=True)
    assert told.topic == topics.camera_state("a")
    assert told.retain
    assert messages.read(topics.parse(told.topic), told.payload)
    with pytest.raises(ValueError, match="camera a on the topic of b"):
        messages.read(topics.parse(topics.camera_state("b")), told.payload)
    for forged in ("camera/../state", "camera/a/cmd/x y", "camera/a/cmd/ack/more"):
        with pytest.raises(ValueError, match="not one of ours"):
            topics.parse(f"dms/v1/car-7/{forged}")
