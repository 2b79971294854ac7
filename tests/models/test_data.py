"""Faces from every layout, in the card's order; bad data in one line."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from pyarrow import parquet

from models.data import DatasetError, Faces, Sample, hold_out, read_picture, require_classes
from models.data.layouts import (
    CK_LABELS,
    FER_PLUS_COLUMNS,
    fer_plus_label,
    fer_plus_shares,
    find_source,
    open_faces,
    open_for_training,
)
from models.registry import FER_PLUS_LABELS, RAF_LABELS
from tests.support.paths import SHARED

FERPLUS = SHARED / "data" / "ferplus_train_valid.parquet"
needs_ferplus = pytest.mark.skipif(not FERPLUS.is_file(), reason="needs ../shared/data")


def picture(value: int, side: int = 12) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((side, side, 3), value, dtype=np.uint8)).save(buffer, "png")
    return buffer.getvalue()


def save(path: Path, value: int = 0, side: int = 12) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(picture(value, side))
    return path


def samples(labels: tuple[str, ...], each: int) -> list[Sample]:
    return [
        Sample(f"{label}{i}", picture(40 * n + i), label)
        for n, label in enumerate(labels)
        for i in range(each)
    ]


@pytest.mark.parametrize(
    ("mode", "pixel", "expected"),
    [
        ("L", 90, (90, 90, 90)),
        ("RGB", (10, 20, 30), (10, 20, 30)),
        ("RGBA", (200, 100, 50, 0), (0, 0, 0)),
        ("LA", (80, 255), (80, 80, 80)),
        ("I;16", 0x8040, (128, 128, 128)),
        ("1", 1, (255, 255, 255)),
    ],
)
def test_every_kind_of_picture_becomes_rgb(
    tmp_path: Path, mode: str, pixel: int, expected: tuple[int, int, int]
) -> None:
    Image.new(mode, (5, 4), pixel).save(tmp_path / "face.png")
    read = read_picture(tmp_path / "face.png")
    assert read.shape == (4, 5, 3)
    assert read.dtype == np.uint8
    assert tuple(read[0, 0]) == expected


def test_a_truncated_picture_is_told_by_name(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8))
    for name in ("face.jpg", "face.png"):
        noise.save(tmp_path / name)
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
        with pytest.raises(DatasetError, match=f"{name}.*damaged"):
            read_picture(tmp_path / name)
    (tmp_path / "words.jpg").write_text("no picture")
    with pytest.raises(DatasetError, match="not a picture"):
        read_picture(tmp_path / "words.jpg")
    with pytest.raises(DatasetError, match="no such picture"):
        read_picture(tmp_path / "gone.jpg")


def test_labels_are_matched_by_name_whatever_the_order() -> None:
    theirs = samples(("anger", "disgust", "fear"), 2)
    faces = Faces(theirs, ("fear", "anger", "disgust"), (8, 8))
    assert faces.truth.tolist() == [1, 1, 2, 2, 0, 0]
    assert faces.counts == {"fear": 2, "anger": 2, "disgust": 2}


def test_a_label_the_model_does_not_know_is_refused() -> None:
    with pytest.raises(DatasetError, match="has contempt, which the model does not know"):
        Faces(samples(("contempt",), 1), RAF_LABELS, (8, 8), source="mine")


def test_an_empty_class_and_an_empty_set_are_refused() -> None:
    with pytest.raises(DatasetError, match="no pictures of b, c"):
        require_classes(Faces(samples(("a",), 2), ("a", "b", "c"), (8, 8), source="mine"))
    with pytest.raises(DatasetError, match="no pictures"):
        Faces([], ("a",), (8, 8), source="mine")


def test_votes_are_put_in_the_models_order_and_add_up() -> None:
    sample = Sample("x", picture(1), "b", votes=(0.25, 0.75, 0.0))
    faces = Faces([sample], ("c", "b", "a"), (8, 8), soft=True, source_labels=("a", "b", "c"))
    assert faces.targets.tolist() == [[0.0, 0.75, 0.25]]


def test_cached_and_decoded_batches_are_the_same() -> None:
    plain = Faces(samples(("a", "b"), 3), ("a", "b"), (8, 10))
    kept = Faces(samples(("a", "b"), 3), ("a", "b"), (8, 10)).cached()
    first, second = plain.__getitems__([4, 0]), kept.__getitems__([4, 0])
    assert first.images.shape == (2, 3, 8, 10)
    assert torch.equal(first.images, second.images)
    assert first.images.max() <= 1


def test_the_same_picture_is_always_on_the_same_side() -> None:
    faces = Faces([*samples(("a", "b"), 60), *samples(("a", "b"), 60)], ("a", "b"), (8, 8))
    kept, held = hold_out(faces, 0.3)
    assert len(kept) + len(held) == len(faces)
    assert 0.1 < len(held) / len(faces) < 0.5
    assert not {s.picture for s in kept.samples} & {s.picture for s in held.samples}
    again = hold_out(faces, 0.3)[1]
    assert [s.name for s in again.samples] == [s.name for s in held.samples]


@pytest.mark.parametrize(
    ("votes", "label"),
    [
        ((6, 0, 1, 0, 0, 0, 0, 0, 2, 0), "neutral"),
        ((5, 0, 0, 5, 0, 0, 0, 0, 0, 0), None),  # a tie is no majority
        ((4, 3, 3, 0, 0, 0, 0, 0, 0, 0), None),  # the most, but not more than half
        ((3, 1, 1, 1, 1, 1, 1, 1, 0, 0), "neutral"),  # single votes are outliers
        ((1, 0, 0, 0, 0, 0, 0, 0, 9, 0), None),  # unknown
        ((0, 0, 0, 0, 0, 0, 0, 0, 0, 10), None),  # no face
        ((1, 1, 1, 1, 1, 1, 1, 1, 1, 1), None),
        ((0, 0, 0, 0, 0, 0, 0, 10, 0, 0), "contempt"),
    ],
)
def test_fer_plus_majority(votes: tuple[int, ...], label: str | None) -> None:
    assert fer_plus_label(votes) == label


def test_fer_plus_shares_leave_out_single_votes() -> None:
    assert fer_plus_shares((6, 0, 1, 2, 0, 0, 0, 0, 1, 0)) == (0.75, 0, 0, 0.25, 0, 0, 0, 0)
    assert fer_plus_shares((2, 0, 0, 0, 0, 0, 0, 0, 8, 0)) is None


def test_fer_plus_as_its_authors_lay_it_out(tmp_path: Path) -> None:
    header = (
        "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
    )
    rows = ["Training,a.png,9,0,0,0,0,1,0,0,0,0", "PublicTest,b.png,0,0,0,0,2,0,8,0,0,0"]
    rows += ["Training,,0,0,0,0,0,0,0,0,0,10", "Training,c.png,5,5,0,0,0,0,0,0,0,0"]
    (tmp_path / "fer2013new.csv").write_text("\n".join([header, *rows]) + "\n")
    save(tmp_path / "FER2013Train" / "a.png")
    save(tmp_path / "FER2013Train" / "c.png")
    save(tmp_path / "FER2013Valid" / "b.png")
    hard = open_faces(tmp_path, FER_PLUS_LABELS, (8, 8), "train")
    assert [s.name for s in hard.samples] == ["a.png"]
    soft = open_faces(tmp_path, FER_PLUS_LABELS, (8, 8), "train", soft=True)
    assert soft.targets[1].tolist() == [0.5, 0.5, 0, 0, 0, 0, 0, 0]
    assert open_faces(tmp_path, FER_PLUS_LABELS, (8, 8), "PublicTest").counts["fear"] == 1


def test_raf_db_in_its_own_order(tmp_path: Path) -> None:
    """RAF-DB counts disgust 3 and anger 6: papers swap them."""
    notes = tmp_path / "basic" / "EmoLabel" / "list_patition_label.txt"
    notes.parent.mkdir(parents=True)
    notes.write_text("train_00001.jpg 3\ntrain_00002.jpg 6\ntest_0001.jpg 4\n")
    for name in ("train_00001", "train_00002", "test_0001"):
        save(tmp_path / "basic" / "Image" / "aligned" / f"{name}_aligned.jpg")
    train = open_faces(tmp_path, RAF_LABELS, (8, 8), "train")
    assert [s.label for s in train.samples] == ["disgust", "anger"]
    assert open_faces(tmp_path, RAF_LABELS, (8, 8), "test").counts["happiness"] == 1
    assert train.cached().image(0).shape == (8, 8, 3)
    notes.write_text("train_00001.jpg 9\n")
    with pytest.raises(DatasetError, match="line 1: label '9' is not"):
        open_faces(tmp_path, RAF_LABELS, (8, 8), "train")


def test_raf_db_and_fer_plus_in_one_parquet_file_are_told_apart(tmp_path: Path) -> None:
    faces = {"split": ["train", "test"], "name": ["a.jpg", "b.jpg"], "image": [picture(1)] * 2}
    path = tmp_path / "rafdb.parquet"
    parquet.write_table(
        pa.table(faces | {"label": [2, 5], "label_name": ["disgust", "anger"]}), path
    )
    assert find_source(path).name == "RAF-DB"
    assert [s.label for s in open_faces(path, RAF_LABELS, (8, 8), "train").samples] == ["disgust"]
    assert open_faces(path, RAF_LABELS, (8, 8), "test").counts["anger"] == 1
    parquet.write_table(pa.table(faces | {key: [9, 0] for key in FER_PLUS_COLUMNS}), path)
    assert find_source(path).name == "FER+"
    parquet.write_table(pa.table(faces), path)
    with pytest.raises(DatasetError, match=r"neither FER.'s votes nor RAF-DB's"):
        find_source(path)


def test_a_teachers_answers_are_mixed_into_the_targets() -> None:
    faces = Faces(samples(("a", "b"), 1), ("a", "b"), (8, 8))
    softened = faces.softened(torch.tensor([[0.5, 0.5], [0.0, 1.0]]), 0.4)
    torch.testing.assert_close(softened.targets, torch.tensor([[0.8, 0.2], [0.0, 1.0]]))
    assert softened.truth.tolist() == [0, 1]
    assert faces.targets.tolist() == [[1, 0], [0, 1]]


def test_affectnet_with_and_without_contempt(tmp_path: Path) -> None:
    for number, stem in enumerate(("a", "b", "c")):
        save(tmp_path / "val_set" / "images" / f"{stem}.jpg")
        (tmp_path / "val_set" / "annotations").mkdir(exist_ok=True)
        label = {0: "7", 1: "6", 2: "10"}[number]
        np.save(tmp_path / "val_set" / "annotations" / f"{stem}_exp.npy", np.array(label))
    eight = open_faces(tmp_path, FER_PLUS_LABELS, (8, 8), "valid")
    assert (eight.source, [s.label for s in eight.samples]) == (
        "AffectNet-8",
        ["contempt", "anger"],
    )
    seven = open_faces(tmp_path, RAF_LABELS, (8, 8), "valid")
    assert (seven.source, len(seven)) == ("AffectNet-7", 1)


def test_ck_plus_splits_by_subject(tmp_path: Path) -> None:
    for subject in ("S001", "S002"):
        for frame in range(5):
            save(tmp_path / "cohn-kanade-images" / subject / "001" / f"{subject}_{frame:03d}.png")
        note = tmp_path / "Emotion" / subject / "001" / f"{subject}_001_emotion.txt"
        note.parent.mkdir(parents=True)
        note.write_text("   3.0000000e+00\n")
    test = open_faces(tmp_path, CK_LABELS, (8, 8), "test")
    assert {s.name[:4] for s in test.samples} == {"S001"}
    assert test.counts == {**dict.fromkeys(CK_LABELS, 0), "disgust": 3, "neutral": 1}
    train = open_faces(tmp_path, CK_LABELS, (8, 8), "train")
    assert {s.name[:4] for s in train.samples} == {"S002"}


def test_a_folder_a_class_knows_other_words_for_labels(tmp_path: Path) -> None:
    save(tmp_path / "train" / "Angry" / "1.png")
    save(tmp_path / "train" / "happy" / "deep" / "2.png")
    (tmp_path / "train" / "happy" / "notes.txt").write_text("not a picture")
    faces = open_faces(tmp_path, RAF_LABELS, (8, 8), "train")
    assert sorted(s.label for s in faces.samples) == ["anger", "happiness"]
    with pytest.raises(DatasetError, match="has no split"):
        open_faces(tmp_path, RAF_LABELS, (8, 8), "test")


def test_folders_called_1_to_7_are_raf_db(tmp_path: Path) -> None:
    save(tmp_path / "test" / "3" / "x.png")
    assert open_faces(tmp_path, RAF_LABELS, (8, 8), "test").counts["disgust"] == 1


def test_what_is_no_data_set_is_told(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no such folder"):
        find_source(tmp_path / "gone")
    with pytest.raises(DatasetError, match="not a layout we know"):
        find_source(tmp_path)
    (tmp_path / "x.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(DatasetError, match="not a parquet file"):
        open_faces(tmp_path / "x.parquet", FER_PLUS_LABELS, (8, 8), "train")


def test_a_sets_own_validation_folder_is_used(tmp_path: Path) -> None:
    for split, count in (("train", 6), ("valid", 2)):
        for label in ("calm", "tired"):
            for i in range(count):
                save(tmp_path / split / label / f"{i}.png", value=i)
    training, validation = open_for_training(
        tmp_path, ("calm", "tired"), (8, 8), soft=False, validation=0.5
    )
    assert (len(training), len(validation)) == (12, 4)


@pytest.mark.shared
@needs_ferplus
def test_the_real_fer_plus_is_split_without_leaks() -> None:
    training, held = open_for_training(
        FERPLUS, FER_PLUS_LABELS, (48, 48), soft=True, validation=0.08
    )
    test = open_faces(FERPLUS, FER_PLUS_LABELS, (48, 48), "PublicTest")
    assert len(test) == 3157
    pictures = [{s.picture for s in part.samples} for part in (training, held, test)]
    assert not pictures[0] & pictures[1]
    assert not (pictures[0] | pictures[1]) & pictures[2]
    assert torch.allclose(training.targets.sum(1), torch.ones(len(training)))
    assert all(training.counts.values())
