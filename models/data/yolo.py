"""Picture sets for the detector: the YOLO layout, checked before anything is trained on it.

    DIR/data.yaml                     names: the classes in order; or data.yml, classes.txt
    DIR/images/*.jpg, labels/*.txt    one flat set, or
    DIR/images/train|val, labels/...  given splits, or
    DIR/train|val/images|labels       the same as Roboflow writes it
    DIR/*.jpg, *.txt                  each label beside its picture, as labelling tools write it
    DIR/people.csv                    file, person: lets a split go by person

Classes are matched by name, in any order and case; `classes` renames them (`drowsy` is `sleep`).

Nothing but text and pictures is read: `labels.cache` files, which are pickles, are left alone, and
`data.yaml` is parsed without tags. Whatever is wrong with a set is told in one line, with the
file, before any training starts.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.data.label_files import (
    ClassList,
    LabelError,
    LabelRow,
    class_list,
    entry,
    label_files,
    label_rows,
    people_of,
    read_text,
)
from models.data.pictures import PictureError, picture_files, upright_size

SPLITS = ("train", "val", "test")
# What a detector of drivers tells, in the order of the shipped one's outputs.
DRIVER_CLASSES = ("awake", "sleep", "yawn")


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
        notices: what was read otherwise than written, each in one line.
    """

    root: Path
    labels: tuple[str, ...]
    pictures: tuple[Picture, ...]
    notices: tuple[str, ...] = ()

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


def read_picture_set(
    root: Path, labels: Sequence[str] | None = None, classes: Mapping[str, str] | None = None
) -> PictureSet:
    """Read and check a set in the YOLO layout.

    Args:
        root: its folder.
        labels: the classes a model tells; the set's are brought into their order. None takes the
            set's own, those of drivers first and without those that never occur.
        classes: what a class of the set is called here, as {"drowsy": "sleep"}.

    Raises:
        PictureSetError: anything is missing, unreadable or out of range; the first three
            problems are told, and how many there are.
    """
    if not root.is_dir():
        raise PictureSetError(f"{root}: no such folder; --data names a folder with data.yaml")
    files = list(_picture_files(root))
    try:
        named = class_list(root)
        persons = people_of(root / "people.csv", [path for _, path, _ in files])
    except LabelError as error:
        raise PictureSetError(str(error)) from None
    if not files:
        raise PictureSetError(f"{root}: no pictures under images/ or train/images/")
    reading = _Reading(named)
    read = [reading.picture(split, path, label_file) for split, path, label_file in files]
    reading.tell(root)
    pictures = [replace(p, person=persons.get(p.path, "")) for p in read if p is not None]
    if not any(len(p.classes) for p in pictures):
        raise PictureSetError(f"{root}: not one box in {len(pictures)} label files")
    renamed = _by_name(PictureSet(root, named.names, tuple(pictures)), named, labels, classes or {})
    unread = _unread(label_file for _, _, label_file in files)
    renamed = replace(
        renamed, notices=renamed.notices + reading.notices(persons, pictures) + unread
    )
    check_splits(renamed)
    return renamed


def parse_classes(texts: Iterable[str]) -> dict[str, str]:
    """`drowsy=sleep` of the command line, repeated or with commas, as a mapping.

    Raises:
        PictureSetError: a text without `=`.
    """
    pairs = [pair.strip() for text in texts for pair in text.split(",") if pair.strip()]
    for pair in pairs:
        if not all(part.strip() for part in pair.split("=")) or pair.count("=") != 1:
            raise PictureSetError(f"--classes {pair}: write it as OURS, e.g. drowsy=sleep")
    return {a.strip(): b.strip() for a, b in (pair.split("=") for pair in pairs)}


def check_driver_classes(pictures: PictureSet) -> None:
    """A detector of drivers must tell awake and sleep, or `run` could not use it.

    Raises:
        PictureSetError: naming what is missing and how to say which class it is.
    """
    missing = [label for label in ("awake", "sleep") if label not in pictures.labels]
    if missing:
        others = [label for label in pictures.labels if label not in DRIVER_CLASSES]
        example = f"--classes {others[0] if others else 'NAME'}={missing[0]}"
        raise PictureSetError(
            f"{pictures.root}: classes are {', '.join(pictures.labels)}; a detector of drivers "
            f"must tell awake and sleep: say which class is {' and '.join(missing)}, "
            f"e.g. {example}"
        )


