"""A whole training of the eye-state network, from folders to shipped weights.

Learned from: portraits with their eyes as they are and as they were made to be, and the awake and
sleep pictures of a detector's set. Yawns are left out: nobody wrote down what the eyes do in them.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from models.architectures.eye_state import EyeState, eye_state
from models.architectures.yolov5 import load_tensors
from models.checkpoint import read_card, read_tensors, write_weights
from models.data.pictures import read_upright
from models.data.yolo import Picture, PictureSet, PictureSetError
from models.evaluation.detector import roc_area
from models.inference.eye_crops import eye_probabilities
from models.registry import ModelCard, find
from models.synthesis.face_warp import Landmarks, find_landmarks
from models.synthesis.scene_datasets import Portrait
from models.synthesis.scenes import actor_of
from models.training.eye_state import EyeCrops, played_eyes, real_eyes, train_eyes

Image = NDArray[np.uint8]
NAME = "eye_state"
# Every fifth open and every third closed portrait is kept back to measure on: closed ones are few.
HELD_BACK = {"awake": 5, "sleep": 3}
# How often each kind is drawn, relatively: all portraits as they are, those few truly closed, and
# every person of the real set as much as a third of a thousand made crops.
OPEN_WEIGHT, CLOSED_WEIGHT, PERSON_WEIGHT = 2.0, 8.0, 600.0
TAKES = 2


@dataclass(frozen=True, slots=True)
class Face:
    """One face to learn from or to measure on."""

    image: Image
    landmarks: Landmarks
    closed: bool
    person: str


def split_portraits(portraits: Sequence[Portrait]) -> tuple[list[Portrait], list[Portrait]]:
    """Portraits to learn from, and those kept back."""
    kept, back = [], []
    for label, every in HELD_BACK.items():
        of_kind = [p for p in portraits if p.label == label]
        back += of_kind[::every]
        kept += [p for index, p in enumerate(of_kind) if index % every]
    return kept, back


def portrait_faces(portraits: Sequence[Portrait]) -> Iterator[Face]:
    """Portraits whose mesh was found."""
    for portrait in portraits:
        actor = actor_of(read_upright(portrait.path), portrait.label)
        if actor is not None:
            yield Face(actor.image, actor.landmarks, portrait.label == "sleep", portrait.path.stem)


def set_faces(pictures: PictureSet) -> Iterator[Face]:
    """Faces of a detector's awake and sleep pictures, looked for inside their label's box.

    Raises:
        PictureSetError: the set does not tell awake from sleep.
    """
    if not {"awake", "sleep"} <= set(pictures.labels):
        raise PictureSetError(f"{pictures.root}: needs the classes awake and sleep")
    for picture in pictures.pictures:
        image = read_upright(picture.path)
        for label, box in zip(picture.classes, picture.xyxy, strict=True):
            state = pictures.labels[int(label)]
            mesh = mesh_in(image, box) if state in {"awake", "sleep"} else None
            if mesh is not None:
                yield Face(image, mesh, state == "sleep", _person(picture))


def _person(picture: Picture) -> str:
    return picture.person or picture.path.stem


def mesh_in(image: Image, box: NDArray[np.float32]) -> Landmarks | None:
    """Mesh of the face in a box, in pixels of the whole picture; None where none is found."""
    side = 1.8 * float(max(box[2] - box[0], box[3] - box[1]))
    middle = (box[:2] + box[2:]) / 2
    left, top = (max(int(v - side / 2), 0) for v in middle)
    right, bottom = (int(v + side / 2) for v in middle)
    crop = image[top:bottom, left:right]
    if min(crop.shape[:2]) < 8:
        return None
    scale = 256 / max(crop.shape[:2])
    grown = cv2.resize(crop, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    mesh = find_landmarks(np.asarray(grown, np.uint8))
    if mesh is None:
        return None
    return np.asarray(mesh / np.float32(scale) + np.array([left, top, 0]), np.float32)


def gather(portraits: Sequence[Face], people: Sequence[Face], seed: int = 0) -> EyeCrops:
    """All crops to learn from."""
    rng = np.random.default_rng(seed)
    opened = [face for face in portraits if not face.closed]
    shut = [face for face in portraits if face.closed]
    parts = []
    if opened:
        parts.append(played_eyes([(f.image, f.landmarks) for f in opened], TAKES, rng))
        parts.append(real_eyes(_triples(opened), OPEN_WEIGHT))
    if shut:
        parts.append(real_eyes(_triples(shut), CLOSED_WEIGHT))
    for person in sorted({face.person for face in people}):
        own = [face for face in people if face.person == person]
        parts.append(real_eyes(_triples(own), PERSON_WEIGHT / len(own)))
    return EyeCrops.join(parts)


def _triples(faces: Sequence[Face]) -> list[tuple[Image, Landmarks, bool]]:
    return [(face.image, face.landmarks, face.closed) for face in faces]


def run_training(
    portraits: Sequence[Face],
    people: Sequence[Face],
    out: Path,
    *,
    card: ModelCard | None = None,
    told: Callable[..., None] = lambda *_: None,
    **settings: Any,
) -> ModelCard:
    """Train and write weights and card.

    Args:
        portraits: faces whose open eyes may be closed by warping.
        people: faces of real pictures, as they are.
        out: the `.safetensors` to write.
        card: of the network; the registered one.
        told: called after each epoch with (epoch, epochs, note).
        settings: of `train_eyes`.

    Raises:
        PictureSetError: no face to learn from, or all eyes in one state.
    """
    if not portraits and len({face.closed for face in people}) < 2:
        raise PictureSetError("open and closed eyes are needed; give portraits, or both classes")
    network = train_eyes(
        gather(portraits, people),
        progress=lambda epoch, epochs, loss: told(epoch, epochs, f"loss {loss:.3f}"),
        **settings,
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    return write_weights(network, card or replace(find(NAME), measured={}), out)


def open_eyes(path: Path) -> EyeState:
    """The network of a weights file, checked against its card.

    Raises:
        CheckpointError: damaged, or of another model.
    """
    card = read_card(path)
    network = eye_state(card.labels)
    load_tensors(network, read_tensors(path, card.sha256))
    return network.eval()


def area(network: EyeState, faces: Sequence[Face]) -> float | None:
    """Area under the ROC of closed against open; faces it cannot look at count as undecided."""
    said = [probability(network, face) for face in faces]
    return roc_area(np.array(said), np.array([face.closed for face in faces], np.bool_))


def probability(network: EyeState, face: Face) -> float:
    """What the network says of one face, 0.5 where it cannot look."""

    def run(crops: NDArray[np.float32]) -> NDArray[Any]:
        with torch.inference_mode():
            logits: NDArray[Any] = network(torch.from_numpy(crops)).numpy()
        return logits

    eyes = eye_probabilities(run, face.image, face.landmarks)
    closed = [eye[1] for eye in eyes if eye is not None]
    return sum(closed) / len(closed) if closed else 0.5
