"""Installed for one role, a command of another says in one line which extra brings it."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from models.extras import EXTRA_OF
from tests.support.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# What an extra's libraries bring along and we import ourselves.
BROUGHT = {"altair": "streamlit", "pandas": "streamlit", "torchvision": "ultralytics"}
DISTRIBUTION = {"prometheus_client": "prometheus-client", "sklearn": "scikit-learn"}

# A vehicle, as Python sees it: none of the other roles' libraries can be imported.
VEHICLE = (
    "import sys\n"
    "from models.extras import EXTRA_OF\n"
    "sys.modules |= dict.fromkeys(EXTRA_OF)\n"
    "from monitor.cli import main\n"
    "main()\n"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the command runs; nothing may appear in it."""
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


def in_a_vehicle(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", VEHICLE, *words],
        env={**os.environ, "PYTHONPATH": str(ROOT), "WAKEFUL_HOME": str(folder / "home")},
        cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(("library", "extra"), sorted(EXTRA_OF.items()))
def test_the_extra_named_does_bring_the_library(library: str, extra: str) -> None:
    wanted = DISTRIBUTION.get(library) or BROUGHT.get(library) or library
    listed = [line.lower() for line in PROJECT["optional-dependencies"][extra]]
    assert any(line.startswith(wanted) for line in listed)
    assert not any(line.startswith(f"{wanted}>") for line in PROJECT["dependencies"])


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        (("dashboard",), "dashboard"),
        (("dashboard", "--demo"), "dashboard"),
        (("fleet", "ingest"), "fleet"),
        (("fleet", "provision", "--init", "--folder", "broker"), "fleet"),
        (("models", "train", "cnn", "--data", "faces"), "train"),
        (("models", "train", "awake_sleep", "--data", "pictures"), "train"),
        (("models", "evaluate", "cnn", "--data", "faces"), "train"),
        (("models", "export", "cnn"), "train"),
        (("models", "graphs"), "train"),
        (("bench",), "train"),
    ],
)
def test_a_command_of_another_role_names_its_extra_before_any_work(
    folder: Path, words: tuple[str, ...], extra: str
) -> None:
    done = in_a_vehicle(folder, *words)
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("wakeful: ")
    assert f"pip install 'wakeful[{extra}]'" in line
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    "words", [("--help",), ("--version",), ("models", "list"), ("config",), ("run", "--help")]
)
def test_what_a_vehicle_needs_works_there(folder: Path, words: tuple[str, ...]) -> None:
    done = in_a_vehicle(folder, *words)
    assert done.returncode == 0, done.stderr
    assert done.stdout
