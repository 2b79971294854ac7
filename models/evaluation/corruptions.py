"""Five ways to spoil a face as a car does: blur, dark, something in front, few pixels, a mask.

Each works on a batch (B, C, H, W) of pictures 0..1 and is the same at every call.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional


def blur(images: Tensor) -> Tensor:
    """Gaussian of a standard deviation of 1/32 of the picture: 1.5 px at 48 px."""
    sigma = images.shape[-1] / 32
    reach = max(1, round(3 * sigma))
    axis = torch.arange(-reach, reach + 1, device=images.device, dtype=images.dtype)
    kernel = torch.exp(-axis.square() / (2 * sigma * sigma))
    kernel = (kernel / kernel.sum()).expand(images.shape[1], 1, -1)
    padded = functional.pad(images, (reach,) * 4, mode="replicate")
    rows = functional.conv2d(padded, kernel.unsqueeze(2), groups=images.shape[1])
    return functional.conv2d(rows, kernel.unsqueeze(3), groups=images.shape[1])


def dark(images: Tensor) -> Tensor:
    """A quarter of the light, in the eight bits a camera still gives."""
    return (images * 0.25 * 255).round() / 255


def occlusion(images: Tensor) -> Tensor:
    """A grey square of 40 % of the side, somewhere else on each picture."""
    count, _, height, width = images.shape
    places = torch.Generator().manual_seed(0)
    top, left = (torch.rand(2, count, generator=places) * 0.6).to(images.device)
    rows = torch.arange(height, device=images.device) / height
    columns = torch.arange(width, device=images.device) / width
    down = (rows >= top[:, None]) & (rows < top[:, None] + 0.4)
    across = (columns >= left[:, None]) & (columns < left[:, None] + 0.4)
    return torch.where((down[:, :, None] & across[:, None, :])[:, None], 0.5, images)


def few_pixels(side: int) -> Callable[[Tensor], Tensor]:
    """Shrink to `side` pixels and enlarge again; a picture that small already is unchanged."""

    def shrink(images: Tensor) -> Tensor:
        if min(images.shape[-2:]) <= side:
            return images
        small = functional.interpolate(images, size=side, mode="area")
        return functional.interpolate(small, size=images.shape[-2:], mode="bilinear")

    return shrink


def mask(images: Tensor) -> Tensor:
    """A plain light surgical mask: from the middle of the nose down, narrowing to the chin."""
    height, width = images.shape[-2:]
    y = (torch.arange(height, device=images.device) + 0.5) / height
    x = (torch.arange(width, device=images.device) + 0.5) / width
    half = 0.42 - 0.45 * (y - 0.58).clamp(min=0)
    covered = (y > 0.58)[:, None] & ((x - 0.5).abs()[None] < half[:, None])
    return torch.where(covered, 0.75, images)


CONDITIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "blur": blur,
    "dark": dark,
    "occlusion": occlusion,
    "48 px": few_pixels(48),
    "24 px": few_pixels(24),
    "mask": mask,
}
