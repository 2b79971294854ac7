"""Animated drives of many people, fixed by a seed: the watch is scored and taught on them.

Every drive has a face, a script and a setting drawn from its own seed, so that the same portraits
give the same pictures wherever they are made. A fifth of the drives each is worn behind glasses, at
night or in infra-red, seen from a camera mounted aside, full of lowered glances, and full of
laughing, talking and yawning.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, TypedDict

import cv2
import numpy as np
from numpy.random import Generator
from pydantic import JsonValue

from models.synthesis import FaceState, Image, Portrait, glasses, infrared
from models.synthesis.drive import Drive
from models.synthesis.film import frame_count, write_mp4

Condition = Literal["glasses", "dark", "aside", "lowered", "lively"]
CONDITIONS: tuple[Condition, ...] = ("glasses", "dark", "aside", "lowered", "lively")
SIZE = (320, 240)
# A camera mounted aside: this far from straight ahead (the issue of any mount: 15 to 40 degrees).
ASIDE_DEG = (15.0, 40.0)
# The animated head turns convincingly so far; beyond it the far cheek folds.
MOST_YAW_DEG = 48.0
NIGHT = (0.42, 0.7)


@dataclass(frozen=True, slots=True)
class DrivePlan:
    """One drive of the set.

    Attributes:
        name: of its files.
        portrait: whose face.
        condition: what is special.
        seed: of script, disguise and noise.
        mount_deg: (yaw, pitch) of the driver's road as the camera sees it.
        light: 1 daylight .. 0 darkness.
        script: what happens, in the words of `models.synthesis.drive`.
    """

    name: str
    portrait: Path
    condition: Condition
    seed: int
    mount_deg: tuple[float, float]
    light: float
    script: str


def plan_drives(portraits: Sequence[Path], seconds: float, seed: int) -> list[DrivePlan]:
    """A drive of about so many seconds for each portrait, the five conditions in turn."""
    return [
        _plan(path, CONDITIONS[index % len(CONDITIONS)], seconds, seed * 100_003 + index)
        for index, path in enumerate(portraits)
    ]


def _plan(path: Path, condition: Condition, seconds: float, seed: int) -> DrivePlan:
    rng = np.random.default_rng(seed)
    mount = (0.0, 0.0)
    if condition == "aside":
        mount = float(rng.uniform(*ASIDE_DEG) * rng.choice((-1, 1))), float(rng.uniform(-12, 8))
    light = float(rng.uniform(*NIGHT)) if condition == "dark" and rng.random() < 0.5 else 1.0
    script = _script(condition, seconds, mount[0], rng)
    return DrivePlan(f"{condition}_{path.stem}", path, condition, seed, mount, light, script)


def _script(condition: Condition, seconds: float, mount_yaw_deg: float, rng: Generator) -> str:
    """Shuffled doings, and the eyes on the road long enough in between to release an alert."""
    parts, total_s = ["attentive 5"], 5.0
    bag: list[str] = []
    while total_s < seconds:
        bag = bag or _doings(condition, rng)
        doing = _written(bag.pop(), mount_yaw_deg, rng)
        rest_s = float(rng.uniform(2.6, 3.6))
        parts += [doing, f"attentive {rest_s:.2f}"]
        total_s += float(doing.split()[1]) + rest_s
    return ", ".join(parts)


def _doings(condition: Condition, rng: Generator) -> list[str]:
    doings = ["closed", "look_away", "closed", "look_down", "talk"]
    doings += {"lowered": ["look_down"] * 3, "lively": ["laugh", "yawn", "laugh"]}.get(
        condition, []
    )
    doings += [str(rng.choice(["yawn", "laugh", "tilt", "nod"]))]
    return [str(doing) for doing in rng.permutation(doings)]


def _written(kind: str, mount_yaw_deg: float, rng: Generator) -> str:
    def between(low: float, high: float) -> float:
        return round(float(rng.uniform(low, high)), 2)

    aside = float(-np.sign(mount_yaw_deg) if mount_yaw_deg else rng.choice((-1, 1)))
    closed_s = between(1.5, 2.6) if rng.random() < 0.5 else between(3.4, 4.6)
    glance_deg = 0.0 if rng.random() < 0.4 else between(0, 22)
    written = {
        "closed": f"closed {closed_s} squint={between(0, 0.3)} ramp={between(0.15, 0.35)}",
        "look_down": f"look_down {between(1, 4)} gaze={between(0.7, 1)} angle={glance_deg} "
        f"lids={between(0, 0.62)}",
        "look_away": f"look_away {between(4, 5)} angle={aside * between(30, 42):.2f}",
        "laugh": f"laugh {between(1.5, 3)} depth={between(0.1, 0.5)} lids={between(0.1, 0.5)} "
        f"squint={between(0.1, 0.35)}",
        # a head that goes down or up and back again, eyes on the road
        "nod": f"nod {between(1, 2)} angle={between(-8, 15)}",
        "tilt": f"tilt {between(2, 3)} angle={between(-18, 18)}",
    }
    return written.get(kind, f"{kind} {between(2.5, 4)}")


def render_drive(plan: DrivePlan, fps: float, size: tuple[int, int] = SIZE) -> Iterator[Image]:
    """The pictures of a drive.

    Raises:
        ValueError: the portrait cannot be read or shows no face.
    """
    portrait = _disguised(plan, size)
    drive = Drive.parse(plan.script, seed=plan.seed)
    for index in range(frame_count(drive, fps)):
        yield portrait.render(_mounted(plan, drive.pose_at(index / fps)), index / fps)


def _disguised(plan: DrivePlan, size: tuple[int, int]) -> Portrait:
    image = cv2.imread(str(plan.portrait), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f"{plan.portrait}: cannot be read; give a folder of portraits")
    face, rng = np.asarray(image, np.uint8), np.random.default_rng(plan.seed + 1)
    worn = None
    if plan.condition == "glasses":
        worn = partial(glasses, rng=rng, tint=float(rng.uniform(0, 0.35)))
    if plan.condition == "dark":
        face = infrared(face)
    return Portrait(face, size=size, seed=plan.seed, worn=worn)


def _mounted(plan: DrivePlan, state: FaceState) -> FaceState:
    yaw_deg, pitch_deg = plan.mount_deg
    turned = float(np.clip(state.yaw_deg + yaw_deg, -MOST_YAW_DEG, MOST_YAW_DEG))
    return replace(
        state,
        yaw_deg=turned,
        pitch_deg=float(np.clip(state.pitch_deg + pitch_deg, -40, 30)),
        light=state.light * plan.light,
    )


class DriveTruth(TypedDict):
    """A drive's entry of a truth file."""

    file: str
    name: str
    person: str
    condition: str
    mount: dict[str, float]
    seconds: float
    script: str
    animated: list[dict[str, JsonValue]]


