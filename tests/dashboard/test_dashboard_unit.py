"""The dashboard as its systemd unit starts it: the same command, environment and restrictions."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from monitor.store import upgrade
from tests.support.paths import ROOT
from tests.support.servers import free_port, listening, until

UNIT = (ROOT / "configs" / "systemd" / "wakeful-dashboard.service").read_text()
PAGE = (ROOT / "docs" / "dashboard.md").read_text()
# What the unit asks of systemd, by hand: nothing is writable but the state and a /tmp of its own,
# no device but the four that everybody has, no capability, none to be gained.
RESTRICTED = """
set -e
state=$1; shift
mount --bind "$state" "$state"
mount -o remount,bind,ro /
mount -t tmpfs tmpfs /home
mount -t tmpfs tmpfs /dev/shm
exec setpriv --bounding-set=-all --inh-caps=-all --no-new-privs "$@"
"""
ALONE = ("unshare", "--mount", "--propagation", "private")
ROOTS = hasattr(os, "geteuid") and os.geteuid() == 0


def settings() -> dict[str, str]:
    return dict(line.split("=", 1) for line in re.findall(r"(?m)^Environment=(.*)$", UNIT))


def command() -> list[str]:
    (line,) = re.findall(r"(?m)^ExecStart=(.*)$", UNIT)
    return shlex.split(line)


def test_the_page_installs_the_unit_that_ships() -> None:
    assert "configs/systemd/wakeful-dashboard.service /etc/systemd/system/" in PAGE
    assert "EnvironmentFile=/etc/wakeful/dashboard.env" in UNIT
    assert "/etc/wakeful/dashboard.env" in PAGE
    assert "WAKEFUL_STORE__URL=" in PAGE


@pytest.mark.skipif(not ROOTS, reason="only root may restrict a process")
@pytest.mark.skipif(not (shutil.which("unshare") and shutil.which("setpriv")), reason="util-linux")
def test_the_unit_s_command_serves_under_its_restrictions(tmp_path: Path) -> None:
    if subprocess.run([*ALONE, "true"], check=False, capture_output=True).returncode:
        pytest.skip("mounts may not be unshared here")
    state, port = tmp_path / "state", free_port()
    state.mkdir()
    database = f"sqlite:///{state / 'log.db'}"
    upgrade(database)
    program, *words = command()
    assert program == "/opt/wakeful/bin/wakeful"
    words[words.index("--port") + 1] = str(port)
    own = {
        name: value.replace("/var/lib/wakeful-dashboard", str(state))
        for name, value in settings().items()
    }
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "LANG": "C.UTF-8"}
    python = [sys.executable, "-c", "from monitor.cli import main; main()"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [*ALONE, "sh", "-c", RESTRICTED, "sh", str(state), *python, *words],
            env=environment | own | {"WAKEFUL_STORE__URL": database},
            cwd="/", stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        until(lambda: listening(port) or process.poll() is not None, 240, "the dashboard listens")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health") as answer:
            assert answer.read() == b"ok"
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as answer:
            assert answer.status == 200
    finally:
        process.terminate()
        process.wait(60)
    said = (tmp_path / "log").read_text()
    assert said.splitlines() == [f"Dashboard: http://127.0.0.1:{port}   (Ctrl-C ends it)"]
