"""Graphs that ship: the structure as ONNX, every weight left where it is, in the weights file.

A vehicle has no torch to derive a graph with. What ships for it is small, because ONNX may keep a
tensor in another file as (location, offset, length): each initializer points into
`NAME.safetensors` beside the graph, fp16 as it lies there, and a Cast makes it fp32 once, while the
graph is loaded. Weights and graph cannot differ: there is one copy of the weights, and the graph's
name holds their sha256.
"""

import json
import tempfile
from pathlib import Path
from typing import TypedDict

import onnx
from onnx import ModelProto, TensorProto, helper

from models.checkpoint import read_card
from models.export.onnx_export import to_onnx
from models.inference.cache import graph_name, sha256_of
from models.network import ExportError, build
from models.registry import WEIGHTS, Feed, ModelCard

# `onnx_export` wraps the network once.
_PREFIX = "network."


def write_shipped(folder: Path = WEIGHTS) -> list[Path]:
    """Write the graph of every pair of weights and card in a folder, and drop those outdated."""
    written = [write_beside(weights) for weights in sorted(folder.glob("*.safetensors"))]
    for left in set(folder.glob("*.onnx")) - set(written):
        left.unlink()
    return written


def write_beside(weights: Path) -> Path:
    """Write the graph of one weights file beside it.

    Raises:
        CheckpointError: no card beside it, or weights of another model.
        ExportError: a tensor that the graph needs has another shape in the file.
    """
    card = read_card(weights)
    feed = feed_of(card)
    target = weights.parent / graph_name(card, sha256_of(weights), card.input_hw, feed)
    with tempfile.TemporaryDirectory(prefix="wakeful-") as folder:
        whole = Path(folder) / target.name
        to_onnx(card, build(card, weights, fused=False), whole, card.input_hw, feed)
        graph = onnx.load(whole)
    point_into(graph, weights)
    target.write_bytes(graph.SerializeToString())
    return target


def feed_of(card: ModelCard) -> Feed:
    """What the watch gives a model: eyes come standardised, all others as the camera's pixels."""
    return "floats" if card.task == "eyes" else "pixels"


def point_into(graph: ModelProto, weights: Path) -> None:
    """Make every initializer that is a tensor of the weights file a reference into it.

    Args:
        graph: changed in place.
        weights: safetensors in fp16, to lie beside the graph.

    Raises:
        ExportError: a tensor has another shape or type in the file.
    """
    begin, tensors = tensor_table(weights)
    casts = []
    for initializer in graph.graph.initializer:
        name = initializer.name
        tensor = tensors.get(name.removeprefix(_PREFIX))
        if tensor is None:
            continue
        if list(initializer.dims) != tensor["shape"] or tensor["dtype"] != "F16":
            raise ExportError(f"{weights}: {name} is {tensor['dtype']} {tensor['shape']} there")
        first, last = tensor["data_offsets"]
        _refer(initializer, f"{name}.fp16", weights.name, begin + first, last - first)
        casts.append(helper.make_node("Cast", [initializer.name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.graph.node]
    del graph.graph.node[:]
    graph.graph.node.extend(nodes)


def _refer(initializer: TensorProto, name: str, location: str, offset: int, length: int) -> None:
    dims = list(initializer.dims)
    initializer.Clear()
    initializer.name, initializer.data_type = name, TensorProto.FLOAT16
    initializer.dims.extend(dims)
    initializer.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        entry = initializer.external_data.add()
        entry.key, entry.value = key, str(value)


class StoredTensor(TypedDict):
    """A tensor's entry in the header of a safetensors file."""

    dtype: str
    shape: list[int]
    data_offsets: tuple[int, int]


def tensor_table(weights: Path) -> tuple[int, dict[str, StoredTensor]]:
    """Where the data begin in a safetensors file, and its tensors."""
    with weights.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    return 8 + length, header
