"""Networks as others export and save them: read rightly, or refused with the way out."""

import argparse
import pathlib
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from models.checkpoint import ForeignCheckpointError
from models.inference import onnx_import
from models.inference.boxes import OutputError, decode
from models.legacy_yolov5 import from_legacy, read_legacy

# One face in 320 px: centre (100, 120), 40 wide, 60 high; asleep with 0.9.
BOX = [100.0, 120.0, 40.0, 60.0]
CORNERS = [80.0, 90.0, 120.0, 150.0]


def a_row(*values: float) -> np.ndarray[Any, Any]:
    return np.array([values], np.float32)


@pytest.mark.parametrize(
    "output",
    [
        np.repeat(a_row(*BOX, 1.0, 0.05, 0.9), 30, 0)[None],  # (1, N, 5 + 2)
        np.repeat(a_row(*BOX, 0.05, 0.9), 30, 0).T[None],  # (1, 4 + 2, N)
        np.vstack([a_row(*CORNERS, 0.9, 1.0), np.zeros((299, 6), np.float32)])[None],  # (1, 300, 6)
        a_row(*CORNERS, 0.9, 1.0),  # (1, 6): one box, no batch
    ],
)
def test_every_layout_of_two_classes_is_read(output: np.ndarray[Any, Any]) -> None:
    corners, scores = decode(output, 2)
    np.testing.assert_allclose(corners[0], CORNERS)
    assert int(scores[0].argmax()) == 1
    assert scores[0, 1] == pytest.approx(0.9)


def test_empty_places_of_a_list_are_no_faces() -> None:
    _, scores = decode(np.zeros((1, 300, 6), np.float32), 2)
    assert scores.max() == 0


@pytest.mark.parametrize(
    "row",
    [
        [*BOX, 0.05, 0.9],  # (N, 4 + 2) of some exporters: cannot be told from a list of boxes
        [*CORNERS, 1.0, 0.9],  # class before score
        [*CORNERS, 0.9, 7.0],  # a class there is not
        [*CORNERS, 90.0, 1.0],  # a score in per cent
    ],
)
def test_what_cannot_be_told_apart_is_refused(row: list[float]) -> None:
    with pytest.raises(OutputError, match="without NMS"):
        decode(np.repeat(a_row(*row), 300, 0)[None], 2)


def a_network(path: Path, shape: list[int], names: str, more: int = 0) -> Path:
    """A detector that says the same of every picture."""
    values = np.zeros(shape, np.float32)
    nodes = [helper.make_node("ReduceSum", ["images"], ["sum"], keepdims=0)]
    nodes += [helper.make_node("Mul", ["sum", "nought"], ["zero"])]
    nodes += [helper.make_node("Add", ["boxes", "zero"], ["output0"])]
    outputs = [helper.make_tensor_value_info("output0", TensorProto.FLOAT, shape)]
    for number in range(more):
        nodes.append(helper.make_node("Identity", ["output0"], [f"output{number + 1}"]))
        outputs.append(
            helper.make_tensor_value_info(f"output{number + 1}", TensorProto.FLOAT, shape)
        )
    graph = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 320, 320])],
        outputs,
        [
            helper.make_tensor("boxes", TensorProto.FLOAT, shape, values.ravel()),
            helper.make_tensor("nought", TensorProto.FLOAT, [], [0.0]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    entry = model.metadata_props.add()
    entry.key, entry.value = "names", names
    onnx.save(model, path)
    return path


TWO = "{0: 'awake', 1: 'sleep'}"


@pytest.mark.parametrize("shape", [[1, 6300, 7], [1, 6, 2100], [1, 300, 6]])
def test_known_layouts_are_taken(tmp_path: Path, shape: list[int]) -> None:
    card = onnx_import.card_of(a_network(tmp_path / "net.onnx", shape, TWO))
    assert card.labels == ("awake", "sleep")


# --- checkpoints --------------------------------------------------------------------------------


class _Module(torch.nn.Module):
    """Stands for the original repository's classes while a file is written."""


def saved(path: Path, monkeypatch: pytest.MonkeyPatch, **beside: Any) -> Path:
    """A checkpoint as `train.py` of the original repository writes it."""
    module = ModuleType("models.yolo")
    network = type("DetectionModel", (_Module,), {"__module__": "models.yolo"})
    module.DetectionModel = network  # type: ignore[attr-defined]
    monkeypatch.setitem(__import__("sys").modules, "models.yolo", module)
    made = network()
    made.names = {0: "awake", 1: "sleep"}
    made.model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1))
    torch.save({"model": made, "ema": None, **beside}, path)
    return path


@pytest.mark.parametrize(
    "beside",
    [
        {"opt": {"weights": pathlib.PurePosixPath("yolov5n.pt"), "save_dir": Path("runs/exp")}},
        {"opt": {"save_dir": pathlib.PureWindowsPath(r"runs\train\exp")}},
        {"best_fitness": np.array([0.5])},
        {"best_fitness": np.float64(0.5), "epoch": np.int64(3)},
        {"date": datetime.now(UTC), "opt": argparse.Namespace(lr=0.01, cfg=Path("x.yaml"))},
        {"git": {"remote": None}, "wandb_id": None, "ids": {1, 2}},
    ],
)
def test_values_beside_a_network_are_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, beside: dict[str, Any]
) -> None:
    checkpoint = read_legacy(saved(tmp_path / "best.pt", monkeypatch, **beside))
    assert checkpoint.labels == ("awake", "sleep")
    assert checkpoint.tensors["model.0.weight"].shape == (4, 3, 1, 1)


class _Evil:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        import os

        return os.system, ("touch ran",)


def test_code_beside_a_network_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ForeignCheckpointError, match="system"):
        read_legacy(saved(tmp_path / "evil.pt", monkeypatch, opt=_Evil()))
    assert not (tmp_path / "ran").exists()


def test_another_yolo_is_named_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ForeignCheckpointError, match=r"yolo export model=best\.pt format=onnx"):
        from_legacy(saved(tmp_path / "best.pt", monkeypatch))
