"""Where data sets keep their labels: FER+, RAF-DB, AffectNet, CK+, and a folder a class.

Each layout turns a path into named samples with labels by name. The order of the numbers is each
set's own and stands here, once.
"""

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.data import DatasetError, Faces, Sample, hold_out
from models.data.pictures import is_litter, is_picture
from models.registry import FER_PLUS_LABELS, RAF_LABELS

FER_PLUS_COLUMNS = (*FER_PLUS_LABELS, "unknown", "NF")
RAF_COLUMN = "label_name"  # of RAF-DB as one parquet file
# AffectNet's numbers (Mollahosseini et al. 2017); 8 and above are not expressions.
AFFECTNET_LABELS = (
    "neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt",
)  # fmt: skip
# CK+'s numbers (Lucey et al. 2010).
CK_LABELS = (
    "neutral", "anger", "contempt", "disgust", "fear", "happiness", "sadness", "surprise",
)  # fmt: skip
# How folders are called that mean one of our labels.
ALIASES = {
    "angry": "anger", "disgusted": "disgust", "fearful": "fear", "afraid": "fear",
    "happy": "happiness", "sad": "sadness", "surprised": "surprise", "neutrality": "neutral",
}  # fmt: skip


def fer_plus_label(votes: tuple[int, ...]) -> str | None:
    """FER+ majority: the label most annotators chose, or None.

    As microsoft/FERPlus `ferplus.py`, mode "majority": single votes are dropped as outliers, the
    largest of what is left must be more than half of it, and must not be `unknown` or `NF`.
    """
    kept = [v if v > 1 else 0 for v in votes]
    best = max(kept)
    if not best or best <= 0.5 * sum(kept):
        return None
    label = FER_PLUS_COLUMNS[kept.index(best)]
    return None if label in {"unknown", "NF"} else label


def fer_plus_shares(votes: tuple[int, ...]) -> tuple[float, ...] | None:
    """FER+ vote distribution over the eight labels, single votes dropped.

    None where the eight labels together did not win more than half of the votes.
    """
    kept = [v if v > 1 else 0 for v in votes]
    named = kept[: len(FER_PLUS_LABELS)]
    if sum(named) <= 0.5 * sum(kept):
        return None
    return tuple(v / sum(named) for v in named)


def fer_plus_samples(
    rows: Iterator[tuple[str, Path | bytes, tuple[int, ...]]], *, majority_only: bool
) -> Iterator[Sample]:
    """Samples from (name, picture, ten votes); without a majority only where it is not asked."""
    for name, picture, votes in rows:
        label, shares = fer_plus_label(votes), fer_plus_shares(votes)
        if label is None and not majority_only and shares is not None:
            label = FER_PLUS_LABELS[shares.index(max(shares))]
        if label is not None and shares is not None:
            yield Sample(name, picture, label, shares)


def fer_plus_parquet(path: Path, split: str, *, majority_only: bool = True) -> list[Sample]:
    """FER+ in one parquet file: `split, name, image` and ten columns of votes."""
    from pyarrow import ArrowInvalid, parquet  # noqa: PLC0415 - only this layout needs it

    try:
        table = parquet.read_table(path, filters=[("split", "==", split)])
        columns = [table[c].to_pylist() for c in ("name", "image", *FER_PLUS_COLUMNS)]
    except (ArrowInvalid, KeyError) as error:
        raise DatasetError(f"{path}: not a FER+ parquet file ({error})") from None
    rows = ((name, image, votes) for name, image, *votes in zip(*columns, strict=True))
    return list(
        fer_plus_samples(((n, i, tuple(v)) for n, i, v in rows), majority_only=majority_only)
    )


def fer_plus_csv(root: Path, split: str, *, majority_only: bool = True) -> list[Sample]:
    """FER+ as microsoft/FERPlus lays it out: `fer2013new.csv` and folders of pictures."""
    folders = {
        "Training": "FER2013Train", "PublicTest": "FER2013Valid", "PrivateTest": "FER2013Test",
    }  # fmt: skip
    table = root / "fer2013new.csv"

    def rows() -> Iterator[tuple[str, Path | bytes, tuple[int, ...]]]:
        with table.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                name = row.get("Image name", "")
                if row.get("Usage") == split and name:
                    picture = root / folders.get(split, split) / name
                    yield name, picture, tuple(int(row[c]) for c in FER_PLUS_COLUMNS)

    try:
        return list(fer_plus_samples(rows(), majority_only=majority_only))
    except (KeyError, ValueError) as error:
        raise DatasetError(f"{table}: not FER+'s own table ({error})") from None


