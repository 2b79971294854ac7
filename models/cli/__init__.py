"""`wakeful models`: list, train, evaluate, compare, export.

Every heavy room is imported inside its command, so that the list and the help come at once. Under
torchrun: `torchrun --nproc-per-node 2 -m models.cli train MODEL --data …`.
"""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from typer.core import TyperGroup

from models.cli import detector as detection_cli
from models.cli import expression_detector
from models.cli.console import (
    DoneOfTotal,
    ModelListing,
    show_comparison,
    show_models,
    show_report,
)
from models.cli.drives import drives
from models.cli.threads import ThreadsOption, use_threads
from models.evaluation.comparison import (
    COLUMNS,
    PUBLISHED_COLUMNS,
    cells,
    compare,
    draw,
    markdown,
    published_markdown,
    published_rows,
)
from models.inference.native_logs import natives_silenced
from models.registry import MODELS, RESULTS, WEIGHTS, ModelCard, find
from models.report import Report, load_published, load_reports

if TYPE_CHECKING:
    from models.training import Epoch, Place, Trainer

console = Console()


class ModelsGroup(TyperGroup):
    """Finds `train awake_sleep` before `train MODEL`; a user's fault ends in one line."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The detector's own commands have two words."""
        for model in args[1:]:
            command = self.get_command(ctx, f"{args[0]} {model}")
            if command is not None:
                return command.name, command, [word for word in args[1:] if word != model]
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command; the project's own errors become lines."""
        try:
            with natives_silenced():
                return super().invoke(ctx)
        except (ValueError, KeyError) as error:
            if isinstance(error, ValueError) and not type(error).__module__.startswith("models."):
                raise
            message = error.args[0] if isinstance(error, KeyError) else str(error)
            for line in str(message).splitlines():
                print(f"wakeful: {line}", file=sys.stderr)  # noqa: T201 - the door's own voice
            raise typer.Exit(2) from None


