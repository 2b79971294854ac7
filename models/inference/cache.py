"""Inference graphs: beside the weights where they ship, else made on first use and cached.

What needs torch runs in a process of its own; the watch only ever reads the product. A file's name
holds what it is made of, so nothing is ever out of date, and files appear whole or not at all.
"""

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

import structlog

from models.extras import cure
from models.inference.backend import InferenceError
from models.registry import WEIGHTS, Feed, ModelCard

log = structlog.get_logger(__name__)

# Part of every derived file's name: raise it when `models.export.onnx_export` writes another graph.
EXPORT_VERSION = 2


def cache_folder() -> Path:
    """Where derived files are kept: `$WAKEFUL_CACHE`, else the XDG cache folder."""
    own = os.environ.get("WAKEFUL_CACHE")
    if own:
        return Path(own).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "wakeful"


def derived(card: ModelCard, weights: Path, input_hw: tuple[int, int], feed: Feed) -> Path:
    """The ONNX file of these weights: the one beside them, else in the cache, else made now.

    Raises:
        InferenceError: the weights cannot be read or are not the card's.
    """
    digest = sha256_of(weights)
    if card.sha256 and digest != card.sha256:
        raise InferenceError(
            f"{weights}: sha256 is {digest[:12]}, its card says {card.sha256[:12]}; the file is "
            "damaged or of another release: put weights and card back as released"
        )
    name = graph_name(card, digest, input_hw, feed)
    for folder in (weights.parent, cache_folder() / "models"):
        if (folder / name).is_file():
            return folder / name
    if find_spec("torch") is None:
        raise InferenceError(
            f"{weights}: has no inference graph beside it, and making one needs torch: "
            f"{cure('torch')}, or run `wakeful models graphs` on the weights where torch is and "
            "copy the .onnx file beside them"
        )
    target = cache_folder() / "models" / name
    log.info("making the inference graph, once", model=card.id, kept_as=str(target))
    return _export(card, weights, writable(target), input_hw, feed)


def graph_name(
    card: ModelCard, sha256_of_weights: str, input_hw: tuple[int, int], feed: Feed
) -> str:
    """The file's name, which holds what it is made of; a detector's graph takes any size."""
    height, width = input_hw
    size = "any" if card.task == "detection" else f"{height}x{width}"
    return f"{card.name}-{sha256_of_weights[:16]}-{size}-{feed}-v{EXPORT_VERSION}.onnx"


def quantised(graph: Path) -> Path:
    """Where the int8 form of a graph is kept, there or not: always in the cache."""
    return cache_folder() / "models" / f"{graph.stem}.int8.xml"


def _export(
    card: ModelCard, weights: Path, target: Path, input_hw: tuple[int, int], feed: Feed
) -> Path:
    with tempfile.TemporaryDirectory(prefix="wakeful-") as folder:
        card_file = Path(folder) / "card.json"
        card_file.write_text(card.to_json(), encoding="utf-8")
        files, sides = (card_file, weights, target), input_hw
        done = subprocess.run(  # noqa: S603 - our own module, no shell
            [sys.executable, "-m", "models.export.onnx_export", *map(str, (*files, *sides)), feed],
            env=own_environment(),
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode != 0 or not target.is_file():
        lines = done.stderr.strip().splitlines()
        raise InferenceError(lines[-1] if lines else f"{card.name}: export ended without a word")
    return target


def own_environment() -> dict[str, str]:
    """The environment for a process of our own code: this installation first on its path."""
    root = str(WEIGHTS.resolve().parents[1])
    path = os.pathsep.join(p for p in (root, os.environ.get("PYTHONPATH", "")) if p)
    return {**os.environ, "PYTHONPATH": path}


def writable(target: Path) -> Path:
    """The file itself, or one in a folder of this process where the cache cannot be written."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=target.parent).close()
    except OSError as error:
        log.warning(
            "cache cannot be written, so models are prepared again at every start; "
            "set WAKEFUL_CACHE to a folder that can",
            folder=str(target.parent),
            reason=error.strerror,
        )
        folder = Path(tempfile.mkdtemp(prefix="wakeful-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        return folder / target.name
    return target


def sha256_of(path: Path) -> str:
    """Of a weights file, in hex.

    Raises:
        InferenceError: cannot be read.
    """
    try:
        return sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise InferenceError(f"{path}: weights cannot be read ({error.strerror})") from None
