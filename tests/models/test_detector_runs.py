"""From a folder of pictures to weights and a report, through the door a user comes by."""

import os
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
import torch
from typer.testing import CliRunner

from models.architectures.yolov5 import yolov5
from models.checkpoint import CheckpointError, read_card
from models.cli import models_app
from models.cli.threads import free_cores
from models.data.yolo import PictureSetError
from models.inference import load
from models.inference.backend import InferenceError
from models.inference.boxes import find_faces, to_input
from models.legacy_yolov5 import from_legacy
from models.registry import find
from models.report import Report
from models.training.detector import DetectorRecipe
from models.training.detector_runs import View, evaluate, open_network, plan_training
from monitor.config import PerceptionConfig
from monitor.errors import ConfigError
from monitor.perception.networks import open_parts
from tests.support.paths import SHARED

LEGACY = SHARED / "weights" / "v5n_coco_legacy.pt"
RECIPE = {"size": "n", "image_px": 64, "epochs": 1, "batch": 4, "mosaic": 0.0}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "faces"
    (folder / "images").mkdir(parents=True)
    (folder / "labels").mkdir()
    (folder / "data.yaml").write_text("names: [awake, sleep, yawn]\n")
    rng = np.random.default_rng(0)
    rows = ["file,person"]
    for index in range(12):
        image = rng.integers(0, 90, (80, 100, 3)).astype(np.uint8)
        cv2.rectangle(image, (30, 20), (70, 64), (200, 200, 40 + 80 * (index % 3)), -1)
        cv2.imwrite(str(folder / "images" / f"{index}.png"), image)
        (folder / "labels" / f"{index}.txt").write_text(f"{index % 3} 0.5 0.525 0.4 0.55\n")
        rows.append(f"{index}.png,{('anna', 'berta')[index // 6]}")
    (folder / "people.csv").write_text("\n".join(rows) + "\n")
    return folder


def run(*words: Any) -> Any:
    return CliRunner().invoke(models_app, [str(word) for word in words])


def test_a_set_is_trained_and_evaluated_by_two_commands(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    trained = run(
        "train", "awake_sleep", "--data", data, "--into", folder, "--hold-out", "berta",
        "--start", "none", "--epochs", 2, "--image-px", 90, "--batch", 4, "--threads", 1,
    )  # fmt: skip
    assert trained.exit_code == 0, trained.output
    last = (folder / "results.csv").read_text().splitlines()[-1].split(",")
    assert re.search(r"on the 6 validated: precision .*mAP50 [\d.]+, mAP50-95 ", trained.output)
    assert len(last) > 5
    made = {"awake_sleep_n.safetensors", "curves.png", "predictions.jpg", "results.csv"}
    assert made <= {path.name for path in folder.iterdir()}
    weights, stored = folder / "awake_sleep_n.safetensors", tmp_path / "report.json"
    told = run(
        "evaluate", "awake_sleep", "--data", data, "--weights", weights, "--json", stored,
        "--grid", tmp_path / "worst.jpg",
    )  # fmt: skip
    assert told.exit_code == 0, told.output
    # Whole strides of the network; evaluation and watch ask at the size of the training.
    assert read_card(weights).input_hw == (96, 96)
    assert open_network(str(weights)).trained_px == 96
    look = {"eyes": None, "emotion": None, "detector": str(weights), "runtime": "torch"}
    detector = open_parts(PerceptionConfig.model_validate(look)).detector
    assert detector is not None
    assert detector.networks[0].input_hw == (96, 96)
    detector.close()
    set_size = PerceptionConfig.model_validate({**look, "detector_input_px": 64})
    detector = open_parts(set_size).detector
    assert detector is not None
    assert detector.networks[0].input_hw == (64, 64)
    detector.close()
    report = Report.load(stored)
    assert [group.split for group in report.detection] == ["all people", "anna", "berta"]
    assert set(report.detection[0].per_class) >= {"awake", "sleep", "yawn"}
    assert (tmp_path / "worst.jpg").stat().st_size > 1000


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--data", "/absent"], "no such folder"),
        (["--size", "x"], "comes as n or s"),
        (["--hold-out", "dora"], "no person dora"),
        (["--start", "/absent.pt"], "/absent.pt"),
    ],
)
def test_bad_input_is_one_line(data: Path, tmp_path: Path, words: list[str], told: str) -> None:
    given = ["--data", data] if "--data" not in words else []
    result = run("train", "awake_sleep", *given, "--into", tmp_path / "run", *words)
    assert result.exit_code == 2
    assert told in result.output
    assert "Traceback" not in result.output
    assert not (tmp_path / "run").exists()


