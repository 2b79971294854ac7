"""Train the awake/sleep detector with ultralytics' YOLOv5 trainer.

What is ultralytics' stays ultralytics': the network's loss, mosaic, affine, mixup, hsv, flip,
EMA, warm-up, mAP. Ours: pictures come through `detection_data` (no label caches, which are
pickles), the start is lifted from a COCO checkpoint without unpickling code, a CPU with bf16 uses
it, and a run killed at any moment goes on to the very same curve: chance is drawn anew from the
seed at each epoch, and the whole state is kept as plain tensors after each.
"""

import json
import math
import os
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, SupportsFloat, TypedDict, get_args

import numpy as np
import torch

from models.checkpoint import transfer
from models.data.pictures import read_upright
from models.data.yolo import Picture, PictureSet, check_classes
from models.training.recipe import TrainingError
from models.ultralytics_safe import ultralytics

ultralytics()
from ultralytics.data import base as ultralytics_data  # noqa: E402  (only after it was made safe)
from ultralytics.data.dataset import YOLODataset  # noqa: E402  (only after it was made safe)
from ultralytics.models.yolo.detect import DetectionTrainer  # noqa: E402
from ultralytics.nn.tasks import DetectionModel  # noqa: E402

# Its own reader takes pictures as the sensor lay where we, and people, see them upright.
ultralytics_data.imread = lambda path, **_: read_upright(Path(path))

STATE_FILE = "state.pt"
CURVES_FILE = "results.csv"

Progress = Callable[[int, int, Mapping[str, float]], None]


DetectorSize = Literal["n", "s"]


def size_of(text: str) -> DetectorSize:
    """The size of this name.

    Raises:
        TrainingError: there is none.
    """
    sizes: tuple[DetectorSize, ...] = get_args(DetectorSize)
    for size in sizes:
        if size == text:
            return size
    raise TrainingError(f"--size {text}: ultralytics YOLOv5 comes as n or s here")


@dataclass(frozen=True, slots=True)
class DetectorRecipe:
    """How to train. Defaults follow hyp.scratch-low of ultralytics/yolov5 but for what is said.

    Attributes:
        size: n or s.
        image_px: side of the square training pictures.
        epochs, batch: as usual.
        lr: of AdamW at the start; it falls to `lr_end` of that.
        mosaic, mixup, copy_paste: probabilities. Mosaic is milder than the original's 1.0: a
            quarter of a 256 px picture shows no eyelids.
        degrees, translate, scale: affine.
        hue, saturation, brightness: colour jitter.
        plain_epochs: last epochs without mosaic and mixup.
        class_gain: weight of the class loss (0.5 there): eyelids are the small part of a face.
        freeze: first layers of the network that stay as they are.
        seed: of everything drawn by chance.
    """

    size: DetectorSize = "n"
    image_px: int = 256
    epochs: int = 40
    batch: int = 32
    lr: float = 1e-3
    lr_end: float = 0.05
    warmup_epochs: float = 0.5
    mosaic: float = 0.3
    mixup: float = 0.0
    copy_paste: float = 0.0
    degrees: float = 8.0
    translate: float = 0.1
    scale: float = 0.3
    hue: float = 0.015
    saturation: float = 0.6
    brightness: float = 0.4
    plain_epochs: int = 2
    class_gain: float = 1.0
    freeze: int = 0
    seed: int = 0

    def overrides(self) -> dict[str, object]:
        """The same in ultralytics' words."""
        return {
            "imgsz": self.image_px, "epochs": self.epochs, "batch": self.batch, "nbs": self.batch,
            "optimizer": "AdamW", "lr0": self.lr, "lrf": self.lr_end, "momentum": 0.9,
            "warmup_epochs": self.warmup_epochs, "warmup_bias_lr": self.lr,
            "mosaic": self.mosaic, "mixup": self.mixup, "copy_paste": self.copy_paste,
            "degrees": self.degrees, "translate": self.translate, "scale": self.scale,
            "hsv_h": self.hue, "hsv_s": self.saturation, "hsv_v": self.brightness,
            "close_mosaic": self.plain_epochs, "cls": self.class_gain,
            "freeze": self.freeze or None, "seed": self.seed,
        }  # fmt: skip


