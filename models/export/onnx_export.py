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

import importlib
import logging
import os
import sys
import tempfile
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from models.checkpoint import CheckpointError, load_weights
from models.inference.backend import Feed
from models.registry import ModelCard

OPSET = 18


class ExportError(ValueError):
    """A model cannot be built or exported; one line says which file, what, and the cure."""


class FromPixels(nn.Module):
    """A network behind its own normalisation: uint8 pixels in, a tuple of float outputs out."""

    order: Tensor
    scale: Tensor
    offset: Tensor

    def __init__(self, network: nn.Module, card: ModelCard) -> None:
        super().__init__()
        self.network = network
        self.centred = any(card.mean)
        shape = (1, card.channels, 1, 1)
        mean, std = (torch.tensor(values).view(shape) for values in (card.mean, card.std))
        self.register_buffer("order", torch.arange(card.channels).flip(0))
        self.register_buffer("scale", 1 / (255 * std))
        self.register_buffer("offset", mean / std)

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """(B, H, W, C) uint8, BGR where there is colour."""
        # BGR becomes RGB while pixels are still one byte each.
        x = pixels.index_select(3, self.order).permute(0, 3, 1, 2).to(self.scale.dtype)
        x = x * self.scale
        if self.centred:
            x -= self.offset
        return _floats(self.network(x))


def build(card: ModelCard, weights: Path | None, *, fused: bool = True) -> nn.Module:
    """The card's network in evaluation mode, with its weights in fp32.

    Args:
        card: what to build.
        weights: any file `models.checkpoint` can read; None leaves it as initialised.
        fused: batch normalisation becomes part of the convolutions, where the network can.

    Raises:
        ExportError: unknown architecture.
        CheckpointError: missing, damaged or other weights.
    """
    network = _architecture(card)
    if weights is not None:
        load_weights(network, weights, card.sha256)
    network.eval()
    fuse = getattr(network, "fuse", None)
    if fused and fuse is not None:
        fuse()
    return network


def _architecture(card: ModelCard) -> nn.Module:
    module, _, factory = card.architecture.partition(":")
    module = module if module.startswith("models.") else f"models.{module}"
    try:
        make = getattr(importlib.import_module(module), factory)
    except (ImportError, AttributeError) as error:
        raise ExportError(
            f"model {card.name}: architecture {card.architecture!r} is not known ({error})"
        ) from None
    arguments = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in card.arguments.items()
    }
    network: nn.Module = make(labels=card.labels, **arguments)
    return network


class FromFloats(nn.Module):
    """A network as it is, for (B, C, H, W) float input; a tuple of float outputs out."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, values: Tensor) -> tuple[Tensor, ...]:
        """(B, C, H, W) in the network's own scale."""
        return _floats(self.network(values.to(next(self.network.parameters()).dtype)))


def _floats(outputs: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    return tuple(output.float() for output in outputs)


def fed_with(feed: Feed, network: nn.Module, card: ModelCard) -> nn.Module:
    """The network behind the input asked for."""
    return (FromPixels(network, card) if feed == "pixels" else FromFloats(network)).eval()


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
