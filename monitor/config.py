"""Every setting, its default and its limits.

Precedence, strongest first: command line, `WAKEFUL_` environment (nested with `__`, as in
`WAKEFUL_MQTT__PASSWORD`), the YAML file, the defaults here. `configs/default.yaml` is this
schema's own dump and a test keeps it so. A wrong key is answered with its dotted path and the
nearest right one.
"""

import os
import re
import secrets
import textwrap
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)
from pydantic_core import to_jsonable_python
from pydantic_settings import SettingsConfigDict

from monitor.addresses import host_and_port, redacted, scheme_of
from monitor.errors import ConfigError
from monitor.settings import Settings, load_as
from monitor.types import HeadPose, Kind

ENV_PREFIX = "WAKEFUL_"


def state_dir() -> Path:
    """Where the store, traces and caches live: `$WAKEFUL_HOME`, else the XDG state folder."""
    home = os.environ.get("WAKEFUL_HOME")
    if home:
        return Path(home).expanduser()
    base = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(base).expanduser() / "wakeful"


# Ids become topic segments and file names, so nothing else is let in.
IDENTIFIER = "[A-Za-z0-9_-]{1,64}"
Identifier = Annotated[str, Field(pattern=rf"^{IDENTIFIER}$")]
Seconds = Annotated[float, Field(ge=0, le=86_400 * 366, allow_inf_nan=False)]
# `null` in YAML; the environment knows only text.
_NONE = frozenset({"", "null", "none", "off", "no", "false"})
ModelName = Annotated[
    str | None,
    BeforeValidator(lambda v: None if v is False or str(v).strip().lower() in _NONE else v),
]
# A camera may be written as the number 0 in YAML and is a string everywhere else.
SourceUrl = Annotated[str, BeforeValidator(lambda v: str(v) if isinstance(v, int) else v)]


