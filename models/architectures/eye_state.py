"""A small network that tells by an eye's pixels whether it is open, closed, lowered or hidden.

The aspect ratio of the eye's landmarks fails behind glasses: the mesh guesses where the lids are.
This network looks at the crop itself. Convolutional, about 160 thousand parameters, 3.5 MMACs an
eye.
"""

from torch import Tensor, nn

STATES = ("open", "closed", "lowered", "not_visible")


def _block(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class EyeState(nn.Module):
    """Grey eye crop (B, 1, 40, 40) to the logits of the four states (B, 4)."""

    def __init__(self, dropout: float = 0.15) -> None:
        super().__init__()
        self.features = nn.Sequential(
            _block(1, 16, 2),  # (B, 16, 20, 20)
            _block(16, 32, 2),  # (B, 32, 10, 10)
            _block(32, 48, 1),
            _block(48, 64, 2),  # (B, 64, 5, 5)
            _block(64, 64, 1),
        )
        self.head = nn.Sequential(
            nn.Flatten(), nn.Dropout(dropout), nn.Linear(64 * 5 * 5, 48), nn.ReLU(inplace=True),
            nn.Dropout(dropout), nn.Linear(48, len(STATES)),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Logits; softmax gives the probabilities."""
        logits: Tensor = self.head(self.features(x))
        return logits


def eye_state(labels: tuple[str, ...] = STATES, dropout: float = 0.15) -> EyeState:
    """Build the network: the factory its card names.

    Raises:
        ValueError: labels other than its four outputs.
    """
    if tuple(labels) != STATES:
        raise ValueError(
            f"the eye-state network tells {', '.join(STATES)}; not {', '.join(labels)}"
        )
    return EyeState(dropout)
