"""How good a detector is: per class and per person, with intervals, and where it errs worst.

Precision, recall and mAP are ultralytics' own arithmetic (`ap_per_class`: precision and recall
where F1 is best, AP over 101 points, IoU 0.50 to 0.95). A face's box bears a score for every class,
as in YOLO, so each class is ranked over all pictures. Beside it stand two figures of the product:
how often awake and sleep pictures are told apart, and the area under the ROC of sleep.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, NotRequired, TypedDict

import cv2
import numpy as np
from numpy.typing import NDArray

from models.data.pictures import read_upright
from models.data.yolo import Picture, PictureSet
from models.inference.boxes import FaceBoxes, prominent
from models.report import Accuracy, DetectionAccuracy, Report, wilson
from models.ultralytics_safe import ultralytics

IOUS = np.linspace(0.5, 0.95, 10)
MIN_SCORE = 0.01
RESAMPLES = 200

FaceLook = Callable[[NDArray[np.uint8]], FaceBoxes]


@dataclass(frozen=True, slots=True)
class Judged:
    """One picture, what is true of it, and what was found.

    Attributes:
        picture: with its labels.
        truth: (N, 4) true boxes in pixels of the picture that was shown.
        faces: what was found.
    """

    picture: Picture
    truth: NDArray[np.float32]
    faces: FaceBoxes

    @property
    def driver(self) -> NDArray[np.float32] | None:
        """(classes,) scores of the most prominent face; None where none was found."""
        order = prominent(self.faces)
        return self.faces.scores[order[0]] if len(order) else None


def judge(
    look: FaceLook, pictures: Iterable[Picture], progress: Callable[[], None] = lambda: None
) -> list[Judged]:
    """Show every picture to a detector.

    Args:
        look: picture (H, W, 3) BGR to faces, of any score from `MIN_SCORE` on.
        pictures: what to show.
        progress: called after each picture.
    """
    judged = []
    for picture in pictures:
        judged.append(Judged(picture, picture.xyxy, look(read_upright(picture.path))))
        progress()
    return judged


# --- figures ---------------------------------------------------------------------------------


class MeanPrecision(TypedDict):
    """Mean AP over the classes that occur: over all of them, and over those the watch acts on."""

    map50: float
    map50_95: float
    awake_sleep_map50: float
    awake_sleep_map50_95: float


class DetectorFigures(MeanPrecision):
    """All figures of a group of pictures.

    Attributes:
        n, boxes: how many pictures and true boxes.
        classes: `n`, `precision`, `recall`, `map50`, `map50_95` of each class that occurs.
        confusion: awake and sleep pictures by the answer for the driver's face.
        accuracy, sleep_roc: of these; None where the group has none of either.
        intervals_95: of the means, the accuracy and the ROC.
    """

    n: int
    boxes: int
    classes: dict[str, dict[str, float]]
    confusion: NotRequired[dict[str, dict[str, int]]]
    accuracy: NotRequired[float | None]
    sleep_roc: NotRequired[float | None]
    intervals_95: dict[str, list[float]]


class PictureSetFigures(TypedDict):
    """Figures of a whole set and of every person in it."""

    labels: list[str]
    all: DetectorFigures
    people: dict[str, DetectorFigures]


class DetectorDocument(PictureSetFigures):
    """The same with what was measured, and how the pictures were shown."""

    model: str
    dataset: str
    split: str
    scene: str
    input_px: int
    closer: bool
    notices: list[str]
    measured_at: str


def figures(judged: Sequence[Judged], labels: Sequence[str], seed: int = 0) -> DetectorFigures:
    """All figures of a group of pictures."""
    rows = [_matches(one, len(labels)) for one in judged]
    per_class = _average_precision(rows, labels)
    apart = _awake_against_sleep(judged, labels)
    means = _means(per_class, ("awake", "sleep"))
    measured: DetectorFigures = {
        "n": len(judged),
        "boxes": sum(len(one.truth) for one in judged),
        "classes": per_class,
        "map50": means["map50"],
        "awake_sleep_map50": means["awake_sleep_map50"],
        "map50_95": means["map50_95"],
        "awake_sleep_map50_95": means["awake_sleep_map50_95"],
        "intervals_95": _intervals(rows, apart, labels, seed),
    }
    if apart is not None:
        measured["confusion"] = apart.confusion
        measured["accuracy"] = float(apart.right.mean()) if len(apart.right) else None
        measured["sleep_roc"] = roc_area(apart.score, apart.asleep)
    return measured


class _Matches(NamedTuple):
    """A picture's detections: (N, 10) hits per IoU, scores, classes; and its true classes."""

    hits: NDArray[np.bool_]
    scores: NDArray[np.float32]
    classes: NDArray[np.int64]
    truth: NDArray[np.int64]


