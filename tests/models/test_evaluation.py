"""Evaluation, and the same answers from every runtime."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from models.checkpoint import write_weights
from models.data import Faces, Sample
from models.data.layouts import open_faces
from models.evaluation.classifier import (
    Measurement,
    cost_of,
    evaluate,
    measure_agreement,
    pixels_of,
)
from models.evaluation.prediction import predict
from models.inference import load
from models.inference.backend import Runtime
from models.network import build
from models.registry import MODELS, RESULTS, WEIGHTS, ModelCard, find
from models.report import load_reports
from tests.models.test_data import FERPLUS, needs_ferplus, picture

EXPRESSIONS = [name for name, card in MODELS.items() if card.task == "expression"]
# The largest architectures are exported small: the graph is the same, only its maps shrink.
REDUCED: dict[str, dict[str, Any]] = {
    "poster_v2": {"input_hw": (32, 32), "arguments": {"working_px": 32}},
    "poster": {"input_hw": (32, 32), "arguments": {"working_px": 32, "depth": 2}},
    "fdrl": {"input_hw": (64, 64)},
    "resnet18": {"input_hw": (64, 64)},
}


def lively(model: nn.Module) -> nn.Module:
    """Weights that make every layer matter: gains of one, statistics that are not trivial."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if name.endswith("_gain"):
                value.fill_(1.0)
            elif name.endswith("running_mean"):
                value.copy_(0.1 * torch.randn(value.shape, generator=generator))
    return model


def written(name: str, folder: Path) -> tuple[ModelCard, Path]:
    card = replace(MODELS[name], **REDUCED.get(name, {}))
    path = folder / f"{name}.safetensors"
    return write_weights(lively(build(card, None)), card, path), path


def noise(card: ModelCard, count: int = 6) -> Faces:
    rng = np.random.default_rng(1)
    made = []
    for i in range(count):
        pixels = rng.integers(0, 255, (*card.input_hw, 3), dtype=np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "png")
        made.append(Sample(str(i), buffer.getvalue(), card.labels[i % len(card.labels)]))
    return Faces(made, card.labels, card.input_hw, source="noise")


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_every_model_exports_and_answers_alike_on_every_runtime_at_any_batch(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAKEFUL_CACHE", str(tmp_path / "cache"))
    card, path = written(name, tmp_path)
    faces = noise(card)
    eager = predict(build(card, path), card, faces, torch.device("cpu")).numpy()
    pixels = pixels_of(faces, range(len(faces)), card.channels)
    scale = np.abs(eager).max()
    runtimes: tuple[Runtime, ...] = ("openvino", "onnxruntime")
    for runtime in runtimes:
        network = load(path, device="cpu", runtime=runtime, precision="fp32", threads=1)
        whole = network(pixels)[0]
        single = np.concatenate([network(p[None])[0] for p in pixels])
        np.testing.assert_allclose(whole, eager, atol=2e-3 * scale, err_msg=runtime)
        np.testing.assert_allclose(single, eager, atol=2e-3 * scale, err_msg=runtime)


def test_a_whole_evaluation_of_a_small_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAKEFUL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("models.evaluation.classifier.TIMED_CALLS", 5)
    card, path = written("cnn", tmp_path)
    labels = card.labels
    made = [Sample(f"{i}", picture(20 * i), labels[i % 8]) for i in range(12)]
    faces = Faces(made, labels, card.input_hw, source="made")
    report = evaluate(card, path, faces, Measurement("test", command="told", threads=(1,)))
    [record] = report.accuracy
    assert (record.n, record.dataset, record.source) == (12, "made", "told")
    assert sum(map(sum, record.confusion)) == 12
    assert {r.condition for r in report.robustness} >= {
        "blur",
        "dark",
        "occlusion",
        "48 px",
        "mask",
    }
    assert {(x.runtime, x.precision) for x in report.latency} >= {
        ("openvino", "fp32"), ("onnxruntime", "fp32"), ("torch", "fp32"),
    }  # fmt: skip
    assert all(x.p50_ms > 0 and x.n == 5 for x in report.latency)
    assert {a.runtime for a in report.agreement} == {"openvino", "onnxruntime"}
    assert report.weights_sha256 == card.sha256


def test_the_costs_on_file_are_the_models_own() -> None:
    cards = {name: find(name) for name in EXPRESSIONS}
    for report in load_reports(RESULTS):
        # A head of other labels has another size.
        card = cards.get(report.model)
        if card is None or report.cost is None or report.labels != card.labels:
            continue
        counted, filed = cost_of(build(card, None), card), report.cost
        assert counted.model_dump(exclude={"counter"}) == filed.model_dump(exclude={"counter"})


SHIPPED = [n for n in EXPRESSIONS if (WEIGHTS / f"{n}.safetensors").is_file()]


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_weights_are_what_their_card_says(name: str) -> None:
    card = find(name)
    path = WEIGHTS / f"{name}.safetensors"
    build(card, path)  # refuses another sha256, another model, other labels
    assert path.stat().st_size <= {"poster_v2_s": 12e6, "cnn": 6e6}[name]
    assert card.training_data
    assert card.measured["n"]
    assert card.measured["ci"]


@pytest.mark.shared
@needs_ferplus
@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_models_name_the_same_expression_on_every_runtime(name: str) -> None:
    card, path = find(name), WEIGHTS / f"{name}.safetensors"
    faces = open_faces(FERPLUS, card.labels, card.input_hw, "PublicTest").part(range(300))
    chosen = load(path, device="cpu").choice.precision
    for found in measure_agreement(build(card, path), card, path, faces):
        if found.precision == "fp32":
            assert found.same_top1 >= 0.995, found
        elif found.precision == chosen:  # what is chosen unasked must not cost accuracy
            assert found.same_top1 >= 0.98, found


@pytest.mark.shared
@needs_ferplus
@pytest.mark.parametrize("name", SHIPPED)
def test_the_shipped_figures_are_measured_again(name: str) -> None:
    card = find(name)
    faces = open_faces(FERPLUS, card.labels, card.input_hw, "PublicTest").cached()
    model = build(card, WEIGHTS / f"{name}.safetensors")
    found = predict(model, card, faces, torch.device("cpu")).argmax(1)
    overall = float((found == faces.truth).float().mean())
    assert len(faces) == card.measured["n"]
    assert overall == pytest.approx(card.measured["overall"], abs=0.002)