def raf_db(root: Path, split: str) -> list[Sample]:
    """RAF-DB basic as its authors lay it out; labels 1..7 in RAF-DB's own order."""
    lists = next(root.glob("**/list_patition_label.txt"))
    pictures = lists.parent.parent / "Image" / "aligned"
    samples = []
    for number, line in enumerate(lists.read_text(encoding="utf-8").splitlines(), 1):
        name, _, label = line.partition(" ")
        if not name.startswith(f"{split}_"):
            continue
        if label.strip() not in {"1", "2", "3", "4", "5", "6", "7"}:
            raise DatasetError(f"{lists}: line {number}: label {label!r} is not 1..7")
        stem, _, suffix = name.rpartition(".")
        picture = pictures / f"{stem}_aligned.{suffix}"
        samples.append(Sample(name, picture, RAF_LABELS[int(label) - 1]))
    return samples


def raf_db_parquet(path: Path, split: str) -> list[Sample]:
    """RAF-DB basic in one parquet file: `split, name, image` and the label by name."""
    from pyarrow import ArrowInvalid, parquet  # noqa: PLC0415 - only this layout needs it

    try:
        table = parquet.read_table(path, filters=[("split", "==", split)])
        columns = [table[column].to_pylist() for column in ("name", "image", RAF_COLUMN)]
    except (ArrowInvalid, KeyError) as error:
        raise DatasetError(f"{path}: not a RAF-DB parquet file ({error})") from None
    return [Sample(name, image, label) for name, image, label in zip(*columns, strict=True)]


def affectnet(root: Path, split: str) -> list[Sample]:
    """AffectNet's manually labelled part: `train_set` and `val_set`, a `.npy` a picture."""
    folder = root / {"train": "train_set", "valid": "val_set", "validation": "val_set"}.get(
        split, split
    )
    samples = []
    for note in sorted((folder / "annotations").glob("*_exp.npy")):
        stem = note.name.removesuffix("_exp.npy")
        try:
            number = int(np.load(note, allow_pickle=False))
        except (OSError, ValueError) as error:
            raise DatasetError(f"{note}: not an AffectNet annotation ({error})") from None
        if number < len(AFFECTNET_LABELS):
            picture = folder / "images" / f"{stem}.jpg"
            samples.append(Sample(stem, picture, AFFECTNET_LABELS[number]))
    return samples


def ck_plus(root: Path, split: str) -> list[Sample]:
    """CK+: the last three frames of a labelled sequence, and its first as neutral.

    Split by subject: every tenth is `test`, the others are `train`.
    """
    notes = sorted((root / "Emotion").glob("*/*/*_emotion.txt"))
    subjects = sorted({note.parent.parent.name for note in notes})
    held = set(subjects[::10])
    samples = []
    for note in notes:
        subject = note.parent.parent.name
        if split != "all" and (subject in held) != (split == "test"):
            continue
        label = CK_LABELS[int(float(note.read_text(encoding="ascii").strip()))]
        frames = sorted((root / "cohn-kanade-images" / subject / note.parent.name).glob("*.png"))
        samples += [Sample(frame.name, frame, label) for frame in frames[-3:]]
        samples += [Sample(frame.name, frame, "neutral") for frame in frames[:1]]
    return samples


def folder_a_class(root: Path, split: str) -> list[Sample]:
    """`root/split/label/picture` or `root/label/picture`; RAF-DB's 1..7 are known by number."""
    base = root / split if (root / split).is_dir() else root
    classes = sorted(p for p in base.iterdir() if p.is_dir() and not is_litter(p))
    if base == root and split not in {"all", "train"}:
        names = ", ".join(p.name for p in classes) or "nothing"
        raise DatasetError(f"{root}: has no split {split!r} (there is {names})")
    numbers = {p.name for p in classes} <= {str(n) for n in range(1, 8)}
    samples = []
    for folder in classes:
        name = folder.name.lower()
        label = RAF_LABELS[int(name) - 1] if numbers else ALIASES.get(name, name)
        files = sorted(p for p in folder.rglob("*") if is_picture(p) and not is_litter(p.parent))
        samples += [Sample(str(p.relative_to(root)), p, label) for p in files]
    return samples


@dataclass(frozen=True, slots=True)
class FaceSet:
    """A data set on disk: what it is called and how to read a split of it."""

    name: str
    read: Callable[[str, bool], list[Sample]]
    labels: tuple[str, ...] = ()
    train_split: str = "train"
    filter: str = ""


FER_FILTER = "FER+ majority: single votes dropped, more than half of the rest, not unknown/NF"


