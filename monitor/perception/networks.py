"""The real parts behind perception's seams, built from the registered models.

Networks come in by `models.inference`; pictures are fitted, outputs decoded and put into our
own types here, and no foreign object goes further.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import structlog
from numpy.typing import NDArray

from models import inference
from models.inference import boxes, eye_crops
from models.inference.backend import this_machine
from models.registry import MODELS, ModelCard, Task, find, shipped
from monitor.config import PerceptionConfig
from monitor.errors import ConfigError
from monitor.perception import EyeNet, EyePair
from monitor.perception.expression import EmotionNet, Framing
from monitor.perception.face import Points
from monitor.perception.face_tracker import Detector
from monitor.types import Box, Detection, Emotion, EyeProbabilities, Image

log = structlog.get_logger(__name__)

# What `auto` means, where it ships.
DEFAULTS: dict[Task, str] = {
    "detection": "awake_sleep_n",
    "eyes": "eye_state",
    "expression": "poster_v2_s",
}
# A detector that reads expressions: its boxes are named by them.
EXPRESSION_DETECTOR = "yolov5_faces"
# Of a face's longer side, added on each side: its scenes show a face on 45 to 80 % of their side.
EXPRESSION_SCENE_MARGIN = 0.3
# The network looks at a followed face from close by, in a square of this many pixels.
CLOSE_PX = 256
# More heads than this are no cabin; what follows is bounded whatever the picture holds.
MOST_FACES = 16
# A head that is down is boxed otherwise than its mesh; a neighbour is no part of the close look.
SAME_FACE = 0.1
# Faces are read two at once, each on a core, if one core would be filled more than this or if one
# look takes longer than a frame: that is more looks than one at a time on cores that wait for each
# other, and it takes less from the frame loop.
MOST_OF_A_CORE = 0.6
FRAME_S = 1 / 30
AT_ONCE = 2


@dataclass(frozen=True, slots=True)
class Parts:
    """The networks that look; None where one is switched off or does not ship.

    One set serves as many cameras as it was opened for, each from its own threads.

    Attributes:
        detector: finds faces, awake or asleep.
        eyes: judges each eye by its pixels.
        emotion: reads the expression.
        models: ids as written on every event.
        networks: everything loaded, to be described.
    """

    detector: Detector | None = None
    eyes: EyeNet | None = None
    emotion: EmotionNet | None = None
    models: tuple[str, ...] = ()
    networks: tuple[inference.Network, ...] = ()


def open_parts(config: PerceptionConfig, cameras: int = 1) -> Parts:
    """Load the models of a configuration.

    Args:
        config: which, and where they run.
        cameras: how many cameras will look through them at once.

    Raises:
        ConfigError: no such model, or its weights cannot be used; one line names the setting.
    """
    # OpenCV's own threads would wait for the cores that the networks are using.
    cv2.setNumThreads(1)
    faces = _model(config.detector, "detection", "detector")
    lids = _model(config.eyes, "eyes", "eyes")
    expressions = _model(config.emotion, "expression", "emotion")
    detector = AwakeDetector(faces, config, cameras) if faces else None
    eyes = EyeStateNet(lids, config, cameras) if lids else None
    emotion = _expression_net(expressions, config, cameras) if expressions else None
    loaded = [part for part in (detector, eyes, emotion) if part is not None]
    return Parts(
        detector,
        eyes,
        emotion,
        tuple(part.card.id for part in loaded),
        tuple(network for part in loaded for network in part.networks),
    )


def _expression_net(
    model: ModelCard | Path, config: PerceptionConfig, cameras: int
) -> "ExpressionNet | ExpressionDetector":
    """A classifier of crops, or a detector whose boxes are named by expression."""
    card = model if isinstance(model, ModelCard) else _card_beside(model)
    kind = ExpressionNet if card is None or card.task == "expression" else ExpressionDetector
    return kind(model, config, cameras)


def _card_beside(path: Path) -> ModelCard | None:
    beside = path.with_suffix(".json")
    return ModelCard.from_json(beside.read_text(encoding="utf-8")) if beside.is_file() else None


def _model(choice: str | None, task: Task, setting: str) -> ModelCard | Path | None:
    if choice is None:
        return None
    if choice == "auto":
        return next((card for card in shipped(task) if card.name == DEFAULTS[task]), None)
    if choice in MODELS:
        if MODELS[choice].task != task and (setting, choice) != ("emotion", EXPRESSION_DETECTOR):
            does = MODELS[choice].task
            raise ConfigError(f"perception.{setting}: {choice} is a model for {does}, not {task}")
        return find(choice)
    if Path(choice).suffix in {".safetensors", ".onnx"}:
        return Path(choice)
    names = ", ".join(name for name, card in MODELS.items() if card.task == task) or "none"
    raise ConfigError(
        f"perception.{setting}: no model {choice!r}; registered: {names}, or give a file"
    )


def _load(
    model: ModelCard | Path, setting: str, config: PerceptionConfig, **options: Any
) -> inference.Network:
    options = {"threads": config.threads, "precision": config.precision} | options
    try:
        network = inference.load(model, device=config.device, runtime=config.runtime, **options)
    except ValueError as error:
        raise ConfigError(f"perception.{setting}: {error}") from None
    log.debug("model loaded", part=setting, how=network.describe())
    return network


def _a_thread_each(cameras: int) -> dict[str, int]:
    """For a small network: one thread for every camera that asks, as far as there are cores."""
    return {"threads": min(cameras, this_machine().cores), "streams": cameras}


class _OnNetworks:
    """A part that can be let go of."""

    networks: tuple[inference.Network, ...]

    def close(self) -> None:
        """Let go of the networks."""
        for network in self.networks:
            network.close()


class AwakeDetector(_OnNetworks):
    """YOLOv5 with the classes awake and sleep, and perhaps yawn."""

    def __init__(self, model: ModelCard | Path, config: PerceptionConfig, cameras: int = 1) -> None:
        # Without a side the card's, which is the size of the training.
        wide, close = config.detector_input_px, CLOSE_PX

        def load(side: int | None, threads: int) -> inference.Network:
            # An ONNX file of the original repository takes the one size it was exported for.
            fixed = isinstance(model, Path) and model.suffix == ".onnx"
            input_hw = None if fixed or side is None else (side, side)
            options = {"input_hw": input_hw, "streams": cameras, "threads": threads}
            return _load(model, "detector", config, **options)

        self._wide = load(wide, config.threads)
        # One camera's close look goes on beside its mesh, which is left a core of its own.
        beside = max(this_machine().cores - 1, 1) if cameras == 1 else 0
        self._close = load(close, config.threads or beside)
        self.networks = (self._wide, self._close)
        self.card = self._wide.card
        if not {"awake", "sleep"} <= set(self.card.labels):
            raise ConfigError(
                f"perception.detector: {self.card.name} tells {', '.join(self.card.labels)}; "
                "a detector of drivers must tell awake and sleep"
            )
        self._min_score = config.min_score

    def __call__(self, image: Image, near: Box | None = None) -> list[Detection]:
        """All faces of a picture, or the one known to be `near` judged from close by."""
        if near is not None:
            return self.start(image, near)()
        fitted, way = boxes.letterbox(image, self._wide.input_hw)
        xyxy, scores = self._kept(self._wide(fitted[None])[0])
        return self._detections(way.back(xyxy), scores)

    def start(self, image: Image, near: Box) -> Callable[[], list[Detection]]:
        """Begin to judge the face known to be near; the answer waits for the network."""
        face = np.array([near.x1, near.y1, near.x2, near.y2], np.float32)
        left, top, side = boxes.closer_square(face)
        close_px = self._close.input_hw[0]
        wait = self._close.start(boxes.cut(image, left, top, side, close_px)[None])
        height, width = image.shape[:2]

        def judged() -> list[Detection]:
            xyxy, scores = self._kept(wait()[0])
            corner = np.array([left, top, left, top], np.float32)
            whole = np.clip(xyxy * (side / close_px) + corner, 0, [width, height, width, height])
            detections = self._detections(whole.astype(np.float32), scores)
            return [detection for detection in detections if detection.box.iou(near) > SAME_FACE]

        return judged

    def _kept(self, output: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        xyxy, scores = boxes.decode(output, len(self.card.labels))
        kept = boxes.suppress(xyxy, scores, self._min_score)[:MOST_FACES]
        return xyxy[kept], scores[kept]

    def _detections(
        self, xyxy: NDArray[np.float32], scores: NDArray[np.float32]
    ) -> list[Detection]:
        detections = []
        for corners, row in zip(xyxy.tolist(), np.clip(scores, 0, 1).tolist(), strict=True):
            of = dict(zip(self.card.labels, row, strict=True))
            x1, y1, x2, y2 = corners
            box = Box(x1, y1, max(x2, x1), max(y2, y1))
            detections.append(Detection(box, of["awake"], of["sleep"], of.get("yawn", 0.0)))
        return detections


class EyeStateNet(_OnNetworks):
    """The eye-state network on both eyes' crops."""

    def __init__(self, model: ModelCard | Path, config: PerceptionConfig, cameras: int = 1) -> None:
        # Too small to gain by int8, which is calibrated on pixels besides.
        precision = "auto" if config.precision == "int8" else config.precision
        options = {"feed": "floats", "precision": precision}
        self._network = _load(model, "eyes", config, **options, **_a_thread_each(cameras))
        self.networks = (self._network,)
        self.card = self._network.card

    def __call__(self, image: Image, landmarks: Points) -> EyePair:
        """Left and right eye; None for one that is too few pixels wide."""
        left, right = eye_crops.eye_probabilities(self._run, image, landmarks)
        return (
            EyeProbabilities(*left) if left else None,
            EyeProbabilities(*right) if right else None,
        )

    def _run(self, crops: NDArray[np.float32]) -> NDArray[np.float32]:
        return self._network(crops)[0]


