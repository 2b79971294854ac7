"""Logits of a whole data set, and how many are right: shared by training and evaluation."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from models.data import Faces
from models.registry import ModelCard


def autocast(device: torch.device, amp: str) -> AbstractContextManager[object]:
    """bf16 where it is asked for, or where the device has it."""
    if amp == "auto":
        has_it = (
            torch.cuda.is_bf16_supported()
            if device.type == "cuda"
            else torch.cpu._is_avx512_bf16_supported()  # there is no public one
        )
        amp = "bf16" if has_it else "off"
    return torch.autocast(device.type, torch.bfloat16) if amp == "bf16" else nullcontext()


def normalise(images: Tensor, card: ModelCard) -> Tensor:
    """Pictures 0..1 (B, 3, H, W) as the card wants them: channels, mean, standard deviation."""
    if card.channels == 1:
        images = images.mean(1, keepdim=True)
    mean = torch.tensor(card.mean, device=images.device).view(1, -1, 1, 1)
    std = torch.tensor(card.std, device=images.device).view(1, -1, 1, 1)
    return (images - mean) / std


@torch.inference_mode()
def predict(
    model: nn.Module, card: ModelCard, faces: Faces, device: torch.device,
    amp: str = "off", batch: int = 256,
    change: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:  # fmt: skip
    """Logits (N, K) of every face, in order; `change` may spoil the pictures first."""
    model.eval()
    rows = []
    for start in range(0, len(faces), batch):
        images = faces.__getitems__(range(start, min(start + batch, len(faces)))).images.to(device)
        images = normalise(change(images) if change else images, card)
        with autocast(device, amp):
            rows.append(model(images.contiguous(memory_format=torch.channels_last)).float().cpu())
    return torch.cat(rows)


def accuracies(answers: Tensor, truth: Tensor) -> tuple[float, float]:
    """Overall accuracy, and the mean over the classes that occur."""
    right = (answers == truth).float()
    classes = [right[truth == c].mean() for c in torch.unique(truth)]
    return float(right.mean()), float(torch.stack(classes).mean())
