"""`wakeful models drives`: animated drives of many people, to score the watch and to teach it."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track

console = Console()


def drives(
    portraits: Annotated[Path, typer.Option(help="Folder of faces with portraits.csv.")],
    into: Annotated[Path, typer.Option(help="Folder for the films and truth.json.")],
    who: Annotated[
        str,
        typer.Option(
            help="`benchmark`: 100 people whom no training has seen; `teach`: others of that kind, "
            "to teach the fusion; `trained`: 100 whom the networks were trained on."
        ),
    ] = "benchmark",
    count: Annotated[int | None, typer.Option(min=1, help="Only the first so many.")] = None,
    seconds: Annotated[float, typer.Option(min=10, help="Length of a drive, about.")] = 120.0,
    fps: Annotated[float, typer.Option(min=5, max=60, help="Pictures a second.")] = 10.0,
    seed: Annotated[int, typer.Option(help="Of scripts, disguises and noise.")] = 12,
) -> None:
    """Film drives of many people with written truth: closures, glances, talk, glasses, night."""
    from models.data.drive_cast import cast
    from models.data.yolo import PictureSetError
    from models.synthesis.drive_set import plan_drives, write_drive, write_truth_file

    people = cast(portraits)
    if who not in people:
        raise PictureSetError(f"--who {who}: is one of {', '.join(people)}")
    plans = plan_drives(people[who][:count], seconds, seed)
    for plan in track(plans, "filming", console=console, transient=True):
        write_drive(plan, into, fps)
    truth = write_truth_file(plans, into)
    console.print(f"{len(plans)} drives in {into}; truth: {truth}", highlight=False)
