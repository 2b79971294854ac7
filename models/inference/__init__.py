"""The inference seam: a card in, a network out that takes camera pixels.

>>> network = load(find("yolov5n_face"))
>>> print(network.describe())
yolov5n_face@0123456789ab 320x320 on openvino, cpu, bf16, 2 threads: the chip has bf16
>>> (boxes,) = network(pixels)  # (B, H, W, C) uint8 BGR

    openvino      CPU default; bf16 where the chip has it
    onnxruntime   CPU, for chips and systems OpenVINO does not serve
    torch         CUDA default: bf16 or fp16, channels-last, one CUDA graph a batch size

This module never imports torch for a CPU. The graphs of shipped weights lie beside them; those of
other weights are made once, by a process of its own, and kept in the user's cache.
"""

import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

import numpy as np
import structlog

from models.inference import boxes, onnx_import
from models.inference.backend import (
    Backend,
    Choice,
    Device,
    InferenceError,
    Input,
    Outputs,
    Precision,
    Runtime,
    choose,
    openvino,
    openvino_core,
    this_machine,
)
from models.inference.batching import Gathering
from models.inference.cache import cache_folder, derived, quantised
from models.registry import WEIGHTS, Feed, ModelCard

if TYPE_CHECKING:
    from openvino import CompiledModel, InferRequest

log = structlog.get_logger(__name__)


class Network:
    """A loaded model. One instance serves as many threads as it was loaded for.

    Attributes:
        card: what it is.
        input_hw: (height, width) it takes.
        feed: `pixels` as a camera gives them, or `floats` in the network's own scale.
        choice: how it runs.
        weights: the file it comes from.
        graph: the graph it was read from; None in torch.
    """

    def __init__(
        self,
        card: ModelCard,
        input_hw: tuple[int, int],
        feed: Feed,
        choice: Choice,
        backend: Backend,
        weights: Path,
        graph: Path | None = None,
    ) -> None:
        self.card = card
        self.weights = weights
        self.input_hw = input_hw
        self.feed = feed
        self.choice = choice
        self.graph = graph
        self._backend = backend
        pixels = feed == "pixels"
        self._dtype = np.dtype(np.uint8 if pixels else np.float32)
        self._shape = (*input_hw, card.channels) if pixels else (card.channels, *input_hw)

    def __call__(self, batch: Input) -> Outputs:
        """Outputs for a batch.

        Args:
            batch: (B, H, W, C) uint8, BGR where the card has three channels; with feed `floats`
                (B, C, H, W) float32.

        Raises:
            ValueError: another shape or type; the message names both.
        """
        return self._backend.run(self._checked(batch))

    def start(self, batch: Input) -> Callable[[], Outputs]:
        """Begin on a batch and return at once; call the answer to wait for the outputs.

        The batch must not change until then.
        """
        return self._backend.start(self._checked(batch))

    def warm_up(self) -> "Network":
        """One run, so that the first real picture is no slower than the rest."""
        self(self._black())
        return self

    def gathered(self, most: int) -> "Network":
        """The same network, which answers up to `most` pictures of several threads together."""
        backend = Gathering(self._backend, self._black(), most)
        return Network(
            self.card, self.input_hw, self.feed, self.choice, backend, self.weights, self.graph
        )

    def close(self) -> None:
        """Let go of it."""
        self._backend.close()

    def times_s(self, runs: int) -> list[float]:
        """How long each of some runs on one black picture takes, in seconds."""
        picture, took = self._black(), []
        for _ in range(runs):
            began_s = time.perf_counter()
            self(picture)
            took.append(time.perf_counter() - began_s)
        return took

    def describe(self) -> str:
        """What runs where, how, and why so, in one line."""
        height, width = self.input_hw
        choice = self.choice
        threads = f"{choice.threads} thread{'s' if choice.threads > 1 else ''}"
        on_cpu = f", {threads}" if choice.device == "cpu" else ""
        return (
            f"{self.card.id} {width}x{height} on {choice.runtime}, {choice.device}, "
            f"{choice.precision}{on_cpu}: {choice.why}"
        )

    def _black(self) -> Input:
        return np.zeros((1, *self._shape), self._dtype)

    def _checked(self, batch: Input) -> Input:
        if batch.dtype != self._dtype or batch.shape[1:] != self._shape or not len(batch):
            raise ValueError(
                f"{self.card.name} takes (batch, {', '.join(map(str, self._shape))}) "
                f"{self._dtype}, got {batch.shape} {batch.dtype}"
            )
        return np.ascontiguousarray(batch)