def of_split(pictures: PictureSet, split: str) -> tuple[PictureSet, str]:
    """The pictures to measure on, and what they are called.

    Args:
        pictures: the set.
        split: `train`, `val`, `test` or `all`; empty takes the test split, else val, else all:
            a figure on pictures that were trained on measures memory.

    Raises:
        PictureSetError: there is no such split, or it is empty.
    """
    there = sorted({p.split for p in pictures.pictures} - {""})
    wanted = "val" if split in {"valid", "validation"} else split
    wanted = wanted or next((name for name in ("test", "val") if name in there), "all")
    if wanted == "all":
        return pictures, wanted
    part = pictures.of_split(wanted)
    if not part:
        splits = ", ".join((*there, "all"))
        raise PictureSetError(f"--split {split}: {pictures.root} has {splits}")
    return pictures.only(part), wanted


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
    pictures: PictureSet,
    held_out: Sequence[str],
    together: Sequence[Sequence[str]] = (),
    *,
    everybody_may_go: bool = False,
) -> tuple[PictureSet, PictureSet]:
    """Everybody else to train on, and the people held out.

    Args:
        pictures: a set with people.
        held_out: persons to hold out.
        together: groups of persons who must be on one side (look-alikes).
        everybody_may_go: nobody need be left to train on.

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
    nameless = [p for p in pictures.pictures if not p.person and len(p.classes)]
    if nameless:
        pictures = replace(
            pictures,
            notices=(*pictures.notices, _nameless(pictures.root, nameless)),
        )
    kept = pictures.only(p for p in pictures.pictures if p.person not in set(held_out))
    held = pictures.only(p for p in pictures.pictures if p.person in set(held_out))
    if not (kept.pictures or everybody_may_go) or not held.pictures:
        raise PictureSetError(
            f"{pictures.root}: holding out {', '.join(held_out)} leaves a side empty"
        )
    return kept, held


def _nameless(root: Path, pictures: Sequence[Picture]) -> str:
    return (
        f"{root / 'people.csv'}: names nobody for {len(pictures)} pictures, first "
        f"{pictures[0].path.name}; they are trained on, whoever they show"
    )


def _picture_files(root: Path) -> Iterator[tuple[str, Path, Path]]:
    """(split, picture, label file) of every picture under one of the layouts."""
    names = [*((s, s) for s in SPLITS), ("val", "valid")]
    top = {name: entry(root, name) for name in ("images", "labels", *(name for _, name in names))}
    layouts = [("", top["images"], top["labels"])]
    layouts += [(split, top["images"] / name, top["labels"] / name) for split, name in names]
    layouts += [
        (split, entry(top[name], "images"), entry(top[name], "labels")) for split, name in names
    ]
    layouts += [("", root, root)]
    layouts += [(split, top[name], top[name]) for split, name in names]
    # Darknet's, as CVAT writes it.
    darknet = [(split, root / f"obj_{name}_data") for split, name in names]
    layouts += [(split, folder, folder) for split, folder in darknet]
    for split, images, labels in layouts:
        if images.is_dir():
            written = label_files(labels)
            for path in picture_files(images):
                yield split, path, written.get(path.stem, labels / f"{path.stem}.txt")


def _unread(read: Iterable[Path]) -> tuple[str, ...]:
    """What is said of label files whose picture is missing, or of a kind that is not read."""
    taken = set(read)
    folders = {path.parent for path in taken}
    others = {path for folder in folders for path in label_files(folder).values()} - taken
    # A README beside the pictures is none.
    lonely = sorted(path for path in others if path.read_bytes()[:1].isdigit())
    if not lonely:
        return ()
    count = f"{len(lonely)} label files have no picture that can be read"
    return (f"{count}, first {lonely[0].name}; jpg, png, bmp, webp and tiff are read",)


@dataclass
class _Reading:
    """Reads pictures one by one and keeps what is wrong with them."""

    named: ClassList
    problems: list[str] = field(default_factory=list)
    clipped: int = 0

    def picture(self, split: str, path: Path, label_file: Path) -> Picture | None:
        """A checked picture; None where there is a problem."""
        try:
            height, width = upright_size(path)
        except PictureError as error:
            self.problems.append(str(error))
            return None
        try:
            rows = self._rows(label_file)
        except LabelError as error:
            self.problems.append(str(error))
            return None
        self.clipped += sum(row.clipped for row in rows)
        return Picture(
            path=path,
            hw=(height, width),
            classes=np.array([row.index for row in rows], np.int64),
            boxes=np.array([row.box for row in rows], np.float32).reshape(-1, 4),
            split=split,
            sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        )

    def _rows(self, label_file: Path) -> list[LabelRow]:
        if not label_file.is_file():
            raise LabelError(f"{label_file}: missing; a picture without a face has an empty file")
        text = read_text(label_file)
        try:
            return label_rows(text, len(self.named.names), keypoints=self.named.keypoints)
        except LabelError as error:
            raise LabelError(f"{label_file}: {error}") from None

    def tell(self, root: Path) -> None:
        """Raise what is wrong, the first three and how many."""
        problems = self.problems
        if problems:
            more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
            count = f"{root}: {len(problems)} problems: " if len(problems) > 1 else ""
            raise PictureSetError(count + "; ".join(problems[:3]) + more)

    def notices(self, persons: Mapping[Path, str], pictures: Sequence[Picture]) -> tuple[str, ...]:
        """What was read otherwise than written."""
        notices = []
        if self.clipped:
            notices.append(f"{self.clipped} boxes reach a little beyond their picture and were cut")
        if persons and len(persons) < len(pictures):
            notices.append(f"people.csv names {len(persons)} of {len(pictures)} pictures")
        return tuple(notices)


def _by_name(
    pictures: PictureSet,
    named: ClassList,
    labels: Sequence[str] | None,
    classes: Mapping[str, str],
) -> PictureSet:
    """The set with its classes called as here and in the model's order.

    Raises:
        PictureSetError: a class that was to be renamed does not exist, or one that occurs is none
            of the model's.
    """
    ours = {name.casefold(): new for name, new in classes.items()}
    absent = sorted(set(ours) - {name.casefold() for name in named.names})
    if absent:
        raise PictureSetError(
            f"--classes {absent[0]}: {named.path} has no such class, it has "
            f"{', '.join(named.names)}"
        )
    own_names = {label.casefold(): label for label in labels or DRIVER_CLASSES}
    called = [ours.get(name.casefold(), name) for name in named.names]
    called = [own_names.get(name.casefold(), name) for name in called]
    counts = Counter(called[int(c)] for p in pictures.pictures for c in p.classes)
    order = list(labels) if labels is not None else _own_order(called, counts)
    strangers = [name for name in counts if name not in order]
    if strangers:
        raise PictureSetError(
            f"{named.path}: has {', '.join(strangers)}, this model tells {', '.join(order)}; say "
            f"which of them it is, e.g. --classes {strangers[0]}={order[0]}"
        )
    place = np.array([order.index(name) if name in order else -1 for name in called], np.int64)
    notices = list(pictures.notices)
    if list(named.names) != order and counts:
        renamings = ", ".join(
            f"{a} is {b}" for a, b in zip(named.names, called, strict=True) if a != b
        )
        unused = [name for name in called if name not in order]
        notices += [
            f"classes in our order: {', '.join(order)}" + (f" ({renamings})" if renamings else "")
        ]
        notices += [f"no box of class {', '.join(unused)}; left out"] if unused else []
    return replace(
        pictures,
        labels=tuple(order),
        pictures=tuple(replace(p, classes=place[p.classes]) for p in pictures.pictures),
        notices=tuple(notices),
    )


def _own_order(called: Sequence[str], counts: Mapping[str, int]) -> list[str]:
    """Classes of drivers first, in the shipped order, then the others, all that occur.

    Awake and sleep stay though they never occur, so that they are missed.
    """
    distinct = list(dict.fromkeys(called))
    kept = [name for name in distinct if counts.get(name) or name in DRIVER_CLASSES[:2]]
    drivers = [name for name in DRIVER_CLASSES if name in kept]
    return drivers + [name for name in kept if name not in drivers]
