"""How well the watch tells closed eyes from open and lowered ones, by person: landmarks, and fused.

    python -m tests.benchmarks.measure_eyes --data ../shared/data/awake_sleep
    --data ../shared/data/sunglasses_car --folds runs/eye_state --json FILE

A set is in the YOLO layout with the classes awake and sleep, or a folder with `eyes.csv` (eyes
open, closed, down, sunglasses). Every picture is shown to the watch's own perception for some
frames, as a camera would, and the last observation is weighed by `monitor.engine.eye_state.fusion`
against the driver's own baseline, which `monitor.engine.calibration` learned from that person's
open eyes. `--folds` is a folder that `wakeful models train eye_state --folds N --into DIR` wrote:
everybody is looked at by the network whose training left them out. The detector that ships has seen
the people of awake_sleep, so with `--folds` no detector looks along, unless a fold's folder holds
an `awake_sleep_n.safetensors` of its own. Without `--folds` the shipped networks look, which have
seen these people.

`--traces FOLDER` keeps what was measured as traces with a truth file, to teach the fusion by
(`wakeful train-fusion --set FOLDER/truth.json=FOLDER`): each person's open eyes first, for the
baseline, then one picture after another, too far apart to be one film.
"""

import argparse
import csv
import gzip
import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import typer

from models.checkpoint import read_card
from models.data.pictures import read_upright
from models.data.yolo import read_picture_set
from models.evaluation.detector import roc_area
from monitor.config import CameraConfig, PerceptionConfig
from monitor.engine.calibration import Baseline
from monitor.engine.eye_state.fusion import EyeFusion
from monitor.fusion_training import STILLS
from monitor.perception import Perception
from monitor.perception.networks import Parts, open_parts
from monitor.policy import Policy, load_policy
from monitor.sinks.trace import SUFFIX, TraceHeader, observation_line
from monitor.types import Calibration, Eyes, Frame, Observation, Reading

FRAMES = 4
FPS = 10.0
# Of a trace of pictures: how long open eyes teach the baseline, and how far pictures lie apart.
LEARNING_FRAMES, LEARNING_STEP_S, APART_S = 150, 0.2, 3.0
STATES = {"awake": "open", "sleep": "closed", "open": "open", "closed": "closed", "down": "lowered",
          "sunglasses": "hidden"}  # fmt: skip
# Face crops are smaller than a camera's picture; the watch would never see so few pixels.
LEAST_PX = 256


@dataclass(frozen=True)
class Still:
    """One picture: whose, and what the eyes do in it."""

    path: Path
    person: str
    state: str


@dataclass(frozen=True)
class Seen:
    """One picture as the watch saw it."""

    state: str
    observation: Observation


def stills(data: Path) -> Iterator[Still]:
    """Pictures of a set that show open, closed, lowered or hidden eyes."""
    if (data / "eyes.csv").is_file():
        with (data / "eyes.csv").open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                if row["eyes"] in STATES:
                    path = data / "images" / row["file"]
                    yield Still(path, row["person"], STATES[row["eyes"]])
        return
    pictures = read_picture_set(data)
    for picture in pictures.pictures:
        labels = {pictures.labels[int(label)] for label in picture.classes}
        if labels and labels <= set(STATES):
            yield Still(picture.path, picture.person, STATES[labels.pop()])


def look(pictures: list[Still], parts: Parts) -> Iterator[Seen]:
    """Each shown for some frames to a perception of its own."""
    config = PerceptionConfig(emotion=None)
    for still in pictures:
        image = read_upright(still.path)
        if min(image.shape[:2]) < LEAST_PX:
            scale = LEAST_PX / min(image.shape[:2])
            grown = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
            image = np.asarray(grown, np.uint8)
        with Perception(config, CameraConfig(), parts) as watch:
            for index in range(FRAMES):
                at_s = index / FPS
                observation = watch(Frame(image, at_s, at_s, index, "still"))
        yield Seen(still.state, observation)


def baseline(policy: Policy, seen: list[Seen]) -> Calibration:
    """What the driver's open eyes teach, each picture held for long enough to be learned whole."""
    learner = Baseline(policy)
    learner.reset(looking_ahead=True)
    awake = [s.observation for s in seen if s.state == "open"]
    step_s = policy.max_gap_s / 2
    rounds = int(2 * policy.eye.calibration.min_valid_s / (step_s * max(len(awake), 1))) + 1
    for index in range(rounds * len(awake)):
        at_s = index * step_s
        observation = awake[index % len(awake)]
        learner.update(replace(observation, timestamp_s=at_s, captured_at=at_s), frozen=False)
    return learner.calibration


