"""The names other authors gave their weights, and ours: one table of rules a model.

A rule is a pattern and its replacement; None means a tensor that no picture ever reaches, or one
that follows from the shapes. A key that no rule knows stays as it is and is then refused.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

Rule = tuple[str, str | Callable[[re.Match[str]], str] | None]
Tensors = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class FilledPart:
    """What a file of weights is of.

    Attributes:
        prefix: the submodule it fills; empty for the whole model.
        what: in words.
    """

    prefix: str
    what: str


def _scale(before: str, after: str) -> Callable[[re.Match[str]], str]:
    """A replacement that counts scales from 0 where the pattern's first group counts from 1."""
    return lambda match: f"{before}{int(match[1]) - 1}{after}"


_MLP: tuple[Rule, ...] = ((r"\.mlp\.fc1\.", ".mlp.0."), (r"\.mlp\.fc2\.", ".mlp.2."))

# Talented-Q/POSTER_V2, `models/PosterV2_7cls.py`
POSTER_V2: tuple[Rule, ...] = (
    (r"^ir_back\.output_layer\.", None),
    (r"^VIT\.(patch_embed|CON1|IRLinear1|IRLinear2|eca_block)\.", None),
    (r"^VIT\.blocks\.\d+\.conv\.", None),
    (r"^attn\d\.relative_position_index$", None),
    (r"^face_landback\.", "landmark."),
    (r"^ir_back\.", "image."),
    (r"^window(\d)\.norm\.", _scale("fusion.", ".to_image.norm.")),
    (r"^attn(\d)\.qkv\.", _scale("fusion.", ".to_image.kv.")),
    (r"^attn(\d)\.relative_position_bias_table$", _scale("fusion.", ".to_image.bias_table")),
    (r"^attn(\d)\.proj\.", _scale("fusion.", ".to_image.proj.")),
    (r"^ffn(\d)\.gamma1$", _scale("fusion.", ".to_image.attention_gain")),
    (r"^ffn(\d)\.gamma2$", _scale("fusion.", ".to_image.mlp_gain")),
    (r"^ffn(\d)\.norm\.", _scale("fusion.", ".to_image.mlp_norm.")),
    (r"^ffn(\d)\.mlp\.", _scale("fusion.", ".to_image.mlp.")),
    (r"^conv(\d)\.", _scale("reduce.", ".")),
    (r"^embed_q\.", "embed.0."),
    (r"^embed_k\.", "embed.1."),
    (r"^embed_v\.proj\.", "embed.2.0."),
    (r"^VIT\.se_block\.", "vit.gate."),
    (r"^VIT\.head\.linear\.", "vit.head."),
    (r"^VIT\.", "vit."),
    *_MLP,
)

# zczcwh/POSTER, `models/emotion_hyp.py` and `models/hyp_crossvit.py`
POSTER: tuple[Rule, ...] = (
    (r"^ir_back\.output_layer\.", None),
    (r"^pyramid_fuse\.cls_token$", None),
    (r"^face_landback\.", "landmark."),
    (r"^ir_back\.", "image."),
    (r"^ir_layer\.", "image_layer."),
    (r"^pyramid_fuse\.pos_embed$", "positions"),
    (r"^pyramid_fuse\.downsample_m\.", "narrow_medium."),
    (r"^pyramid_fuse\.downsample_s\.", "narrow_small."),
    (r"^pyramid_fuse\.norm\.", "norm."),
    (r"^pyramid_fuse\.blocks\.", "layers."),
    (r"^(layers\.\d+)\.upsample_m\.", r"\1.widen_medium."),
    (r"^(layers\.\d+)\.upsample_s\.", r"\1.widen_small."),
    (r"\.block_l\.", ".large."),
    (r"\.block_m\.", ".medium."),
    (r"\.block_s\.", ".small."),
    (r"\.(large|medium|small)\.conv\.", r".\1.mix."),
    (r"\.attn_img\.", ".image.attention."),
    (r"\.attn_lm\.", ".landmark.attention."),
    (r"\.(large|medium|small)\.norm1\.", r".\1.image.norm1."),
    (r"\.(large|medium|small)\.norm2\.", r".\1.image.norm2."),
    (r"\.(large|medium|small)\.norm3\.", r".\1.landmark.norm1."),
    (r"\.(large|medium|small)\.norm4\.", r".\1.landmark.norm2."),
    (r"\.(large|medium|small)\.mlp1\.", r".\1.image.mlp."),
    (r"\.(large|medium|small)\.mlp2\.", r".\1.landmark.mlp."),
    (r"^se_block\.", "gate."),
    (r"^head\.linear\.", "head."),
    *_MLP,
)

_RESNET_CHILDREN = {
    "0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4",
}  # fmt: skip

