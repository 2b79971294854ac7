"""Graphs to take away, and int8: calibrated on real faces by NNCF, measured before it is used."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from models.data.layouts import open_faces
from models.data.pictures import is_picture, read_upright
from models.evaluation.classifier import pixels_of
from models.export.onnx_export import to_onnx
from models.inference import boxes
from models.inference.backend import openvino, openvino_core
from models.inference.cache import derived, quantised, writable
from models.network import build
from models.registry import ModelCard

if TYPE_CHECKING:
    from openvino import Model

Pixels = NDArray[np.uint8]

CALIBRATION_PICTURES, COMPARED_PICTURES = 300, 1000
# Fewer cannot show half a point.
FEWEST_PICTURES = 200
# Accuracy may fall by half a point; where there are no labels, no more answers may change.
MOST_LOST = 0.005
# What the watch runs its detector at: the whole picture, and a face from close by.
DETECTOR_HW = ((320, 320), (256, 256))
SURE_OF_A_FACE = 0.25


class QuantisationError(ValueError):
    """A graph cannot be written or calibrated, in one line."""


def write_graph(card: ModelCard, weights: Path, folder: Path, file_format: str) -> Path:
    """Write ONNX or OpenVINO IR, batch free, input (B, H, W, C) uint8 as a camera gives it.

    Raises:
        QuantisationError: no such format.
        CheckpointError: the weights cannot be read or are not the card's.
    """
    if file_format not in {"onnx", "openvino"}:
        raise QuantisationError(f"--format {file_format}: must be onnx or openvino")
    target = folder / f"{card.name}.onnx"
    to_onnx(card, build(card, weights, fused=False), target, card.input_hw, "pixels")
    if file_format == "onnx":
        return target
    model = openvino_core().read_model(target)
    target.unlink()
    openvino().save_model(model, target.with_suffix(".xml"), compress_to_fp16=True)
    return target.with_suffix(".xml")


def calibrate(card: ModelCard, weights: Path, pictures: Path | None) -> Path:
    """An int8 graph in the cache, where `models.inference` looks for it.

    It is kept only if its accuracy on the pictures falls by no more than half a point. Where they
    have no labels, as a detector's, only if it answers all but half a per cent of them as before:
    accuracy cannot fall by more than that.

    Args:
        card: of a model with attention or without.
        weights: its file.
        pictures: faces of any layout, whose `train` split is used with its labels; for a detector
            a folder of pictures as the camera sees them.

    Returns:
        The graph, which serves a detector's wide look and its close one.

    Raises:
        QuantisationError: no or too few pictures, or too much is lost.
    """
    if pictures is None:
        raise QuantisationError("--int8 needs --pictures: faces like those it will see")
    graph = derived(card, weights, card.input_hw, "pixels")
    if card.task == "detection":
        return _calibrated(card, graph, [p for hw in DETECTOR_HW for p in _cabins(pictures, hw)])
    faces, truth = _faces(card, pictures)
    return _calibrated(card, graph, faces, truth)


def _faces(card: ModelCard, pictures: Path) -> tuple[list[Pixels], NDArray[np.int64]]:
    faces = open_faces(pictures, card.labels, card.input_hw, "train")
    chosen = range(0, len(faces), max(1, len(faces) // COMPARED_PICTURES))
    stacked = pixels_of(faces, chosen, card.channels)
    return [np.ascontiguousarray(p[None]) for p in stacked], faces.truth.numpy()[list(chosen)]


def _cabins(folder: Path, hw: tuple[int, int]) -> list[Pixels]:
    files = sorted(path for path in folder.rglob("*") if is_picture(path))
    images = map(read_upright, files[:: max(1, len(files) // COMPARED_PICTURES)])
    return [boxes.letterbox(image, hw)[0][None] for image in images]


def _calibrated(
    card: ModelCard,
    graph: Path,
    pictures: Sequence[Pixels],
    truth: NDArray[np.int64] | None = None,
) -> Path:
    if len(pictures) < FEWEST_PICTURES:
        raise QuantisationError(
            f"--pictures: {len(pictures)} can be read; half a point needs {FEWEST_PICTURES} to show"
        )
    exact = openvino_core().read_model(graph)
    import nncf  # noqa: PLC0415 - an extra, slow to import, and after its telemetry was left out

    small = nncf.quantize(
        exact,
        nncf.Dataset(list(pictures[:: max(1, len(pictures) // CALIBRATION_PICTURES)])),
        # Six times less error in POSTER V2's logits than without, at the same speed.
        model_type=nncf.ModelType.TRANSFORMER if "poster" in card.name else None,
        subset_size=CALIBRATION_PICTURES,
    )
    lost, what = _lost(_answers(card, exact, pictures), _answers(card, small, pictures), truth)
    if lost > MOST_LOST:
        raise QuantisationError(
            f"{card.name}: int8 {what} on {len(pictures)} pictures, more than {MOST_LOST:.1%}: not "
            "kept; leave perception.precision at auto"
        )
    target = writable(quantised(graph))
    openvino().save_model(small, target)
    return target


def _lost(
    before: NDArray[np.int64], after: NDArray[np.int64], truth: NDArray[np.int64] | None
) -> tuple[float, str]:
    """What int8 costs at most, as a share of the pictures, and in words."""
    if truth is None:
        changed = float(np.mean(before != after))
        return changed, f"changes {changed:.1%} of the answers"
    lost = int((before == truth).sum() - (after == truth).sum()) / len(truth)
    return lost, f"loses {lost * 100:.1f} points of accuracy"


def _answers(card: ModelCard, model: "Model", pictures: Sequence[Pixels]) -> NDArray[np.int64]:
    """The one thing a user sees of each output: the best label, -1 for no face."""
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    request = openvino_core().compile_model(model, "CPU", settings).create_infer_request()
    answers = []
    for pixels in pictures:
        request.infer([pixels])
        output = np.array(request.get_output_tensor(0).data, np.float32)
        if card.task == "detection":
            scores = boxes.decode(output, len(card.labels))[1]
            best = int(scores.max(0).argmax())
            answers.append(best if scores[:, best].max() > SURE_OF_A_FACE else -1)
        else:
            answers.append(int(output[0].argmax()))
    return np.array(answers)
