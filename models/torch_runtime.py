"""torch behind the inference seam: CUDA with one captured graph a batch size, or the plain CPU."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.export import ExportError, FromPixels, build
from models.machine import InferenceError
from models.registry import ModelCard
from models.runtime import Outputs

Pixels = NDArray[np.uint8]
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# torch asks for some runs on a side stream before a capture, so that its libraries are set up.
WARM_UP_RUNS = 3


class TorchBackend:
    """One network in torch.

    Raises:
        InferenceError: the weights do not fit, or torch has no CUDA though a GPU is there.
    """

    def __init__(
        self, card: ModelCard, weights: Path, device: str, precision: str, threads: int
    ) -> None:
        if device == "cuda" and not torch.cuda.is_available():
            raise InferenceError(
                f"torch {torch.__version__} was built without CUDA or for a newer driver; "
                "install the CUDA build of the same version"
            )
        if weights.suffix == ".onnx":
            raise InferenceError(f"{weights}: torch takes safetensors; use another runtime")
        try:
            network: nn.Module = FromPixels(build(card, weights), card)
        except ExportError as error:
            raise InferenceError(str(error)) from None
        dtype = DTYPES[precision]
        if dtype is torch.bfloat16 and device == "cuda" and not torch.cuda.is_bf16_supported():
            dtype = torch.float16
        self._device = torch.device(device)
        network = network.to(self._device, dtype).requires_grad_(False)
        self._network: nn.Module = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._captured: dict[torch.Size, _Captured] = {}
        if device == "cpu":
            torch.set_num_threads(threads)

    def run(self, pixels: Pixels) -> Outputs:
        """Outputs for a batch."""
        return self.start(pixels)()

    def start(self, pixels: Pixels) -> Callable[[], Outputs]:
        """Begin on a batch; on CUDA the copy, the network and the way back are only queued."""
        batch = torch.from_numpy(pixels)
        if self._device.type == "cpu":
            return lambda: self._on_cpu(batch)
        captured = self._captured.get(batch.shape)
        if captured is None:
            captured = self._captured[batch.shape] = _Captured(self._network, batch)
        return captured.start(batch)

    def _on_cpu(self, batch: Tensor) -> Outputs:
        with torch.inference_mode():
            return [output.numpy() for output in self._network(batch)]


class _Captured:
    """A batch size's CUDA graph with pinned memory on both ends."""

    def __init__(self, network: nn.Module, example: Tensor) -> None:
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._done = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self._host = torch.empty(example.shape, dtype=torch.uint8, pin_memory=True)
        self._pixels = torch.empty(example.shape, dtype=torch.uint8, device="cuda")
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.no_grad(), torch.cuda.stream(self._stream):
            for _ in range(WARM_UP_RUNS):
                network(self._pixels.zero_())
        self._stream.synchronize()
        self._graph = torch.cuda.CUDAGraph()
        with torch.no_grad(), torch.cuda.graph(self._graph, stream=self._stream):
            self._outputs: tuple[Tensor, ...] = network(self._pixels)
        self._results = [
            torch.empty(output.shape, dtype=output.dtype, pin_memory=True)
            for output in self._outputs
        ]

    def start(self, batch: Tensor) -> Callable[[], Outputs]:
        self._host.copy_(batch)
        with torch.cuda.stream(self._stream):
            self._pixels.copy_(self._host, non_blocking=True)
            self._graph.replay()
            for result, output in zip(self._results, self._outputs, strict=True):
                result.copy_(output, non_blocking=True)
            self._done.record(self._stream)
        return self._wait

    def _wait(self) -> Outputs:
        self._done.synchronize()
        return [result.numpy().copy() for result in self._results]
