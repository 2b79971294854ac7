"""A whole training of the eye-state network, from sets and portraits to weights and a card.

Learned from: sets of eyes and faces in the layouts of `models.data.eyes`, and portraits, as they
are and as they play. People without a name are for training only; those with one may be left out
in folds, to measure on.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.architectures.eye_state import EyeState, eye_state
from models.architectures.yolov5 import load_tensors
from models.checkpoint import read_card, read_tensors, write_weights
from models.data.eyes import CLOSED, OPEN, EyeCrops, mesh_in, read_eyes, roomy_eyes
from models.data.pictures import read_upright
from models.data.played_eyes import patches_without_eyes, play_eyes
from models.data.yolo import PictureSetError
from models.evaluation.detector import roc_area
from models.inference.eye_crops import eye_probabilities
from models.registry import ModelCard, find
from models.synthesis.face_warp import Landmarks
from models.synthesis.scene_datasets import PortraitFile
from models.synthesis.scenes import actor_of
from models.training.eye_state import judge_eyes, train_eyes

__all__ = ["Face", "area", "gather", "leave_out", "mesh_in", "open_eyes", "probability"]

Image = NDArray[np.uint8]
NAME = "eye_state"
# Every fifth open and every third closed portrait is kept back to measure on: closed ones are few.
HELD_BACK = {"awake": 5, "sleep": 3}


@dataclass(frozen=True, slots=True)
class Face:
    """One face to learn from or to measure on."""

    image: Image
    landmarks: Landmarks
    closed: bool
    person: str


def split_portraits(
    portraits: Sequence[PortraitFile],
) -> tuple[list[PortraitFile], list[PortraitFile]]:
    """Portraits to learn from, and those kept back."""
    kept, back = [], []
    for label, every in HELD_BACK.items():
        of_kind = [p for p in portraits if p.label == label]
        back += of_kind[::every]
        kept += [p for index, p in enumerate(of_kind) if index % every]
    return kept, back


def portrait_faces(portraits: Sequence[PortraitFile]) -> Iterator[Face]:
    """Portraits whose mesh was found."""
    for portrait in portraits:
        actor = actor_of(read_upright(portrait.path), portrait.label)
        if actor is not None:
            yield Face(actor.image, actor.landmarks, portrait.label == "sleep", portrait.path.stem)


def gather(sets: Sequence[Path], portraits: Sequence[PortraitFile], seed: int = 0) -> EyeCrops:
    """All crops to learn from: every set, and portraits as they are and as they play.

    Args:
        sets: in the layouts of `models.data.eyes`.
        portraits: those to learn from, not those kept back.
        seed: of how they play.

    Raises:
        PictureSetError: a set cannot be read, or there is nothing at all.
    """
    parts = [read_eyes(path) for path in sets]
    faces = list(portrait_faces(portraits))
    if faces:
        rng = np.random.default_rng(seed)
        crops = np.concatenate([roomy_eyes(face.image, face.landmarks) for face in faces])
        states = np.repeat([CLOSED if face.closed else OPEN for face in faces], 2, axis=0)
        parts.append(EyeCrops.of(crops, states, [""] * len(crops), "portraits"))
        cast = [(face.image, face.landmarks, "") for face in faces]
        opened = [one for one, face in zip(cast, faces, strict=True) if not face.closed]
        parts += [play_eyes(opened, rng), patches_without_eyes(cast, rng)]
    if not parts:
        raise PictureSetError("nothing to learn from; give --data, --portraits or both")
    return EyeCrops.join(parts)


def folds_of(data: EyeCrops, folds: int, alike: Sequence[Sequence[str]] = ()) -> NDArray[np.int64]:
    """Which fold leaves each crop out, (N,); -1 for people without a name, who are never left out.

    Within every set people take turns in the order of their names.

    Args:
        data: all crops.
        folds: how many.
        alike: groups of names that are one person, or that must stay together.
    """
    leader = {name: sorted(group)[0] for group in alike for name in group}
    people = np.array([leader.get(name, name) for name in data.people])
    fold = np.full(len(data), -1)
    for source in np.unique(data.source):
        here = (data.source == source) & (people != "")
        for turn, person in enumerate(np.unique(people[here])):
            fold[here & (people == person)] = turn % folds
    return fold


def leave_out(
    data: EyeCrops,
    fold: NDArray[np.int64],
    into: Path,
    *,
    start: Path | None = None,
    progress: Callable[[int, int, str], None] = lambda *_: None,
    **settings: Any,
) -> tuple[EyeCrops, NDArray[np.float64]]:
    """Train once a fold without its people; those people's crops, and what was said of them.

    Every fold's network is written to `into/fold_N`, its card names who was left out.

    Args:
        data: all crops.
        fold: of `folds_of`.
        into: folder of the run.
        start: weights to go on from in every fold: of a training that had none of these people.
        progress: called as training goes, with (step, steps, note).
        settings: of `train_eyes`.
    """
    parts, judged = [], []
    for number in range(int(fold.max()) + 1):

        def tell(step: int, steps: int, loss: float, number: int = number) -> None:
            progress(step, steps, f"fold {number + 1}, loss {loss:.3f}")

        network = train_eyes(
            data.only(fold != number),
            start=open_eyes(start) if start else None,
            progress=tell,
            **settings,
        )
        parts.append(data.only(fold == number))
        left_out = sorted(set(parts[-1].people.tolist()))
        card = replace(find(NAME), measured={"left_out": left_out})
        _write(network, card, into / f"fold_{number + 1}" / f"{NAME}.safetensors")
        judged.append(judge_eyes(network, parts[-1]))
    return EyeCrops.join(parts), np.concatenate(judged)


def run_training(
    data: EyeCrops,
    out: Path,
    *,
    card: ModelCard | None = None,
    start: Path | None = None,
    progress: Callable[[int, int, str], None] = lambda *_: None,
    **settings: Any,
) -> ModelCard:
    """Train on everything and write weights and card.

    Args:
        data: all crops.
        out: the `.safetensors` to write.
        card: of the network; the registered one.
        start: weights to go on from; None starts from scratch.
        progress: called as training goes, with (step, steps, note).
        settings: of `train_eyes`.

    Raises:
        PictureSetError: the eyes are all in one state.
    """
    if len(np.unique(data.states.argmax(1))) < 2:
        raise PictureSetError("open and closed eyes are needed; give portraits, or both classes")
    network = train_eyes(
        data,
        start=open_eyes(start) if start else None,
        progress=lambda step, steps, loss: progress(step, steps, f"loss {loss:.3f}"),
        **settings,
    )
    return _write(network, card or replace(find(NAME), measured={}), out)


def _write(network: EyeState, card: ModelCard, out: Path) -> ModelCard:
    out.parent.mkdir(parents=True, exist_ok=True)
    return write_weights(network, card, out)


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
    closed = [probability(network, face) for face in faces]
    return roc_area(np.array(closed), np.array([face.closed for face in faces], np.bool_))


def probability(network: EyeState, face: Face) -> float:
    """Mean probability of closed lids over the eyes of one face, 0.5 where it cannot look."""

    def run(crops: NDArray[np.float32]) -> NDArray[Any]:
        with torch.inference_mode():
            logits: NDArray[Any] = network(torch.from_numpy(crops)).numpy()
        return logits

    eyes = eye_probabilities(run, face.image, face.landmarks)
    closed = [eye[1] for eye in eyes if eye is not None]
    return sum(closed) / len(closed) if closed else 0.5
