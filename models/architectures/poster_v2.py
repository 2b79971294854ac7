"""POSTER V2: landmark-guided window cross-attention over three scales, and a two-layer ViT.

Mao et al. 2023, "POSTER++: A simpler and stronger facial expression recognition network",
arXiv 2301.12149; structure after the released code, Talented-Q/POSTER_V2 (MIT). Landmark features
ask (q), image features answer (k, v), so that attention goes where expressions happen.

Read from the bottom of a face upwards: two backbones give three maps each, `FusionBlock` joins
them scale by scale, `Embedding` makes all maps the same few tokens, `Transformer` reads them.

Two switches the paper argues about can be run here: `windows` (side of the attention windows;
the released code has one window a scale, the whole map) and `streams` (its Fig. 4).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.architectures.backbones import (
    IR50,
    DropPath,
    Maps,
    MobileFaceNet,
    PlainTrunk,
    SmallTrunk,
    freeze,
)

Streams = Literal["landmark_to_image", "image_to_landmark", "both"]

# The released model also carries layers that no picture ever reaches: IR-50's output layer, and
# in the ViT a patch embedding, a 1x1 convolution, two linear layers, an ECA kernel and two
# token convolutions. They are left out here and ignored when the released file is read.
RELEASED_DEAD_PARAMETERS = (
    (2 * 512 + 512 * 7 * 7 * 512 + 512 + 2 * 512)  # ir_back.output_layer: BN, linear, BN
    + (256 * 768 + 768)  # VIT.patch_embed
    + 256 * 768  # VIT.CON1
    + (1024 * 768 + 768)  # VIT.IRLinear1
    + (768 * 512 + 512)  # VIT.IRLinear2
    + 5  # VIT.eca_block
    + 2 * (148 * 148 + 148)  # VIT.blocks.*.conv
)


def _relative_positions(window: int) -> Tensor:
    """Index (N, N) of each pair of the window's N = window² places in its table of biases."""
    axis = torch.arange(window)
    places = torch.stack(torch.meshgrid(axis, axis, indexing="ij")).flatten(1)  # (2, N)
    offsets = places[:, :, None] - places[:, None, :] + window - 1  # (2, N, N)
    return offsets[0] * (2 * window - 1) + offsets[1]


