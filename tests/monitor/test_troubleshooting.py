"""docs/troubleshooting.md: its messages are those that are printed, its cures are what is taken."""

import re
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from monitor.cli import app
from monitor.config import load
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
def test_every_variable_is_taken(cure: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, _, value = cure.partition("=")
    before = load()
    monkeypatch.setenv(name, value)
    assert load() != before


@pytest.mark.parametrize("cure", COMMANDS)
def test_every_command_has_the_options_that_are_named(cure: str) -> None:
    words = cure.split()[1:]
    options = [word for word in words if word.startswith("--")]
    command = words[: words.index(options[0])] if options else words
    told = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "200"})
    assert told.exit_code == 0
    plain = re.sub(r"\x1b\[[0-9;]*m", "", told.stdout)
    assert all(option in plain for option in options)
