"""One loop that trains every classifier of the house, on a CPU, on CUDA, or under torchrun.

A run is a folder: `last.pt` (everything needed to go on after a kill), `best.safetensors` and its
card (the weights that did best on the validation part), `curves.csv`, `curves.png`, `run.json`.
"""

import csv
import json
import math
import os
import platform
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from pydantic import JsonValue
from torch import Tensor, distributed, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from models.checkpoint import read_state, write_weights
from models.data import Faces
from models.data.augmentation import Batch, augment
from models.data.landmarks import MIRROR_OF_68
from models.evaluation.prediction import accuracies, autocast, normalise, predict
from models.registry import ModelCard
from models.training.objectives import objective_for
from models.training.optimisation import (
    Averaged,
    Sam,
    build_optimizer,
    cross_entropy,
    learning_rate,
    set_rate,
)
from models.training.recipe import Recipe, TrainingError

BEST = "best.safetensors"


@dataclass(frozen=True, slots=True)
class Epoch:
    """One line of the curves; accuracies and losses of the weights that would be kept."""

    epoch: int
    seconds: float
    lr: float
    loss: float
    valid_loss: float
    valid_accuracy: float
    valid_mean_class: float


@dataclass(slots=True)
class Progress:
    """Where a run stands; saved with it."""

    epoch: int = 0
    best: float = -1.0
    best_epoch: int = 0
    seconds: float = 0.0
    curves: list[Epoch] = field(default_factory=list)

    def stopped_gaining(self, patience: int) -> bool:
        """Nothing better has come for so many epochs; 0 is patient for ever."""
        return bool(patience) and self.epoch - self.best_epoch >= patience


class Listener(Protocol):
    """Called back as the training goes."""

    def step(self, epoch: int, done: int, total: int, loss: float) -> None:
        """A batch was learned."""

    def epoch(self, line: Epoch, *, best: bool) -> None:
        """An epoch was learned and measured."""


class Silent:
    """A listener that shows nothing."""

    def step(self, epoch: int, done: int, total: int, loss: float) -> None:
        """A batch was learned."""

    def epoch(self, line: Epoch, *, best: bool) -> None:
        """An epoch was learned and measured."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a process computes, and which of how many it is.

    Attributes:
        device: of the model.
        rank, world: which process of how many.
        workers: processes that decode pictures, where they are not held in memory.
    """

    device: torch.device
    rank: int = 0
    world: int = 1
    workers: int = 0

    @classmethod
    def find(cls, device: str = "auto", workers: int = 0) -> "Place":
        """CUDA where there is one, else the CPU; joins the group when torchrun started us."""
        rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
        cuda = device == "cuda" or (device == "auto" and torch.cuda.is_available())
        if cuda and not torch.cuda.is_available():
            raise TrainingError("--device cuda: no CUDA device is there; leave it out or say cpu")
        if world > 1 and not distributed.is_initialized():
            distributed.init_process_group("nccl" if cuda else "gloo")
        local = int(os.environ.get("LOCAL_RANK", "0"))
        own = torch.device("cuda", local) if cuda else torch.device("cpu")
        return cls(own, rank, world, workers)


def epoch_order(faces: Faces, recipe: Recipe, epoch: int) -> list[int]:
    """Indices of one epoch, the same on every process: shuffled, or drawn class by class."""
    generator = torch.Generator().manual_seed(recipe.seed * 100_003 + epoch)
    if recipe.balance == "sampler":
        counts = torch.bincount(faces.truth, minlength=len(faces.labels)).clamp(min=1)
        weights = 1.0 / counts[faces.truth]
        drawn = torch.multinomial(weights, len(faces), replacement=True, generator=generator)
        return [int(i) for i in drawn]
    return [int(i) for i in torch.randperm(len(faces), generator=generator)]


def class_weights(faces: Faces) -> Tensor:
    """Inverse frequency of each class, mean 1 over the pictures."""
    counts = torch.bincount(faces.truth, minlength=len(faces.labels)).clamp(min=1).float()
    return len(faces) / (len(faces.labels) * counts)


