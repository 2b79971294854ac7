"""Picture sets for the detector: the YOLO layout, read strictly.

    DIR/data.yaml                     names: the classes in order
    DIR/images/*.jpg, labels/*.txt    one flat set, or
    DIR/images/train|val, labels/...  given splits, or
    DIR/train|val/images|labels       the same as Roboflow writes it
    DIR/people.csv                    file, person: lets a split go by person

Nothing but text and pictures is read: `labels.cache` files, which are pickles, are left alone, and
`data.yaml` is parsed without tags. Whatever is wrong with a set is told in one line, with the
file, before any training starts.
"""

import csv
import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import Image

PICTURES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})
SPLITS = ("train", "val", "test")
# Boxes drawn to a picture's very edge come out a rounding error beyond it.
EDGE_TOLERANCE = 1e-3


class PictureSetError(ValueError):
    """A picture set cannot be used: what, where, and the cure, in one line."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One labelled picture.

    Attributes:
        path: the picture's file.
        hw: (height, width) in pixels.
        classes: (N,) indices into the set's labels.
        boxes: (N, 4) centre x, centre y, width, height as shares of the picture.
        split: train, val or test; empty in a flat set.
        person: who is seen; empty where `people.csv` does not say.
        sha256: of the file's bytes.
    """

    path: Path
    hw: tuple[int, int]
    classes: NDArray[np.int64]
    boxes: NDArray[np.float32]
    split: str = ""
    person: str = ""
    sha256: str = ""

    @property
    def xyxy(self) -> NDArray[np.float32]:
        """(N, 4) corners in pixels."""
        height, width = self.hw
        half = self.boxes[:, 2:] / 2
        corners = np.hstack([self.boxes[:, :2] - half, self.boxes[:, :2] + half])
        return np.asarray(corners * [width, height, width, height], np.float32)


@dataclass(frozen=True, slots=True)
class PictureSet:
    """A checked set.

    Attributes:
        root: its folder.
        labels: class names in the order of the indices.
        pictures: all of them, sorted by path.
    """

    root: Path
    labels: tuple[str, ...]
    pictures: tuple[Picture, ...]

    @property
    def people(self) -> tuple[str, ...]:
        """Everybody `people.csv` names, sorted."""
        return tuple(sorted({p.person for p in self.pictures if p.person}))

    def only(self, pictures: Iterable[Picture]) -> "PictureSet":
        """The same set with fewer pictures."""
        return replace(self, pictures=tuple(pictures))

    def of_split(self, split: str) -> tuple[Picture, ...]:
        """Pictures of one given split."""
        return tuple(p for p in self.pictures if p.split == split)

    def counts(self) -> dict[str, int]:
        """Boxes per class."""
        tally = Counter(int(c) for p in self.pictures for c in p.classes)
        return {label: tally[index] for index, label in enumerate(self.labels)}


def read_picture_set(root: Path, labels: Sequence[str] | None = None) -> PictureSet:
    """Read and check a set in the YOLO layout.

    Args:
        root: its folder.
        labels: the classes it must have, in this order; None takes the set's own.

    Raises:
        PictureSetError: anything is missing, unreadable or out of range; the first three
            problems are told, and how many there are.
    """
    if not root.is_dir():
        raise PictureSetError(f"{root}: no such folder; --data names a folder with data.yaml")
    names = _class_names(root / "data.yaml")
    if labels is not None and names != tuple(labels):
        raise PictureSetError(
            f"{root / 'data.yaml'}: classes are {', '.join(names)}; "
            f"this model's are {', '.join(labels)}, in this order"
        )
    persons = _people(root / "people.csv")
    files = list(_picture_files(root))
    if not files:
        raise PictureSetError(f"{root}: no pictures under images/ or train/images/")
    problems: list[str] = []
    pictures = [
        picture
        for split, path, label_file in files
        if (picture := _read(path, label_file, split, len(names), problems)) is not None
    ]
    _tell(root, problems)
    if not any(len(p.classes) for p in pictures):
        raise PictureSetError(f"{root}: not one box in {len(pictures)} label files")
    named = (replace(p, person=persons.get(p.path.name, "")) for p in pictures)
    found = PictureSet(root, names, tuple(named))
    check_splits(found)
    return found


def check_splits(pictures: PictureSet) -> None:
    """No picture and no person on both sides of a given split.

    Raises:
        PictureSetError: naming the two files, or the person.
    """
    first: dict[str, Picture] = {}
    sides: defaultdict[str, set[str]] = defaultdict(set)
    for picture in pictures.pictures:
        twin = first.setdefault(picture.sha256, picture)
        if twin.split != picture.split:
            raise PictureSetError(
                f"{picture.path}: the same picture as {twin.path} in another split; remove one"
            )
        if picture.person:
            sides[picture.person].add(picture.split)
    for person, splits in sorted(sides.items()):
        if len(splits) > 1:
            raise PictureSetError(
                f"{pictures.root / 'people.csv'}: {person} is in "
                f"{' and in '.join(sorted(splits))}; "
                f"move all pictures of a person to one side"
            )