def parquet_source(path: Path) -> FaceSet:
    """FER+ or RAF-DB in one parquet file, told apart by their columns.

    Raises:
        DatasetError: not a parquet file, or neither of the two.
    """
    from pyarrow import ArrowInvalid, parquet  # noqa: PLC0415 - only these layouts need it

    try:
        columns = set(parquet.read_schema(path).names)
    except ArrowInvalid as error:
        raise DatasetError(f"--data {path}: not a parquet file ({error})") from None
    if RAF_COLUMN in columns:
        return FaceSet("RAF-DB", lambda split, _: raf_db_parquet(path, split), RAF_LABELS)
    if set(FER_PLUS_COLUMNS) <= columns:
        return FaceSet(
            "FER+", lambda split, hard: fer_plus_parquet(path, split, majority_only=hard),
            FER_PLUS_LABELS, "Training", FER_FILTER,
        )  # fmt: skip
    raise DatasetError(
        f"--data {path}: its columns are neither FER+'s votes nor RAF-DB's `{RAF_COLUMN}`"
    )


def find_source(path: Path) -> FaceSet:
    """What lies at a path.

    Raises:
        DatasetError: nothing there that is known.
    """
    if path.suffix == ".parquet" and path.is_file():
        return parquet_source(path)
    if not path.is_dir():
        raise DatasetError(f"--data {path}: no such folder or parquet file")
    if (path / "fer2013new.csv").is_file():
        return FaceSet(
            "FER+", lambda split, hard: fer_plus_csv(path, split, majority_only=hard),
            FER_PLUS_LABELS, "Training", FER_FILTER,
        )  # fmt: skip
    if next(path.glob("**/list_patition_label.txt"), None):
        return FaceSet("RAF-DB", lambda split, _: raf_db(path, split), RAF_LABELS)
    if (path / "train_set").is_dir() or (path / "val_set").is_dir():
        return FaceSet("AffectNet", lambda split, _: affectnet(path, split), AFFECTNET_LABELS)
    if (path / "cohn-kanade-images").is_dir():
        return FaceSet("CK+", lambda split, _: ck_plus(path, split), CK_LABELS)
    if any(p.is_dir() and not is_litter(p) for p in path.iterdir()):
        return FaceSet(path.name, lambda split, _: folder_a_class(path, split))
    raise DatasetError(
        f"--data {path}: not a layout we know: FER+ (csv or parquet), RAF-DB, AffectNet, CK+, "
        "or a folder a class"
    )


def read_names(path: Path, column: str) -> frozenset[str]:
    """Names of faces in one column of a CSV file.

    Raises:
        DatasetError: no such file or column.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return frozenset(row[column] for row in csv.DictReader(file))
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror})") from None
    except (KeyError, UnicodeDecodeError):
        raise DatasetError(f"{path}: not a CSV file with a column {column!r}") from None


def open_faces(
    path: Path, labels: Sequence[str], input_hw: tuple[int, int], split: str,
    *, soft: bool = False,
) -> Faces:  # fmt: skip
    """One split of a data set for a model.

    Args:
        path: where the data lies.
        labels: of the model; AffectNet without contempt is AffectNet-7.
        input_hw: (height, width) of the model.
        split: as the data set calls it, or `train`.
        soft: vote distributions as targets; keeps faces without a majority.

    Raises:
        DatasetError: one line: what, where, and the cure.
    """
    source = find_source(path)
    name = source.train_split if split == "train" else split
    samples = source.read(name, not soft)
    title = source.name
    if source.name == "AffectNet":
        samples = [s for s in samples if s.label != "contempt" or "contempt" in labels]
        title = f"AffectNet-{8 if 'contempt' in labels else 7}"
    if not samples:
        raise DatasetError(f"{path}: split {split!r} of {source.name} has no pictures")
    return Faces(samples, labels, input_hw, soft=soft, source=title, source_labels=source.labels)


def open_for_training(
    path: Path, labels: Sequence[str], input_hw: tuple[int, int], *, soft: bool, validation: float
) -> tuple[Faces, Faces]:
    """Training faces, and those to choose by: the set's own `valid` folder, or a part held out.

    Faces to choose by always have one truth: of FER+ only those with a majority.
    """
    whole = open_faces(path, labels, input_hw, "train", soft=soft)
    own = next((n for n in ("valid", "val") if path.is_dir() and (path / n).is_dir()), None)
    if own and find_source(path).name == path.name:
        return whole, open_faces(path, labels, input_hw, own)
    training, held = hold_out(whole, validation)
    if not soft:
        return training, held
    clear = {s.name for s in find_source(path).read(find_source(path).train_split, True)}
    return training, held.part([i for i, s in enumerate(held.samples) if s.name in clear])
