"""`wakeful bench`: how fast the watch is on this machine, beside what it would be otherwise.

Contestants run in turns, round after round, in processes of their own (`bench.contestants`):
whatever else the machine does meets all of them. Only ratios carry over to other machines.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from pathlib import Path
from typing import Annotated, Self

import numpy as np
import psutil
import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from models import extras
from models.inference.cache import own_environment
from monitor import __version__
from monitor.bench.contestants import FPS, NAMES, random_poster
from monitor.bench.figures import (
    BenchDocument,
    BenchMachine,
    CamerasFigures,
    CamerasTurn,
    ContestantFigures,
    ContestantStart,
    ContestantTurn,
    ModelFloor,
    Percentiles,
    Roofline,
    SoakDocument,
    SoakStretch,
)
from monitor.bench.report import draw_plot, print_report, print_soak, stretch_line
from monitor.config import LogConfig
from monitor.errors import ConfigError, WakefulError
from monitor.logs import configure_logging, natives_silenced

DRIVE = "attentive 3, blink, talk 2, closed 1.6, look_away 1.5, yawn 2"
# Enough for every state of the drive to come round, few enough to stay in memory.
FRAMES = 240


def bench(
    seconds: Annotated[float, typer.Option(min=0.2, help="Of each contestant's turn.")] = 2.0,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of every contestant.")] = 5,
    only: Annotated[
        list[str] | None, typer.Option(help=f"Contestants: {', '.join(NAMES)}. Again for more.")
    ] = None,
    cameras: Annotated[
        int, typer.Option(min=0, help="Also 1, 2, 4 ... cameras, up to so many; 0 skips them.")
    ] = 8,
    vehicle: Annotated[
        float, typer.Option(min=0, help="Seconds of the whole process at 30 fps; 0 skips it.")
    ] = 30.0,
    soak: Annotated[
        float,
        typer.Option(min=0, help="Nothing but the whole process at 30 fps for so many minutes."),
    ] = 0.0,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write every figure there.", show_default=False)
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw the result as a PNG.", show_default=False)
    ] = None,
) -> None:
    """Measure the watch on this machine: speed, memory, latency to MQTT, and the naive loop beside.

    The animated driver is the input, 640x480. Nothing else should be running.
    """
    names = tuple(only or NAMES)
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        raise ConfigError(f"--only {unknown[0]}: no such contestant; there are {', '.join(NAMES)}")
    if set(names) - {"shipped"} and not soak:
        extras.require("torch", "ultralytics")
    console = Console()
    logging = LogConfig(level="warning")
    configure_logging(logging)
    with (
        natives_silenced(logging),
        _progress(console) as progress,
        tempfile.TemporaryDirectory(prefix="wakeful-") as folder,
    ):
        if soak:
            soaked = _soaked(progress, Path(folder), soak)
        else:
            result = measure(
                progress, Path(folder), names, seconds, rounds, doubling(cameras), vehicle
            )
    if soak:
        print_soak(console, soaked)
    else:
        print_report(console, result)
    if json_file is not None:
        _write(json_file, json.dumps(soaked if soak else result, indent=2) + "\n")
    if plot is not None and not soak:
        draw_plot(result, plot)


def _soaked(progress: Progress, folder: Path, minutes: float) -> SoakDocument:
    from monitor.bench.vehicle import measure_soak  # noqa: PLC0415 - brings the broker along

    step = progress.add_task("starting the whole process at 30 fps")

    def tell(stretch: SoakStretch) -> None:
        progress.console.print(stretch_line(stretch), highlight=False)
        progress.update(step, description=f"at 30 fps, {minutes:g} minutes in all")

    return {
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "soak": measure_soak(folder, minutes, tell),
    }


def measure(
    progress: Progress,
    folder: Path,
    names: Sequence[str],
    seconds: float,
    rounds: int,
    cameras: Sequence[int],
    vehicle_s: float,
) -> BenchDocument:
    """Everything, as one document."""
    from monitor.bench.vehicle import measure_vehicle  # noqa: PLC0415 - brings the broker along

    step = progress.add_task("")
    frames = _render(folder, lambda text: progress.update(step, description=text))
    progress.update(step, description="measuring the machine's own rates")
    result: BenchDocument = {
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "settings": {"seconds": seconds, "rounds": rounds, "drive": DRIVE, "fps": FPS},
        "roofline": _roofline(),
        "contestants": {},
        "ratios": {},
        "cameras": [],
    }
    with ExitStack() as stack:
        racers: dict[str, RacerProcess] = {}
        for name in names:
            progress.update(step, description=f"starting {name}")
            racers[name] = stack.enter_context(RacerProcess(name, frames))
        turns: dict[str, list[ContestantTurn]] = {name: [] for name in names}
        for number in range(rounds):
            for name, racer in racers.items():
                progress.update(step, description=f"round {number + 1} of {rounds}: {name}")
                turns[name].append(racer.run(seconds))
        for name, racer in racers.items():
            result["contestants"][name] = summary(racer.ready, turns[name])
    result["ratios"] = ratios(result["contestants"])
    for count in cameras:
        progress.update(step, description=f"{count} camera(s) in one process")
        with RacerProcess("shipped", frames) as racer:
            turn = racer.cameras(count, max(seconds, 1.0) * 2)
        result["cameras"].append(_cameras_figures(count, turn))
    if vehicle_s:
        progress.update(step, description="the whole process at 30 fps, down to MQTT")
        result["vehicle"] = measure_vehicle(folder, vehicle_s)
    return result


class RacerProcess:
    """A contestant's process: started, asked, ended.

    Raises:
        WakefulError: it broke; its last line is told.
    """

    def __init__(self, name: str, frames: Path) -> None:
        self._name = name
        if name.startswith("poster") and not random_poster().is_file():
            self._run_prepare()
        self._words = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the process
        self._process = subprocess.Popen(  # noqa: S603 - our own module, no shell
            [sys.executable, "-m", "monitor.bench.contestants", name, str(frames)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._words,
            text=True,
            env=own_environment(),
        )
        self.ready: ContestantStart = json.loads(self._answer())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def run(self, seconds: float) -> ContestantTurn:
        """A turn of so many seconds."""
        turn: ContestantTurn = json.loads(self._ask("run", seconds=seconds))
        return turn

    def cameras(self, number: int, seconds: float) -> CamerasTurn:
        """A turn with so many cameras in the process."""
        turn: CamerasTurn = json.loads(self._ask("cameras", number=number, seconds=seconds))
        return turn

    def _ask(self, what: str, **arguments: float) -> str:
        assert self._process.stdin is not None  # noqa: S101 - a pipe was asked for
        self._process.stdin.write(json.dumps({"do": what, **arguments}) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> str:
        assert self._process.stdout is not None  # noqa: S101 - a pipe was asked for
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._words.seek(0)
            stderr = self._words.read().strip().splitlines()
            self._close()
            raise WakefulError(f"bench: {self._name} broke: {stderr[-1] if stderr else 'no word'}")
        return line

    def _close(self) -> None:
        """End of commands: the process ends by itself."""
        if self._process.stdout is not None and not self._process.stdout.closed:
            self._process.communicate()
        self._words.close()

    def _run_prepare(self) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "monitor.bench.contestants", "prepare"],
            capture_output=True,
            text=True,
            check=False,
            env=own_environment(),
        )
        if done.returncode:
            raise WakefulError(f"bench: POSTER V2 cannot be made: {done.stderr.splitlines()[-1]}")


def summary(start: ContestantStart, turns: Sequence[ContestantTurn]) -> ContestantFigures:
    """Start-up, rates and percentiles of all turns of one contestant."""
    stages: dict[str, list[float]] = {}
    for turn in turns:
        for stage, took_ms in turn["stages"].items():
            stages.setdefault(stage, []).extend(took_ms)
    took_ms = [value for turn in turns for value in turn["ms"]]
    wall_s = sum(turn["wall_s"] for turn in turns)
    cpu_s = sum(turn["cpu_s"] for turn in turns)
    return {
        "frames": len(took_ms),
        "fps": len(took_ms) / wall_s,
        "fps_of_rounds": [len(turn["ms"]) / turn["wall_s"] for turn in turns],
        "frame_ms": percentiles(took_ms),
        "cpu_ms_per_frame": cpu_s / len(took_ms) * 1000,
        "cores": cpu_s / wall_s,
        "memory_mb": max(turn["memory_mb"] for turn in turns),
        "start_s": start["start_s"],
        "torch": start["torch"],
        "how": start["how"],
        "stages_ms": {stage: percentiles(values) for stage, values in stages.items()},
    }


def percentiles(values: Sequence[float]) -> Percentiles:
    """Median, 95th and 99th percentile, and of how many."""
    p50, p95, p99 = np.percentile(values, [50, 95, 99]).tolist()
    return {"p50": p50, "p95": p95, "p99": p99, "n": len(values)}


def ratios(contestants: Mapping[str, ContestantFigures]) -> dict[str, dict[str, float]]:
    """How many times the frames of either naive loop each of ours makes."""
    return {
        name: {
            naive: ours["fps"] / contestants[naive]["fps"]
            for naive in ("naive", "naive-threads")
            if naive in contestants
        }
        for name, ours in contestants.items()
        if not name.startswith("naive")
    }


def doubling(most: int) -> tuple[int, ...]:
    """1, 2, 4 and so on, and `most` itself."""
    return tuple(2**k for k in range(most.bit_length()) if 2**k < most) + (most,) * bool(most)


def _cameras_figures(cameras: int, turn: CamerasTurn) -> CamerasFigures:
    flat, paced = turn["flat_out"], turn["paced"]
    looked = len(paced["late_ms"])
    return {
        "cameras": cameras,
        "fps": flat["frames"] / flat["wall_s"],
        "cores": flat["cpu_s"] / flat["wall_s"],
        "memory_mb": turn["memory_mb"],
        "paced": {
            "fps": FPS,
            "cores": paced["cpu_s"] / paced["wall_s"],
            "skipped": paced["skipped"] / max(looked + paced["skipped"], 1),
            "late_ms": percentiles(paced["late_ms"] or [float("inf")]),
        },
    }


def _roofline() -> Roofline:
    """The ceilings of the device that runs the models, and each one's floor beside its time."""
    from models.inference.cache import derived  # noqa: PLC0415
    from monitor.bench.roofline import gflops_of, measure_rates  # noqa: PLC0415
    from monitor.config import PerceptionConfig  # noqa: PLC0415
    from monitor.perception.networks import open_parts  # noqa: PLC0415 - loads the models

    networks = open_parts(PerceptionConfig()).networks
    rates = measure_rates(networks[0].choice.device if networks else "cpu")
    models: list[ModelFloor] = []
    for network in networks:
        # Torch runs no graph; the one that other runtimes would run needs the same arithmetic.
        made_of = network.card, network.weights, network.input_hw, network.feed
        gflops = gflops_of(network.graph or derived(*made_of), network.input_hw)
        took_ms = float(np.median(network.times_s(200))) * 1000
        rate = rates.gflops.get(network.choice.precision, rates.gflops["fp32"])
        height, width = network.input_hw
        models.append(
            {
                "model": network.card.name,
                "input": f"{width}x{height}",
                "precision": network.choice.precision,
                "gflops": gflops,
                "ms": took_ms,
                "floor_ms": gflops / rate * 1000,
            }
        )
    return {
        "device": rates.device,
        "gflops_per_s": rates.gflops,
        "copy_gb_per_s": rates.copy_gb_s,
        "models": models,
    }


def machine() -> BenchMachine:
    """What it was measured on."""
    return {
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(psutil.virtual_memory().total / 2**30),
        "load_before": os.getloadavg()[0],
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "wakeful": __version__,
        "packages": {name: _version(name) for name in ("openvino", "torch", "mediapipe")},
    }


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or "unknown"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _render(folder: Path, tell: Callable[[str], None]) -> Path:
    from models.synthesis import Portrait  # noqa: PLC0415
    from models.synthesis.drive import Drive  # noqa: PLC0415 - a second of imports
    from models.synthesis.film import animate  # noqa: PLC0415

    images = []
    for number, (_, image) in enumerate(
        islice(animate(Portrait(), Drive.parse(DRIVE), FPS), FRAMES)
    ):
        tell(f"animating the driver: {number + 1} of {FRAMES} pictures")
        images.append(image)
    path = folder / "frames.npy"
    np.save(path, np.stack(images))
    return path


@contextmanager
def _progress(console: Console) -> Iterator[Progress]:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        yield progress


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--json {path}: cannot be written ({error.strerror})") from None
