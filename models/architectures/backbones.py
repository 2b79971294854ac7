"""The networks under the expression models: IR-50, MobileFaceNet, ResNet-18, two small trunks.

Each of them maps a face to three feature maps, fine to coarse. Module names inside IR-50 and
MobileFaceNet are those of the files their authors publish, so that `models.checkpoint` maps them
by prefix alone.

Sources: IR-50 and MobileFaceNet as in Talented-Q/POSTER_V2 `models/ir50.py`,
`models/mobilefacenet.py` (MIT), after ArcFace (Deng et al. 2019) and MobileFaceNets
(Chen et al. 2018). ResNet-18 is He et al. 2016 with torchvision's module names: torchvision itself
is not a dependency, because its wheel must match torch's build to the letter to be imported.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

Maps = tuple[Tensor, Tensor, Tensor]


class IRBlock(nn.Module):
    """Bottleneck "IR" of ArcFace: BN, conv, PReLU, conv (strided), BN, plus a shortcut."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        # MaxPool2d(1, stride) is a strided identity without parameters.
        self.shortcut_layer: nn.Module = nn.MaxPool2d(1, stride)
        if inputs != width:
            self.shortcut_layer = nn.Sequential(
                nn.Conv2d(inputs, width, 1, stride, bias=False), nn.BatchNorm2d(width)
            )
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(inputs),
            nn.Conv2d(inputs, width, 3, 1, 1, bias=False),
            nn.PReLU(width),
            nn.Conv2d(width, width, 3, stride, 1, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, width, H/stride, W/stride)."""
        out: Tensor = self.res_layer(x) + self.shortcut_layer(x)
        return out


def _stage(block: type[nn.Module], inputs: int, width: int, depth: int) -> nn.Sequential:
    first = block(inputs, width, 2)
    return nn.Sequential(first, *(block(width, width, 1) for _ in range(depth - 1)))


class IR50(nn.Module):
    """The first three bodies of IR-50: 17.6 M parameters, 112 px in.

    The released file carries a fourth part, `output_layer` (12.8 M parameters), that POSTER V2
    never runs; it is left out here.
    """

    widths = (64, 128, 256)

    def __init__(self) -> None:
        super().__init__()
        self.input_layer = nn.Sequential(
            nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.PReLU(64)
        )
        self.body1 = _stage(IRBlock, 64, 64, 3)
        self.body2 = _stage(IRBlock, 64, 128, 4)
        self.body3 = _stage(IRBlock, 128, 256, 14)

    def forward(self, x: Tensor) -> Maps:
        """Face (B, 3, S, S) to three maps."""
        x = self.input_layer(x)  # (B, 64, S, S)
        fine = self.body1(x)  # (B, 64, S/2, S/2)
        middle = self.body2(fine)  # (B, 128, S/4, S/4)
        coarse = self.body3(middle)  # (B, 256, S/8, S/8)
        return fine, middle, coarse


class BasicBlock(nn.Module):
    """Basic block of ResNet: two 3x3 convolutions beside a shortcut."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or inputs != width:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, width, 1, stride, bias=False), nn.BatchNorm2d(width)
            )

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, width, H/stride, W/stride)."""
        out = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(out)) + self.downsample(x))


def _residual_stage(inputs: int, width: int, depth: int, stride: int) -> nn.Sequential:
    first = BasicBlock(inputs, width, stride)
    return nn.Sequential(first, *(BasicBlock(width, width, 1) for _ in range(depth - 1)))


class SmallTrunk(nn.Module):
    """A stem and three stages of ResNet basic blocks: the small POSTER V2's landmark branch.

    Plain convolutions on purpose: on a CPU a strided depthwise convolution trains eight times
    slower than its multiplications would say.
    """

    def __init__(
        self,
        stem: int = 24,
        widths: Sequence[int] = (48, 96, 192),
        depths: Sequence[int] = (2, 2, 2),
        stem_stride: int = 1,
    ) -> None:
        super().__init__()
        self.widths = tuple(widths)
        self.stem = nn.Sequential(
            nn.Conv2d(3, stem, 3, stem_stride, 1, bias=False), nn.BatchNorm2d(stem), nn.ReLU()
        )
        inputs = (stem, *widths[:-1])
        self.stages = nn.ModuleList(
            _residual_stage(before, width, depth, 2)
            for before, width, depth in zip(inputs, widths, depths, strict=True)
        )

    def forward(self, x: Tensor) -> Maps:
        """Face (B, 3, S, S) to three maps; s = S / stem_stride."""
        fine = self.stages[0](self.stem(x))  # (B, w0, s/2, s/2)
        middle = self.stages[1](fine)  # (B, w1, s/4, s/4)
        coarse = self.stages[2](middle)  # (B, w2, s/8, s/8)
        return fine, middle, coarse


def plain_stages(widths: Sequence[int]) -> nn.Sequential:
    """A stem, then a stage a width: pooling by two and two 3x3 convolutions, BN and ReLU."""
    layers = [*_convolution(3, widths[0])]
    for before, width in pairwise(widths):
        layers += [nn.MaxPool2d(2), *_convolution(before, width), *_convolution(width, width)]
    return nn.Sequential(*layers)


def _convolution(inputs: int, width: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]


class PlainTrunk(nn.Module):
    """The convolutions of `cnn`, by the same names: the small POSTER V2 starts from its weights."""

    def __init__(self, widths: tuple[int, int, int, int] = (24, 48, 96, 192)) -> None:
        super().__init__()
        self.widths = widths[1:]
        self.stages = plain_stages(widths)

    def forward(self, x: Tensor) -> Maps:
        """Face (B, 3, S, S) to three maps."""
        fine = self.stages[:10](x)  # (B, w1, S/2, S/2)
        middle = self.stages[10:17](fine)  # (B, w2, S/4, S/4)
        coarse = self.stages[17:](middle)  # (B, w3, S/8, S/8)
        return fine, middle, coarse


class DropPath(nn.Module):
    """Stochastic depth (Huang et al. 2016): a sample skips the branch with this probability."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, x: Tensor) -> Tensor:
        """(B, ...) unchanged in shape; the identity outside training."""
        if not self.training or not self.probability:
            return x
        keep = 1 - self.probability
        mask = torch.rand(x.shape[0], *(1,) * (x.ndim - 1), device=x.device) < keep
        return x * mask / keep


