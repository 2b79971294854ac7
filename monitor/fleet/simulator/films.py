"""Short films of the animated driver, each looked at once by the networks that ship.

What was measured is kept as a trace, one a film, and used again; `recorder` puts the films together
to drives.
"""

import gzip
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import cv2
import numpy as np

from models.synthesis import astronaut, find_landmarks, wear_glasses
from monitor.camera import open_source
from monitor.config import CameraConfig, PerceptionConfig
from monitor.errors import SourceError
from monitor.perception import open_perception
from monitor.perception.networks import Parts, open_parts
from monitor.sinks.trace import SUFFIX, TraceHeader, observation_line, read_trace
from monitor.types import Observation

FPS: Final = 10.0
QUIET: Final = "quiet"
SUNGLASSES: Final = "sunglasses"
_CALM: Final = "attentive 2 blinks=0"


def _between_calm(script: str) -> str:
    return f"{_CALM}, {script}, {_CALM}"


def _closed(*seconds: float) -> dict[str, str]:
    return {f"closed_{s:g}": _between_calm(f"closed {s:g}") for s in seconds}


FILMS: Final[Mapping[str, str]] = {
    QUIET: "attentive 60",
    SUNGLASSES: "attentive 8",
    "long_blink": "attentive 1 blinks=0, closed 0.6, attentive 1 blinks=0",
    "longer_blink": "attentive 0.6 blinks=0, closed 0.9, attentive 0.6 blinks=0",
    **_closed(1.2, 1.4, 1.6, 1.8, 2.1, 2.5, 3.2, 4.6),
    "nod_3.4": _between_calm("closed 3.4 + nod 2.4 at=1"),
    "nod_6.5": _between_calm("closed 6.5 + nod 4 at=2"),
    **{f"yawn_{s:g}": _between_calm(f"yawn {s:g}") for s in (2.2, 3.0, 4.4)},
    "left_3.6": _between_calm("look_away 3.6 angle=38"),
    "left_5.5": _between_calm("look_away 5.5 angle=42"),
    "right_4.4": _between_calm("look_away 4.4 angle=-40"),
    "right_8": _between_calm("look_away 8 angle=-36 pitch=-10"),
    "down_4.5": _between_calm("look_down 4.5 angle=28"),
    "glance": "attentive 0.5 blinks=0, look_away 2.6 angle=38, attentive 0.5 blinks=0",
    "absent": _between_calm("absent 6"),
    "covered": _between_calm("dark 6"),
    "dim": _between_calm("dark 6 depth=0.88"),
    "glare": _between_calm("glare 6"),
    "frozen": _between_calm("frozen 6"),
    "passenger": _between_calm("second_face 8"),
}


def measured(folder: Path) -> tuple[dict[str, list[Observation]], tuple[str, ...]]:
    """What the networks that ship measure on each film, from 0 s on, and the networks' ids.

    Args:
        folder: of the traces; a film that has one by the same networks is not looked at again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parts = open_parts(PerceptionConfig())
    return {name: _kept_or_seen(name, folder, parts) for name in FILMS}, parts.models


def _kept_or_seen(name: str, folder: Path, parts: Parts) -> list[Observation]:
    file = folder / f"{name}{SUFFIX}"
    header = TraceHeader("film", name, "driver", "default", models=parts.models)
    if file.exists() and read_trace(file)[0].models == parts.models:
        return [observation for observation, _, _ in read_trace(file)[1]]
    seen = _seen(name, parts)
    lines = [json.dumps(asdict(header)), *map(observation_line, seen)]
    file.write_bytes(gzip.compress("".join(f"{line}\n" for line in lines).encode()))
    return seen


def _seen(name: str, parts: Parts) -> list[Observation]:
    with TemporaryDirectory() as folder:
        portrait = _in_sunglasses(Path(folder)) if name == SUNGLASSES else None
        camera = CameraConfig(source="animated", script=FILMS[name], fps=FPS, portrait=portrait)
        with (
            open_source(camera, wall=lambda: 0.0) as source,
            open_perception(PerceptionConfig(), camera, parts=parts) as perceive,
        ):
            return [perceive(frame) for frame in source]


def _in_sunglasses(folder: Path) -> Path:
    face = astronaut()
    landmarks = find_landmarks(face)
    if landmarks is None:
        raise SourceError("the animated driver's portrait: no face was found in it")
    path = folder / "sunglasses.png"
    cv2.imwrite(str(path), wear_glasses(face, landmarks, np.random.default_rng(3), tint=1.0))
    return path
