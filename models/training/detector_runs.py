"""A whole training or evaluation of the detector, from folders to files."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models import inference
from models.architectures.yolov5 import yolov5
from models.checkpoint import load_tensors, read_card, read_tensors, transfer, write_weights
from models.data.pictures import read_upright
from models.data.yolo import (
    PictureSet,
    PictureSetError,
    check_driver_classes,
    of_split,
    read_picture_set,
    split_by_person,
)
from models.evaluation.detector import (
    MIN_SCORE,
    DetectorDocument,
    Judged,
    draw_grid,
    judge,
    report,
    worst,
)
from models.inference import boxes
from models.inference.boxes import FaceBoxes
from models.legacy_yolov5 import from_legacy, read_legacy
from models.network import build
from models.registry import WEIGHTS, ModelCard, find, with_labels
from models.synthesis.scenes import LABELS, Scene, shrunk_into_cabin
from models.training.detector import CURVES_FILE, DetectorRecipe, is_first_process, train_detector
from models.training.pretraining import face_crops, teach_backbone

NAME = "awake_sleep_n"
ProgressNote = Callable[..., None]


@dataclass(frozen=True, slots=True)
class DetectorPlan:
    """What will be trained, checked before anything starts."""

    train: PictureSet
    val: PictureSet | None
    run: Path
    recipe: DetectorRecipe
    start: dict[str, Tensor] | None
    origin: str
    card: ModelCard
    teach_steps: int = 0


def plan_training(
    data: Path,
    run: Path,
    *,
    start: str,
    hold_out: tuple[str, ...],
    recipe: DetectorRecipe,
    classes: Mapping[str, str] | None = None,
    teach_steps: int = 0,
) -> DetectorPlan:
    """Read and check everything a training needs.

    Args:
        data: the set; given splits are kept, else `hold_out` persons validate.
        run: folder of the run.
        start: `shipped`, `none`, or a file.
        hold_out: persons to validate on.
        recipe: how to train.
        classes: what a class of the set is called here, as {"drowsy": "sleep"}.
        teach_steps: how long the backbone classifies faces before it must find them; 0 skips it.

    Raises:
        PictureSetError, CheckpointError, ValueError: one line each.
    """
    pictures = read_picture_set(data, classes=classes)
    check_driver_classes(pictures)
    val: PictureSet | None
    if hold_out:
        train, val = split_by_person(pictures, hold_out)
    else:
        given = pictures.of_split("val")
        train = pictures.only(p for p in pictures.pictures if p.split in {"", "train"})
        val = pictures.only(given) if given else None
    if not train.pictures:
        raise PictureSetError(
            f"{data}: nothing to train on; pictures lie in images/ or images/train/"
        )
    tensors, origin = starting_tensors(start, recipe.size)
    card = replace(
        with_labels(find(NAME), pictures.labels), arguments={"size": recipe.size},
        input_hw=(_whole(recipe.image_px),) * 2,
        training_data=f"{len(train.pictures)} pictures of {data.name}", licence="AGPL-3.0-only",
    )  # fmt: skip
    return DetectorPlan(train, val, run, recipe, tensors, origin, card, teach_steps)


def _whole(side_px: int) -> int:
    """The side that ultralytics trains at: whole strides of 32 pixels."""
    return -(-side_px // 32) * 32


def starting_tensors(start: str, size: str) -> tuple[dict[str, Tensor] | None, str]:
    """Tensors to start from, and where they come from in words.

    Args:
        start: `shipped`, `none`, or a file: ours, or a legacy YOLOv5 checkpoint.
        size: of the network, n or s.

    Raises:
        CheckpointError: the file cannot be read.
    """
    if start == "none":
        return None, "from scratch"
    if start == "shipped":
        path = WEIGHTS / f"{NAME}.safetensors"
        if size != "n" or not path.is_file():
            return None, f"from scratch (no weights of size {size} ship)"
        return read_tensors(path, find(NAME).sha256), f"shipped {find(NAME).id}"
    path = Path(start)
    if path.suffix == ".safetensors":
        return read_tensors(path), path.name
    return read_legacy(path).tensors, f"{path.name}, lifted without its code"


def run_training(plan: DetectorPlan, *, device: str, resume: bool, progress: ProgressNote) -> Path:
    """Train as planned; writes weights, card, curves and a grid of predictions into the run.

    Returns:
        The weights' file.
    """
    start = plan.start if resume or not plan.teach_steps else _taught(plan, progress)
    tensors = train_detector(
        plan.train, plan.val, plan.run, plan.recipe, start=start, device=device,
        resume=resume, progress=lambda done, total, losses: progress(done, total, _losses(losses)),
    )  # fmt: skip
    network = yolov5(plan.train.labels, plan.recipe.size)
    load_tensors(network, tensors)
    path = plan.run / f"{NAME[:-1]}{plan.recipe.size}.safetensors"
    if not is_first_process():
        return path
    write_weights(network, replace(plan.card, name=path.stem), path)
    draw_curves(plan.run)
    shown = plan.val or plan.train
    side_px = plan.card.input_hw[0]
    look = looker(Opened(_eager(network.fuse()), plan.train.labels, NAME, trained_px=side_px))
    judged = judge(look, shown.pictures[:: max(len(shown.pictures) // 60, 1)])
    draw_grid(worst(judged), plan.train.labels, plan.run / "predictions.jpg")
    return path


def _taught(plan: DetectorPlan, progress: ProgressNote) -> dict[str, Tensor]:
    """The start of a training whose backbone knows what an eyelid is."""
    network = yolov5(plan.train.labels, plan.recipe.size)
    if plan.start is not None:
        transfer(network, plan.start)
    crops, classes = face_crops(plan.train.pictures)
    if not len(classes):
        raise PictureSetError(
            f"{plan.train.root}: no face large enough to teach lids; leave --teach out"
        )

    def share_right(done: int, steps: int, right: float) -> None:
        progress(done, steps, f"teaching lids, {right:.2f} right")

    teach_backbone(
        network, crops, classes, steps=plan.teach_steps, seed=plan.recipe.seed,
        progress=share_right,
    )  # fmt: skip
    return network.state_dict()


def _losses(losses: Mapping[str, float]) -> str:
    return "  ".join(f"{name.removesuffix('_loss')} {value:.2f}" for name, value in losses.items())


def final_figures(run: Path) -> dict[str, float]:
    """Precision, recall, mAP50 and mAP50-95 on the people held out, after the last epoch."""
    table = np.atleast_1d(np.genfromtxt(run / CURVES_FILE, delimiter=",", names=True))
    shown = {"precision": "precision", "recall": "recall", "mAP50": "mAP50", "mAP5095": "mAP50-95"}
    columns = {
        name: column
        for column in table.dtype.names or ()
        for name in shown
        if column.removeprefix("metrics").removesuffix("B").strip("_/()") == name
    }
    return {shown[name]: float(table[column][-1]) for name, column in columns.items()}


def draw_curves(run: Path) -> None:
    """Losses and validation figures over the epochs, `curves.png`."""
    import matplotlib as mpl  # noqa: PLC0415 - only drawn after a training

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415 - after the backend is chosen

    table = np.genfromtxt(run / CURVES_FILE, delimiter=",", names=True)
    table = np.atleast_1d(table)
    names = [n for n in table.dtype.names or () if n.startswith(("train", "metrics"))]
    figure, axes = plt.subplots(2, (len(names) + 1) // 2, figsize=(14, 6), squeeze=False)
    for axis, name in zip(axes.flat, names, strict=False):
        axis.plot(table["epoch"], table[name])
        axis.set(title=name, xlabel="epoch")
    figure.tight_layout()
    figure.savefig(run / "curves.png", dpi=100)
    plt.close(figure)


# --- evaluation ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Opened:
    """A detector to evaluate.

    Attributes:
        network: as `models.inference.boxes` asks it.
        labels: in the order of its scores.
        name: what to call it.
        input_hw: the one input it takes; None takes any.
        trained_px: side of the pictures it was trained on.
    """

    network: boxes.Network
    labels: tuple[str, ...]
    name: str
    input_hw: tuple[int, int] | None = None
    trained_px: int = 320


def looker(
    detector: Opened, input_px: int | None = None, *, closer: bool = True
) -> Callable[[NDArray[np.uint8]], FaceBoxes]:
    """A detector as the report asks for it; without `input_px` at the size it was trained at."""
    side_px = input_px or detector.trained_px
    first = detector.input_hw or (side_px, side_px)
    second = detector.input_hw or (256, 256)
    return lambda image: boxes.find_faces(
        detector.network, image, detector.labels, MIN_SCORE, input_hw=first,
        closer_hw=second if closer else None,
    )  # fmt: skip


def open_network(weights: str) -> Opened:
    """A network to evaluate.

    Args:
        weights: `shipped`, our `.safetensors` with its card, a legacy `.pt`, or an `.onnx` of the
            original repository.

    Raises:
        CheckpointError, ValueError: one line each.
    """
    path = WEIGHTS / f"{NAME}.safetensors" if weights == "shipped" else Path(weights)
    if path.suffix == ".onnx":
        return _onnx(path)
    if path.suffix == ".safetensors":
        card = read_card(path)
        return Opened(_eager(build(card, path)), card.labels, card.id, trained_px=card.input_hw[0])
    legacy = from_legacy(path)
    return Opened(_eager(legacy.fuse()), legacy.labels, path.name)


def convert_legacy(path: Path, out: Path) -> ModelCard:
    """Make a pickled YOLOv5 checkpoint a pair of `.safetensors` and card that the watch can run.

    Raises:
        CheckpointError: not readable, unsafe, or of no size of ours.
    """
    network = from_legacy(path)
    card = replace(
        with_labels(find(NAME), network.labels), name=out.stem, measured={}, released="",
        arguments={"size": network.size, "anchors": network.anchors},
        training_data=f"converted from {path.name}",
    )  # fmt: skip
    out.parent.mkdir(parents=True, exist_ok=True)
    return write_weights(network, card, out)


def _eager(network: torch.nn.Module) -> boxes.Network:
    network = network.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def run(planes: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            x = torch.from_numpy(planes).contiguous(memory_format=torch.channels_last)
            logits: NDArray[np.float32] = network(x).numpy()
        return logits

    return run


def _onnx(path: Path) -> Opened:
    network = inference.load(path, device="cpu", precision="fp32", feed="floats")
    return Opened(
        lambda planes: network(planes)[0], network.card.labels, path.name, network.input_hw
    )


@dataclass(frozen=True, slots=True)
class View:
    """How pictures are looked at to measure a detector.

    Attributes:
        scene: `WIDTHxHEIGHT` of a cabin every picture is shrunk into; empty shows them as they are.
        input_px: side of the first look's input; None is the one it was trained at.
        closer: look at small faces a second time.
    """

    scene: str = ""
    input_px: int | None = None
    closer: bool = True


def evaluate(
    data: Path,
    weights: str,
    *,
    people: tuple[str, ...] = (),
    split: str = "",
    classes: Mapping[str, str] | None = None,
    view: View | None = None,
    progress: ProgressNote = lambda *_: None,
) -> tuple[DetectorDocument, list[Judged]]:
    """Measure a detector on a set.

    Args:
        data: the set.
        weights: see `open_network`.
        people: only these persons; all if empty.
        split: `train`, `val`, `test` or `all`; empty takes the best there is, see `of_split`.
        classes: what a class of the set is called here, as {"drowsy": "sleep"}.
        view: how the pictures are looked at.
        progress: called with (done, all).

    Raises:
        PictureSetError, CheckpointError, ValueError: one line each.
    """
    detector, view = open_network(weights), view or View()
    input_px = view.input_px or detector.trained_px
    whole = read_picture_set(data, detector.labels, classes)
    if people:
        _, whole = split_by_person(whole, people, everybody_may_go=True)
    pictures, split = of_split(whole, split)
    look = looker(detector, input_px, closer=view.closer)
    count = iter(range(1, len(pictures.pictures) + 1))
    done = lambda: progress(next(count), len(pictures.pictures))  # noqa: E731
    if view.scene:
        judged = judge_in_cabins(look, pictures, _size(view.scene), done)
    else:
        judged = judge(look, pictures.pictures, done)
    document: DetectorDocument = {
        **report(judged, pictures), "model": detector.name, "dataset": data.name, "split": split,
        "scene": view.scene, "input_px": input_px, "closer": view.closer,
        "notices": list(pictures.notices),
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }  # fmt: skip
    return document, judged


def _size(scene: str) -> tuple[int, int]:
    try:
        width, height = (int(part) for part in scene.lower().split("x"))
    except ValueError:
        raise PictureSetError(
            f"--scene {scene}: write it as WIDTHxHEIGHT, e.g. 1920x1080"
        ) from None
    return height, width


def judge_in_cabins(
    look: Callable[[NDArray[np.uint8]], FaceBoxes],
    pictures: PictureSet,
    hw: tuple[int, int],
    done: Callable[[], None] = lambda: None,
    share: tuple[float, float] = (0.35, 0.6),
    seed: int = 0,
) -> list[Judged]:
    """Every picture shrunk to a share of a cabin's height, put somewhere into it, and judged."""
    rng = np.random.default_rng(seed)
    judged = []
    for picture in pictures.pictures:
        image = read_upright(picture.path)
        labels = tuple(LABELS[int(c)] for c in picture.classes)
        placed = shrunk_into_cabin(Scene(image, picture.xyxy, labels), hw, rng, rng.uniform(*share))
        judged.append(Judged(picture, placed.boxes, look(placed.image)))
        done()
    return judged