def _matches(one: Judged, classes: int) -> _Matches:
    count = len(one.faces.xyxy)
    boxes = np.repeat(one.faces.xyxy, classes, 0)
    scores = one.faces.scores.reshape(-1)
    named = np.tile(np.arange(classes), count)
    kept = scores > MIN_SCORE / 10
    boxes, scores, named = boxes[kept], scores[kept], named[kept]
    overlap = _iou(one.truth, boxes)
    overlap = overlap * (one.picture.classes[:, None] == named[None])
    hits = np.zeros((len(boxes), len(IOUS)), np.bool_)
    for column, least in enumerate(IOUS):
        free = overlap.copy()
        while free.size and free.max() >= least:  # best pairs first, each box once
            truth, box = np.unravel_index(free.argmax(), free.shape)
            hits[box, column] = True
            free[truth, :] = 0
            free[:, box] = 0
    return _Matches(hits, scores, named, one.picture.classes)


def _iou(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float64]:
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(2)
    area = [np.clip(x[:, 2:] - x[:, :2], 0, None).prod(1) for x in (a, b)]
    union = area[0][:, None] + area[1][None] - shared
    return np.asarray(shared / np.maximum(union, 1e-9), np.float64)


def _average_precision(
    rows: Sequence[_Matches], labels: Sequence[str]
) -> dict[str, dict[str, float]]:
    ultralytics()
    from ultralytics.utils.metrics import ap_per_class  # noqa: PLC0415  (only after made safe)

    hits, scores, named, truth = (np.concatenate(column) for column in zip(*rows, strict=True))
    if not len(truth):
        return {}
    counts = np.bincount(truth.astype(int), minlength=len(labels))
    if not len(scores):
        zero = {"precision": 0.0, "recall": 0.0, "map50": 0.0, "map50_95": 0.0}
        return {labels[k]: zero | {"n": float(c)} for k, c in enumerate(counts) if c}
    names = dict(enumerate(labels))
    _, _, precision, recall, _, average, present, *_ = ap_per_class(
        hits, scores, named, truth, plot=False, names=names
    )
    return {
        labels[int(k)]: {
            "n": float(counts[int(k)]),
            "precision": float(precision[i]),
            "recall": float(recall[i]),
            "map50": float(average[i, 0]),
            "map50_95": float(average[i].mean()),
        }
        for i, k in enumerate(present)
    }


def _means(per_class: dict[str, dict[str, float]], chosen: Sequence[str]) -> MeanPrecision:
    acted = [row for name, row in per_class.items() if name in chosen]

    def mean(rows: Iterable[dict[str, float]], key: str) -> float:
        values = [row[key] for row in rows]
        return float(np.mean(values)) if values else 0.0

    return {
        "map50": mean(per_class.values(), "map50"),
        "map50_95": mean(per_class.values(), "map50_95"),
        "awake_sleep_map50": mean(acted, "map50"),
        "awake_sleep_map50_95": mean(acted, "map50_95"),
    }


@dataclass(frozen=True, slots=True)
class _Separation:
    """Awake and sleep pictures (N,) by the driver's face alone.

    Attributes:
        confusion: counts by truth and answer.
        right: whether the answer was.
        score: of sleep against awake, 0..1.
        asleep: the truth.
    """

    confusion: dict[str, dict[str, int]]
    right: NDArray[np.bool_]
    score: NDArray[np.float64]
    asleep: NDArray[np.bool_]