def truth_of(plan: DrivePlan) -> DriveTruth:
    """The drive's entry of a truth file: what happens when, and how it was made."""
    drive = Drive.parse(plan.script, seed=plan.seed)
    return {
        "file": f"{plan.name}.mp4",
        "name": plan.name,
        "person": plan.portrait.stem,
        "condition": plan.condition,
        "mount": {"yaw_deg": plan.mount_deg[0], "pitch_deg": plan.mount_deg[1]},
        "seconds": round(drive.duration_s, 3),
        "script": plan.script,
        "animated": drive.truth(),
    }


def write_drive(plan: DrivePlan, into: Path, fps: float) -> Path:
    """The film of a drive, `into`/`plan.name`.mp4; one that is already there is kept.

    Raises:
        OSError: nothing can be written there.
        ValueError: the portrait cannot be used.
    """
    into.mkdir(parents=True, exist_ok=True)
    film = into / f"{plan.name}.mp4"
    if not film.exists():
        part = film.with_suffix(".part")
        write_mp4(part, render_drive(plan, fps), fps, crf=16)
        part.rename(film)
    return film


def write_truth_file(plans: Sequence[DrivePlan], into: Path) -> Path:
    """`into`/truth.json of a set, as `wakeful evaluate` reads it.

    Raises:
        OSError: nothing can be written there.
    """
    path = into / "truth.json"
    path.write_text(json.dumps([truth_of(plan) for plan in plans], indent=1) + "\n", "utf-8")
    return path