# On Intel chips with AMX OpenVINO's bf16 of window attention names another expression on a quarter
# of 1,000 faces (accuracy 0.68 for 0.84); convolutional networks name the same on 0.999 of them.
_ATTENTION = ("models.architectures.poster:", "models.architectures.poster_v2:")


def load(
    model: ModelCard | Path,
    *,
    device: Device = "auto",
    runtime: Runtime = "auto",
    precision: Precision = "auto",
    threads: int = 0,
    input_hw: tuple[int, int] | None = None,
    feed: Feed = "pixels",
    streams: int = 1,
) -> Network:
    """Open a model for inference and warm it up.

    Args:
        model: a card whose weights ship, or a file: `.safetensors` with its card as `.json` beside
            it, or `.onnx`, ours or a YOLOv5 exported by the original repository.
        device, runtime, precision: `auto` takes the best there is and says why.
        threads: CPU threads; 0 takes the cores this process may use.
        input_hw: (height, width) if not the card's.
        feed: what it will be given; normalisation is part of the graph with `pixels`.
        streams: how many threads of the caller's will ask it at once. The CPU's threads are shared
            out among them; a GPU answers them together.

    Raises:
        InferenceError: no such weights, damaged ones, or a runtime that cannot serve them.
    """
    card, weights = _resolve(model)
    machine = this_machine()
    size = input_hw or card.input_hw

    def opened(choice: Choice) -> Network:
        graph = None if choice.runtime == "torch" else _graph(card, weights, choice, size, feed)
        backend = _open(card, weights, choice, feed, graph, streams)
        network = Network(card, size, feed, choice, backend, weights, graph).warm_up()
        if weights.suffix == ".onnx" and card.task == "detection":
            _check_boxes(network)
        # A CPU gains nothing by batches: its cores are as busy with one picture each.
        together = streams > 1 and choice.device == "cuda"
        return network.gathered(streams) if together else network

    exact = card.architecture.startswith(_ATTENTION)
    choice = choose(
        machine, device=device, runtime=runtime, precision=precision, threads=threads, exact=exact
    )
    try:
        return opened(choice)
    except InferenceError as error:
        if choice.device != "cuda" or device == "cuda":
            raise
        log.warning("GPU not usable; running on the CPU", model=card.name, reason=str(error))
    choice = choose(replace(machine, cuda=False), threads=threads, exact=exact)
    return opened(replace(choice, why=f"GPU not usable; {choice.why}"))


def _check_boxes(network: Network) -> None:
    """A detector of others must give boxes that are read as they are meant."""
    try:
        boxes.check_output(network(network._black())[0], len(network.card.labels), network.input_hw)
    except boxes.OutputError as error:
        network.close()
        raise InferenceError(f"{network.weights}: {error}") from None


def _resolve(model: ModelCard | Path) -> tuple[ModelCard, Path]:
    if isinstance(model, ModelCard):
        weights = WEIGHTS / f"{model.name}.safetensors"
        card = model
    else:
        weights, beside = model, model.with_suffix(".json")
        if model.suffix == ".onnx" and not beside.is_file():
            return onnx_import.card_of(model), model
        try:
            card = ModelCard.from_json(beside.read_text(encoding="utf-8"))
        except OSError:
            raise InferenceError(
                f"{model}: its card {beside.name} is not beside it; a model is a pair of both"
            ) from None
        except ValueError as error:
            raise InferenceError(f"{beside}: {error}") from None
    if not weights.is_file():
        raise InferenceError(f"{card.name}: no weights at {weights}; train it or give a file")
    return card, weights


def _graph(
    card: ModelCard, weights: Path, choice: Choice, size: tuple[int, int], feed: Feed
) -> Path:
    if weights.suffix != ".onnx":
        graph = derived(card, weights, size, feed)
    else:
        graph = weights if feed == "floats" else onnx_import.behind_pixels(weights)
    if choice.precision != "int8":
        return graph
    small = quantised(graph)
    if not small.is_file():
        raise InferenceError(
            f"{card.name}: int8 must be calibrated first on pictures of your own: "
            f"`wakeful models export {card.name} --int8 --pictures FOLDER`"
        )
    return small


def _open(
    card: ModelCard,
    weights: Path,
    choice: Choice,
    feed: Feed,
    graph: Path | None,
    streams: int,
) -> Backend:
    if graph is None:
        if weights.suffix == ".onnx":
            raise InferenceError(f"{weights}: torch runs no ONNX; leave `runtime` to auto")
        from models.inference.torch_runtime import TorchBackend  # noqa: PLC0415 - never on the CPU's path

        return TorchBackend(card, weights, choice, feed)
    if choice.runtime == "openvino":
        return _OpenVino(graph, choice, streams)
    return _OnnxRuntime(graph, choice)


