"""Labelled faces as tensors, whatever folder they come from.

A layout (`models.data.layouts`) names the samples; this module decodes them, brings the labels
into the order of a model's card, and holds out a validation part by the hash of each picture.
Labels are matched by name, never by number, so two data sets in different orders cannot be mixed
up.
"""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import Dataset

from models.data.augmentation import Batch

# Decoded pictures up to this size are kept in memory; larger sets are decoded as they are asked.
CACHE_BYTES = 1_000_000_000


class DatasetError(ValueError):
    """Data that cannot be used, in one line: what, where, and the cure."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled face.

    Attributes:
        name: what to call it in a message.
        picture: file, or the encoded bytes.
        label: its class by name.
        votes: share of each class in the order of the set's labels; None when there is one truth.
        points: landmarks (P, 2) as shares of the picture, NaN where unknown; None without.
    """

    name: str
    picture: Path | bytes
    label: str
    votes: tuple[float, ...] | None = None
    points: NDArray[np.float32] | None = None


def read_picture(picture: Path | bytes, name: str = "") -> NDArray[np.uint8]:
    """A picture as RGB (H, W, 3) uint8: grey, palette, alpha (over black) and 16 bit included.

    Raises:
        DatasetError: missing, truncated or not a picture.
    """
    where = name or str(picture)
    try:
        with Image.open(io.BytesIO(picture) if isinstance(picture, bytes) else picture) as stored:
            stored.load()
            opened = ImageOps.exif_transpose(stored)
            if opened.mode.startswith("I") or opened.mode == "F":
                return _from_deep(np.asarray(opened, dtype=np.float64))
            if opened.mode in {"RGBA", "LA", "PA"} or "transparency" in opened.info:
                black = Image.new("RGBA", opened.size, (0, 0, 0, 255))
                return np.asarray(Image.alpha_composite(black, opened.convert("RGBA")))[..., :3]
            return np.asarray(opened.convert("RGB"))
    except FileNotFoundError:
        raise DatasetError(f"{where}: no such picture; its label file names it") from None
    except UnidentifiedImageError:
        raise DatasetError(f"{where}: not a picture; remove it or its label") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise DatasetError(f"{where}: damaged picture ({error}); copy it again") from None


def _from_deep(grey: NDArray[np.float64]) -> NDArray[np.uint8]:
    """16-bit grey to RGB: the top byte, or the value itself where it fits in one."""
    shallow = grey / 257 if grey.max(initial=0) > 255 else grey
    return np.repeat(shallow.round().clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)


def resize(image: NDArray[np.uint8], input_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """(H, W, C) to the model's input: area where it shrinks, linear where it grows."""
    height, width = input_hw
    if image.shape[:2] == (height, width):
        return image
    shrinks = image.shape[0] > height and image.shape[1] > width
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=how), dtype=np.uint8)


