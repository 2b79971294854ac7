"""int8 is kept where the answers hold, and only there; calibration itself is NNCF's business."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import openvino
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openvino import opset13

from models.checkpoint import write_weights
from models.export import quantisation
from models.export.quantisation import FEWEST_PICTURES, QuantisationError, calibrate
from models.inference import backend, load
from models.inference.cache import quantised
from models.network import build
from models.registry import ModelCard, find

SIDE = 8
CARD = ModelCard(
    name="brightest",
    task="expression",
    architecture="models.architectures.cnn:plain_cnn",
    labels=("blue", "green", "red"),
    input_hw=(SIDE, SIDE),
    sha256="0" * 64,
)


def brightest(order: tuple[int, int, int] = (0, 1, 2)) -> openvino.Model:
    """Answers with the brightest channel, counted in this order."""
    pixels = opset13.parameter([-1, SIDE, SIDE, 3], openvino.Type.u8)
    means = opset13.reduce_mean(opset13.convert(pixels, "f32"), np.array([1, 2]))
    return openvino.Model([opset13.gather(means, np.array(order), np.array(1))], [pixels])


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    rng = np.random.default_rng(2)
    for number in range(FEWEST_PICTURES + 10):
        folder = tmp_path / "faces" / CARD.labels[number % 3]
        folder.mkdir(parents=True, exist_ok=True)
        picture = rng.integers(0, 100, (SIDE, SIDE, 3), np.uint8)
        picture[..., number % 3] += 100
        cv2.imwrite(str(folder / f"{number:03}.png"), picture)
    return tmp_path / "faces"


@pytest.fixture
def graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "brightest.onnx"
    monkeypatch.setenv("WAKEFUL_CACHE", str(tmp_path / "cache"))
    openvino.save_model(brightest(), str(path.with_suffix(".xml")))
    monkeypatch.setattr("models.export.quantisation.derived", lambda *_: path.with_suffix(".xml"))
    return path


@pytest.fixture
def nncf(monkeypatch: pytest.MonkeyPatch) -> Callable[[openvino.Model], None]:
    """NNCF that gives this model instead of a quantised one."""

    def give(model: openvino.Model) -> None:
        fake: Any = SimpleNamespace(
            quantize=lambda *_, **__: model,
            Dataset=list,
            ModelType=SimpleNamespace(TRANSFORMER="transformer"),
        )
        monkeypatch.setitem(sys.modules, "nncf", fake)

    return give


def test_a_graph_whose_answers_hold_is_kept(
    graph: Path, pictures: Path, nncf: Callable[[openvino.Model], None]
) -> None:
    nncf(brightest())
    kept = calibrate(CARD, Path("unused"), pictures)
    assert kept == quantised(graph)
    assert kept.is_file()


def test_a_graph_that_answers_otherwise_is_not_kept(
    graph: Path, pictures: Path, nncf: Callable[[openvino.Model], None]
) -> None:
    nncf(brightest((1, 0, 2)))
    with pytest.raises(QuantisationError, match=r"loses 66\.\d points .* 0\.5%: not kept"):
        calibrate(CARD, Path("unused"), pictures)
    assert not quantised(graph).exists()


@given(st.lists(st.tuples(*[st.integers(0, 2)] * 3), min_size=1))
def test_accuracy_never_falls_by_more_than_the_share_of_changed_answers(
    rows: list[tuple[int, int, int]],
) -> None:
    before, after, truth = np.array(rows).T
    assert quantisation._lost(before, after, truth)[0] <= quantisation._lost(before, after, None)[0]


@pytest.mark.usefixtures("graph")
def test_too_few_pictures_show_nothing(
    pictures: Path, nncf: Callable[[openvino.Model], None]
) -> None:
    nncf(brightest())
    for path in sorted(pictures.rglob("*.png"))[: FEWEST_PICTURES // 2]:
        path.unlink()
    with pytest.raises(QuantisationError, match="half a point needs 200"):
        calibrate(CARD, Path("unused"), pictures)


def test_without_pictures_it_says_what_is_missing() -> None:
    with pytest.raises(QuantisationError, match="--pictures"):
        calibrate(CARD, Path("unused"), None)


@pytest.mark.slow
def test_a_real_network_is_calibrated_and_runs_as_int8(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("nncf", reason="pip install 'wakeful[train]'")
    if "INT8" not in backend.this_machine().cpu:
        pytest.skip("this chip has no int8")
    monkeypatch.setenv("WAKEFUL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("models.export.quantisation.MOST_LOST", 1.0)  # it was never trained
    card = replace(find("cnn"), name="untrained", sha256="")
    path = tmp_path / "untrained.safetensors"
    card = write_weights(build(card, None), card, path)
    rng = np.random.default_rng(2)
    for number in range(FEWEST_PICTURES):
        folder = tmp_path / "faces" / card.labels[number % len(card.labels)]
        folder.mkdir(parents=True, exist_ok=True)
        picture = rng.integers(0, 255, (48, 48, 3), np.uint8)
        cv2.imwrite(str(folder / f"{number:03}.png"), picture)
    calibrate(card, path, tmp_path / "faces")
    network = load(path, device="cpu", runtime="openvino", precision="int8", threads=1)
    assert network.graph is not None
    assert network.graph.name.endswith(".int8.xml")
    exact = load(path, device="cpu", precision="fp32", threads=1)
    pixels = rng.integers(0, 255, (1, 48, 48, 3), np.uint8)
    assert network(pixels)[0] == pytest.approx(exact(pixels)[0], abs=0.2)
