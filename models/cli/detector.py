"""`wakeful models train|evaluate awake_sleep`, `train eye_state` and `synthesize`.

The detector has other settings than the classifiers, so its commands are its own; `mount` puts
them behind the same words.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from models.cli.console import DoneOfTotal
from models.cli.threads import ThreadsOption, use_threads
from models.tables import figure, narrow_table

if TYPE_CHECKING:
    from models.data.eyes import EyeCrops
    from models.evaluation.detector import DetectorDocument
    from models.evaluation.eye_state import EyeFigures, EyeSetFigures
    from models.training.eye_state import EyeTraining

console = Console()

DataOption = Annotated[
    Path, typer.Option(help="Folder in the YOLO layout: data.yaml, images/, labels/, people.csv.")
]
ClassesOption = Annotated[
    list[str] | None,
    typer.Option(help="What a class of the set is here, e.g. drowsy=sleep; may be repeated."),
]
EyeSetsOption = Annotated[
    list[Path] | None,
    typer.Option(help="Set of eyes or faces (docs/eyes.md lists the layouts); may be repeated."),
]
HoldOutOption = Annotated[
    list[str] | None, typer.Option(help="Person of people.csv to validate on; may be repeated.")
]


def mount(app: typer.Typer) -> None:
    """Add the detector's commands; its group finds `train awake_sleep` before `train MODEL`."""
    app.command("train awake_sleep", hidden=True)(train_awake_sleep)
    app.command("evaluate awake_sleep", hidden=True)(evaluate_awake_sleep)
    app.command("train eye_state", hidden=True)(train_eye_state)
    app.command("evaluate eye_state", hidden=True)(evaluate_eye_state)
    app.command("synthesize")(synthesize)
    app.command("convert")(convert)


class ReportProgress(Protocol):
    """Moves a bar."""

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """So much is done of so much."""


