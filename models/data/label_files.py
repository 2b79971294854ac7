"""Label files, class lists and people.csv as tools really write them, read for what is meant.

Text may be UTF-8 with or without a mark, UTF-16 or a Windows code page; numbers may be parted by
blanks, commas or tabs; a box may be a polygon, or have a confidence or a track behind it.
"""

import ast
import csv
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

# Tools round boxes at a picture's edge, and augmentation shears them past it: this share of the
# picture is cut off and counted. What lies further out was not drawn on this picture.
_MOST_OUTSIDE = 0.05
_ROUNDING = 1e-5
_BYTE_ORDER_MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16", b"\xef\xbb\xbf": "utf-8-sig"}
_DATA_FILES = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
_NAME_FILES = ("classes.txt", "obj.names", "_darknet.labels", "labels/classes.txt")


class LabelError(ValueError):
    """A text of labels, classes or people cannot be understood: what and where, in one line."""


@dataclass(frozen=True, slots=True)
class LabelRow:
    """One box: class index, and centre x, y, width, height as shares of the picture.

    Attributes:
        clipped: it reached beyond the picture and was cut.
    """

    index: int
    box: tuple[float, float, float, float]
    clipped: bool = False


def read_text(path: Path) -> str:
    """A text in whichever encoding it is.

    Raises:
        LabelError: unreadable, or no text.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise LabelError(f"{path}: missing") from None
    except OSError as error:
        raise LabelError(f"{path}: cannot be read ({error.strerror})") from None
    marked = next((_BYTE_ORDER_MARKS[m] for m in _BYTE_ORDER_MARKS if content.startswith(m)), "")
    unmarked = _unmarked_utf16(content)
    for encoding in filter(None, (marked, unmarked, "utf-8", "cp1252")):
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text
    raise LabelError(f"{path}: not a readable text file; save it as UTF-8")


def _unmarked_utf16(content: bytes) -> str:
    """UTF-16 without a mark: every second byte of plain text is zero."""
    if len(content) < 4 or len(content) % 2:
        return ""
    if not any(content):
        return ""
    if content[1::2].count(0) > 0.9 * len(content) / 2:
        return "utf-16-le"
    return "utf-16-be" if content[0::2].count(0) > 0.9 * len(content) / 2 else ""


def label_rows(text: str, classes: int, *, keypoints: bool = False) -> list[LabelRow]:
    """The boxes of a label file.

    Args:
        text: one box a line: class, centre x, y, width, height as shares; or class and a polygon.
        classes: how many there are.
        keypoints: points of a pose follow each box.

    Raises:
        LabelError: a line that is none of these; it does not name the file.
    """
    lines = [line for line in text.splitlines() if line.strip() and line.strip()[0] != "#"]
    return [_row(line, classes, keypoints) for line in lines]


def _row(line: str, classes: int, keypoints: bool) -> LabelRow:
    shown = repr(line[:60])
    try:
        values = [float(word) for word in re.split(r"[\s,;]+", line.strip().strip(",;"))]
    except ValueError:
        raise LabelError(f"not five numbers: {shown}") from None
    if len(values) < 5 or not all(np.isfinite(values)):
        raise LabelError(f"not five numbers: {shown}")
    index, *rest = values
    if index != int(index) or not 0 <= index < classes:
        raise LabelError(f"class {index:g}, but data.yaml names {classes}: 0 to {classes - 1}")
    x, y, w, h = box = _box(rest, keypoints, shown)
    corners = (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
    x1, y1, x2, y2 = inside = [min(max(value, 0.0), 1.0) for value in corners]
    beyond = max(abs(a - b) for a, b in zip(corners, inside, strict=True))
    if w <= 0 or h <= 0 or x2 <= x1 or y2 <= y1 or beyond > _MOST_OUTSIDE:
        raise LabelError(
            f"box outside the picture: {shown} (shares 0..1: centre x, y, width, height)"
        )
    if beyond < _ROUNDING:
        return LabelRow(int(index), box)
    return LabelRow(int(index), ((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1), clipped=True)


def _box(rest: list[float], keypoints: bool, shown: str) -> tuple[float, float, float, float]:
    """Centre and size of a box, or of the box round a polygon.

    A confidence or a track id may stand behind a box.
    """
    if len(rest) in {4, 5} or keypoints:
        return rest[0], rest[1], rest[2], rest[3]
    if len(rest) % 2:
        raise LabelError(f"not five numbers: {shown}; nor a polygon, whose points come in pairs")
    xs, ys = rest[0::2], rest[1::2]
    left, right, top, bottom = min(xs), max(xs), min(ys), max(ys)
    return (left + right) / 2, (top + bottom) / 2, right - left, bottom - top


# --- which classes there are ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ClassList:
    """Which classes a set has.

    Attributes:
        path: the file that names them.
        names: in the order of their indices.
        keypoints: its boxes are followed by the points of a pose.
    """

    path: Path
    names: tuple[str, ...]
    keypoints: bool = False


def class_list(root: Path) -> ClassList:
    """The classes of a set.

    Raises:
        LabelError: no file names them, or it names none.
    """
    for path in (entry(root, name) for name in _DATA_FILES):
        if path.is_file():
            return _of_yaml(path)
    for path in (entry(root, name) for name in _NAME_FILES):
        if path.is_file():
            lines = [line.strip() for line in read_text(path).splitlines()]
            return ClassList(path, _checked([n for n in lines if n], path))
    other = _other_format(root)
    if other:
        raise LabelError(f"{root}: holds labels of {other}; export the set once more as YOLO")
    raise LabelError(
        f"{root / 'data.yaml'}: missing; it must name the classes, as in names: [awake, sleep]"
    )


def label_files(folder: Path) -> dict[str, Path]:
    """The label files of a folder by their stem: `.txt` in any case, no lists of classes."""
    if not folder.is_dir():
        return {}
    texts = (path for path in folder.iterdir() if path.suffix.lower() == ".txt")
    lists = {Path(name).name for name in _NAME_FILES}
    return {p.stem: p for p in texts if p.name not in lists and not p.name.startswith(".")}


def entry(folder: Path, name: str) -> Path:
    """`name` in a folder, in whatever case it is written there."""
    exact = folder / name
    if exact.exists() or not folder.is_dir():
        return exact
    alike = (path for path in folder.iterdir() if path.name.lower() == name.lower())
    return next(alike, exact)


# Labels of other makes, by the files they leave.
_OTHERS = {
    "*coco*.json": "COCO (one JSON file)",
    "*createml*.json": "CreateML",
    "*.xml": "Pascal VOC (an XML file a picture)",
    "*annotations*.csv": "a table (CSV)",
    "*.tfrecord": "TensorFlow",
}


def _other_format(root: Path) -> str | None:
    for pattern, name in _OTHERS.items():
        if next(root.rglob(pattern), None) is not None:
            return name
    return None


def _of_yaml(path: Path) -> ClassList:
    try:
        document = yaml.safe_load(read_text(path))
    except yaml.YAMLError as error:
        line = str(error).replace("\n", " ")[:160]
        raise LabelError(f"{path}: not plain YAML ({line})") from None
    if not isinstance(document, dict):
        document = {}
    names = document.get("names")
    if isinstance(names, str):  # a Python list in quotes, or words with commas
        names = _literal(names)
    if isinstance(names, dict):
        names = _in_order(names, path)
    if not isinstance(names, list) or not names or any(isinstance(n, list | dict) for n in names):
        raise LabelError(f"{path}: 'names' must list the classes, e.g. [awake, sleep, yawn]")
    # YAML reads `yes` and `no` as truth values: the words are meant.
    words = ["yes" if n is True else "no" if n is False else str(n) for n in names]
    return ClassList(path, _checked(words, path), bool(document.get("kpt_shape")))


def _in_order(names: Mapping[Any, object], path: Path) -> list[object]:
    """Names by their number, which YAML may have read as text."""
    try:
        numbered = {int(key): name for key, name in names.items()}
    except (TypeError, ValueError):
        raise LabelError(f"{path}: 'names' must number the classes from 0") from None
    if sorted(numbered) != list(range(len(names))):
        raise LabelError(f"{path}: 'names' must number the classes from 0 without a gap")
    return [numbered[index] for index in range(len(numbered))]


def _literal(text: str) -> object:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return [word.strip() for word in text.split(",")]


def _checked(names: list[str], path: Path) -> tuple[str, ...]:
    names = [name.strip() for name in names]
    if not names or not all(names):
        raise LabelError(f"{path}: names no classes")
    if len(set(names)) != len(names):
        raise LabelError(f"{path}: a class is named twice")
    return tuple(names)


# --- who is on which picture --------------------------------------------------------------------


def people_of(path: Path, pictures: Iterable[Path]) -> dict[Path, str]:
    """Who is on each picture, by `people.csv`; empty where there is no such file.

    Names of files may be given with folders and without their ending.

    Raises:
        LabelError: it lacks a column, names a picture that is not there or one twice for two
            people: a person who is lost so would be trained on and tested with.
    """
    if not path.is_file():
        return {}
    by_name: dict[str, list[Path]] = {}
    for picture in pictures:
        for name in {picture.name, picture.stem}:
            by_name.setdefault(name.casefold(), []).append(picture)
    persons: dict[Path, str] = {}
    for line, name, person in _people_rows(path):
        *folders, last = re.split(r"[\\/]+", name)
        matches = by_name.get(last.casefold(), [])
        matches = [p for p in matches if p.parts[-1 - len(folders) : -1] == tuple(folders)] or (
            [] if folders and len(matches) > 1 else matches
        )
        if not matches:
            raise LabelError(
                f"{path}: line {line}: no picture {name!r} in this set; correct or remove the line"
            )
        for picture in matches:
            before = persons.setdefault(picture, person)
            if before != person:
                raise LabelError(f"{path}: line {line}: {name} is {person}, but {before} before")
    return persons


def _people_rows(path: Path) -> Iterable[tuple[int, str, str]]:
    """(line, file, person) of every row that names both."""
    text = read_text(path)
    first = next((line for line in text.splitlines() if line.strip()), "")
    parted = max((",", ";", "\t", "|"), key=first.count)
    table = csv.DictReader(text.splitlines(), delimiter=parted)
    columns = {name.strip().casefold(): name for name in table.fieldnames or () if name}
    if not {"file", "person"} <= columns.keys():
        raise LabelError(
            f"{path}: needs the columns file and person, parted by commas; its first line is "
            f"{first[:60]!r}"
        )
    for row in table:
        name, person = (str(row[columns[c]] or "").strip() for c in ("file", "person"))
        # Nobody knows who it is: the picture has no person.
        if name and person and person.casefold() not in {"?", "unknown", "none", "nan", "-"}:
            yield table.line_num, name, person