class Section(BaseModel):
    """A part of the configuration: unknown keys are refused, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class Mount(Section):
    """Where a camera sees a driver who looks at the road, degrees: yaw + own left, pitch + up."""

    yaw_deg: float = Field(0.0, ge=-60, le=60)
    pitch_deg: float = Field(0.0, ge=-45, le=45)


class CameraConfig(Section):
    """One camera that looks at a driver."""

    id: Identifier = Field("driver", description="Name in topics and in the log.")
    source: SourceUrl = Field(
        "0",
        description="Device (0, /dev/video0, /dev/v4l/by-id/...), video file, GIF, folder of "
        "pictures, URL (rtsp, rtsps, rtmp, http, https, udp, tcp, srt), or `animated` for the "
        "animated driver.",
    )
    fps: float | None = Field(
        None,
        gt=0,
        le=240,
        description="Rate asked of a device; rate of a folder of pictures or of a video without "
        "times of its own (raw .h264, .hevc, .mjpeg).",
    )
    width_px: int | None = Field(None, ge=16, le=7680, description="Width asked of a device.")
    height_px: int | None = Field(None, ge=16, le=4320, description="Height asked of a device.")
    open_timeout_s: Seconds = Field(5.0, description="Give up opening a stream after this long.")
    read_timeout_s: Seconds = Field(3.0, description="A stream silent this long is lost.")
    retry_s: tuple[Seconds, Seconds] = Field(
        (1.0, 30.0), description="Reconnect back-off: first and longest pause."
    )
    loop: bool = Field(False, description="Start a file again at its end.")
    realtime: bool = Field(False, description="Play a file at its own rate instead of at once.")
    script: str | None = Field(None, description="Drive script of the animated driver.")
    portrait: Path | None = Field(None, description="Face of the animated driver.")
    drivers_zone: tuple[float, float, float, float] = Field(
        (0.0, 0.0, 1.0, 1.0),
        description="Where the driver's face may be: x1, y1, x2, y2 as shares of the picture.",
    )
    mount: Mount | None = Field(
        None,
        description="Head pose of a driver who looks at the road, as this camera sees it: mount: "
        "{yaw_deg: 30, pitch_deg: -5} for a camera by the mirror. Learned where it is not given.",
    )
    mirrored: bool = Field(False, description="The camera delivers a mirror image.")
    rotate: Annotated[
        Literal[0, 90, 180, 270],
        BeforeValidator(lambda v: v % 360 if isinstance(v, int) else v),
    ] = Field(
        0,
        description="Degrees clockwise that turn the picture upright: 180 for a camera that hangs "
        "upside down.",
    )
    pixel_aspect: float | None = Field(
        None,
        ge=0.25,
        le=4,
        description="Width of a pixel over its height; null takes what the file or stream says.",
    )

    @property
    def mount_pose(self) -> HeadPose | None:
        """`mount` as a head pose."""
        return None if self.mount is None else HeadPose(self.mount.yaw_deg, self.mount.pitch_deg, 0)


class PerceptionConfig(Section):
    """How a frame is looked at."""

    detector: ModelName = Field(
        "auto",
        description="Awake/sleep detector: `auto` (shipped weights if there are any), a registered "
        "model, a path, or null for landmarks alone.",
    )
    emotion: ModelName = Field(
        "auto", description="Expression model: `auto`, a registered model, a path, or null."
    )
    eyes: ModelName = Field(
        "auto", description="Eye-state model: `auto`, a registered model, a path, or null."
    )
    emotion_hz: float = Field(5.0, ge=0, le=60, description="Looks at the expression a second.")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Where models run.")
    runtime: Literal["auto", "openvino", "onnxruntime", "torch"] = Field("auto")
    precision: Literal["auto", "fp32", "bf16", "fp16", "int8"] = Field("auto")
    threads: int = Field(0, ge=0, le=256, description="Inference threads; 0 decides by the cores.")
    detector_input_px: int | None = Field(
        None,
        ge=64,
        le=1280,
        multiple_of=32,
        description="Side of the detector's first look; null is the size that it was trained at.",
    )
    detector_hz: float = Field(
        5.0,
        gt=0,
        le=240,
        description="Looks of the detector a second at a face that does not move; it always looks "
        "where lids or head have moved.",
    )
    still_hz: float = Field(
        15.0,
        ge=5,
        le=240,
        description="Looks a second at a driver who does not move; frames on which the eyes have "
        "changed are always looked at. 240 looks at every frame.",
    )
    min_score: float = Field(0.25, ge=0, le=1, description="Detections below it are dropped.")


class MqttConfig(Section):
    """Where alerts are told."""

    enabled: bool = True
    host: str = Field(
        "embedded", description="`embedded` starts a broker on loopback; else a host name."
    )
    port: int = Field(1883, ge=0, le=65535, description="0 lets the embedded broker choose.")
    prefix: str = Field("dms/v1", pattern=r"^[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*$")
    username: str | None = None
    password: SecretStr | None = Field(None, description="Better in WAKEFUL_MQTT__PASSWORD.")
    password_file: Path | None = Field(None, description="File that holds the password alone.")
    tls: bool = False
    ca_file: Path | None = None
    cert_file: Path | None = Field(None, description="Client certificate.")
    key_file: Path | None = None
    protocol: Literal["auto", "5", "3.1.1"] = Field(
        "auto", description="`auto` tries MQTT 5 and falls back to 3.1.1."
    )
    keepalive_s: int = Field(15, ge=5, le=3600)
    connect_timeout_s: Seconds = 5.0
    retry_s: tuple[Seconds, Seconds] = (1.0, 60.0)
    will_delay_s: int = Field(10, ge=0, le=3600, description="MQTT 5 will delay, against flapping.")
    state_hz: float = Field(1.0, gt=0, le=10, description="Retained state messages a second.")
    stats_every_s: Seconds = 60.0
    discovery: bool = Field(True, description="Tell Home Assistant what there is.")
    discovery_prefix: str = "homeassistant"
    confirm: Literal["broker", "application"] = Field(
        "broker",
        description="What ends an alert's delivery: the broker's PUBACK (a hobbyist) or the "
        "ingester's own acknowledgement (a fleet: nothing is lost if the broker dies).",
    )
    resend_s: Seconds = Field(3.0, description="Send again what was not confirmed by then.")
    max_payload_bytes: int = Field(65_536, ge=1024, le=268_435_455)

    @model_validator(mode="before")
    @classmethod
    def _address(cls, values: object) -> object:
        """`host` may be written as people have it: with a scheme, a port, as IPv6."""
        if not isinstance(values, dict) or not isinstance(values.get("host"), str):
            return values
        return values | broker_address(values["host"], "host", values.get("port"))


# What each scheme of a broker's address means: whether TLS, and the usual port.
_BROKER_SCHEMES = {
    "": (None, None),
    "mqtt": (None, 1883),
    "tcp": (None, 1883),
    "mqtts": (True, 8883),
    "ssl": (True, 8883),
    "tls": (True, 8883),
}


def broker_address(text: str, setting: str, port: object = None) -> dict[str, object]:
    """`mqtts://[::1]:8883` and its like as settings of `mqtt`.

    Args:
        text: what was given.
        setting: its name, for the message.
        port: given apart; it counts.

    Raises:
        ValueError: no host, another scheme, two ports: one line.
    """
    scheme = scheme_of(text)
    if scheme not in _BROKER_SCHEMES:
        raise ValueError(
            f"{setting}: {redacted(text)!r}: MQTT over {scheme} is not spoken; use mqtt:// or "
            "mqtts://"
        )
    try:
        host, own_port = host_and_port(text, setting)
    except ConfigError as error:
        raise ValueError(str(error)) from None
    tls, usual_port = _BROKER_SCHEMES[scheme]
    broker: dict[str, object] = {"host": host}
    chosen = port if port is not None else own_port if own_port is not None else usual_port
    if chosen is not None:
        broker["port"] = chosen
    return broker | ({"tls": tls} if tls else {})


class StoreConfig(Section):
    """The event log."""

    url: str = Field(
        "", description="SQLAlchemy URL; empty is SQLite `wakeful.db` in the state folder."
    )
    sample_every_s: Seconds = Field(5.0, description="A row of the driver's state this often.")
    samples_keep_days: float = Field(14, gt=0, le=3650)
    events_keep_days: float = Field(730, gt=0, le=36500)
    keep_days: dict[Kind, Annotated[float, Field(gt=0, le=36500)]] = Field(
        {}, description="Days for single kinds of events where fewer, as in {degraded: 90}."
    )
    max_bytes: int = Field(
        1_000_000_000,
        ge=1_000_000,
        description="SQLite only: beyond it the oldest samples go, then the oldest alerts.",
    )
    outbox_keep_days: float = Field(
        30,
        gt=0,
        le=3650,
        description="Undelivered alerts older than this are dropped, counted and told.",
    )
    outbox_max_bytes: int = Field(64_000_000, ge=100_000)
    coverage_every_s: Seconds = Field(600.0, description="Report monitored time this often.")

    def resolved_url(self) -> str:
        """The URL to open, with the default filled in."""
        return self.url or f"sqlite:///{state_dir() / 'wakeful.db'}"


class ChimeConfig(Section):
    """The sound in the cabin. Frequencies lie in 200-8000 Hz (EU 2021/1341, 3.4.2)."""

    enabled: bool = True
    volume: float = Field(0.6, ge=0, le=1)
    device: str | None = Field(None, description="Output device; null is the system's own.")
    min_level: Literal["info", "caution", "warning", "critical"] = "caution"


class TraceConfig(Section):
    """One JSON line an observation: replays to the same events, holds no picture."""

    enabled: bool = False
    folder: Path | None = Field(None, description="Null is `traces` in the state folder.")
    rotate_bytes: int = Field(20_000_000, ge=10_000)
    keep_bytes: int = Field(1_000_000_000, ge=10_000)


class ClipsConfig(Section):
    """Pictures around an event. Off unless switched on; sent only where `send` allows it."""

    enabled: bool = False
    folder: Path | None = Field(None, description="Null is `clips` in the state folder.")
    before_s: Seconds = 8.0
    after_s: Seconds = 4.0
    fps: float = Field(10.0, gt=0, le=60)
    width_px: int = Field(480, ge=64, le=3840)
    min_level: Literal["info", "caution", "warning", "critical"] = "warning"
    keep_days: float = Field(7, gt=0, le=365)
    keep_bytes: int = Field(2_000_000_000, ge=1_000_000)
    blur_faces: bool = False
    send: bool = Field(
        False, description="Send the clip of an alert to the fleet when somebody there asks for it."
    )


def _topic_filter(topic: str | None) -> str | None:
    """A filter that a broker takes (MQTT 5, 4.7.1): wildcards stand alone in their level."""
    if topic is None or not topic.strip():
        return None
    levels = topic.split("/")
    wild = any(("+" in level or "#" in level) and len(level) > 1 for level in levels)
    if wild or "#" in levels[:-1] or "\0" in topic or len(topic.encode()) > 65_535:
        raise ValueError(
            "no MQTT topic filter: + and # stand alone between slashes, # only at the end, as "
            "in car/+/speed"
        )
    return topic


TopicFilter = Annotated[str | None, AfterValidator(_topic_filter)]


class SpeedConfig(Section):
    """The one optional input: how fast the vehicle goes."""

    topic: TopicFilter = Field(
        None, description="MQTT topic with VSS Vehicle.Speed in km/h, a number or JSON."
    )
    stale_s: Seconds = Field(5.0, description="A speed older than this is unknown.")


class DriverConfig(Section):
    """Who drives: a pseudonym or the id of a shift from your own roster, never from the face."""

    id: Identifier | None = Field(None, description="Fixed, for a vehicle of one driver.")
    topic: TopicFilter = Field(
        None,
        description="MQTT topic that tells the id when a shift begins: the bare id or JSON with "
        "VSS Vehicle.Driver.Identifier.Subject; an empty message makes the driver unknown.",
    )


class PositionConfig(Section):
    """Where the vehicle is, on alerts and samples; nothing is kept without a topic."""

    topic: TopicFilter = Field(
        None,
        description="MQTT topic with JSON of VSS Vehicle.CurrentLocation.Latitude and .Longitude "
        "(or latitude, longitude; or lat, lon) in degrees.",
    )
    decimals: int = Field(
        3, ge=0, le=6, description="Rounded to so many decimals: 3 are some 100 m, 2 some 1 km."
    )
    stale_s: Seconds = Field(30.0, description="A position older than this is unknown.")


class LogConfig(Section):
    """The process's own log."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "console", "json"] = "auto"


