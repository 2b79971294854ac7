"""A picture set is checked before anything is trained on it, and each fault is one line."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from models.data.yolo import (
    PictureSetError,
    check_classes,
    read_picture_set,
    split_by_person,
)
from tests.support.paths import SHARED

AWAKE_SLEEP = SHARED / "data" / "awake_sleep"
FACE = "0 0.5 0.5 0.4 0.6\n"


def write(
    folder: Path, name: str, label: str | None = FACE, seed: int = 0, split: str = ""
) -> None:
    images, labels = folder / "images" / split, folder / "labels" / split
    images.mkdir(parents=True, exist_ok=True)
    labels.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (48, 64, 3), np.uint8)
    cv2.imwrite(str(images / f"{name}.png"), pixels)
    if label is not None:
        (labels / f"{name}.txt").write_text(label)


@pytest.fixture
def folder(tmp_path: Path) -> Any:
    (tmp_path / "data.yaml").write_text("names: [awake, sleep, yawn]\n")
    for index in range(3):
        write(tmp_path, f"face_{index}", f"{index} 0.5 0.5 0.4 0.6\n", seed=index)
    return tmp_path


def fault(folder: Path, labels: Any = None) -> Any:
    with pytest.raises(PictureSetError) as caught:
        read_picture_set(folder, labels)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_good_set_is_read(folder: Path) -> None:
    found = read_picture_set(folder, ("awake", "sleep", "yawn"))
    assert found.counts() == {"awake": 1, "sleep": 1, "yawn": 1}
    np.testing.assert_allclose(found.pictures[0].xyxy, [[19.2, 9.6, 44.8, 38.4]], rtol=1e-6)
    check_classes(found)


def test_names_may_be_numbered(folder: Path) -> None:
    (folder / "data.yaml").write_text("names:\n  0: awake\n  1: sleep\n  2: yawn\n")
    assert read_picture_set(folder).labels == ("awake", "sleep", "yawn")


def test_a_picture_without_a_face_has_an_empty_label_file(folder: Path) -> None:
    write(folder, "nobody", "", seed=9)
    assert len(read_picture_set(folder).pictures) == 4


@pytest.mark.parametrize(
    ("label", "told"),
    [
        (None, "missing; a picture without a face has an empty file"),
        ("3 0.5 0.5 0.4 0.6\n", "class 3, but data.yaml names 3: 0 to 2"),
        ("0.5 0.5 0.5 0.4 0.6\n", "class 0.5"),
        ("0 0.9 0.5 0.4 0.6\n", "box outside the picture"),
        ("0 0.5 0.5 0 0.6\n", "box outside the picture"),
        ("0 48 40 20 30\n", "box outside the picture"),
        ("0 0.5 0.5 0.4\n", "not five numbers"),
        ("0 nan 0.5 0.4 0.6\n", "not five numbers"),
        ("face 0.5 0.5 0.4 0.6\n", "not five numbers"),
    ],
)
def test_a_faulty_label_is_named(folder: Path, label: str | None, told: str) -> None:
    write(folder, "odd", label, seed=9)
    message = fault(folder)
    assert told in message
    assert "odd.txt" in message


def test_many_faults_are_counted(folder: Path) -> None:
    for index in range(5):
        write(folder, f"odd_{index}", "0 2 2 1 1\n", seed=10 + index)
    assert "5 problems" in fault(folder)


@pytest.mark.parametrize("content", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n half a picture"])
def test_an_unreadable_picture_is_named(folder: Path, content: bytes) -> None:
    (folder / "images" / "face_1.png").write_bytes(content)
    assert "face_1.png: not a readable picture" in fault(folder)


def test_a_truncated_picture_is_named(folder: Path) -> None:
    path = folder / "images" / "face_1.png"
    path.write_bytes(path.read_bytes()[:-2000])
    assert "face_1.png: not a readable picture" in fault(folder)


def test_an_absent_or_empty_folder_is_told(tmp_path: Path) -> None:
    assert "no such folder" in fault(tmp_path / "absent")
    assert "data.yaml: missing" in fault(tmp_path)
    (tmp_path / "data.yaml").write_text("names: [awake]\n")
    assert "no pictures under" in fault(tmp_path)


def test_labels_of_another_class_list_are_refused(folder: Path) -> None:
    message = fault(folder, ("awake", "sleep"))
    assert "has yawn, this model tells awake, sleep" in message
    assert "--classes yawn=" in message


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ("names: !!python/object/apply:os.system ['touch ran']\n", "not plain YAML"),
        ("names: [awake\n", "not plain YAML"),
        ("classes: 3\n", "'names' must list the classes"),
        ("names: [awake, awake]\n", "named twice"),
        ("- awake\n", "'names' must list the classes"),
    ],
)
def test_a_hostile_or_faulty_yaml_is_refused_and_runs_nothing(
    folder: Path, document: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    (folder / "data.yaml").write_text(document)
    assert told in fault(folder)
    assert not (folder / "ran").exists()


def test_a_label_cache_is_left_alone(folder: Path) -> None:
    (folder / "labels.cache").write_bytes(b"\x80\x04cos\nsystem\n(S'touch ran'\ntR.")
    assert len(read_picture_set(folder).pictures) == 3
    assert not Path("ran").exists()


def test_only_empty_label_files_are_no_set(tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text("names: [awake, sleep]\n")
    write(tmp_path, "nobody", "")
    assert "not one box" in fault(tmp_path)


def test_a_class_without_pictures_cannot_be_trained(tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text("names: [awake, sleep]\n")
    write(tmp_path, "face", FACE)
    with pytest.raises(PictureSetError, match="no box of class sleep"):
        check_classes(read_picture_set(tmp_path))


def test_the_same_picture_in_two_splits_is_told(folder: Path) -> None:
    write(folder, "one", seed=5, split="train")
    write(folder, "other", seed=5, split="val")
    assert "the same picture as" in fault(folder)


def test_a_person_in_two_splits_is_told(tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text("names: [awake, sleep]\n")
    write(tmp_path, "one", seed=1, split="train")
    write(tmp_path, "two", seed=2, split="val")
    (tmp_path / "people.csv").write_text("file,person\none.png,anna\ntwo.png,anna\n")
    assert "anna is in train and in val" in fault(tmp_path)


def test_a_split_by_person_keeps_lookalikes_together(folder: Path) -> None:
    (folder / "people.csv").write_text(
        "file,person\nface_0.png,anna\nface_1.png,berta\nface_2.png,clara\n"
    )
    pictures = read_picture_set(folder)
    train, val = split_by_person(pictures, ["anna"])
    assert (train.people, val.people) == (("berta", "clara"), ("anna",))
    with pytest.raises(PictureSetError, match="held out together"):
        split_by_person(pictures, ["anna"], together=[("anna", "berta")])
    with pytest.raises(PictureSetError, match="no person dora"):
        split_by_person(pictures, ["dora"])
    with pytest.raises(PictureSetError, match="leaves a side empty"):
        split_by_person(pictures, ["anna", "berta", "clara"])


def test_the_layout_of_roboflow_is_read(tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text("names: [awake, sleep]\n")
    for index, split in enumerate(("train", "valid")):
        write(tmp_path / split, f"face_{index}", seed=index)
    found = read_picture_set(tmp_path)
    assert [picture.split for picture in found.pictures] == ["train", "val"]


@pytest.mark.shared
@pytest.mark.skipif(not AWAKE_SLEEP.is_dir(), reason="needs ../shared/data/awake_sleep")
def test_the_real_set_is_sound() -> None:
    found = read_picture_set(AWAKE_SLEEP, ("awake", "sleep", "yawn"))
    assert found.counts() == {"awake": 153, "sleep": 182, "yawn": 141}
    assert len(found.people) == 8
