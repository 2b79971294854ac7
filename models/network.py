"""A network from its card: built, filled with its weights, and set behind its own input.

Networks take camera pixels (`FromPixels`: turning, scaling and normalising are their first layers),
or floats where they are fed with more than a crop, as the eye-state network, whose light is taken
out before.
"""

import importlib
from pathlib import Path

import torch
from torch import Tensor, nn

from models.checkpoint import load_weights
from models.registry import Feed, ModelCard


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
