"""From a card and its weights to an ONNX file that takes camera pixels.

The exported graph begins with (B, H, W, C) uint8 BGR as a camera gives it; turning, scaling and
normalising are its first nodes, so every runtime feeds the same bytes and none copies pictures.
`models.runtime` runs this module as a process of its own, because the watch must not carry torch:

    python -m models.export CARD.json WEIGHTS.safetensors OUT.onnx HEIGHT WIDTH
"""

import hashlib
import importlib
import logging
import os
import sys
import tempfile
import warnings
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

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
        found = self.network(x)
        outputs = found if isinstance(found, tuple) else (found,)
        return tuple(output.float() for output in outputs)


def build(card: ModelCard, weights: Path | None) -> nn.Module:
    """The card's network in evaluation mode, with its weights in fp32.

    Args:
        card: what to build.
        weights: safetensors file; None leaves it as initialised (for speed measurements).

    Raises:
        ExportError: unknown architecture; missing, damaged or other weights.
    """
    network = _architecture(card)
    if weights is not None:
        _load(network, read_tensors(weights, card.sha256), weights)
    network.eval()
    fuse = getattr(network, "fuse", None)
    if fuse is not None:
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


def read_tensors(path: Path, sha256: str) -> dict[str, Tensor]:
    """A safetensors file, checked against its card's sha256 (where the card has one).

    Raises:
        ExportError: missing, truncated, not safetensors, or another file than the card's.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ExportError(f"{path}: weights cannot be read ({error.strerror})") from None
    found = hashlib.sha256(content).hexdigest()
    if sha256 and found != sha256:
        raise ExportError(
            f"{path}: sha256 is {found[:12]}, its card says {sha256[:12]}; the file is damaged or "
            "of another release: put the pair of weights and card back as released"
        )
    try:
        return load(content)
    except (SafetensorError, ValueError) as error:
        raise ExportError(f"{path}: not a safetensors file ({error})") from None


def _load(network: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    own = network.state_dict()
    wanted = {k: v.float() if v.is_floating_point() else v for k, v in tensors.items() if k in own}
    for name in sorted(own.keys() ^ tensors.keys()):
        if not name.endswith("num_batches_tracked"):
            side = "missing" if name in own else "left over"
            raise ExportError(f"{path}: tensor {name} is {side}; weights and card do not match")
    try:
        network.load_state_dict(wanted, strict=False)
    except RuntimeError as error:
        raise ExportError(f"{path}: {str(error).splitlines()[-1].strip()}") from None


def to_onnx(card: ModelCard, network: nn.Module, target: Path, input_hw: tuple[int, int]) -> None:
    """Write the network behind `FromPixels` as ONNX with a free batch axis, atomically.

    Raises:
        OSError: the folder cannot be written.
    """
    example = torch.zeros((2, *input_hw, card.channels), dtype=torch.uint8)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, suffix=".onnx")
    os.close(handle)
    try:
        _write(FromPixels(network, card).eval(), example, name)
        Path(name).replace(target)
    finally:
        Path(name).unlink(missing_ok=True)


def _write(network: nn.Module, example: Tensor, name: str) -> None:
    with warnings.catch_warnings(), torch.inference_mode():
        # Tracing warns of every shape it reads and of its own age; outputs are compared in tests.
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        outputs = [f"output{i}" for i in range(len(network(example)))]
        torch.onnx.export(
            network,
            (example,),
            name,
            dynamo=False,
            opset_version=OPSET,
            input_names=["pixels"],
            output_names=outputs,
            dynamic_axes={key: {0: "batch"} for key in ("pixels", *outputs)},
        )


def main(arguments: list[str]) -> int:
    """Export as `models.runtime` asks; one line on standard error where that fails."""
    card_path, weights, target, height, width = arguments
    torch.set_num_threads(1)
    card = ModelCard.from_json(Path(card_path).read_text(encoding="utf-8"))
    try:
        network = build(card, Path(weights) if weights else None)
        to_onnx(card, network, Path(target), (int(height), int(width)))
    except (ExportError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
