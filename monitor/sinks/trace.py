"""The trace: everything an engine was given, one JSON line a frame; no picture is in it.

A gzip file of lines: first a header, then an observation each with the vehicle's speed and the
commands given. Floats are written so that they read back exactly, so a replay is the same to the
byte. Written through every second, so that what a killed process leaves can still be read up to
there; continued in parts by size; the oldest files go when all together are too many.
"""

import gzip
import json
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import structlog

from monitor import __version__
from monitor.config import TraceConfig, state_dir
from monitor.errors import SourceError
from monitor.protocol.mapping import event_line
from monitor.sinks.base import Sink, Step
from monitor.sinks.line_writer import LineWriter
from monitor.types import (
    Box,
    CameraCondition,
    Command,
    Detection,
    Emotion,
    EyeProbabilities,
    HeadPose,
    Observation,
    Quality,
)

__all__ = ["TraceHeader", "TraceWriter", "event_line", "observation_line", "read_trace"]

log = structlog.get_logger(__name__)

# Version 1 had one probability of closed eyes for both; it is still read.
VERSION = 2
SUFFIX = ".jsonl.gz"
FLUSH_S = 1.0
LONGEST_LINE = 1_000_000

Given = tuple[Observation, float | None, tuple[Command, ...]]


@dataclass(frozen=True, slots=True)
class TraceHeader:
    """Whose trace it is and what was watching.

    Attributes:
        policy: name or file, as it was set; `policy_hash` tells which thresholds it had.
        part: 0 for the first file of a drive, then 1, 2, ...
        mount: (yaw, pitch) in degrees of looking at the road, where the camera's mount was set.
    """

    vehicle: str
    drive: str
    camera: str
    policy: str
    policy_hash: str = ""
    models: tuple[str, ...] = ()
    software: str = __version__
    started_at: float = 0.0
    part: int = 0
    version: int = VERSION
    mount: tuple[float, float] | None = None

    @property
    def mount_pose(self) -> HeadPose | None:
        """`mount` as a head pose."""
        return None if self.mount is None else HeadPose(*self.mount, 0.0)


