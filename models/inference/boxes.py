"""Round a detector: letterbox before it, non-maximum suppression after it, a second look closer.

Torch-free: this is what the watch's frame loop runs. Letterbox and suppression are ultralytics'
arithmetic (a test compares them); four layouts of network output are read:

    (1, 4 + classes, N)   ultralytics YOLOv5u, ours
    (1, N, 5 + classes)   ONNX exports of the original YOLOv5 repository, with objectness
    (1, N, 4 + classes)   the first, transposed by some exporters
    (1, N, 6)             boxes after NMS: corners, score, class
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]
# (1, 3, H, W) float32 RGB in 0..1 to the raw output
Network = Callable[[Floats], Floats]

GREY = 114
IOU_THRESHOLD = 0.45  # of the original repository's `detect.py`
# A face narrower than this share of the whole picture is looked at again from closer: at 320 px
# its eyes are 12 px wide or less, and lids cannot be seen.
CLOSER_BELOW = 0.45
# Side of the closer look over the face's longer side: the view the network was trained on most.
CLOSER_SIDE = 1.75
# A face that fades when looked at closely (a head sunk forward fills the square with hair) keeps
# the first look's word.
FADED = 0.5


class OutputError(ValueError):
    """A network gives what no detector of its card's classes gives."""


@dataclass(frozen=True, slots=True)
class Letterbox:
    """How a picture was fitted into the network's input, to find the way back.

    Attributes:
        scale: input pixels per picture pixel, across and down: whole pixels make them differ.
        left_px, top_px: grey border in input pixels.
        size_px: (width, height) of the picture.
    """

    scale: tuple[float, float]
    left_px: int
    top_px: int
    size_px: tuple[int, int]

    def back(self, xyxy: Floats) -> Floats:
        """Boxes (N, 4) of the input as boxes of the picture, cut at its edges."""
        width, height = self.size_px
        border = np.array([self.left_px, self.top_px] * 2, np.float32)
        boxes = (xyxy - border) / np.array(self.scale * 2, np.float32)
        return np.asarray(np.clip(boxes, 0, [width, height, width, height]), np.float32)


def letterbox(image: Image, input_hw: tuple[int, int]) -> tuple[Image, Letterbox]:
    """Fit a picture into the input, keeping its shape, grey where it does not reach.

    Args:
        image: (H, W, 3) uint8.
        input_hw: height and width of the network's input.
    """
    height, width = image.shape[:2]
    scale = min(input_hw[0] / height, input_hw[1] / width)
    inner = (round(width * scale), round(height * scale))
    if (width, height) != inner:
        image = np.asarray(cv2.resize(image, inner, interpolation=cv2.INTER_LINEAR), np.uint8)
    across, down = (input_hw[1] - inner[0]) / 2, (input_hw[0] - inner[1]) / 2
    # halves are rounded up on the right and below, as ultralytics does
    left, top = round(across - 0.1), round(down - 0.1)
    fitted = cv2.copyMakeBorder(
        image, top, round(down + 0.1), left, round(across + 0.1), cv2.BORDER_CONSTANT,
        value=(GREY, GREY, GREY),
    )  # fmt: skip
    scales = (inner[0] / width, inner[1] / height)
    return np.asarray(fitted, np.uint8), Letterbox(scales, left, top, (width, height))


def to_input(fitted: Image) -> Floats:
    """(H, W, 3) uint8 BGR to (1, 3, H, W) float32 RGB in 0..1."""
    planes = fitted[..., ::-1].transpose(2, 0, 1)[None]
    return np.ascontiguousarray(planes, np.float32) / np.float32(255)


