"""Labelled pictures for the detector, made from portraits and from real pictures.

A portrait becomes an *actor*: its eyes are closed by degrees, its mouth opened, its head turned or
lowered, glasses put on; and since what was done to it is known, so is its label. Actors are put
into cabin-like scenes at many sizes, under many lights, sometimes with a passenger. Real pictures
become *views*: cut closer round the face, or shrunk into a cabin.

The box is always the mesh's own extent, whoever drew the first label: sets disagree about hair and
chins, and one convention is what a network can learn. Half-closed eyes are left out: a label that
two people would argue about teaches nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from models.synthesis.disguise import wear_cap, wear_glasses
from models.synthesis.face_warp import Landmarks, close_eyes, find_landmarks, open_jaw
from models.synthesis.head_turn import turn_head

Image = NDArray[np.uint8]
Label = Literal["awake", "sleep", "yawn"]
LABELS: tuple[Label, ...] = ("awake", "sleep", "yawn")

# Shares of the mesh's extent by which a box is drawn in: left and top, right and bottom. Between
# the tight boxes people drew (0.09, 0.13) and the generous ones (-0.12, -0.22): of the conventions
# tried on people left out, the one with the best mean mAP50 (0.86 against 0.73 at 0.02 all round).
BOX_INSET = ((0.068, 0.078), (0.068, 0.049))
GREY_PAD = 114  # ultralytics' letterbox colour
DARKEST = 45.0  # mean grey value below which a new exposure makes nothing darker


@dataclass(frozen=True, slots=True)
class Actor:
    """One face in one picture, with its mesh and the label its eyes and mouth deserve."""

    image: Image
    landmarks: Landmarks
    label: Label

    @property
    def box(self) -> NDArray[np.float32]:
        """(4,) corners x1, y1, x2, y2 of the face in pixels of `image`."""
        return face_box(self.landmarks)


@dataclass(frozen=True, slots=True)
class Scene:
    """A picture with its faces.

    Attributes:
        image: (H, W, 3) uint8 BGR.
        boxes: (N, 4) corners in pixels.
        labels: N labels.
    """

    image: Image
    boxes: NDArray[np.float32]
    labels: tuple[Label, ...]

    def yolo_lines(self, names: Sequence[str] = LABELS) -> str:
        """The label file of this scene: class, centre and size as shares of the picture."""
        height, width = self.image.shape[:2]
        lines = []
        for box, label in zip(self.boxes, self.labels, strict=True):
            x1, y1, x2, y2 = np.clip(box / [width, height, width, height], 0, 1)
            centre_and_size = ((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1)
            lines.append(
                " ".join([str(names.index(label)), *(f"{v:.6f}" for v in centre_and_size)])
            )
        return "\n".join(lines) + "\n"


def face_box(landmarks: Landmarks) -> NDArray[np.float32]:
    """(4,) corners of a face's box from its mesh."""
    low, high = landmarks[:468, :2].min(0), landmarks[:468, :2].max(0)
    near, far = (np.array(inset) * (high - low) for inset in BOX_INSET)
    return np.asarray(np.concatenate([low + near, high - far]), np.float32)


# --- actors ----------------------------------------------------------------------------------


def act(portrait: Actor, label: Label, rng: Generator) -> Actor | None:
    """The portrait playing `label`; None where the face was lost on the way.

    Eyes: `awake` up to 0.35 closed, often with the gaze lowered; `sleep` from 0.88 on. Mouth:
    `yawn` opens it by 0.55 and more, whatever the eyes do; the others talk now and then.
    """
    image, landmarks = portrait.image, portrait.landmarks
    shut = portrait.label == "sleep"
    if shut and label == "awake":
        return None
    grey = bool((image[..., 0] == image[..., 1]).all())
    cap, glasses, turned = rng.random() < 0.12, rng.random() < 0.35, rng.random() < 0.25
    closing = {
        "awake": rng.uniform(0.0, 0.35) * (rng.random() < 0.6),
        "sleep": rng.uniform(0.88, 1.0),
        "yawn": rng.choice([0.0, rng.uniform(0.0, 1.0), 1.0]),
    }[label]
    gaze = rng.uniform(0.2, 0.9) if rng.random() < 0.25 else 0.0
    if not shut:
        image = close_eyes(image, landmarks, closing, gaze_down=gaze * (label == "awake"))
    jaw = (
        rng.uniform(0.55, 1.0) if label == "yawn" else rng.uniform(0.0, 0.3) * (rng.random() < 0.3)
    )
    if jaw > 0:
        image = open_jaw(image, landmarks, jaw)
    if glasses:
        image = wear_glasses(image, landmarks, rng)
    if cap:
        image = wear_cap(image, landmarks, rng)
    if grey:
        image = _grey(image)
    changed = replace(portrait, image=image, label=label)
    if label == "yawn":
        landmarks = landmarks.copy()  # the chin went down by up to a quarter of the face
        tall = np.ptp(landmarks[:468, 1])
        chin = landmarks[:, 1] > landmarks[1, 1] + 0.25 * tall
        landmarks[chin, 1] += 0.2 * jaw * tall
        changed = replace(changed, landmarks=landmarks)
    return _turned(changed, rng) if turned else changed


