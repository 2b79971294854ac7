"""The one door: `wakeful`. Commands are thin; each calls one room.

Imports of heavy rooms stand inside the commands: `wakeful --help` must not load a model. Other
rooms, the floor above among them, offer theirs by the entry points `wakeful.commands`; each is
loaded when it is asked for. Where another role's libraries are missing, one line names the extra.
"""

import logging
import sys
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import structlog
import typer
from rich.console import Console
from typer.core import TyperGroup

from models import extras
from models.tables import narrow_table
from monitor import __version__
from monitor.errors import ConfigError, WakefulError

if TYPE_CHECKING:
    from monitor.replay import Difference
    from monitor.types import Event


class Door(TyperGroup):
    """This room's commands, and those of the other rooms, loaded when they are asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names in the order of the help."""
        return [*super().list_commands(ctx), *sorted(entry_points(group="wakeful.commands").names)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of this name, or None."""
        own = super().get_command(ctx, cmd_name)
        offered = entry_points(group="wakeful.commands", name=cmd_name)
        return own if own or not offered else _command_of(next(iter(offered)))


def _command_of(offer: EntryPoint) -> Any:
    """What a room offers; where it cannot be imported, a command that says which extra it needs."""
    try:
        offered = offer.load()
    except ModuleNotFoundError as error:
        return _absent(offer.name, error)
    if isinstance(offered, typer.Typer):
        group = typer.main.get_group(offered)
        group.name = offer.name
        return group
    alone = typer.Typer(add_completion=False, rich_markup_mode="rich")
    alone.command(offer.name)(offered)
    return typer.main.get_command(alone)


def _absent(name: str, error: ModuleNotFoundError) -> Any:
    line = _missing(error)
    if line is None:
        raise error
    absent = typer.Typer(add_completion=False)
    anything = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}

    @absent.command(name, context_settings=anything, help=f"Not installed: {line}.")
    def refuse() -> None:
        raise extras.MissingExtraError(f"{name}: {line}")

    return typer.main.get_command(absent)


def _missing(error: ModuleNotFoundError) -> str | None:
    """The line about a library of another role; None where it belongs to none."""
    library = (error.name or "").partition(".")[0]
    return extras.explain([library]) if library in extras.EXTRA_OF else None


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"wakeful {__version__}")
        raise typer.Exit


app = typer.Typer(
    name="wakeful",
    cls=Door,
    help="Watches a driver through one camera and warns before sleep does harm.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
config_app = typer.Typer(help="Settings: the effective tree, the schema, a check.")
db_app = typer.Typer(help="The event log's database.", no_args_is_help=True)
app.add_typer(config_app, name="config")
app.add_typer(db_app, name="db")

ConfigOption = Annotated[
    Path | None, typer.Option("--config", "-c", help="YAML file of settings.", show_default=False)
]
PolicyOption = Annotated[
    str | None,
    typer.Option("--policy", "-p", help="default, euro-ncap-2026, euro-ncap-2023, or a file."),
]


@app.command()
def run(
    camera: Annotated[
        list[str] | None,
        typer.Option(
            help="Device index, file, GIF, folder, rtsp:// or http(s):// URL, or `animated`. "
            "Again for more cameras."
        ),
    ] = None,
    config: ConfigOption = None,
    policy: PolicyOption = None,
    vehicle: Annotated[str | None, typer.Option(help="The vehicle's id.")] = None,
    broker: Annotated[
        str | None, typer.Option(help="MQTT broker as HOST[:PORT], `embedded`, or `none`.")
    ] = None,
    events: Annotated[
        str | None, typer.Option(help="Append every event as a JSON line; `-` is standard output.")
    ] = None,
    trace: Annotated[
        Path | None, typer.Option(help="Folder for the trace of what was measured (no pictures).")
    ] = None,
    show: Annotated[
        bool, typer.Option(help="Draw the face, its expressions and the state in a window.")
    ] = False,
    expressions: Annotated[
        str | None,
        typer.Option(help="Model that reads expressions, e.g. `yolov5_faces`; a file, or `none`."),
    ] = None,
    realtime: Annotated[bool, typer.Option(help="Play files at their own rate.")] = False,
    quiet: Annotated[bool, typer.Option(help="No live table, no summary.")] = False,
) -> None:
    """Watch a camera, a stream or a file until it ends or Ctrl-C."""
    from monitor import app
    from monitor.config import load
    from monitor.sinks.summary import SummarySink
    from monitor.sinks.window import require_display

    if show:
        require_display()
    overrides = app.overrides(
        cameras=camera,
        policy=policy,
        vehicle=vehicle,
        broker=broker,
        trace=trace,
        realtime=realtime,
        expressions=expressions,
    )
    settings = load(config, **overrides)
    console, summary = Console(), SummarySink()
    spoken = not quiet and events != "-"
    drawn = console if spoken and sys.stdout.isatty() else None
    app.run(settings, console=drawn, events=events, show=show, extra=(summary,))
    if spoken:
        for line in summary.lines(settings):
            console.print(line, highlight=False, markup=False, soft_wrap=True)


@app.command()
def demo(
    script: Annotated[Path | None, typer.Option(help="Another drive script.")] = None,
    portrait: Annotated[Path | None, typer.Option(help="Another face.")] = None,
    policy: PolicyOption = None,
    fast: Annotated[
        bool, typer.Option(help="As fast as the machine can, not at real pace.")
    ] = False,
    fps: Annotated[float, typer.Option(min=5, max=60, help="Frames a second of the drive.")] = 30.0,
    contact_sheet: Annotated[
        Path | None, typer.Option(help="Write a sheet of the drive with the alerts drawn on it.")
    ] = None,
    film: Annotated[
        Path | None, typer.Option(help="Write the drive as mp4, its truth beside it, and end.")
    ] = None,
    port: Annotated[int, typer.Option(help="Port of the embedded broker; 0 takes a free one.")] = 0,
) -> None:
    """An animated driver, the real watch, and the score. Needs nothing: no camera, no broker."""
    from monitor.demo import film as write_film
    from monitor.demo import play

    if film is not None:
        write_film(Console(), film, script=script, portrait=portrait, fps=fps)
        return

    found_all = play(
        Console(),
        script=script,
        portrait=portrait,
        policy=policy or "default",
        fast=fast,
        fps=fps,
        contact_sheet=contact_sheet,
        port=port,
    )
    raise typer.Exit(0 if found_all else 1)


@app.command()
def replay(
    trace: Annotated[Path, typer.Argument(help="A recorded trace.")],
    policy: PolicyOption = None,
    against: Annotated[
        str | None, typer.Option(help="A second policy: print how its alerts differ.")
    ] = None,
) -> None:
    """Make the events of a recorded trace again: one JSON line each, byte for byte the same."""
    from monitor import replay as replaying
    from monitor.policy import load_policy
    from monitor.protocol.mapping import event_line
    from monitor.sinks.trace import read_trace

    def events(name: str | None) -> "list[Event]":
        header, given = read_trace(trace)
        chosen = load_policy(name or header.policy)
        return list(
            replaying.events_of(
                given,
                chosen,
                drive=header.drive,
                camera=header.camera,
                models=header.models,
                mount=header.mount_pose,
            )
        )

    before = events(policy)
    if against is None:
        for event in before:
            typer.echo(event_line(event))
        return
    began_s = next((observation.timestamp_s for observation, *_ in read_trace(trace)[1]), 0.0)
    differences = replaying.compare(before, events(against))
    _print_differences(differences, began_s, policy or "recorded", against)


@app.command()
def evaluate(
    recordings: Annotated[Path, typer.Argument(help="Folder of the recordings.")],
    truth: Annotated[Path, typer.Option(help="What is true of them: a JSON file.")],
    policy: PolicyOption = None,
    against: Annotated[
        str | None, typer.Option(help="A second policy, scored beside the first.")
    ] = None,
    traces: Annotated[
        Path | None,
        typer.Option(help="Folder to keep what was measured in: the next run takes seconds."),
    ] = None,
    pictures: Annotated[
        Path | None, typer.Option(help="Folder for a timeline of each clip that fails.")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write the report there.")] = None,
    config: ConfigOption = None,
) -> None:
    """Score the watch over recordings of which it is known what the driver did."""
    from monitor.config import load
    from monitor.evaluation import evaluate as score_recordings
    from monitor.logs import natives_silenced

    settings = load(config)
    with natives_silenced(settings.log):
        passed = score_recordings(
            Console(),
            recordings,
            truth,
            perception=settings.perception,
            policies=[policy or settings.policy, *([against] if against else [])],
            traces=traces,
            pictures=pictures,
            json_file=json,
        )
    raise typer.Exit(0 if passed else 1)


def _print_differences(
    differences: list["Difference"], began_s: float, before: str, after: str
) -> None:
    table = narrow_table("at", "alert", before, after, "")
    for row in differences:
        event = row.before or row.after
        if event is None:
            continue
        table.add_row(
            f"{event.started_s - began_s:.2f} s",
            event.kind.track,
            *map(_cell, (row.before, row.after)),
            row.word,
        )
    Console().print(table)


def _cell(event: "Event | None") -> str:
    if event is None:
        return "-"
    return f"{event.kind.value} {event.level.name.lower()} {event.duration_s:.2f} s"


@app.command()
def doctor(config: ConfigOption = None) -> None:
    """Is everything there: camera, weights, broker, database, sound, GPU? One line each."""
    from monitor.config import load
    from monitor.doctor import Verdict, examine
    from monitor.logs import natives_silenced

    marks = {
        Verdict.OK: "[bold]ok[/]",
        Verdict.NOTICE: "[blue]--[/]",
        Verdict.FAIL: "[bold dark_orange]NO[/]",
    }
    console, failed, settings = Console(highlight=False), False, load(config)
    with natives_silenced(settings.log):
        for finding in examine(settings):
            cure = f"  → {finding.cure}" if finding.cure else ""
            console.print(f"{marks[finding.verdict]:>4}  {finding.part:<14} ", end="")
            console.print(f"{finding.text}{cure}", markup=False, soft_wrap=True)
            failed = failed or finding.verdict is Verdict.FAIL
    raise typer.Exit(1 if failed else 0)


@config_app.callback(invoke_without_command=True)
def config_show(
    context: typer.Context,
    config: ConfigOption = None,
    defaults: Annotated[
        bool, typer.Option(help="The defaults with their meanings: a file to start from.")
    ] = False,
) -> None:
    """Print the effective settings as YAML; secrets stay hidden."""
    if context.invoked_subcommand is None:
        from monitor.config import Config, dump, load

        text = dump(Config.model_construct(), comments=True) if defaults else dump(load(config))
        typer.echo(text, nl=False)


@config_app.command("schema")
def config_schema(
    messages: Annotated[
        bool, typer.Option("--messages", help="Of the messages over MQTT instead.")
    ] = False,
) -> None:
    """Print every setting with its type, default, limits and meaning as a JSON schema."""
    import json

    from monitor.config import Config
    from monitor.protocol.schemas import message_schemas

    schema = message_schemas() if messages else Config.model_json_schema()
    typer.echo(json.dumps(schema, indent=2))


@config_app.command("validate")
def config_validate(
    file: Annotated[Path, typer.Argument(help="A file of settings or a policy.")],
) -> None:
    """Check a file; one line for each fault, with the place and the nearest right name."""
    from monitor.config import load
    from monitor.policy import load_policy

    settings = load(file)
    policy = load_policy(settings.policy)
    typer.echo(f"{file}: fine; vehicle {settings.vehicle}, policy {policy.id} ({policy.hash})")


@db_app.command("upgrade")
def db_upgrade(
    config: ConfigOption = None,
    url: Annotated[str | None, typer.Option(help="SQLAlchemy URL; default: store.url.")] = None,
) -> None:
    """Create the database or bring it to this version."""
    from monitor.config import load
    from monitor.store import upgrade

    target = url or load(config).store.resolved_url()
    revision = upgrade(target)
    typer.echo(f"database is at revision {revision}")


@db_app.command("rebuild-sums")
def db_rebuild_sums(
    config: ConfigOption = None,
    url: Annotated[str | None, typer.Option(help="SQLAlchemy URL; default: store.url.")] = None,
) -> None:
    """Make every sum again from the rows, if a database was changed without its triggers."""
    from monitor.config import load
    from monitor.store import upgrade
    from monitor.store.database import explained, open_engine
    from monitor.store.sums import rebuild

    target = url or load(config).store.resolved_url()
    upgrade(target)
    engine = open_engine(target, immediate=True)
    with explained(target), engine.begin() as connection:
        rebuild(connection)
    engine.dispose()
    typer.echo("every sum was made again")


@app.command()
def train_fusion(
    sets: Annotated[
        list[str],
        typer.Option("--set", help="TRUTH=TRACES: a truth file and the folder of its traces."),
    ],
    into: Annotated[
        Path | None, typer.Option(help="The model's file.", show_default="the one in use")
    ] = None,
    leave_out: Annotated[
        list[str] | None, typer.Option(help="Name of a clip or person to learn nothing from.")
    ] = None,
    licence: Annotated[str, typer.Option(help="Of what was learned from, for the card.")] = "",
) -> None:
    """Learn how the witnesses of the eyes are weighed, from traces with written truth."""
    from monitor.fusion_training import train

    for line in train(sets, into=into, leave_out=frozenset(leave_out or ()), licence=licence):
        typer.echo(line)


@app.callback()
def door(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_version, is_eager=True),
    ] = False,
) -> None:
    """Watches a driver through one camera and warns before sleep does harm."""


def main() -> None:
    """Run a command; bad input ends in one line on standard error and exit status 2."""
    # What rooms note for whoever looks for a fault; a command that keeps a log says how.
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=lambda *_: structlog.WriteLogger(sys.stderr),
    )
    try:
        app()
    except WakefulError as error:
        _fail(str(error), 2 if isinstance(error, ConfigError) else 1)
    except ModuleNotFoundError as error:
        line = _missing(error)
        if line is None:
            raise
        _fail(line, 1)
    except extras.MissingExtraError as error:
        _fail(str(error), 1)
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def _fail(message: str, status: int) -> None:
    for line in message.splitlines():
        print(f"wakeful: {line}", file=sys.stderr)  # noqa: T201 - the door's own voice
    raise SystemExit(status)
