"""At the door: help without a model, one clear line for bad input, honest exit statuses."""

import contextlib
import socket
from pathlib import Path

import numpy as np
import pytest
import skimage.io

from monitor import cli

OFF = "mqtt: {enabled: false}\nchime: {enabled: false}\n"


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAKEFUL_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "off.yaml").write_text(
        OFF + "perception: {detector: null, eyes: null, emotion: null}\n"
    )


@pytest.fixture
def wakeful(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> "Wakeful":
    return Wakeful(monkeypatch, capfd)


class Wakeful:
    """Runs the command as a shell would; remembers what it said."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capfd = capfd
        self.out = self.err = ""

    def __call__(self, *words: str) -> int:
        self._monkeypatch.setattr("sys.argv", ["wakeful", *words])
        status = 0
        self._capfd.readouterr()
        try:
            cli.main()
        except SystemExit as end:
            status = int(end.code or 0)
        self.out, self.err = self._capfd.readouterr()
        return status

    @property
    def said(self) -> list[str]:
        """The lines of the door's own voice."""
        return [line for line in self.err.splitlines() if line.startswith("wakeful: ")]


def junk(path: Path, content: bytes = b"this is no video" * 64) -> Path:
    path.write_bytes(content)
    return path


def test_help_names_every_command(wakeful: Wakeful) -> None:
    assert wakeful("--help") == 0
    for command in ("run", "demo", "replay", "config", "doctor", "db", "fleet", "dashboard",
                    "models", "bench"):  # fmt: skip
        assert f" {command} " in wakeful.out


def test_the_readme_names_every_command(wakeful: Wakeful) -> None:
    readme = (Path(cli.__file__).parents[1] / "README.md").read_text()
    commands = [
        c.name or c.callback.__name__.replace("_", "-")
        for c in cli.app.registered_commands
        if c.callback
    ]
    groups = [g.name for g in cli.app.registered_groups]
    for name in {*commands, *groups} - {None}:
        assert f"wakeful {name}" in readme, name


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("nowhere.mp4", "nowhere.mp4"),
        ("empty.mp4", "empty.mp4"),
        ("junk.mp4", "junk.mp4"),
        ("text.avi", "text.avi"),
        ("gopher://host/x", "gopher://host/x"),
        ("empty-folder", "empty-folder"),
    ],
)
def test_a_source_that_is_none_is_one_line_and_no_zero(
    wakeful: Wakeful, tmp_path: Path, source: str, said: str
) -> None:
    junk(tmp_path / "empty.mp4", b"")
    junk(tmp_path / "junk.mp4", np.random.default_rng(0).bytes(4096))
    junk(tmp_path / "text.avi")
    (tmp_path / "empty-folder").mkdir()
    assert wakeful("run", "--camera", source, "--config", "off.yaml") == 1
    (line,) = wakeful.said
    assert said in line
    assert "Traceback" not in wakeful.err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("mqtt: {prot: 1}", "did you mean `port`?"),
        ("cameras: [{id: a, source: 0, fps: fast}]", "cameras.0.fps"),
        ("mqtt: {keepalive_s: 5 min}", "mqtt.keepalive_s"),
        ("mqtt: {port: [", "broken YAML"),
    ],
)
def test_a_wrong_configuration_is_one_line_with_its_place(
    wakeful: Wakeful, tmp_path: Path, text: str, said: str
) -> None:
    (tmp_path / "wrong.yaml").write_text(text)
    assert wakeful("run", "--config", "wrong.yaml") == 2
    (line,) = wakeful.said
    assert said in line
    assert "wrong.yaml" in line


def test_a_wrong_policy_is_one_line_with_the_nearest_name(wakeful: Wakeful) -> None:
    assert wakeful("run", "--policy", "euro-ncap-2025", "--config", "off.yaml") == 2
    (line,) = wakeful.said
    assert "euro-ncap-2026" in line


def test_a_wrong_drive_script_is_one_line(wakeful: Wakeful, tmp_path: Path) -> None:
    (tmp_path / "drive.txt").write_text("attentive 5, closd 3")
    assert wakeful("demo", "--fast", "--script", "drive.txt") == 2
    (line,) = wakeful.said
    assert "closed" in line
    assert "column" in line


