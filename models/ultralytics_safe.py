"""The one door to ultralytics: silenced, offline, unable to run code from files, and able to start.

ultralytics downloads, installs packages and reports home unless told otherwise *before* its first
import, and it needs `torchvision::nms`, which a CUDA build of torchvision cannot give beside a
CPU-only torch (pytorch/vision #9085). Whoever needs ultralytics calls `ultralytics()` here before
importing any of it.
"""

import os
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import PIL.Image
import structlog
import torch

log = structlog.get_logger(__name__)

# Read by ultralytics at its import; a value the user has set is overruled on purpose: each of
# these keeps a picture set or a weights file from running code or reaching the network.
ENVIRONMENT = {
    "ULTRALYTICS_SAFE_LOAD": "1",
    "YOLO_AUTOINSTALL": "false",
    "YOLO_OFFLINE": "1",
    "YOLO_VERBOSE": "false",
}

_libraries: list[torch.library.Library] = []  # a torch Library is undone when it is collected


def _state_folder() -> Path:
    root = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(root) / "wakeful" / "ultralytics"


def nms(boxes: torch.Tensor, scores: torch.Tensor, iou_threshold: float) -> torch.Tensor:
    """Greedy non-maximum suppression, as `torchvision.ops.nms` defines it.

    Args:
        boxes: (N, 4) corners x1, y1, x2, y2.
        scores: (N,).
        iou_threshold: a box overlapping a better one by more than this share is dropped.

    Returns:
        (K,) int64 indices of the boxes kept, best first.
    """
    order = scores.argsort(descending=True, stable=True)
    boxes = boxes[order].float()
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    alive = torch.ones(len(boxes), dtype=torch.bool, device=boxes.device)
    for index in range(len(boxes)):
        if not alive[index]:
            continue
        rest = boxes[index + 1 :]
        low = torch.maximum(boxes[index, :2], rest[:, :2])
        high = torch.minimum(boxes[index, 2:], rest[:, 2:])
        shared = (high - low).clamp(min=0).prod(1)
        overlap = shared / (area[index] + area[index + 1 :] - shared).clamp(min=1e-12)
        alive[index + 1 :] &= overlap <= iou_threshold
    return order[alive]


def mend_torchvision() -> str:
    """Give `torchvision::nms` to a torchvision whose compiled part does not fit this torch.

    Returns:
        Which path was taken: "intact" or "mended".
    """
    spec = find_spec("torchvision")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for compiled in sorted(Path(folder).glob("_C*")):
            try:
                torch.ops.load_library(str(compiled))  # type: ignore[no-untyped-call]
            except (OSError, RuntimeError):
                continue
            return "intact"
    library: Any = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.impl("nms", nms, "CPU")
    _libraries.append(library)
    import torchvision.ops.boxes  # noqa: PLC0415  (only now can it be imported)

    torchvision.ops.boxes._assert_has_ops = lambda: None
    return "mended"


_PATCHED = ((PIL.Image, "open"), (cv2, "imread"), (cv2, "imwrite"), (cv2, "imshow"))


@cache
def ultralytics() -> ModuleType:
    """The ultralytics package, imported once, safely.

    Raises:
        ImportError: ultralytics is not installed.
    """
    os.environ.update(ENVIRONMENT)
    folder = _state_folder()
    folder.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("YOLO_CONFIG_DIR", str(folder))
    threads = torch.get_num_threads()
    log.debug("torchvision", compiled_part=mend_torchvision())
    before = [(module, name, getattr(module, name)) for module, name in _PATCHED]
    import ultralytics as package  # noqa: PLC0415

    # It puts its own readers in place of everybody's; its own code calls them by their own name.
    for module, name, function in before:
        setattr(module, name, function)
    torch.set_num_threads(threads)
    package.settings.update({"sync": False})
    loaded: ModuleType = package
    return loaded
