"""The plain ones: ResNet-18, IR-50, a stack of convolutions; what the others must beat."""

from collections.abc import Sequence

from torch import Tensor, nn

from models.architectures.backbones import IR50, IRBlock, ResNet18, plain_stages


class ResNetClassifier(nn.Module):
    """ResNet-18 (He et al. 2016) with a head: face (B, 3, H, W) to logits (B, classes)."""

    def __init__(self, labels: Sequence[str], dropout: float = 0.0) -> None:
        super().__init__()
        self.trunk = ResNet18()
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(ResNet18.width, len(labels))

    def forward(self, x: Tensor) -> Tensor:
        """Face (B, 3, H, W), normalised, to logits (B, classes)."""
        pooled = self.trunk(x).mean((2, 3))  # (B, 512)
        logits: Tensor = self.head(self.dropout(pooled))
        return logits


class IRClassifier(nn.Module):
    """IR-50's three bodies with a head: POSTER V2's image branch, taught before the whole."""

    def __init__(self, labels: Sequence[str]) -> None:
        super().__init__()
        self.trunk = IR50()
        self.head = nn.Linear(IR50.widths[-1], len(labels))
        for module in self.trunk.modules():
            if isinstance(module, IRBlock):  # begins as its shortcut (Goyal et al. 2017, 5.1)
                nn.init.zeros_(module.res_layer.get_parameter("4.weight"))

    def forward(self, x: Tensor) -> Tensor:
        """Face (B, 3, H, W), normalised, to logits (B, classes)."""
        pooled = self.trunk(x)[2].mean((2, 3))  # (B, 256)
        logits: Tensor = self.head(pooled)
        return logits


class PlainCNN(nn.Module):
    """Four stages of two 3x3 convolutions with pooling between them: no shortcut, no attention."""

    def __init__(
        self,
        labels: Sequence[str],
        widths: Sequence[int] = (24, 48, 96, 192),
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        self.stages = plain_stages(widths)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(widths[-1], len(labels))

    def forward(self, x: Tensor) -> Tensor:
        """Face (B, 3, H, W), normalised, to logits (B, classes)."""
        pooled = self.stages(x).mean((2, 3))  # (B, widths[-1])
        logits: Tensor = self.head(self.dropout(pooled))
        return logits


def resnet18(labels: Sequence[str], *, dropout: float = 0.0) -> ResNetClassifier:
    """ResNet-18 for these labels."""
    return ResNetClassifier(labels, dropout)


def plain_cnn(
    labels: Sequence[str], *, widths: Sequence[int] = (24, 48, 96, 192), dropout: float = 0.3
) -> PlainCNN:
    """The plain baseline for these labels."""
    return PlainCNN(labels, widths, dropout)


def ir50(labels: Sequence[str]) -> IRClassifier:
    """IR-50's three bodies for these labels."""
    return IRClassifier(labels)
