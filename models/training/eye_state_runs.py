"""A whole training of the eye-state network, from sets and portraits to weights and a card.

Learned from: sets of eyes and faces in the layouts of `models.data.eyes`, and portraits, as they
are and as they play. People without a name are for training only; those with one may be left out
in folds, to measure on.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Unpack

import numpy as np
import torch
from numpy.typing import NDArray

from models.architectures.eye_state import STATES, EyeState, eye_state
from models.checkpoint import load_tensors, read_card, read_tensors, write_weights
from models.data.eyes import CLOSED, OPEN, EyeCrops, mesh_in, read_eyes, roomy_eyes
from models.data.pictures import read_upright
from models.data.played_eyes import patches_without_eyes, play_eyes
from models.data.scene_datasets import PortraitFile
from models.data.yolo import PictureSetError
from models.evaluation.detector import roc_area
from models.evaluation.eye_state import best_bias, raise_logits
from models.inference.eye_crops import eye_probabilities
from models.registry import ModelCard, find
from models.synthesis.face_warp import Landmarks
from models.synthesis.scenes import actor_of
from models.training.eye_state import EyeTraining, judge_eyes, train_eyes

__all__ = ["Face", "area", "gather", "leave_out", "mesh_in", "open_eyes", "probability"]

Image = NDArray[np.uint8]
NAME = "eye_state"
LEFT_OUT, BIAS_FILE = "left_out", "bias.json"
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
    **settings: Unpack[EyeTraining],
) -> tuple[EyeCrops, NDArray[np.float64]]:
    """Train once a fold without its people; those people's crops, and the probabilities for them.

    Every fold's network is written to `into/fold_N`, its card names who was left out. What its
    logits are raised by (`best_bias`) is chosen on the people of the other folds; what all people
    say is written to `into/bias.json`, for a network that learns from everybody.

    Args:
        data: all crops.
        fold: of `folds_of`.
        into: folder of the run.
        start: weights to go on from in every fold: of a training that had none of these people.
        progress: called as training goes, with (step, steps, note).
        settings: of `train_eyes`.
    """
    networks, judged = [], np.zeros((len(data), len(STATES)))
    for number in range(int(fold.max()) + 1):

        def tell(step: int, steps: int, loss: float, number: int = number) -> None:
            progress(step, steps, f"fold {number + 1}, loss {loss:.3f}")

        origin = open_eyes(start) if start else None
        network = train_eyes(data.only(fold != number), start=origin, progress=tell, **settings)
        judged[fold == number] = judge_eyes(network, data.only(fold == number))
        networks.append(network)
    return write_folds(data, fold, networks, judged, into)


def write_folds(
    data: EyeCrops,
    fold: NDArray[np.int64],
    networks: Sequence[EyeState],
    judged: NDArray[np.float64],
    into: Path,
) -> tuple[EyeCrops, NDArray[np.float64]]:
    """Raise the logits of every fold's network by what the people of the other folds say; write.

    Args:
        data: all crops.
        fold: which network left each crop out, (N,); -1 for none.
        networks: one a fold.
        judged: (N, 4) probabilities by the network that left the crop out.
        into: folder of the run.

    Returns:
        The crops that were left out, and their probabilities after raising.
    """
    raised = judged.copy()
    for number, network in enumerate(networks):
        own, others = fold == number, (fold != number) & (fold >= 0)
        bias = best_bias(data.only(others), judged[others])
        network.raise_logits(torch.from_numpy(bias))
        raised[own] = raise_logits(judged[own], bias)
        people = sorted(set(data.people[own].tolist()))
        card = replace(find(NAME), measured={LEFT_OUT: people, "bias": bias.tolist()})
        _write(network, card, into / f"fold_{number + 1}" / f"{NAME}.safetensors")
    named = fold >= 0
    bias = best_bias(data.only(named), judged[named])
    chosen = dict(zip(STATES, bias.tolist(), strict=True))
    (into / BIAS_FILE).write_text(json.dumps(chosen) + "\n", encoding="utf-8")
    return data.only(named), raised[named]


def read_bias(run: Path) -> NDArray[np.float64]:
    """What the people left out by a run of `leave_out` say must be added to the logits: (4,).

    Raises:
        PictureSetError: the folder holds no such run.
    """
    path = run / BIAS_FILE
    if not path.is_file():
        raise PictureSetError(
            f"{path}: missing; `wakeful models train eye_state --folds` writes it"
        )
    chosen = json.loads(path.read_text(encoding="utf-8"))
    return np.array([float(chosen[state]) for state in STATES])


def judge_people_left_out(data: EyeCrops, run: Path) -> tuple[EyeCrops, NDArray[np.float64]]:
    """Each person's crops, judged by the network of `leave_out` that never saw this person.

    Args:
        data: crops; people whom no network left out are dropped.
        run: the folder that `leave_out` wrote to.

    Raises:
        PictureSetError: no network there left any of these people out.
        CheckpointError: a damaged network.
    """
    parts, judged = [], []
    for weights in sorted(run.glob(f"fold_*/{NAME}.safetensors")):
        left_out = read_card(weights).measured[LEFT_OUT]
        parts.append(data.only(np.isin(data.people, np.array(left_out))))
        judged.append(judge_eyes(open_eyes(weights), parts[-1]))
    if not any(len(part) for part in parts):
        raise PictureSetError(
            f"{run}: no network that left these people out; "
            "make it with `wakeful models train eye_state --folds 5 --into DIR`"
        )
    return EyeCrops.join(parts), np.concatenate(judged)


def run_training(
    data: EyeCrops,
    out: Path,
    *,
    card: ModelCard | None = None,
    start: Path | None = None,
    bias: NDArray[np.float64] | None = None,
    progress: Callable[[int, int, str], None] = lambda *_: None,
    **settings: Unpack[EyeTraining],
) -> ModelCard:
    """Train on everything and write weights and card.

    Args:
        data: all crops.
        out: the `.safetensors` to write.
        card: of the network; the registered one.
        start: weights to go on from; None starts from scratch.
        bias: (4,) added to the logits, as `best_bias` chooses it on people left out.
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
    if bias is not None:
        network.raise_logits(torch.from_numpy(bias))
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

    def run(crops: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            logits: NDArray[np.float32] = network(torch.from_numpy(crops)).numpy()
        return logits

    eyes = eye_probabilities(run, face.image, face.landmarks)
    closed = [eye[1] for eye in eyes if eye is not None]
    return sum(closed) / len(closed) if closed else 0.5