def test_a_portrait_without_a_face_is_one_line(wakeful: Wakeful, tmp_path: Path) -> None:
    wall = np.full((200, 200, 3), 128, np.uint8)
    skimage.io.imsave(tmp_path / "wall.png", wall, check_contrast=False)
    assert wakeful("demo", "--fast", "--portrait", "wall.png") == 1
    (line,) = wakeful.said
    assert "no face" in line


@pytest.mark.parametrize("size", [(1, 1), (4320, 7680)])
def test_tiny_and_huge_pictures_are_watched_without_a_face(
    wakeful: Wakeful, tmp_path: Path, size: tuple[int, int]
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(2):
        image = np.full((*size, 3), 90 + number, np.uint8)
        skimage.io.imsave(folder / f"{number}.png", image, check_contrast=False)
    junk(folder / "2.png")  # unreadable: skipped with a notice
    assert wakeful("run", "--camera", "pictures", "--config", "off.yaml") == 0
    assert "2.png" in wakeful.err


def test_a_port_in_use_is_said_and_the_watch_goes_on(wakeful: Wakeful, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        (tmp_path / "drive.txt").write_text("attentive 1")
        (tmp_path / "busy.yaml").write_text(
            f"chime: {{enabled: false}}\nmqtt: {{port: {port}, connect_timeout_s: 0.2}}\n"
            "perception: {detector: null, eyes: null, emotion: null}\n"
            "cameras: [{source: animated, script: 'attentive 1', fps: 5}]\n"
        )
        assert wakeful("run", "--config", "busy.yaml") == 0
    assert str(port) in wakeful.err
    assert "Traceback" not in wakeful.err


def test_a_database_of_a_newer_version_is_one_line(wakeful: Wakeful, tmp_path: Path) -> None:
    import sqlite3

    assert wakeful("db", "upgrade", "--url", "sqlite:///newer.db") == 0
    with contextlib.closing(sqlite3.connect("newer.db")) as database, database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    assert wakeful("db", "upgrade", "--url", "sqlite:///newer.db") == 1
    (line,) = wakeful.said
    assert "newer" in line


def test_a_file_that_is_no_database_is_one_line(wakeful: Wakeful, tmp_path: Path) -> None:
    junk(tmp_path / "letter.db")
    assert wakeful("db", "upgrade", "--url", "sqlite:///letter.db") == 1
    (line,) = wakeful.said
    assert "letter.db" in line


def test_a_trace_that_is_none_is_one_line(wakeful: Wakeful, tmp_path: Path) -> None:
    junk(tmp_path / "trace.jsonl.gz")
    assert wakeful("replay", "trace.jsonl.gz") == 1
    (line,) = wakeful.said
    assert "trace.jsonl.gz" in line


def test_the_configuration_is_printed_without_secrets(
    wakeful: Wakeful, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAKEFUL_MQTT__PASSWORD", "open-sesame")
    assert wakeful("config", "--config", "off.yaml") == 0
    assert "enabled: false" in wakeful.out
    assert "open-sesame" not in wakeful.out + wakeful.err


def test_a_file_of_settings_can_be_checked(wakeful: Wakeful) -> None:
    assert wakeful("config", "validate", "off.yaml") == 0
    assert "fine" in wakeful.out
    assert wakeful("config", "schema") == 0
    assert '"cameras"' in wakeful.out


def test_the_doctor_says_what_is_missing_and_the_cure(wakeful: Wakeful, tmp_path: Path) -> None:
    (tmp_path / "sick.yaml").write_text(OFF + "cameras: [{source: nowhere.mp4}]\n")
    assert wakeful("doctor", "--config", "sick.yaml") == 1
    assert "nowhere.mp4" in wakeful.out
    for part in ("policy", "landmarks", "database", "disk", "gpu"):
        assert part in wakeful.out


def test_events_go_to_standard_output_as_json_lines(wakeful: Wakeful, tmp_path: Path) -> None:
    import json

    (tmp_path / "drive.yaml").write_text(
        OFF + "perception: {detector: null, eyes: null, emotion: null}\n"
        "cameras: [{source: animated, script: 'attentive 4, closed 2, attentive 3', fps: 10}]\n"
    )
    assert wakeful("run", "--config", "drive.yaml", "--events", "-") == 0
    events = [json.loads(line) for line in wakeful.out.splitlines()]
    assert {e["kind"] for e in events} == {"microsleep"}
    assert events[-1]["phase"] == "end"
