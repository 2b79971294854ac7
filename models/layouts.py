"""Where data sets keep their labels: FER+, RAF-DB, AffectNet, CK+, and a folder a class.

Each layout turns a path into named samples with labels by name. The order of the numbers is each
set's own and stands here, once.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from models.datasets import DatasetError, Sample
from models.registry import FER_PLUS_LABELS

FER_PLUS_COLUMNS = (*FER_PLUS_LABELS, "unknown", "NF")


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
    rows: Iterator[tuple[str, Any, tuple[int, ...]]], *, majority_only: bool
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


Layout = Callable[[Path, str], list[Sample]]
