"""From a model's name and a folder of faces to a trained model: what `models train` does."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.checkpoint import load_weights, read_card
from models.data import DatasetError, Faces, require_classes
from models.data.landmarks import (
    Alignment,
    find_landmarks,
    measure_alignment,
    misalignments,
)
from models.data.layouts import FaceSet, find_source, open_for_training
from models.evaluation.prediction import predict
from models.network import build
from models.registry import FER_PLUS_LABELS, MODELS, WEIGHTS, ModelCard, find
from models.report import Budget
from models.training import Place, Trainer
from models.training.recipe import Recipe, TrainingError, load_recipe

ALIGNMENT_SAMPLE = 32
Tick = Callable[[int, int], None]


def recipes_folder() -> Path:
    """Where the recipes lie: beside the code in a checkout, inside the package when installed."""
    root = WEIGHTS.parents[1]
    checkout = root / "configs" / "train"
    return checkout if checkout.is_dir() else root / "monitor" / "configs" / "train"


def find_recipe(name: str) -> Path:
    """A recipe by name or path.

    Raises:
        TrainingError: there is none; the message lists those there are.
    """
    path = Path(name)
    if path.suffix in {".yaml", ".yml"}:
        return path
    path = recipes_folder() / f"{name}.yaml"
    if not path.is_file():
        names = ", ".join(sorted(p.stem for p in recipes_folder().glob("*.yaml")))
        raise TrainingError(f"no recipe {name!r}; there are: {names}; or give a .yaml file")
    return path


def labels_for(card: ModelCard, source: FaceSet, asked: Sequence[str] = ()) -> tuple[str, ...]:
    """The labels asked for, or the card's if the data has just them, or the data's."""
    if asked:
        return tuple(asked)
    present = {s.label for s in source.read(source.train_split, True)}
    if present == set(card.labels):
        return card.labels
    order = source.labels or card.labels
    return tuple(sorted(present, key=lambda x: (order.index(x) if x in order else len(order), x)))


def card_for(name: str, recipe: Recipe, labels: tuple[str, ...], source: FaceSet) -> ModelCard:
    """The card of a registered model about to be trained."""
    card = MODELS[name]
    side = recipe.input_px
    return replace(
        card,
        labels=labels,
        input_hw=(side, side) if side else card.input_hw,
        arguments=card.arguments | recipe.arguments,
        training_data=_provenance(source),
        measured={},
    )


def _provenance(source: FaceSet) -> str:
    if source.name == "RAF-DB":
        return "RAF-DB train (12,271 faces less those held out): non-commercial research only"
    if source.name == "FER+" and source.labels == FER_PLUS_LABELS:
        return (
            "FER+ Training: labels microsoft/FERPlus (MIT); pictures FER2013 (ICML 2013 challenge, "
            "no licence stated: research use)"
        )
    return source.name


def starting_weights(name: str, asked: str) -> tuple[Path, ModelCard | None]:
    """`shipped` or a file, and its card where there is one."""
    if asked != "shipped":
        return Path(asked), None
    path = WEIGHTS / f"{name}.safetensors"
    if not path.is_file():
        raise TrainingError(f"--weights shipped: no weights of {name} ship; give a file")
    return path, find(name)


def weights_and_card(name: str, asked: str) -> tuple[Path, ModelCard]:
    """A weights file and the card it answers to: its own where one lies beside it.

    Raises:
        KeyError: no such model.
        TrainingError, CheckpointError: no such file, or a card of another model.
    """
    registered = find(name)
    path, card = starting_weights(name, asked)
    if card is None and path.suffix == ".safetensors":
        card = read_card(path)
        if card.name != name:
            raise TrainingError(f"{path}: its card says {card.name}, not {name}")
    return path, card or registered


def fill(model: nn.Module, card: ModelCard, files: Sequence[str]) -> None:
    """Start a model from weights: each file fills the whole or the part it is of, in turn.

    Raises:
        TrainingError, CheckpointError: one line each.
    """
    for asked in files:
        path, theirs = starting_weights(card.name, asked)
        if theirs is None and path.suffix == ".safetensors":
            theirs = read_card(path)
        labels = theirs.labels if theirs else ()
        load_weights(
            model, path, theirs.sha256 if theirs else "", relabel=(labels, card.labels)
        )  # fmt: skip


def answers_of(teacher: Path, faces: Faces, device: torch.device) -> Tensor:
    """What a trained model says of each face: probabilities (N, K) over the faces' labels.

    Raises:
        TrainingError: the teacher does not know every label.
        CheckpointError: no such weights, or no card beside them.
    """
    card = read_card(teacher)
    if missing := set(faces.labels) - set(card.labels):
        raise TrainingError(f"--teacher {teacher}: does not know {', '.join(sorted(missing))}")
    model = build(card, teacher).to(device)
    seen = Faces(faces.samples, faces.labels, card.input_hw, source=faces.source)
    logits = predict(model, card, seen, device)
    columns = [card.labels.index(label) for label in faces.labels]
    return logits[:, columns].softmax(1)


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """What is about to be trained, checked before it starts.

    Attributes:
        trainer: ready to `fit`.
        warnings: one line each: data that does not fit the model's card.
    """

    trainer: Trainer
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TrainingOptions:
    """What may be asked of a training besides the model and the data.

    Attributes:
        recipe: name or path; the model's own when None.
        weights: `shipped` and files to start from, each filling the part it is of.
        teacher: trained weights whose answers soften the targets, as the recipe weighs them.
        labels: classes to train; the data's own when empty.
        faces: learn from this many, spread over the set; 0 takes all.
        minutes: of learning, however many epochs they make; 0 takes the recipe's epochs.
        device: auto, cpu or cuda.
        workers: processes that decode pictures.
        overrides: recipe settings from the command line.
    """

    recipe: str | None = None
    weights: Sequence[str] = ()
    teacher: Path | None = None
    labels: Sequence[str] = ()
    faces: int = 0
    minutes: float = 0.0
    device: str = "auto"
    workers: int = 0
    overrides: Mapping[str, object] = field(default_factory=dict)


def plan(
    name: str,
    data: Path,
    run: Path,
    options: TrainingOptions | None = None,
    tick: Tick | None = None,
) -> TrainingPlan:
    """Read the data, check it, and set up the training.

    Args:
        name: of a registered expression model.
        data: any layout `models.data.layouts` knows.
        run: folder of the run.
        options: what else was asked.
        tick: called with (done, total) while landmarks are looked for.

    Raises:
        ValueError: of the parts, one line each.
    """
    if name not in MODELS:
        raise TrainingError(f"no model {name!r}; registered: {', '.join(sorted(MODELS))}")
    options = options or TrainingOptions()
    chosen = load_recipe(find_recipe(options.recipe or name), **options.overrides)
    source = find_source(data)
    card = card_for(name, chosen, labels_for(MODELS[name], source, options.labels), source)
    training, validation = open_for_training(
        data, card.labels, card.input_hw,
        soft=chosen.target == "distribution", validation=chosen.validation,
    )  # fmt: skip
    if options.faces:
        training = training.spread(options.faces)
    require_classes(training)
    if not len(validation):
        raise DatasetError(f"{data}: nothing was held out to choose by; add pictures or a `valid`")
    if chosen.landmarks:
        training = teach(training, run / "landmarks.npz", tick)
    place = Place.find(options.device, options.workers)
    if options.teacher is not None:
        answers = answers_of(options.teacher, training, place.device)
        training = training.softened(answers, chosen.teacher)
    model = build(card, None)
    fill(model, card, options.weights)
    if chosen.grow and hasattr(model, "working_px"):
        raise TrainingError(f"recipe: grow: {name} sees one picture size; grow its image branch")
    lines = tuple(alignment_warnings(training, card))
    limit_s = 60 * options.minutes
    trainer = Trainer(model, card, chosen, training, validation, run, place, limit_s)
    return TrainingPlan(trainer, lines)


def sample_of(faces: Faces, count: int = ALIGNMENT_SAMPLE) -> list[NDArray[np.uint8]]:
    """Some faces, spread over the whole set."""
    step = max(1, len(faces) // count)
    return [faces.image(i) for i in range(0, len(faces), step)][:count]


def alignment_warnings(faces: Faces, card: ModelCard) -> Iterator[str]:
    """One line a fault where the faces are not cropped as the card says."""
    if "eyes_xy" not in card.alignment:
        return
    measured: Alignment = measure_alignment(sample_of(faces))
    for fault in misalignments(measured, card.alignment):
        yield f"{faces.source}: {fault}; {card.name} wants {card.alignment['kind']}"


def teach(faces: Faces, cache: Path, tick: Tick | None = None) -> Faces:
    """The set with MediaPipe's landmarks of each face, kept in `cache`."""
    names = [s.name for s in faces.samples]
    if cache.is_file():
        with np.load(cache, allow_pickle=False) as kept:
            kept_points = dict(zip(kept["names"].tolist(), kept["points"], strict=True))
        if set(names) <= kept_points.keys():
            return faces.with_landmarks(kept_points)
    points = []
    for done, landmarks in enumerate(find_landmarks(faces.image(i) for i in range(len(faces))), 1):
        points.append(landmarks)
        if tick:
            tick(done, len(faces))
    cache.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(cache, names=np.array(names), points=np.stack(points))
    return faces.with_landmarks(dict(zip(names, points, strict=True)))