def train_detector(
    train: PictureSet,
    val: PictureSet | None,
    run: Path,
    recipe: DetectorRecipe,
    *,
    start: Mapping[str, torch.Tensor] | None = None,
    device: str = "cpu",
    resume: bool = False,
    progress: Progress | None = None,
) -> dict[str, torch.Tensor]:
    """Train, or go on training, and give the averaged (EMA) weights.

    Args:
        train: pictures to learn from.
        val: pictures the curves are measured on after each epoch; None trains blind.
        run: folder of the run: `results.csv` with the curves, `state.pt` to resume from.
        recipe: how.
        start: tensors to start from; those that fit by name and shape are taken.
        device: cpu, cuda:0, ...; under torchrun each process takes its own GPU.
        resume: go on from `state.pt`.
        progress: called after every batch with (batches done, batches in all, losses).

    Returns:
        Tensors by name, float32, as `models.architectures.yolov5.YOLOv5` bears them.

    Raises:
        PictureSetError: a class without pictures.
        TrainingError: nothing to resume from, another recipe, a finished run, or torchrun without
            a GPU for each of its processes.
    """
    check_classes(train)
    _check_processes(device)
    run.mkdir(parents=True, exist_ok=True)
    state = _read_state(run, recipe) if resume else None
    (run / "recipe.json").write_text(json.dumps(asdict(recipe), indent=2) + "\n")
    trainer = _Trainer(train, val, run.resolve(), recipe, device, state)
    torch.manual_seed(recipe.seed)
    network = _Network(f"yolov5{recipe.size}.yaml", nc=len(train.labels), ch=3, verbose=False)
    if start is not None:
        transfer(network, start)
    trainer.model = network
    if progress is not None:
        trainer.report_to(progress)
    trainer.train()
    return {name: value.float().cpu() for name, value in trainer.ema.ema.state_dict().items()}


def is_first_process() -> bool:
    """Whether this process writes the run's files: the only one, or torchrun's first."""
    return int(os.environ.get("RANK", "0")) == 0


def _check_processes(device: str) -> None:
    processes, gpus = int(os.environ.get("WORLD_SIZE", "1")), device.count(",") + 1
    if processes > 1 and gpus != processes:
        raise TrainingError(
            f"--device {device}: torchrun started {processes} processes, so name as many GPUs "
            f"(--device {','.join(map(str, range(processes)))}); a CPU trains in one process"
        )


class RunState(TypedDict):
    """What a run keeps after each epoch: its recipe and everything the next epoch needs."""

    recipe: dict[str, float | str]
    epoch: int
    network: dict[str, torch.Tensor]
    ema: dict[str, torch.Tensor]
    ema_updates: int
    optimizer: dict[str, object]
    best_fitness: float | None


def _read_state(run: Path, recipe: DetectorRecipe) -> RunState:
    path = run / STATE_FILE
    if not path.is_file():
        raise TrainingError(f"{path}: nothing to resume; leave --resume out to start the run")
    state: RunState = torch.load(path, map_location="cpu", weights_only=True)
    if state["recipe"] != asdict(recipe):
        raise TrainingError(
            f"{run}: was started with another recipe (recipe.json); start a new run"
        )
    if state["epoch"] + 1 >= recipe.epochs:
        raise TrainingError(f"{run}: is finished after {recipe.epochs} epochs; nothing to resume")
    return state


class _Network(DetectionModel):  # type: ignore[misc]
    """YOLOv5u whose training passes run in bf16 on a CPU that has it."""

    def _predict_once(self, x: torch.Tensor, *args: object, **kwargs: object) -> object:
        if not (self.training and x.device.type == "cpu" and _cpu_has_bf16()):
            return super()._predict_once(x, *args, **kwargs)
        with torch.autocast("cpu", torch.bfloat16):
            outputs = super()._predict_once(
                x.to(memory_format=torch.channels_last), *args, **kwargs
            )
        return _as_float(outputs)


def _cpu_has_bf16() -> bool:
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _as_float(value: object) -> object:
    if isinstance(value, torch.Tensor):
        return value.float()
    if isinstance(value, dict):
        return {key: _as_float(item) for key, item in value.items()}
    return [_as_float(item) for item in value] if isinstance(value, list | tuple) else value


class _Dataset(YOLODataset):  # type: ignore[misc]
    """ultralytics' augmentation over pictures that were read and checked by us."""

    def __init__(self, pictures: Sequence[Picture], **kwargs: object) -> None:
        self.pictures = pictures
        super().__init__(img_path="", **kwargs)

    def get_img_files(self, img_path: str) -> list[str]:
        del img_path
        return [str(picture.path) for picture in self.pictures]

    def forget(self) -> None:
        """Empty the store of recent pictures mosaics are drawn from: it depends on the past."""
        recent: list[int] = self.buffer
        for index in recent:
            self.ims[index], self.im_hw0[index], self.im_hw[index] = None, None, None
        self.buffer: list[int] = []

    def get_labels(self) -> list[dict[str, object]]:
        return [
            {
                "im_file": str(picture.path),
                "shape": picture.hw,
                "cls": picture.classes.astype(np.float32).reshape(-1, 1),
                "bboxes": picture.boxes.copy(),
                "segments": [],
                "keypoints": None,
                "normalized": True,
                "bbox_format": "xywh",
            }
            for picture in self.pictures
        ]


