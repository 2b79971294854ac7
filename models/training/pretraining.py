"""Teach the detector's backbone what an eyelid is before it must also say where a face is.

In a detection loss the state of two eyes is a small part of one of three terms, and a network
started from COCO takes tens of epochs to notice it. As a plain classifier of face crops at the
size the closer look shows them, it notices within minutes; the detector then starts from there.
"""

from collections.abc import Callable, Sequence

import cv2
import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor, nn

from models.architectures.yolov5 import YOLOv5
from models.data.pictures import read_upright
from models.data.yolo import Picture

Image = NDArray[np.uint8]

CROP_PX = 160
ROOM_PX = 192  # of the stored crops, so that the view can be shifted in them
# Side of a stored crop over the face's longer side: a face is then 114 px high in the crop.
ROOM_SIDE = 1.68
SMALLEST_FACE_PX = 60  # smaller ones show no lids
LAST_LAYER = 9


class FaceClassifier(nn.Module):
    """The backbone of a detector with a classifier on its two deepest levels."""

    def __init__(self, detector: YOLOv5, classes: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(list(detector.model)[: LAST_LAYER + 1])
        widths = [self._outputs(index) for index in (6, LAST_LAYER)]
        self.judge = nn.Sequential(nn.Dropout(0.2), nn.Linear(2 * sum(widths), classes))

    def _outputs(self, index: int) -> int:
        layer = self.layers[index]
        last = layer.get_submodule("cv3" if index == 6 else "cv2")
        convolution = last.get_submodule("conv")
        assert isinstance(convolution, nn.Conv2d)  # noqa: S101 - as YOLOv5 is built
        return convolution.out_channels

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) RGB in 0..1 to (B, classes) logits."""
        kept = []
        for index, layer in enumerate(self.layers):
            x = layer(x)
            if index in {6, LAST_LAYER}:
                kept += [x.mean((2, 3)), x.amax((2, 3))]
        judged: Tensor = self.judge(torch.cat(kept, 1))
        return judged


def face_crops(pictures: Sequence[Picture]) -> tuple[Image, NDArray[np.int64]]:
    """Crops (N, 192, 192, 3) BGR of all faces large enough, and their classes."""
    crops, classes = [], []
    for picture in pictures:
        image = read_upright(picture.path)
        for box, label in zip(picture.xyxy, picture.classes, strict=True):
            side = float(max(box[2] - box[0], box[3] - box[1]))
            if side < SMALLEST_FACE_PX:
                continue
            scale = ROOM_PX / (ROOM_SIDE * side)
            middle = (box[:2] + box[2:]) / 2
            matrix = np.array([[scale, 0, 0], [0, scale, 0]], np.float64)
            matrix[:, 2] = ROOM_PX / 2 - scale * middle
            size = (ROOM_PX, ROOM_PX)
            crops.append(cv2.warpAffine(image, matrix, size, borderValue=(114, 114, 114)))
            classes.append(int(label))
    return np.asarray(crops, np.uint8), np.asarray(classes, np.int64)


def _vary(crop: Image, rng: Generator) -> Image:
    spare = (ROOM_PX - CROP_PX) / 2
    scale, angle = float(np.exp(rng.normal(0, 0.12))), rng.normal(0, 7)
    matrix = cv2.getRotationMatrix2D((ROOM_PX / 2, ROOM_PX / 2), angle, scale)
    matrix[:, 2] += rng.normal(0, 5, 2) - spare
    if rng.random() < 0.5:
        matrix[0] = -matrix[0] + [0, 0, CROP_PX - 1]
    size = (CROP_PX, CROP_PX)
    seen = cv2.warpAffine(crop, matrix, size, borderMode=cv2.BORDER_REPLICATE)
    lut = np.clip(
        255 * (np.arange(256) / 255 * rng.uniform(0.6, 1.3)) ** rng.uniform(0.7, 1.4), 0, 255
    )
    return np.asarray(cv2.LUT(seen, lut.astype(np.uint8)), np.uint8)


def teach_backbone(
    detector: YOLOv5,
    crops: Image,
    classes: NDArray[np.int64],
    *,
    steps: int = 600,
    batch: int = 64,
    lr: float = 2e-3,
    seed: int = 0,
    progress: Callable[[int, int, float], None] | None = None,
) -> FaceClassifier:
    """Train the detector's backbone, in place, to classify face crops.

    Args:
        detector: whose backbone learns.
        crops: (N, 192, 192, 3) BGR.
        classes: (N,).
        steps, batch, lr: as usual; classes are drawn evenly.
        seed: of everything drawn by chance.
        progress: called after every step with (step, steps, share that was right).

    Returns:
        The classifier round the backbone, for measuring what was learned.
    """
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    count = int(classes.max()) + 1
    network = FaceClassifier(detector, count)
    network.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(network.parameters(), lr=lr, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps, pct_start=0.1)
    chance = 1 / np.bincount(classes)[classes]
    loss_of = nn.CrossEntropyLoss(label_smoothing=0.05)
    half = bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    right = 1 / count
    for step in range(steps):
        drawn = rng.choice(len(classes), batch, p=chance / chance.sum())
        seen = np.stack([_vary(crops[k], rng) for k in drawn])[..., ::-1].transpose(0, 3, 1, 2)
        x = torch.from_numpy(np.ascontiguousarray(seen)).float().div_(255)
        target = torch.from_numpy(classes[drawn])
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            logits = network(x.contiguous(memory_format=torch.channels_last))
        loss = loss_of(logits.float(), target)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 10.0)
        optimizer.step()
        schedule.step()
        right += 0.03 * (float((logits.argmax(1) == target).float().mean()) - right)
        if progress is not None:
            progress(step + 1, steps, right)
    network.eval()
    return network