def decode(output: Floats, classes: int) -> tuple[Floats, Floats]:
    """Corners (N, 4) in input pixels and class scores (N, classes) of one picture's raw output.

    Raises:
        OutputError: the output has none of the known layouts for so many classes.
    """
    rows = np.asarray(output, np.float32)
    rows = rows[0] if rows.ndim == 3 and rows.shape[0] == 1 else rows
    layout = layout_of(rows.shape, classes)
    if layout == "suppressed":
        return _after_suppression(rows, classes)
    if layout is None:
        raise OutputError(
            f"detector output {tuple(output.shape)} fits no {classes}-class YOLO: expected "
            f"{EXPECTED.format(4 + classes, 5 + classes)}; are the labels on its card right?"
        )
    rows = rows.T if layout == "columns" else rows
    scores = rows[:, 5:] * rows[:, 4:5] if layout == "rows" else rows[:, 4:]
    half = rows[:, 2:4] / 2
    return np.hstack([rows[:, :2] - half, rows[:, :2] + half]), scores


Layout = Literal["rows", "columns", "turned", "suppressed"]
EXPECTED = "(1, N, {1}) of YOLOv5, (1, {0}, N) of later ones, or (1, N, 6) with NMS inside"
# A list of boxes after NMS is shorter; a network's own output has a row a cell and is longer.
LONGEST_LIST = 1000
# The strides of YOLO heads: the usual three, with a coarser or a finer one, and the tiny networks'.
_STRIDES = ((8, 16, 32), (8, 16, 32, 64), (4, 8, 16, 32), (16, 32), (8, 16))


def check_output(output: Floats, classes: int, input_hw: tuple[int, int]) -> None:
    """Refuse a network of others whose boxes would be misread, before it is watched with.

    Args:
        output: what it gave for any picture.
        classes: how many classes its labels name.
        input_hw: (height, width) of that picture.

    Raises:
        OutputError: no layout that is known, or one that cannot be told from another.
    """
    shape = output.shape[1:] if output.ndim == 3 and output.shape[0] == 1 else ()
    layout = layout_of(shape, classes)
    # A network's own output has one or three rows a cell of its grids; a list after NMS has not.
    rows = shape[1 if layout == "columns" else 0] if layout else 0
    if layout is None or _is_grid(rows, input_hw) is (layout == "suppressed"):
        gives = ", ".join(map(str, output.shape))
        raise OutputError(
            f"gives ({gives}) for {classes} classes, which is no output of a YOLO detector that "
            f"is known here: {EXPECTED.format(4 + classes, 5 + classes)}; export it without NMS"
        )
    xyxy, _ = decode(output, classes)
    if layout != "suppressed" and not _cover(xyxy, input_hw):
        raise OutputError(
            "gives boxes that are not in pixels of its input, as YOLOX without its decoding or an "
            "export with coordinates from 0 to 1; export it as YOLOv5 or YOLOv8 do"
        )


def _cover(xyxy: Floats, input_hw: tuple[int, int]) -> bool:
    """Whether the boxes' centres lie all over the picture, as those of a grid in pixels do."""
    height, width = input_hw
    across, down = (xyxy[:, 0] + xyxy[:, 2]) / 2, (xyxy[:, 1] + xyxy[:, 3]) / 2
    return bool(across.max() > width / 2 and down.max() > height / 2)


