"""Is everything there? One line a part: what it is, how it is, and the cure.

Each part is opened by the very code that `run` opens it with: what is fine here starts there.
"""

import shutil
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Literal

from monitor.addresses import redacted, shown_host
from monitor.clock import fault_of
from monitor.config import CameraConfig, Config, MqttConfig, state_dir
from monitor.errors import BrokerError, ConfigError, WakefulError

# How the doctor calls each model of the settings.
_MODEL_PARTS = {"detector": "detector", "eyes": "eye state", "emotion": "expression"}


class Verdict(StrEnum):
    """How a part is."""

    OK = "ok"
    NOTICE = "notice"  # the watch runs without it
    FAIL = "fail"  # the watch cannot do its job


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the doctor's."""

    part: str
    verdict: Verdict
    text: str
    cure: str = ""


def examine(config: Config, only: Collection[str] = ()) -> Iterator[Check]:
    """Every part in turn; a part that breaks in an unforeseen way is a failure, not a crash.

    Args:
        config: the effective configuration.
        only: the parts to look at; all if empty.
    """
    checks: list[tuple[str, Callable[[], Check]]] = [
        *((f"camera {c.id}", partial(_camera, c)) for c in config.cameras),
        ("policy", lambda: _policy(config)),
        ("landmarks", _landmarks),
        ("detector", lambda: _model(config, "detector")),
        ("eye state", lambda: _model(config, "eyes")),
        ("expression", lambda: _model(config, "emotion")),
        ("broker", lambda: _broker(config)),
        ("database", lambda: _database(config)),
        ("disk", _disk),
        ("clock", _clock),
        ("sound", lambda: _sound(config)),
        ("gpu", _gpu),
    ]
    for part, check in checks:
        if only and part not in only:
            continue
        try:
            yield check()
        except WakefulError as error:
            yield Check(part, Verdict.FAIL, str(error))
        except Exception as error:  # noqa: BLE001 - the doctor examines whatever is broken
            yield Check(part, Verdict.FAIL, f"{type(error).__name__}: {error}")


def _camera(camera: CameraConfig) -> Check:
    from monitor.camera import open_source

    part, shown = f"camera {camera.id}", redacted(camera.source)
    with open_source(camera) as source:
        for frame in source:
            if frame.image is None:
                cure = "check the cable, the index or the URL; `wakeful run` keeps trying"
                return Check(part, Verdict.FAIL, f"{shown}: no picture", cure)
            height, width = frame.image.shape[:2]
            text = f"{shown}: {width}x{height}, {frame.condition.value}"
            if source.notice:
                return Check(part, Verdict.NOTICE, f"{text}; {source.notice}")
            return Check(part, Verdict.OK, text)
    return Check(part, Verdict.FAIL, f"{shown}: ended before its first picture")


def _policy(config: Config) -> Check:
    from monitor.policy import load_policy

    policy = load_policy(config.policy)
    return Check("policy", Verdict.OK, f"{policy.id} ({policy.hash})")


def _landmarks() -> Check:
    from models.inference.mediapipe_import import mediapipe

    version = mediapipe().__version__
    return Check("landmarks", Verdict.OK, f"mediapipe {version}, models in its wheel")


def _model(config: Config, setting: Literal["detector", "eyes", "emotion"]) -> Check:
    """Loads it as the watch will, so that what `run` refuses is refused here."""
    from monitor.perception.networks import open_parts

    part = _MODEL_PARTS[setting]
    choice = getattr(config.perception, setting)
    if choice is None:
        return Check(part, Verdict.NOTICE, "switched off", f"set perception.{setting} to auto")
    others = {name: None for name in _MODEL_PARTS if name != setting}
    parts = open_parts(config.perception.model_copy(update=others))
    loaded = getattr(parts, setting)
    if loaded is None:
        return Check(part, Verdict.NOTICE, "no weights ship with this build")
    try:
        return Check(part, Verdict.OK, loaded.card.id)
    finally:
        loaded.close()


