"""`wakeful dashboard`: starts the pages with safe settings; `passwd` makes accounts."""

import logging
import os
import socket
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from dashboard import demo, settings
from dashboard.auth import accounts
from models import extras
from monitor.addresses import host_alone
from monitor.errors import ConfigError

dashboard = typer.Typer(
    help="Pages over the event log: live, events, fleet, models, replay, health.",
    invoke_without_command=True,
    no_args_is_help=False,
)
MAX_UPLOAD_MB = 64
LOOPBACK = {"127.0.0.1", "::1", "localhost"}
AccessOption = Annotated[
    Path | None,
    typer.Option("--access", help="Accounts and roles; default: access.yaml in the state folder."),
]


@dashboard.callback()
def start(
    context: typer.Context,
    database: Annotated[
        str | None, typer.Option(help="SQLAlchemy URL; default: store.url.", show_default=False)
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="YAML file of settings.")
    ] = None,
    simulated: Annotated[
        bool, typer.Option("--demo", help="A simulated fleet in a store of its own.")
    ] = False,
    vehicles: Annotated[int, typer.Option(min=1, max=2000, help="Vehicles of the demo.")] = 60,
    days: Annotated[float, typer.Option(min=1, max=365, help="Days of the demo.")] = 14,
    address: Annotated[str, typer.Option(help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8501,
    access: AccessOption = None,
    tiles: Annotated[
        str | None,
        typer.Option(
            help="Tile server for maps: its address with {z}, {x} and {y}. Readers' browsers ask "
            "it for the part of the map they see; without it maps ask nobody.",
            show_default=False,
        ),
    ] = None,
    tiles_credit: Annotated[str, typer.Option(help="Whose map that is.")] = "",
) -> None:
    """Open the pages in a browser; Ctrl-C ends them."""
    if context.invoked_subcommand is not None:
        return
    extras.require("streamlit")
    port = _port_to_listen_on(address, port)
    console = Console()
    if database:
        os.environ["WAKEFUL_STORE__URL"] = database
    if config:
        os.environ[settings.CONFIG_VARIABLE] = str(config)
    if access:
        os.environ[settings.ACCESS_VARIABLE] = str(access)
    if tiles:
        os.environ |= {settings.TILES_VARIABLE: tiles, settings.CREDIT_VARIABLE: tiles_credit}
    if simulated:
        if database:
            raise ConfigError(
                "--demo has a database of its own; fill another one with "
                "`wakeful fleet simulate --database URL`"
            )
        os.environ["WAKEFUL_STORE__URL"] = demo.prepare(console, vehicles, days)
        os.environ[settings.DEMO_VARIABLE] = "1"
    address = host_alone(address, "--address")
    chosen = settings.settings()
    if address not in LOOPBACK and chosen.access_file is None:
        raise ConfigError(
            f"--address {address}: others could see everything without signing in; make an "
            "account with `wakeful dashboard passwd NAME --role admin`, or listen on 127.0.0.1"
        )
    _log_at(chosen.config.log.level)
    _serve(console, address, port)


@dashboard.command()
def passwd(
    name: Annotated[str, typer.Argument(help="Name to sign in with, or an OIDC e-mail address.")],
    role: Annotated[str, typer.Option(help="viewer, reviewer or admin.")] = "viewer",
    oidc: Annotated[
        bool, typer.Option("--oidc", help="No password: the organisation signs them in.")
    ] = False,
    group: Annotated[
        list[str] | None,
        typer.Option(
            help="Only vehicles of this group; again for more. Without it the account keeps its "
            "groups.",
            show_default=False,
        ),
    ] = None,
    all_groups: Annotated[
        bool, typer.Option("--all-groups", help="Every vehicle, whatever it was limited to.")
    ] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Take the account away.")] = False,
    access: AccessOption = None,
) -> None:
    """Add or change an account. The password is asked for, or read from a pipe."""
    file = access or settings.default_access_file()
    people = accounts.read(file) if file.is_file() else accounts.Accounts()
    if remove:
        rest = {key: value for key, value in people.users.items() if key != name}
        accounts.write(file, accounts.Accounts(users=rest))
        typer.echo(f"{file}: {name} has no access any more")
        return
    if role.upper() not in accounts.Role.__members__:
        raise ConfigError(f"--role {role}: must be viewer, reviewer or admin")
    password = None if oidc else _password()
    before = people.users[name].groups if name in people.users else None
    groups = None if all_groups else (group or before)
    try:
        changed = accounts.with_account(people, name, accounts.Role[role.upper()], password, groups)
    except ValueError as error:
        raise ConfigError(f"{name}: {error}") from None
    accounts.write(file, changed)
    of_groups = f" of {', '.join(groups)}" if groups is not None else ""
    typer.echo(f"{file}: {name} is {role}{of_groups}")


def _password() -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    password: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    return password


def _log_at(level: str) -> None:
    """Say on standard error how long views took: slow ones, or with `debug` every one."""
    log = logging.getLogger("wakeful.dashboard")
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    log.setLevel(level.upper())
    log.propagate = False


def _serve(console: Console, address: str, port: int) -> None:
    """Run streamlit in this process, with settings that no file can loosen."""
    from streamlit.web.cli import main as streamlit  # noqa: PLC0415 - an optional extra

    shown = f"[{address}]" if ":" in address else address
    console.print(f"Dashboard: [bold]http://{shown}:{port}[/]   (Ctrl-C ends it)")
    options = {
        "server.address": address,
        "server.port": port,
        "server.headless": "true",
        "server.fileWatcherType": "none",
        "server.maxUploadSize": MAX_UPLOAD_MB,
        "server.enableXsrfProtection": "true",
        "browser.gatherUsageStats": "false",
        # The line above says where the pages are.
        "logger.hideWelcomeMessage": "true",
        "client.showErrorDetails": "none",
        "client.toolbarMode": "minimal",
        # What leaves goes through the export, which asks for a role and leaves a trace.
        "client.disableDataExport": "true",
    }
    flags = [f"--{name}={value}" for name, value in options.items()]
    script = str(Path(__file__).with_name("server.py"))
    streamlit(["run", script, *flags], prog_name="wakeful dashboard", standalone_mode=False)


def _port_to_listen_on(address: str, port: int) -> int:
    """The port itself, or a free one for 0; noticed before anything is simulated for it.

    Raises:
        ConfigError: another program listens there, or the address is none of this machine.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as probe:
        # As the server will: a port whose last connection is only just closed is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise ConfigError(
                f"--address {address} --port {port}: cannot listen there ({why}); "
                "give another --port, or 0 for a free one"
            ) from None
        chosen: int = probe.getsockname()[1]
        return chosen