def read_budget(run: Path) -> Budget | None:
    """What a run cost, from its `run.json`; None where there is none."""
    path = run / "run.json"
    if not path.is_file():
        return None
    run_json = json.loads(path.read_text(encoding="utf-8"))
    side = run_json["recipe"].get("input_px")
    return Budget(
        epochs=run_json["epochs"],
        best_epoch=run_json["best_epoch"],
        hours=run_json["hours"],
        device=run_json["device"],
        threads=run_json["threads"],
        processes=run_json["processes"],
        pictures=run_json["training_pictures"],
        input_hw=(side, side) if side else None,
        recipe=run_json["recipe"].get("source", ""),
    )


def draw_curves(run: Path) -> Path:
    """`curves.png` of a run, from its `curves.csv`."""
    import matplotlib as mpl  # noqa: PLC0415 - half a second, only where a picture is drawn

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    rows = np.genfromtxt(run / "curves.csv", delimiter=",", names=True, ndmin=1)
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    left.plot(rows["epoch"], rows["loss"], label="training")
    left.plot(rows["epoch"], rows["valid_loss"], label="validation")
    left.set(xlabel="epoch", ylabel="loss")
    right.plot(rows["epoch"], 100 * rows["valid_accuracy"], label="overall")
    right.plot(rows["epoch"], 100 * rows["valid_mean_class"], label="mean class")
    right.set(xlabel="epoch", ylabel="validation accuracy, %")
    for axes in (left, right):
        axes.legend()
        axes.grid(visible=True, alpha=0.25)
    figure.savefig(run / "curves.png", dpi=120)
    plt.close(figure)
    return run / "curves.png"


def parse_list(text: str) -> tuple[str, ...]:
    """`a, b` as ("a", "b")."""
    return tuple(part.strip() for part in text.split(",") if part.strip())
