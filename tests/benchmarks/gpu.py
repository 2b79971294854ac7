"""A GPU's ten minutes: tests, speed, and the study's two networks at full size, into one folder.

    make gpu OUT=results MINUTES=10                      on a machine with an NVIDIA GPU
    python -m tests.benchmarks.gpu --out O --rehearse    the same in miniature, on a CPU

Steps that learn share the time that is left; each ends in a report on RAF-DB's test split. A step
that fails is written down and the next one runs. `steps.json` says what each step was, how long it
took and how it ended; its output lies beside in `STEP.log`.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from tests.support.paths import ROOT, SHARED

# Kept back of the whole for evaluating what was learned.
EVALUATING_SHARE = 0.15
# No step may take longer than this share of the whole, however it hangs.
LONGEST_SHARE = 0.6
# Faces that a rehearsal learns from and is measured on.
REHEARSED_FACES = 28


@dataclass(frozen=True, slots=True)
class Lesson:
    """A training.

    Attributes:
        model, recipe: as `wakeful models train` takes them.
        starts: runs of earlier lessons whose weights fill a part of the model.
        weight: of the time that is left for learning, relatively.
    """

    model: str
    recipe: str
    starts: tuple[str, ...] = ()
    weight: float = 1.0


# POSTER V2's image branch and FDRL's backbone are taught as plain classifiers first.
LESSONS = (
    Lesson("ir50", "ir50_rafdb", weight=2.0),
    Lesson("poster_v2", "poster_v2_rafdb", ("ir50",), weight=3.0),
    Lesson("resnet18", "resnet18_rafdb"),
    Lesson("fdrl", "fdrl_rafdb", ("resnet18",)),
)


@dataclass(frozen=True, slots=True)
class Step:
    """What was run, how long it took, and its exit status; None where it ran out of time."""

    name: str
    command: tuple[str, ...]
    seconds: float
    status: int | None


class TenMinutes:
    """Runs the steps and keeps the books.

    Args:
        out: folder for everything.
        minutes: for all of it.
        data: RAF-DB.
        landmarks: MobileFaceNet for POSTER V2's landmark branch; None leaves it untrained.
        rehearse: a few faces, one camera, a CPU.
    """

    def __init__(
        self, out: Path, minutes: float, data: Path, landmarks: Path | None, *, rehearse: bool
    ) -> None:
        self.out, self.data, self.landmarks, self.rehearse = out, data, landmarks, rehearse
        self.total_s, self.began_s = 60 * minutes, time.monotonic()
        self.steps: list[Step] = []

    def run(self) -> None:
        """All steps, one after another."""
        (self.out / "reports").mkdir(parents=True, exist_ok=True)
        self.step("tests", [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "tests/models"])
        self.step("bench", self._wakeful("bench", *self._bench()))
        for number, lesson in enumerate(LESSONS):
            weights = sum(later.weight for later in LESSONS[number:])
            left_s = self.left_s - EVALUATING_SHARE * self.total_s
            self.step(
                f"train_{lesson.model}", self._train(lesson, left_s * lesson.weight / weights)
            )
        for lesson in LESSONS:
            self.step(f"evaluate_{lesson.model}", self._evaluate(lesson))
        self.step("table", self._wakeful(
            "models", "compare", "--results", str(self.out / "reports"), "--markdown",
        ))  # fmt: skip

    @property
    def left_s(self) -> float:
        """Seconds of the whole that are left, at least a few: a late step may still say why."""
        return max(self.total_s - (time.monotonic() - self.began_s), 5.0)

    def step(self, name: str, command: Sequence[str]) -> None:
        """Run one command into its log; what goes wrong is written down."""
        began = time.monotonic()
        # A rehearsal is for the commands, not for the clock.
        limit_s = None if self.rehearse else min(self.left_s, LONGEST_SHARE * self.total_s)
        with (self.out / f"{name}.log").open("w", encoding="utf-8") as log:
            try:
                status: int | None = subprocess.run(
                    command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, timeout=limit_s,
                    check=False,
                ).returncode  # fmt: skip
            except subprocess.TimeoutExpired:
                status = None
        step = Step(name, tuple(command), round(time.monotonic() - began, 1), status)
        self.steps.append(step)
        (self.out / "steps.json").write_text(
            json.dumps([asdict(done) for done in self.steps], indent=1) + "\n", encoding="utf-8"
        )
        typer.echo(f"{name}: {step.seconds:.0f} s, {_ended(status)}")

    def _wakeful(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "monitor", *words]

    def _bench(self) -> Iterator[str]:
        yield from ("--json", str(self.out / "bench.json"), "--vehicle", "0")
        if self.rehearse:
            yield from ("--cameras", "0", "--seconds", "0.2", "--rounds", "1", "--only", "shipped")
        else:
            yield from ("--cameras", "64", "--rounds", "2")

    def _train(self, lesson: Lesson, seconds: float) -> list[str]:
        words = ["models", "train", lesson.model, "--data", str(self.data)]
        words += ["--recipe", lesson.recipe, "--into", str(self.out / lesson.model), "--resume"]
        for start in lesson.starts:
            words += ["--weights", str(self.out / start / "best.safetensors")]
        if lesson.model == "poster_v2" and self.landmarks is not None:
            words += ["--weights", str(self.landmarks)]
        if self.rehearse:
            faces = str(REHEARSED_FACES)
            return self._wakeful(*words, "--faces", faces, "--epochs", "1", "--batch", "7")
        return self._wakeful(*words, "--minutes", f"{seconds / 60:.2f}", "--workers", "8")

    def _evaluate(self, lesson: Lesson) -> list[str]:
        run, report = self.out / lesson.model, self.out / "reports" / f"{lesson.model}.json"
        words = ["models", "evaluate", lesson.model, "--data", str(self.data), "--split", "test"]
        words += ["--weights", str(run / "best.safetensors"), "--trained-in", str(run)]
        words += ["--json", str(report), "--threads", "none"]
        if self.rehearse:
            words += ["--faces", str(REHEARSED_FACES), "--no-robustness"]
        return self._wakeful(*words)


def _ended(status: int | None) -> str:
    return "out of time" if status is None else "done" if status == 0 else f"failed ({status})"


def main(
    out: Annotated[Path, typer.Option(help="Folder for weights, curves, reports and logs.")],
    minutes: Annotated[float, typer.Option(min=0.1, help="For everything together.")] = 10.0,
    data: Annotated[Path, typer.Option(help="RAF-DB: its folder, or one parquet file.")] = SHARED
    / "data"
    / "rafdb.parquet",
    landmarks: Annotated[
        Path | None, typer.Option(help="MobileFaceNet for the landmark branch.")
    ] = SHARED / "weights" / "mobilefacenet.xml",
    rehearse: Annotated[bool, typer.Option(help="In miniature, on a CPU.")] = False,
) -> None:
    """Everything a GPU is wanted for, in the minutes given."""
    if not data.exists():
        raise typer.BadParameter(f"{data}: no RAF-DB there; give --data")
    if landmarks is not None and not landmarks.exists():
        typer.echo(f"{landmarks}: not there; POSTER V2's landmark branch stays untrained")
        landmarks = None
    run = TenMinutes(out.resolve(), minutes, data.resolve(), landmarks, rehearse=rehearse)
    run.run()
    raise typer.Exit(any(step.status != 0 for step in run.steps if step.name != "tests"))


if __name__ == "__main__":
    typer.run(main)
