"""The documents of `wakeful bench`: what a contestant answers, and what `--json` writes."""

from typing import NotRequired, TypedDict


class Percentiles(TypedDict):
    """Of `n` values; a vehicle that told nothing has `n` alone."""

    p50: NotRequired[float]
    p95: NotRequired[float]
    p99: NotRequired[float]
    max: NotRequired[float]
    n: int


# --- a contestant's answers --------------------------------------------------------------------


class ContestantStart(TypedDict):
    """How a process started: seconds from its birth to the first result."""

    start_s: float
    memory_mb: float
    torch: bool
    how: list[str]


class ContestantTurn(TypedDict):
    """Frames as fast as they go: the ms of each, and of each call of a stage."""

    ms: list[float]
    wall_s: float
    cpu_s: float
    memory_mb: float
    stages: dict[str, list[float]]


class FlatOut(TypedDict):
    """Cameras as fast as they go."""

    frames: int
    wall_s: float
    cpu_s: float


class Paced(TypedDict):
    """Cameras at their own rate: how late each picture's answer was, and how many were skipped."""

    late_ms: list[float]
    skipped: int
    wall_s: float
    cpu_s: float


class CamerasTurn(TypedDict):
    """Several cameras in one process."""

    flat_out: FlatOut
    paced: Paced
    memory_mb: float


# --- the document ------------------------------------------------------------------------------


class ContestantFigures(TypedDict):
    """All turns of one contestant."""

    frames: int
    fps: float
    fps_of_rounds: list[float]
    frame_ms: Percentiles
    cpu_ms_per_frame: float
    cores: float
    memory_mb: float
    stages_ms: dict[str, Percentiles]
    start_s: float
    torch: bool
    how: list[str]


class PacedFigures(TypedDict):
    """Cameras at `fps`; `skipped` is a share."""

    fps: float
    cores: float
    skipped: float
    late_ms: Percentiles


class CamerasFigures(TypedDict):
    """So many cameras in one process; `fps` of all together."""

    cameras: int
    fps: float
    cores: float
    memory_mb: float
    paced: PacedFigures


class ModelFloor(TypedDict):
    """A model's arithmetic, the time it takes, and the time the machine's rate allows."""

    model: str
    input: str
    precision: str
    gflops: float
    ms: float
    floor_ms: float


class Roofline(TypedDict):
    """The ceilings of the device that runs the models."""

    device: str
    gflops_per_s: dict[str, float]
    copy_gb_per_s: float
    models: list[ModelFloor]


class BenchMachine(TypedDict):
    """What it was measured on."""

    cpu: str
    cores: int
    memory_gb: int
    load_before: float
    system: str
    python: str
    wakeful: str
    packages: dict[str, str | None]


class Stretch(TypedDict):
    """The whole process over some seconds; `late_ms` by kind of message."""

    cores: float
    frame_cpu_ms: float | None
    watched_fps: float
    memory_mb: float
    resident_mb: float
    late_ms: dict[str, Percentiles]


class VehicleFigures(Stretch):
    """The whole process from its start."""

    broker: str
    fps: float
    start_s: float
    torch: bool


class SoakStretch(Stretch):
    """One of the stretches of a soak."""

    minute: float
    load: float
    threads: int
    files: int


class Soak(TypedDict):
    """The whole process for long; `start` has memory in MB."""

    broker: str
    minutes: float
    start: dict[str, float]
    stretches: list[SoakStretch]


class SoakDocument(TypedDict):
    """What `--soak --json` writes."""

    made_at: str
    machine: BenchMachine
    soak: Soak


class BenchSettings(TypedDict):
    """How it was measured."""

    seconds: float
    rounds: int
    drive: str
    fps: float


class BenchDocument(TypedDict):
    """What `--json` writes."""

    made_at: str
    machine: BenchMachine
    settings: BenchSettings
    roofline: Roofline
    contestants: dict[str, ContestantFigures]
    ratios: dict[str, dict[str, float]]
    cameras: list[CamerasFigures]
    vehicle: NotRequired[VehicleFigures]