class Faces(Dataset[Batch]):
    """Samples ready for one model: decoded, resized, labels in the card's order.

    Args:
        samples: at least one.
        labels: of the model, in the order of its outputs.
        input_hw: (height, width) of the model.
        soft: targets are the vote distribution where there is one.
        source: where the samples come from, for messages and reports.
        source_labels: order of `Sample.votes`; the model's own when not given.

    Raises:
        DatasetError: no samples, or a label the model does not know.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        labels: Sequence[str],
        input_hw: tuple[int, int],
        *,
        soft: bool = False,
        source: str = "",
        source_labels: Sequence[str] = (),
    ) -> None:
        self.samples, self.labels, self.input_hw = list(samples), tuple(labels), input_hw
        self.soft, self.source = soft, source
        self.source_labels = tuple(source_labels) or self.labels
        self.truth = torch.tensor(self._indices(), dtype=torch.long)  # (N)
        self.targets = self._targets()  # (N, K)
        self._images: Tensor | None = None
        self._points = self._landmarks()

    def _indices(self) -> list[int]:
        if not self.samples:
            raise DatasetError(f"{self.source}: no pictures; check the split and the folder layout")
        order = {label: index for index, label in enumerate(self.labels)}
        unknown = sorted({s.label for s in self.samples} - order.keys())
        if unknown:
            raise DatasetError(
                f"{self.source}: has {', '.join(unknown)}, which the model does not know "
                f"(its labels: {', '.join(self.labels)}); use a model with these labels or "
                "`--labels` to train one"
            )
        return [order[s.label] for s in self.samples]

    def _targets(self) -> Tensor:
        targets = torch.nn.functional.one_hot(self.truth, len(self.labels)).float()
        if not self.soft:
            return targets
        columns = [self.source_labels.index(label) for label in self.labels]
        for row, sample in enumerate(self.samples):
            if sample.votes is not None:
                targets[row] = torch.tensor([sample.votes[c] for c in columns])
        return targets / targets.sum(1, keepdim=True)

    def _landmarks(self) -> Tensor | None:
        if all(s.points is None for s in self.samples):
            return None
        blank = next(np.full_like(s.points, np.nan) for s in self.samples if s.points is not None)
        return torch.from_numpy(
            np.stack([blank if s.points is None else s.points for s in self.samples])
        )

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def counts(self) -> dict[str, int]:
        """Pictures of each label."""
        counts = torch.bincount(self.truth, minlength=len(self.labels)).tolist()
        return dict(zip(self.labels, counts, strict=True))

    @property
    def bytes_decoded(self) -> int:
        """Memory the decoded set needs."""
        return len(self) * self.input_hw[0] * self.input_hw[1] * 3

    def image(self, index: int) -> NDArray[np.uint8]:
        """RGB (H, W, 3) of one sample at the model's input size."""
        if self._images is not None:
            return np.asarray(self._images[index].permute(1, 2, 0))
        sample = self.samples[index]
        return resize(read_picture(sample.picture, sample.name), self.input_hw)

    def cached(self) -> "Faces":
        """This set with its pictures decoded into memory, if they fit."""
        if self._images is None and self.bytes_decoded <= CACHE_BYTES:
            self._images = self._decode(range(len(self)))
        return self

    def _decode(self, indices: Sequence[int]) -> Tensor:
        stacked = np.stack([self.image(i) for i in indices])
        return torch.from_numpy(stacked).permute(0, 3, 1, 2).contiguous()

    def __getitem__(self, index: int) -> Batch:
        return self.__getitems__([index])

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """A batch at once: images (B, 3, H, W) 0..1, targets (B, K)."""
        where = torch.as_tensor(indices, dtype=torch.long)
        images = self._decode(indices) if self._images is None else self._images[where]
        points = None if self._points is None else self._points[where]
        return Batch(images.float() / 255, self.targets[where], points)

    def softened(self, answers: Tensor, weight: float) -> "Faces":
        """The same set with a teacher's probabilities (N, K) mixed into the targets."""
        mixed = self.part(range(len(self)))
        mixed.targets = (1 - weight) * self.targets + weight * answers
        return mixed

    def part(self, keep: Sequence[int], *, soft: bool | None = None) -> "Faces":
        """Some of the samples, for the same model."""
        return Faces(
            [self.samples[i] for i in keep], self.labels, self.input_hw,
            soft=self.soft if soft is None else soft, source=self.source,
            source_labels=self.source_labels,
        )  # fmt: skip

    def spread(self, count: int) -> "Faces":
        """At most so many of the samples, evenly spread over the set."""
        step = max(len(self) / count, 1.0)
        return self.part([int(i * step) for i in range(min(count, len(self)))])

    def with_landmarks(self, points: dict[str, NDArray[np.float32]]) -> "Faces":
        """The same set with landmarks by sample name."""
        taught = [replace(s, points=points.get(s.name)) for s in self.samples]
        return Faces(
            taught, self.labels, self.input_hw, soft=self.soft, source=self.source,
            source_labels=self.source_labels,
        )  # fmt: skip


def hold_out(faces: Faces, share: float) -> tuple[Faces, Faces]:
    """Split in two by the hash of each picture: the same picture always falls on the same side.

    Returns:
        The larger part for training, and about `share` of it for choosing, with hard labels.
    """
    held = [i for i, s in enumerate(faces.samples) if _hash_share(s.picture) < share]
    kept = [i for i, s in enumerate(faces.samples) if _hash_share(s.picture) >= share]
    return faces.part(kept), faces.part(held, soft=False)


def _hash_share(picture: Path | bytes) -> float:
    content = picture if isinstance(picture, bytes) else picture.read_bytes()
    return int.from_bytes(hashlib.sha256(content).digest()[:8]) / 2**64


def require_classes(faces: Faces, *, at_least: int = 1) -> None:
    """Refuse a set in which a class of the model is missing.

    Raises:
        DatasetError: names the empty classes.
    """
    short = [label for label, count in faces.counts.items() if count < at_least]
    if short:
        raise DatasetError(
            f"{faces.source}: no pictures of {', '.join(short)}; add some, or train a model "
            "without these labels (`--labels`)"
        )