def write_traces(folder: Path, person: str, seen: list[Seen]) -> dict[str, Any]:
    """One person's pictures as a trace; returns the clip of the truth file it goes with."""
    awake = [s.observation for s in seen if s.state == "open"]
    shown = [(LEARNING_STEP_S * k, awake[k % len(awake)]) for k in range(LEARNING_FRAMES)]
    intervals = []
    for index, picture in enumerate(s for s in seen if s.state != "hidden"):
        at_s = LEARNING_STEP_S * LEARNING_FRAMES + APART_S * (index + 1)
        shown.append((at_s, picture.observation))
        if picture.state != "open":
            intervals.append({"kind": picture.state, "start_s": at_s - 1, "end_s": at_s + 1})
    header = TraceHeader(
        vehicle="stills", drive=person, camera="driver", policy="default", models=()
    )
    lines = [json.dumps(asdict(header))]
    lines += [
        observation_line(replace(seen_then, timestamp_s=at_s, captured_at=at_s))
        for at_s, seen_then in shown
    ]
    folder.mkdir(parents=True, exist_ok=True)
    with gzip.open(folder / f"{person}{SUFFIX}", "wt", encoding="utf-8") as file:
        file.write("".join(f"{line}\n" for line in lines))
    return {
        "file": f"{person}.mp4", "condition": STILLS, "seconds": shown[-1][0] + 1,
        "intervals": intervals,
    }  # fmt: skip


def figures(policy: Policy, seen: list[Seen]) -> dict[str, Any]:
    """Areas under the ROC and verdicts of one person."""
    own, states = baseline(policy, seen), np.array([s.state for s in seen])
    row: dict[str, Any] = {"n": {str(s): int((states == s).sum()) for s in np.unique(states)}}
    alone = [replace(s.observation, eye_left=None, eye_right=None, detection=None) for s in seen]
    for name, shown in (("landmarks", alone), ("fused", [s.observation for s in seen])):
        readings = [EyeFusion(policy).weigh(observation, own) for observation in shown]
        row[name] = _verdicts(readings, states)
    return row


def _verdicts(readings: list[Reading], states: Any) -> dict[str, Any]:
    eyes = np.array([reading.eyes.value for reading in readings])
    two = np.isin(states, ["open", "closed"])
    scores = np.array([_closed_score(reading) for reading in readings])
    row: dict[str, Any] = {
        "roc": roc_area(scores[two], states[two] == "closed"),
        "closed_called_open": float((eyes[states == "closed"] == Eyes.OPEN.value).mean()),
        "unknown": float((eyes[two] == Eyes.UNKNOWN.value).mean()),
    }
    for state in np.unique(states):
        called = eyes[states == state] == Eyes.CLOSED.value
        row[f"{state}_called_closed"] = float(called.mean())
    return row


def _closed_score(reading: Reading) -> float:
    """Log-odds of closed against open or lowered; 0 where nothing is seen."""
    seen = reading.probabilities
    if seen is None:
        return 0.0
    return math.log((seen.closed + 1e-6) / (seen.open + seen.lowered + 1e-6))


def line_of(person: str, row: dict[str, Any]) -> str:
    """One person's figures."""
    alone, fused = row["landmarks"], row["fused"]
    counts = ", ".join(f"{state} {count}" for state, count in row["n"].items())
    called = "  ".join(
        f"{state} called closed {fused[f'{state}_called_closed']:.2f} "
        f"(landmarks {alone[f'{state}_called_closed']:.2f})"
        for state in row["n"]
    )
    roc = [f"{value:.3f}" if value is not None else "-" for value in (alone["roc"], fused["roc"])]
    return (
        f"{person:12s} {counts}  ROC landmarks {roc[0]} fused {roc[1]}  {called}  "
        f"closed called open {fused['closed_called_open']:.2f}  unknown {fused['unknown']:.2f}"
    )


def networks(folder: Path | None, people: list[str]) -> Iterator[tuple[list[str], Parts]]:
    """Who is looked at by which networks."""
    if folder is None:
        yield people, open_parts(PerceptionConfig(emotion=None))
        return
    for eyes in sorted(folder.glob("fold_*/eye_state.safetensors")):
        detector = eyes.parent / "awake_sleep_n.safetensors"
        own = str(detector) if detector.is_file() else None
        config = PerceptionConfig(detector=own, eyes=str(eyes), emotion=None)
        left_out = set(read_card(eyes).measured["left_out"])
        yield [person for person in people if person in left_out], open_parts(config)


def main() -> None:
    """Print the table, and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, required=True, action="append")
    parser.add_argument("--folds", type=Path)
    parser.add_argument("--policy", default="default")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--traces", type=Path)
    chosen = parser.parse_args()
    policy = load_policy(chosen.policy)
    pictures = [still for data in chosen.data for still in stills(data)]
    people = sorted({still.person for still in pictures if still.person})
    rows: dict[str, Any] = {}
    truth = []
    for looked_at, parts in networks(chosen.folds, people):
        for person in looked_at:
            own = [still for still in pictures if still.person == person]
            seen = list(look(own, parts))
            row = rows[person] = figures(policy, seen)
            if chosen.traces:
                truth.append(write_traces(chosen.traces, person, seen))
            typer.echo(line_of(person, row))
    if chosen.traces:
        (chosen.traces / "truth.json").write_text(json.dumps(truth, indent=1) + "\n", "utf-8")
    if chosen.json:
        chosen.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
