"""Eye crops of portraits that play what no set shows enough of: shut, lowered, squinting, hidden.

Of each portrait: lids shut; eyes lowered (irises and upper lid down, the lower lid where it was), a
little or as far as reading in one's lap takes; a squint or a laugh; behind opaque sunglasses; some
of it behind spectacles and on a turned head, whose mesh is looked for anew as the watch would.
Besides, patches of the picture that show no eye: what the mesh points at when it has gone astray.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from models.data.eyes import (
    CLOSED,
    LOWERED,
    NOT_VISIBLE,
    OPEN,
    ROOM_PX,
    VIEW_PX,
    EyeCrops,
    roomy_eyes,
)
from models.inference.eye_crops import CORNERS, cut_eye, eye_width_px
from models.synthesis.disguise import wear_glasses
from models.synthesis.face_warp import (
    Landmarks,
    close_eyes,
    find_landmarks,
    raise_lower_lids,
)
from models.synthesis.head_turn import HeadRelief

Image = NDArray[np.uint8]
# Picture, mesh, person.
Portrait = tuple[Image, Landmarks, str]

PARTS = (
    "hidden", "shut", "shut", "lowered", "lowered", "lowered", "open", "squint",
    "reading", "reading",
)  # fmt: skip
# Once more on a turned head: two of the others, and all who read something in their lap.
_TURNED, _READING, _NOT_HIDDEN = 2, (8, 9), range(1, 8)
# How far lids are drawn. Between open and shut lies what two people would argue about.
OPEN_UP_TO, SHUT_FROM = 0.45, 0.9
_MARGIN_PX = 48


def play_eyes(portraits: Sequence[Portrait], rng: Generator, source: str = "played") -> EyeCrops:
    """All parts of all portraits, whose eyes must be open.

    Args:
        portraits: who plays.
        rng: decides everything drawn by chance.
        source: name of the set.
    """
    crops, states, people = [], [], []
    for image, mesh, person in portraits:
        scenes = [(*_play(image, mesh, part, rng), mesh) for part in PARTS]
        again = [*rng.choice(_NOT_HIDDEN, _TURNED, replace=False), *_READING]
        scenes += _turned(image, mesh, [scenes[index] for index in again], rng)
        for played, state, seen in scenes:
            crops += list(roomy_eyes(played, seen))
            states += [state] * 2
            people += [person] * 2
    return EyeCrops.of(crops, states, people, source)


def _play(
    image: Image, mesh: Landmarks, part: str, rng: Generator
) -> tuple[Image, NDArray[np.float32]]:
    if part == "hidden":
        shut = close_eyes(image, mesh, 1.0) if rng.random() < 0.5 else image
        return wear_glasses(shut, mesh, rng, tint=rng.uniform(0.9, 1)), NOT_VISIBLE
    if part == "shut":
        state, played = CLOSED, close_eyes(image, mesh, rng.uniform(SHUT_FROM, 1))
        if rng.random() < 0.35:
            played = raise_lower_lids(played, mesh, rng.uniform(0, 0.25))
    elif part == "lowered":
        gaze = rng.uniform(0.65, 1)
        state, played = LOWERED, close_eyes(image, mesh, rng.uniform(0.15, 0.58), gaze_down=gaze)
    elif part == "reading":  # the lids as low as looking down brings them
        gaze = rng.uniform(0.7, 1)
        state, played = LOWERED, close_eyes(image, mesh, rng.uniform(0.4, 0.74), gaze_down=gaze)
    elif part == "squint":
        fallen, raised = rng.uniform(0.1, 0.35), rng.uniform(0.25, 0.5)
        state, played = OPEN, raise_lower_lids(close_eyes(image, mesh, fallen), mesh, raised)
    else:
        gaze = 0.0 if rng.random() < 0.7 else rng.uniform(0.05, 0.3)
        fallen = 0.0 if rng.random() < 0.4 else rng.uniform(0, OPEN_UP_TO)
        state, played = OPEN, close_eyes(image, mesh, fallen, gaze_down=gaze)
    if rng.random() < 0.25:
        played = wear_glasses(played, mesh, rng, tint=rng.uniform(0, 0.6) ** 1.5)
    return played, state


_Scene = tuple[Image, NDArray[np.float32], Landmarks]


def _turned(
    image: Image, mesh: Landmarks, scenes: Sequence[_Scene], rng: Generator
) -> list[_Scene]:
    height, width = image.shape[:2]
    centred = mesh + np.array([_MARGIN_PX, _MARGIN_PX, 0], np.float32)
    relief, turned = HeadRelief((height + 2 * _MARGIN_PX, width + 2 * _MARGIN_PX), centred), []
    for played, state, _ in scenes:
        lowest, highest = (-29, 0) if state[2] else (-22, 14)  # who looks down bows the head
        maps = relief.maps(rng.uniform(-38, 38), rng.uniform(lowest, highest), rng.uniform(-15, 15))
        padded = cv2.copyMakeBorder(played, *(_MARGIN_PX,) * 4, cv2.BORDER_REPLICATE)
        seen = cv2.remap(padded, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        landmarks = find_landmarks(np.asarray(seen, np.uint8))
        if landmarks is not None:
            turned.append((np.asarray(seen, np.uint8), state, landmarks))
    return turned


def patches_without_eyes(
    portraits: Sequence[Portrait], rng: Generator, source: str = "no eyes"
) -> EyeCrops:
    """One patch of each picture with cheek, mouth, hair or background, cut as an eye is."""
    crops, people = [], []
    for image, mesh, person in portraits:
        wide = max(eye_width_px(mesh, side) for side in CORNERS)
        centre = _beside_the_eyes(image, mesh, wide, rng)
        if centre is None:
            continue
        angle, half = rng.uniform(-0.5, 0.5), wide / 2 * rng.uniform(0.8, 1.4)
        along = half * np.array([np.cos(angle), np.sin(angle)])
        astray = np.zeros_like(mesh)
        astray[list(CORNERS["right"]), :2] = centre - along, centre + along
        crops.append(cut_eye(image, astray, "right", ROOM_PX, VIEW_PX))
        people.append(person)
    return EyeCrops.of(crops, [NOT_VISIBLE] * len(crops), people, source)


def _beside_the_eyes(
    image: Image, mesh: Landmarks, wide: float, rng: Generator
) -> NDArray[np.float32] | None:
    eyes = np.stack([mesh[list(pair), :2].mean(0) for pair in CORNERS.values()])
    for _ in range(20):
        point = mesh[rng.integers(468), :2] + rng.normal(0, 1.2 * wide, 2)
        inside = (point >= 0).all() and (point < image.shape[1::-1]).all()
        if inside and np.hypot(*(eyes - point).T).min() > 1.25 * wide:
            return np.asarray(point, np.float32)
    return None