def check_classes(pictures: PictureSet) -> None:
    """Every class must occur, else the network learns to say one thing.

    Raises:
        PictureSetError: naming the classes without a box.
    """
    missing = [label for label, count in pictures.counts().items() if count == 0]
    if missing:
        raise PictureSetError(
            f"{pictures.root}: no box of class {', '.join(missing)} to train on; "
            f"add pictures or take the class out of data.yaml"
        )


def split_by_person(
    pictures: PictureSet, held_out: Sequence[str], together: Sequence[Sequence[str]] = ()
) -> tuple[PictureSet, PictureSet]:
    """Everybody else to train on, and the people held out.

    Args:
        pictures: a set with people.
        held_out: persons to hold out.
        together: groups of persons who must be on one side (look-alikes).

    Raises:
        PictureSetError: an unknown person, a group torn apart, or a side left empty.
    """
    unknown = sorted(set(held_out) - set(pictures.people))
    if unknown:
        raise PictureSetError(
            f"{pictures.root / 'people.csv'}: no person {', '.join(unknown)}; "
            f"there are {', '.join(pictures.people) or 'none'}"
        )
    for group in together:
        inside = set(group) & set(held_out)
        if inside and inside != set(group):
            raise PictureSetError(f"{' and '.join(group)} must be held out together or not at all")
    kept = pictures.only(p for p in pictures.pictures if p.person not in set(held_out))
    held = pictures.only(p for p in pictures.pictures if p.person in set(held_out))
    if not kept.pictures or not held.pictures:
        raise PictureSetError(
            f"{pictures.root}: holding out {', '.join(held_out)} leaves a side empty"
        )
    return kept, held


def _class_names(path: Path) -> tuple[str, ...]:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError:
        raise PictureSetError(f"{path}: missing; it must name the classes") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        line = str(error).replace("\n", " ")[:160]
        raise PictureSetError(f"{path}: not plain YAML ({line})") from None
    names = document.get("names") if isinstance(document, dict) else None
    if isinstance(names, dict) and sorted(names) == list(range(len(names))):
        names = [names[index] for index in range(len(names))]
    if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
        raise PictureSetError(f"{path}: 'names' must list the classes, e.g. [awake, sleep, yawn]")
    if len(set(names)) != len(names):
        raise PictureSetError(f"{path}: a class is named twice")
    return tuple(names)


def _people(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        if not {"file", "person"} <= set(rows.fieldnames or ()):
            raise PictureSetError(f"{path}: needs the columns file and person")
        return {row["file"]: row["person"] for row in rows}


def _picture_files(root: Path) -> Iterable[tuple[str, Path, Path]]:
    """(split, picture, label file) of every picture under one of the three layouts."""
    layouts = [("", root / "images", root / "labels")]
    layouts += [(s, root / "images" / s, root / "labels" / s) for s in SPLITS]
    layouts += [
        ("val" if s == "valid" else s, root / s / "images", root / s / "labels")
        for s in (*SPLITS, "valid")
    ]
    for split, images, labels in layouts:
        if images.is_dir():
            for path in sorted(images.iterdir()):
                if path.suffix.lower() in PICTURES:
                    yield split, path, labels / f"{path.stem}.txt"


def _read(
    path: Path, label_file: Path, split: str, classes: int, problems: list[str]
) -> Picture | None:
    try:
        with Image.open(path) as picture:
            picture.load()
            width, height = picture.size
    except (OSError, SyntaxError, Image.DecompressionBombError, ImportError):
        # ImportError: ultralytics makes Pillow look for a HEIF plug-in when it knows no better
        problems.append(f"{path}: not a readable picture")
        return None
    try:
        text = label_file.read_text(encoding="utf-8")
    except FileNotFoundError:
        problems.append(f"{label_file}: missing; a picture without a face has an empty file")
        return None
    except (OSError, UnicodeDecodeError):
        problems.append(f"{label_file}: not a readable text file")
        return None
    rows = [_box(line, classes) for line in text.splitlines() if line.strip()]
    for row in rows:
        if isinstance(row, str):
            problems.append(f"{label_file}: {row}")
            return None
    table = np.array(rows, np.float64).reshape(-1, 5)
    return Picture(
        path=path,
        hw=(height, width),
        classes=table[:, 0].astype(np.int64),
        boxes=table[:, 1:].astype(np.float32),
        split=split,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )


def _box(line: str, classes: int) -> list[float] | str:
    """Class, x, y, w, h of a label line, or what is wrong with it."""
    try:
        values = [float(word) for word in line.split()]
    except ValueError:
        return f"not five numbers: {line[:60]!r}"
    if len(values) != 5 or not all(np.isfinite(values)):
        return f"not five numbers: {line[:60]!r}"
    index, x, y, w, h = values
    if index != int(index) or not 0 <= index < classes:
        return f"class {index:g}, but data.yaml names {classes}: 0 to {classes - 1}"
    sides = (x - w / 2, y - h / 2, 1 - x - w / 2, 1 - y - h / 2)
    if w <= 0 or h <= 0 or min(sides) < -EDGE_TOLERANCE:
        return f"box outside the picture: {line[:60]!r} (shares 0..1: centre x, y, width, height)"
    return values


def _tell(root: Path, problems: list[str]) -> None:
    if problems:
        more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
        count = f"{root}: {len(problems)} problems: " if len(problems) > 1 else ""
        raise PictureSetError(count + "; ".join(problems[:3]) + more)
