"""The fleet's and the subscribers' pages say what is there."""

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import typer
import yaml

from dashboard.cli import dashboard
from monitor.config import load
from monitor.fleet import fleet_app
from monitor.fleet.config import load_fleet
from monitor.fleet.ingest.metrics import IngestMetrics
from monitor.protocol.messages import Topics, read
from monitor.protocol.schemas import Availability, CameraStatus
from monitor.sinks.mqtt.discovery import discovery
from tests.support.paths import ROOT

FLEET = (ROOT / "docs" / "fleet.md").read_text()
MQTT = (ROOT / "docs" / "mqtt.md").read_text()
HOME = (ROOT / "docs" / "home-assistant.md").read_text()
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
UNITS = sorted((ROOT / "configs" / "systemd").glob("*.service"))


def commands() -> dict[str, set[str]]:
    """Each command of `wakeful fleet` with its options."""
    group = typer.main.get_command(fleet_app)
    found = group.commands.items()  # type: ignore[attr-defined]
    return {
        name: {
            option
            for part in (command, *getattr(command, "commands", {}).values())
            for param in part.params
            for option in param.opts
        }
        for name, command in found
    }


def told(text: str) -> list[tuple[str, list[str]]]:
    """The `wakeful fleet` commands in a text, with the options they are given."""
    lines = re.findall(r"wakeful fleet ([a-z]+)([^\n`]*)", text)
    return [(name, re.findall(r"(--[a-z-]+)", rest.split("#")[0])) for name, rest in lines]


def test_every_command_is_on_the_page_and_every_command_on_it_exists() -> None:
    known = commands()
    assert {name for name, _ in told(FLEET)} == set(known)
    for page in (FLEET, MQTT, HOME, (ROOT / "compose.yaml").read_text()):
        for name, options in told(page):
            assert set(options) <= known[name], (name, options)


def test_the_metrics_on_the_page_are_those_that_are_served() -> None:
    served = {
        sample.name for metric in IngestMetrics().registry.collect() for sample in metric.samples
    } | {metric.name for metric in IngestMetrics().registry.collect()}
    named = set(re.findall(r"wakeful_ingest_[a-z_]+", FLEET))
    assert named
    assert named <= served | {f"{name}_total" for name in served}


def test_the_payloads_on_the_page_are_read_as_they_stand() -> None:
    kinds = []
    for block in re.findall(r"```json\n(.*?)```", MQTT, re.DOTALL):
        payload = json.loads(block)
        kinds.append(
            "stats" if "software" in payload
            else "state" if "eyes" in payload
            else "coverage" if "coverage" in payload["type"]
            else "alert"
        )  # fmt: skip
        address = Topics("dms/v1").parse(f"dms/v1/truck-1/{kinds[-1]}")
        read(address, block.encode())
    assert kinds == ["alert", "state", "coverage", "stats"]


def test_the_words_of_the_status_topics_are_all_named() -> None:
    for word in (*Availability, *CameraStatus):
        assert f"`{word}`" in MQTT


def test_the_entities_of_home_assistant_are_all_named() -> None:
    for message in discovery(Topics("dms/v1", "camper"), "homeassistant"):
        assert json.loads(message.payload)["name"] in HOME


def test_compose_starts_what_a_fleet_needs() -> None:
    services = COMPOSE["services"]
    assert {"broker", "postgres", "ingester", "dashboard"} <= set(services)
    command = services["provision"]["entrypoint"]
    assert set(commands()["provision"]) >= {part for part in command if part.startswith("--")}
    mounted = services["ingester"]["volumes"] + services["broker"]["volumes"]
    assert all("/etc/wakeful/broker" in volume for volume in mounted)
    fleet = yaml.safe_load((ROOT / "configs" / "fleet.yaml").read_text())
    assert fleet["mqtt"]["host"] in services
    assert "@postgres/" in fleet["database"]["url"]
    # The database is on the inner network alone.
    assert services["postgres"]["networks"] == ["fleet"]
    assert COMPOSE["networks"]["fleet"]["internal"]


def test_what_compose_runs_and_mounts_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """No container runs in this test: every command, setting and file they name must exist."""
    dockerfile = (ROOT / "Dockerfile").read_text()
    copied = {
        part for line in re.findall(r"^COPY (.+)$", dockerfile, re.M) for part in line.split()
    }
    assert {"models", "monitor", "dashboard", "configs"} <= copied
    assert all((ROOT / part).exists() for part in copied - {"./"})
    services = COMPOSE["services"]
    for name in ("ingester", "clips", "notifier", "dashboard", "provision", "accounts"):
        service = services[name]
        words = " ".join(
            [*_words(service.get("entrypoint", "wakeful")), *_words(service["command"])]
        )
        called = re.search(r"wakeful (fleet|dashboard)\b ?([a-z]*)", words)
        assert called, name
        if called[1] == "fleet":
            assert called[2] in commands()
        for option in re.findall(r"--[a-z-]+", words):
            assert option in _options(called[1], called[2]), (name, option)
        for path in re.findall(r"/opt/wakeful/(\S+)", words):
            assert (ROOT / path).is_file(), path
        for secret in service.get("secrets", []):
            assert secret in COMPOSE["secrets"]
    for variable, value in services["ingester"]["environment"].items():
        monkeypatch.setenv(variable, value)
    assert load_fleet(ROOT / "configs" / "fleet.yaml").database.password_file == Path(
        "/run/secrets/postgres_password"
    )


def test_every_variable_of_compose_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ingester", "clips", "notifier", "dashboard"):
        with monkeypatch.context() as patch:
            for variable, value in COMPOSE["services"][name]["environment"].items():
                patch.setenv(variable, value)
            if name == "dashboard":
                config = load(None)
                assert (config.mqtt.host, config.mqtt.username) == ("broker", "operator")
                assert config.clips.folder == Path("/var/lib/wakeful/clips")
            else:
                fleet = load_fleet(ROOT / "configs" / "fleet.yaml")
                assert fleet.database.password_file == Path("/run/secrets/postgres_password")
                if name == "clips":
                    assert (fleet.mqtt.username, fleet.clips.folder) == (
                        "operator",
                        Path("/var/lib/wakeful/clips"),
                    )


def _words(command: str | list[str]) -> list[str]:
    return command.split() if isinstance(command, str) else command


def _options(group: str, command: str) -> set[str]:
    if group == "fleet":
        return commands()[command]
    app = typer.main.get_command(dashboard)
    inner = app.commands[command] if command else app  # type: ignore[attr-defined]
    return {option for param in inner.params for option in param.opts}


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.stem)
def test_the_units_are_what_systemd_understands(unit: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze here")
    checked = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False
    )
    complaints = [
        line
        for line in checked.stderr.splitlines()
        if unit.name.replace("@.", "@").split(".")[0] in line and "is not executable" not in line
    ]
    assert not complaints


def test_a_unit_s_documentation_is_installed_where_it_points() -> None:
    shared = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    (folder, installed), *_ = shared["targets"]["wheel"]["shared-data"].items()
    for unit in UNITS:
        for page in re.findall(r"Documentation=file:///opt/wakeful/(\S+)", unit.read_text()):
            assert (ROOT / folder / Path(page).relative_to(installed)).is_file(), page


def test_the_watch_and_the_ingesters_have_a_watchdog() -> None:
    guarded = {unit.name for unit in UNITS if "WatchdogSec=" in unit.read_text()}
    services = {"wakeful", "wakeful-ingest@", "wakeful-notify", "wakeful-clips"}
    assert guarded == {f"{name}.service" for name in services}
