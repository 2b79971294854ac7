"""docs/troubleshooting.md: its messages are those that are printed, its cures are what is taken."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel
from typer.testing import CliRunner

from monitor.cli import app
from monitor.config import Config, load
from monitor.fleet.config import FleetConfig
from tests.support.paths import ROOT

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
ROWS = [
    tuple(cell.strip() for cell in line.strip("|").split(" | "))
    for line in PAGE.splitlines()
    if line.startswith("| ") and not line.startswith("| you see")
]
# Words of others: a broker's, PostgreSQL's, the shapes of a state.
FOREIGN = {
    "Not authorized",
    "prepared statement",
    "already exists",
    "unsupported startup parameter",
    "certificate is not yet valid",
}


def spans(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


CURES = sorted({span for _, _, cure in ROWS for span in spans(cure)})
SETTINGS = [cure for cure in CURES if re.match(r"[a-z]+: ", cure)]
COMMANDS = [cure for cure in CURES if cure.startswith("wakeful ")]
VARIABLES = [cure for cure in CURES if cure.startswith("WAKEFUL_")]


def sources() -> str:
    rooms = [ROOT / room for room in ("monitor", "models", "dashboard")]
    files = [p for room in rooms for kind in ("*.py", "*.js") for p in room.rglob(kind)]
    text = "\n".join(path.read_text(encoding="utf-8") for path in files)
    # A message that is written over two lines is one.
    return re.sub(r'"\s*\n\s*f?r?"', "", text)


def test_every_message_of_the_page_is_one_that_is_printed() -> None:
    printed = sources()
    quoted = {span for seen, _, _ in ROWS for span in spans(seen)}
    names = {f"degraded: {cause}" for cause in ("camera_turned", "low_fps")} | {"distraction"}
    paths = {span for span in quoted if span.startswith("/dev/") or len(span) == 1}
    for span in sorted(quoted - names - paths):
        text = span.removeprefix("refuses: ")
        assert text in FOREIGN or text in printed, span


def test_the_page_has_cures_of_every_kind() -> None:
    assert len(SETTINGS) > 20
    assert COMMANDS
    assert VARIABLES


@pytest.mark.parametrize("cure", SETTINGS)
def test_every_setting_is_taken(cure: str, tmp_path: Path) -> None:
    file = tmp_path / "wakeful.yaml"
    file.write_text(cure + "\n")
    key = next(iter(yaml.safe_load(cure)))
    assert getattr(load(file), key) is not None


@pytest.mark.parametrize("cure", VARIABLES)
def test_every_variable_is_taken(
    cure: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, _, value = cure.partition("=")
    if value == "null":  # takes away what a file says
        (tmp_path / "w.yaml").write_text(
            "mqtt: {username: me}\nperception: {eyes: auto}\nclips: {enabled: true}\n"
        )
    before = load(tmp_path / "w.yaml" if value == "null" else None)
    monkeypatch.setenv(name, value)
    assert load(tmp_path / "w.yaml" if value == "null" else None) != before


@pytest.mark.parametrize("cure", COMMANDS)
def test_every_command_has_the_options_that_are_named(cure: str) -> None:
    words = cure.split()[1:]
    options = [word for word in words if word.startswith("--")]
    command = words[: words.index(options[0])] if options else words
    told = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "200"})
    assert told.exit_code == 0
    plain = re.sub(r"\x1b\[[0-9;]*m", "", told.stdout)
    assert all(option in plain for option in options)


# --- what the messages themselves name ----------------------------------------------------------


def literals() -> set[str]:
    """Every text of the source, those of one message joined; what is filled in is a `{}`."""
    texts: set[str] = set()
    for room in ("monitor", "models", "dashboard"):
        for path in (ROOT / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.JoinedStr):
                    parts = (
                        part.value if isinstance(part, ast.Constant) else "{}"
                        for part in node.values
                    )
                    texts.add("".join(map(str, parts)))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    texts.add(node.value)
    return texts


def settings_of(schema: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Dotted names, as `mqtt.tls` and `cameras[].rotate`."""
    for name, info in schema.model_fields.items():
        yield prefix + name
        for kind in (info.annotation, *getattr(info.annotation, "__args__", ())):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                several = "[]" if kind is not info.annotation else ""
                yield from settings_of(kind, f"{prefix}{name}{several}.")


SECTIONS = (
    "cameras\\[\\]|mqtt|store|perception|speed|chime|clips|metrics|trace|database|ingest|retention"
)
NAMED = sorted(
    {
        match
        for text in literals()
        if " " in text and "\n" not in text  # a message: no module's name, no docstring
        for match in re.findall(rf"(?<![\w./])(?:{SECTIONS})\.[a-z_]+(?![\w.(])", text)
    }
)
TOLD_COMMANDS = sorted(
    {
        match.strip()
        for text in literals()
        for match in re.findall(r"`wakeful ([a-z_ -]+)[A-Z`{]", text)
        if match.strip()
    }
)


def test_messages_name_settings_and_commands() -> None:
    assert len(NAMED) > 20
    assert len(TOLD_COMMANDS) > 5


@pytest.mark.parametrize("setting", NAMED)
def test_every_setting_that_a_message_names_is_one(setting: str) -> None:
    assert setting in {*settings_of(Config), *settings_of(FleetConfig)}


@pytest.mark.parametrize("command", TOLD_COMMANDS)
def test_every_command_that_a_message_names_is_one(command: str) -> None:
    words = command.split()
    options = [word for word in words if word.startswith("--")]
    words = words[: words.index(options[0])] if options else words
    done = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "200"})
    # A word at the end may be an argument, as a model's name.
    if done.exit_code and len(words) > 1:
        done = CliRunner().invoke(app, [*words[:-1], "--help"], env={"COLUMNS": "200"})
    assert done.exit_code == 0
    plain = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)
    assert all(option in plain for option in options)
