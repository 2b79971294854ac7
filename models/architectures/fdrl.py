"""FDRL: feature decomposition and reconstruction learning.

Ruan et al. 2021, "Feature Decomposition and Reconstruction Learning for Effective Facial
Expression Recognition", CVPR, arXiv 2104.05160. A basic feature is decomposed into M latent
features that expressions share; an expression is how much of each there is (Intra-RM) and how
they go together (Inter-RM).

Constants as in the paper: M = 9 latent features of D = 128 numbers, delta = 0.5; structure
checked against the third-party code PinJui/FDRL. 12,065,607 parameters, 1.81 GMACs at 224 px.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.architectures.backbones import ResNet18


class Branches(nn.Module):
    """M linear layers side by side, one a latent feature, as one batched product."""

    def __init__(self, branches: int, inputs: int, width: int) -> None:
        super().__init__()
        layers = [nn.Linear(inputs, width) for _ in range(branches)]  # torch's own first values
        self.weight = nn.Parameter(torch.stack([layer.weight.detach() for layer in layers]))
        self.bias = nn.Parameter(torch.stack([layer.bias.detach() for layer in layers]))

    def forward(self, x: Tensor) -> Tensor:
        """(B, M, inputs) or (B, 1, inputs) to (B, M, width)."""
        product = x.unsqueeze(-2) @ self.weight.transpose(1, 2)  # (B, M, 1, width)
        return product.squeeze(-2) + self.bias


class Decomposition(nn.Module):
    """FDN: one basic feature to M latent features."""

    def __init__(self, branches: int, inputs: int, width: int) -> None:
        super().__init__()
        self.branches = Branches(branches, inputs, width)

    def forward(self, basic: Tensor) -> Tensor:
        """(B, P) to (B, M, D)."""
        return torch.relu(self.branches(basic.unsqueeze(1)))


class IntraRelations(nn.Module):
    """Intra-RM: how much of each latent feature there is: alpha = |sigmoid(W l)|_1."""

    def __init__(self, branches: int, width: int) -> None:
        super().__init__()
        self.branches = Branches(branches, width, width)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """(B, M, D) to weighted features (B, M, D) and weights (B, M)."""
        weights = torch.sigmoid(self.branches(features)).sum(-1)  # (B, M); sigmoid is positive
        return features * weights.unsqueeze(-1), weights


class InterRelations(nn.Module):
    """Inter-RM: messages between latent features, weighed by tanh of their distance."""

    others: Tensor

    def __init__(self, branches: int, width: int, delta: float, *, from_messages: bool) -> None:
        super().__init__()
        self.branches, self.delta = Branches(branches, width, width), delta
        self.from_messages = from_messages
        self.register_buffer("others", 1 - torch.eye(branches), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """(B, M, D) unchanged in shape."""
        messages = torch.relu(self.branches(features))
        apart = messages.unsqueeze(2) - messages.unsqueeze(1)  # (B, M, M, D)
        # torch.cdist has no bf16 kernel and no ONNX operator; the root of 0 has no gradient.
        distance = (apart.square().sum(-1) + 1e-12).sqrt()  # (B, M, M)
        gathered = (torch.tanh(distance) * self.others) @ messages  # (B, M, D)
        own = messages if self.from_messages else features
        return self.delta * own + (1 - self.delta) * gathered


class FDRL(nn.Module):
    """The whole network: face (B, 3, H, W) to logits (B, classes).

    Args:
        labels: classes in the order of the outputs.
        branches: M, the number of latent features.
        width: D, of each latent feature.
        delta: share of each latent feature itself in what is summed; the rest is messages.
        from_messages: sum a feature's own message instead of itself, as PinJui/FDRL does: needed
            for its files, against the paper.
    """

    def __init__(
        self, labels: Sequence[str], branches: int = 9, width: int = 128, delta: float = 0.5,
        *, from_messages: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.classes, self.branches, self.width = len(labels), branches, width
        self.backbone = ResNet18()
        self.decomposition = Decomposition(branches, ResNet18.width, width)
        self.intra = IntraRelations(branches, width)
        self.inter = InterRelations(branches, width, delta, from_messages=from_messages)
        self.head = nn.Linear(width, len(labels))

    def decompose(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Latent features (B, M, D), their weights (B, M) and logits (B, classes) of a face."""
        basic = self.backbone(x).mean((2, 3))  # (B, 512)
        features = self.decomposition(basic)  # (B, M, D)
        weighted, weights = self.intra(features)  # (B, M, D), (B, M)
        expression = self.inter(weighted).sum(1)  # (B, D)
        return features, weights, self.head(expression)

    def forward(self, x: Tensor) -> Tensor:
        """Face (B, 3, H, W), normalised, to logits (B, classes)."""
        return self.decompose(x)[2]


class FDRLTerms(nn.Module):
    """The three losses beside cross-entropy, with their centres.

    Args:
        classes, branches, width: of the model.
        compactness: lambda 1; balance: lambda 2; distribution: lambda 3, as in the paper.
    """

    def __init__(
        self, classes: int, branches: int, width: int,
        *, compactness: float = 1e-4, balance: float = 1.0, distribution: float = 1e-4,
    ) -> None:  # fmt: skip
        super().__init__()
        self.compactness, self.balance, self.distribution = compactness, balance, distribution
        self.feature_centres = nn.Parameter(torch.randn(branches, width))
        self.class_centres = nn.Parameter(torch.randn(classes, branches))

    def forward(self, features: Tensor, weights: Tensor, targets: Tensor) -> Tensor:
        """The weighted sum of L_C, L_B and L_D.

        Args:
            features: (B, M, D) latent features.
            weights: (B, M) of Intra-RM.
            targets: (B, classes) distributions.
        """
        compactness = (features - self.feature_centres).square().sum((1, 2)).mean()
        # Weights that add up to one a face, as the uniform distribution they are compared with.
        shares = weights / weights.sum(1, keepdim=True)
        balance = (shares.mean(0) - 1 / shares.shape[1]).abs().sum()
        centres = targets @ self.class_centres  # (B, M)
        distribution = (weights - centres).square().sum(1).mean()
        return (
            self.compactness * compactness
            + self.balance * balance
            + self.distribution * distribution
        )