class Config(Settings):
    """The whole tree, as `wakeful config` prints it."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX)
    other_variables = tuple(
        f"{ENV_PREFIX}{name}" for name in ("HOME", "CACHE", "FLEET_", "DASHBOARD_", "METRICS")
    )

    vehicle: Identifier = Field(
        "auto",
        description="The vehicle's id in topics and payloads; `auto` makes one at the first start "
        "and keeps it in the state folder.",
    )
    policy: str = Field(
        "default",
        description="Thresholds: `default`, `euro-ncap-2026`, `euro-ncap-2023`, or a file.",
    )
    cameras: tuple[CameraConfig, ...] = (CameraConfig(),)
    perception: PerceptionConfig = PerceptionConfig()
    speed: SpeedConfig = SpeedConfig()
    driver: DriverConfig = DriverConfig()
    position: PositionConfig = PositionConfig()
    chime: ChimeConfig = ChimeConfig()
    mqtt: MqttConfig = MqttConfig()
    store: StoreConfig = StoreConfig()
    trace: TraceConfig = TraceConfig()
    clips: ClipsConfig = ClipsConfig()
    log: LogConfig = LogConfig()

    @model_validator(mode="before")
    @classmethod
    def _without_metrics(cls, values: dict[str, object]) -> dict[str, object]:
        """Files of version 0.1.0 have a section that never did anything: a vehicle must start."""
        return {name: value for name, value in values.items() if name != "metrics"}

    @model_validator(mode="after")
    def _own_topics(self) -> Self:
        topics = [t for t in (self.speed.topic, self.driver.topic, self.position.topic) if t]
        if len(set(topics)) < len(topics):
            raise ValueError("speed.topic, driver.topic and position.topic must differ")
        return self

    @field_validator("cameras")
    @classmethod
    def _distinct(cls, cameras: tuple[CameraConfig, ...]) -> tuple[CameraConfig, ...]:
        ids = [camera.id for camera in cameras]
        if not ids or len(set(ids)) < len(ids):
            raise ValueError("give at least one camera, each with an id of its own")
        return cameras


def load(path: Path | None = None, **overrides: object) -> Config:
    """The effective configuration.

    Args:
        path: YAML file; None for defaults and environment only.
        overrides: top-level sections from the command line, strongest.

    Raises:
        ConfigError: unreadable file, broken YAML, unknown key or wrong value: one line a fault.
    """
    config = load_as(Config, path, overrides)
    if config.vehicle != "auto":
        return config
    return config.model_copy(update={"vehicle": own_vehicle_id(state_dir() / "vehicle-id")})


def own_vehicle_id(file: Path) -> str:
    """This machine's own id, made at its first start: two vehicles of one id throw each other out.

    Args:
        file: where it is kept; where nothing can be written, the id comes from the machine's own.
    """
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with file.open("x", encoding="ascii") as new:
            new.write(f"vehicle-{secrets.token_hex(4)}\n")
    except FileExistsError:
        pass
    except OSError:
        return f"vehicle-{uuid.getnode():012x}"
    kept = file.read_text(encoding="ascii", errors="replace").strip()
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", kept):
        raise ConfigError(f"{file}: holds no id; remove it, or set `vehicle`")
    return kept


def dump(config: Config, *, comments: bool = False) -> str:
    """The tree as YAML that `load` reads back; secrets are masked.

    Args:
        config: what to print.
        comments: put each setting's meaning in front of it.
    """
    return "".join(f"{line}\n" for line in _yaml_lines(config, comments))


def _yaml_lines(section: BaseModel, comments: bool, indent: str = "") -> Iterator[str]:
    for name, info in type(section).model_fields.items():
        value = getattr(section, name)
        if comments and info.description:
            yield from textwrap.wrap(
                info.description, 96, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# "
            )
        if isinstance(value, BaseModel):
            yield f"{indent}{name}:"
            yield from _yaml_lines(value, comments, indent + "  ")
        elif isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
            yield f"{indent}{name}:"
            for item in value:
                first, *rest = _yaml_lines(item, comments, indent + "    ")
                yield f"{indent}  - {first.strip()}"
                yield from rest
        else:
            yield f"{indent}{name}: {_scalar(value)}"


def _scalar(value: object) -> str:
    plain = to_jsonable_python(value)
    if isinstance(plain, str):
        plain = redacted(plain)  # an address may hold a password
    return yaml.safe_dump(plain, default_flow_style=True, width=1000).removesuffix("...\n").strip()
