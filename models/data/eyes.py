"""Eye crops to learn from and to measure on, read from the layouts that eye sets come in.

    FILE.parquet   columns image, closed          eye crops, the whole crop taken for the view;
                   [subject] [glasses]            who it is; whether glasses are worn
    FILE.parquet   columns image, clip, state     faces; state alert, microsleep or yawning
    DIR/eyes.csv   file, person, eyes[, through]  faces in DIR/images; eyes open, closed, down,
                                                  sunglasses (through hidden, faint or clear)
    DIR/data.yaml  the YOLO layout                classes awake and sleep: boxes round faces;
                                                  open and closed: boxes round both eyes

A label is the set of states that it allows: an alert driver's eyes are open or lowered, an eye
behind a lens that shows it faintly is open or not visible. What no label speaks of (yawning
drivers, unclear pictures) is left out.
"""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from models.data.pictures import read_upright
from models.data.yolo import PictureSet, PictureSetError, read_picture_set
from models.inference.eye_crops import CORNERS, CROP_PX, cut_eye, eye_width_px
from models.synthesis.face_warp import Landmarks, find_landmarks

Image = NDArray[np.uint8]
States = NDArray[np.float32]

# Side of the stored crops, and of the network's view in them: room to shift, turn and shrink.
ROOM_PX, VIEW_PX = 80, 53
OPEN, CLOSED, LOWERED, NOT_VISIBLE = np.eye(4, dtype=np.float32)
_LABELS = {
    "open": OPEN, "awake": OPEN, "closed": CLOSED, "sleep": CLOSED, "microsleep": CLOSED,
    "alert": OPEN + LOWERED, "down": LOWERED, "sunglasses hidden": NOT_VISIBLE,
    "sunglasses faint": OPEN + NOT_VISIBLE, "sunglasses clear": OPEN,
}  # fmt: skip
# The far eye of a turned head may be hidden by the nose: below this share of the nearer one's width
# its label allows that, too.
_FAR_EYE = 0.5
# The mesh network needs room round a tight face.
_MARGIN_PX = 48


@dataclass(frozen=True, slots=True)
class EyeCrops:
    """Stored crops.

    Attributes:
        crops: (N, 80, 80) grey, outer corner left.
        states: (N, 4) of 0 and 1, which of open, closed, lowered and not visible the label allows.
        people: (N,) who it is; empty where nobody knows, such crops are for training only.
        source: (N,) which set it is from.
        glasses: (N,) whether the set says that glasses are worn.
    """

    crops: Image
    states: States
    people: NDArray[np.str_]
    source: NDArray[np.str_]
    glasses: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.crops)

    def only(self, chosen: NDArray[np.bool_]) -> "EyeCrops":
        """Some of them."""
        return EyeCrops(*(getattr(self, name)[chosen] for name in self.__slots__))

    @classmethod
    def join(cls, parts: Sequence["EyeCrops"]) -> "EyeCrops":
        """All crops of all parts."""
        return cls(*(np.concatenate([getattr(p, name) for p in parts]) for name in cls.__slots__))

    @classmethod
    def of(
        cls,
        crops: Sequence[Image] | Image,
        states: Sequence[States] | States,
        people: Sequence[str],
        source: str,
        *,
        glasses: Sequence[bool] | NDArray[np.bool_] | None = None,
    ) -> "EyeCrops":
        """Crops of one set."""
        count = len(crops)
        return cls(
            np.asarray(crops, np.uint8).reshape(count, ROOM_PX, ROOM_PX),
            np.asarray(states, np.float32).reshape(count, 4),
            np.asarray(people, np.str_),
            np.full(count, source),
            np.zeros(count, np.bool_) if glasses is None else np.asarray(glasses, np.bool_),
        )


def roomy_eyes(image: Image, landmarks: Landmarks) -> Image:
    """Right and left eye with room round the network's view, (2, 80, 80)."""
    return np.stack([cut_eye(image, landmarks, side, ROOM_PX, VIEW_PX) for side in CORNERS])


def view_of(crops: Image) -> Image:
    """The network's view of stored crops: (N, 40, 40)."""
    edge = (ROOM_PX - VIEW_PX) // 2
    inner = crops[:, edge : edge + VIEW_PX, edge : edge + VIEW_PX]
    size = (CROP_PX, CROP_PX)
    shrunk = [cv2.resize(one, size, interpolation=cv2.INTER_AREA) for one in inner]
    return np.asarray(shrunk, np.uint8).reshape(len(crops), *size)


def read_eyes(path: Path) -> EyeCrops:
    """Every crop of a set, in whichever layout it is.

    Raises:
        PictureSetError: no such file, or a layout that is not one of those above.
    """
    if path.suffix == ".parquet" and path.is_file():
        return _of_table(path)
    if (path / "eyes.csv").is_file():
        return _of_faces(path.name, _listed_faces(path))
    if (path / "data.yaml").is_file():
        return _of_faces(path.name, _boxed_faces(read_picture_set(path)))
    raise PictureSetError(
        f"{path}: no eye set; give a .parquet file (image and closed, or image, clip and state), "
        "a folder with eyes.csv, or one with data.yaml"
    )


def mesh_of(image: Image) -> Landmarks | None:
    """Mesh of a tight face, brightened where it is too dark for the mesh network."""
    edges = (_MARGIN_PX,) * 4
    for gamma in (1.0, 0.5):
        seen = (255 * (image / 255.0) ** gamma).astype(np.uint8) if gamma < 1 else image
        mesh = find_landmarks(
            np.asarray(cv2.copyMakeBorder(seen, *edges, cv2.BORDER_REPLICATE), np.uint8)
        )
        if mesh is not None:
            return mesh - np.array([_MARGIN_PX, _MARGIN_PX, 0], np.float32)
    return None


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