class Trainer:
    """Trains one model by one recipe into one run folder.

    Args:
        model: as its factory built it, or with pretrained weights.
        card: of the model; says how pictures are normalised.
        recipe: how to train.
        training, validation: what to learn and what to choose by.
        run: folder of the run.
        place: where to compute.
        limit_s: seconds of learning, resumed ones included: schedules run over this time instead
            of over the recipe's epochs, which still bound them; 0 sets no limit.
    """

    def __init__(
        self, model: nn.Module, card: ModelCard, recipe: Recipe, training: Faces,
        validation: Faces, run: Path, place: Place | None = None, limit_s: float = 0.0,
    ) -> None:  # fmt: skip
        self.card, self.recipe, self.run = card, recipe, run
        self.training, self.validation = training.cached(), validation.cached()
        self.place = place or Place.find()
        self.limit_s = limit_s
        torch.manual_seed(recipe.seed + self.place.rank)
        weights = class_weights(training) if recipe.balance == "loss" else None
        criterion = cross_entropy(
            recipe.label_smoothing, None if weights is None else weights.to(self.place.device)
        )
        objective = objective_for(model, criterion, recipe.objective, landmarks=recipe.landmarks)
        self.objective = objective.to(self.place.device)
        self.objective.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = build_optimizer(self.objective.parameters(), recipe)
        self.averaged = Averaged(self.model, recipe.ema) if recipe.ema else None
        self.step: nn.Module = self.objective
        if self.place.world > 1:
            ids = [self.place.device.index] if self.place.device.type == "cuda" else None
            self.step = DistributedDataParallel(self.objective, device_ids=ids)
        self.progress = Progress()

    @property
    def model(self) -> nn.Module:
        """The model under training."""
        trained: nn.Module = self.objective.model
        return trained

    @property
    def kept(self) -> nn.Module:
        """The weights that would be shipped: averaged, where the recipe averages."""
        return self.averaged.model if self.averaged else self.model

    def fit(self, listener: Listener | None = None, *, resume: bool = False) -> Progress:
        """Train to the end of the recipe, or until the validation part stops gaining.

        Raises:
            TrainingError: the loss is no number; the best weights so far are kept.
        """
        listener = listener or Silent()
        self.run.mkdir(parents=True, exist_ok=True)
        if resume:
            self._restore()
        while not self._done():
            began = time.monotonic()
            loss = self._learn(self.progress.epoch, began, listener)
            self.progress.epoch += 1
            self._measure(loss, began, listener)
        return self.progress

    def _done(self) -> bool:
        progress, recipe = self.progress, self.recipe
        over = bool(self.limit_s) and progress.seconds >= self.limit_s
        return over or progress.epoch >= recipe.epochs or progress.stopped_gaining(recipe.patience)

    def _batches(self, epoch: int) -> Iterator[Batch]:
        place = self.place
        order = epoch_order(self.training, self.recipe, epoch)
        whole = len(order) - len(order) % (self.recipe.batch * place.world)
        mine = order[: whole or len(order)][place.rank :: place.world]
        loader = DataLoader(
            self.training,
            batch_sampler=[
                mine[i : i + self.recipe.batch] for i in range(0, len(mine), self.recipe.batch)
            ],
            collate_fn=_whole,
            num_workers=place.workers,
        )
        yield from loader

    def _moment(self, epoch: float, began: float) -> float:
        """How far the recipe is, in its epochs: by what was learned, or by time where it is set."""
        if not self.limit_s:
            return epoch
        spent_s = self.progress.seconds + time.monotonic() - began
        return max(epoch, min(spent_s / self.limit_s, 1.0) * self.recipe.epochs)

    def _learn(self, epoch: int, began: float, listener: Listener) -> float:
        self.objective.train()
        rounds = max(1, len(self.training) // (self.recipe.batch * self.place.world))
        total, seen = 0.0, 0
        for index, raw in enumerate(self._batches(epoch)):
            now = self._moment(epoch + index / rounds, began)
            if now >= self.recipe.epochs and seen:
                break
            set_rate(self.optimizer, learning_rate(self.recipe, now))
            loss = self._step(self._prepare(raw, self.recipe.side_at(now)), now)
            if not math.isfinite(loss):
                raise TrainingError(_broken(self.run / BEST, epoch, index))
            total, seen = total + loss, seen + 1
            if self.averaged:
                self.averaged.update(self.model)
            listener.step(epoch, index + 1, rounds, total / seen)
        return total / max(seen, 1)

    def _prepare(self, raw: Batch, side_px: int | None) -> Batch:
        device = self.place.device
        points = None if raw.points is None else raw.points.to(device)
        moved = Batch(raw.images.to(device), raw.targets.to(device), points)
        changed = augment(moved, self.recipe.augmentation, MIRROR_OF_68)
        images = normalise(changed.images, self.card)
        if side_px is not None:
            images = functional.interpolate(images, size=side_px, mode="area")
        return Batch(
            images.contiguous(memory_format=torch.channels_last), changed.targets, changed.points
        )

    def _step(self, batch: Batch, now: float) -> float:
        recipe = self.recipe
        loss = self._backward(batch)
        if recipe.sam_rho and now >= recipe.sam_from * recipe.epochs and math.isfinite(loss):
            sam = Sam(self.optimizer, recipe.sam_rho)
            before = sam.climb()
            self._backward(batch)
            self._clip()
            sam.descend(before)
        elif math.isfinite(loss):
            self._clip()
            self.optimizer.step()
            self.optimizer.zero_grad()
        return loss

    def _backward(self, batch: Batch) -> float:
        with autocast(self.place.device, self.recipe.amp):
            loss, _ = self.step(batch)
        loss.backward()
        return float(loss.detach())

    def _clip(self) -> None:
        if self.recipe.clip_norm:
            nn.utils.clip_grad_norm_(self.objective.parameters(), self.recipe.clip_norm)

    def _measure(self, loss: float, began: float, listener: Listener) -> None:
        logits = predict(self.kept, self.card, self.validation, self.place.device, self.recipe.amp)
        valid_loss = float(nn.functional.cross_entropy(logits, self.validation.truth))
        accuracy, mean_class = accuracies(logits.argmax(1), self.validation.truth)
        progress = self.progress
        seconds = time.monotonic() - began
        progress.seconds += seconds
        line = Epoch(
            progress.epoch, round(seconds, 1), self.optimizer.param_groups[0]["lr"],
            loss, valid_loss, accuracy, mean_class,
        )  # fmt: skip
        progress.curves.append(line)
        best = accuracy > progress.best
        if best:
            progress.best, progress.best_epoch = accuracy, progress.epoch
        if self.place.rank == 0:
            self._save(best=best)
        listener.epoch(line, best=best)

    def _save(self, *, best: bool) -> None:
        if best:
            write_weights(self.kept, self.card, self.run / BEST)
        state = {
            "objective": self.objective.state_dict(),
            "averaged": self.averaged.model.state_dict() if self.averaged else {},
            "averaged_steps": self.averaged.steps if self.averaged else 0,
            "optimizer": self.optimizer.state_dict(),
            "random": torch.get_rng_state(),
            "progress": asdict(self.progress),
        }
        torch.save(state, self.run / "last.tmp")
        (self.run / "last.tmp").replace(self.run / "last.pt")
        write_curves(self.progress.curves, self.run / "curves.csv")
        (self.run / "run.json").write_text(json.dumps(self.budget(), indent=2) + "\n")

    def budget(self) -> dict[str, JsonValue]:
        """What the run cost and how it was made."""
        device = self.place.device
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
        return {
            "model": self.card.name,
            "epochs": self.progress.epoch,
            "best_epoch": self.progress.best_epoch,
            "best_valid_accuracy": self.progress.best,
            "hours": round(self.progress.seconds / 3600, 3),
            "device": name,
            "threads": torch.get_num_threads(),
            "processes": self.place.world,
            "training_pictures": len(self.training),
            "validation_pictures": len(self.validation),
            "data": self.training.source,
            "torch": torch.__version__,
            "machine": platform.machine(),
            "recipe": json.loads(self.recipe.model_dump_json()),
        }

    def _restore(self) -> None:
        path = self.run / "last.pt"
        if not path.exists():
            return
        state = read_state(path)
        try:
            self.objective.load_state_dict(state["objective"])
            self.optimizer.load_state_dict(state["optimizer"])
            if self.averaged:
                self.averaged.model.load_state_dict(state["averaged"])
                self.averaged.steps = state["averaged_steps"]
        except (KeyError, RuntimeError, ValueError) as error:
            raise TrainingError(
                f"{path}: is of another model or recipe ({str(error).splitlines()[0]}); "
                "train into another folder, or without --resume"
            ) from None
        torch.set_rng_state(state["random"].cpu())
        saved = dict(state["progress"])
        saved["curves"] = [Epoch(**line) for line in saved["curves"]]
        self.progress = Progress(**saved)


def _broken(kept: Path, epoch: int, index: int) -> str:
    saved = f"the best weights so far are in {kept}" if kept.exists() else "nothing was saved"
    return (
        f"loss is no number in epoch {epoch + 1}, batch {index + 1}; stopped, {saved}; "
        "try a lower lr, clip_norm, or amp: off"
    )


def _whole(batch: object) -> object:
    """`Faces` gives whole batches; there is nothing left to collate."""
    return batch


def write_curves(curves: list[Epoch], path: Path) -> None:
    """The curves as CSV, a line an epoch."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(Epoch.__dataclass_fields__))
        writer.writeheader()
        writer.writerows(asdict(line) for line in curves)
