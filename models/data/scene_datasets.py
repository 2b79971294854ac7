"""Whole sets of labelled pictures, written to disk in the YOLO layout with their provenance.

`write_scenes` plays portraits in cabins (`wakeful models synthesize`); `write_views` cuts closer
and wider views out of a real set. Both write `data.yaml`, `people.csv` (a portrait is a person, so
that sets are split by person) and `provenance.json`: from what, by what, with which seed.
"""

import csv
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import yaml
from numpy.random import Generator
from numpy.typing import NDArray
from pydantic import JsonValue

from models.data.pictures import picture_files, read_upright
from models.data.yolo import PictureSet, PictureSetError
from models.inference.boxes import overlaps
from models.synthesis.face_warp import find_landmarks
from models.synthesis.scenes import (
    LABELS,
    Actor,
    Label,
    Scene,
    act,
    actor_of,
    compose,
    develop,
    face_box,
    shrink_and_grow,
    shrunk_into_cabin,
    view,
    zoomed,
)

# A portrait plays these in turn, drawn evenly: eyes matter more than mouths.
PARTS: tuple[Label, ...] = ("awake", "sleep", "yawn", "sleep", "awake", "awake", "sleep")
# Height of the driver's face as a share of the scene: the closer look, and the whole cabin.
CLOSE, FAR = (0.4, 0.75), (0.10, 0.45)
JPEG_QUALITY = 92

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class PortraitFile:
    """A file with one face, and whether its eyes are open."""

    path: Path
    label: Label


def list_portraits(folder: Path) -> list[PortraitFile]:
    """Portraits of a folder: its pictures, or those of `images/`, eyes as `portraits.csv` says.

    Without a `portraits.csv` (columns file, eyes: open or closed) all eyes count as open.

    Raises:
        PictureSetError: no such folder, no pictures, or a table without these columns.
    """
    if not folder.is_dir():
        raise PictureSetError(f"{folder}: no such folder of portraits")
    eyes = _eyes_table(folder / "portraits.csv")
    images = folder / "images" if (folder / "images").is_dir() else folder
    files = picture_files(images)
    if not files:
        raise PictureSetError(f"{images}: no pictures of faces in it")
    return [PortraitFile(p, "sleep" if eyes.get(p.name) == "closed" else "awake") for p in files]