def _of_table(path: Path) -> EyeCrops:
    from pyarrow import ArrowInvalid, parquet  # noqa: PLC0415 - only this layout needs it

    try:
        table = parquet.read_table(path)
    except (ArrowInvalid, OSError) as error:
        raise PictureSetError(f"{path}: not a parquet file ({error})") from None
    columns = {name: table.column(name).to_pylist() for name in table.column_names}
    if {"image", "closed"} <= set(columns):
        return _of_eye_table(path.stem, columns)
    if {"image", "clip", "state"} <= set(columns):
        return _of_faces(path.parent.name, _framed_faces(columns))
    raise PictureSetError(f"{path}: needs the columns image and closed, or image, clip and state")


def _of_eye_table(source: str, columns: dict[str, list[Any]]) -> EyeCrops:
    count = len(columns["image"])
    people = columns.get("subject") or [""] * count
    return EyeCrops.of(
        [_roomy(_decoded(content, cv2.IMREAD_GRAYSCALE)) for content in columns["image"]],
        [CLOSED if closed else OPEN for closed in columns["closed"]],
        [str(person) for person in people],
        source,
        glasses=[bool(worn) for worn in columns.get("glasses", [False] * count)],
    )


def _roomy(crop: Image) -> Image:
    """An eye-only crop as the view in a stored crop; the room round it mirrors the view."""
    method = cv2.INTER_AREA if crop.shape[0] > VIEW_PX else cv2.INTER_CUBIC
    view = cv2.resize(crop, (VIEW_PX, VIEW_PX), interpolation=method)
    low = (ROOM_PX - VIEW_PX) // 2
    high = ROOM_PX - VIEW_PX - low
    return np.asarray(
        cv2.copyMakeBorder(view, low, high, low, high, cv2.BORDER_REFLECT_101), np.uint8
    )


def _decoded(content: bytes, flag: int = cv2.IMREAD_COLOR) -> Image:
    image = cv2.imdecode(np.frombuffer(content, np.uint8), flag)
    if image is None:
        raise PictureSetError("a picture of the table cannot be read")
    return np.asarray(image, np.uint8)


# A face: picture, mesh, label, person.
_Face = tuple[Image, Landmarks | None, str, str]


def _framed_faces(columns: dict[str, list[Any]]) -> Iterator[_Face]:
    rows = zip(columns["image"], columns["clip"], columns["state"], strict=True)
    for content, clip, state in rows:
        if state in _LABELS:
            image = _decoded(content)
            yield image, mesh_of(image), state, str(clip)


def _listed_faces(folder: Path) -> Iterator[_Face]:
    with (folder / "eyes.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            label = " ".join(filter(None, (row["eyes"], row.get("through"))))
            if label in _LABELS:
                image = read_upright(folder / "images" / row["file"])
                grown = cv2.resize(image, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
                mesh = mesh_of(np.asarray(grown, np.uint8))
                half = None if mesh is None else mesh / np.float32(2)
                yield image, half, label, row["person"]


def _boxed_faces(pictures: PictureSet) -> Iterator[_Face]:
    labels = set(pictures.labels)
    if not ({"awake", "sleep"} <= labels or {"open", "closed"} <= labels):
        raise PictureSetError(
            f"{pictures.root}: needs the classes awake and sleep, or open, closed"
        )
    round_eyes = "open" in labels
    for picture in pictures.pictures:
        image = read_upright(picture.path)
        for index, box in zip(picture.classes, picture.xyxy, strict=True):
            label = pictures.labels[int(index)]
            if label not in _LABELS:
                continue
            mesh = mesh_in(image, _face_round(box) if round_eyes else box)
            if round_eyes and mesh is not None and not _eyes_inside(mesh, box):
                mesh = None
            yield image, mesh, label, picture.person


def _face_round(box: NDArray[np.float32]) -> NDArray[np.float32]:
    """The face round a box of both eyes."""
    x, y = (box[:2] + box[2:]) / 2
    wide = box[2] - box[0]
    return np.array([x - 0.7 * wide, y - 0.45 * wide, x + 0.7 * wide, y + 0.95 * wide], np.float32)


def _eyes_inside(mesh: Landmarks, box: NDArray[np.float32]) -> bool:
    x, y = mesh[[i for pair in CORNERS.values() for i in pair], :2].mean(0)
    wide, high = box[2:] - box[:2]
    across = box[0] - 0.1 * wide < x < box[2] + 0.1 * wide
    return bool(across and box[1] - 0.2 * high < y < box[3] + 0.2 * high)


def _of_faces(source: str, faces: Iterator[_Face]) -> EyeCrops:
    crops, states, people = [], [], []
    for image, mesh, label, person in faces:
        if mesh is None:
            continue
        widths = [eye_width_px(mesh, side) for side in CORNERS]
        crops += list(roomy_eyes(image, mesh))
        for width in widths:
            far = width < _FAR_EYE * max(widths)
            states.append(np.maximum(_LABELS[label], NOT_VISIBLE) if far else _LABELS[label])
        people += [person] * 2
    if not crops:
        raise PictureSetError(f"{source}: no face with a mesh and a label")
    return EyeCrops.of(crops, states, people, source)
