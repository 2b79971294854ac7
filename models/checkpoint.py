"""Reading and writing weights. No pickle is ever executed.

    CheckpointError               one clear line: which file, what is wrong, and the cure
    ├── DamagedCheckpointError    not readable, truncated, or its sha256 is not the card's
    └── ForeignCheckpointError    readable, but of another model

Ours are safetensors in fp16 with a JSON card beside them. Files of other authors are torch files:
read by torch's restricted unpickler, with an inert stand-in for whatever class they mention, and
brought to our names by the rules of `models.key_maps`. The landmark network also comes as an
OpenVINO graph, read layer by layer (`models.openvino_ir`).
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from models.architectures.backbones import MobileFaceNet
from models.architectures.poster_v2 import PosterV2
from models.key_maps import FilledPart, translate
from models.openvino_ir import GraphError, lift
from models.registry import ModelCard


class CheckpointError(ValueError):
    """A file of weights that cannot be used."""


class DamagedCheckpointError(CheckpointError):
    """Not readable, truncated, or not the file its card speaks of."""


class ForeignCheckpointError(CheckpointError):
    """Readable, but of another model."""


class Inert:
    """Stands for any class a foreign file mentions: takes what it is given, does nothing."""

    def __new__(cls, *_: object, **__: object) -> Self:
        """Accept the arguments of whatever it stands for."""
        return super().__new__(cls)

    def __setstate__(self, state: object) -> None:
        """Drop the state."""


def write_weights(model: nn.Module, card: ModelCard, path: Path) -> ModelCard:
    """Write fp16 weights and beside them the card with their sha256; returns that card."""
    state = {
        key: (value.half() if value.is_floating_point() else value).contiguous().cpu()
        for key, value in model.state_dict().items()
    }
    content = save(state)
    finished = replace(card, sha256=hashlib.sha256(content).hexdigest())
    path.write_bytes(content)
    path.with_suffix(".json").write_text(finished.to_json(), encoding="utf-8")
    return finished


def read_card(path: Path) -> ModelCard:
    """The card beside a weights file.

    Raises:
        CheckpointError: there is none, or it is no card.
    """
    beside = path.with_suffix(".json")
    try:
        return ModelCard.from_json(beside.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{path}: has no card {beside.name} beside it; copy both") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{beside}: not a model card ({error})") from None


def read_state(path: Path) -> dict[str, Any]:
    """A torch file as tensors and plain values; code it mentions is neither imported nor run.

    Raises:
        DamagedCheckpointError: missing, truncated, not a torch file, or asks for a blocked module.
    """
    try:
        mentioned = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except FileNotFoundError:
        raise DamagedCheckpointError(f"{path}: no such file") from None
    except Exception:  # noqa: BLE001 - not a zip: an old torch file, or none; the next step tells
        mentioned = []
    try:
        with torch.serialization.safe_globals([(Inert, name) for name in mentioned]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001 - torch raises a dozen kinds for a bad file
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DamagedCheckpointError(
            f"{path}: cannot be read safely ({reason[:160]}); fetch it again from its authors"
        ) from None
    if not isinstance(content, Mapping):
        raise ForeignCheckpointError(f"{path}: holds a {type(content).__name__}, not a state dict")
    return dict(content)


def read_tensors(path: Path, sha256: str = "") -> dict[str, Tensor]:
    """Tensors by name, from safetensors or from a torch file's state dict.

    Args:
        path: `.safetensors`, or any file written by `torch.save`.
        sha256: what the file's hash must be; empty takes any.

    Raises:
        DamagedCheckpointError: missing, truncated, or another file than its card speaks of.
        ForeignCheckpointError: holds no tensors.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DamagedCheckpointError(f"{path}: cannot be read ({error.strerror})") from None
    digest = hashlib.sha256(content).hexdigest()
    if sha256 and digest != sha256:
        raise DamagedCheckpointError(
            f"{path}: sha256 is {digest[:12]}, its card says {sha256[:12]}; the file is damaged or "
            "of another release: put weights and card back as released"
        )
    if path.suffix == ".safetensors":
        try:
            return dict(load(content))
        except (SafetensorError, ValueError) as error:
            raise DamagedCheckpointError(f"{path}: not a safetensors file ({error})") from None
    return _state_dict(read_state(path), path)


def _state_dict(content: dict[str, Any], path: Path) -> dict[str, Tensor]:
    """The state dict of a torch file, wherever in it authors put it."""
    for key in ("state_dict", "model_state_dict", "model", "net"):
        if isinstance(content.get(key), Mapping):
            content = dict(content[key])
            break
    tensors = {
        key.removeprefix("module."): value
        for key, value in content.items()
        if isinstance(value, Tensor)
    }
    if not tensors:
        raise ForeignCheckpointError(
            f"{path}: holds no weights (keys: {', '.join(list(content)[:5])})"
        )
    return tensors