Settings = tuple[tuple[str, str | int | bool], ...]


class _OpenVino:
    """A request for each batch under way: fixed shapes run faster than free ones.

    Networks of the same graph and settings in one process share what is compiled.
    """

    _HINT = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}  # noqa: RUF012

    def __init__(self, graph: Path, choice: Choice, streams: int) -> None:
        self._tensor = openvino().Tensor
        self._graph = graph
        # What int8 leaves in floats runs as the chip does it best.
        floats = "bf16" if "BF16" in this_machine().cpu else "f32"
        self._settings: Settings = (
            # Left to itself, OpenVINO takes bf16 silently: say what is meant.
            ("INFERENCE_PRECISION_HINT", self._HINT.get(choice.precision, floats)),
            ("PERFORMANCE_HINT", "LATENCY"),
            ("INFERENCE_NUM_THREADS", choice.threads),
            ("NUM_STREAMS", min(streams, choice.threads)),
            # Every network would be pinned to the same first core, and the others stand idle.
            ("ENABLE_CPU_PINNING", False),
            *_compiled_cache(),
        )
        # Free requests by batch size, each with its model, which lives as long as somebody uses it.
        self._free: dict[int, list[tuple[InferRequest, CompiledModel]]] = {}

    def run(self, batch: Input) -> Outputs:
        request, owner = self._request(batch)
        request.infer()
        return self._answered(len(batch), request, owner)

    def start(self, batch: Input) -> Callable[[], Outputs]:
        request, owner = self._request(batch)
        request.start_async()

        def wait() -> Outputs:
            request.wait()
            # The request reads the caller's memory, which nobody else may hold until now.
            return self._answered(len(batch), request, owner)

        return wait

    def close(self) -> None:
        self._free.clear()

    def _request(self, batch: Input) -> "tuple[InferRequest, CompiledModel]":
        try:
            request, owner = self._free.setdefault(len(batch), []).pop()
        except IndexError:
            owner = _compiled(self._graph, self._settings, batch.shape)
            request = owner.create_infer_request()
        request.set_input_tensor(self._tensor(batch, shared_memory=True))
        return request, owner

    def _answered(self, size: int, request: "InferRequest", owner: "CompiledModel") -> Outputs:
        outputs = _copies(request)
        self._free[size].append((request, owner))
        return outputs


def _compiled_cache() -> tuple[tuple[str, str], ...]:
    """Where OpenVINO keeps what it compiled: halves a start, and is missed by nobody."""
    folder = cache_folder() / "openvino"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return ()
    return (("CACHE_DIR", str(folder)),) if os.access(folder, os.W_OK) else ()


_shared: "WeakValueDictionary[tuple[Path, Settings, tuple[int, ...]], CompiledModel]"
_shared = WeakValueDictionary()
_compiling = threading.Lock()


def _compiled(graph: Path, settings: Settings, shape: tuple[int, ...]) -> "CompiledModel":
    with _compiling:
        compiled = _shared.get((graph, settings, shape))
        if compiled is None:
            try:
                model = openvino_core().read_model(graph)
                model.reshape(list(shape))
                compiled = openvino_core().compile_model(model, "CPU", dict(settings))
            except RuntimeError as error:
                raise InferenceError(_unreadable(graph, error)) from None
            _shared[graph, settings, shape] = compiled
        return compiled


def _copies(request: "InferRequest") -> Outputs:
    """The request's own memory is written again by its next run."""
    return [np.array(tensor.data, np.float32) for tensor in request.output_tensors]


class _OnnxRuntime:
    def __init__(self, graph: Path, choice: Choice) -> None:
        import onnxruntime  # noqa: PLC0415 - only where it serves

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = choice.threads
        options.inter_op_num_threads = 1
        # Threads that spin between frames would take the other stages' cores.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                str(graph), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # noqa: BLE001 - its errors share no public base class
            raise InferenceError(_unreadable(graph, error)) from None
        self._input = self._session.get_inputs()[0].name

    def run(self, batch: Input) -> Outputs:
        outputs: Outputs = self._session.run(None, {self._input: batch})
        return outputs

    def start(self, batch: Input) -> Callable[[], Outputs]:
        return lambda: self.run(batch)

    def close(self) -> None:
        pass


def _unreadable(graph: Path, error: Exception) -> str:
    reason = str(error).strip().splitlines()
    return f"{graph}: cannot be opened ({reason[-1][:160] if reason else 'no reason given'})"
