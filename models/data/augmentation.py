"""Random changes to a batch of faces, drawn on the batch's own device: no workers needed.

Landmarks, where a sample has them, move with the picture.
"""

import math
from dataclasses import dataclass

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional


class Augmentation(BaseModel):
    """How far a training picture may be changed. All off by default."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    flip: float = Field(0.0, ge=0, le=1, description="Probability of a mirror image.")
    rotate_deg: float = Field(0.0, ge=0, le=90, description="Largest turn either way.")
    zoom: float = Field(0.0, ge=0, lt=1, description="Largest change of scale, as a share.")
    shift: float = Field(0.0, ge=0, lt=1, description="Largest move, as a share of the side.")
    brightness: float = Field(0.0, ge=0, lt=1, description="Largest change of gain.")
    contrast: float = Field(0.0, ge=0, lt=1, description="Largest change of contrast.")
    dark: float = Field(0.0, ge=0, le=1, description="Probability of a dark picture (to 1/5).")
    blur: float = Field(0.0, ge=0, le=1, description="Probability of a 5x5 box-like blur.")
    erase: float = Field(0.0, ge=0, le=1, description="Probability of an erased rectangle.")
    erase_area: tuple[float, float] = Field((0.02, 0.1), description="Its share of the picture.")


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch on its way into a model.

    Attributes:
        images: (B, C, H, W) float 0..1.
        targets: (B, K) float distributions over the labels.
        points: (B, P, 2) landmarks as shares of the picture, NaN where unknown; None without.
    """

    images: Tensor
    targets: Tensor
    points: Tensor | None = None


def augment(batch: Batch, how: Augmentation, mirror: tuple[int, ...] = ()) -> Batch:
    """A changed copy of `batch`.

    Args:
        batch: pictures 0..1.
        how: limits and probabilities.
        mirror: where each landmark goes when the picture is mirrored.
    """
    images, points = batch.images, batch.points
    if how.flip or how.rotate_deg or how.zoom or how.shift:
        matrix, flipped = _affine(len(images), how, images.device)
        images = _warp(images, matrix)
        points = None if points is None else _move(points, matrix, flipped, mirror)
    images = _light(images, how)
    if how.blur:
        soft = functional.avg_pool2d(images, 3, 1, 1, count_include_pad=False)
        soft = functional.avg_pool2d(soft, 3, 1, 1, count_include_pad=False)
        images = torch.where(_chosen(len(images), how.blur, images.device), soft, images)
    if how.erase:
        images = _erase(images, how)
    return Batch(images, batch.targets, points)


def _uniform(count: int, limit: float, device: torch.device) -> Tensor:
    return (torch.rand(count, device=device) * 2 - 1) * limit


def _chosen(count: int, probability: float, device: torch.device) -> Tensor:
    return (torch.rand(count, device=device) < probability).view(-1, 1, 1, 1)


def _affine(count: int, how: Augmentation, device: torch.device) -> tuple[Tensor, Tensor]:
    """Matrices (B, 2, 3) from new to old places, both in -1..1, and which were mirrored (B)."""
    angle = _uniform(count, math.radians(how.rotate_deg), device)
    scale = 1 + _uniform(count, how.zoom, device)
    flipped = torch.rand(count, device=device) < how.flip
    sign = torch.where(flipped, -1.0, 1.0)
    matrix = torch.zeros(count, 2, 3, device=device)
    matrix[:, 0, 0] = sign * scale * angle.cos()
    matrix[:, 0, 1] = -scale * angle.sin() * sign
    matrix[:, 1, 0] = scale * angle.sin()
    matrix[:, 1, 1] = scale * angle.cos()
    matrix[:, 0, 2] = _uniform(count, 2 * how.shift, device)
    matrix[:, 1, 2] = _uniform(count, 2 * how.shift, device)
    return matrix, flipped


def _warp(images: Tensor, matrix: Tensor) -> Tensor:
    grid = functional.affine_grid(matrix, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)


def _move(points: Tensor, matrix: Tensor, flipped: Tensor, mirror: tuple[int, ...]) -> Tensor:
    """Landmarks after the warp: the inverse of `matrix`, and left for right where mirrored."""
    old = points * 2 - 1 - matrix[:, None, :, 2]  # (B, P, 2)
    new: Tensor = torch.linalg.solve(matrix[:, None, :, :2], old.unsqueeze(-1)).squeeze(-1)
    moved = (new + 1) / 2
    if mirror:
        order = torch.tensor(mirror, device=points.device)
        moved = torch.where(flipped[:, None, None], moved[:, order], moved)
    return moved


def _light(images: Tensor, how: Augmentation) -> Tensor:
    count, device = len(images), images.device
    if how.contrast:
        gain = (1 + _uniform(count, how.contrast, device)).view(-1, 1, 1, 1)
        mean = images.mean((1, 2, 3), keepdim=True)
        images = (images - mean) * gain + mean
    if how.brightness:
        images = images * (1 + _uniform(count, how.brightness, device)).view(-1, 1, 1, 1)
    if how.dark:
        gain = (0.2 + 0.6 * torch.rand(count, device=device)).view(-1, 1, 1, 1)
        images = torch.where(_chosen(count, how.dark, device), images * gain, images)
    return images.clamp(0, 1) if how.contrast or how.brightness or how.dark else images


def _erase(images: Tensor, how: Augmentation) -> Tensor:
    """Random erasing (Zhong et al. 2020): a rectangle of noise, aspect 0.3 to 3.3."""
    count, _, height, width = images.shape
    device = images.device
    low, high = how.erase_area
    area = low + torch.rand(count, device=device) * (high - low)
    aspect = torch.exp(_uniform(count, math.log(3.3), device))
    tall, wide = (area * aspect).sqrt().clamp(max=1), (area / aspect).sqrt().clamp(max=1)
    top = torch.rand(count, device=device) * (1 - tall)
    left = torch.rand(count, device=device) * (1 - wide)
    rows = (torch.arange(height, device=device) + 0.5) / height
    columns = (torch.arange(width, device=device) + 0.5) / width
    in_rows = (rows >= top[:, None]) & (rows < (top + tall)[:, None])  # (B, H)
    in_columns = (columns >= left[:, None]) & (columns < (left + wide)[:, None])  # (B, W)
    hole = (in_rows[:, None, :, None] & in_columns[:, None, None, :]) & _chosen(
        count, how.erase, device
    )
    return torch.where(hole, torch.rand_like(images), images)