def _broker(config: Config) -> Check:
    """Signs in as the watch will, under a name of its own, so that a running watch stays."""
    from monitor.sinks.mqtt.broker import broker_for

    if not config.mqtt.enabled:
        return Check("broker", Verdict.NOTICE, "switched off", "set mqtt.enabled to true")
    mqtt, embedded = broker_for(config.mqtt)
    try:
        _sign_in(mqtt, config.vehicle)
    except ConfigError:
        raise
    except BrokerError as error:
        cure = "alerts wait on disk until it is back"
        return Check("broker", Verdict.FAIL, str(error), cure)
    finally:
        if embedded is not None:
            embedded.close()
    where = shown_host(mqtt.host, mqtt.port)
    text = f"embedded, loopback port {mqtt.port}" if embedded else f"{where} lets us in"
    return Check("broker", Verdict.OK, text)


def _sign_in(mqtt: MqttConfig, vehicle: str) -> None:
    from monitor.protocol import messages
    from monitor.protocol.schemas import Availability
    from monitor.protocol.topics import Topics
    from monitor.sinks.mqtt.connection import Connection, ProtocolError

    will = messages.available(Topics(mqtt.prefix, vehicle), Availability.OFFLINE)
    versions = {"auto": (True, False), "5": (True,), "3.1.1": (False,)}[mqtt.protocol]
    for modern in versions:
        try:
            # Closed with a goodbye: its will is never sent.
            Connection(mqtt, f"wakeful-{vehicle}-doctor", will, lambda: None, modern=modern).close()
        except ProtocolError:
            if modern is versions[-1]:
                raise
        else:
            return


def _database(config: Config) -> Check:
    from monitor.store import open_store
    from monitor.store.database import shown

    store = open_store(config)
    try:
        trouble = store.trouble()
    finally:
        store.close()
    where = shown(config.store.resolved_url())
    if trouble:
        cure = "alerts are sent all the same, and written once it can be"
        return Check("database", Verdict.FAIL, trouble, cure)
    return Check("database", Verdict.OK, where)


def _clock() -> Check:
    fault = fault_of(time.time())
    if fault is None:
        return Check("clock", Verdict.OK, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
    cure = "set it, or let NTP: alerts are dated by it; what began before is dated anew then"
    return Check("clock", Verdict.NOTICE, fault, cure)


def _disk() -> Check:
    folder = state_dir()
    folder.mkdir(parents=True, exist_ok=True)
    free_mb = shutil.disk_usage(folder).free / 1e6
    if free_mb < 200:
        return Check("disk", Verdict.FAIL, f"{folder}: {free_mb:.0f} MB free", "free 200 MB")
    return Check("disk", Verdict.OK, f"{folder}: {free_mb / 1000:.1f} GB free")


def _sound(config: Config) -> Check:
    if not config.chime.enabled:
        return Check("sound", Verdict.NOTICE, "switched off", "set chime.enabled to true")
    cure = "connect a speaker; without one the chime is silent and alerts go over MQTT alone"
    try:
        import sounddevice

        device = sounddevice.query_devices(config.chime.device, "output")
    except OSError:
        return Check(
            "sound", Verdict.NOTICE, "no PortAudio library", f"install libportaudio2; {cure}"
        )
    except Exception as error:  # noqa: BLE001 - sounddevice's errors derive from Exception alone
        return Check("sound", Verdict.NOTICE, str(error).strip(), cure)
    return Check("sound", Verdict.OK, str(device["name"]))


def _gpu() -> Check:
    from models.inference.backend import choose, this_machine

    machine = this_machine()
    choice = choose(machine)
    text = f"models run on {choice.runtime}, {choice.device}, {choice.precision} ({choice.why})"
    if machine.cuda:
        return Check("gpu", Verdict.OK, f"NVIDIA; {text}")
    return Check("gpu", Verdict.NOTICE, f"none; {text}")
