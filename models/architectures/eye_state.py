"""A small network that tells an open eye from a closed one by its pixels.

The aspect ratio of the eye's landmarks fails behind glasses: the mesh guesses where the lids are.
This network looks at the crop itself. Convolutional, about 60 thousand parameters, 2 MMACs an eye.
"""

from torch import Tensor, nn


def _block(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class EyeState(nn.Module):
    """Grey eye crop (B, 1, 32, 48) to the logit of "closed" (B, 1)."""

    def __init__(self, dropout: float = 0.3) -> None:
        super().__init__()
        self.features = nn.Sequential(
            _block(1, 16, 1),
            _block(16, 24, 2),  # (B, 24, 16, 24)
            _block(24, 32, 1),
            _block(32, 48, 2),  # (B, 48, 8, 12)
            _block(48, 48, 1),
            _block(48, 64, 2),  # (B, 64, 4, 6)
        )
        self.head = nn.Sequential(
            nn.Flatten(), nn.Dropout(dropout), nn.Linear(64 * 4 * 6, 32), nn.ReLU(inplace=True),
            nn.Dropout(dropout), nn.Linear(32, 1),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Logits of "closed"; sigmoid gives the probability."""
        logit: Tensor = self.head(self.features(x))
        return logit


def eye_state(labels: tuple[str, ...] = ("closed",), dropout: float = 0.3) -> EyeState:
    """Build the network: the factory its card names.

    Raises:
        ValueError: labels other than its one output.
    """
    if tuple(labels) != ("closed",):
        raise ValueError(f"the eye-state network has one output, closed; not {', '.join(labels)}")
    return EyeState(dropout)
