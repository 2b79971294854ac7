"""YOLOv5 (n, s, m, l): the v6.0 graph with either of its two heads.

    backbone + neck   ultralytics/yolov5 v6.0 (AGPL-3.0, https://github.com/ultralytics/yolov5)
    AnchorHead        the original repository's `Detect`: three anchors a cell, objectness
    AnchorFreeHead    ultralytics' YOLOv5u: distribution focal boxes, no objectness

Written from the published graph so that the watch needs neither repository. Every parameter bears
the name it has there (`model.0.conv.weight`), so their tensors load as they are.
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn

Size = Literal["n", "s", "m", "l"]

# depth and width multiples of the published yaml files
SIZES: dict[str, tuple[float, float]] = {
    "n": (0.33, 0.25),
    "s": (0.33, 0.50),
    "m": (0.67, 0.75),
    "l": (1.00, 1.00),
}
STRIDES = (8, 16, 32)
# COCO anchors of the v6.0 yaml files: (width, height) in pixels for P3, P4, P5
ANCHORS_PX = (
    ((10, 13), (16, 30), (33, 23)),
    ((30, 61), (62, 45), (59, 119)),
    ((116, 90), (156, 198), (373, 326)),
)
DFL_BINS = 16


class Conv(nn.Module):
    """Convolution, batch norm, SiLU; the norm disappears into the convolution when fused."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, padding: int = -1
    ) -> None:
        super().__init__()
        padding = kernel // 2 if padding < 0 else padding
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
        # eps and momentum of the original's `initialize_weights`
        self.bn: nn.Module = nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.03)
        self.act = nn.SiLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H / stride, W / stride)."""
        activated: Tensor = self.act(self.bn(self.conv(x)))
        return activated

    def fuse(self) -> None:
        """Fold the batch norm into the convolution's weight and bias."""
        if not isinstance(self.bn, nn.BatchNorm2d):
            return
        self.conv = nn.utils.fusion.fuse_conv_bn_eval(self.conv, self.bn)
        self.bn = nn.Identity()


class Bottleneck(nn.Module):
    """1x1 then 3x3, with a shortcut in the backbone and none in the neck."""

    def __init__(self, channels: int, shortcut: bool) -> None:
        super().__init__()
        self.cv1 = Conv(channels, channels, 1)
        self.cv2 = Conv(channels, channels, 3)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """Same shape out as in."""
        y: Tensor = self.cv2(self.cv1(x))
        return x + y if self.shortcut else y


