"""Tensors out of an OpenVINO IR file (`.xml` with its `.bin`), for a network whose layers we have.

An exporter folds batch norms and drops names: what is left is one constant after another, in the
order of the graph. A network of ours that runs the same layers in the same order takes them back,
layer by layer; the first that differs is named.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.registry import IMAGENET_MEAN, IMAGENET_STD

CONVOLUTIONS = {"Convolution", "GroupConvolution"}
KINDS = CONVOLUTIONS | {"Add", "Multiply", "MatMul", "PRelu"}


class GraphError(ValueError):
    """An IR file that cannot be read or is of another network, in one line."""


@dataclass(frozen=True, slots=True)
class IrStep:
    """A constant and the operation that takes it, such as `Convolution` or `Add`."""

    kind: str
    values: NDArray[np.float32]


def read_steps(path: Path) -> list[IrStep]:
    """Constants of a graph's convolutions, sums, PReLUs and products, as they run.

    Args:
        path: the `.xml`; the `.bin` of the same name lies beside it.

    Raises:
        GraphError: missing, damaged or not IR.
    """
    import openvino  # noqa: PLC0415 - a second to import, and most weights are no graphs

    try:
        graph = openvino.Core().read_model(path)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise GraphError(f"{path}: not a readable OpenVINO graph ({reason})") from None
    return [
        IrStep(operation.get_type_name(), np.array(source.data, np.float32))
        for operation in graph.get_ordered_ops()
        if operation.get_type_name() in KINDS
        for source in (value.get_node() for value in operation.input_values())
        if source.get_type_name() == "Constant"
    ]


def lift(network: nn.Module, path: Path) -> dict[str, Tensor]:
    """State dict of `network` from a graph of the same layers.

    Batch norms come back as what is left of them after folding: no mean, variance 1, the folded
    bias. The graph takes pictures 0..1 and ours come normalised by ImageNet's mean and deviation,
    so the first convolution is rescaled and the first batch norm takes the mean.

    Args:
        network: its modules are registered in the order in which they run.
        path: the `.xml`.

    Raises:
        GraphError: unreadable, or a layer of the graph is not the network's.
    """
    steps = iter(read_steps(path))
    state: dict[str, Tensor] = {}
    for name, module in network.named_modules():
        for key, value in _layer(module, steps, f"{path}: {name}"):
            state[f"{name}.{key}"] = value
    if (more := next(steps, None)) is not None:
        raise GraphError(f"{path}: has a {more.kind} more than the network")
    return _for_normalised_pictures(state)


def _layer(module: nn.Module, steps: Iterator[IrStep], where: str) -> Iterator[tuple[str, Tensor]]:
    """Tensors of one layer, from the next constants of the graph."""
    if isinstance(module, nn.Conv2d):
        yield "weight", _next(steps, CONVOLUTIONS, module.weight, where)
    elif isinstance(module, nn.Linear):
        yield "weight", _next(steps, {"MatMul"}, module.weight, where)
    elif isinstance(module, nn.PReLU):
        yield "weight", _next(steps, {"PRelu"}, module.weight, where)
    elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
        gain = torch.ones_like(module.weight)
        if isinstance(module, nn.BatchNorm1d):  # behind a linear layer it is not folded
            gain = _next(steps, {"Multiply"}, module.weight, where)
        yield "weight", gain * (1 + module.eps) ** 0.5
        yield "bias", _next(steps, {"Add"}, module.bias, where)
        yield "running_mean", torch.zeros_like(module.weight)
        yield "running_var", torch.ones_like(module.weight)


def _next(steps: Iterator[IrStep], kinds: set[str], like: Tensor, where: str) -> Tensor:
    step = next(steps, None)
    if step is None:
        raise GraphError(f"{where}: the graph ends before this layer")
    if step.kind not in kinds or step.values.size != like.numel():
        raise GraphError(
            f"{where}: the graph has {step.kind} {step.values.shape} where the network has "
            f"{'/'.join(sorted(kinds))} {tuple(like.shape)}; give the file of this network"
        )
    return torch.from_numpy(step.values).reshape(like.shape)


def _for_normalised_pictures(state: dict[str, Tensor]) -> dict[str, Tensor]:
    convolution = next(key for key, value in state.items() if value.ndim == 4)
    norm = next(key for key in state if key.endswith("running_mean"))
    weight = state[convolution]
    mean, std = (torch.tensor(v).view(1, -1, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    state[norm] = -(weight * mean).sum((1, 2, 3))
    state[convolution] = weight * std
    return state
