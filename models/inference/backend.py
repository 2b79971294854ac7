"""What this machine can run, and how a model is to run on it.

InferenceError    one line: which setting or model, what is wrong, and the cure
"""

import ctypes
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from models.extras import cure

if TYPE_CHECKING:
    from openvino import Core

Device = Literal["auto", "cpu", "cuda"]
Runtime = Literal["auto", "openvino", "onnxruntime", "torch"]
Precision = Literal["auto", "fp32", "bf16", "fp16", "int8"]


# uint8 pixels or float32 values, as the network's feed says.
Input = NDArray[np.generic]
Outputs = list[NDArray[np.float32]]


class Backend(Protocol):
    """One runtime holding one network."""

    def run(self, batch: Input) -> Outputs:
        """Outputs for a batch."""

    def start(self, batch: Input) -> Callable[[], Outputs]:
        """Begin on it; call what comes back, once, to wait for its outputs."""

    def close(self) -> None:
        """Let go of it."""


class InferenceError(ValueError):
    """A model cannot be run as asked."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What this machine can run.

    Attributes:
        runtimes: those installed.
        cpu: OpenVINO's capabilities of the CPU (`BF16`, `FP16`, `INT8`...).
        cores: CPU cores this process may use.
        cuda: an NVIDIA GPU and its driver are there.
    """

    runtimes: frozenset[str]
    cpu: frozenset[str]
    cores: int
    cuda: bool


@dataclass(frozen=True, slots=True)
class Choice:
    """How a model will run, and why so."""

    runtime: str
    device: str
    precision: str
    threads: int
    why: str


def choose(
    machine: Machine,
    *,
    device: Device = "auto",
    runtime: Runtime = "auto",
    precision: Precision = "auto",
    threads: int = 0,
    exact: bool = False,
) -> Choice:
    """Settle what was left to `auto` and refuse what cannot be.

    Args:
        machine: what there is.
        device, runtime, precision, threads: what is wanted.
        exact: left to `auto`, a CPU computes in fp32, whatever it has.

    Raises:
        InferenceError: what was asked for is not there; the line names the setting and the cure.
    """
    reasons: list[str] = []
    where = _device(machine, device, runtime, reasons)
    engine = _runtime(machine, where, runtime)
    if exact and where == "cpu" and precision == "auto":
        precision = "fp32"
        reasons.append("attention is exact in fp32 only")
    kind = _precision(machine, where, engine, precision, reasons)
    return Choice(engine, where, kind, threads or machine.cores, "; ".join(reasons) or "as asked")


def _device(machine: Machine, device: Device, runtime: Runtime, reasons: list[str]) -> str:
    if device == "cuda" and not machine.cuda:
        raise InferenceError(
            "device cuda: no NVIDIA GPU with a working driver was found; "
            "set perception.device to auto or cpu"
        )
    if device != "auto":
        return device
    if machine.cuda and runtime in {"auto", "torch"} and "torch" in machine.runtimes:
        reasons.append("an NVIDIA GPU was found")
        return "cuda"
    return "cpu"


def _runtime(machine: Machine, device: str, runtime: Runtime) -> str:
    if device == "cuda" and runtime not in {"auto", "torch"}:
        raise InferenceError(
            f"runtime {runtime} serves the CPU here; "
            "set perception.runtime to torch or perception.device to cpu"
        )
    order = ("torch",) if device == "cuda" else ("openvino", "onnxruntime", "torch")
    wanted = order if runtime == "auto" else (runtime,)
    for name in wanted:
        if name in machine.runtimes:
            return name
    if wanted == ("torch",):
        raise InferenceError(f"runtime torch is not installed: {cure('torch')}")
    raise InferenceError(f"runtime {' or '.join(wanted)} is not installed: pip install it")


def _precision(
    machine: Machine, device: str, runtime: str, precision: Precision, reasons: list[str]
) -> str:
    can = {"fp32"}
    if device == "cuda":
        can |= {"fp16", "bf16"}
    elif runtime == "openvino":
        can |= {name.lower() for name in machine.cpu & {"BF16", "FP16", "INT8"}}
    if precision != "auto":
        if precision not in can:
            raise InferenceError(
                f"precision {precision} is not to be had with {runtime} on this {device}; "
                f"set perception.precision to auto or one of {', '.join(sorted(can))}"
            )
        return precision
    # fp16 loses range on a CPU, int8 needs measured accuracy: neither is chosen unasked.
    best = "bf16" if "bf16" in can else "fp32"
    if device == "cpu":
        has = "the chip has bf16" if best == "bf16" else f"{runtime} has no bf16 on this chip"
        reasons.append(has)
    return best


@cache
def this_machine() -> Machine:
    """Look once what there is."""
    runtimes = {name for name in ("openvino", "onnxruntime", "torch") if find_spec(name)}
    cpu: frozenset[str] = frozenset()
    if "openvino" in runtimes:
        cpu = frozenset(openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
    return Machine(frozenset(runtimes), cpu, len(os.sched_getaffinity(0)), _cuda_is_there())


def _cuda_is_there() -> bool:
    """Ask the driver itself: importing torch to find no GPU costs seconds and 200 MiB."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    count = ctypes.c_int(0)
    return (
        driver.cuInit(0) == 0
        and driver.cuDeviceGetCount(ctypes.byref(count)) == 0
        and count.value > 0
    )


def openvino() -> ModuleType:
    """OpenVINO without its telemetry, which would write a client id and report to its makers."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    return import_module("openvino")


@cache
def openvino_core() -> "Core":
    """OpenVINO's one core for the whole process."""
    return openvino().Core()
