"""Tensors out of a pickled YOLOv5 checkpoint, without running anything that lies in it.

The original repository pickles whole network objects (`models.yolo.Model`). Here each class name
found in the file gets an inert stand-in that only holds what it is given; torch's restricted
unpickler refuses everything else. What comes out is tensors, class names and numbers.
"""

import pickle
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from models.architectures.yolov5 import SIZES, YOLOv5, yolov5
from models.checkpoint import DamagedCheckpointError, ForeignCheckpointError, load_tensors

# Names a YOLOv5 checkpoint may mention. They are never imported: stand-ins answer to them.
KNOWN = ("models.yolo.", "models.common.", "torch.nn.modules.", "ultralytics.nn.")


# Values beside the network (the options of the run, the best figure, the date): they hold no code
# and are not needed. Stand-ins answer to these names, too.
_VALUES = frozenset(
    {
        "builtins.set", "__builtin__.set", "_codecs.encode", "argparse.Namespace",
        "collections.OrderedDict", "collections.defaultdict", "datetime.date",
        "datetime.datetime", "datetime.timedelta", "datetime.timezone", "torch.Size",
        "torch.device",
    }
)  # fmt: skip
_VALUE_FAMILIES = (
    "pathlib.",  # PosixPath, WindowsPath, PureWindowsPath; `pathlib._local.` since Python 3.13
    "numpy.dtype",
    "numpy.ndarray",
    "numpy.core.multiarray.",
    "numpy._core.multiarray.",
    "numpy.float",
    "numpy.int",
    "numpy.bool",
)


@dataclass(frozen=True, slots=True)
class LegacyCheckpoint:
    """What is worth having of a pickled detector.

    Attributes:
        labels: class names in the order of the outputs.
        tensors: parameters and buffers by name, as float32.
    """

    labels: tuple[str, ...]
    tensors: dict[str, Tensor]


class _Inert:
    """Holds what the pickle puts in; has no behaviour of its own."""

    def __init__(self, *_: object) -> None:
        self.state: dict[str, object] = {}

    def __setstate__(self, state: object) -> None:
        self.state = state if isinstance(state, dict) else {}


def read_legacy(path: Path) -> LegacyCheckpoint:
    """Lift tensors and class names out of a pickled YOLOv5 checkpoint.

    Raises:
        DamagedCheckpointError: not readable.
        ForeignCheckpointError: no such checkpoint, or it names code of another kind.
    """
    network = _unpickle(path)
    if isinstance(network, dict):
        network = network.get("ema") or network.get("model")
    if not isinstance(network, _Inert):
        raise ForeignCheckpointError(
            f"{path}: holds no pickled YOLOv5 network under 'ema' or 'model'"
        )
    names = network.state.get("names")
    if isinstance(names, dict):
        names = [names[index] for index in sorted(names)]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ForeignCheckpointError(f"{path}: the checkpoint does not say its class names")
    return LegacyCheckpoint(tuple(names), dict(_tensors(network)))


def _unpickle(path: Path) -> object:
    try:
        named = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except (OSError, ValueError, RuntimeError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        raise DamagedCheckpointError(
            f"{path}: not a readable torch checkpoint ({_first_line(error)})"
        ) from None
    for name in named:
        if name not in _VALUES and not name.startswith((*KNOWN, *_VALUE_FAMILIES)):
            raise ForeignCheckpointError(
                f"{path}: the file names {name}, which is no part of a YOLOv5 network; "
                f"nothing was loaded. Export it to ONNX where it was trained"
            )
    stand_ins: list[Callable[..., object] | tuple[Callable[..., object], str]] = [
        (set if name.endswith(".set") else type(name.rpartition(".")[2], (_Inert,), {}), name)
        for name in named
    ]
    try:
        with torch.serialization.safe_globals(stand_ins):
            content: object = torch.load(path, map_location="cpu", weights_only=True)
    except (ValueError, RuntimeError, KeyError, EOFError, pickle.UnpicklingError) as error:
        raise DamagedCheckpointError(
            f"{path}: damaged or unsafe checkpoint ({_first_line(error)})"
        ) from None
    return content


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]


def _named(module: _Inert, group: str) -> Iterator[tuple[str, object]]:
    values = module.state.get(group)
    if isinstance(values, dict):
        yield from values.items()


def _tensors(module: _Inert, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    for group in ("_parameters", "_buffers"):
        for name, tensor in _named(module, group):
            if isinstance(tensor, Tensor):
                value = tensor.detach()
                yield prefix + name, value.float() if value.is_floating_point() else value
    for name, child in _named(module, "_modules"):
        if isinstance(child, _Inert):
            yield from _tensors(child, f"{prefix}{name}.")


def from_legacy(path: Path) -> YOLOv5:
    """A detector trained with the original YOLOv5 repository, ready to run.

    Raises:
        DamagedCheckpointError: not readable.
        ForeignCheckpointError: unsafe, or no size of ours (n, s, m, l) fits its tensors.
    """
    checkpoint = read_legacy(path)
    if not any(name.startswith("model.24.") for name in checkpoint.tensors):
        # The head of YOLOv5 is layer 24; of YOLOv8 it is 22, of YOLO11 23.
        raise ForeignCheckpointError(
            f"{path}: is no YOLOv5 but another YOLO (YOLOv8 or later); export it to ONNX where it "
            f"was trained (`yolo export model={path.name} format=onnx`) and give that file"
        )
    first = checkpoint.tensors.get("model.0.conv.weight")
    anchors = "model.24.anchors" in checkpoint.tensors
    for size, (_, width) in SIZES.items():
        if first is not None and first.shape[0] == int(64 * width):
            network = yolov5(checkpoint.labels, size, anchors)  # type: ignore[arg-type]
            tensors = {k: v for k, v in checkpoint.tensors.items() if not k.endswith("anchor_grid")}
            load_tensors(network, tensors)
            return network.eval()
    raise ForeignCheckpointError(f"{path}: not YOLOv5 n, s, m or l of release 6.0 or later")
