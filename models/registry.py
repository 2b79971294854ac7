"""What models there are: a plain dict of cards. Torch-free, so that listing them costs nothing.

A card says everything a caller must know to feed a model and to trust it; the architecture's own
file is named, not imported. Shipped weights lie in `models/weights/NAME.safetensors` beside
`NAME.json`, which holds the card as it was trained plus the file's sha256.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal, TypedDict

from pydantic import JsonValue

WEIGHTS = Path(__file__).parent / "weights"
RESULTS = Path(__file__).parent / "results"

Task = Literal["expression", "detection", "eyes"]
# What a network or a graph takes: camera pixels, or floats in its own scale.
Feed = Literal["pixels", "floats"]

# RAF-DB's own order (1..7), less one; its papers often swap anger and disgust.
RAF_LABELS = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")
# FER+ column order (Barsoum et al. 2016), without the unknown and no-face votes.
FER_PLUS_LABELS = (
    "neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt",
)  # fmt: skip
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class FaceAlignment(TypedDict, total=False):
    """How faces must be cropped before a model sees them; what is not said is not asked for.

    Attributes:
        kind: in words.
        margin: share of the face box that is added round it.
        eyes_xy: middle between the eyes, as shares of the crop.
        eyes_apart: distance of the eyes' centres as a share of the crop's width.
        tolerance: of both, as a share of the crop.
    """

    kind: str
    margin: float
    eyes_xy: Sequence[float]
    eyes_apart: float
    tolerance: float


@dataclass(frozen=True, slots=True)
class ModelCard:
    """One model, as data.

    Attributes:
        name: as registered, snake case.
        task: expression (face crop → label), detection (picture → boxes), eyes (eye crop → state).
        architecture: `module:factory` under `models`; called as `factory(labels=..., **arguments)`.
        labels: classes in the order of the outputs.
        input_hw: (height, width) in pixels.
        channels: 3 (RGB) or 1 (grey).
        mean, std: of pixels scaled to 0..1, one per channel.
        arguments: further keyword arguments of the factory.
        alignment: how faces must be cropped before.
        paper, licence, training_data: where it comes from.
        data_licence: `research` where a set it was trained on is for research; else empty.
        measured: figures with n and interval, as `models.report` writes them.
        sha256: of the weights file; empty while there is none.
        released: version of the weights.
    """

    name: str
    task: Task
    architecture: str
    labels: tuple[str, ...]
    input_hw: tuple[int, int]
    channels: int = 3
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    arguments: dict[str, JsonValue] = field(default_factory=dict)
    alignment: FaceAlignment = field(default_factory=FaceAlignment)
    paper: str = ""
    licence: str = ""
    training_data: str = ""
    data_licence: str = ""
    measured: dict[str, JsonValue] = field(default_factory=dict)
    sha256: str = ""
    released: str = ""

    def __post_init__(self) -> None:
        if len(self.mean) != self.channels or len(self.std) != self.channels:
            raise ValueError(f"card {self.name}: mean and std need {self.channels} values each")
        if len(set(self.labels)) != len(self.labels) or not self.labels:
            raise ValueError(f"card {self.name}: labels must be distinct and not empty")

    @property
    def id(self) -> str:
        """Name and short sha: what is written on every event."""
        return f"{self.name}@{self.sha256[:12]}" if self.sha256 else self.name

    def to_json(self) -> str:
        """The card as a JSON document."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "ModelCard":
        """Read a card.

        Raises:
            ValueError: not JSON, an unknown or missing key.
        """
        values = json.loads(text)
        if not isinstance(values, dict):
            raise ValueError("a model card is a JSON object")
        for key in ("labels", "input_hw", "mean", "std"):
            if isinstance(values.get(key), list):
                values[key] = tuple(values[key])
        try:
            return cls(**values)
        except TypeError as error:
            raise ValueError(f"model card: {error}") from None


# Every model of the house. Figures of a shipped one live in its JSON card, not here.
MODELS: dict[str, ModelCard] = {}


def register(card: ModelCard) -> ModelCard:
    """Enter a card in the table; a name is taken once."""
    if card.name in MODELS:
        raise ValueError(f"model {card.name} is registered twice")
    MODELS[card.name] = card
    return card


def find(name: str) -> ModelCard:
    """The card of a registered model, with the shipped weights' own figures where there are any.

    Raises:
        KeyError: no such model; the message lists those there are.
    """
    if name not in MODELS:
        raise KeyError(f"no model {name!r}; registered: {', '.join(sorted(MODELS))}")
    shipped = WEIGHTS / f"{name}.json"
    return ModelCard.from_json(shipped.read_text()) if shipped.is_file() else MODELS[name]


def shipped(task: Task) -> list[ModelCard]:
    """Cards of the models of this task whose weights ship with the package."""
    cards = [find(name) for name, card in MODELS.items() if card.task == task]
    return [card for card in cards if (WEIGHTS / f"{card.name}.safetensors").is_file()]


def with_labels(card: ModelCard, labels: tuple[str, ...]) -> ModelCard:
    """The same model for other classes, without figures and weights."""
    return replace(card, labels=labels, measured={}, sha256="", released="")