def load_weights(
    model: nn.Module, path: Path, sha256: str = "",
    *, relabel: tuple[Sequence[str], Sequence[str]] | None = None,
) -> FilledPart:  # fmt: skip
    """Put a file's weights into a model, or into the part of it that the file is of.

    Args:
        model: any of the house.
        path: ours, the authors' own POSTER V2, POSTER, FDRL, IR-50, MobileFaceNet, ResNet-18, or
            MobileFaceNet as an OpenVINO graph.
        sha256: what the file's hash must be; empty takes any.
        relabel: (labels of the file, labels of the model), for fine-tuning: rows of the head go by
            label, rows of labels that the file lacks keep the model's own first values, and tables
            of positions are resized. None: everything must fit as it is.

    Returns:
        Which part of the model was filled.

    Raises:
        DamagedCheckpointError, ForeignCheckpointError: one line each.
    """
    if path.suffix == ".xml":
        return _load_graph(model, path)
    tensors = read_tensors(path, sha256)
    part, renamed = translate(model, tensors)
    target = model.get_submodule(part.prefix) if part.prefix else model
    own = target.state_dict()
    if relabel is not None:
        renamed |= _relabelled(own, renamed, *relabel)
        if isinstance(target, PosterV2):
            renamed |= target.resized_tables(renamed)
    _refuse_foreign(own, renamed, path, part)
    floats = {k: v.to(own[k].dtype) for k, v in renamed.items()}
    target.load_state_dict(floats, strict=False)
    return part


def _load_graph(model: nn.Module, path: Path) -> FilledPart:
    """The landmark branch from an OpenVINO graph."""
    prefix = "" if isinstance(model, MobileFaceNet) else "landmark"
    target = getattr(model, prefix, None) if prefix else model
    part = FilledPart(prefix, "MobileFaceNet, the landmark backbone")
    if not isinstance(target, MobileFaceNet):
        raise ForeignCheckpointError(f"{path}: fills a MobileFaceNet, which this model has not")
    try:
        tensors = lift(target, path)
    except GraphError as error:
        raise ForeignCheckpointError(str(error)) from None
    target.load_state_dict(tensors, strict=False)
    return part


def _relabelled(
    own: dict[str, Tensor], theirs: dict[str, Tensor],
    their_labels: Sequence[str], labels: Sequence[str],
) -> dict[str, Tensor]:  # fmt: skip
    """Head tensors of the model with the file's rows where a label is the same."""
    heads: dict[str, Tensor] = {}
    for key in ("head.weight", "head.bias", "vit.head.weight", "vit.head.bias"):
        if key in own and key in theirs and theirs[key].shape[1:] == own[key].shape[1:]:
            rows = own[key].clone()
            for row, label in enumerate(labels):
                if label in their_labels:
                    rows[row] = theirs[key][list(their_labels).index(label)].to(rows.dtype)
            heads[key] = rows
    return heads


def _refuse_foreign(
    own: dict[str, Tensor], theirs: dict[str, Tensor], path: Path, part: FilledPart
) -> None:
    """Every tensor must be there once and fit; batch counters alone may be missing."""
    missing = [k for k in own if k not in theirs and not k.endswith("num_batches_tracked")]
    extra = [k for k in theirs if k not in own]
    if missing or extra:
        first = f"lacks {missing[0]}" if missing else f"has {extra[0]}"
        raise ForeignCheckpointError(
            f"{path}: is of another model ({len(missing)} tensors missing, {len(extra)} unknown; "
            f"{first}); expected {part.what}"
        )
    for key, value in theirs.items():
        if own[key].shape != value.shape:
            labels = " (another number of labels)" if "head" in key else ""
            raise ForeignCheckpointError(
                f"{path}: {key} is {tuple(value.shape)}, the model has "
                f"{tuple(own[key].shape)}{labels}; give the model the file was trained for"
            )


def load_tensors(network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Load a checkpoint's tensors, each of which must fit.

    Raises:
        ForeignCheckpointError: a tensor is missing, left over or of another shape.
    """
    own = network.state_dict()
    for name in sorted(own.keys() ^ tensors.keys()):
        if not name.endswith("num_batches_tracked"):
            side = "is missing from" if name in own else "does not belong to this network; it is in"
            raise ForeignCheckpointError(f"tensor {name} {side} the checkpoint")
    for name, tensor in tensors.items():
        if name in own and own[name].shape != tensor.shape:
            raise ForeignCheckpointError(
                f"tensor {name} is {tuple(tensor.shape)} in the checkpoint, "
                f"this network needs {tuple(own[name].shape)}: another size or other classes?"
            )
    network.load_state_dict({k: v.float() for k, v in tensors.items() if k in own}, strict=False)


def transfer(network: nn.Module, tensors: Mapping[str, Tensor]) -> int:
    """Copy every tensor that fits by name and shape: the start of a transfer training.

    Returns:
        How many tensors were copied.
    """
    own = network.state_dict()
    fitting = {
        name: tensor.float()
        for name, tensor in tensors.items()
        if name in own and own[name].shape == tensor.shape and own[name].is_floating_point()
    }
    network.load_state_dict(fitting, strict=False)
    return len(fitting)
