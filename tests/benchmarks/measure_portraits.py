"""How well the shipped networks tell closed eyes from open ones on portraits set into cabins.

    python -m tests.benchmarks.measure_portraits --data ../shared/data/portraits --json FILE

Every portrait, one picture of one person each, is pasted small into a 1920x1080 cabin scene. Those
kept back were learned from by no network; the others were, and are told apart.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import typer

from models.data.scene_datasets import PortraitFile, list_portraits
from models.evaluation.detector import roc_area
from models.inference import boxes
from models.registry import WEIGHTS
from models.synthesis.scenes import actor_of, compose
from models.training.detector_runs import open_network
from models.training.eye_state_runs import Face, mesh_in, open_eyes, probability, split_portraits

CABIN = (1080, 1920)
SHARE = (0.12, 0.35)
UNDECIDED = 0.5


def look(portraits: list[PortraitFile], seed: int) -> list[tuple[bool, bool, float, float]]:
    """Of each portrait: closed, face found, what the detector and the eye network say."""
    detector, eyes = open_network("shipped"), open_eyes(WEIGHTS / "eye_state.safetensors")
    rng = np.random.default_rng(seed)
    found = []
    for portrait in portraits:
        image = np.asarray(cv2.imread(str(portrait.path), cv2.IMREAD_COLOR), np.uint8)
        actor = actor_of(image, portrait.label)
        if actor is None:
            continue
        closed = portrait.label == "sleep"
        scene = compose([actor], CABIN, rng, SHARE)
        faces = boxes.find_faces(
            detector.network, scene.image, detector.labels, 0.01, input_hw=(640, 640)
        )
        best = boxes.prominent(faces)[:1]
        there = bool(len(best)) and boxes.overlaps(scene.boxes[0], faces.xyxy[best])[0] > 0.4
        sleep = lids = UNDECIDED
        if there:
            awake, asleep, _ = faces.scores[best[0]]
            sleep = float(asleep / (awake + asleep + 1e-9))
            mesh = mesh_in(scene.image, faces.xyxy[best[0]])
            lids = UNDECIDED if mesh is None else probability(
                eyes, Face(scene.image, mesh, closed, "")
            )  # fmt: skip
        found.append((closed, there, sleep, lids))
    return found


def figures(found: list[tuple[bool, bool, float, float]]) -> dict[str, Any]:
    """Counts and areas under the ROC."""
    closed, there, sleep, lids = (np.array(column) for column in zip(*found, strict=True))
    return {
        "closed": int(closed.sum()), "open": int((~closed).sum()), "found": int(there.sum()),
        "detector_roc": roc_area(sleep, closed), "eye_net_roc": roc_area(lids, closed),
    }  # fmt: skip


def main() -> None:
    """Print both groups' figures, and write them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--every", type=int, default=1, help="Only every n-th learned one.")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    learned, back = split_portraits(list_portraits(chosen.data))
    rows = {}
    for name, portraits in (("kept back", back), ("learned from", learned[:: chosen.every])):
        row = rows[name] = figures(look(portraits, seed=2))
        typer.echo(
            f"{name:12s} {row['closed']} closed, {row['open']} open, face found in {row['found']}: "
            f"ROC of the detector's sleep {row['detector_roc']:.3f}, "
            f"of the eye network {row['eye_net_roc']:.3f}"
        )
    if chosen.json:
        chosen.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
