"""Is everything there? One line a part: what it is, how it is, and the cure."""

import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

from monitor.addresses import redacted
from monitor.config import CameraConfig, Config, state_dir
from monitor.errors import WakefulError


class Verdict(StrEnum):
    """How a part is."""

    OK = "ok"
    NOTICE = "notice"  # the watch runs without it
    FAIL = "fail"  # the watch cannot do its job


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's."""

    part: str
    verdict: Verdict
    text: str
    cure: str = ""


def examine(config: Config) -> Iterator[Finding]:
    """Every part in turn; a part that breaks in an unforeseen way is a failure, not a crash."""
    checks: list[tuple[str, Callable[[], Finding]]] = [
        *((f"camera {c.id}", partial(_camera, c)) for c in config.cameras),
        ("policy", lambda: _policy(config)),
        ("landmarks", _landmarks),
        ("detector", lambda: _model(config.perception.detector, "detection")),
        ("eye state", lambda: _model(config.perception.eyes, "eyes")),
        ("expression", lambda: _model(config.perception.emotion, "expression")),
        ("broker", lambda: _broker(config)),
        ("database", lambda: _database(config)),
        ("disk", _disk),
        ("sound", lambda: _sound(config)),
        ("gpu", _gpu),
    ]
    for part, check in checks:
        try:
            yield check()
        except WakefulError as error:
            yield Finding(part, Verdict.FAIL, str(error))
        except Exception as error:  # noqa: BLE001 - the doctor examines whatever is broken
            yield Finding(part, Verdict.FAIL, f"{type(error).__name__}: {error}")


def _camera(camera: CameraConfig) -> Finding:
    from monitor.camera import open_source

    part, shown = f"camera {camera.id}", redacted(camera.source)
    with open_source(camera) as source:
        for frame in source:
            if frame.image is None:
                cure = "check the cable, the index or the URL; `wakeful run` keeps trying"
                return Finding(part, Verdict.FAIL, f"{shown}: no picture", cure)
            height, width = frame.image.shape[:2]
            return Finding(part, Verdict.OK, f"{shown}: {width}x{height}, {frame.condition.value}")
    return Finding(part, Verdict.FAIL, f"{shown}: ended before its first picture")


def _policy(config: Config) -> Finding:
    from monitor.policy import load_policy

    policy = load_policy(config.policy)
    return Finding("policy", Verdict.OK, f"{policy.id} ({policy.hash})")


def _landmarks() -> Finding:
    import mediapipe

    return Finding(
        "landmarks", Verdict.OK, f"mediapipe {mediapipe.__version__}, models in its wheel"
    )


def _model(choice: str | None, task: str) -> Finding:
    from models.registry import shipped

    part = {"detection": "detector", "eyes": "eye state", "expression": "expression"}[task]
    if choice is None:
        return Finding(part, Verdict.NOTICE, "switched off", f"set perception.{part} to auto")
    cards = shipped(task)  # type: ignore[arg-type]
    if choice == "auto" and not cards:
        return Finding(part, Verdict.NOTICE, "no weights ship with this build")
    names = ", ".join(card.id for card in cards) if choice == "auto" else choice
    return Finding(part, Verdict.OK, names)


def _broker(config: Config) -> Finding:
    mqtt = config.mqtt
    if not mqtt.enabled:
        return Finding("broker", Verdict.NOTICE, "switched off", "set mqtt.enabled to true")
    if mqtt.host == "embedded":
        return _free_port(mqtt.port)
    try:
        socket.create_connection((mqtt.host, mqtt.port), timeout=mqtt.connect_timeout_s).close()
    except OSError as error:
        cure = "start it or set mqtt.host and mqtt.port; alerts wait on disk until it is back"
        return Finding("broker", Verdict.NOTICE, f"{mqtt.host}:{mqtt.port}: {error}", cure)
    return Finding("broker", Verdict.OK, f"{mqtt.host}:{mqtt.port} answers")


def _free_port(port: int) -> Finding:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            cure = "a broker runs there already? set mqtt.host to 127.0.0.1; else another mqtt.port"
            return Finding("broker", Verdict.FAIL, f"port {port} is in use", cure)
    return Finding("broker", Verdict.OK, f"embedded, loopback port {port} is free")


def _database(config: Config) -> Finding:
    from monitor.store.database import shown, upgrade

    url = config.store.resolved_url()
    upgrade(url)
    return Finding("database", Verdict.OK, shown(url))


def _disk() -> Finding:
    folder = state_dir()
    folder.mkdir(parents=True, exist_ok=True)
    free_mb = shutil.disk_usage(folder).free / 1e6
    if free_mb < 200:
        return Finding("disk", Verdict.FAIL, f"{folder}: {free_mb:.0f} MB free", "free 200 MB")
    return Finding("disk", Verdict.OK, f"{folder}: {free_mb / 1000:.1f} GB free")


def _sound(config: Config) -> Finding:
    if not config.chime.enabled:
        return Finding("sound", Verdict.NOTICE, "switched off", "set chime.enabled to true")
    cure = "connect a speaker; without one the chime is silent and alerts go over MQTT alone"
    try:
        import sounddevice

        device = sounddevice.query_devices(config.chime.device, "output")
    except OSError:
        return Finding(
            "sound", Verdict.NOTICE, "no PortAudio library", f"install libportaudio2; {cure}"
        )
    except Exception as error:  # noqa: BLE001 - sounddevice's errors derive from Exception alone
        return Finding("sound", Verdict.NOTICE, str(error).strip(), cure)
    return Finding("sound", Verdict.OK, str(device["name"]))


def _gpu() -> Finding:
    from models.inference.backend import choose, this_machine

    machine = this_machine()
    choice = choose(machine)
    text = f"models run on {choice.runtime}, {choice.device}, {choice.precision} ({choice.why})"
    if machine.cuda:
        return Finding("gpu", Verdict.OK, f"NVIDIA; {text}")
    return Finding("gpu", Verdict.NOTICE, f"none; {text}")