def _framing(card: ModelCard) -> Framing:
    alignment = card.alignment
    eyes_xy = alignment.get("eyes_xy")
    return Framing(
        margin=float(alignment.get("margin", 0.0)),
        eyes_xy=(float(eyes_xy[0]), float(eyes_xy[1])) if eyes_xy else None,
        eyes_apart=alignment.get("eyes_apart"),
    )


class ExpressionNet(_OnNetworks):
    """An expression classifier on a face's crop.

    It takes one thread, to leave the frame loop its own; two faces at once if that is too slow.

    Attributes:
        card: of the model.
        framing: how faces must be cut out, as in its training.
        at_once: how many threads of one camera's may call it at the same time.
    """

    def __init__(self, model: ModelCard | Path, config: PerceptionConfig, cameras: int = 1) -> None:
        options, self.at_once = _a_thread_each(cameras), 1
        if config.threads:
            options["threads"] = config.threads
        self._network = _load(model, "emotion", config, **options)
        look_s = min(self._network.times_s(3))
        slow = look_s * config.emotion_hz > MOST_OF_A_CORE or look_s > FRAME_S
        if slow and not config.threads and cameras == 1:
            self._network.close()
            self._network = _load(model, "emotion", config, **_a_thread_each(AT_ONCE))
            self.at_once = min(AT_ONCE, this_machine().cores)
        self.networks = (self._network,)
        self.card = self._network.card
        self.framing = _framing(self.card)
        # One mean for all channels: trained on grey faces (FER+), to be shown grey ones.
        self._grey = self.card.channels == 1 or len(set(self.card.mean)) == 1

    def __call__(self, crop: Image) -> Emotion:
        """The expression in an (h, w, 3) BGR crop."""
        height, width = self._network.input_hw
        how = cv2.INTER_AREA if crop.shape[0] > height else cv2.INTER_LINEAR
        pixels = cv2.resize(crop, (width, height), interpolation=how)
        if self._grey:
            pixels = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)[..., None]
            pixels = np.repeat(pixels, self.card.channels, axis=2)
        logits = self._network(np.asarray(pixels, np.uint8)[None])[0][0].astype(float)
        shares = np.exp(logits - logits.max())
        shares /= shares.sum()
        best = int(shares.argmax())
        pairs = tuple(zip(self.card.labels, shares.tolist(), strict=True))
        return Emotion(self.card.labels[best], float(shares[best]), pairs)


class ExpressionDetector(_OnNetworks):
    """YOLOv5 whose boxes are named by expression, shown the driver's face with room round it.

    Attributes:
        card: of the model.
        framing: how the face is cut out.
        at_once: how many threads of one camera's may call it at the same time.
    """

    at_once = 1

    def __init__(self, model: ModelCard | Path, config: PerceptionConfig, cameras: int = 1) -> None:
        self._network = _load(model, "emotion", config, **_a_thread_each(cameras))
        self.networks = (self._network,)
        self.card = self._network.card
        self.framing = Framing(margin=EXPRESSION_SCENE_MARGIN)

    def __call__(self, crop: Image) -> Emotion:
        """The expression of the surest box in an (h, w, 3) BGR crop; its scores add up to one."""
        fitted, _ = boxes.letterbox(crop, self._network.input_hw)
        _, scores = boxes.decode(self._network(fitted[None])[0], len(self.card.labels))
        surest = np.clip(scores[scores.max(1).argmax()], 1e-6, None).astype(float)
        shares = surest / surest.sum()
        best = int(shares.argmax())
        pairs = tuple(zip(self.card.labels, shares.tolist(), strict=True))
        return Emotion(self.card.labels[best], float(shares[best]), pairs)
