"""The graphs that ship are those of the weights that ship; a vehicle needs no torch for them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from models.checkpoint import read_card
from models.export.shipped_graphs import feed_of, tensor_table, write_beside, write_shipped
from models.inference import load
from models.inference.backend import InferenceError, Runtime
from models.inference.cache import graph_name, sha256_of
from models.network import build, fed_with
from models.registry import WEIGHTS, ModelCard
from tests.support.paths import ROOT

SHIPPED = sorted(WEIGHTS.glob("*.safetensors"))
CURE = "run `wakeful models graphs` and commit what it writes"


def graph_beside(weights: Path) -> Path:
    card = read_card(weights)
    return WEIGHTS / graph_name(card, sha256_of(weights), card.input_hw, feed_of(card))


@pytest.mark.parametrize("weights", SHIPPED, ids=lambda path: path.stem)
def test_every_graph_is_of_the_weights_beside_it(weights: Path) -> None:
    assert graph_beside(weights).is_file(), CURE


def test_no_graph_of_other_weights_is_left() -> None:
    assert set(WEIGHTS.glob("*.onnx")) == {graph_beside(path) for path in SHIPPED}, CURE


@pytest.mark.parametrize("weights", SHIPPED, ids=lambda path: path.stem)
def test_every_weight_lies_where_the_graph_looks_for_it(weights: Path) -> None:
    """And none is kept twice."""
    begin, tensors = tensor_table(weights)
    graph = onnx.load(graph_beside(weights), load_external_data=False).graph
    elsewhere = [i for i in graph.initializer if i.data_location == onnx.TensorProto.EXTERNAL]
    for initializer in elsewhere:
        entry = {item.key: item.value for item in initializer.external_data}
        tensor = tensors[initializer.name.removeprefix("network.").removesuffix(".fp16")]
        assert entry["location"] == weights.name
        assert list(initializer.dims) == tensor["shape"]
        assert int(entry["offset"]) == begin + tensor["data_offsets"][0]
    assert elsewhere
    assert graph.ByteSize() < weights.stat().st_size / 10


def inputs(card: ModelCard, hw: tuple[int, int]) -> np.ndarray:
    rng = np.random.default_rng(4)
    if feed_of(card) == "floats":
        return rng.normal(size=(2, card.channels, *hw)).astype(np.float32)
    coarse = rng.integers(0, 255, (2, hw[0] // 8, hw[1] // 8, card.channels))
    return np.kron(coarse, np.ones((1, 8, 8, 1))).astype(np.uint8)


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("weights", SHIPPED, ids=lambda path: path.stem)
def test_it_answers_as_torch_does(weights: Path, runtime: Runtime) -> None:
    card = read_card(weights)
    sizes = [card.input_hw, (256, 192)] if card.task == "detection" else [card.input_hw]
    for hw in sizes:
        given, feed = inputs(card, hw), feed_of(card)
        with torch.inference_mode():
            expected = fed_with(feed, build(card, weights), card)(torch.from_numpy(given))
        network = load(
            card, device="cpu", runtime=runtime, precision="fp32", input_hw=hw, feed=feed, threads=1
        )
        assert network.graph == graph_beside(weights)
        for found, right in zip(network(given), expected, strict=True):
            assert found == pytest.approx(right.numpy(), abs=2e-3, rel=1e-3)


# What a vehicle has: no torch to import, no cache to write.
WITHOUT_TORCH = """
import sys
for name in ("torch", "onnx", "safetensors"):
    sys.modules[name] = None
"""


def test_a_vehicle_loads_what_ships_without_torch_and_without_a_cache(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    code = WITHOUT_TORCH + (
        "from monitor.config import PerceptionConfig\n"
        "from monitor.perception.networks import open_parts\n"
        "print(*open_parts(PerceptionConfig()).models)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "WAKEFUL_CACHE": str(tmp_path / "file"), "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert [model.partition("@")[0] for model in done.stdout.splitlines()[-1].split()] == [
        "awake_sleep_n", "eye_state", "poster_v2_s",
    ]  # fmt: skip
    assert "making the inference graph" not in done.stdout + done.stderr


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Somebody's own trained weights: the shipped plain CNN under another roof."""
    source = WEIGHTS / "cnn.safetensors"
    target = tmp_path / "mine.safetensors"
    target.write_bytes(source.read_bytes())
    card = json.loads(source.with_suffix(".json").read_text()) | {"name": "mine"}
    target.with_suffix(".json").write_text(json.dumps(card))
    return target


def test_own_weights_take_a_graph_along(own: Path) -> None:
    written = write_beside(own)
    assert load(own, device="cpu", threads=1).graph == written


def test_a_newer_graph_replaces_the_older(own: Path) -> None:
    outdated = own.parent / "mine-0123456789abcdef-48x48-pixels-v1.onnx"
    outdated.write_bytes(b"")
    (written,) = write_shipped(own.parent)
    assert set(own.parent.glob("*.onnx")) == {written}


def test_own_weights_without_a_graph_are_refused_where_there_is_no_torch(
    own: Path, tmp_path: Path
) -> None:
    code = WITHOUT_TORCH + (
        "from pathlib import Path\n"
        "from models.inference import load\n"
        "try:\n"
        f"    load(Path({str(own)!r}), device='cpu')\n"
        "except ValueError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "WAKEFUL_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.count("\n") == 1
    assert "wakeful[train]" in done.stdout
    assert "wakeful models graphs" in done.stdout


def test_weights_of_another_release_are_refused_beside_a_graph(own: Path) -> None:
    write_beside(own)
    own.write_bytes(own.read_bytes()[:-1] + b"\x01")
    card = json.loads(own.with_suffix(".json").read_text())
    assert card["sha256"] != sha256_of(own)
    with pytest.raises(InferenceError, match="sha256"):
        load(own, device="cpu")