@contextmanager
def _bar(title: str) -> Iterator[ReportProgress]:
    columns = (
        TextColumn("{task.description}"), BarColumn(), DoneOfTotal(),
        TimeElapsedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(title, total=None)

        def report_progress(done: int, total: int, note: str = "") -> None:
            progress.update(task, completed=done, total=total, description=f"{title}  {note}")

        yield report_progress


def train_awake_sleep(
    data: DataOption,
    into: Annotated[Path, typer.Option(help="Folder of the run.")] = Path("runs/awake_sleep"),
    size: Annotated[str, typer.Option(help="n (small and fast) or s.")] = "n",
    start: Annotated[
        str, typer.Option(help="`shipped`, `none`, or a file: ours, or a legacy YOLOv5 .pt.")
    ] = "shipped",
    hold_out: HoldOutOption = None,
    classes: ClassesOption = None,
    image_px: Annotated[int, typer.Option(min=64, help="Side of the training pictures.")] = 416,
    epochs: Annotated[int, typer.Option(min=1)] = 60,
    batch: Annotated[int, typer.Option(min=2)] = 16,
    lr: Annotated[float, typer.Option(min=0, help="Of AdamW, at the start.")] = 1e-3,
    teach: Annotated[
        int, typer.Option(min=0, help="Steps of classifying faces first; 700 for a new network.")
    ] = 0,
    class_gain: Annotated[float, typer.Option(min=0, help="Weight of the class loss.")] = 1.0,
    mosaic: Annotated[float, typer.Option(min=0, max=1)] = 0.3,
    mixup: Annotated[float, typer.Option(min=0, max=1)] = 0.05,
    copy_paste: Annotated[float, typer.Option(min=0, max=1)] = 0.0,
    freeze: Annotated[int, typer.Option(min=0, help="First layers that stay as they are.")] = 0,
    seed: Annotated[int, typer.Option()] = 0,
    device: Annotated[str, typer.Option(help="cpu, or 0 for the first GPU.")] = "cpu",
    threads: ThreadsOption = 0,
    resume: Annotated[bool, typer.Option(help="Go on where a killed run stopped.")] = False,
) -> None:
    """Train the awake/sleep detector on pictures in the YOLO layout."""
    from models.data.yolo import parse_classes
    from models.training.detector import DetectorRecipe, size_of
    from models.training.detector_runs import final_figures, plan_training, run_training

    use_threads(threads)
    plan = plan_training(
        data, into, start=start, hold_out=tuple(hold_out or ()),
        classes=parse_classes(classes or ()), teach_steps=teach,
        recipe=DetectorRecipe(
            size=size_of(size), image_px=image_px, epochs=epochs, batch=batch, lr=lr,
            mosaic=mosaic, mixup=mixup, copy_paste=copy_paste, class_gain=class_gain,
            freeze=freeze, seed=seed,
        ),
    )  # fmt: skip
    _say(plan.train.notices)
    counts = ", ".join(f"{label} {count}" for label, count in plan.train.counts().items())
    console.print(
        f"{len(plan.train.pictures)} pictures to learn ({counts}), "
        f"{len(plan.val.pictures) if plan.val else 0} to validate on; start: {plan.origin}",
        highlight=False,
    )
    with _bar("training") as report_progress:
        weights = run_training(plan, device=device, resume=resume, progress=report_progress)
    if plan.val:
        reached = ", ".join(f"{name} {value:.3f}" for name, value in final_figures(into).items())
        console.print(f"on the {len(plan.val.pictures)} validated: {reached}", highlight=False)
    else:
        console.print("nobody was held out, so there is no mAP: --hold-out PERSON measures one")
    console.print(f"weights and card: {weights}; curves and pictures: {into}", highlight=False)


def train_eye_state(
    data: EyeSetsOption = None,
    portraits: Annotated[
        Path | None,
        typer.Option(help="Folder of faces; they play closed, lowered and hidden eyes."),
    ] = None,
    into: Annotated[Path, typer.Option(help="Folder of the run.")] = Path("runs/eye_state"),
    start: Annotated[
        Path | None, typer.Option(help="Weights to go on from; from scratch without.")
    ] = None,
    folds: Annotated[
        int, typer.Option(min=0, help="Leave people out in so many folds and measure on them.")
    ] = 0,
    alike: Annotated[
        list[str] | None,
        typer.Option(help="Names with commas that are one person or stay together; repeatable."),
    ] = None,
    bias_of: Annotated[
        Path | None,
        typer.Option(
            "--bias-of", help="Run of a training in folds: add what it chose to the logits."
        ),
    ] = None,
    steps: Annotated[int, typer.Option(min=100)] = 3000,
    batch: Annotated[int, typer.Option(min=2)] = 128,
    lr: Annotated[float, typer.Option(min=0)] = 2.5e-3,
    seed: Annotated[int, typer.Option()] = 0,
) -> None:
    """Train the network that tells open, closed, lowered and hidden eyes by their pixels."""
    from models.data.scene_datasets import list_portraits
    from models.training import eye_state_runs

    kept, back = eye_state_runs.split_portraits(list_portraits(portraits) if portraits else [])
    crops = eye_state_runs.gather(data or [], kept, seed)
    console.print(f"{len(crops)} crops to learn from", highlight=False)
    settings: EyeTraining = {"steps": steps, "batch": batch, "lr": lr, "seed": seed}
    bias = eye_state_runs.read_bias(bias_of) if bias_of else None
    if folds:
        groups = [names.split(",") for names in alike or []]
        fold = eye_state_runs.folds_of(crops, folds, groups)
        with _bar("training") as report_progress:
            left_out, judged = eye_state_runs.leave_out(
                crops, fold, into, start=start, progress=report_progress, **settings
            )
        _tell_eyes(left_out, judged, into / "people_left_out.json")
        return
    out = into / "eye_state.safetensors"
    with _bar("training") as report_progress:
        eye_state_runs.run_training(
            crops, out, start=start, bias=bias, progress=report_progress, **settings
        )
    console.print(f"weights and card: {out}", highlight=False)
    faces = list(eye_state_runs.portrait_faces(back))
    area = eye_state_runs.area(eye_state_runs.open_eyes(out), faces)
    if area is not None:
        console.print(f"portraits kept back: n = {len(faces)}, ROC {area:.3f}", highlight=False)


def evaluate_eye_state(
    data: EyeSetsOption,
    weights: Annotated[str, typer.Option(help="`shipped`, or a .safetensors file.")] = "shipped",
    folds: Annotated[
        Path | None,
        typer.Option(
            help="Run of `train --folds`: each person is judged by the network of it "
            "that never saw them."
        ),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the figures here.")
    ] = None,
) -> None:
    """Measure the eye-state network on sets of eyes or faces: by set and by person."""
    from models.data.eyes import EyeCrops, read_eyes
    from models.registry import WEIGHTS
    from models.training.eye_state import judge_eyes
    from models.training.eye_state_runs import judge_people_left_out, open_eyes

    crops = EyeCrops.join([read_eyes(path) for path in data or []])
    if folds:
        _tell_eyes(*judge_people_left_out(crops, folds), json_file)
        return
    path = WEIGHTS / "eye_state.safetensors" if weights == "shipped" else Path(weights)
    _tell_eyes(crops, judge_eyes(open_eyes(path), crops), json_file)


def _tell_eyes(crops: "EyeCrops", judged: NDArray[np.float64], json_file: Path | None) -> None:
    from models.evaluation.eye_state import set_figures

    report = {}
    for source in sorted(set(crops.source)):
        here = crops.source == source
        report[source] = set_figures(crops.only(here), judged[here])
    tell_eyes(report)
    if json_file:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        content = {source: figures.to_json() for source, figures in report.items()}
        json_file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        console.print(f"figures: {json_file}", highlight=False)


def tell_eyes(report: "Mapping[str, EyeSetFigures]") -> None:
    """Print the figures of sets of eyes as a table."""
    table = narrow_table(title="eyes, balanced accuracy and ROC with 95 % intervals")
    table.add_column("", overflow="fold")
    for column in ("closed", "open", "balanced", "ROC", "lowered", "not visible"):
        table.add_column(column, justify="right", no_wrap=True)
    for source, figures in report.items():
        table.add_row(source, *_eye_cells(figures.whole))
        for name, row in figures.apart.items():
            table.add_row(f"  {name.replace('_', ' ')}", *_eye_cells(row))
        for person, row in figures.people.items():
            table.add_row(f"  {person}", *_eye_cells(row))
    console.print(table)


def _eye_cells(row: "EyeFigures") -> list[str]:
    interval = row.get("intervals_95", {})
    return [
        str(row["closed"]),
        str(row["open"]),
        figure(row.get("balanced_accuracy"), interval.get("balanced_accuracy")),
        figure(row.get("roc"), interval.get("roc")),
        *(
            f"{state['called_so']:.3f}\nof {state['n']}" if state else "-"
            for state in (row.get("lowered"), row.get("not_visible"))
        ),
    ]


def evaluate_awake_sleep(
    data: DataOption,
    weights: Annotated[
        str, typer.Option(help="`shipped`, or a file: ours, a legacy YOLOv5 .pt, or its .onnx.")
    ] = "shipped",
    hold_out: HoldOutOption = None,
    split: Annotated[
        str, typer.Option(help="train, val, test or all; without it test, else val, else all.")
    ] = "",
    classes: ClassesOption = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the report here.")] = None,
    grid: Annotated[Path | None, typer.Option(help="Draw the worst errors here.")] = None,
    input_px: Annotated[
        int | None,
        typer.Option(min=64, help="Side of the first look's input.", show_default="the card's"),
    ] = None,
    closer: Annotated[bool, typer.Option(help="Look at small faces a second time.")] = True,
    scene: Annotated[
        str, typer.Option(help="Shrink every picture into a cabin of this size, e.g. 1920x1080.")
    ] = "",
) -> None:
    """Measure a detector: per class and per person, with intervals and the worst errors."""
    from models.data.yolo import parse_classes
    from models.training.detector_runs import View, evaluate

    with _bar("looking") as report_progress:
        report, judged = evaluate(
            data, weights, people=tuple(hold_out or ()), split=split,
            classes=parse_classes(classes or ()), view=View(scene, input_px, closer),
            progress=report_progress,
        )  # fmt: skip
    from models.evaluation.detector import as_report, draw_grid, worst

    if json_file:
        command = f"wakeful models evaluate awake_sleep --data {data.name}"
        command += f" --split {report['split']}"
        command += "".join(f" --classes {pair}" for pair in classes or ())
        command += f" --scene {scene}" if scene else ""
        as_report(report, command=command).save(json_file)
    if grid:
        draw_grid(worst(judged), report["labels"], grid)
        console.print(f"worst errors: {grid}", highlight=False)
    tell(report)


def convert(
    weights: Annotated[Path, typer.Argument(help="A YOLOv5 .pt of the original repository.")],
    out: Annotated[Path, typer.Option(help="The .safetensors to write, its card beside it.")],
) -> None:
    """Make a legacy YOLOv5 checkpoint a pair the watch can run; its pickle is never executed."""
    from models.training.detector_runs import convert_legacy

    card = convert_legacy(weights, out)
    console.print(
        f"{out}: YOLOv5{card.arguments['size']} that tells {', '.join(card.labels)}; run it with "
        f"WAKEFUL_PERCEPTION__DETECTOR={out} wakeful run",
        highlight=False,
    )


def _say(notices: Iterable[str]) -> None:
    for notice in notices:
        console.print(f"note: {notice}", highlight=False, markup=False)


def tell(report: "DetectorDocument") -> None:
    """Print a report as tables."""
    _say(report["notices"])
    title = f"{report['model']} on {report['dataset']}, split {report['split']}"
    table = narrow_table(title=f"{title}, with 95 % intervals")
    table.add_column("", overflow="fold")
    for column in ("n", "mAP50\nawake/sleep", "mAP50", "mAP50-95", "right", "ROC of\nsleep"):
        table.add_column(column, justify="right", no_wrap=True)
    groups = {**report["people"], "all": report["all"]}
    for name, row in groups.items():
        interval = row["intervals_95"]
        table.add_row(
            name,
            str(row["n"]),
            figure(row["awake_sleep_map50"], interval.get("awake_sleep_map50")),
            figure(row["map50"], interval.get("map50")),
            figure(row["map50_95"], interval.get("map50_95")),
            figure(row.get("accuracy"), interval.get("accuracy")),
            figure(row.get("sleep_roc"), interval.get("sleep_roc")),
        )
    console.print(table)
    classes = narrow_table(title="classes, all pictures")
    for column in ("class", "n", "precision", "recall", "mAP50", "mAP50-95"):
        classes.add_column(column, justify="left" if column == "class" else "right")
    for label, of_class in report["all"]["classes"].items():
        values = (of_class[key] for key in ("precision", "recall", "map50", "map50_95"))
        classes.add_row(label, f"{of_class['n']:.0f}", *(f"{value:.3f}" for value in values))
    console.print(classes)
    for truth, counts in (report["all"].get("confusion") or {}).items():
        answers = ", ".join(f"{answer} {count}" for answer, count in counts.items())
        console.print(f"{truth} pictures were called: {answers}", highlight=False)


def synthesize(
    into: Annotated[Path, typer.Option(help="New folder for the set.")],
    portraits: Annotated[
        Path | None, typer.Option(help="Folder of faces, perhaps with portraits.csv.")
    ] = None,
    pictures: Annotated[
        Path | None, typer.Option(help="Or a labelled set: closer and wider views of it.")
    ] = None,
    scenes: Annotated[int, typer.Option(min=1, help="How many pictures.")] = 2000,
    size: Annotated[int, typer.Option(min=64, help="Their sides in pixels.")] = 256,
    seed: Annotated[int, typer.Option()] = 0,
    licence: Annotated[str, typer.Option(help="Of the portraits, for the provenance.")] = "",
) -> None:
    """Make labelled pictures from portraits: eyes closed by degrees, yawns, glasses, cabins."""
    from models.data import scene_datasets
    from models.data.yolo import PictureSetError, read_picture_set
    from models.synthesis.scenes import LABELS

    if pictures is not None and portraits is None:
        with _bar("cutting views") as report_progress:
            scene_datasets.write_views(
                read_picture_set(pictures, LABELS),
                into,
                size=size,
                seed=seed,
                progress=report_progress,
            )
        console.print(f"views of {pictures} in {into}", highlight=False)
        return
    if portraits is None or pictures is not None:
        raise PictureSetError("give either --portraits FOLDER or --pictures FOLDER")
    people = scene_datasets.list_portraits(portraits)
    with _bar("playing portraits") as report_progress:
        left_out = scene_datasets.write_scenes(
            people,
            into,
            scenes=scenes,
            size=size,
            seed=seed,
            licence=licence,
            progress=report_progress,
        )
    console.print(
        f"{scenes} pictures of {len(people) - left_out} people in {into} "
        f"({left_out} portraits left out: no face found)",
        highlight=False,
    )