class ConvBlock(nn.Module):
    """Convolution, batch norm and, unless it is a projection, PReLU."""

    def __init__(
        self, inputs: int, width: int, kernel: int = 1, stride: int = 1, groups: int = 1,
        *, linear: bool = False, padding: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        pad = kernel // 2 if padding is None else padding
        self.conv = nn.Conv2d(inputs, width, kernel, stride, pad, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(width)
        self.prelu: nn.Module = nn.Identity() if linear else nn.PReLU(width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, width, H/stride, W/stride)."""
        out: Tensor = self.prelu(self.bn(self.conv(x)))
        return out


class DepthWise(nn.Module):
    """Inverted residual: 1x1 up, 3x3 per channel, 1x1 down."""

    def __init__(self, inputs: int, width: int, hidden: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = ConvBlock(inputs, hidden)
        self.conv_dw = ConvBlock(hidden, hidden, 3, stride, groups=hidden)
        self.project = ConvBlock(hidden, width, linear=True)
        self.residual = stride == 1 and inputs == width

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, width, H/stride, W/stride)."""
        out: Tensor = self.project(self.conv_dw(self.conv(x)))
        return x + out if self.residual else out


class Repeated(nn.Module):
    """`depth` inverted residuals of one width."""

    def __init__(self, width: int, hidden: int, depth: int) -> None:
        super().__init__()
        self.model = nn.Sequential(*(DepthWise(width, width, hidden) for _ in range(depth)))

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, H, W) unchanged in shape."""
        out: Tensor = self.model(x)
        return out


class LandmarkHead(nn.Module):
    """Global depthwise convolution to 2 numbers a landmark (GDC of MobileFaceNet)."""

    def __init__(self, width: int, map_px: int, points: int) -> None:
        super().__init__()
        self.conv_6_dw = ConvBlock(width, width, map_px, groups=width, linear=True, padding=0)
        self.linear = nn.Linear(width, 2 * points, bias=False)
        self.bn = nn.BatchNorm1d(2 * points)

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, map, map) to (B, points, 2): x and y of each landmark."""
        out: Tensor = self.bn(self.linear(self.conv_6_dw(x).flatten(1)))
        return out.view(-1, out.shape[1] // 2, 2)


class MobileFaceNet(nn.Module):
    """The landmark branch: three maps, and 68 landmarks where they are asked for.

    With the default arguments it is the released network (1,007,248 parameters, 112 px in).
    """

    def __init__(
        self,
        stem: int = 64,
        widths: tuple[int, int, int] = (64, 128, 128),
        depths: tuple[int, int, int] = (4, 6, 2),
        top: int = 512,
        input_px: int = 112,
        points: int = 68,
    ) -> None:
        super().__init__()
        fine, middle, coarse = widths
        self.widths = (fine, middle, top)
        self.conv1 = ConvBlock(3, stem, 3, 2)
        self.conv2_dw = ConvBlock(stem, stem, 3, groups=stem)
        self.conv_23 = DepthWise(stem, fine, 2 * stem, 2)
        self.conv_3 = Repeated(fine, 2 * fine, depths[0])
        self.conv_34 = DepthWise(fine, middle, 4 * fine, 2)
        self.conv_4 = Repeated(middle, 2 * middle, depths[1])
        self.conv_45 = DepthWise(middle, coarse, 4 * middle, 2)
        self.conv_5 = Repeated(coarse, 2 * coarse, depths[2])
        self.conv_6_sep = ConvBlock(coarse, top)
        self.output_layer = LandmarkHead(top, input_px // 16, points)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Maps:
        """Face (B, 3, S, S) to three maps."""
        x = self.conv2_dw(self.conv1(x))  # (B, stem, S/2, S/2)
        fine = self.conv_3(self.conv_23(x))  # (B, w0, S/4, S/4)
        middle = self.conv_4(self.conv_34(fine))  # (B, w1, S/8, S/8)
        coarse = self.conv_6_sep(self.conv_5(self.conv_45(middle)))  # (B, top, S/16, S/16)
        return fine, middle, coarse

    def landmarks(self, coarse: Tensor) -> Tensor:
        """Landmarks (B, points, 2) from the coarsest map of `forward`."""
        out: Tensor = self.output_layer(coarse)
        return out


class ResNet18(nn.Module):
    """ResNet-18 without pooling and head: 11,176,512 parameters."""

    width = 512

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = _residual_stage(64, 64, 2, 1)
        self.layer2 = _residual_stage(64, 128, 2, 2)
        self.layer3 = _residual_stage(128, 256, 2, 2)
        self.layer4 = _residual_stage(256, 512, 2, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Face (B, 3, H, W) to (B, 512, H/32, W/32)."""
        x = self.maxpool(torch.relu(self.bn1(self.conv1(x))))  # (B, 64, H/4, W/4)
        x = self.layer2(self.layer1(x))  # (B, 128, H/8, W/8)
        out: Tensor = self.layer4(self.layer3(x))  # (B, 512, H/32, W/32)
        return out


def parameters(module: nn.Module, *, trainable: bool = False) -> int:
    """How many parameters `module` holds, or how many of them are trained."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad or not trainable)


def freeze(module: nn.Module) -> None:
    """Take `module` out of training."""
    for parameter in module.parameters():
        parameter.requires_grad_(False)


@torch.no_grad()
def blank_face(batch: int, height_px: int, width_px: int) -> Tensor:
    """A deterministic picture (batch, 3, height, width), for tracing and counting."""
    return torch.linspace(-1, 1, batch * 3 * height_px * width_px).view(
        batch, 3, height_px, width_px
    )