# PinJui/FDRL, `networks/fdrl.py`: ResNet-18 as a numbered sequence, branches as numbered layers.
FDRL: tuple[Rule, ...] = (
    (r"^backbone\.(\d)\.", lambda match: f"backbone.{_RESNET_CHILDREN.get(match[1], match[1])}."),
    (r"^fdn\.fdn_fc(\d+)\.0\.", r"decomposition.branches.\1."),
    (r"^frn\.intra_rm\.intra_fc(\d+)\.0\.", r"intra.branches.\1."),
    (r"^frn\.inter_rm\.inter_fc(\d+)\.0\.", r"inter.branches.\1."),
    (r"^epn\.", "head."),
)

# torchvision's ResNet-18, as trained on MS-Celeb-1M or ImageNet.
RESNET18: tuple[Rule, ...] = ((r"^fc\.", None),)
# Our own `cnn` under the small POSTER V2; `resnet18` under FDRL and `ir50` under POSTER V2.
CNN: tuple[Rule, ...] = ((r"^head\.", None),)
TRUNK: tuple[Rule, ...] = ((r"^head\.", None), (r"^trunk\.", ""))
MOBILEFACENET: tuple[Rule, ...] = ()


def _ir50_body(match: re.Match[str]) -> str:
    """face.evoLVe counts all 24 blocks of IR-50 in one body; the first 21 are used."""
    block = int(match[1])
    body, first = (1, 0) if block < 3 else (2, 3) if block < 7 else (3, 7)
    return f"body{body}.{block - first}."


IR50: tuple[Rule, ...] = (
    (r"^output_layer\.", None),
    (r"^body\.2[123]\.", None),
    (r"^body4\.", None),
    (r"^body\.(\d+)\.", _ir50_body),
)
POSTER = (*POSTER, (r"^image\.body\.(\d+)\.", lambda match: f"image.{_ir50_body(match)}"))


def rename(tensors: Tensors, rules: Iterable[Rule]) -> Tensors:
    """Every tensor under our name, less those that rules drop."""
    rules = tuple(rules)
    renamed = {}
    for key, value in tensors.items():
        name: str | None = key
        for pattern, replacement in rules:
            if name is None or not re.search(pattern, name):
                continue
            name = None if replacement is None else re.sub(pattern, replacement, name)
        if name is not None:
            renamed[name] = value
    return renamed


def _stack_branches(tensors: Tensors) -> Tensors:
    """FDRL's M numbered layers as one tensor, in the order of their numbers."""
    stacked, parts = {}, dict[str, dict[int, Tensor]]()
    for key, value in tensors.items():
        match = re.fullmatch(r"(.*\.branches)\.(\d+)\.(weight|bias)", key)
        if match:
            parts.setdefault(f"{match[1]}.{match[3]}", {})[int(match[2])] = value
        else:
            stacked[key] = value
    for key, layers in parts.items():
        stacked[key] = torch.stack([layers[i] for i in sorted(layers)])
    return stacked


# A key only one kind of backbone file has, the submodules it may fill, what it is, and its rules.
_BACKBONES: tuple[tuple[str, tuple[str, ...], str, tuple[Rule, ...]], ...] = (
    ("input_layer.0.weight", ("image",), "IR-50, the image backbone", IR50),
    ("stages.0.weight", ("image",), "`cnn`, the small image backbone", CNN),
    ("conv2_dw.conv.weight", ("landmark",), "MobileFaceNet, the landmark backbone", MOBILEFACENET),
    ("layer4.1.conv2.weight", ("backbone", "trunk"), "ResNet-18, the backbone", RESNET18),
    ("trunk.layer4.1.conv2.weight", ("backbone",), "`resnet18`, the backbone", TRUNK),
    ("trunk.body3.13.res_layer.4.weight", ("image",), "`ir50`, the image backbone", TRUNK),
)


def translate(model: nn.Module, tensors: Tensors) -> tuple[FilledPart, Tensors]:
    """Which part of `model` the tensors are of, and the tensors under that part's names."""
    keys = tensors.keys()
    whole = FilledPart("", f"all of {type(model).__name__}")
    if "ir_back.input_layer.0.weight" in keys:
        rules = POSTER if any(k.startswith("pyramid_fuse.") for k in keys) else POSTER_V2
        return whole, rename(tensors, rules)
    if "fdn.fdn_fc0.0.weight" in keys:
        return whole, _stack_branches(rename(tensors, FDRL))
    for marker, places, what, rules in _BACKBONES:
        place = next((p for p in places if hasattr(model, p)), None)
        if marker in keys and place:
            return FilledPart(place, what), rename(tensors, rules)
    return whole, dict(tensors)