class _Trainer(DetectionTrainer):  # type: ignore[misc]
    """The trainer of ultralytics, fed by us and resumable to the same curve."""

    def __init__(
        self,
        train: PictureSet,
        val: PictureSet | None,
        run: Path,
        recipe: DetectorRecipe,
        device: str,
        state: RunState | None,
    ) -> None:
        self._train_set, self._val_set, self._recipe = train, val, recipe
        self._state = state
        curves = run / CURVES_FILE
        written = curves.read_text() if state is not None and curves.is_file() else ""
        overrides = recipe.overrides() | {
            "model": f"yolov5{recipe.size}.yaml", "data": "data.yaml", "device": device,
            "project": str(run.parent), "name": run.name, "exist_ok": True, "save_dir": str(run),
            "pretrained": False, "plots": False, "val": val is not None, "amp": device != "cpu",
            "cache": False, "workers": min(8, os.cpu_count() or 1), "deterministic": False,
            "patience": recipe.epochs, "verbose": False,
        }  # fmt: skip
        super().__init__(overrides=overrides)
        if state is not None:
            _keep_epochs(curves, written, state["epoch"] + 1)
        self.add_callback("on_train_epoch_start", _draw_anew)

    def report_to(self, progress: Progress) -> None:
        """Tell `progress` about every batch."""
        done = (self._state["epoch"] + 1 if self._state else 0, 0)

        def report_batch(trainer: "_Trainer") -> None:
            nonlocal done
            epoch = trainer.epoch
            done = (epoch, done[1] + 1 if done[0] == epoch else 1)
            batches = len(trainer.train_loader)
            losses = {name: float(value) for name, value in trainer.tloss.items()}
            progress(epoch * batches + done[1], trainer.epochs * batches, losses)

        self.add_callback("on_train_batch_end", report_batch)

    def get_dataset(self) -> dict[str, object]:
        labels = self._train_set.labels
        return {
            "train": "train", "val": "val", "nc": len(labels), "channels": 3,
            "names": dict(enumerate(labels)), "path": str(self._train_set.root),
        }  # fmt: skip

    def build_dataset(
        self, img_path: str, mode: str = "train", batch: int | None = None
    ) -> _Dataset:
        del img_path
        chosen = self._train_set
        if mode != "train":
            # without a validation set ultralytics still wants one for the last epoch
            chosen = self._val_set or chosen.only(chosen.pictures[:8])
        return _Dataset(
            chosen.pictures, data=self.data, task="detect", imgsz=self.args.imgsz, hyp=self.args,
            augment=mode == "train", batch_size=batch, stride=32, rect=False, pad=0.0,
        )  # fmt: skip

    def save_model(self) -> bool:
        """Keep everything the next epoch needs, as plain tensors, replaced in one step."""
        state: RunState = {
            "recipe": asdict(self._recipe),
            "epoch": self.epoch,
            "network": self.model.state_dict(),
            "ema": self.ema.ema.state_dict(),
            "ema_updates": self.ema.updates,
            "optimizer": self.optimizer.state_dict(),
            "best_fitness": _plain(self.best_fitness),
        }
        partial = self.save_dir / f"{STATE_FILE}.part"
        torch.save(state, partial)
        partial.replace(self.save_dir / STATE_FILE)
        return True

    def resume_training(self, ckpt: object) -> None:
        del ckpt
        if self._state is None:
            return
        self.model.load_state_dict(self._state["network"])
        self.ema.ema.load_state_dict(self._state["ema"])
        self.ema.updates = self._state["ema_updates"]
        self.optimizer.load_state_dict(self._state["optimizer"])
        self.best_fitness = self._state["best_fitness"]
        self.start_epoch = self._state["epoch"] + 1

    def final_eval(self) -> None:
        """The report measures the weights; ultralytics would load a pickle to do it."""


def _plain(value: SupportsFloat | None) -> float | None:
    number = None if value is None else float(value)
    return number if number is not None and math.isfinite(number) else None


def _draw_anew(trainer: _Trainer) -> None:
    """Chance of an epoch depends on the seed and its number only, not on how it was reached."""
    seed = trainer.args.seed * 100_003 + trainer.epoch
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002  (ultralytics' augmentation draws from it)
    torch.manual_seed(seed)
    if trainer.train_loader.generator is not None:
        trainer.train_loader.generator.manual_seed(seed)
    trainer.train_loader.dataset.forget()
    trainer.train_loader.reset()  # its sampler runs ahead of the epoch and drew already


def _keep_epochs(curves: Path, written: str, epochs: int) -> None:
    """Put back the curve as far as the state goes: a kill may have come between the two."""
    lines = written.splitlines()[: epochs + 1]
    curves.write_text("".join(f"{line}\n" for line in lines))
