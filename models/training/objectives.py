"""What a training step minimises: cross-entropy, and what an architecture adds to it.

An objective is a module, because it may have weights of its own that the shipped model does not
need: FDRL's centres, the landmark head of the small POSTER V2.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.architectures.backbones import LandmarkHead
from models.architectures.fdrl import FDRL, FDRLTerms
from models.architectures.poster_v2 import PosterV2
from models.data.augmentation import Batch
from models.data.landmarks import MIRROR_OF_68
from models.training.optimisation import Criterion


class Objective(nn.Module):
    """A model together with its loss: what is trained, saved for resuming, and distributed."""

    def __init__(self, model: nn.Module, criterion: Criterion) -> None:
        super().__init__()
        self.model, self.criterion = model, criterion

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Loss (scalar) and logits (B, K) of a batch."""
        logits = self.model(batch.images).float()
        return self.criterion(logits, batch.targets), logits


class LandmarkObjective(Objective):
    """POSTER V2 trained from nothing: its branches are taught directly too.

    Args:
        model: the network.
        criterion: of the logits.
        landmarks: weight of the landmarks that the landmark branch must find.
        trunk: weight of a second classifier on the image branch alone (deep supervision, Lee et
            al. 2015): without pretrained backbones the way through fusion and ViT is slow.
    """

    def __init__(
        self, model: PosterV2, criterion: Criterion, *, landmarks: float = 1.0, trunk: float = 0.0
    ) -> None:
        super().__init__(model, criterion)
        self.weight, self.trunk = landmarks, trunk
        self.head = LandmarkHead(
            model.landmark.widths[-1], model.working_px // 16, len(MIRROR_OF_68)
        )
        self.short = nn.Linear(model.image.widths[-1], model.vit.head.out_features)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Loss (scalar) and logits (B, K) of a batch."""
        model: PosterV2 = self.model  # type: ignore[assignment]
        image, landmark = model.maps(batch.images)
        logits = model.classify(image, landmark).float()
        loss = self.criterion(logits, batch.targets)
        if self.trunk:
            short = self.short(image[2].mean((2, 3))).float()
            loss = loss + self.trunk * self.criterion(short, batch.targets)
        if batch.points is not None:
            loss = loss + self.weight * _landmark_loss(self.head(landmark[2]).float(), batch.points)
        return loss, logits


def _landmark_loss(predicted: Tensor, points: Tensor) -> Tensor:
    """Mean distance on both axes in units of the picture, smooth near 0, over known landmarks."""
    has_landmarks = points.isfinite().all(-1).all(-1)  # (B)
    aim = torch.where(has_landmarks[:, None, None], points, 0.0) * 2 - 1
    error = functional.smooth_l1_loss(predicted, aim, beta=0.05, reduction="none").mean((1, 2))
    return (error * has_landmarks).sum() / has_landmarks.sum().clamp(min=1)


class FDRLObjective(Objective):
    """FDRL's four losses."""

    def __init__(self, model: FDRL, criterion: Criterion, **weights: float) -> None:
        super().__init__(model, criterion)
        self.terms = FDRLTerms(model.classes, model.branches, model.width, **weights)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Loss (scalar) and logits (B, K) of a batch."""
        model: FDRL = self.model  # type: ignore[assignment]
        features, weights, logits = model.decompose(batch.images)
        loss = self.criterion(logits.float(), batch.targets)
        return loss + self.terms(features.float(), weights.float(), batch.targets), logits.float()


def objective_for(
    model: nn.Module, criterion: Criterion, weights: dict[str, float], *, landmarks: bool
) -> Objective:
    """The objective that belongs to a model."""
    if isinstance(model, FDRL):
        return FDRLObjective(model, criterion, **weights)
    if isinstance(model, PosterV2) and landmarks:
        return LandmarkObjective(model, criterion, **weights)
    return Objective(model, criterion)
