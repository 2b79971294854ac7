"""How well the watch tells closed eyes from open ones, by person: landmarks alone, and fused.

    python -m tests.benchmarks.measure_eyes --data ../shared/data/awake_sleep --folds runs/folds
    --json FILE

Every picture is shown to the watch's own perception for some frames, as a camera would, and the
last observation is weighed by `monitor.engine.eye_state.fusion` against the driver's own baseline,
which
`monitor.engine.calibration` learned from that person's awake pictures. `--folds` is a folder of
folders named after the people left out of a training, joined by `+`, each with
`detector/awake_sleep_n.safetensors` and `eyes/eye_state.safetensors`; without it the shipped
networks look, which have seen these people.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import typer

from models.data.yolo import Picture, PictureSet, read_picture_set
from models.evaluation.detector import roc_area
from monitor.config import CameraConfig, PerceptionConfig
from monitor.engine.calibration import Baseline
from monitor.engine.eye_state.fusion import EyeFusion
from monitor.perception import Perception
from monitor.perception.networks import Parts, open_parts
from monitor.policy import Policy, load_policy
from monitor.types import Calibration, Eyes, Frame, Observation, Reading

FRAMES = 4
FPS = 10.0


@dataclass(frozen=True)
class Seen:
    """One picture as the watch saw it."""

    picture: Picture
    closed: bool
    observation: Observation


def look(pictures: PictureSet, parts: Parts) -> Iterator[Seen]:
    """Awake and sleep pictures, each shown for some frames to a perception of its own."""
    config = PerceptionConfig(emotion=None)
    for picture in pictures.pictures:
        states = {pictures.labels[int(label)] for label in picture.classes}
        if "yawn" in states or not states:
            continue
        image = np.asarray(cv2.imread(str(picture.path), cv2.IMREAD_COLOR), np.uint8)
        with Perception(config, CameraConfig(), detector=parts.detector, eyes=parts.eyes) as watch:
            for index in range(FRAMES):
                at_s = index / FPS
                observation = watch(Frame(image, at_s, at_s, index, "still"))
        yield Seen(picture, "sleep" in states, observation)


def baseline(policy: Policy, seen: list[Seen]) -> Calibration:
    """What the driver's awake pictures teach, each held for long enough to be learned whole."""
    learner = Baseline(policy)
    learner.reset(looking_ahead=True)
    awake = [s.observation for s in seen if not s.closed]
    step_s = policy.max_gap_s / 2
    rounds = int(2 * policy.eye.calibration.min_valid_s / (step_s * len(awake))) + 1
    for index in range(rounds * len(awake)):
        at_s = index * step_s
        observation = awake[index % len(awake)]
        learner.update(replace(observation, timestamp_s=at_s, captured_at=at_s), frozen=False)
    return learner.calibration


def figures(policy: Policy, seen: list[Seen]) -> dict[str, Any]:
    """Areas under the ROC and verdicts of one person."""
    own, truth = baseline(policy, seen), np.array([s.closed for s in seen])
    row: dict[str, Any] = {"n": len(seen), "closed": int(truth.sum())}
    alone = [replace(s.observation, eye_left=None, eye_right=None, detection=None) for s in seen]
    for name, shown in (("landmarks", alone), ("fused", [s.observation for s in seen])):
        readings = [EyeFusion(policy).weigh(observation, own) for observation in shown]
        said = np.array([closed_score(reading) for reading in readings])
        eyes = np.array([reading.eyes.value for reading in readings])
        row[name] = {
            "roc": roc_area(said, truth),
            "closed_called_closed": float((eyes[truth] == Eyes.CLOSED.value).mean()),
            "closed_called_open": float((eyes[truth] == Eyes.OPEN.value).mean()),
            "open_called_closed": float((eyes[~truth] == Eyes.CLOSED.value).mean()),
            "unknown": float((eyes == Eyes.UNKNOWN.value).mean()),
        }
    return row


def closed_score(reading: Reading) -> float:
    """P(closed) against P(open): 0 where nothing was seen."""
    seen = reading.probabilities
    return 0.0 if seen is None else seen.closed - seen.open


def line_of(person: str, row: dict[str, Any]) -> str:
    """One person's figures."""
    alone, fused = row["landmarks"], row["fused"]
    return (
        f"{person:12s} n {row['n']:3d}  ROC landmarks {alone['roc']:.3f} fused {fused['roc']:.3f}  "
        f"closed called closed {fused['closed_called_closed']:.2f} "
        f"(landmarks {alone['closed_called_closed']:.2f}) open {fused['closed_called_open']:.2f}  "
        f"open called closed {fused['open_called_closed']:.2f} "
        f"(landmarks {alone['open_called_closed']:.2f})  unknown {fused['unknown']:.2f}"
    )


def networks(folder: Path | None, people: list[str]) -> Iterator[tuple[list[str], Parts]]:
    """Who is looked at by which networks."""
    if folder is None:
        yield people, open_parts(PerceptionConfig(emotion=None))
        return
    for fold in sorted(path for path in folder.iterdir() if path.is_dir()):
        detector = fold / "detector" / "awake_sleep_n.safetensors"
        eyes = fold / "eyes" / "eye_state.safetensors"
        config = PerceptionConfig(detector=str(detector), eyes=str(eyes), emotion=None)
        yield fold.name.split("+"), open_parts(config)


def main() -> None:
    """Print the table, and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--folds", type=Path)
    parser.add_argument("--policy", default="default")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    pictures, policy = read_picture_set(chosen.data), load_policy(chosen.policy)
    found: dict[str, Any] = {}
    for people, parts in networks(chosen.folds, sorted(pictures.people)):
        for person in people:
            of = pictures.only(p for p in pictures.pictures if p.person == person)
            row = found[person] = figures(policy, list(look(of, parts)))
            typer.echo(line_of(person, row))
    if chosen.json:
        chosen.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