class TraceWriter(Sink):
    """Records one camera's drive.

    Args:
        config: the folder and its limits.
        header: whose it is.
    """

    name = "trace"

    def __init__(self, config: TraceConfig, header: TraceHeader) -> None:
        self._config = config
        self._header = asdict(header)
        started = time.strftime("%Y%m%dT%H%M%S", time.gmtime(header.started_at))
        self._stem = f"{started}_{header.vehicle}_{header.drive}_{header.camera}"
        self._part = header.part
        self._file: gzip.GzipFile | None = None
        self._flushed_s = time.monotonic()
        self.folder = config.folder or state_dir() / "traces"
        self._lines = LineWriter(
            "trace", self._write, idle=self._flush, finish=self._finish, limit=5_000
        )

    @property
    def path(self) -> Path:
        """The file being written."""
        return self.folder / f"{self._stem}.{self._part:04d}{SUFFIX}"

    @property
    def waiting(self) -> int:
        """Lines that are not taken up yet."""
        return self._lines.waiting

    def on_step(self, step: Step) -> None:
        """Write down what the engine was given. Returns at once."""
        self._lines.put(observation_line(step.observation, step.speed_kmh, step.commands))

    def trouble(self) -> str | None:
        """What is wrong with the writing."""
        return self._lines.trouble()

    def close(self) -> None:
        """Write what is waiting."""
        self._lines.close()

    def _write(self, lines: list[str]) -> None:
        file = self._file or self._begin()
        file.write("".join(f"{line}\n" for line in lines).encode())
        if time.monotonic() - self._flushed_s >= FLUSH_S:
            self._flush()
        if self.path.stat().st_size >= self._config.rotate_bytes:
            self._finish()
            self._part += 1

    def _begin(self) -> gzip.GzipFile:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._make_room()
        self._file = gzip.GzipFile(self.path, "wb", compresslevel=5)
        header = json.dumps({**self._header, "part": self._part})
        self._file.write(f"{header}\n".encode())
        return self._file

    def _flush(self) -> None:
        if self._file is not None:
            self._file.flush()
        self._flushed_s = time.monotonic()

    def _finish(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _make_room(self) -> None:
        # The parts of a drive may be of the same instant to the file system: then their names tell.
        files = sorted(
            self.folder.glob(f"*{SUFFIX}"), key=lambda file: (file.stat().st_mtime_ns, file.name)
        )
        excess = sum(file.stat().st_size for file in files) - self._config.keep_bytes
        for file in files:
            if excess <= 0:
                break
            excess -= file.stat().st_size
            file.unlink()


def observation_line(
    observation: Observation, speed_kmh: float | None = None, commands: Sequence[Command] = ()
) -> str:
    """One JSON line without its line end; fields that are unknown are left out."""
    values = {
        name: _encoded(getattr(observation, name)) for name in Observation.__dataclass_fields__
    }
    values["speed_kmh"] = speed_kmh
    values["commands"] = [command.value for command in commands]
    present = {name: value for name, value in values.items() if value is not None and value != []}
    return json.dumps(present, separators=(",", ":"), default=_unknown)


def read_trace(path: Path) -> tuple[TraceHeader, Iterator[Given]]:
    """A trace's header and what the engine was given, the drive's later parts included.

    A file that ends in the middle, left by a killed process, is read up to there with a notice.

    Args:
        path: a part of a trace (reading starts there), or a folder (its latest drive).

    Raises:
        SourceError: not there, not a trace, or of a newer version; while iterating, a line that
            is not an observation.
    """
    first = _latest(path) if path.is_dir() else path
    lines = _lines(first)
    header = _header(first, next(lines, None))
    if header.part:
        log.warning("trace begins in the middle of a drive", file=first.name, part=header.part)
    return header, _given(first, header, lines)


def _given(first: Path, header: TraceHeader, lines: Iterator[tuple[int, str]]) -> Iterator[Given]:
    file, part = first, header.part
    while True:
        for number, line in lines:
            yield _parsed(file, number, line)
        part += 1
        file = first.with_name(first.name.replace(f".{header.part:04d}.", f".{part:04d}."))
        if file == first or not file.exists():
            return
        lines = _lines(file)
        _header(file, next(lines, None))


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    number = 0
    try:
        with gzip.open(path, "rb") as file:
            while line := file.readline(LONGEST_LINE):
                if not line.endswith(b"\n"):
                    break
                number += 1
                yield number, line.decode()
            else:
                return
    except EOFError:
        pass
    except (OSError, zlib.error, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SourceError(f"{path}: cannot be read as a trace ({reason})") from None
    log.warning("trace ends in the middle; read up to there", file=str(path), line=number)


def _header(path: Path, first: tuple[int, str] | None) -> TraceHeader:
    try:
        values = json.loads(first[1]) if first else {}
        if values.get("version", 0) > VERSION:
            raise SourceError(f"{path}: a trace of a newer version ({values['version']})")
        return TraceHeader(**{**values, "models": tuple(values["models"])})
    except (ValueError, TypeError, KeyError, AttributeError):
        raise SourceError(f"{path}: is not a trace; its first line must be a header") from None


def _parsed(path: Path, number: int, line: str) -> Given:
    try:
        values = json.loads(line)
        speed_kmh = values.pop("speed_kmh", None)
        commands = tuple(Command(name) for name in values.pop("commands", ()))
        values |= _eyes_of_version_1(values.pop("closed", None))
        decoded = {name: _DECODERS.get(name, _same)(value) for name, value in values.items()}
        return Observation(**decoded), speed_kmh, commands
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise SourceError(f"{path}: line {number}: not an observation ({error})") from None


def _latest(folder: Path) -> Path:
    files = sorted(folder.glob(f"*.0000{SUFFIX}")) or sorted(folder.glob(f"*{SUFFIX}"))
    if not files:
        raise SourceError(f"{folder}: holds no trace; record one with `wakeful run --trace DIR`")
    return files[-1]


def _encoded(value: object) -> object:
    encode = _ENCODERS.get(type(value))
    return encode(value) if encode else value


def _unknown(value: np.generic) -> object:
    # A numpy scalar that slipped in.
    return value.item()


def _same(value: object) -> object:
    return value


def _eyes_of_version_1(closed: float | None) -> dict[str, list[float]]:
    """Version 1 wrote one `closed` of both eyes, and knew neither lowered nor hidden ones."""
    if closed is None:
        return {}
    eye = [1 - closed, closed, 0.0, 0.0]
    return {"eye_left": eye, "eye_right": eye}


_ENCODERS: dict[type, Callable[[Any], object]] = {
    Box: lambda v: [v.x1, v.y1, v.x2, v.y2],
    HeadPose: lambda v: [v.yaw_deg, v.pitch_deg, v.roll_deg],
    Detection: lambda v: [_encoded(v.box), v.awake, v.sleep, v.yawn],
    EyeProbabilities: lambda v: [v.open, v.closed, v.lowered, v.not_visible],
    Emotion: lambda v: [v.label, v.probability, [list(pair) for pair in v.probabilities]],
    Quality: lambda v: [v.brightness, v.contrast, v.sharpness, v.face_height_px],
    tuple: list,
}
_DECODERS: dict[str, Callable[[Any], Any]] = {
    "condition": CameraCondition,
    "size_px": tuple,
    "face": lambda v: Box(*v),
    "pose": lambda v: HeadPose(*v),
    "detection": lambda v: Detection(Box(*v[0]), *v[1:]),
    "eye_left": lambda v: EyeProbabilities(*v),
    "eye_right": lambda v: EyeProbabilities(*v),
    "emotion": lambda v: Emotion(v[0], v[1], tuple((n, p) for n, p in v[2])),
    "quality": lambda v: Quality(*v),
    "errors": tuple,
}
