"""Scenes are labelled by what was done to the face, and sets say what they are made of."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.data.scene_datasets import list_portraits, write_scenes, write_views
from models.data.yolo import PictureSetError, read_picture_set
from models.inference.boxes import overlaps
from models.synthesis import astronaut
from models.synthesis.face_warp import ear
from models.synthesis.scenes import (
    LABELS,
    Actor,
    Scene,
    act,
    actor_of,
    cabin,
    compose,
    develop,
    shrunk_into_cabin,
    view,
    zoomed,
)


@pytest.fixture(scope="module")
def portrait() -> Actor:
    face = np.ascontiguousarray(astronaut()[:256, 96:352])
    actor = actor_of(face, "awake")
    assert actor is not None
    return actor


def test_a_sleeper_has_narrower_eyes_than_the_awake(portrait: Actor) -> None:
    def opening(label: str, seed: int) -> float | None:
        played = act(portrait, label, np.random.default_rng(seed))  # type: ignore[arg-type]
        seen = actor_of(played.image, "awake") if played is not None else None
        return None if seen is None else ear(seen.landmarks, "left") + ear(seen.landmarks, "right")

    found = {
        label: [o for seed in range(6) if (o := opening(label, seed)) is not None]
        for label in ("awake", "sleep")
    }
    assert np.median(found["sleep"]) < 0.7 * np.median(found["awake"])


def test_closed_eyes_cannot_play_awake(portrait: Actor) -> None:
    sleeper = Actor(portrait.image, portrait.landmarks, "sleep")
    assert act(sleeper, "awake", np.random.default_rng(0)) is None


@pytest.mark.parametrize("face", [(0.1, 0.2), (0.4, 0.7)])
def test_the_box_lies_on_the_face(portrait: Actor, face: tuple[float, float]) -> None:
    scene = compose([portrait], (480, 640), np.random.default_rng(3), face)
    assert scene.labels == ("awake",)
    x1, y1, x2, y2 = scene.boxes[0]
    assert face[0] * 480 * 0.9 < y2 - y1 < face[1] * 480 * 1.25
    large = view(scene, float(1.8 * (y2 - y1)), (float(x1 + x2) / 2, float(y1 + y2) / 2), 256)
    seen = actor_of(large.image, "awake")
    if face[0] > 0.3:  # the small one is too coarse for a mesh
        assert seen is not None
        assert overlaps(seen.box, large.boxes)[0] > 0.6


def test_a_passenger_is_labelled_too(portrait: Actor) -> None:
    scene = compose([portrait, portrait], (480, 640), np.random.default_rng(3), (0.2, 0.3))
    assert scene.boxes.shape == (2, 4)
    assert len(scene.labels) == 2


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    hw=st.tuples(st.integers(32, 200), st.integers(32, 300)),
)
def test_a_cabin_is_a_picture_of_the_asked_size(seed: int, hw: tuple[int, int]) -> None:
    image = cabin(hw, np.random.default_rng(seed))
    assert image.shape == (*hw, 3)
    assert image.dtype == np.uint8


@settings(max_examples=40, deadline=None)
@given(
    side=st.floats(60, 900),
    centre=st.tuples(st.floats(0, 640), st.floats(0, 480)),
)
def test_a_view_keeps_the_box_on_the_same_pixels(side: float, centre: tuple[float, float]) -> None:
    image = np.full((480, 640, 3), 30, np.uint8)
    image[200:280, 300:360] = 250
    scene = Scene(image, np.array([[300, 200, 360, 280]], np.float32), ("awake",))
    seen = view(scene, side, centre, 256)
    for x1, y1, x2, y2 in seen.boxes:
        inside = seen.image[int(np.ceil(y1)) : int(y2), int(np.ceil(x1)) : int(x2)]
        if inside.size and min(inside.shape[:2]) > 4:
            assert inside.mean() > 200


def test_a_face_cut_away_is_dropped() -> None:
    scene = Scene(
        np.zeros((480, 640, 3), np.uint8), np.array([[10, 10, 40, 50]], np.float32), ("sleep",)
    )
    assert view(scene, 100, (500, 400), 256).labels == ()


def test_a_zoomed_face_fills_its_share() -> None:
    scene = Scene(
        np.zeros((1080, 1920, 3), np.uint8),
        np.array([[900, 400, 1000, 520]], np.float32),
        ("sleep",),
    )
    rng = np.random.default_rng(0)
    for _ in range(20):
        seen = zoomed(scene, 256, rng, (0.4, 0.7))
        tall = float(seen.boxes[0, 3] - seen.boxes[0, 1]) / 256
        assert 0.3 < tall < 0.72


def test_a_picture_shrunk_into_a_cabin_takes_its_box_along() -> None:
    image = np.full((416, 416, 3), 250, np.uint8)
    scene = Scene(image, np.array([[0, 0, 416, 416]], np.float32), ("awake",))
    placed = shrunk_into_cabin(scene, (1080, 1920), np.random.default_rng(1), 0.4)
    x1, y1, x2, y2 = placed.boxes[0].astype(int)
    assert placed.image.shape == (1080, 1920, 3)
    assert placed.image[y1 + 2 : y2 - 2, x1 + 2 : x2 - 2].min() > 240


def test_developing_never_turns_the_light_out() -> None:
    image = np.full((64, 64, 3), 60, np.uint8)
    means = [develop(image, np.random.default_rng(seed)).mean() for seed in range(60)]
    assert min(means) > 8


# --- whole sets ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def portraits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("portraits")
    (folder / "images").mkdir()
    face = astronaut()[:256, 96:352]
    cv2.imwrite(str(folder / "images" / "eileen.png"), face)
    cv2.imwrite(str(folder / "images" / "nobody.png"), np.zeros((256, 256, 3), np.uint8))
    (folder / "portraits.csv").write_text("file,eyes\neileen.png,open\n")
    return folder


def test_a_set_reads_back_and_says_what_it_is_made_of(portraits: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    left_out = write_scenes(
        list_portraits(portraits), out, scenes=8, size=128, licence="public domain"
    )
    found = read_picture_set(out, LABELS)
    assert left_out == 1
    assert len(found.pictures) == 8
    assert found.people == ("eileen",)
    provenance = json.loads((out / "provenance.json").read_text())
    assert provenance["licence_of_portraits"] == "public domain"
    assert list(provenance["portraits"]) == ["eileen.png"]


def test_the_same_seed_makes_the_same_set(portraits: Path, tmp_path: Path) -> None:
    cast = list_portraits(portraits)
    for name in ("one", "two"):
        write_scenes(cast, tmp_path / name, scenes=4, size=96, seed=5)
    for path in (tmp_path / "one" / "images").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / "images" / path.name).read_bytes()


def test_a_used_folder_is_not_written_into(portraits: Path, tmp_path: Path) -> None:
    (tmp_path / "something").write_text("mine")
    with pytest.raises(PictureSetError, match="is not empty; name a new folder"):
        write_scenes(list_portraits(portraits), tmp_path, scenes=1)


def test_portraits_without_a_face_make_no_set(tmp_path: Path) -> None:
    folder = tmp_path / "faces"
    folder.mkdir()
    cv2.imwrite(str(folder / "grey.png"), np.full((64, 64, 3), 90, np.uint8))
    with pytest.raises(PictureSetError, match="no face found in 1 portraits"):
        write_scenes(list_portraits(folder), tmp_path / "out", scenes=1)


def test_an_empty_or_absent_folder_of_portraits_is_told(tmp_path: Path) -> None:
    with pytest.raises(PictureSetError, match="no pictures of faces"):
        list_portraits(tmp_path)
    with pytest.raises(PictureSetError, match="no such folder"):
        list_portraits(tmp_path / "absent")


def test_views_of_a_real_set_keep_its_people(portraits: Path, tmp_path: Path) -> None:
    write_scenes(list_portraits(portraits), tmp_path / "set", scenes=2, size=256)
    write_views(read_picture_set(tmp_path / "set", LABELS), tmp_path / "views", size=128)
    found = read_picture_set(tmp_path / "views", LABELS)
    assert found.people == ("eileen",)
    assert 8 <= len(found.pictures) <= 12