class FusionBlock(nn.Module):
    """One scale: windows of `content` attend to themselves as `guide` asks, then an MLP.

    Args:
        width: channels of both maps.
        heads: attention heads.
        window: side of a window in pixels of the map; divides the map.
        mlp_ratio: hidden width of the MLP over `width`.
        drop_path: share of samples that skip a branch in training.
        layer_scale: first value of the branches' learned gain.
    """

    positions: Tensor

    def __init__(
        self, width: int, heads: int, window: int,
        *, mlp_ratio: float = 4.0, drop_path: float = 0.0, layer_scale: float = 1e-5,
    ) -> None:  # fmt: skip
        super().__init__()
        self.heads, self.window = heads, window
        self.norm = nn.LayerNorm(width)
        self.kv = nn.Linear(width, 2 * width)
        self.bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        nn.init.trunc_normal_(self.bias_table, std=0.02)
        self.register_buffer("positions", _relative_positions(window), persistent=False)
        self.proj = nn.Linear(width, width)
        self.attention_gain = nn.Parameter(layer_scale * torch.ones(width))
        self.mlp_norm = nn.LayerNorm(width)
        hidden = int(width * mlp_ratio)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))
        self.mlp_gain = nn.Parameter(layer_scale * torch.ones(width))
        self.drop_path = DropPath(drop_path)

    def forward(self, content: Tensor, guide: Tensor) -> Tensor:
        """Join content (B, C, H, W) and guide (B, C, h, w) to (B, C, H, W)."""
        x = self.norm(content.permute(0, 2, 3, 1))  # (B, H, W, C)
        # The released code adds to the normed features, not to the raw ones.
        x = x + self.drop_path(self.attention_gain * self._attend(x, guide))
        x = x + self.drop_path(self.mlp_gain * self.mlp(self.mlp_norm(x)))
        out: Tensor = x.permute(0, 3, 1, 2)
        return out

    def _attend(self, x: Tensor, guide: Tensor) -> Tensor:
        _, height, width, channels = x.shape
        side, heads = self.window, self.heads
        down, across, places = height // side, width // side, side * side
        split = (down, side, across, side, 2, heads, channels // heads)
        kv = self.kv(x).reshape(-1, *split)
        kv = kv.permute(5, 0, 1, 3, 6, 2, 4, 7)  # (2, B, down, across, heads, side, side, d)
        k, v = kv.flatten(5, 6).unbind(0)  # each (B, down, across, heads, N, d)
        q = self._queries(guide) * (channels // heads) ** -0.5  # (B, 1, 1, heads, N, d)
        bias = self.bias_table[self.positions.flatten()].view(places, places, heads)
        scores = q @ k.transpose(-2, -1) + bias.permute(2, 0, 1)  # (B, down, across, heads, N, N)
        seen = scores.softmax(-1) @ v  # (B, down, across, heads, N, d)
        seen = seen.reshape(-1, down, across, heads, side, side, channels // heads)
        seen = seen.permute(0, 1, 4, 2, 5, 3, 6)  # (B, down, side, across, side, heads, d)
        out: Tensor = self.proj(seen.reshape(-1, height, width, channels))
        return out

    def _queries(self, guide: Tensor) -> Tensor:
        """The guide, brought to the size of a window: the same question to every window."""
        if guide.shape[-1] != self.window:
            guide = functional.adaptive_avg_pool2d(guide, self.window)
        width, places = guide.shape[1] // self.heads, self.window * self.window
        q = guide.reshape(-1, 1, 1, self.heads, width, places)
        return q.transpose(-2, -1)  # (B, 1, 1, heads, N, d)


class CrossFusion(nn.Module):
    """One scale with the streams that are switched on."""

    def __init__(self, streams: Streams, block: "FusionArguments") -> None:
        super().__init__()
        self.to_image = block.build() if streams != "image_to_landmark" else None
        self.to_landmark = block.build() if streams != "landmark_to_image" else None

    def forward(self, image: Tensor, landmark: Tensor) -> Tensor:
        """Image and landmark maps (B, C, H, W) to one map (B, C, H, W)."""
        joined: list[Tensor] = [
            block(content, guide)
            for block, content, guide in (
                (self.to_image, image, landmark),
                (self.to_landmark, landmark, image),
            )
            if block is not None
        ]
        return joined[0] if len(joined) == 1 else joined[0] + joined[1]


class FusionArguments:
    """What one scale's `FusionBlock` is built from, kept to build it once or twice."""

    def __init__(self, width: int, heads: int, window: int, **options: float) -> None:
        self.width, self.heads, self.window, self.options = width, heads, window, options

    def build(self) -> FusionBlock:
        """A block with its own weights."""
        return FusionBlock(self.width, self.heads, self.window, **self.options)


class Attention(nn.Module):
    """Multi-head self-attention over tokens."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, C) unchanged in shape."""
        _, tokens, width = x.shape
        qkv = self.qkv(x).reshape(-1, tokens, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # each (B, heads, N, d)
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)  # (B, heads, N, N)
        seen = (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)  # (B, N, C)
        out: Tensor = self.proj(seen)
        return out


class TransformerLayer(nn.Module):
    """A pre-norm transformer layer."""

    def __init__(self, width: int, heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        hidden = int(width * mlp_ratio)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, C) unchanged in shape."""
        x = x + self.attn(self.norm1(x))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class Gate(nn.Module):
    """Squeeze-and-excitation on one token: x times a sigmoid of itself."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(width, width)
        self.linear2 = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C) unchanged in shape."""
        gate = torch.sigmoid(self.linear2(torch.relu(self.linear1(x))))
        return x * gate


class Transformer(nn.Module):
    """Class token, learned positions, a few layers, a gate and the head."""

    def __init__(
        self, tokens: int, width: int, heads: int, depth: int, mlp_ratio: float, classes: int
    ) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, tokens + 1, width))
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        self.blocks = nn.Sequential(
            *(TransformerLayer(width, heads, mlp_ratio) for _ in range(depth))
        )
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.gate = Gate(width)
        self.head = nn.Linear(width, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (B, N, C) to logits (B, classes)."""
        first = self.cls_token.expand(tokens.shape[0], -1, -1)  # (B, 1, C)
        x = torch.cat((first, tokens), dim=1) + self.pos_embed  # (B, 1 + N, C)
        x = self.norm(self.blocks(x))[:, 0]  # (B, C)
        logits: Tensor = self.head(self.gate(x))
        return logits


@dataclass(frozen=True, slots=True)
class PosterV2Sizes:
    """How large the parts of a POSTER V2 are; the defaults are the released network's.

    Attributes:
        windows: side of the attention windows of each scale.
        heads: of each scale.
        width: of the tokens.
        vit_heads, depth, mlp_ratio: of the transformer at the end.
        fusion_mlp_ratio: of the fusion blocks.
        layer_scale: first gain of each residual branch.
        drop_paths: of each scale, linspace(0, 0.5, 5)[:3].
    """

    windows: Sequence[int] = (28, 14, 7)
    heads: Sequence[int] = (2, 4, 8)
    width: int = 768
    vit_heads: int = 8
    depth: int = 2
    mlp_ratio: float = 4.0
    fusion_mlp_ratio: float = 4.0
    layer_scale: float = 1e-5
    drop_paths: Sequence[float] = (0.0, 0.125, 0.25)


class PosterV2(nn.Module):
    """The whole network: face (B, 3, H, W) to logits (B, classes).

    Args:
        labels: classes in the order of the outputs.
        image: image backbone with three maps of `widths` channels.
        landmark: landmark backbone with the same two finer maps.
        working_px: side both backbones see; other sizes are resized to it (nearest, as released).
        sizes: of its parts; as released if None.
        streams: which way the cross-attention goes.
        freeze_landmarks: keep the landmark branch as it was loaded, as the paper does.
    """

    dead_parameters = 0

    def __init__(
        self,
        labels: Sequence[str],
        image: IR50 | PlainTrunk,
        landmark: MobileFaceNet | SmallTrunk,
        *,
        working_px: int = 112,
        sizes: PosterV2Sizes | None = None,
        streams: Streams = "landmark_to_image",
        freeze_landmarks: bool = True,
    ) -> None:
        super().__init__()
        sizes = sizes or PosterV2Sizes()
        width = sizes.width
        _check_windows(working_px, sizes.windows)
        self.working_px, self.frozen = working_px, freeze_landmarks
        self.image, self.landmark = image, landmark
        widths = image.widths
        self.last_face_conv = nn.Conv2d(landmark.widths[-1], widths[-1], 3, padding=1)
        self.reduce = nn.ModuleList(nn.Conv2d(w, w, 3, 2, 1) for w in widths)
        self.fusion = nn.ModuleList(
            CrossFusion(
                streams,
                FusionArguments(
                    w,
                    h,
                    side,
                    mlp_ratio=sizes.fusion_mlp_ratio,
                    drop_path=drop,
                    layer_scale=sizes.layer_scale,
                ),
            )
            for w, h, side, drop in zip(
                widths, sizes.heads, sizes.windows, sizes.drop_paths, strict=True
            )
        )
        self.embed = nn.ModuleList((
            nn.Sequential(nn.Conv2d(widths[0], width, 3, 2, 1), nn.Conv2d(width, width, 3, 2, 1)),
            nn.Sequential(nn.Conv2d(widths[1], width, 3, 2, 1)),
            nn.Sequential(nn.Conv2d(widths[2], width, 1)),
        ))  # fmt: skip
        tokens = 3 * (working_px // 16) ** 2
        self.vit = Transformer(
            tokens, width, sizes.vit_heads, sizes.depth, sizes.mlp_ratio, len(labels)
        )
        if freeze_landmarks:
            freeze(landmark)

    def train(self, mode: bool = True) -> "PosterV2":
        """Training mode, but a frozen branch keeps its batch statistics too."""
        super().train(mode)
        if self.frozen:
            self.landmark.eval()
        return self

    def maps(self, x: Tensor) -> tuple[Maps, Maps]:
        """Image and landmark maps of a face, fine to coarse."""
        if x.shape[-1] != self.working_px or x.shape[-2] != self.working_px:
            x = functional.interpolate(x, size=self.working_px)  # (B, 3, S, S)
        image: Maps = self.image(x)  # S/2, S/4, S/8
        landmark: Maps = self.landmark(x)  # S/4, S/8, S/16
        return image, landmark

    def classify(self, image: Maps, landmark: Maps) -> Tensor:
        """Logits (B, classes) from the backbones' maps."""
        guides = (landmark[0], landmark[1], self.last_face_conv(landmark[2]))
        tokens = []
        for i, guide in enumerate(guides):
            content = self.reduce[i](image[i])  # (B, w, S/4, S/4), then S/8, S/16
            joined = self.fusion[i](content, guide)  # the same shape
            tokens.append(self.embed[i](joined).flatten(2).transpose(1, 2))  # (B, (S/16)², C)
        logits: Tensor = self.vit(torch.cat(tokens, dim=1))
        return logits

    def forward(self, x: Tensor) -> Tensor:
        """Face (B, 3, H, W), normalised, to logits (B, classes)."""
        return self.classify(*self.maps(x))

    def resized_tables(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Position tables of another picture size or window, bicubically resized to this model's.

        Args:
            state: of a POSTER V2 with as many scales and channels.

        Returns:
            Those tensors of `state` that had to be resized.
        """
        own = self.state_dict()
        resized = {}
        for key in own.keys() & state.keys():
            if own[key].shape == state[key].shape:
                continue
            if key.endswith("bias_table"):  # ((2 side - 1)², heads)
                resized[key] = _resized_grid(state[key], len(own[key]))
            elif key == "vit.pos_embed":  # (1, 1 + 3 side², C): the class token, then three maps
                first, maps = state[key][:, :1].float(), state[key][0, 1:].chunk(3)
                grids = [_resized_grid(rows, (own[key].shape[1] - 1) // 3) for rows in maps]
                resized[key] = torch.cat([first, torch.cat(grids)[None]], dim=1)
        return resized


def _check_windows(working_px: int, windows: Sequence[int]) -> None:
    for scale, side in zip((4, 8, 16), windows, strict=True):
        if working_px % 16 or (working_px // scale) % side:
            raise ValueError(
                f"window of {side} does not divide the map of {working_px / scale:g} px; "
                f"choose a divisor for each of {[working_px // s for s in (4, 8, 16)]}"
            )


def _resized_grid(rows: Tensor, places: int) -> Tensor:
    """A square grid as rows (N, C) to a grid of `places` rows (places, C)."""
    before, after = math.isqrt(len(rows)), math.isqrt(places)
    grid = rows.float().T.reshape(1, -1, before, before)
    grown = functional.interpolate(grid, size=after, mode="bicubic", align_corners=False)
    return grown.flatten(2)[0].T.contiguous()


class ReleasedPosterV2(PosterV2):
    """POSTER V2 as published, less its dead layers: 43,849,957 parameters, 8.435 GMACs."""

    dead_parameters = RELEASED_DEAD_PARAMETERS


def poster_v2(
    labels: Sequence[str],
    *,
    working_px: int = 112,
    windows: Sequence[int] | None = None,
    streams: Streams = "landmark_to_image",
    freeze_landmarks: bool = True,
) -> PosterV2:
    """POSTER V2 as released; without `windows` one window is a whole map, as in its code."""
    kind = ReleasedPosterV2 if working_px == 112 else PosterV2
    sizes = PosterV2Sizes(windows=windows or tuple(working_px // s for s in (4, 8, 16)))
    return kind(
        labels, IR50(), MobileFaceNet(input_px=working_px), working_px=working_px, sizes=sizes,
        streams=streams, freeze_landmarks=freeze_landmarks,
    )  # fmt: skip


def poster_v2_s(
    labels: Sequence[str],
    *,
    working_px: int = 48,
    windows: Sequence[int] = (6, 6, 3),
    streams: Streams = "landmark_to_image",
) -> PosterV2:
    """The small one that ships: the same design, narrow, on 48 px faces.

    Its finest scale has four windows, so the paper's windows are really used. As the paper starts
    from IR-50 trained on faces, it starts from `cnn` trained on expressions; the landmark branch
    has no pretrained weights and is trained with the rest. The gains start at 0.1, not 1e-5.
    """
    image = PlainTrunk()
    landmark = SmallTrunk(stem=16, depths=(1, 1, 1), stem_stride=2)
    sizes = PosterV2Sizes(
        windows=windows, width=192, vit_heads=6, mlp_ratio=2.0, layer_scale=0.1,
        drop_paths=(0.0, 0.05, 0.1),
    )  # fmt: skip
    return PosterV2(
        labels, image, landmark, working_px=working_px, sizes=sizes, streams=streams,
        freeze_landmarks=False,
    )  # fmt: skip
