"""`wakeful models`, as its user types it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from models.cli import models_app
from models.registry import MODELS
from models.report import WITHOUT, Report
from tests.models.test_data import picture


def run(*words: str) -> Result:
    return CliRunner().invoke(models_app, list(words))


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    """Forty own pictures of each of two states."""
    for label, value in (("calm", 60), ("tired", 150)):
        for i in range(40):
            path = tmp_path / "own" / "train" / label / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(picture(value + i, side=48))
    return tmp_path / "own"


def test_the_list_is_for_people_and_for_programs() -> None:
    rows = json.loads(run("list", "--json").output)
    assert {row["model"] for row in rows} == set(MODELS)
    filed = next(row for row in rows if row["model"] == "poster_v2")
    assert (filed["params_total"], filed["params_live"]) == (58_316_594, 43_849_957)
    assert "poster_v2" in run("list").output


def test_listing_does_not_load_torch() -> None:
    code = "import sys, models.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_costs_are_counted(tmp_path: Path) -> None:
    done = run("cost", "cnn", "--json", str(tmp_path / "cnn.json"))
    assert done.exit_code == 0
    cost = Report.load(tmp_path / "cnn.json").cost
    assert cost is not None
    assert cost.params_live == 656_768


def test_forty_own_pictures_a_class_make_a_model(faces: Path, tmp_path: Path) -> None:
    """Train on own labels, measure, and hand a pair of files to the watch."""
    into = tmp_path / "run"
    done = run(
        "train", "cnn", "--data", str(faces), "--recipe", "fine_tune", "--epochs", "3",
        "--into", str(into), "--threads", "1",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "calm" in done.output
    assert (into / "curves.png").is_file()
    card = json.loads((into / "best.json").read_text())
    assert card["labels"] == ["calm", "tired"]
    listed = tmp_path / "near_duplicates.csv"
    listed.write_text("train,of\ntrain/calm/0.png,x\ntrain/tired/1.png,y\n")
    done = run(
        "evaluate", "cnn", "--data", str(faces), "--split", "train", "--threads", "none",
        "--weights", str(into / "best.safetensors"), "--json", str(tmp_path / "r.json"),
        "--trained-in", str(into), "--without", str(listed),
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    report = Report.load(tmp_path / "r.json")
    assert [(a.split, a.n) for a in report.accuracy] == [("train", 80), (f"train{WITHOUT}", 78)]
    assert report.accuracy[1].filter == "without 2 near duplicates of training faces"
    assert report.budget is not None
    assert report.budget.epochs == 3


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["train", "poster_v3", "--data", "."], "no model 'poster_v3'"),
        (["train", "cnn", "--data", "/nowhere"], "no such folder"),
        (["train", "cnn", "--data", "{faces}", "--recipe", "x"], "no recipe 'x'"),
        (
            ["train", "cnn", "--data", "{faces}", "--labels", "calm,tired,asleep"],
            "no pictures of asleep",
        ),
        (
            ["train", "cnn", "--data", "{faces}", "--weights", "gone.pth"],
            "gone.pth: cannot be read",
        ),
        (["train", "cnn", "--data", "{faces}", "--device", "cuda"], "no CUDA device"),
        (["evaluate", "fdrl", "--data", "{faces}"], "no weights of fdrl ship"),
        (["evaluate", "nothing", "--data", "{faces}"], "no model 'nothing'"),
        (["export", "fdrl"], "no weights of fdrl ship"),
    ],
)
def test_bad_input_ends_in_one_line(words: list[str], told: str, faces: Path) -> None:
    done = run(*(w.replace("{faces}", str(faces)) for w in words))
    assert done.exit_code == 2
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.output
    assert lines[0].startswith("wakeful: ")
    assert told in lines[0]


def test_the_comparison_is_a_table_and_a_picture(tmp_path: Path) -> None:
    table = run("compare", "--markdown").output
    assert "| poster_v2 |" in table
    assert "92.21" in table
    done = run("compare", "--plot", str(tmp_path / "plot.png"))
    assert done.exit_code == 0
    assert (tmp_path / "plot.png").is_file()