def _is_grid(rows: int, input_hw: tuple[int, int]) -> bool:
    height, width = input_hw
    cells = [sum((height // s) * (width // s) for s in strides) for strides in _STRIDES]
    return rows in {anchors * count for anchors in (1, 3) for count in cells}


def layout_of(shape: Sequence[int | None], classes: int) -> Layout | None:
    """How a detector's output of this shape is to be read; None where it cannot be.

    `rows`: (N, 5 + classes) centre, size, objectness, scores (YOLOv5). `columns`: (4 + classes, N)
    centre, size, scores (YOLOv5u, v8, v11); `turned`: the same as (N, 4 + classes). `suppressed`:
    (N, 6) corners, score, class, as exported with NMS inside and by YOLOv10; of one class it cannot
    be told from `rows`, of two from `turned` but by its length.

    Args:
        shape: without the batch; None is a free side.
        classes: how many the detector tells.
    """
    if len(shape) != 2:
        return None
    first, last = shape
    if last == 5 + classes:
        return "rows"
    if first == 4 + classes:
        return "columns"
    short = first is None or first <= LONGEST_LIST
    if last == _SUPPRESSED and classes > 1 and (short or classes != 2):
        return "suppressed"
    return "turned" if last == 4 + classes else None


_SUPPRESSED = 6


def _after_suppression(rows: Floats, classes: int) -> tuple[Floats, Floats]:
    """Corners and scores of boxes of which each names its one class.

    Raises:
        OutputError: the last column holds no class numbers, so that this is another layout.
    """
    named = rows[:, 5]
    whole = np.array_equal(named, named.round()) and not ((named < 0) | (named >= classes)).any()
    if not whole or ((rows[:, 4] < 0) | (rows[:, 4] > 1)).any():
        raise OutputError(
            f"detector output (N, 6) is no list of corners, score and class out of {classes}; "
            "export the network without NMS"
        )
    scores = np.zeros((len(rows), classes), np.float32)
    scores[np.arange(len(rows)), named.astype(int)] = rows[:, 4]
    return rows[:, :4], scores


def suppress(
    xyxy: Floats, scores: Floats, min_score: float, iou: float = IOU_THRESHOLD
) -> NDArray[np.intp]:
    """Indices of the boxes kept by class-agnostic non-maximum suppression, best first.

    Args:
        xyxy: (N, 4) corners.
        scores: (N, classes); a box counts with its best.
        min_score: boxes at or below it are dropped.
        iou: a box overlapping a better one by more than this is dropped.
    """
    best = scores.max(1) if scores.size else np.zeros(0, np.float32)
    order = np.flatnonzero(best > min_score)
    order = order[np.argsort(-best[order], kind="stable")]
    boxes = xyxy[order].astype(np.float32)
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    alive = np.ones(len(order), np.bool_)
    for index in range(len(order)):
        if not alive[index]:
            continue
        low = np.maximum(boxes[index, :2], boxes[index + 1 :, :2])
        high = np.minimum(boxes[index, 2:], boxes[index + 1 :, 2:])
        shared = np.clip(high - low, 0, None).prod(1)
        union = area[index] + area[index + 1 :] - shared
        alive[index + 1 :] &= shared <= iou * np.maximum(union, 1e-9)
    return order[alive]


@dataclass(frozen=True, slots=True)
class FaceBoxes:
    """FaceBoxes found in one picture, best first.

    Attributes:
        xyxy: (K, 4) corners in pixels of the picture.
        scores: (K, classes) in the order of the labels.
    """

    xyxy: Floats
    scores: Floats


def look(
    network: Network, image: Image, input_hw: tuple[int, int], classes: int, min_score: float
) -> FaceBoxes:
    """One pass of the network over a picture.

    Args:
        network: (1, 3, H, W) RGB 0..1 to raw output.
        image: (H, W, 3) uint8 BGR.
        input_hw: the input's height and width, multiples of 32.
        classes: how many the network knows.
        min_score: of the best class.
    """
    fitted, way = letterbox(image, input_hw)
    xyxy, scores = decode(network(to_input(fitted)), classes)
    kept = suppress(xyxy, scores, min_score)
    return FaceBoxes(way.back(xyxy[kept]), scores[kept])


def find_faces(
    network: Network,
    image: Image,
    labels: Sequence[str],
    min_score: float = 0.25,
    *,
    input_hw: tuple[int, int] = (320, 320),
    closer_hw: tuple[int, int] | None = (256, 256),
    closer_looks: int = 1,
) -> FaceBoxes:
    """Find faces and their states, looking a second time where a face is small.

    The first look finds faces anywhere; the second cuts a square round each of the most prominent
    and judges it at a size where eyelids can be seen. Where the second look finds no face, the
    first one's word stands.

    Args:
        network: (1, 3, H, W) RGB 0..1 to raw output, for inputs of both sizes.
        image: (H, W, 3) uint8 BGR.
        labels: the network's classes.
        min_score: of a face's best class, in either look.
        input_hw: of the first look.
        closer_hw: of the second; None for a single look.
        closer_looks: how many faces are looked at again.
    """
    # The first look asks only where a face is: its class is judged from closer.
    first_score = min_score if closer_hw is None else min(min_score, 0.1)
    faces = look(network, image, input_hw, len(labels), first_score)
    if closer_hw is not None:
        for index in prominent(faces)[:closer_looks]:
            faces = _closer(network, image, faces, int(index), closer_hw)
    kept = suppress(faces.xyxy, faces.scores, min_score)
    return FaceBoxes(faces.xyxy[kept], faces.scores[kept])


def prominent(faces: FaceBoxes) -> NDArray[np.intp]:
    """Indices by how likely a face is the driver's: sure and large first."""
    if not len(faces.xyxy):
        return np.zeros(0, np.intp)
    side = np.sqrt(np.clip(faces.xyxy[:, 2:] - faces.xyxy[:, :2], 0, None).prod(1))
    return np.argsort(-(faces.scores.max(1) * side), kind="stable")


def closer_square(xyxy: Floats) -> tuple[float, float, float]:
    """Left, top and side in pixels of the square in which a face is looked at again."""
    x1, y1, x2, y2 = (float(v) for v in xyxy)
    side = CLOSER_SIDE * max(x2 - x1, y2 - y1, 8.0)
    return (x1 + x2 - side) / 2, (y1 + y2 - side) / 2, side


def cut(image: Image, left: float, top: float, side: float, size: int) -> Image:
    """A square of a picture, `size` pixels wide; grey beyond the picture's edges."""
    x1, y1 = round(left), round(top)
    x2, y2 = x1 + max(round(side), 1), y1 + max(round(side), 1)
    square = inside = image[max(y1, 0) : max(y2, 0), max(x1, 0) : max(x2, 0)]
    if inside.shape[:2] != (y2 - y1, x2 - x1):
        square = np.full((y2 - y1, x2 - x1, 3), GREY, np.uint8)
        ox, oy = max(-x1, 0), max(-y1, 0)
        square[oy : oy + inside.shape[0], ox : ox + inside.shape[1]] = inside
    # Averaging costs four times as much, and a little thinner needs none.
    how = cv2.INTER_AREA if side > 1.4 * size else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(square, (size, size), interpolation=how), np.uint8)


def _closer(
    network: Network, image: Image, faces: FaceBoxes, index: int, closer_hw: tuple[int, int]
) -> FaceBoxes:
    size = min(closer_hw)
    if _fills(faces.xyxy[index], image):
        return faces
    left, top, side = closer_square(faces.xyxy[index])
    xyxy, scores = decode(
        network(to_input(cut(image, left, top, side, size))), faces.scores.shape[1]
    )
    xyxy = xyxy * (side / size) + np.array([left, top, left, top], np.float32)
    # the face looked for is the one where the first look saw it, not a neighbour in the square
    same = overlaps(faces.xyxy[index], xyxy) > 0.3
    if not same.any():
        return faces
    best = np.flatnonzero(same)[np.argmax(scores[same].max(1))]
    if scores[best].max() < FADED * faces.scores[index].max():
        return faces
    height, width = image.shape[:2]
    boxes, judged = faces.xyxy.copy(), faces.scores.copy()
    boxes[index] = np.clip(xyxy[best], 0, [width, height, width, height])
    judged[index] = scores[best]
    return FaceBoxes(boxes, judged)


def _fills(xyxy: Floats, image: Image) -> bool:
    height, width = image.shape[:2]
    return bool(max(xyxy[2] - xyxy[0], xyxy[3] - xyxy[1]) >= CLOSER_BELOW * max(height, width))


def overlaps(box: Floats, boxes: Floats) -> Floats:
    """Intersection over union of one box (4,) with each of (N, 4)."""
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    shared = np.clip(high - low, 0, None).prod(1)
    area = np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(1)
    own = float((box[2] - box[0]) * (box[3] - box[1]))
    return np.asarray(shared / np.maximum(own + area - shared, 1e-9), np.float32)