def _turned(actor: Actor, rng: Generator) -> Actor | None:
    """The head turned or lowered, its mesh found anew."""
    lowered = rng.uniform(-30, -8) if rng.random() < 0.6 else rng.uniform(-8, 15)
    image = turn_head(actor.image, actor.landmarks, rng.uniform(-25, 25), lowered, 0.0)
    return actor_of(image, actor.label)


def _grey(image: Image) -> Image:
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    return np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR), np.uint8)


# --- light and lens --------------------------------------------------------------------------


def develop(image: Image, rng: Generator) -> Image:
    """Another camera and another light: exposure, tint, side light, blur, noise, JPEG."""
    out = image.astype(np.float32)
    height, width = image.shape[:2]
    if rng.random() < 0.5:
        angle, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 0.6)
        x, y = np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height))
        out *= (1 + strength * (x * np.cos(angle) + y * np.sin(angle)))[..., None].astype(
            np.float32
        )
    if rng.random() < 0.6:
        out *= rng.uniform(0.85, 1.15, 3).astype(np.float32)
    gain, gamma = rng.uniform(0.45, 1.25), rng.uniform(0.7, 1.5)
    gain = max(gain, DARKEST / max(float(out.mean()), 1.0))
    out = 255 * np.clip(out * gain / 255, 0, 1) ** gamma
    if rng.random() < 0.4:
        out = cv2.GaussianBlur(out, (0, 0), rng.uniform(0.3, 1.3))
    if rng.random() < 0.5:
        out += rng.normal(0, rng.uniform(1, 9), (height, width, 1)).astype(np.float32)
    developed = np.clip(out, 0, 255).astype(np.uint8)
    if rng.random() < 0.25:
        developed = _grey(developed)  # an infrared camera gives grey pictures
    if rng.random() < 0.5:
        coded = cv2.imencode(
            ".jpg", developed, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(35, 95))]
        )[1]
        developed = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)
    return developed


