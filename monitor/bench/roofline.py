"""How fast this machine could be: measured rates of arithmetic and memory, and what models need.

The rates are those of the device that runs the models: the CPU by OpenVINO, a GPU by torch.

A model's floor is its arithmetic over the measured matmul rate of its precision: no runtime can be
faster, and a good one comes near.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from models.inference.backend import openvino_core, this_machine

if TYPE_CHECKING:
    from openvino import Node


@dataclass(frozen=True, slots=True)
class Rates:
    """What was measured.

    Attributes:
        device: which was measured, in words.
        gflops: matmul rate by precision, of the whole device, 2 operations a multiply-add.
        copy_gb_s: bytes read and written a second by a large copy.
    """

    device: str
    gflops: dict[str, float]
    copy_gb_s: float


def measure_rates(device: str = "cpu", seconds: float = 1.0) -> Rates:
    """Matmuls in each precision that the device has, and a large copy within its memory.

    Args:
        device: `cpu` or `cuda`.
        seconds: for each of them.
    """
    return cpu_rates(seconds) if device == "cpu" else torch_rates(device, 8192, seconds)


def cpu_rates(seconds: float) -> Rates:
    """Matmul of 1024 x 1024 on all cores, and a copy of 64 MiB."""
    precisions = ["fp32"] + (["bf16"] if "BF16" in this_machine().cpu else [])
    gflops = {name: _matmul_gflops(name, seconds) for name in precisions}
    source = np.ones(16 * 2**20, np.float32)
    target = np.empty_like(source)
    fastest_s = _fastest_s(lambda: np.copyto(target, source), seconds)
    return Rates("the CPU", gflops, 2 * source.nbytes / fastest_s / 1e9)


def torch_rates(device: str, side: int, seconds: float) -> Rates:
    """The same by torch, whose work on a GPU is waited for: matmul and copy of side x side."""
    import torch  # noqa: PLC0415 - never on the CPU's path

    on_gpu = device == "cuda"
    precisions = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

    def fastest_s(work: Callable[[], object]) -> float:
        def finished() -> None:
            work()
            if on_gpu:
                torch.cuda.synchronize()

        finished()
        return _fastest_s(finished, seconds)

    gflops = {}
    for name, dtype in precisions.items():
        values = torch.ones(side, side, dtype=dtype, device=device)
        gflops[name] = 2 * side**3 / fastest_s(partial(torch.matmul, values, values)) / 1e9
    source = torch.ones(side, side, device=device)
    copy_s = fastest_s(partial(torch.empty_like(source).copy_, source))
    name = torch.cuda.get_device_name() if on_gpu else "the CPU by torch"
    return Rates(name, gflops, 2 * source.nbytes / copy_s / 1e9)


def _matmul_gflops(precision: str, seconds: float) -> float:
    from openvino import Model, Type, opset13  # noqa: PLC0415 - only where it serves

    side = 1024
    values = opset13.parameter([side, side], Type.f32)
    weights = opset13.constant(np.ones((side, side), np.float32) / side)
    model = Model([opset13.matmul(values, weights, False, False)], [values])
    hint = {"fp32": "f32", "bf16": "bf16"}[precision]
    settings = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}
    request = openvino_core().compile_model(model, "CPU", settings).create_infer_request()
    request.infer([np.ones((side, side), np.float32)])
    return 2 * side**3 / _fastest_s(request.infer, seconds) / 1e9


def _fastest_s(work: Callable[[], object], seconds: float) -> float:
    """The best of many runs: a ceiling is what the machine can do when nothing disturbs it."""
    end_s = time.perf_counter() + seconds
    best_s = float("inf")
    while time.perf_counter() < end_s:
        began_s = time.perf_counter()
        work()
        best_s = min(best_s, time.perf_counter() - began_s)
    return best_s


def gflops_of(graph: Path, sides_px: tuple[int, int] | None = None) -> float:
    """Operations of one run of a graph (ONNX or OpenVINO) with batch 1, in 1e9.

    Convolutions and matmuls alone, 2 operations a multiply-add: the rest is small beside them.

    Args:
        graph: the file.
        sides_px: (height, width) of the input, for a graph that leaves them open.
    """
    model = openvino_core().read_model(graph)
    shape = model.input().get_partial_shape()
    shape[0] = 1
    sides = iter(sides_px or ())
    for axis in range(1, len(shape)):
        if shape[axis].is_dynamic:
            shape[axis] = next(sides)
    model.reshape(shape)
    return sum(_operations(node) for node in model.get_ops()) / 1e9


def _operations(node: "Node") -> float:
    kind = node.get_type_name()
    if kind not in {"Convolution", "GroupConvolution", "MatMul"}:
        return 0.0
    out = np.prod(list(node.output(0).get_shape()), dtype=float)
    first, second = (list(node.input(k).get_shape()) for k in (0, 1))
    if kind == "MatMul":
        transposed = node.get_attributes().get("transpose_a", False)
        return float(2 * out * first[-2 if transposed else -1])
    # weights (out, in, kernel...), or (groups, out, in, kernel...): what one output value takes
    taken = second[1:] if kind == "Convolution" else second[2:]
    return float(2 * out * np.prod(taken, dtype=float))
