"""Teach the eye-state network on portraits whose eyes were closed by degrees, and on real pictures.

Crops are cut once, larger than the network's input, and drawn anew in every epoch: shifted,
turned, blurred down to the eight pixels of an eye across the cabin, lit otherwise, put behind
glasses.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import nn

from models.architectures.eye_state import EyeState, eye_state
from models.inference.eye_crops import CROP_HW, cut_eye, standardise
from models.synthesis.disguise import wear_glasses
from models.synthesis.face_warp import Landmarks, close_eyes

Image = NDArray[np.uint8]

ROOM_HW = (56, 84)  # of the stored crops: the network's view and room to shift and turn it
# How closed a portrait's eyes are made. Between the two lies what two people would argue about.
OPEN_UP_TO, CLOSED_FROM = 0.4, 0.88


@dataclass(frozen=True, slots=True)
class EyeCrops:
    """Stored crops.

    Attributes:
        crops: (N, 56, 84) grey, outer corner left.
        closed: (N,) 0 or 1.
        weights: (N,) how often each is drawn, relatively.
    """

    crops: Image
    closed: NDArray[np.float32]
    weights: NDArray[np.float64]

    @classmethod
    def join(cls, parts: Sequence["EyeCrops"]) -> "EyeCrops":
        """All crops of all parts."""
        return cls(
            np.concatenate([part.crops for part in parts]),
            np.concatenate([part.closed for part in parts]),
            np.concatenate([part.weights for part in parts]),
        )


def roomy_eyes(image: Image, landmarks: Landmarks) -> Image:
    """Both eyes with room round them, (2, 56, 84): the same scale as the network's view."""
    # cut_eye scales by the crop's width: keep the network's, and take more of the picture
    share = CROP_HW[1] / ROOM_HW[1]
    outer_inner = landmarks.copy()
    for outer, inner in ((33, 133), (263, 362)):
        middle = (landmarks[outer] + landmarks[inner]) / 2
        outer_inner[outer] = middle + (landmarks[outer] - middle) / share
        outer_inner[inner] = middle + (landmarks[inner] - middle) / share
    return np.stack([cut_eye(image, outer_inner, side, ROOM_HW) for side in ("right", "left")])


def real_eyes(faces: Sequence[tuple[Image, Landmarks, bool]], weight: float) -> EyeCrops:
    """Crops of real pictures: (picture, mesh, closed)."""
    crops = np.concatenate([roomy_eyes(image, mesh) for image, mesh, _ in faces])
    closed = np.repeat([float(shut) for _, _, shut in faces], 2).astype(np.float32)
    return EyeCrops(crops, closed, np.full(len(crops), weight))


def played_eyes(
    faces: Sequence[tuple[Image, Landmarks]], takes: int, rng: Generator, weight: float = 1.0
) -> EyeCrops:
    """Crops of open-eyed portraits, `takes` with open and as many with closed lids of each."""
    crops, closed = [], []
    for image, mesh in faces:
        for shut in (False, True) * takes:
            amount = rng.uniform(CLOSED_FROM, 1) if shut else rng.uniform(0, OPEN_UP_TO)
            gaze = 0.0 if shut or rng.random() < 0.6 else rng.uniform(0.1, 0.8)
            if not shut and rng.random() < 0.4:
                amount = 0.0
            amount = min(amount, 0.25) if gaze else amount  # lids follow the gaze by themselves
            played = close_eyes(image, mesh, amount, gaze_down=gaze)
            if rng.random() < 0.4:
                played = wear_glasses(played, mesh, rng, tint=rng.uniform(0, 0.4))
            crops.append(roomy_eyes(played, mesh))
            closed += [float(shut)] * 2
    return EyeCrops(
        np.concatenate(crops), np.array(closed, np.float32), np.full(2 * len(crops), weight)
    )


