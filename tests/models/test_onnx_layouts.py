"""ONNX files of other trainers: every output that YOLO exporters make is read right or refused at
load, never misread while somebody drives."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from models.inference import load
from models.inference.backend import InferenceError
from models.inference.boxes import decode, suppress
from tests.support.onnx_files import SIDE, export

GRID = 8 * 8 + 4 * 4 + 2 * 2
LABELS = ("awake", "sleep", "yawn", "phone")
# What the network says: one face that sleeps, for sure, in the middle.
CENTRE, SIZE = (30.0, 34.0), (20.0, 24.0)
SLEEP = 1
Floats = NDArray[np.float32]


def cells(count: int) -> Floats:
    """Centres all over the picture, and sizes, as an untrained grid gives them."""
    spread = np.linspace(2, SIDE - 2, count, dtype=np.float32)
    boxes = np.full((count, 4), 9.0, np.float32)
    boxes[:, 0] = boxes[:, 1] = spread
    return boxes


def by_cell(count: int, classes: int, *, objectness: bool, unit: float = 1.0) -> Floats:
    """(1, count, 4 [+ 1] + classes), the sleeping face in row 7."""
    scores = np.full((count, classes), 0.01, np.float32)
    boxes = cells(count)
    boxes[7], scores[7, SLEEP] = (*CENTRE, *SIZE), 0.9
    sure = np.full((count, 1), 0.01, np.float32)
    sure[7] = 0.99
    parts = [boxes * unit, sure, scores] if objectness else [boxes * unit, scores]
    return np.hstack(parts)[None].astype(np.float32)


def listed(rows: int) -> Floats:
    """(1, rows, 6) after NMS: corners, score, class; the rest is padding."""
    output = np.zeros((1, rows, 6), np.float32)
    if rows:
        (x, y), (width, height) = CENTRE, SIZE
        corners = x - width / 2, y - height / 2, x + width / 2, y + height / 2
        output[0, 0] = (*corners, 0.9, SLEEP)
    return output


def columns(count: int, classes: int) -> Floats:
    return np.ascontiguousarray(by_cell(count, classes, objectness=False).transpose(0, 2, 1))


READ = {
    "YOLOv5, YOLOv7": (by_cell(3 * GRID, 2, objectness=True), 2),
    "YOLOv5 of three classes": (by_cell(3 * GRID, 3, objectness=True), 3),
    "YOLOv6": (by_cell(GRID, 2, objectness=True), 2),
    "YOLOv8, YOLO11": (columns(GRID, 2), 2),
    "YOLOv8 of three classes": (columns(GRID, 3), 3),
    "YOLOv8, transposed, of three classes": (by_cell(GRID, 3, objectness=False), 3),
    "YOLOv10, YOLO26": (listed(300), 2),
    "NMS inside, of three classes": (listed(300), 3),
    "NMS inside, few boxes": (listed(10), 4),
}
REFUSED = {
    "NMS inside, of one class": (listed(300), 1),
    "RT-DETR": (by_cell(300, 2, objectness=False, unit=1 / SIDE), 2),
    "RT-DETR of three classes": (by_cell(300, 3, objectness=False, unit=1 / SIDE), 3),
    "YOLOX, not decoded": (by_cell(GRID, 2, objectness=True, unit=1 / SIDE), 2),
    "coordinates from 0 to 1": (columns(GRID, 2) * np.float32(1 / SIDE), 2),
    "YOLOv7 with NMS for all pictures": (np.zeros((4, 7), np.float32), 2),
    "TensorRT's NMS: a count first": (np.zeros((1, 1), np.float32), 2),
    "oriented boxes": (np.zeros((1, 4 + 2 + 1, GRID), np.float32), 2),
    "masks": (np.zeros((1, 4 + 2 + 32, GRID), np.float32), 2),
    "masks of YOLOv5": (np.zeros((1, 3 * GRID, 5 + 2 + 32), np.float32), 2),
    "key points": (np.zeros((1, 4 + 2 + 51, GRID), np.float32), 2),
    "labels of another network": (np.zeros((1, 3 * GRID, 85), np.float32), 2),
    "a classifier": (np.zeros((1, 2), np.float32), 2),
    "raw maps": (np.zeros((1, 3, 8, 8, 7), np.float32), 2),
    "YOLOv8, transposed, of two classes": (by_cell(GRID, 2, objectness=False), 2),
}


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("free", [(), (1, 2)], ids=["fixed", "free"])
@pytest.mark.parametrize("exporter", READ)
def test_an_output_that_is_known_is_read_right(
    tmp_path: Path, exporter: str, free: tuple[int, ...], runtime: str
) -> None:
    output, classes = READ[exporter]
    path = export(tmp_path / "theirs.onnx", output, LABELS[:classes], free=free)
    network = load(path, device="cpu", runtime=runtime, precision="fp32")  # type: ignore[arg-type]
    gives = network(np.zeros((1, SIDE, SIDE, 3), np.uint8))[0]
    xyxy, scores = decode(gives, classes)
    best = suppress(xyxy, scores, 0.25)
    network.close()
    assert len(best) == 1
    assert int(scores[best[0]].argmax()) == SLEEP
    middle = (xyxy[best[0], :2] + xyxy[best[0], 2:]) / 2
    np.testing.assert_allclose(middle, CENTRE, atol=0.01)


@pytest.mark.parametrize("free", [False, True], ids=["fixed", "free"])
@pytest.mark.parametrize("exporter", REFUSED)
def test_an_output_that_would_be_misread_is_refused_at_load(
    tmp_path: Path, exporter: str, free: bool
) -> None:
    output, classes = REFUSED[exporter]
    sides = tuple(range(1, output.ndim)) if free else ()
    path = export(tmp_path / "theirs.onnx", output, LABELS[:classes], free=sides)
    with pytest.raises(InferenceError, match=r"theirs\.onnx: .*export (it|the network)"):
        load(path, device="cpu")


def test_nothing_on_the_first_picture_is_no_fault(tmp_path: Path) -> None:
    """NMS with a free number of boxes gives none for a black picture."""
    path = export(tmp_path / "theirs.onnx", listed(0), LABELS[:2], free=(1,))
    load(path, device="cpu", runtime="onnxruntime").close()


def test_further_outputs_are_left_alone(tmp_path: Path) -> None:
    """Older exports of YOLOv5 give their three raw maps besides."""
    path = export(
        tmp_path / "theirs.onnx", by_cell(3 * GRID, 2, objectness=True), LABELS[:2], more=3
    )
    load(path, device="cpu").close()
