"""YOLOv5 as an expression detector: faces set into scenes, one box a face, a class an expression.

The detector must find the face and name its expression at once. A scene holds one face, so the
best box's class is its answer and can be counted as a classifier's is.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.data import Faces
from models.data.yolo import Picture, PictureSet
from models.evaluation.classifier import runtimes
from models.inference import boxes, load
from models.inference.boxes import FaceBoxes
from models.report import Agreement
from models.synthesis.scenes import cabin

SCENE_PX = 128
# Side of the face as a share of the scene's.
FACE_SHARE = (0.45, 0.8)
BATCH = 64
ANSWER_SEED = 1
# Of boxes that are ranked for the average precision, as `models.evaluation.detector` ranks them.
LEAST_SCORE = 0.01
Change = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class FaceScene:
    """A picture with one face.

    Attributes:
        image: (side, side, 3) uint8 BGR.
        box: (4,) centre x, centre y, width, height as shares of the picture.
    """

    image: NDArray[np.uint8]
    box: NDArray[np.float32]


def compose(face: NDArray[np.uint8], side_px: int, rng: np.random.Generator) -> FaceScene:
    """A face (h, w, 3) RGB set somewhere into a cabin, its rim blended."""
    size = int(side_px * rng.uniform(*FACE_SHARE))
    left, top = rng.integers(0, side_px - size + 1, 2)
    scene = cabin((side_px, side_px), rng).astype(np.float32)
    grown = cv2.resize(face[..., ::-1], (size, size), interpolation=cv2.INTER_LINEAR)
    rim = np.minimum(np.arange(1, size + 1), np.arange(size, 0, -1)) / (0.08 * size)
    solid = np.minimum.outer(rim, rim).clip(0, 1)[..., None]
    here = (slice(top, top + size), slice(left, left + size))
    scene[here] = solid * grown + (1 - solid) * scene[here]
    box = np.array([left + size / 2, top + size / 2, size, size], np.float32) / side_px
    return FaceScene(scene.clip(0, 255).astype(np.uint8), box)


def scenes(
    faces: Faces, side_px: int = SCENE_PX, seed: int = 0, change: Change | None = None
) -> Iterator[FaceScene]:
    """One scene a face, in order; the same at every call with the same seed.

    Args:
        faces: whose.
        side_px: of the scene.
        seed: of places and cabins.
        change: spoils the faces (B, C, H, W) before they are set in; None leaves them.
    """
    images = [faces.image(index) for index in range(len(faces))]
    if change is not None:
        stacked = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255
        spoiled = (change(stacked) * 255).round().clamp(0, 255).byte().permute(0, 2, 3, 1)
        images = list(spoiled.numpy())
    for index, image in enumerate(images):
        yield compose(image, side_px, np.random.default_rng((seed, index)))


def write_scenes(
    faces: Faces, folder: Path, side_px: int = SCENE_PX, seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> PictureSet:  # fmt: skip
    """Scenes as files, ready for the detector's trainer."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures = []
    for index, scene in enumerate(scenes(faces, side_px, seed)):
        path = folder / f"{index:06d}.png"
        cv2.imwrite(str(path), scene.image, [cv2.IMWRITE_PNG_COMPRESSION, 1])
        pictures.append(replace(true_picture(faces, index, scene), path=path))
        if progress:
            progress(index + 1, len(faces))
    return PictureSet(folder, faces.labels, tuple(pictures))


@dataclass(frozen=True, slots=True)
class Answers:
    """What a detector answers to one scene a face.

    Attributes:
        labels: (N,) class of the best box.
        overlaps: (N,) intersection over union of that box with the true one.
    """

    labels: NDArray[np.int64]
    overlaps: NDArray[np.float32]

    @property
    def overlapping(self) -> float:
        """Share of the faces whose best box overlaps by half or more."""
        return float((self.overlaps >= 0.5).mean())


@torch.inference_mode()
def answer(
    network: nn.Module,
    faces: Faces,
    side_px: int = SCENE_PX,
    seed: int = ANSWER_SEED,
    change: Change | None = None,
) -> Answers:
    """The best box of every scene."""
    network.eval()
    labels, overlaps = [], []
    batch: list[FaceScene] = []
    for index, scene in enumerate(scenes(faces, side_px, seed, change), 1):
        batch.append(scene)
        if len(batch) == BATCH or index == len(faces):
            best, iou = _best(network, batch, side_px)
            labels.append(best)
            overlaps.append(iou)
            batch = []
    return Answers(np.concatenate(labels), np.concatenate(overlaps))


@torch.inference_mode()
def look_at(
    network: nn.Module, faces: Faces, side_px: int = SCENE_PX, seed: int = ANSWER_SEED
) -> Iterator[tuple[Picture, FaceBoxes]]:
    """What is true of every scene, and every box found in it that is worth ranking."""
    network.eval()
    for index, scene in enumerate(scenes(faces, side_px, seed)):
        out = network(torch.from_numpy(boxes.to_input(scene.image))).numpy()
        xyxy, scores = boxes.decode(out, len(faces.labels))
        kept = boxes.suppress(xyxy, scores, LEAST_SCORE)
        yield true_picture(faces, index, scene), FaceBoxes(xyxy[kept], scores[kept])


def true_picture(faces: Faces, index: int, scene: FaceScene) -> Picture:
    """What is true of a scene, as the detectors' figures ask for it."""
    side = scene.image.shape[0]
    classes = np.array([int(faces.truth[index])], np.int64)
    return Picture(Path(faces.samples[index].name), (side, side), classes, scene.box[None])


def agreement(weights: Path, faces: Faces, eager: NDArray[np.int64]) -> Iterator[Agreement]:
    """How often each runtime's best box bears the class that eager fp32 gave it.

    Args:
        weights: `.safetensors` with its card.
        faces: as many as there are eager answers.
        eager: (N,) classes by `answer`.
    """
    pixels = np.stack([scene.image for scene in scenes(faces, seed=ANSWER_SEED)])
    truth = faces.truth.numpy()
    for runtime, precision in runtimes():
        if runtime == "torch":
            continue
        network = load(weights, device="cpu", runtime=runtime, precision=precision)
        rows = [network(pixels[i : i + BATCH])[0] for i in range(0, len(pixels), BATCH)]
        labels = np.concatenate([row[:, 4:].max(-1).argmax(1) for row in rows])
        yield Agreement(
            runtime=runtime, precision=precision, n=len(labels),
            same_top1=float((labels == eager).mean()), accuracy=float((labels == truth).mean()),
        )  # fmt: skip


def _best(
    network: nn.Module, batch: list[FaceScene], side_px: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    images = np.stack([scene.image[..., ::-1] for scene in batch])
    x = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 255
    out = network(x)  # (B, 4 + classes, cells)
    scores, cells = out[:, 4:].max(-1)  # (B, classes) each
    best = scores.argmax(1)  # (B)
    rows = torch.arange(len(batch))
    best_boxes = out[rows, :4, cells[rows, best]].numpy() / side_px
    truth = np.stack([scene.box for scene in batch])
    return best.numpy(), _iou(best_boxes, truth)


def _iou(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """Intersection over union of boxes (N, 4), centre and size, pair by pair."""
    low = np.maximum(a[:, :2] - a[:, 2:] / 2, b[:, :2] - b[:, 2:] / 2)
    high = np.minimum(a[:, :2] + a[:, 2:] / 2, b[:, :2] + b[:, 2:] / 2)
    shared = (high - low).clip(0).prod(1)
    whole = a[:, 2:].prod(1) + b[:, 2:].prod(1) - shared
    return np.asarray(shared / np.maximum(whole, 1e-9), np.float32)