def _awake_against_sleep(judged: Sequence[Judged], labels: Sequence[str]) -> _Separation | None:
    if not {"awake", "sleep"} <= set(labels):
        return None
    awake, sleep = labels.index("awake"), labels.index("sleep")
    confusion = {true: {"awake": 0, "sleep": 0, "no face": 0} for true in ("awake", "sleep")}
    rows: list[tuple[bool, float, bool]] = []
    for one in judged:
        true = {int(c) for c in one.picture.classes} & {awake, sleep}
        if len(true) != 1:
            continue
        asleep = true == {sleep}
        scores = one.driver
        a, s = (float(scores[awake]), float(scores[sleep])) if scores is not None else (0.0, 0.0)
        answer = "no face" if scores is None else "sleep" if s > a else "awake"
        confusion["sleep" if asleep else "awake"][answer] += 1
        is_right = answer == ("sleep" if asleep else "awake")
        rows.append((is_right, s / (a + s) if a + s > 0 else 0.5, asleep))
    right, score, truth = np.array(rows).reshape(-1, 3).T
    return _Separation(confusion, right.astype(np.bool_), score, truth.astype(np.bool_))


def roc_area(score: NDArray[np.float64], positive: NDArray[np.bool_]) -> float | None:
    """Area under the ROC: how often a positive outscores a negative; None without both."""
    above, below = np.asarray(score)[positive], np.asarray(score)[~positive]
    if not len(above) or not len(below):
        return None
    below = np.sort(below)
    beaten = np.searchsorted(below, above, "left") + np.searchsorted(below, above, "right")
    return float(beaten.mean() / 2 / len(below))


def _intervals(
    rows: Sequence[_Matches],
    apart: _Separation | None,
    labels: Sequence[str],
    seed: int,
) -> dict[str, list[float]]:
    """95 % intervals by drawing the pictures anew, percentile method."""
    rng = np.random.default_rng(seed)
    drawn: defaultdict[str, list[float]] = defaultdict(list)
    for _ in range(RESAMPLES):
        chosen = rng.integers(0, len(rows), len(rows))
        means = _means(_average_precision([rows[k] for k in chosen], labels), ("awake", "sleep"))
        for key in ("map50", "awake_sleep_map50", "map50_95", "awake_sleep_map50_95"):
            drawn[key].append(means[key])
        if apart is not None and len(apart.right):
            again = rng.integers(0, len(apart.right), len(apart.right))
            drawn["accuracy"].append(float(apart.right[again].mean()))
            area = roc_area(apart.score[again], apart.asleep[again])
            drawn["sleep_roc"].extend([] if area is None else [area])
    return {
        key: [float(v) for v in np.percentile(values, (2.5, 97.5))]
        for key, values in drawn.items()
        if values
    }


def report(judged: Sequence[Judged], pictures: PictureSet) -> PictureSetFigures:
    """Figures of the whole set and of every person in it."""
    groups = {
        person: figures([one for one in judged if one.picture.person == person], pictures.labels)
        for person in sorted({one.picture.person for one in judged if one.picture.person})
    }
    return {
        "labels": list(pictures.labels),
        "all": figures(judged, pictures.labels),
        "people": groups,
    }


def as_report(measured: DetectorDocument, *, command: str, notes: Sequence[str] = ()) -> Report:
    """The same figures as the document `models list`, `compare` and the dashboard read."""
    scene = f", shrunk into {measured['scene']} scenes" if measured["scene"] else ""
    groups = {"all people": measured["all"]} | measured["people"]
    dataset = f"{measured['dataset']}{scene}"
    return Report(
        model=measured["model"].partition("@")[0],
        task="detection",
        labels=tuple(measured["labels"]),
        created=measured["measured_at"],
        command=command,
        detection=tuple(_detection(dataset, name, row) for name, row in groups.items()),
        accuracy=tuple(
            _accuracy(dataset, name, row) for name, row in groups.items() if row.get("confusion")
        ),
        notes=tuple(notes),
    )


def detection_of(
    judged: Sequence[Judged], labels: Sequence[str], dataset: str, split: str
) -> DetectionAccuracy:
    """The record of a detector of any classes on one split."""
    row = figures(judged, labels)
    means = {
        key: float(np.mean([values[key] for values in row["classes"].values()]))
        for key in ("precision", "recall")
    }
    return DetectionAccuracy(
        dataset=dataset, split=split, n=row["n"], instances=row["boxes"], map50=row["map50"],
        map50_95=row["map50_95"], ci_map50=tuple(row["intervals_95"]["map50"]),
        per_class={label: dict(values) for label, values in row["classes"].items()},
        selection="validation", origin="measured", **means,
    )  # fmt: skip


