"""`wakeful models train|evaluate yolov5_faces`: the detector among the expression models."""

import datetime as dt
import json
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from models.cli.threads import ThreadsOption, use_threads
from models.registry import MODELS, with_labels
from models.report import Budget, Report, accuracy_of

console = Console()
NAME = "yolov5_faces"
# Faces on which the runtimes are held against eager fp32.
SAME_ON = 1000
# Faces as they are set into scenes, where they are at most 0.8 of 128 px; the share to choose by.
FACE_HW, HELD_OUT = (100, 100), 0.1

DataOption = Annotated[Path, typer.Option(help="Faces of any layout; see `models train --help`.")]


def mount(app: typer.Typer) -> None:
    """Add the commands; `models.cli.detector` finds them before `train MODEL`."""
    app.command(f"train {NAME}", hidden=True)(train)
    app.command(f"evaluate {NAME}", hidden=True)(evaluate)


def train(
    data: DataOption,
    into: Annotated[Path, typer.Option(help="Folder of the run.")] = Path("runs/yolov5_faces"),
    faces: Annotated[int, typer.Option(min=1, help="Use this many; the first ones.")] = 1_000_000,
    epochs: Annotated[int, typer.Option(min=1)] = 10,
    batch: Annotated[int, typer.Option(min=2)] = 32,
    weights: Annotated[
        Path | None, typer.Option(help="To start from: ours, or a legacy YOLOv5 .pt.")
    ] = None,
    seed: int = 0,
    threads: ThreadsOption = 0,
    device: Annotated[str, typer.Option(help="cpu, or 0 for the first GPU.")] = "cpu",
    resume: Annotated[bool, typer.Option(help="Go on where a killed run stopped.")] = False,
) -> None:
    """Set faces into scenes and train YOLOv5n to find and name them."""
    import torch

    from models.checkpoint import load_tensors, write_weights
    from models.data.layouts import find_source, open_for_training
    from models.evaluation.expression_scenes import SCENE_PX, write_scenes
    from models.network import build
    from models.training.detector import DetectorRecipe, train_detector
    from models.training.detector_runs import starting_tensors
    from models.training.runs import labels_for

    use_threads(threads)
    card = with_labels(MODELS[NAME], labels_for(MODELS[NAME], find_source(data)))
    learn, _ = open_for_training(data, card.labels, FACE_HW, soft=False, validation=HELD_OUT)
    learn = learn.part(range(min(faces, len(learn)))).cached()
    size = str(card.arguments["size"])
    start, origin = starting_tensors(str(weights) if weights else "none", size)
    recipe = DetectorRecipe(
        image_px=SCENE_PX, epochs=epochs, batch=batch, seed=seed, mosaic=0.0, plain_epochs=0
    )
    began = time.monotonic()
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("scenes", total=len(learn))
        pictures = write_scenes(
            learn, into / "scenes", seed=seed, progress=lambda n, _: bar.update(task, completed=n)
        )
        task = bar.add_task("training", total=None)
        tensors = train_detector(
            pictures, None, into, recipe, start=start, device=device, resume=resume,
            progress=lambda n, total, _: bar.update(task, completed=n, total=total),
        )  # fmt: skip
    network = build(card, None, fused=False)
    load_tensors(network, tensors)
    write_weights(network, card, into / "best.safetensors")
    budget = Budget(
        epochs=epochs, hours=round((time.monotonic() - began) / 3600, 3), device=device,
        threads=torch.get_num_threads(), pictures=len(learn), input_hw=(SCENE_PX, SCENE_PX),
        recipe=f"YOLOv5n {origin}, scenes of one face; no mosaic",
    )  # fmt: skip
    (into / "budget.json").write_text(budget.model_dump_json(indent=1) + "\n", encoding="utf-8")
    console.print(f"weights and card: {into / 'best.safetensors'}", highlight=False)


def evaluate(
    data: DataOption,
    weights: Annotated[Path, typer.Option(help="Of `train yolov5_faces`.")],
    split: Annotated[str, typer.Option(help="As the data set calls it.")] = "test",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the report here.")] = None,
) -> None:
    """Measure it as a classifier is measured: the class of the best box of each face's scene."""
    from models.data.layouts import find_source, open_faces
    from models.evaluation.classifier import cost_of, measure_latency, robustness_of
    from models.evaluation.corruptions import CONDITIONS
    from models.evaluation.detector import Judged, detection_of
    from models.evaluation.expression_scenes import agreement, answer, look_at, scenes
    from models.network import build
    from models.training.runs import weights_and_card

    path, card = weights_and_card(NAME, str(weights))
    model = build(card, path)
    faces = open_faces(data, card.labels, FACE_HW, split).cached()
    with console.status(f"{NAME} on {len(faces)} scenes"):
        answers = answer(model, faces)
        clean = float((answers.labels == faces.truth.numpy()).mean())
        spoiled = [
            robustness_of(name, answer(model, faces, change=change).labels, faces, clean)
            for name, change in CONDITIONS.items()
        ]
        judged = [Judged(seen, seen.xyxy, scores) for seen, scores in look_at(model, faces)]
        detection = detection_of(judged, card.labels, faces.source, split)
        picture = next(scenes(faces)).image[None]
        latency = tuple(measure_latency(path, picture, (1,)))
        some = faces.part(range(min(SAME_ON, len(faces))))
        same = tuple(agreement(path, some, answers.labels[: len(some)]))
    command = f"wakeful models evaluate {NAME} --data {data.name} --split {split}"
    record = accuracy_of(
        faces.truth.numpy(), answers.labels, card.labels, dataset=faces.source, split=split,
        selection="validation", filter=find_source(data).filter, source=command,
    )  # fmt: skip
    spent = path.parent / "budget.json"
    budget = Budget(**json.loads(spent.read_text())) if spent.is_file() else None
    report = Report(
        model=NAME, labels=card.labels, weights_sha256=card.sha256, command=command,
        created=dt.datetime.now(dt.UTC).strftime("%Y-%m-%d"), accuracy=(record,),
        detection=(detection,), cost=cost_of(model, card), budget=budget, agreement=same,
        robustness=tuple(spoiled), latency=latency,
        notes=(f"best box overlaps the face (IoU >= 0.5) in {100 * answers.overlapping:.1f} %",),
    )  # fmt: skip
    if json_file:
        report.save(json_file)
    low, high = record.ci or (0.0, 0.0)
    console.print(
        f"{NAME}: overall {100 * (record.overall or 0):.2f} % (95 % {100 * low:.2f}-"
        f"{100 * high:.2f}), mean class {100 * (record.mean_class or 0):.2f} %, n = {record.n}; "
        f"mAP50 {detection.map50:.3f}, face found in {100 * answers.overlapping:.1f} %",
        highlight=False,
    )
