"""From a card and its weights to an ONNX file that takes camera pixels.

The graph begins with (B, H, W, C) uint8 BGR as a camera gives it; turning, scaling and
normalising are its first nodes, so every runtime feeds the same bytes and none copies pictures.
Batch normalisation stays as it was trained: the runtimes fuse it, and so every weight of the graph
is a tensor of the weights file, which `models.export.shipped_graphs` builds on.
`models.inference` runs this module as a process of its own, because the watch must not carry torch:

    python -m models.export.onnx_export CARD.json WEIGHTS.safetensors OUT.onnx HEIGHT WIDTH pixels

Networks fed with more than a crop (the eye-state network's light is taken out before) are exported
as they are, with `floats` for the last word.
"""

import logging
import os
import sys
import tempfile
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from models.checkpoint import CheckpointError
from models.network import ExportError, build, fed_with
from models.registry import Feed, ModelCard

OPSET = 18


def to_onnx(
    card: ModelCard, network: nn.Module, target: Path, hw: tuple[int, int], feed: Feed
) -> None:
    """Write the network behind its input as ONNX with a free batch axis, atomically.

    A detector's height and width are free as well, in multiples of its largest stride.

    Args:
        card: of the network.
        network: in evaluation mode.
        target: file to appear.
        hw: (height, width) of the input; of a detector, any that fits.
        feed: what the graph takes, uint8 `pixels` or `floats`.

    Raises:
        OSError: the folder cannot be written.
    """
    example = torch.zeros((2, *hw, card.channels), dtype=torch.uint8)
    if feed == "floats":
        example = example.permute(0, 3, 1, 2).float()
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, suffix=".onnx")
    os.close(handle)
    try:
        _write(fed_with(feed, network, card), example, name, any_size=card.task == "detection")
        Path(name).replace(target)
    finally:
        Path(name).unlink(missing_ok=True)


def _write(network: nn.Module, example: Tensor, name: str, *, any_size: bool) -> None:
    with warnings.catch_warnings(), torch.inference_mode():
        # Tracing warns of every shape it reads and of its own age; outputs are compared in tests.
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        outputs = [f"output{i}" for i in range(len(network(example)))]
        free = {key: {0: "batch"} for key in ("input", *outputs)}
        if any_size:
            free["input"] |= {1: "height", 2: "width"}
            free["output0"][2] = "cells"
        torch.onnx.export(
            network,
            (example,),
            name,
            dynamo=False,
            opset_version=OPSET,
            input_names=["input"],
            output_names=outputs,
            dynamic_axes=free,
            # Neither folds nor fuses: weights keep their names and values.
            do_constant_folding=False,
            training=torch.onnx.TrainingMode.PRESERVE,
        )


def main(arguments: list[str]) -> int:
    """Export as `models.inference.cache` asks; one line on standard error where that fails."""
    card_path, weights, target, height, width, feed = arguments
    torch.set_num_threads(1)
    card = ModelCard.from_json(Path(card_path).read_text(encoding="utf-8"))
    try:
        network = build(card, Path(weights), fused=False)
        hw = (int(height), int(width))
        to_onnx(card, network, Path(target), hw, "floats" if feed == "floats" else "pixels")
    except (ExportError, CheckpointError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
