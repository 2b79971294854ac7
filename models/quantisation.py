"""Graphs to take away, and int8: calibrated on real faces by NNCF, measured before it is used."""

import shutil
from pathlib import Path

import numpy as np

from models.derived import derived
from models.evaluation import pixels_of
from models.layouts import open_faces
from models.machine import openvino_core
from models.registry import ModelCard

CALIBRATION_FACES = 300


class QuantisationError(ValueError):
    """A graph cannot be written or calibrated, told in one line."""


def write_graph(card: ModelCard, weights: Path, folder: Path, file_format: str) -> Path:
    """Write ONNX or OpenVINO IR, batch free, input (B, H, W, C) uint8 as a camera gives it.

    Raises:
        QuantisationError: no such format.
        InferenceError: the weights cannot be read or are not the card's.
    """
    graph = derived(card, weights, card.input_hw, "pixels")
    folder.mkdir(parents=True, exist_ok=True)
    if file_format == "onnx":
        return Path(shutil.copyfile(graph, folder / f"{card.name}.onnx"))
    if file_format != "openvino":
        raise QuantisationError(f"--format {file_format}: must be onnx or openvino")
    import openvino  # noqa: PLC0415 - only here

    target = folder / f"{card.name}.xml"
    openvino.save_model(openvino_core().read_model(graph), target, compress_to_fp16=True)
    return target


def calibrate(card: ModelCard, weights: Path, pictures: Path | None) -> Path:
    """An int8 graph beside the derived one, where `models.runtime` looks for it.

    Args:
        card: of a model with attention or without.
        weights: its file.
        pictures: faces of any layout; their `train` split is used, labels are not.

    Raises:
        QuantisationError: no pictures given.
    """
    if pictures is None:
        raise QuantisationError("--int8 needs --pictures: faces like those it will see")
    import nncf  # noqa: PLC0415 - an extra, and slow to import
    import openvino  # noqa: PLC0415

    faces = open_faces(pictures, card.labels, card.input_hw, "train")
    step = max(1, len(faces) // CALIBRATION_FACES)
    pixels = pixels_of(faces, range(0, len(faces), step), card.channels)[:CALIBRATION_FACES]
    graph = derived(card, weights, card.input_hw, "pixels")
    model = openvino_core().read_model(graph)
    quantised = nncf.quantize(
        model,
        nncf.Dataset([np.ascontiguousarray(p[None]) for p in pixels]),
        # Six times less error in POSTER V2's logits than without, at the same speed.
        model_type=nncf.ModelType.TRANSFORMER if "poster" in card.name else None,
        subset_size=len(pixels),
    )
    target = graph.with_suffix(".int8.xml")
    openvino.save_model(quantised, target)
    return target
