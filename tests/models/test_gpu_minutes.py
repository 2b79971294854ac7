"""`make gpu`, rehearsed: the same command, a few made faces, no GPU."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from models.registry import RAF_LABELS
from models.report import load_reports
from tests.benchmarks.gpu import LESSONS, TenMinutes
from tests.models.test_data import picture
from tests.support.paths import ROOT


def made_raf_db(path: Path, each: int = 12) -> Path:
    """Pictures of one grey a class, a hash of their own each, in RAF-DB's columns."""
    rows = [
        (split, f"{split}_{label}_{i}.jpg", picture(30 * number + i, side=20), label)
        for split in ("train", "test")
        for number, label in enumerate(RAF_LABELS)
        for i in range(each)
    ]
    columns = zip(("split", "name", "image", "label_name"), zip(*rows, strict=True), strict=True)
    parquet.write_table(pa.table({name: list(values) for name, values in columns}), path)
    return path


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_rehearsal_leaves_weights_curves_and_reports(tmp_path: Path) -> None:
    data, out = made_raf_db(tmp_path / "rafdb.parquet"), tmp_path / "out"
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.gpu", "--out", str(out), "--data", str(data),
         "--rehearse"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    logs = "\n".join(f"{log.name}: {log.read_text()[-600:]}" for log in out.glob("*.log"))
    assert done.returncode == 0, done.stdout + done.stderr + logs
    steps = {step["name"]: step["status"] for step in json.loads((out / "steps.json").read_text())}
    assert steps.keys() >= {"tests", "bench", "table"}
    assert all(status == 0 for name, status in steps.items() if name != "tests")
    assert {report.model for report in load_reports(out / "reports")} == {x.model for x in LESSONS}
    assert json.loads((out / "bench.json").read_text())
    for lesson in LESSONS:
        for file in ("best.safetensors", "best.json", "curves.csv", "curves.png", "run.json"):
            assert (out / lesson.model / file).is_file()


def test_a_step_that_fails_is_written_down_and_the_next_one_runs(tmp_path: Path) -> None:
    run = TenMinutes(tmp_path, 10, tmp_path / "data", None, rehearse=True)
    run.step("broken", [sys.executable, "-c", "print('why'); raise SystemExit(3)"])
    run.step("next", [sys.executable, "-c", "pass"])
    steps = json.loads((tmp_path / "steps.json").read_text())
    assert [(step["name"], step["status"]) for step in steps] == [("broken", 3), ("next", 0)]
    assert (tmp_path / "broken.log").read_text() == "why\n"


def test_lessons_share_the_time_and_begin_with_what_earlier_ones_learned(tmp_path: Path) -> None:
    run = TenMinutes(tmp_path, 10, tmp_path / "data", tmp_path / "m.xml", rehearse=False)
    command = run._train(LESSONS[1], 90.0)
    assert command[command.index("--minutes") + 1] == "1.50"
    starts = [Path(command[i + 1]) for i, word in enumerate(command) if word == "--weights"]
    assert starts == [tmp_path / "ir50" / "best.safetensors", tmp_path / "m.xml"]
    assert np.isclose(sum(x.weight for x in LESSONS), 7)
