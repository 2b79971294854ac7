"""ONNX files of other trainers: a card from what the file says of itself, and a pixel input.

The original YOLOv5 repository exports a graph that takes (B, 3, H, W) RGB floats in 0..1 and gives
one (B, N, 5 + classes) output; the names of the classes lie in the file's metadata. It becomes a
network like ours: nodes are put before it that take (B, H, W, 3) uint8 BGR.
"""

import ast
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from models.inference.backend import InferenceError
from models.inference.cache import cache_folder, sha256_of, writable
from models.registry import ModelCard

if TYPE_CHECKING:
    from onnx import ModelProto

# A graph that leaves its sides free is asked at the original repository's default.
_USUAL_PX = 640


def card_of(path: Path) -> ModelCard:
    """A detector's card from the file's own metadata, where none is beside it.

    Raises:
        InferenceError: no ONNX file, not fed like a detector, or silent about its classes.
    """
    graph = _read(path)
    metadata = {entry.key: entry.value for entry in graph.metadata_props}
    labels = _labels(metadata.get("names", ""))
    if not labels:
        raise InferenceError(
            f"{path}: does not name its classes; export it with the original `export.py`, or put "
            f"a card {path.with_suffix('.json').name} beside it"
        )
    _, (_, _, height, width) = _input(graph, path)
    return ModelCard(
        name=path.stem, task="detection", architecture="onnx", labels=labels,
        input_hw=(height or _USUAL_PX, width or _USUAL_PX),
        mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), sha256=sha256_of(path),
    )  # fmt: skip


def behind_pixels(path: Path) -> Path:
    """The network behind uint8 BGR pixels: the file itself if it takes them, else one in the cache.

    Raises:
        InferenceError: no ONNX file, or not one that takes float planes.
    """
    import onnx  # noqa: PLC0415 - only for files of others

    graph = _read(path)
    if graph.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8:
        return path
    target = cache_folder() / "models" / f"{path.stem}-{sha256_of(path)[:16]}-pixels.onnx"
    if target.is_file():
        return target
    try:
        joined = onnx.compose.merge_models(
            _front(graph, path), graph, io_map=[("wakeful_planes", graph.graph.input[0].name)]
        )
    except ValueError as error:
        raise InferenceError(f"{path}: cannot be fed pixels ({_short(error)})") from None
    target = writable(target)
    handle, name = tempfile.mkstemp(dir=target.parent, suffix=".onnx")
    os.close(handle)
    onnx.save(joined, name)
    Path(name).replace(target)
    return target


def _front(graph: "ModelProto", path: Path) -> "ModelProto":
    """Bytes to planes: BGR to RGB, channels first, 0..1."""
    from onnx import TensorProto, helper  # noqa: PLC0415 - as above

    floats, shape = _input(graph, path)
    batch, channels, height, width = shape
    nodes = [
        helper.make_node("Gather", ["wakeful_pixels", "wakeful_order"], ["wakeful_rgb"], axis=3),
        helper.make_node("Transpose", ["wakeful_rgb"], ["wakeful_chw"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["wakeful_chw"], ["wakeful_floats"], to=floats),
        helper.make_node("Div", ["wakeful_floats", "wakeful_white"], ["wakeful_planes"]),
    ]
    takes = helper.make_tensor_value_info(
        "wakeful_pixels", TensorProto.UINT8, [batch, height, width, channels]
    )
    gives = helper.make_tensor_value_info("wakeful_planes", floats, shape)
    constants = [
        helper.make_tensor("wakeful_order", TensorProto.INT64, [3], [2, 1, 0]),
        helper.make_tensor("wakeful_white", floats, [], [255.0]),
    ]
    return helper.make_model(
        helper.make_graph(nodes, "wakeful_pixels", [takes], [gives], constants),
        opset_imports=graph.opset_import,
        ir_version=graph.ir_version,
    )


def _input(graph: "ModelProto", path: Path) -> tuple[int, list[int | None]]:
    """Element type and (batch, 3, height, width) of the one input; None is a free side."""
    from onnx import TensorProto  # noqa: PLC0415 - as above

    floats = {TensorProto.FLOAT, TensorProto.FLOAT16}
    tensor = graph.graph.input[0].type.tensor_type if len(graph.graph.input) == 1 else None
    shape = [side.dim_value or None for side in tensor.shape.dim] if tensor else []
    if tensor is None or len(shape) != 4 or shape[1] != 3 or tensor.elem_type not in floats:
        raise InferenceError(
            f"{path}: takes {shape or 'several inputs'}, not one (batch, 3, height, width) picture "
            "of floats as a YOLOv5 export does"
        )
    return int(tensor.elem_type), shape


def _read(path: Path) -> "ModelProto":
    import onnx  # noqa: PLC0415 - only for files of others

    try:
        graph = onnx.load(path, load_external_data=False)
    except OSError as error:
        raise InferenceError(f"{path}: cannot be read ({error.strerror})") from None
    except Exception as error:  # noqa: BLE001 - protobuf's errors share no public base class
        raise InferenceError(f"{path}: cannot be opened ({_short(error)})") from None
    if not graph.graph.input:
        raise InferenceError(f"{path}: cannot be opened (holds no graph)")
    return graph


def _labels(text: str) -> tuple[str, ...]:
    """Class names as the original repository writes them: a Python list or dict of strings."""
    try:
        names = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return ()
    if isinstance(names, dict):
        names = [names[key] for key in sorted(names)]
    return tuple(str(name) for name in names) if isinstance(names, list | tuple) else ()


def _short(error: Exception) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:160]