models_app = typer.Typer(
    name="models",
    cls=ModelsGroup,
    help="Models: list, train, evaluate, compare, export.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

ModelArgument = Annotated[str, typer.Argument(help="A registered model; see `models list`.")]
DataOption = Annotated[
    Path, typer.Option(help="FER+ (csv or parquet), RAF-DB, AffectNet, CK+, or a folder a class.")
]
WeightsOption = Annotated[
    str, typer.Option(help="`shipped`, or a file: ours, or its authors' own checkpoint.")
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu or cuda.")]


@models_app.command("list")
def list_models(
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """What models there are: parameters, multiplications, input, weights."""
    rows = [_listing(card) for card in map(find, sorted(MODELS))]
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
        return
    show_models(console, rows)


def _listing(card: ModelCard) -> ModelListing:
    """One model as plain values; its cost is that of its report at the card's own input."""
    counted = [r for r in load_reports() if r.cost and r.model == card.name]
    counted.sort(key=lambda r: r.labels != card.labels)  # other labels make another head
    cost = counted[0].cost if counted else None
    shipped = (WEIGHTS / f"{card.name}.safetensors").is_file()
    return {
        "model": card.name,
        "task": card.task,
        "input_hw": list(card.input_hw),
        "labels": list(card.labels),
        "params_total": cost.params_total if cost else None,
        "params_live": cost.params_live if cost else None,
        "params_trainable": cost.params_trainable if cost else None,
        "macs": cost.macs if cost else None,
        "weights": card.id if shipped else "",
        "paper": card.paper,
        "licence": card.licence,
        "data_licence": card.data_licence,
    }


@models_app.command()
def train(
    model: ModelArgument,
    data: DataOption,
    into: Annotated[Path | None, typer.Option(help="Folder of the run; runs/MODEL.")] = None,
    recipe: Annotated[str | None, typer.Option(help="Name in configs/train, or a file.")] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(help="`shipped` or a file to start from; one for each branch, too."),
    ] = None,
    teacher: Annotated[
        Path | None, typer.Option(help="Trained weights whose answers soften the targets.")
    ] = None,
    labels: Annotated[str, typer.Option(help="Classes, with commas; the data's own.")] = "",
    faces: Annotated[int, typer.Option(min=0, help="Learn from this many only; 0: all.")] = 0,
    epochs: Annotated[int | None, typer.Option(min=1, help="In place of the recipe's.")] = None,
    minutes: Annotated[
        float, typer.Option(min=0, help="Learn for so long; the schedule is fitted to it.")
    ] = 0.0,
    batch: Annotated[int | None, typer.Option(min=2, help="In place of the recipe's.")] = None,
    lr: Annotated[float | None, typer.Option(min=0, help="In place of the recipe's.")] = None,
    seed: Annotated[int | None, typer.Option(help="In place of the recipe's.")] = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = 0,
    workers: Annotated[int, typer.Option(min=0, help="Processes that decode pictures.")] = 0,
    resume: Annotated[bool, typer.Option(help="Go on where a killed run stopped.")] = False,
) -> None:
    """Train a model, or fine-tune it from weights; the best epoch is kept."""
    from models.training.runs import TrainingOptions, draw_curves, parse_list, plan

    use_threads(threads)
    folder = into or Path("runs") / model
    given = {"epochs": epochs, "batch": batch, "lr": lr, "seed": seed}
    with _bar() as bar:
        task = bar.add_task("landmarks of each face", total=None, visible=False)
        options = TrainingOptions(
            recipe=recipe, weights=weights or (), teacher=teacher, labels=parse_list(labels),
            faces=faces, minutes=minutes, device=device, workers=workers,
            overrides={k: v for k, v in given.items() if v is not None},
        )  # fmt: skip
        planned = plan(
            model, data, folder, options,
            tick=lambda done, total: bar.update(task, completed=done, total=total, visible=True),
        )  # fmt: skip
        bar.update(task, visible=False)
    trainer = planned.trainer
    if trainer.place.rank == 0:
        for line in planned.warnings:
            console.print(f"[yellow]warning:[/] {line}", highlight=False)
        console.print(_before(trainer))
    trainer.fit(_Console(trainer.place, trainer.recipe.epochs), resume=resume)
    if trainer.place.rank == 0:
        draw_curves(folder)
        progress = trainer.progress
        console.print(
            f"best of {progress.epoch} epochs: {100 * progress.best:.2f} % on the validation part "
            f"(epoch {progress.best_epoch}); weights and card: {folder / 'best.safetensors'}"
        )


def _before(trainer: "Trainer") -> str:
    counts = ", ".join(f"{k} {v}" for k, v in trainer.training.counts.items())
    return (
        f"{trainer.card.name}: {len(trainer.training)} faces to learn ({counts}), "
        f"{len(trainer.validation)} to choose by; {trainer.place.device}, "
        f"{trainer.place.world} process(es)"
    )


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DoneOfTotal(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )


class _Console:
    """Shows a training: a bar an epoch, a line after it."""

    def __init__(self, place: "Place", epochs: int) -> None:
        self.quiet, self.epochs, self.bar = place.rank != 0, epochs, _bar()
        self.task: TaskID | None = None

    def step(self, epoch: int, done: int, total: int, loss: float) -> None:
        """A batch was learned."""
        if self.quiet:
            return
        if self.task is None:
            self.bar.start()
            self.task = self.bar.add_task("", total=total)
        self.bar.update(
            self.task, completed=done, total=total,
            description=f"epoch {epoch + 1}/{self.epochs}  loss {loss:.3f}",
        )  # fmt: skip

    def epoch(self, line: "Epoch", *, best: bool) -> None:
        """An epoch was learned and measured."""
        if self.quiet:
            return
        self.bar.stop()
        self.task, self.bar = None, _bar()
        console.print(
            f"epoch {line.epoch:3d}  loss {line.loss:.4f}  validation {line.valid_loss:.4f}  "
            f"overall {100 * line.valid_accuracy:.2f} %  mean class "
            f"{100 * line.valid_mean_class:.2f} %  {line.seconds:.0f} s{'  best' if best else ''}",
            highlight=False,
        )


@models_app.command()
def evaluate(
    model: ModelArgument,
    data: DataOption,
    split: Annotated[str, typer.Option(help="As the data set calls it.")] = "test",
    weights: WeightsOption = "shipped",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the report here.")] = None,
    robustness: Annotated[bool, typer.Option(help="Spoil the pictures too.")] = True,
    threads: Annotated[str, typer.Option(help="Latency at these thread counts; none.")] = "1",
    trained_in: Annotated[
        Path | None, typer.Option(help="Folder of the run, to tell what it cost.")
    ] = None,
    some: Annotated[
        int, typer.Option("--faces", min=0, help="Measure on this many only; 0: all.")
    ] = 0,
    without: Annotated[
        Path | None,
        typer.Option(help="CSV whose column named as the split lists faces: also without them."),
    ] = None,
    name: Annotated[str, typer.Option(help="What to call it in the report.")] = "",
    note: Annotated[list[str] | None, typer.Option(help="A line for the report.")] = None,
    device: DeviceOption = "auto",
) -> None:
    """Measure a model on a data set: accuracy, robustness, latency, agreement of runtimes."""
    from models.data.layouts import find_source, open_faces, read_names
    from models.evaluation.classifier import Measurement
    from models.evaluation.classifier import evaluate as measure
    from models.training import Place
    from models.training.runs import (
        alignment_warnings,
        parse_list,
        read_budget,
        weights_and_card,
    )

    path, card = weights_and_card(model, weights)
    faces = open_faces(data, card.labels, card.input_hw, split)
    if some:
        faces = faces.spread(some)
    for line in alignment_warnings(faces, card):
        console.print(f"[yellow]warning:[/] {line}", highlight=False)
    command = f"wakeful models evaluate {model} --data {data.name} --split {split}"
    if weights != "shipped":
        command += f" --weights {Path(weights).name}"
    command += f" --without {without.name}" if without else ""
    with console.status(f"{card.name} on {len(faces)} faces of {faces.source} {split}"):
        wanted = Measurement(
            split=split, command=command, robustness=robustness,
            threads=tuple(int(t) for t in parse_list(threads) if t != "none"),
            counted=find_source(data).filter,
            left_out=read_names(without, split) if without else (),
            device=Place.find(device).device,
        )  # fmt: skip
        report = measure(card, path, faces, wanted)
    report = report.model_copy(
        update={
            "model": name or report.model,
            "budget": read_budget(trained_in) if trained_in else None,
            "notes": (*report.notes, *(note or ())),
        }
    )
    if json_file:
        report.save(json_file)
    show_report(console, report)


@models_app.command()
def cost(
    model: ModelArgument,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write a report here.")] = None,
    note: Annotated[list[str] | None, typer.Option(help="A line for the report.")] = None,
) -> None:
    """Count a model's parameters and multiplications, attention included."""
    from models.evaluation.classifier import cost_of
    from models.network import build

    card = find(model)
    counted = cost_of(build(card, None), card)
    if json_file:
        Report(
            model=card.name, task=card.task, labels=card.labels, cost=counted,
            command=f"wakeful models cost {model}", notes=tuple(note or ()),
        ).save(json_file)  # fmt: skip
    console.print(
        f"{card.name}: {counted.params_total:,} parameters as released, {counted.params_live:,} "
        f"live, {counted.params_trainable:,} trained; {(counted.macs or 0) / 1e6:,.1f} MMACs at "
        f"{card.input_hw[1]}x{card.input_hw[0]}",
        highlight=False,
    )


@models_app.command("compare")
def compare_models(
    dataset: Annotated[str, typer.Option(help="Data set to compare on.")] = "RAF-DB",
    split: Annotated[str, typer.Option(help="Its split.")] = "test",
    results: Annotated[Path, typer.Option(help="Folder of reports.")] = RESULTS,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="For a document.")] = False,
    plot: Annotated[Path | None, typer.Option(help="Draw accuracy against cost.")] = None,
) -> None:
    """All measured models side by side, and what papers say apart from it."""
    rows = compare(load_reports(results), dataset, split)
    published = load_published()
    if plot:
        counts = {row.accuracy.n for row in rows if row.accuracy}
        n = f", n = {counts.pop()}" if len(counts) == 1 else ""
        draw(rows, plot, f"{dataset} {split}{n}: measured here, one protocol")
        console.print(f"drawn: {plot}")
    if as_markdown:
        typer.echo(markdown(rows))
        typer.echo(published_markdown(published))
        return
    if plot:
        return
    for title, columns, lines in (
        (f"measured here on {dataset} {split}", COLUMNS, [cells(row) for row in rows]),
        ("published", PUBLISHED_COLUMNS, published_rows(published)),
    ):
        show_comparison(console, title, columns, lines)