def _eyes_table(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        if not {"file", "eyes"} <= set(rows.fieldnames or ()):
            raise PictureSetError(f"{path}: needs the columns file and eyes")
        return {row["file"]: row["eyes"] for row in rows}


def write_scenes(
    portraits: Sequence[PortraitFile],
    out: Path,
    *,
    scenes: int,
    size: int = 256,
    seed: int = 0,
    licence: str = "",
    progress: Progress = lambda _done, _all: None,
) -> int:
    """Play portraits in cabins until there are `scenes` labelled pictures.

    Args:
        portraits: who plays; every one in turn.
        out: an empty or new folder.
        scenes: how many pictures.
        size: of their sides in pixels.
        seed: of everything drawn by chance: the same seed gives the same set.
        licence: of the portraits, written into the provenance.
        progress: called as pictures are done, with (done, all).

    Returns:
        How many portraits were left out because no face mesh fits them.

    Raises:
        PictureSetError: the folder is not empty, or no portrait shows a face.
    """
    writer = _Writer(out, size)
    rng = np.random.default_rng(seed)
    cast = [(p, actor) for p in portraits if (actor := _actor(p)) is not None]
    if not cast:
        raise PictureSetError(f"no face found in {len(portraits)} portraits")
    turn = 0
    while writer.count < scenes:
        portrait, actor = cast[turn % len(cast)]
        turn += 1
        scene = _scene(actor, [a for _, a in cast], size, rng)
        if scene is not None:
            writer.add(scene, portrait.path.stem)
            progress(writer.count, scenes)
    writer.finish(
        {
            "made_by": "models.data.scene_datasets.write_scenes",
            "seed": seed,
            "size_px": size,
            "licence_of_portraits": licence or "not stated",
            "left_out": len(portraits) - len(cast),
            "portraits": {p.path.name: _sha256(p.path) for p, _ in cast},
        }
    )
    return len(portraits) - len(cast)


def _actor(portrait: PortraitFile) -> Actor | None:
    return actor_of(read_upright(portrait.path), portrait.label)


def _scene(actor: Actor, others: Sequence[Actor], size: int, rng: Generator) -> Scene | None:
    """One portrait's next scene; None where its face was lost in the making."""
    if actor.label == "sleep":
        part: Label = "sleep" if rng.random() < 0.85 else "yawn"
    else:
        part = PARTS[int(rng.integers(len(PARTS)))]
    played = act(actor, part, rng)
    if played is None:
        return None
    if rng.random() < 0.4:
        played = replace(played, image=shrink_and_grow(played.image, rng.uniform(0.15, 0.6)))
    if rng.random() < 0.5:
        played = _mirrored(played)
    cast = [played]
    close = rng.random() < 0.6
    if not close and rng.random() < 0.4:
        beside = others[int(rng.integers(len(others)))]
        passenger = act(beside, "sleep" if beside.label == "sleep" else "awake", rng)
        cast += [passenger] if passenger is not None else []
    return compose(cast, (size, size), rng, CLOSE if close else FAR)


def _mirrored(actor: Actor) -> Actor:
    width = actor.image.shape[1]
    flipped = actor.landmarks * np.array([-1, 1, 1], np.float32)
    flipped[:, 0] += width - 1
    return replace(actor, image=np.ascontiguousarray(actor.image[:, ::-1]), landmarks=flipped)


def write_views(
    pictures: PictureSet,
    out: Path,
    *,
    size: int = 256,
    seed: int = 0,
    progress: Progress = lambda _done, _all: None,
) -> None:
    """Six views of every real picture: three close, one middling, one whole, one far away.

    Boxes are redrawn to the mesh's extent wherever a mesh agrees with the label, so that all sets
    share one convention.

    Args:
        pictures: a checked set; its people go along.
        out: an empty or new folder.
        size: sides of the views in pixels.
        seed: of everything drawn by chance.
        progress: called after each picture with (done, all).

    Raises:
        PictureSetError: the folder is not empty, or the set has other classes than ours.
    """
    if pictures.labels != LABELS:
        raise PictureSetError(f"{pictures.root}: classes must be {', '.join(LABELS)}")
    writer = _Writer(out, size)
    rng = np.random.default_rng(seed)
    for done, picture in enumerate(pictures.pictures):
        image = read_upright(picture.path)
        labels = tuple(LABELS[int(c)] for c in picture.classes)
        boxes = np.stack([_redrawn(image, box) for box in picture.xyxy]) if labels else picture.xyxy
        for seen in _views(Scene(image, boxes, labels), size, rng):
            if seen.labels:
                lit = develop(seen.image, rng) if rng.random() < 0.6 else seen.image
                writer.add(replace(seen, image=lit), picture.person or picture.path.stem)
        progress(done + 1, len(pictures.pictures))
    writer.finish(
        {
            "made_by": "models.data.scene_datasets.write_views",
            "seed": seed,
            "size_px": size,
            "pictures": {p.path.name: p.sha256 for p in pictures.pictures},
        }
    )


def _redrawn(image: NDArray[np.uint8], box: NDArray[np.float32]) -> NDArray[np.float32]:
    x1, y1, x2, y2 = (float(v) for v in box)
    side = 1.8 * max(x2 - x1, y2 - y1)
    left, top = max(int((x1 + x2 - side) / 2), 0), max(int((y1 + y2 - side) / 2), 0)
    crop = image[top : int((y1 + y2 + side) / 2), left : int((x1 + x2 + side) / 2)]
    scale = 256 / max(crop.shape[:2])
    enlarged = cv2.resize(crop, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    mesh = find_landmarks(np.asarray(enlarged, np.uint8))
    if mesh is None:
        return box
    drawn = face_box(mesh) / np.float32(scale) + np.array([left, top, left, top], np.float32)
    return drawn if overlaps(box, drawn[None])[0] > 0.35 else box


def _views(scene: Scene, size: int, rng: Generator) -> Iterator[Scene]:
    height, width = scene.image.shape[:2]
    if not scene.labels:
        yield view(scene, max(height, width), (width / 2, height / 2), size)
        return
    for _ in range(3):
        yield zoomed(scene, size, rng)
    yield zoomed(scene, size, rng, (0.15, 0.4))
    yield view(scene, max(height, width), (width / 2, height / 2), size)
    wide = int(1.5 * size)
    far = shrunk_into_cabin(scene, (size, wide), rng, rng.uniform(0.35, 0.8))
    if rng.random() < 0.5:
        yield view(far, wide, (wide / 2, size / 2), size)
    else:
        middle = float(np.clip(far.boxes[0][[0, 2]].mean(), size / 2, wide - size / 2))
        yield view(far, size, (middle, size / 2), size)


class _Writer:
    """Writes scenes one after another into a fresh folder."""

    def __init__(self, out: Path, size: int) -> None:
        if out.exists() and any(out.iterdir()):
            raise PictureSetError(f"{out}: is not empty; name a new folder")
        self._out, self._size = out, size
        self._people: list[tuple[str, str]] = []
        for name in ("images", "labels"):
            (out / name).mkdir(parents=True, exist_ok=True)

    @property
    def count(self) -> int:
        """How many were written."""
        return len(self._people)

    def add(self, scene: Scene, person: str) -> None:
        stem = f"{self.count:06d}"
        quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
        cv2.imwrite(str(self._out / "images" / f"{stem}.jpg"), scene.image, quality)
        (self._out / "labels" / f"{stem}.txt").write_text(scene.yolo_lines())
        self._people.append((f"{stem}.jpg", person))

    def finish(self, provenance: Mapping[str, JsonValue]) -> None:
        (self._out / "data.yaml").write_text(yaml.safe_dump({"names": list(LABELS)}))
        with (self._out / "people.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("file", "person"), *self._people])
        (self._out / "provenance.json").write_text(json.dumps(provenance, indent=1) + "\n")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
