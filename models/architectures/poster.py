"""POSTER: the two-stream pyramid cross-fusion transformer that POSTER V2 simplifies.

Zheng et al. 2022, "POSTER: A Pyramid Cross-Fusion Transformer Network for Facial Expression
Recognition", arXiv 2204.04083; structure after the released code, zczcwh/POSTER. Both streams are
kept: image tokens are read as landmarks ask, landmark tokens as the image asks. The pyramid runs
every layer at three widths of the same tokens.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.architectures.backbones import IR50, DropPath, MobileFaceNet, freeze
from models.architectures.poster_v2 import Gate

# Of the released model no picture reaches IR-50's output layer (BN, linear, BN) and a class token.
RELEASED_DEAD_PARAMETERS = (2 * 512 + 512 * 7 * 7 * 512 + 512 + 2 * 512) + 512


class GuidedAttention(nn.Module):
    """Tokens of one stream (k, v), asked by the other stream's tokens (q, without projection)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.kv = nn.Linear(width, 2 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, content: Tensor, guide: Tensor) -> Tensor:
        """Two (B, N, C) to one (B, N, C)."""
        _, tokens, width = guide.shape
        split = (-1, tokens, self.heads, width // self.heads)
        q = guide.reshape(split).transpose(1, 2)  # (B, heads, N, d)
        k, v = (half.reshape(split).transpose(1, 2) for half in self.kv(content).chunk(2, -1))
        scores = (q @ k.transpose(-2, -1)) * q.shape[-1] ** -0.5  # (B, heads, N, N)
        out: Tensor = self.proj((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))
        return out


class Stream(nn.Module):
    """One stream of a layer: guided attention and an MLP, both with a shortcut."""

    def __init__(self, width: int, heads: int, mlp_ratio: float, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attention = GuidedAttention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        hidden = int(width * mlp_ratio)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))
        self.drop_path = DropPath(drop_path)

    def forward(self, own: Tensor, other: Tensor) -> Tensor:
        """Two (B, N, C) to the new own tokens (B, N, C)."""
        # One norm for both streams' tokens, as released.
        own = own + self.drop_path(self.attention(self.norm1(own), self.norm1(other)))
        out: Tensor = own + self.drop_path(self.mlp(self.norm2(own)))
        return out


class CrossFusionLayer(nn.Module):
    """Both streams of one width, then a linear mix of all their tokens."""

    def __init__(
        self, width: int, tokens: int, heads: int, mlp_ratio: float, drop_path: float
    ) -> None:
        super().__init__()
        self.tokens = tokens
        self.image = Stream(width, heads, mlp_ratio, drop_path)
        self.landmark = Stream(width, heads, mlp_ratio, drop_path)
        self.mix = nn.Conv1d(2 * tokens, 2 * tokens, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens of both streams (B, 2N, C) unchanged in shape."""
        image, landmark = x[:, : self.tokens], x[:, self.tokens :]
        joined = torch.cat((self.image(image, landmark), self.landmark(landmark, image)), dim=1)
        out: Tensor = self.mix(joined)
        return out


class PyramidLayer(nn.Module):
    """Three cross-fusion layers at full, half and quarter width; the narrow ones feed the wide."""

    def __init__(
        self, width: int, tokens: int, heads: int, mlp_ratio: float, drop_path: float
    ) -> None:
        super().__init__()
        self.large, self.medium, self.small = (
            CrossFusionLayer(width // share, tokens, heads, mlp_ratio, drop_path)
            for share in (1, 2, 4)
        )
        self.widen_medium = nn.ConvTranspose1d(2 * tokens, 2 * tokens, 2, 2)
        self.widen_small = nn.ConvTranspose1d(2 * tokens, 2 * tokens, 2, 2)

    def forward(
        self, large: Tensor, medium: Tensor, small: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(B, 2N, C), (B, 2N, C/2), (B, 2N, C/4), unchanged in shape."""
        small = self.small(small)
        medium = self.medium(medium) + self.widen_small(small)
        large = self.large(large) + self.widen_medium(medium)
        return large, medium, small


class Poster(nn.Module):
    """The whole network: face (B, 3, H, W) to logits (B, classes).

    Args:
        labels: classes in the order of the outputs.
        working_px: side both backbones see; other sizes are resized to it (nearest, as released).
        width: of the tokens; depth: pyramid layers (8 is the paper's "large").
        freeze_landmarks: keep the landmark branch as it was loaded, as the paper does.
    """

    dead_parameters = RELEASED_DEAD_PARAMETERS

    def __init__(
        self,
        labels: Sequence[str],
        *,
        working_px: int = 112,
        width: int = 512,
        depth: int = 8,
        heads: int = 8,
        mlp_ratio: float = 2.0,
        drop_path: float = 0.1,
        freeze_landmarks: bool = True,
    ) -> None:
        super().__init__()
        self.working_px, self.frozen = working_px, freeze_landmarks
        self.image, self.landmark = IR50(), MobileFaceNet(input_px=working_px)
        patches = (working_px // 16) ** 2
        self.image_layer = nn.Linear(4 * IR50.widths[-1], width)
        self.positions = nn.Parameter(torch.zeros(1, patches + 1, width))
        both = 2 * (patches + 1)
        self.narrow_medium = nn.Conv1d(both, both, 2, 2)
        self.narrow_small = nn.Conv1d(both, both, 4, 4)
        drops = torch.linspace(0, drop_path, depth).tolist()
        self.layers = nn.ModuleList(
            PyramidLayer(width, patches + 1, heads, mlp_ratio, drop) for drop in drops
        )
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.gate = Gate(width)
        self.head = nn.Linear(width, len(labels))
        if freeze_landmarks:
            freeze(self.landmark)

    def train(self, mode: bool = True) -> "Poster":
        """Training mode, but a frozen branch keeps its batch statistics too."""
        super().train(mode)
        if self.frozen:
            self.landmark.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Face (B, 3, H, W), normalised, to logits (B, classes)."""
        if x.shape[-1] != self.working_px or x.shape[-2] != self.working_px:
            x = functional.interpolate(x, size=self.working_px)  # (B, 3, S, S)
        patches = (self.working_px // 16) ** 2
        landmark = self.landmark(x)[2].flatten(2).transpose(1, 2)  # (B, N, 512)
        # The released code reads the map's memory as N rows of four times its channels.
        image = self.image(x)[2].reshape(-1, patches, self.image_layer.in_features)
        image = self.image_layer(image)  # (B, N, 512)
        image = torch.cat((image.mean(1, keepdim=True), image), dim=1) + self.positions
        landmark = torch.cat((landmark.mean(1, keepdim=True), landmark), dim=1)
        large = torch.cat((image, landmark), dim=1)  # (B, 2(N + 1), 512)
        medium, small = self.narrow_medium(large), self.narrow_small(large)
        for layer in self.layers:
            large, medium, small = layer(large, medium, small)
        logits: Tensor = self.head(self.gate(self.norm(large)[:, 0]))
        return logits


def poster(
    labels: Sequence[str], *, working_px: int = 112, depth: int = 8, freeze_landmarks: bool = True
) -> Poster:
    """POSTER as released ("large")."""
    return Poster(labels, working_px=working_px, depth=depth, freeze_landmarks=freeze_landmarks)
