"""Faces in scenes, and a detector judged as a classifier is."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

from models.cli import models_app
from models.data import Faces, Sample
from models.data.yolo import check_classes
from models.evaluation.detector import Judged, detection_of
from models.evaluation.expression_scenes import (
    answer,
    compose,
    look_at,
    scenes,
    write_scenes,
)
from models.registry import find
from models.report import Report
from tests.models.test_data import picture

LABELS = ("dark", "bright")


def faces(count: int = 6) -> Faces:
    made = [Sample(f"{i}", picture(40 + 170 * (i % 2), 48), LABELS[i % 2]) for i in range(count)]
    return Faces(made, LABELS, (48, 48), source="made")


class Oracle(nn.Module):
    """Knows where each face is and what it shows, less what it is told to get wrong."""

    def __init__(self, boxes: list[np.ndarray], truth: list[int], side_px: int) -> None:
        super().__init__()
        self.boxes, self.truth, self.side, self.seen = boxes, truth, side_px, 0

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, 4 + classes, 3 cells): one right box, two weaker ones elsewhere."""
        out = torch.zeros(len(x), 4 + len(LABELS), 3)
        out[:, 4:] = 0.2
        for row in range(len(x)):
            out[row, :4, 1] = torch.from_numpy(self.boxes[self.seen] * self.side)
            out[row, 4 + self.truth[self.seen], 1] = 0.9
            self.seen += 1
        return out


def test_a_face_lies_where_its_box_says() -> None:
    white = np.full((48, 48, 3), 255, np.uint8)
    for seed in range(8):
        scene = compose(white, 128, np.random.default_rng(seed))
        x, y, w, h = scene.box * 128
        inner = scene.image[int(y - h / 4) : int(y + h / 4), int(x - w / 4) : int(x + w / 4)]
        assert inner.min() == 255
        assert (scene.box[:2] - scene.box[2:] / 2).min() >= 0
        assert (scene.box[:2] + scene.box[2:] / 2).max() <= 1


def test_scenes_are_the_same_each_time_and_differ_by_seed() -> None:
    first, again, other = (list(scenes(faces(), 96, seed)) for seed in (0, 0, 1))
    assert all(np.array_equal(a.image, b.image) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0].image, other[0].image)


def test_scenes_are_ready_for_the_detectors_trainer(tmp_path: Path) -> None:
    written = write_scenes(faces(), tmp_path, 96)
    check_classes(written)
    assert written.counts() == {"dark": 3, "bright": 3}
    assert all(p.path.is_file() for p in written.pictures)


def test_a_detector_is_judged_by_its_best_box() -> None:
    made = faces()
    boxes = [scene.box for scene in scenes(made, 96, 1)]
    right = made.truth.tolist()
    answers = answer(Oracle(boxes, right, 96), made, 96)
    assert answers.labels.tolist() == right
    assert answers.overlapping == 1.0
    wrong = [1 - right[0], *right[1:]]
    away = [boxes[0] + np.array([0.5, 0, 0, 0], np.float32), *boxes[1:]]
    answers = answer(Oracle(away, wrong, 96), made, 96)
    assert (answers.labels == np.array(right)).mean() == pytest.approx(5 / 6)
    assert answers.overlapping == pytest.approx(5 / 6)


def test_average_precision_is_of_all_boxes_of_all_scenes() -> None:
    """A sure wrong name costs precision though the face is found."""
    made = faces(8)
    boxes = [scene.box for scene in scenes(made, 96, 1)]
    right = made.truth.tolist()

    def map50(answers: list[int]) -> float:
        seen = look_at(Oracle(boxes, answers, 96), made, 96)
        judged = [Judged(picture, picture.xyxy, found) for picture, found in seen]
        return detection_of(judged, LABELS, "made", "test").map50 or 0.0

    assert map50(right) > 0.99
    assert map50([1 - right[0], *right[1:]]) < 0.95


@pytest.mark.slow
def test_a_detector_of_expressions_is_trained_and_measured(tmp_path: Path) -> None:
    """Through the door: what `train` writes, `evaluate` reads."""
    for index, label in enumerate(find("yolov5_faces").labels):
        for split in ("train", "valid", "test"):
            (tmp_path / "own" / split / label).mkdir(parents=True)
            for copy in range(2):
                face = tmp_path / "own" / split / label / f"{copy}.png"
                face.write_bytes(picture(20 + 25 * index + copy, 48))
    door, run = CliRunner(), tmp_path / "run"
    trained = door.invoke(
        models_app,
        ["train", "yolov5_faces", "--data", str(tmp_path / "own"), "--into", str(run),
         "--epochs", "1", "--batch", "4", "--threads", "1"],
    )  # fmt: skip
    assert trained.exit_code == 0, trained.output
    report = tmp_path / "report.json"
    measured = door.invoke(
        models_app,
        ["evaluate", "yolov5_faces", "--data", str(tmp_path / "own"), "--split", "test",
         "--weights", str(run / "best.safetensors"), "--json", str(report)],
    )  # fmt: skip
    assert measured.exit_code == 0, measured.output
    written = Report.load(report)
    assert written.accuracy[0].n == 16
    assert written.detection[0].instances == 16
    assert written.detection[0].map50 is not None