# --- expression models -----------------------------------------------------------------------

_GREY_MEAN, _GREY_STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
# How FER+ crops its faces: `measure_alignment` of `models.data.landmarks` on 200 of them.
_FER_ALIGNMENT: FaceAlignment = {
    "kind": "face box, upright, no warp", "margin": 0.0,
    "eyes_xy": [0.50, 0.39], "eyes_apart": 0.37, "tolerance": 0.1,
}  # fmt: skip
# RAF-DB's own aligned 100x100 faces: similarity transform to the eyes and the mouth.
_RAF_ALIGNMENT: FaceAlignment = {
    "kind": "RAF-DB aligned (eyes and mouth, similarity)", "margin": 0.0,
}  # fmt: skip
_POSTER_V2_PAPER = "Mao et al. 2023, POSTER++, arXiv 2301.12149"

register(
    ModelCard(
        name="poster_v2",
        task="expression",
        architecture="models.architectures.poster_v2:poster_v2",
        labels=RAF_LABELS,
        input_hw=(224, 224),
        alignment=_RAF_ALIGNMENT,
        paper=_POSTER_V2_PAPER,
        licence="architecture after Talented-Q/POSTER_V2, MIT",
    )
)
register(
    ModelCard(
        name="poster_v2_s",
        task="expression",
        architecture="models.architectures.poster_v2:poster_v2_s",
        labels=FER_PLUS_LABELS,
        input_hw=(48, 48),
        mean=_GREY_MEAN,
        std=_GREY_STD,
        alignment=_FER_ALIGNMENT,
        paper=_POSTER_V2_PAPER + ", its design made small",
        licence="AGPL-3.0-only",
    )
)
register(
    ModelCard(
        name="poster",
        task="expression",
        architecture="models.architectures.poster:poster",
        labels=RAF_LABELS,
        input_hw=(224, 224),
        alignment=_RAF_ALIGNMENT,
        paper="Zheng et al. 2022, POSTER, arXiv 2204.04083",
        licence="architecture after zczcwh/POSTER",
    )
)
register(
    ModelCard(
        name="fdrl",
        task="expression",
        architecture="models.architectures.fdrl:FDRL",
        labels=RAF_LABELS,
        input_hw=(224, 224),
        alignment=_RAF_ALIGNMENT,
        paper="Ruan et al. 2021, FDRL, arXiv 2104.05160",
    )
)
register(
    ModelCard(
        name="resnet18",
        task="expression",
        architecture="models.architectures.cnn:resnet18",
        labels=RAF_LABELS,
        input_hw=(224, 224),
        alignment=_RAF_ALIGNMENT,
        paper="He et al. 2016, Deep Residual Learning, arXiv 1512.03385",
    )
)
register(
    ModelCard(
        name="ir50",
        task="expression",
        architecture="models.architectures.cnn:ir50",
        labels=RAF_LABELS,
        input_hw=(112, 112),
        alignment=_RAF_ALIGNMENT,
        paper="Deng et al. 2019, ArcFace, arXiv 1801.07698: its IR-50, as POSTER V2 cuts it",
    )
)
register(
    ModelCard(
        name="cnn",
        task="expression",
        architecture="models.architectures.cnn:plain_cnn",
        labels=FER_PLUS_LABELS,
        input_hw=(48, 48),
        mean=_GREY_MEAN,
        std=_GREY_STD,
        alignment=_FER_ALIGNMENT,
        paper="a plain stack of convolutions after Simonyan and Zisserman 2014, arXiv 1409.1556",
        licence="AGPL-3.0-only",
    )
)
register(
    ModelCard(
        name="yolov5_faces",
        task="detection",
        architecture="models.architectures.yolov5:yolov5",
        labels=FER_PLUS_LABELS,
        input_hw=(128, 128),
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        arguments={"size": "n"},
        paper="ultralytics/yolov5 v6.0 with YOLOv5u's head; boxes named by expression",
        licence="AGPL-3.0-only",
    )
)

# --- detectors -------------------------------------------------------------------------------

register(
    ModelCard(
        name="awake_sleep_n",
        task="detection",
        architecture="models.architectures.yolov5:yolov5",
        labels=("awake", "sleep", "yawn"),
        input_hw=(320, 320),
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        arguments={"size": "n"},
        paper="Jocher et al., YOLOv5 by Ultralytics, v6.0 graph with the YOLOv5u head",
        licence="AGPL-3.0-only",
    )
)

# --- eye-state networks ----------------------------------------------------------------------

register(
    ModelCard(
        name="eye_state",
        task="eyes",
        architecture="models.architectures.eye_state:eye_state",
        labels=("open", "closed", "lowered", "not_visible"),
        input_hw=(40, 40),
        channels=1,
        # crops come standardised by `models.inference.eye_crops`: median 0, like spread
        mean=(0.0,),
        std=(1.0,),
        alignment={"kind": "eye corners level, 0.64 of the width apart; left eye mirrored"},
        licence="AGPL-3.0-only",
    )
)