@models_app.command()
def export(
    model: ModelArgument,
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path(),
    weights: WeightsOption = "shipped",
    file_format: Annotated[str, typer.Option("--format", help="onnx or openvino.")] = "onnx",
    int8: Annotated[bool, typer.Option(help="Also calibrate int8 for OpenVINO.")] = False,
    pictures: Annotated[
        Path | None,
        typer.Option(help="To calibrate int8 on: faces, any layout; for a detector, a folder."),
    ] = None,
) -> None:
    """Write ONNX or OpenVINO that takes camera pixels, any batch size; int8 for the watch."""
    from models.export.quantisation import calibrate, write_graph
    from models.training.runs import weights_and_card

    path, card = weights_and_card(model, weights)
    with console.status(f"exporting {card.id}"):
        written = write_graph(card, path, out, file_format)
    console.print(f"written: {written}")
    if int8:
        with console.status("calibrating int8"):
            kept = calibrate(card, path, pictures)
        console.print(f"int8 for the watch: {kept}")


@models_app.command()
def graphs(
    weights: Annotated[
        list[Path] | None,
        typer.Argument(help="Weights with their cards; all that ship.", show_default=False),
    ] = None,
) -> None:
    """Write the graph that a vehicle without torch runs, beside the weights it belongs to."""
    from models.export.shipped_graphs import write_beside, write_shipped

    with console.status("writing graphs"):
        written = [write_beside(path) for path in weights] if weights else write_shipped()
    for path in written:
        console.print(f"written: {path}", soft_wrap=True, highlight=False)


detection_cli.mount(models_app)
expression_detector.mount(models_app)
models_app.command("drives")(drives)

if __name__ == "__main__":
    models_app()