def shrink_and_grow(image: Image, share: float) -> Image:
    """Lose resolution: shrink by `share` and grow back."""
    height, width = image.shape[:2]
    small = (max(round(width * share), 8), max(round(height * share), 8))
    lost = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(lost, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


# --- cabins ----------------------------------------------------------------------------------


def cabin(hw: tuple[int, int], rng: Generator) -> Image:
    """Something like the inside of a car: dark panels, bright windows, seats, clutter."""
    height, width = hw
    base = rng.uniform(20, 170) * rng.uniform(0.8, 1.2, 3)
    ramp = np.linspace(rng.uniform(0.6, 1.2), rng.uniform(0.5, 1.1), height)[:, None, None]
    image = np.broadcast_to(base * ramp, (height, width, 3)).astype(np.float32).copy()
    for _ in range(int(rng.integers(3, 14))):
        bright = rng.uniform(140, 255) if rng.random() < 0.35 else rng.uniform(5, 130)
        colour = tuple(float(v) for v in bright * rng.uniform(0.75, 1.15, 3))
        x, y = rng.uniform(-0.1, 1.1) * width, rng.uniform(-0.1, 1.1) * height
        w, h = rng.uniform(0.05, 0.6, 2) * [width, height]
        if rng.random() < 0.6:
            slant = rng.uniform(-0.3, 0.3) * w
            corners = [[x, y], [x + w, y + slant], [x + w, y + h + slant], [x, y + h]]
            cv2.fillPoly(image, [np.array(corners, np.int32)], colour, cv2.LINE_AA)
        else:
            axes = (max(int(w / 2), 1), max(int(h / 2), 1))
            cv2.ellipse(image, (int(x), int(y)), axes, rng.uniform(0, 180), 0, 360, colour, -1)
    for _ in range(int(rng.integers(0, 6))):
        colour = tuple(float(v) for v in rng.uniform(0, 220, 3))
        ends = (rng.uniform(0, 1, (2, 2)) * [width, height]).astype(int)
        thick = int(rng.integers(1, max(width // 40, 2)))
        cv2.line(
            image, tuple(map(int, ends[0])), tuple(map(int, ends[1])), colour, thick, cv2.LINE_AA
        )
    image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 0.012 * width))
    texture = rng.normal(0, rng.uniform(0, 14), (height // 4 + 1, width // 4 + 1, 1))
    texture = cv2.resize(texture.astype(np.float32), (width, height))[..., None]
    return np.asarray(np.clip(image + texture, 0, 255), np.uint8)


def place(
    scene: Scene, actor: Actor, face_px: float, centre: tuple[float, float], rng: Generator
) -> Scene:
    """The actor in the scene, its face `face_px` high, with shoulders under it."""
    tall = float(actor.box[3] - actor.box[1])
    scale = face_px / tall
    matrix = _placement(actor, scale, centre, rng.uniform(-12, 12))
    height, width = scene.image.shape[:2]
    moved = cv2.warpAffine(
        actor.image, matrix, (width, height),
        flags=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE,
    ) if scale >= 0.6 else _shrunk(actor.image, matrix, scale, (width, height))  # fmt: skip
    mask = cv2.warpAffine(_cut_out(actor, rng), matrix, (width, height))[..., None]
    stage = _shoulders(scene.image, matrix, actor, rng)
    blended = moved * mask + stage * (1 - mask)
    corners = actor.landmarks[:468, :2] @ matrix[:, :2].T + matrix[:, 2]
    box = face_box(np.asarray(corners, np.float32))
    return Scene(
        blended.astype(np.uint8),
        np.vstack([scene.boxes, box[None]]).astype(np.float32),
        (*scene.labels, actor.label),
    )


def _placement(
    actor: Actor, scale: float, centre: tuple[float, float], roll_deg: float
) -> NDArray[np.float64]:
    x1, y1, x2, y2 = actor.box
    middle = (float(x1 + x2) / 2, float(y1 + y2) / 2)
    matrix = np.asarray(cv2.getRotationMatrix2D(middle, roll_deg, scale), np.float64)
    matrix[:, 2] += np.asarray(centre) - middle
    return matrix


def _shrunk(
    image: Image, matrix: NDArray[np.float64], scale: float, size: tuple[int, int]
) -> Image:
    """Warp with area averaging, so that small faces keep no aliases."""
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    fitted = matrix.copy()
    fitted[:, :2] /= scale
    return np.asarray(
        cv2.warpAffine(
            small, fitted, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        ),
        np.uint8,
    )


def _cut_out(actor: Actor, rng: Generator) -> NDArray[np.float32]:
    """Soft mask of what to take from the portrait: the whole tile, or head and hair only."""
    height, width = actor.image.shape[:2]
    mask = np.zeros((height, width), np.float32)
    edge = max(int(0.04 * width), 2)
    if rng.random() < 0.4:
        mask[edge : height - edge, edge : width - edge] = 1
    else:
        x1, y1, x2, y2 = actor.box
        wide, tall = (x2 - x1) * rng.uniform(0.6, 0.85), (y2 - y1) * rng.uniform(0.62, 0.85)
        centre = (int((x1 + x2) / 2), int((y1 + y2) / 2 - 0.06 * tall))
        cv2.ellipse(mask, centre, (int(wide), int(tall)), 0, 0, 360, 1.0, -1)
        mask[:edge] = mask[-edge:] = 0
        mask[:, :edge] = mask[:, -edge:] = 0
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), 0.35 * edge + 0.5), np.float32)


def _shoulders(image: Image, matrix: NDArray[np.float64], actor: Actor, rng: Generator) -> Image:
    x1, y1, x2, y2 = actor.box
    middle, wide, tall = (x1 + x2) / 2, x2 - x1, y2 - y1
    neck, sleeve = wide * rng.uniform(0.35, 0.5), wide * rng.uniform(0.9, 1.5)
    outline = np.array(
        [
            (middle - neck, y2 - 0.1 * tall), (middle + neck, y2 - 0.1 * tall),
            (middle + neck, y2 + 0.2 * tall), (middle + sleeve, y2 + 0.45 * tall),
            (middle + 1.2 * sleeve, y2 + 2.2 * tall), (middle - 1.2 * sleeve, y2 + 2.2 * tall),
            (middle - sleeve, y2 + 0.45 * tall), (middle - neck, y2 + 0.2 * tall),
        ]
    )  # fmt: skip
    corners = outline @ matrix[:, :2].T + matrix[:, 2]
    out = image.copy()
    cloth = tuple(float(v) for v in rng.uniform(10, 230) * rng.uniform(0.7, 1.2, 3))
    cv2.fillPoly(out, [corners.astype(np.int32)], cloth, cv2.LINE_AA)
    return out


def empty_cabin(hw: tuple[int, int], rng: Generator) -> Scene:
    """A scene without anybody."""
    return Scene(cabin(hw, rng), np.zeros((0, 4), np.float32), ())


def compose(
    actors: Sequence[Actor], hw: tuple[int, int], rng: Generator, face: tuple[float, float]
) -> Scene:
    """Actors side by side in one cabin, the first of them the driver.

    Args:
        actors: at least one.
        hw: (height, width) of the scene in pixels.
        rng: source of chance.
        face: range of the driver's face height as a share of the scene's height; drawn evenly on
            a logarithmic scale.
    """
    height, width = hw
    share = float(np.exp(rng.uniform(np.log(face[0]), np.log(face[1]))))
    scene = empty_cabin(hw, rng)
    for index, actor in enumerate(actors):
        tall = height * share * (1.0 if index == 0 else rng.uniform(0.5, 0.9))
        room = min(0.45, 0.6 * tall / width)
        x = (
            rng.uniform(room, 1 - room)
            if len(actors) == 1
            else (index + rng.uniform(0.3, 0.7)) / len(actors)
        )
        y = rng.uniform(0.3, 0.62) if share > 0.35 else rng.uniform(0.2, 0.75)
        scene = place(scene, actor, tall, (x * width, y * height), rng)
    return replace(scene, image=develop(scene.image, rng))


# --- views of real pictures ------------------------------------------------------------------


def view(scene: Scene, side_px: float, centre: tuple[float, float], size: int) -> Scene:
    """A square cut of `side_px` round `centre`, resized to `size`, grey beyond the picture.

    Faces whose centre is cut away are dropped.
    """
    x0, y0 = centre[0] - side_px / 2, centre[1] - side_px / 2
    scale = size / side_px
    matrix = np.array([[scale, 0, -x0 * scale], [0, scale, -y0 * scale]])
    picture = scene.image
    if scale < 0.75:
        picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        ratio = picture.shape[1] / scene.image.shape[1]
        matrix[:, :2] /= ratio
    cut = cv2.warpAffine(
        picture, matrix, (size, size), flags=cv2.INTER_LINEAR, borderValue=(GREY_PAD,) * 3
    )
    boxes = (scene.boxes - [x0, y0, x0, y0]) * scale
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    kept = ((middle > 0) & (middle < size)).all(1)
    labels = tuple(label for label, keep in zip(scene.labels, kept, strict=True) if keep)
    return Scene(
        np.asarray(cut, np.uint8), np.clip(boxes[kept], 0, size).astype(np.float32), labels
    )


def zoomed(
    scene: Scene, size: int, rng: Generator, face: tuple[float, float] = (0.35, 0.75)
) -> Scene:
    """A cut round the first face, which then fills a share of `face` of the view."""
    x1, y1, x2, y2 = (float(v) for v in scene.boxes[0])
    side = max(x2 - x1, y2 - y1) / rng.uniform(*face)
    shift = rng.uniform(-0.18, 0.18, 2) * side
    return view(scene, side, ((x1 + x2) / 2 + shift[0], (y1 + y2) / 2 + shift[1]), size)


def shrunk_into_cabin(scene: Scene, hw: tuple[int, int], rng: Generator, share: float) -> Scene:
    """The whole picture shrunk to `share` of the cabin's height and put somewhere into it."""
    height, width = hw
    scale = height * share / scene.image.shape[0]
    small = cv2.resize(scene.image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    small = small[:height, :width]
    x = int(rng.integers(0, max(width - small.shape[1], 0) + 1))
    y = int(rng.integers(0, max(height - small.shape[0], 0) + 1))
    image = cabin(hw, rng)
    image[y : y + small.shape[0], x : x + small.shape[1]] = small
    boxes = scene.boxes * scale + [x, y, x, y]
    return Scene(image, boxes.astype(np.float32), scene.labels)


def actor_of(image: Image, label: Label) -> Actor | None:
    """A picture of one face as an actor; None where no face mesh fits."""
    margin = 48  # the mesh network needs room round a tight portrait
    padded = cv2.copyMakeBorder(image, margin, margin, margin, margin, cv2.BORDER_REPLICATE)
    landmarks = find_landmarks(np.asarray(padded, np.uint8))
    if landmarks is None:
        return None
    return Actor(image, landmarks - np.array([margin, margin, 0], np.float32), label)