def _detection(dataset: str, group: str, row: DetectorFigures) -> DetectionAccuracy:
    classes = {label: dict(values) for label, values in row["classes"].items()}
    roc = row.get("sleep_roc")
    if roc is not None and "sleep" in classes:
        classes["sleep"]["roc"] = roc
    acted = {"map50": row["awake_sleep_map50"], "map50_95": row["awake_sleep_map50_95"]}
    low, high = row["intervals_95"]["awake_sleep_map50"]
    means = {
        key: float(np.mean([values[key] for values in row["classes"].values()]))
        for key in ("precision", "recall")
    }
    return DetectionAccuracy(
        dataset=dataset,
        split=group,
        n=row["n"],
        instances=row["boxes"],
        map50=row["map50"],
        map50_95=row["map50_95"],
        ci_map50=tuple(row["intervals_95"]["map50"]),
        per_class=classes | {"awake and sleep": acted | {"map50_low": low, "map50_high": high}},
        selection="validation",
        origin="measured",
        **means,
    )


def _accuracy(dataset: str, group: str, row: DetectorFigures) -> Accuracy:
    answers = ("awake", "sleep", "no face")
    rows = [tuple(row["confusion"][truth][answer] for answer in answers) for truth in answers[:2]]
    right, n = sum(rows[k][k] for k in range(2)), sum(map(sum, rows))
    recalls = [rows[k][k] / sum(rows[k]) for k in range(2) if sum(rows[k])]
    return Accuracy(
        dataset=dataset,
        split=group,
        n=n,
        overall=right / n,
        mean_class=float(np.mean(recalls)),
        ci=wilson(right, n),
        selection="validation",
        origin="measured",
        filter="pictures of awake and sleep, by the driver's face",
        labels=answers,
        confusion=(*rows, (0, 0, 0)),
    )


# --- the worst errors ------------------------------------------------------------------------


def worst(judged: Sequence[Judged], count: int = 24) -> list[Judged]:
    """Pictures whose true class scores least against the best wrong one."""

    def margin(one: Judged) -> float:
        scores = one.driver
        if scores is None or not len(one.picture.classes):
            return -1.0
        true = int(one.picture.classes[0])
        return float(scores[true] - max(np.delete(scores, true), default=0.0))

    return sorted(judged, key=margin)[:count]


def draw_grid(
    chosen: Sequence[Judged], labels: Sequence[str], path: Path, columns: int = 6, side: int = 240
) -> None:
    """A grid of pictures with the true box (white), the one found and what was said of it."""
    tiles = [_tile(one, labels, side) for one in chosen]
    tiles += [np.full((side, side, 3), 24, np.uint8)] * (-len(tiles) % columns)
    rows = [np.hstack(tiles[k : k + columns]) for k in range(0, len(tiles), columns)]
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.vstack(rows))


def _tile(one: Judged, labels: Sequence[str], side: int) -> NDArray[np.uint8]:
    image = read_upright(one.picture.path)
    scale = side / max(image.shape[:2])
    tile = np.full((side, side, 3), 24, np.uint8)
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    tile[: small.shape[0], : small.shape[1]] = small
    for box in one.truth * scale:
        cv2.rectangle(tile, *_ends(box), (255, 255, 255), 1)
    truth = ", ".join(labels[int(c)] for c in one.picture.classes)
    answer, colour = "no face", (60, 60, 255)
    order = prominent(one.faces)
    if len(order):
        scores = one.faces.scores[order[0]]
        answer = f"{labels[int(scores.argmax())]} {scores.max():.2f}"
        right = len(one.picture.classes) and int(scores.argmax()) == int(one.picture.classes[0])
        colour = (90, 220, 90) if right else (60, 60, 255)
        cv2.rectangle(tile, *_ends(one.faces.xyxy[order[0]] * scale), colour, 2)
    cv2.putText(
        tile, f"{truth}: {answer}", (4, side - 8), cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, 1
    )
    return tile


def _ends(box: NDArray[np.float32]) -> tuple[tuple[int, int], tuple[int, int]]:
    return (int(box[0]), int(box[1])), (int(box[2]), int(box[3]))
