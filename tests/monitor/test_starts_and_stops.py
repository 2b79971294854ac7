"""A command begins or says why not, ends when it is asked to, and says what it did."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from monitor import __version__
from monitor.sinks.summary import clock
from tests.support.paths import ROOT

COMMAND = (sys.executable, "-c", "from monitor.cli import main; main()")
QUICK = (
    "chime: {enabled: false}\nmqtt: {enabled: false}\nperception: {detector: null, emotion: null}\n"
)
ENDED_BY_SIGINT = 128 + signal.SIGINT


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "quick.yaml").write_text(
        QUICK + "cameras: [{source: animated, script: 'attentive 3, closed 2, attentive 2', "
        "fps: 10, realtime: false}]\n"
    )
    return tmp_path


def environment(folder: Path, **more: str) -> dict[str, str]:
    inherited = {k: v for k, v in os.environ.items() if k not in {"DISPLAY", "WAYLAND_DISPLAY"}}
    return {**inherited, "PYTHONPATH": str(ROOT), "WAKEFUL_HOME": str(folder / "home"), **more}


def wakeful(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *words], cwd=folder, env=environment(folder), stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def hear_ctrl_c() -> None:
    """A shell that starts the tests in the background lets them and their children ignore it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def running(folder: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [*COMMAND, *words], cwd=folder, env=environment(folder), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        preexec_fn=hear_ctrl_c,  # noqa: PLW1509 - nothing here has threads
    ) as process:  # fmt: skip
        yield process
        process.kill()


def test_the_version_is_said(folder: Path) -> None:
    assert wakeful(folder, "--version").stdout == f"wakeful {__version__}\n"


@pytest.mark.skipif(sys.platform != "linux", reason="a Mac always has a display")
def test_a_missing_display_is_said_before_anything_starts(folder: Path) -> None:
    done = wakeful(folder, "run", "--show", "--config", "quick.yaml")
    assert done.returncode == 1
    assert done.stderr == "wakeful: --show: no display to open a window on; run without it\n"
    assert not (folder / "home").exists()


def test_the_doctor_s_lines_are_its_own(folder: Path) -> None:
    """None of the libraries that it opens."""
    done = wakeful(folder, "doctor", "--config", "quick.yaml")
    assert done.stderr == ""
    assert all(line.split()[0] in {"ok", "--", "NO"} for line in done.stdout.splitlines())
    assert "clock" in done.stdout


def test_a_busy_port_is_noticed_before_a_fleet_is_simulated(folder: Path) -> None:
    pytest.importorskip("streamlit", reason="pip install 'wakeful[dashboard]'")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = wakeful(folder, "dashboard", "--demo", "--port", str(port))
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert f"--port {port}: cannot listen there (address already in use)" in line
    assert not (folder / "home").exists()


def test_a_drive_ends_with_what_it_came_to(folder: Path) -> None:
    done = wakeful(folder, "run", "--config", "quick.yaml", "--trace", "traces")
    assert done.returncode == 0
    watched, alerts, *places = done.stdout.splitlines()
    assert watched.startswith("7 s watched, ")
    assert " monitored (" in watched
    assert alerts == "alerts: 1 microsleep"
    assert [place.partition(":")[0] for place in places] == ["event log", "traces"]


def test_the_summary_is_kept_from_a_service_log_and_from_json_lines(folder: Path) -> None:
    assert wakeful(folder, "run", "--config", "quick.yaml", "--quiet").stdout == ""
    lines = wakeful(folder, "run", "--config", "quick.yaml", "--events", "-").stdout.splitlines()
    assert all(line.startswith("{") for line in lines)


@pytest.mark.parametrize(
    ("seconds", "said"), [(0, "0 s"), (59.4, "59 s"), (125, "2 min 05 s"), (4320, "1 h 12 min")]
)
def test_a_length_of_time_is_read_at_a_glance(seconds: float, said: str) -> None:
    assert clock(seconds) == said


# What shows that a command is at work: a file that it writes.
LONG = [
    ("run", ("run", "--camera", "animated", "--broker", "none", "--config", "quick.yaml"),
     "home/wakeful.db"),
    ("demo", ("demo",), "home/demo/demo.db"),
    ("film", ("demo", "--film", "drive.mp4"), "drive*.mp4"),
    ("simulate", ("fleet", "simulate", "--vehicles", "2000", "--days", "90"), "home/fleet.db"),
]  # fmt: skip


PRESSED_WHILE_IT_LOADS = """
import sys
class CtrlC:
    def find_spec(self, name, path=None, target=None):
        if name == "typer":
            raise KeyboardInterrupt
sys.meta_path.insert(0, CtrlC())
from monitor.__main__ import main
main()
"""


def test_ctrl_c_while_a_command_still_loads_leaves_no_traceback(folder: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", PRESSED_WHILE_IT_LOADS],
        env=environment(folder),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (ENDED_BY_SIGINT, "", "")


@pytest.mark.parametrize(("words", "sign"), [row[1:] for row in LONG], ids=[row[0] for row in LONG])
def test_ctrl_c_ends_a_command_without_a_traceback_and_without_an_orphan(
    folder: Path, words: tuple[str, ...], sign: str
) -> None:
    with running(folder, *words) as process:
        while not list(folder.glob(sign)):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.1)
                pytest.fail(process.communicate()[0])
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate()
    assert process.returncode in {0, 1, ENDED_BY_SIGINT}
    assert "Traceback" not in said
    assert not any(child.is_running() for child in children)
