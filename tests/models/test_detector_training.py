"""A training goes on after a kill as if nothing had happened, and refuses what cannot work."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from models.data.yolo import PictureSetError, read_picture_set
from models.training.detector import (
    CURVES_FILE,
    STATE_FILE,
    DetectorRecipe,
    train_detector,
)
from models.training.recipe import TrainingError
from tests.support.paths import ROOT

TINY = {"image_px": 64, "epochs": 4, "batch": 4, "mosaic": 0.5, "plain_epochs": 1}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    (folder / "images").mkdir(parents=True)
    (folder / "labels").mkdir()
    (folder / "data.yaml").write_text("names: [awake, sleep]\n")
    rng = np.random.default_rng(0)
    for index in range(12):
        image = rng.integers(0, 90, (64, 64, 3)).astype(np.uint8)
        cv2.rectangle(image, (20, 16), (44, 50), (200, 200, 80 + 160 * (index % 2)), -1)
        cv2.imwrite(str(folder / "images" / f"{index}.png"), image)
        (folder / "labels" / f"{index}.txt").write_text(f"{index % 2} 0.5 0.52 0.38 0.53\n")
    return folder


def curve(run: Path) -> list[list[str]]:
    """Losses of each epoch, without the column of the clock."""
    with (run / CURVES_FILE).open() as file:
        return [[row[0], *row[2:5]] for row in csv.reader(file)][1:]


SCRIPT = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from models.data.yolo import read_picture_set
from models.training.detector import DetectorRecipe, train_detector
data, run, resume = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "resume"
train_detector(read_picture_set(data), None, run, DetectorRecipe(**{tiny}), resume=resume)
""".replace("{tiny}", repr(TINY))


def training(data: Path, run: Path, how: str) -> subprocess.Popen[bytes]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", SCRIPT, str(data), str(run), how]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)


@pytest.mark.slow
def test_a_killed_training_resumes_to_the_same_curve(data: Path, tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert training(data, whole, "start").wait(150) == 0
    first = training(data, broken, "start")
    deadline = time.monotonic() + 100
    while not (broken / STATE_FILE).exists() and time.monotonic() < deadline:
        try:
            first.wait(0.05)
            break
        except subprocess.TimeoutExpired:
            continue
    first.send_signal(signal.SIGKILL)
    first.wait(10)
    state = torch.load(broken / STATE_FILE, weights_only=True)
    assert state["epoch"] < TINY["epochs"] - 1, "killed too late to show anything"
    assert training(data, broken, "resume").wait(150) == 0
    assert len(curve(whole)) == TINY["epochs"]
    assert curve(broken) == curve(whole)


def test_nothing_to_resume_is_told(data: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="nothing to resume"):
        train_detector(
            read_picture_set(data), None, tmp_path / "run", DetectorRecipe(**TINY), resume=True
        )


def test_another_recipe_cannot_go_on_with_a_run(data: Path, tmp_path: Path) -> None:
    pictures, run = read_picture_set(data), tmp_path / "run"
    first = DetectorRecipe(**{**TINY, "epochs": 1})
    weights = train_detector(pictures, None, run, first)
    assert weights["model.0.conv.weight"].dtype == torch.float32
    with pytest.raises(TrainingError, match="another recipe"):
        train_detector(pictures, None, run, DetectorRecipe(**TINY), resume=True)
    with pytest.raises(TrainingError, match="is finished after 1 epochs"):
        train_detector(pictures, None, run, first, resume=True)


def test_one_class_only_is_told_before_anything_starts(data: Path, tmp_path: Path) -> None:
    for label in (data / "labels").iterdir():
        label.write_text("0 0.5 0.5 0.4 0.5\n")
    with pytest.raises(PictureSetError, match="no box of class sleep"):
        train_detector(read_picture_set(data), None, tmp_path / "run", DetectorRecipe(**TINY))
    assert not (tmp_path / "run").exists()


def test_torchrun_needs_a_gpu_for_each_process(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    pictures = read_picture_set(data)
    with pytest.raises(TrainingError, match="--device 0,1"):
        train_detector(pictures, None, tmp_path / "run", DetectorRecipe(**TINY), device="cpu")