def vary(crop: Image, rng: Generator) -> Image:
    """One stored crop as another camera, light and head would show it: (32, 48)."""
    image = crop
    if rng.random() < 0.2:
        image = _behind_glasses(image, rng)
    angle, scale = rng.normal(0, 5), float(np.exp(rng.normal(0, 0.10)))
    matrix = cv2.getRotationMatrix2D((ROOM_HW[1] / 2, ROOM_HW[0] / 2), angle, scale)
    matrix[:, 2] += np.array(CROP_HW[::-1]) / 2 - np.array(ROOM_HW[::-1]) / 2
    matrix[:, 2] += rng.normal(0, 1.6, 2)
    matrix[1, :2] *= rng.uniform(0.85, 1.15)  # a face seen from above or below; squeezed pictures
    middle_row = matrix[1, :2] @ np.array([ROOM_HW[1] / 2, ROOM_HW[0] / 2]) + matrix[1, 2]
    matrix[1, 2] += CROP_HW[0] / 2 - middle_row
    matrix[1, 2] += rng.normal(0, 2.2)
    image = np.asarray(
        cv2.warpAffine(image, matrix, CROP_HW[::-1], borderMode=cv2.BORDER_REPLICATE), np.uint8
    )
    if rng.random() < 0.6:  # down to an eye of 8 px
        wide = int(rng.integers(16, 48))
        small = cv2.resize(image, (wide, max(wide * 2 // 3, 6)), interpolation=cv2.INTER_AREA)
        grown = cv2.resize(small, CROP_HW[::-1], interpolation=cv2.INTER_LINEAR)
        image = np.asarray(grown, np.uint8)
    return _relit(image, rng)


def _relit(image: Image, rng: Generator) -> Image:
    out = image.astype(np.float32)
    if rng.random() < 0.25:
        out = _beside_a_window(out, rng)
    if rng.random() < 0.5:
        across = np.linspace(-1, 1, CROP_HW[1])[None] * rng.uniform(-0.5, 0.5)
        down = np.linspace(-1, 1, CROP_HW[0])[:, None] * rng.uniform(-0.5, 0.5)
        out *= 1 + (across + down).astype(np.float32)
    gain = float(np.exp(rng.uniform(np.log(0.12), np.log(1.4))))
    out = 255 * np.clip(out / 255 * gain, 0, 1) ** rng.uniform(0.6, 1.5)
    out += rng.normal(0, rng.uniform(0, 6) * min(gain, 1), out.shape)
    dark = np.clip(out, 0, 255).astype(np.uint8)
    if rng.random() < 0.4:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(40, 95))]
        dark = np.asarray(cv2.imdecode(cv2.imencode(".jpg", dark, quality)[1], 0), np.uint8)
    return dark


def _beside_a_window(image: NDArray[np.float32], rng: Generator) -> NDArray[np.float32]:
    """Bright background where the turned face ends."""
    height, width = image.shape
    edge = rng.uniform(0, 0.3) * width
    slant = rng.uniform(-0.3, 0.3) * width
    corners = np.array([[0, 0], [edge + slant, 0], [edge - slant, height], [0, height]])
    if rng.random() < 0.5:
        corners[:, 0] = width - corners[:, 0]
    lit = image.copy()
    bright = float(rng.uniform(120, 255))
    cv2.fillPoly(lit, [corners.astype(np.int32)], bright, cv2.LINE_AA)
    return lit


def _behind_glasses(image: Image, rng: Generator) -> Image:
    """A frame round the eye, a tint, a reflection."""
    height, width = image.shape
    out = image.astype(np.float32)
    if rng.random() < 0.5:
        out = out * rng.uniform(0.6, 1.0) + rng.uniform(0, 40)
    centre = (int(width / 2 + rng.normal(0, 4)), int(height / 2 + rng.normal(4, 3)))
    half = (int(width * rng.uniform(0.36, 0.5)), int(height * rng.uniform(0.28, 0.5)))
    tone = float(rng.choice([rng.uniform(0, 60), rng.uniform(120, 220)], p=[0.75, 0.25]))
    thick = int(rng.integers(1, 6))
    if rng.random() < 0.5:
        cv2.ellipse(out, centre, half, float(rng.normal(0, 6)), 0, 360, tone, thick, cv2.LINE_AA)
    else:
        low = (centre[0] - half[0], centre[1] - half[1])
        high = (centre[0] + half[0], centre[1] + half[1])
        cv2.rectangle(out, low, high, tone, thick, cv2.LINE_AA)
    if rng.random() < 0.5:
        glare = np.zeros_like(out)
        spot = (int(rng.uniform(0.2, 0.8) * width), int(rng.uniform(0.25, 0.75) * height))
        axes = (int(rng.uniform(2, 16)), int(rng.uniform(1, 7)))
        tilt, shine = float(rng.uniform(-60, 60)), float(rng.uniform(40, 200))
        cv2.ellipse(glare, spot, axes, tilt, 0, 360, shine, -1)
        out += cv2.GaussianBlur(glare, (0, 0), float(rng.uniform(0.5, 3)))
    return np.clip(out, 0, 255).astype(np.uint8)


def train_eyes(
    data: EyeCrops,
    *,
    epochs: int = 12,
    samples: int = 12_000,
    batch: int = 128,
    lr: float = 2e-3,
    seed: int = 0,
    progress: Callable[[int, int, float], None] | None = None,
) -> EyeState:
    """Train the network from scratch on balanced draws; gives the averaged (EMA) one.

    Args:
        data: stored crops.
        epochs, samples, batch, lr: as usual; `samples` are drawn an epoch.
        seed: of everything drawn by chance.
        progress: called after each epoch with (epoch, epochs, mean loss).
    """
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    network = eye_state()
    steps = epochs * (samples // batch)
    averaged = torch.optim.swa_utils.AveragedModel(
        network,
        multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(1 - 2.5 / steps),  # type: ignore[no-untyped-call]
        use_buffers=True,
    )
    optimizer = torch.optim.AdamW(network.parameters(), lr=lr, weight_decay=5e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps, pct_start=0.15)
    judge = nn.BCEWithLogitsLoss()
    chance = data.weights / data.weights.sum()
    for side in (0.0, 1.0):  # as many closed as open eyes, whatever the set holds
        chance[data.closed == side] /= 2 * chance[data.closed == side].sum()
    for epoch in range(epochs):
        network.train()
        total = 0.0
        for _ in range(samples // batch):
            drawn = rng.choice(len(chance), batch, p=chance)
            crops = np.stack([vary(data.crops[index], rng) for index in drawn])
            target = torch.from_numpy(data.closed[drawn] * 0.94 + 0.03).unsqueeze(1)
            loss = judge(network(torch.from_numpy(standardise(crops))), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            averaged.update_parameters(network)
            total += float(loss.detach())
        if progress is not None:
            progress(epoch + 1, epochs, total / (samples // batch))
    network.load_state_dict(averaged.module.state_dict())
    return network.eval()