class C3(nn.Module):
    """Cross-stage partial block: half through bottlenecks, half round them."""

    def __init__(self, inputs: int, outputs: int, repeats: int, shortcut: bool = True) -> None:
        super().__init__()
        hidden = outputs // 2
        self.cv1 = Conv(inputs, hidden)
        self.cv2 = Conv(inputs, hidden)
        self.cv3 = Conv(2 * hidden, outputs)
        self.m = nn.Sequential(*(Bottleneck(hidden, shortcut) for _ in range(repeats)))

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H, W)."""
        joined: Tensor = self.cv3(torch.cat((self.m(self.cv1(x)), self.cv2(x)), 1))
        return joined


class SPPF(nn.Module):
    """Spatial pyramid pooling, fast: three 5x5 poolings in a row."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = channels // 2
        self.cv1 = Conv(channels, hidden)
        self.cv2 = Conv(4 * hidden, channels)
        self.m = nn.MaxPool2d(5, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape out as in."""
        levels = [self.cv1(x)]
        for _ in range(3):
            levels.append(self.m(levels[-1]))
        pooled: Tensor = self.cv2(torch.cat(levels, 1))
        return pooled


class AnchorHead(nn.Module):
    """The original `Detect`: one 1x1 convolution a scale, 3 x (5 + classes) outputs a cell."""

    anchors: Tensor

    def __init__(self, classes: int, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.outputs = classes + 5
        self.m = nn.ModuleList(nn.Conv2d(c, 3 * self.outputs, 1) for c in channels)
        pixels = torch.tensor(ANCHORS_PX, dtype=torch.float32)
        self.register_buffer("anchors", pixels / torch.tensor(STRIDES).view(3, 1, 1))

    def forward(self, levels: list[Tensor]) -> Tensor:
        """Three feature maps to (B, N, 5 + classes): x, y, w, h in pixels, objectness, scores."""
        return torch.cat([self._decode(i, x) for i, x in enumerate(levels)], 1)

    def _decode(self, level: int, x: Tensor) -> Tensor:
        batch, _, rows, columns = x.shape
        y = self.m[level](x).view(batch, 3, self.outputs, rows, columns)
        y = y.permute(0, 1, 3, 4, 2).sigmoid()  # (B, 3, rows, columns, 5 + classes)
        corner = cell_centres(rows, columns, x).view(1, 1, rows, columns, 2) - 1.0
        anchor = self.anchors[level].view(1, 3, 1, 1, 2)
        stride = STRIDES[level]
        xy = (y[..., :2] * 2 + corner) * stride
        wh = (y[..., 2:4] * 2) ** 2 * anchor * stride
        return torch.cat((xy, wh, y[..., 4:]), 4).view(batch, -1, self.outputs)


class DistributionMean(nn.Module):
    """Expected value over the bins of a box side (distribution focal loss, Li et al. 2020)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(DFL_BINS, 1, 1, bias=False).requires_grad_(False)
        self.conv.weight.data[:] = torch.arange(DFL_BINS, dtype=torch.float32).view(1, -1, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 4 x bins, N) logits to (B, 4, N) distances in cells."""
        batch, _, cells = x.shape
        shares = x.view(batch, 4, DFL_BINS, cells).transpose(2, 1).softmax(1)
        mean: Tensor = self.conv(shares).view(batch, 4, cells)
        return mean


class AnchorFreeHead(nn.Module):
    """YOLOv5u's `Detect`: separate box and class branches, no anchors, no objectness."""

    def __init__(self, classes: int, channels: tuple[int, ...]) -> None:
        super().__init__()
        box = max(16, channels[0] // 4, 4 * DFL_BINS)
        score = max(channels[0], min(classes, 100))
        self.cv2 = nn.ModuleList(_branch(c, box, 4 * DFL_BINS) for c in channels)
        self.cv3 = nn.ModuleList(_branch(c, score, classes) for c in channels)
        self.dfl = DistributionMean()

    def forward(self, levels: list[Tensor]) -> Tensor:
        """Three feature maps to (B, 4 + classes, N): x, y, w, h in pixels, class scores."""
        sides = torch.cat([self.cv2[i](x).flatten(2) for i, x in enumerate(levels)], 2)
        scores = torch.cat([self.cv3[i](x).flatten(2) for i, x in enumerate(levels)], 2)
        grids = [cell_centres(x.shape[2], x.shape[3], x) for x in levels]
        centres = torch.cat(grids).T.unsqueeze(0)  # (1, 2, N)
        # Of the grid's own shape: a traced graph then serves pictures of any size.
        sizes = [torch.full_like(g[:, 0], s) for g, s in zip(grids, STRIDES, strict=True)]
        stride = torch.cat(sizes).view(1, 1, -1)
        near, far = self.dfl(sides).chunk(2, 1)
        low, high = centres - near, centres + far
        boxes = torch.cat(((low + high) / 2, high - low), 1) * stride
        return torch.cat((boxes, scores.sigmoid()), 1)


def _branch(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        Conv(inputs, hidden, 3), Conv(hidden, hidden, 3), nn.Conv2d(hidden, outputs, 1)
    )


def cell_centres(rows: int, columns: int, like: Tensor) -> Tensor:
    """(rows x columns, 2) centres (x, y) of a grid's cells, in cells, row by row."""
    y = torch.arange(rows, device=like.device, dtype=like.dtype) + 0.5
    x = torch.arange(columns, device=like.device, dtype=like.dtype) + 0.5
    yy, xx = torch.meshgrid(y, x, indexing="ij")
    return torch.stack((xx, yy), -1).view(-1, 2)


class Upsample(nn.Module):
    """Nearest neighbour, twice as large."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, 2 H, 2 W)."""
        return nn.functional.interpolate(x, scale_factor=2.0, mode="nearest")


class YOLOv5(nn.Module):
    """The whole detector, layers numbered as in the published yaml.

    Args:
        labels: class names in the order of the outputs.
        size: n, s, m or l.
        anchors: the original anchor-based head, or YOLOv5u's.
    """

    def __init__(self, labels: tuple[str, ...], size: Size = "n", anchors: bool = False) -> None:
        super().__init__()
        depth, width = SIZES[size]
        a, b, c, d, e = (
            math.ceil(channels * width / 8) * 8 for channels in (64, 128, 256, 512, 1024)
        )
        few, six, nine = (max(round(n * depth), 1) for n in (3, 6, 9))
        head = AnchorHead if anchors else AnchorFreeHead
        self.labels, self.size, self.anchors = labels, size, anchors
        self.model = nn.ModuleList(
            [
                Conv(3, a, 6, 2, 2),  # 0: P1/2
                Conv(a, b, 3, 2),  # 1: P2/4
                C3(b, b, few),
                Conv(b, c, 3, 2),  # 3: P3/8
                C3(c, c, six),
                Conv(c, d, 3, 2),  # 5: P4/16
                C3(d, d, nine),
                Conv(d, e, 3, 2),  # 7: P5/32
                C3(e, e, few),
                SPPF(e),
                Conv(e, d),  # 10
                Upsample(),
                nn.Identity(),  # 12: joined with 6
                C3(2 * d, d, few, shortcut=False),
                Conv(d, c),  # 14
                Upsample(),
                nn.Identity(),  # 16: joined with 4
                C3(2 * c, c, few, shortcut=False),  # 17: P3 out
                Conv(c, c, 3, 2),
                nn.Identity(),  # 19: joined with 14
                C3(2 * c, d, few, shortcut=False),  # 20: P4 out
                Conv(d, d, 3, 2),
                nn.Identity(),  # 22: joined with 10
                C3(2 * d, e, few, shortcut=False),  # 23: P5 out
                head(len(labels), (c, d, e)),
            ]
        )

    def forward(self, x: Tensor) -> Tensor:
        """Detect.

        Args:
            x: (B, 3, H, W) RGB in 0..1, H and W multiples of 32.

        Returns:
            (B, N, 5 + classes) with the anchor head, (B, 4 + classes, N) with the other.
        """
        joined_with = {12: 6, 16: 4, 19: 14, 22: 10}
        kept: dict[int, Tensor] = {}
        *layers, head = self.model
        for index, layer in enumerate(layers):
            if index in joined_with:
                x = torch.cat((x, kept[joined_with[index]]), 1)
            x = layer(x)
            if index in {4, 6, 10, 14, 17, 20, 23}:
                kept[index] = x
        outputs: Tensor = head([kept[17], kept[20], kept[23]])
        return outputs

    def fuse(self) -> "YOLOv5":
        """Fold every batch norm into its convolution; for inference only."""
        self.eval()
        for module in self.modules():
            if isinstance(module, Conv):
                module.fuse()
        return self


def yolov5(labels: tuple[str, ...], size: Size = "n", anchors: bool = False) -> YOLOv5:
    """Build the detector: the factory the model cards name."""
    return YOLOv5(tuple(labels), size, anchors)


def count_parameters(network: nn.Module) -> int:
    """All parameters, the constant bins of the anchor-free head included."""
    return sum(parameter.numel() for parameter in network.parameters())
