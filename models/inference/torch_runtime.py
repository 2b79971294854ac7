"""torch behind the inference seam: CUDA with one captured graph a batch size, or the plain CPU."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from models.checkpoint import CheckpointError
from models.inference.backend import Choice, InferenceError, Input, Outputs
from models.network import ExportError, build, fed_with
from models.registry import Feed, ModelCard

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# torch asks for some runs on a side stream before a capture, so that its libraries are set up.
WARM_UP_RUNS = 3


class TorchBackend:
    """One network in torch.

    Raises:
        InferenceError: the weights do not fit, or torch has no CUDA though a GPU is there.
    """

    def __init__(self, card: ModelCard, weights: Path, choice: Choice, feed: Feed) -> None:
        device = choice.device
        if device == "cuda" and not torch.cuda.is_available():
            raise InferenceError(
                f"torch {torch.__version__} was built without CUDA or for a newer driver; "
                "install the CUDA build of the same version"
            )
        if weights.suffix == ".onnx":
            raise InferenceError(f"{weights}: torch takes safetensors; use another runtime")
        try:
            network = fed_with(feed, build(card, weights), card)
        except (ExportError, CheckpointError) as error:
            raise InferenceError(str(error)) from None
        dtype = DTYPES[choice.precision]
        if dtype is torch.bfloat16 and device == "cuda" and not torch.cuda.is_bf16_supported():
            dtype = torch.float16
        self._device = torch.device(device)
        network = network.to(self._device, dtype).requires_grad_(False)
        self._network: nn.Module = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._captured: dict[torch.Size, _Captured] = {}
        if device == "cpu":
            torch.set_num_threads(choice.threads)

    def run(self, batch: Input) -> Outputs:
        """Outputs for a batch."""
        return self.start(batch)()

    def start(self, batch: Input) -> Callable[[], Outputs]:
        """Begin on a batch; on CUDA the copy, the network and the way back are only queued."""
        values = torch.from_numpy(batch)
        if self._device.type == "cpu":
            return lambda: self._on_cpu(values)
        captured = self._captured.get(values.shape)
        if captured is None:
            captured = self._captured[values.shape] = _Captured(self._network, values)
        return captured.start(values)

    def close(self) -> None:
        """Let go of the captured graphs and their memory."""
        self._captured.clear()

    def _on_cpu(self, values: Tensor) -> Outputs:
        with torch.inference_mode():
            return [output.numpy() for output in self._network(values)]


def _capturing(graph: torch.cuda.CUDAGraph, stream: torch.cuda.Stream) -> torch.cuda.graph:
    # Other networks' threads use the GPU meanwhile; only this thread's work may be captured.
    return torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local")


class _Captured:
    """A batch size's CUDA graph with pinned memory on both ends."""

    def __init__(self, network: nn.Module, example: Tensor) -> None:
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._done = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self._host = torch.empty(example.shape, dtype=example.dtype, pin_memory=True)
        self._input = torch.zeros(example.shape, dtype=example.dtype, device="cuda")
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.no_grad(), torch.cuda.stream(self._stream):
            for _ in range(WARM_UP_RUNS):
                network(self._input)
        self._stream.synchronize()
        self._graph = torch.cuda.CUDAGraph()
        with torch.no_grad(), _capturing(self._graph, self._stream):
            self._outputs: tuple[Tensor, ...] = network(self._input)
        self._results = [
            torch.empty(output.shape, dtype=output.dtype, pin_memory=True)
            for output in self._outputs
        ]

    def start(self, values: Tensor) -> Callable[[], Outputs]:
        """Queue the copy in, the graph, and the copy out; the answer waits for them."""
        self._host.copy_(values)
        with torch.cuda.stream(self._stream):
            self._input.copy_(self._host, non_blocking=True)
            self._graph.replay()
            for result, output in zip(self._results, self._outputs, strict=True):
                result.copy_(output, non_blocking=True)
            self._done.record(self._stream)
        return self._wait

    def _wait(self) -> Outputs:
        self._done.synchronize()
        return [result.numpy().copy() for result in self._results]
