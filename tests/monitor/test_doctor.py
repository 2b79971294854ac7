"""The doctor says no to whatever `run` would refuse, in the same words, and yes to nothing else."""

import errno
import fcntl
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from models.inference.backend import InferenceError
from monitor.app import Assembly
from monitor.cli import app
from monitor.config import Config, load
from monitor.doctor import Check, Verdict, examine
from monitor.errors import WakefulError
from tests.support.onnx_files import export

OFF: dict[str, Any] = {"mqtt": {"enabled": False}, "chime": {"enabled": False}}
NO_MODELS = {"detector": None, "eyes": None, "emotion": None}


@pytest.fixture(autouse=True)
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAKEFUL_HOME", str(tmp_path / "home"))


def settings(tmp_path: Path, **sections: Any) -> Config:
    (tmp_path / "pictures").mkdir(exist_ok=True)
    cv2.imwrite(str(tmp_path / "pictures" / "1.png"), np.full((48, 64, 3), 90, np.uint8))
    camera = {"source": str(tmp_path / "pictures")}
    sections.setdefault("perception", NO_MODELS)
    return load(None, **OFF, **{"cameras": (camera,), **sections})


def check(config: Config, part: str) -> Check:
    [found] = examine(config, only={part})
    return found


def refusal(config: Config) -> str:
    """Why `run` does not start."""
    with pytest.raises((WakefulError, InferenceError)) as caught:
        Assembly(config)
    return str(caught.value)


def other_labels(folder: Path) -> Path:
    """A detector that `run` refuses: it tells no driver who is awake from one who sleeps."""
    output = np.zeros((1, 300, 6), np.float32)
    return export(folder / "eyes.onnx", output, ("open", "closed"))


def listed_of_one_class(folder: Path) -> Path:
    return export(folder / "one.onnx", np.zeros((1, 300, 6), np.float32), ("sleep",))


def no_onnx(folder: Path) -> Path:
    (folder / "page.onnx").write_text("<html>sign in to download</html>")
    return folder / "page.onnx"


def missing(folder: Path) -> Path:
    return folder / "nope" / "x.onnx"


@pytest.mark.parametrize("make", [missing, no_onnx, other_labels, listed_of_one_class])
def test_a_detector_that_run_refuses_is_refused(tmp_path: Path, make: Any) -> None:
    config = settings(tmp_path, perception={**NO_MODELS, "detector": str(make(tmp_path))})
    finding = check(config, "detector")
    assert finding.verdict is Verdict.FAIL
    assert finding.text == refusal(config)
    assert "\n" not in finding.text


@pytest.mark.parametrize(("model", "part"), [("eyes", "eye state"), ("emotion", "expression")])
def test_any_other_model_that_run_refuses_is_refused(tmp_path: Path, model: str, part: str) -> None:
    config = settings(tmp_path, perception={**NO_MODELS, model: "/nope/x.safetensors"})
    finding = check(config, part)
    assert (finding.verdict, finding.text) == (Verdict.FAIL, refusal(config))


def test_a_folder_without_locks_is_no_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    finding = check(settings(tmp_path), "database")
    assert finding.verdict is Verdict.FAIL
    assert "its folder knows no locks" in finding.text


@pytest.mark.parametrize(
    "url", ["postgresql+psycopg://wakeful@127.0.0.1:1/w", "sqlite:////proc/nope/w.db"]
)
def test_a_database_that_cannot_be_written_is_told(tmp_path: Path, url: str) -> None:
    assert check(settings(tmp_path, store={"url": url}), "database").verdict is Verdict.FAIL


@pytest.mark.parametrize("url", ["mqtt://x", "oracle://x/y", "nonsense", "sqlite:"])
def test_an_address_that_is_no_database_is_one_line_for_both(tmp_path: Path, url: str) -> None:
    config = settings(tmp_path, store={"url": url})
    finding = check(config, "database")
    assert (finding.verdict, finding.text) == (Verdict.FAIL, refusal(config))
    assert "\n" not in finding.text


def test_a_camera_that_run_refuses_is_refused(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "photo.jpg"), np.full((48, 64, 3), 90, np.uint8))
    config = settings(tmp_path, cameras=({"source": str(tmp_path / "photo.jpg")},))
    finding = check(config, "camera driver")
    assert (finding.verdict, finding.text) == (Verdict.FAIL, refusal(config))


def test_what_had_to_be_assumed_of_a_recording_is_said(tmp_path: Path) -> None:
    film = tmp_path / "pi.h264"
    with av.open(str(film), "w", format="h264") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height = 64, 48
        for number in range(30):
            grey = np.full((48, 64, 3), 90 + number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, "bgr24")))
        container.mux(stream.encode(None))
    finding = check(settings(tmp_path, cameras=({"source": str(film)},)), "camera driver")
    assert finding.verdict is Verdict.NOTICE
    assert "holds no times" in finding.text


def test_the_exit_code_says_it_too(tmp_path: Path) -> None:
    (tmp_path / "w.yaml").write_text(
        "mqtt: {enabled: false}\nchime: {enabled: false}\n"
        f"cameras: [{{source: {tmp_path / 'pictures'}}}]\n"
        "perception: {detector: /nope/x.onnx, eyes: null, emotion: null}\n"
    )
    settings(tmp_path)
    done = CliRunner().invoke(app, ["doctor", "--config", str(tmp_path / "w.yaml")])
    assert done.exit_code == 1
    assert "/nope/x.onnx" in done.output.replace("\n", "")