def test_the_shipped_detector_is_measured_on_the_tutorial_s_two_classes(data: Path) -> None:
    (data / "data.yaml").write_text("names: [awake, sleep]\n")
    for index in range(12):
        (data / "labels" / f"{index}.txt").write_text(f"{index % 2} 0.5 0.525 0.4 0.55\n")
    done = run("evaluate", "awake_sleep", "--data", data)
    assert done.exit_code == 0, done.output
    assert "mAP50" in done.output
    assert "yawn" not in done.output.partition("classes, all pictures")[2].partition("called")[0]


def test_nobody_held_out_is_no_figure(data: Path, tmp_path: Path) -> None:
    done = run(
        "train", "awake_sleep", "--data", data, "--into", tmp_path / "run", "--epochs", 1,
        "--image-px", 64, "--batch", 4, "--threads", 1, "--mosaic", 0,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "nobody was held out, so there is no mAP" in done.output


@pytest.mark.parametrize(
    ("cores", "load", "quota", "threads"),
    [
        (2, 0.1, "max 100000", 2), (2, 1.2, "max 100000", 1), (2, 16.0, "max 100000", 1),
        (64, 4.0, "max 100000", 60), (64, 4.0, "200000 100000", 2), (64, 0.0, "50000 100000", 1),
    ],
)  # fmt: skip
def test_a_training_takes_the_cores_that_are_free(
    cores: int, load: float, quota: str, threads: int, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    (tmp_path / "cpu.max").write_text(f"{quota}\n")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    monkeypatch.setattr(os, "getloadavg", lambda: (load, load, load))
    assert free_cores(tmp_path / "cpu.max") == threads


def test_damaged_weights_and_another_sha_are_refused(data: Path, tmp_path: Path) -> None:
    path = tmp_path / "awake_sleep_n.safetensors"
    path.write_bytes(b"not weights")
    with pytest.raises(CheckpointError, match="has no card"):
        open_network(str(path))
    path.with_suffix(".json").write_text(find("awake_sleep_n").to_json())
    with pytest.raises(CheckpointError, match="safetensors"):
        open_network(str(path))


@pytest.mark.filterwarnings("ignore")  # torch's own notes on its two exporters
def test_a_set_of_other_classes_cannot_be_evaluated(data: Path, tmp_path: Path) -> None:
    (data / "data.yaml").write_text("names: [open, closed, yawn]\n")
    path = tmp_path / "mine.onnx"
    export_legacy(path, 3)
    with pytest.raises(PictureSetError, match="this model tells awake, sleep, yawn"):
        evaluate(data, str(path))


@pytest.mark.filterwarnings("ignore")  # as above
def test_a_cabin_must_have_a_size(data: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.onnx"
    export_legacy(path, 3)
    with pytest.raises(PictureSetError, match="WIDTHxHEIGHT"):
        evaluate(data, str(path), view=View(scene="large"))


def export_legacy(path: Path, classes: int, side: int = 320) -> Any:
    """What the original repository's export.py writes: float planes in, (1, N, 5 + classes) out."""
    torch.manual_seed(0)
    labels = ("awake", "sleep", "yawn")[:classes]
    network = yolov5(labels, "n", anchors=True).fuse()
    torch.onnx.export(
        network, (torch.zeros(1, 3, side, side),), str(path), dynamo=False,
        input_names=["images"], output_names=["output0"], opset_version=17,
    )  # fmt: skip
    written = onnx.load(path)
    onnx.helper.set_model_props(written, {"stride": "32", "names": str(dict(enumerate(labels)))})
    onnx.save(written, path)
    return network


@pytest.mark.filterwarnings("ignore")  # as above
def test_an_onnx_of_the_original_repository_runs_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "best.onnx"
    theirs = export_legacy(path, 3)
    opened = open_network(str(path))
    assert opened.labels == ("awake", "sleep", "yawn")
    assert opened.input_hw == (320, 320)
    network = opened.network
    planes = np.random.default_rng(0).random((1, 3, 320, 320)).astype(np.float32)
    with torch.no_grad():
        expected = theirs(torch.from_numpy(planes)).numpy()
    np.testing.assert_allclose(network(planes), expected, rtol=1e-3, atol=1e-2)
    image = np.random.default_rng(1).integers(0, 255, (240, 400, 3)).astype(np.uint8)
    faces = find_faces(network, image, opened.labels, 0.0001, closer_hw=None)
    assert faces.scores.shape[1] == 3


@pytest.mark.shared
@pytest.mark.skipif(not LEGACY.is_file(), reason=f"needs {LEGACY.name} of ../shared")
def test_a_training_may_start_from_a_legacy_checkpoint(data: Path, tmp_path: Path) -> None:
    plan = plan_training(
        data, tmp_path / "run", start=str(LEGACY), hold_out=(), recipe=DetectorRecipe(**RECIPE)
    )
    assert plan.start is not None
    assert "lifted without its code" in plan.origin
    theirs = from_legacy(LEGACY).state_dict()["model.0.conv.weight"]
    assert torch.equal(plan.start["model.0.conv.weight"], theirs)


@pytest.mark.filterwarnings("ignore")  # as above
def test_the_watch_runs_an_onnx_of_the_original_repository(tmp_path: Path) -> None:
    """Fed with camera pixels it says what the network says of float planes."""
    path = tmp_path / "best.onnx"
    theirs = export_legacy(path, 2)
    pixels = np.random.default_rng(0).integers(0, 255, (1, 320, 320, 3)).astype(np.uint8)
    with torch.no_grad():
        expected = theirs(torch.from_numpy(to_input(pixels[0]))).numpy()
    for runtime in ("openvino", "onnxruntime"):
        network = load(path, device="cpu", runtime=runtime, precision="fp32")  # type: ignore[arg-type]
        assert network.card.labels == ("awake", "sleep")
        np.testing.assert_allclose(network(pixels)[0], expected, rtol=1e-3, atol=1e-2)
    found = open_parts(PerceptionConfig(detector=str(path), eyes=None, emotion=None))
    assert found.detector is not None
    assert isinstance(found.detector(pixels[0]), list)


@pytest.mark.filterwarnings("ignore")  # as above
def test_an_onnx_that_names_no_classes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "best.onnx"
    export_legacy(path, 2)
    written = onnx.load(path)
    del written.metadata_props[:]
    onnx.save(written, path)
    with pytest.raises(InferenceError, match="does not name its classes"):
        load(path)


@pytest.mark.shared
@pytest.mark.skipif(not LEGACY.is_file(), reason=f"needs {LEGACY.name} of ../shared")
def test_a_legacy_checkpoint_is_converted_for_the_watch(tmp_path: Path) -> None:
    """The pair of files gives what the pickled network gave, in the watch's own runtime too."""
    out = tmp_path / "mine" / "best.safetensors"
    done = CliRunner().invoke(models_app, ["convert", str(LEGACY), "--out", str(out)])
    assert done.exit_code == 0, done.output
    planes = np.random.default_rng(0).random((1, 3, 64, 64)).astype(np.float32)
    with torch.no_grad():
        expected = from_legacy(LEGACY).fuse()(torch.from_numpy(planes)).numpy()
    opened = open_network(str(out))
    np.testing.assert_allclose(opened.network(planes), expected, rtol=0.02, atol=0.3)
    watch = load(out, device="cpu", precision="fp32", input_hw=(64, 64))
    pixels = np.zeros((1, 64, 64, 3), np.uint8)
    np.testing.assert_allclose(
        watch(pixels)[0], opened.network(to_input(pixels[0])), rtol=1e-2, atol=0.05
    )


@pytest.mark.filterwarnings("ignore")  # as above
def test_a_detector_of_other_classes_is_no_detector_of_drivers(tmp_path: Path) -> None:
    path = tmp_path / "fruit.onnx"
    export_legacy(path, 1)
    with pytest.raises(ConfigError, match="must tell awake and sleep"):
        open_parts(PerceptionConfig(detector=str(path), eyes=None, emotion=None))
