"""`wakeful fleet`: the fleet's side of the door. Commands are thin; each calls one room.

Imports of heavy rooms stand inside the commands: `wakeful --help` must not load a database driver.
"""
# ruff: noqa: PLC0415

import getpass
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from models.tables import narrow_table
from monitor.addresses import host_alone
from monitor.config import broker_address
from monitor.errors import ConfigError
from monitor.fleet.config import FleetConfig, load_fleet
from monitor.settings import CONFIGS

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from monitor.fleet.admin.operation import Standing, Subject
    from monitor.fleet.simulator.seeding import Plan

fleet_app = typer.Typer(
    help="Many vehicles and one database: take in, simulate, provision, export, erase.",
    no_args_is_help=True,
)
GROUP_NAME_LENGTH = 64  # of the column
ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="YAML file of fleet settings.", show_default=False),
]
DatabaseOption = Annotated[
    str | None,
    typer.Option(
        "--database",
        help="SQLAlchemy URL; default: database.url, else fleet.db in the state folder.",
        show_default=False,
    ),
]


@fleet_app.command()
def simulate(
    vehicles: Annotated[int, typer.Option(min=1, max=10_000, help="How many.")] = 50,
    hours: Annotated[float | None, typer.Option(min=0.1, help="How long, in hours.")] = None,
    days: Annotated[float | None, typer.Option(min=0.01, max=3650, help="Or in days.")] = None,
    end: Annotated[
        str, typer.Option(help="When the simulated time ends: `now` or an ISO time (UTC).")
    ] = "now",
    seed: Annotated[int, typer.Option(min=0, help="The same seed, the same fleet.")] = 1,
    distinct: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="So many live a life of their own, the others copy them inside the database: "
            "thousands within minutes.",
            show_default=False,
        ),
    ] = None,
    samples_hours: Annotated[
        float, typer.Option(min=0, help="The last hours have a sample of the state every 5 s.")
    ] = 3.0,
    database: DatabaseOption = None,
    mqtt: Annotated[
        str | None,
        typer.Option(help="Tell it to this broker, HOST[:PORT], in place of writing a database."),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Invent a fleet: drivers of different habits, tunnels, broken cameras. For demos and loads."""
    from monitor.fleet.simulator.rows import Detail
    from monitor.fleet.simulator.seeding import Plan

    if hours is not None and days is not None:
        raise ConfigError("give --hours or --days, not both")
    span_days = days if days is not None else (hours if hours is not None else 24.0) / 24
    settings = load_fleet(config)
    plan = Plan(
        vehicles=vehicles,
        days=span_days,
        end=_instant(end),
        seed=seed,
        detail=Detail(sample_hours=samples_hours),
        distinct=distinct,
    )
    if mqtt is None:
        _seed(plan, database or settings.database.resolved_url())
    else:
        _tell(plan, mqtt, settings)


def _seed(plan: "Plan", url: str) -> None:
    from monitor.fleet.simulator.seeding import seed
    from monitor.store.database import explained, open_engine, shown, upgrade

    upgrade(url)
    engine = open_engine(url, immediate=True)
    started = time.monotonic()
    shown_so_far = 0

    def progress(done: int, _of: int) -> None:
        nonlocal shown_so_far
        advance(done - shown_so_far)
        shown_so_far = done

    with explained(url), _bar("vehicles", plan.vehicles) as advance:
        written = seed(engine, plan, progress)
    engine.dispose()
    seconds = time.monotonic() - started
    _print_rows(f"{shown(url)}, {seconds:.1f} s", written)


def _tell(plan: "Plan", broker: str, settings: FleetConfig) -> None:
    from monitor.fleet.simulator.publisher import Traffic

    traffic = Traffic(plan, _at(settings, broker, "--mqtt").mqtt)
    with _bar("messages", traffic.total) as advance:
        result = traffic.run(advance)
    Console().print(
        f"{result.published:,} messages sent in {result.seconds:.1f} s, "
        f"{result.acknowledged:,} alerts and reports stored "
        f"({result.acknowledged / max(result.seconds, 1e-9):,.0f} a second), "
        f"{result.missing:,} not acknowledged"
    )
    if result.missing:
        raise typer.Exit(1)


@fleet_app.command()
def ingest(
    database: DatabaseOption = None,
    broker: Annotated[
        str | None, typer.Option(help="MQTT broker as HOST[:PORT]; default: mqtt.host.")
    ] = None,
    metrics_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Serve /metrics and /health here.")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Take alerts, states and reports from the broker into the database until stopped."""
    from monitor.fleet.ingest.service import serve, tune_python
    from monitor.logs import configure_logging

    settings = load_fleet(config)
    configure_logging(settings.log)
    if broker is not None:
        settings = _at(settings, broker, "--broker")
    if metrics_port is not None:
        update = {"metrics": settings.metrics.model_copy(update={"port": metrics_port})}
        settings = settings.model_copy(update=update)
    tune_python()
    serve(settings, database or settings.database.resolved_url(), _stopped_by_signals())


@fleet_app.command()
def notify(
    database: DatabaseOption = None,
    test: Annotated[
        str | None,
        typer.Option(help="Send one message to this recipient, and end.", show_default=False),
    ] = None,
    metrics_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Serve /metrics and /health here.")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Send what the database newly takes in to those whom it concerns, until stopped."""
    from monitor.fleet.notify.service import send_test, serve
    from monitor.logs import configure_logging

    settings = load_fleet(config)
    configure_logging(settings.log)
    if test is not None:
        send_test(settings.notify, test)
        Console().print(f"{test}: sent")
        return
    if not settings.notify.rules and not settings.notify.weekly.to:
        raise ConfigError("notify: there is neither a rule nor a weekly report; see docs/fleet.md")
    if metrics_port is not None:
        update = {"metrics": settings.metrics.model_copy(update={"port": metrics_port})}
        settings = settings.model_copy(update=update)
    serve(settings, database or settings.database.resolved_url(), _stopped_by_signals())


@fleet_app.command()
def clips(database: DatabaseOption = None, config: ConfigOption = None) -> None:
    """Fetch the clips that operators ask vehicles for, until stopped."""
    from monitor.fleet.clips.service import serve
    from monitor.logs import configure_logging

    settings = load_fleet(config)
    configure_logging(settings.log)
    serve(settings, database or settings.database.resolved_url(), _stopped_by_signals())


@fleet_app.command()
def provision(
    vehicle: Annotated[str | None, typer.Argument(help="The new vehicle's id.")] = None,
    init: Annotated[
        bool, typer.Option("--init", help="Make the broker's folder first: authority, rules.")
    ] = False,
    revoke: Annotated[
        bool, typer.Option("--revoke", help="Take the vehicle's credentials away.")
    ] = False,
    certificate: Annotated[
        bool, typer.Option("--certificate", help="Give it a client certificate too.")
    ] = False,
    host: Annotated[
        list[str] | None, typer.Option(help="Name or address of the broker; again for more.")
    ] = None,
    folder: Annotated[Path, typer.Option(help="The broker's folder.")] = Path(
        "/etc/wakeful/broker"
    ),
    owner: Annotated[
        str | None,
        typer.Option(help="User (name or number) of the services, for containers."),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Make a broker's credentials, or let one vehicle in (or out). Prints no secret."""
    from monitor.fleet import provisioning

    hosts = [host_alone(text, "--host") for text in host or ["localhost", "127.0.0.1"]]
    console = Console(highlight=False, soft_wrap=True)
    if init:
        provisioning.init(folder, hosts, CONFIGS / "mosquitto", owner)
        console.print(f"{folder}: made; start it with  mosquitto -c {folder}/mosquitto.conf")
    if vehicle is None:
        if not init:
            raise ConfigError("name a vehicle, or give --init to make the broker's folder")
        return
    if revoke:
        provisioning.revoke(folder, vehicle)
        console.print(f"{vehicle}: out once the broker reloads (kill -HUP its process)")
        return
    prefix = load_fleet(config).mqtt.prefix
    issued = provisioning.vehicle(folder, vehicle, hosts[0], prefix, certificate=certificate)
    console.print(
        f"{vehicle}: credentials and settings are in {issued.folder}\n"
        f"  1. copy it to the vehicle as /etc/wakeful (the key and password stay mode 0600)\n"
        f"  2. let the broker reload its passwords: kill -HUP its process\n"
        f"  3. there: wakeful run --config /etc/wakeful/wakeful.yaml\n"
        f"The broker's acl lets it write under {prefix}/{vehicle}/ and nowhere else."
    )


@fleet_app.command()
def status(database: DatabaseOption = None, config: ConfigOption = None) -> None:
    """List the vehicles: availability, when last heard of, events of the last day."""
    from monitor.fleet.admin.operation import vehicles

    with _database(database, config) as engine:
        print_status(vehicles(engine, time.time()))


def print_status(rows: "Iterable[Standing]") -> None:
    """Print how vehicles are."""
    table = narrow_table(
        "vehicle", "availability", "last seen (UTC)", "events in 24 h", "clock off by"
    )
    for row in rows:
        seen = datetime.fromtimestamp(row.last_seen_at, UTC).strftime("%Y-%m-%d %H:%M:%S")
        skew = "" if row.clock_skew_s is None else f"{row.clock_skew_s:+.1f} s"
        table.add_row(row.vehicle, row.availability, seen, str(row.events), skew)
    Console().print(table)


driver_app = typer.Typer(
    help="The data of one driver, by the pseudonym that vehicles were told.", no_args_is_help=True
)
fleet_app.add_typer(driver_app, name="driver")
VehicleArgument = Annotated[str, typer.Argument(help="Whose data.")]
DriverArgument = Annotated[str, typer.Argument(help="The pseudonym or id of the shift.")]
ClipsOption = Annotated[Path | None, typer.Option(help="Folder of the clips that the events name.")]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
DriveOption = Annotated[
    str | None,
    typer.Option(help="One drive alone: who drove it is in your roster.", show_default=False),
]
ActorOption = Annotated[
    str | None, typer.Option(help="Who asks, for the audit; default: your login.")
]


@fleet_app.command()
def group(
    name: Annotated[str, typer.Argument(help="A depot, a region, a customer.")],
    vehicles: Annotated[list[str], typer.Argument(help="Ids of vehicles.")],
    leave: Annotated[
        bool, typer.Option("--leave", help="Take them out instead of putting them in.")
    ] = False,
    actor: ActorOption = None,
    database: DatabaseOption = None,
    config: ConfigOption = None,
) -> None:
    """Put vehicles into a group, or take them out. Roles and notifications may be limited to it."""
    from monitor.fleet.admin.operation import join_group, leave_group

    if not 0 < len(name) <= GROUP_NAME_LENGTH:
        raise ConfigError(f"group {name!r}: its name has 1 to {GROUP_NAME_LENGTH} characters")
    change = leave_group if leave else join_group
    with _database(database, config) as engine:
        count = change(engine, name, vehicles, actor or getpass.getuser(), time.time())
    Console().print(f"{name}: {count} vehicles {'left' if leave else 'joined'}")


@fleet_app.command("export")
def export_data(
    vehicle: VehicleArgument,
    folder: Annotated[Path, typer.Argument(help="Where to write; made if need be.")],
    drive: DriveOption = None,
    actor: ActorOption = None,
    database: DatabaseOption = None,
    config: ConfigOption = None,
) -> None:
    """Write everything held about a vehicle, or one drive, as gzipped JSON lines."""
    _export(_subject(vehicle, drive), folder, actor, database, config)


@fleet_app.command()
def erase(
    vehicle: VehicleArgument,
    drive: DriveOption = None,
    clips: ClipsOption = None,
    broker: Annotated[
        bool, typer.Option("--broker", help="Clear what the broker retains of it, too.")
    ] = False,
    yes: YesOption = False,
    actor: ActorOption = None,
    database: DatabaseOption = None,
    config: ConfigOption = None,
) -> None:
    """Erase everything held about a vehicle, or one drive. Only an audit row remains."""
    forget = _forget_on_broker(load_fleet(config)) if broker else lambda _vehicle: None
    _erase(_subject(vehicle, drive), yes, actor, database, config, clips, forget)


@fleet_app.command()
def retention(database: DatabaseOption = None, config: ConfigOption = None) -> None:
    """Make the coming months' partitions and let go of what is too old. Ingesters do it hourly."""
    from monitor.fleet.admin.operation import maintain

    with _database(database, config) as engine:
        gone = maintain(engine, load_fleet(config).retention, time.time())
    _print_rows("let go of", gone or {"nothing was too old": 0})


@driver_app.command("export")
def export_driver(
    driver: DriverArgument,
    folder: Annotated[Path, typer.Argument(help="Where to write; made if need be.")],
    actor: ActorOption = None,
    database: DatabaseOption = None,
    config: ConfigOption = None,
) -> None:
    """Write everything held about a driver, of all vehicles, as gzipped JSON lines."""
    from monitor.fleet.admin.operation import Subject

    _export(Subject(driver=driver), folder, actor, database, config)


@driver_app.command("erase")
def erase_driver(
    driver: DriverArgument,
    clips: ClipsOption = None,
    yes: YesOption = False,
    actor: ActorOption = None,
    database: DatabaseOption = None,
    config: ConfigOption = None,
) -> None:
    """Erase everything held about a driver, of all vehicles. Only an audit row remains."""
    from monitor.fleet.admin.operation import Subject

    _erase(Subject(driver=driver), yes, actor, database, config, clips)


def _export(
    subject: "Subject", folder: Path, actor: str | None, database: str | None, config: Path | None
) -> None:
    from monitor.fleet.admin.operation import export

    with _database(database, config) as engine:
        written = export(engine, subject, folder, actor or getpass.getuser(), time.time())
    _print_rows(f"{subject} → {folder}", written)


def _erase(
    subject: "Subject",
    yes: bool,
    actor: str | None,
    database: str | None,
    config: Path | None,
    clips: Path | None,
    forget: Callable[[str], None] = lambda _vehicle: None,
) -> None:
    from monitor.fleet.admin.operation import erase as erase_data

    if not yes:
        typer.confirm(
            f"Erase everything held about {subject}? It cannot be brought back", abort=True
        )
    with _database(database, config) as engine:
        gone = erase_data(engine, subject, actor or getpass.getuser(), time.time(), clips, forget)
    _print_rows(f"{subject}: erased", gone)


def _stopped_by_signals() -> threading.Event:
    """Set by SIGTERM or Ctrl-C."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def _at(settings: FleetConfig, broker: str, option: str) -> FleetConfig:
    """The same settings with another broker, which an option gives as HOST[:PORT] or a URL."""
    try:
        changed = broker_address(broker, option)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    return settings.model_copy(update={"mqtt": settings.mqtt.model_copy(update=changed)})


def _forget_on_broker(settings: FleetConfig) -> Callable[[str], None]:
    from monitor.fleet.ingest.subscriber import forget

    return lambda vehicle: forget(settings.mqtt, vehicle)


def _subject(vehicle: str, drive: str | None) -> "Subject":
    from monitor.fleet.admin.operation import Subject

    return Subject(vehicle, drive)


@contextmanager
def _database(url: str | None, config: Path | None) -> Iterator["Engine"]:
    from monitor.store.database import explained, open_engine, upgrade

    target = url or load_fleet(config).database.resolved_url()
    upgrade(target)
    engine = open_engine(target, immediate=True)
    try:
        with explained(target):
            yield engine
    finally:
        engine.dispose()


def _instant(text: str) -> float:
    if text == "now":
        return time.time()
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(
            f"--end {text!r}: write `now` or an ISO time, as 2026-07-01T00:00"
        ) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _print_rows(title: str, rows: dict[str, int]) -> None:
    table = narrow_table("what", "rows", title=title)
    for name, count in rows.items():
        table.add_row(name, f"{count:,}")
    Console().print(table)


@contextmanager
def _bar(what: str, total: int) -> Iterator[Callable[[int], None]]:
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda count: progress.advance(task, count)
