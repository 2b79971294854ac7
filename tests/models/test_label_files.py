"""Label files, class lists, people.csv and pictures as tools and people really write them."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from models.cli import models_app
from models.data.label_files import LabelError, label_rows, read_text
from models.data.layouts import open_faces
from models.data.pictures import read_upright, upright_size
from models.data.yolo import (
    PictureSet,
    PictureSetError,
    check_driver_classes,
    of_split,
    parse_classes,
    read_picture_set,
    split_by_person,
)
from models.synthesis import FaceState, Portrait
from tests.models.test_yolo_data import write

BOX = (0.5, 0.5, 0.4, 0.6)
LINE = "0 0.5 0.5 0.4 0.6\n"
BOTH = LINE + "1 0.5 0.5 0.4 0.6\n"


def a_set(folder: Path, names: str = "names: [awake, sleep]\n", label: str = BOTH) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "data.yaml").write_text(names)
    write(folder, "face", label)
    return folder


def fault(
    folder: Path,
    labels: tuple[str, ...] | None = None,
    classes: Mapping[str, str] | None = None,
) -> str:
    with pytest.raises(PictureSetError) as caught:
        read_picture_set(folder, labels, classes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- where things lie ---------------------------------------------------------------------------


def renamed(folder: Path, old: str, new: str) -> None:
    (folder / new).parent.mkdir(exist_ok=True, parents=True)
    (folder / old).rename(folder / new)


def capital_suffixes(folder: Path) -> None:
    renamed(folder, "labels/face.txt", "labels/face.TXT")
    renamed(folder, "images/face.png", "images/face.PNG")


def capital_folders(folder: Path) -> None:
    renamed(folder, "images", "Images")
    renamed(folder, "labels", "Labels")


def capital_class_list(folder: Path) -> None:
    renamed(folder, "data.yaml", "Data.YAML")


def darknet(folder: Path) -> None:
    renamed(folder, "images/face.png", "obj_train_data/face.png")
    renamed(folder, "labels/face.txt", "obj_train_data/face.txt")
    (folder / "data.yaml").unlink()
    (folder / "obj.names").write_text("awake\nsleep\n")


def remarks(folder: Path) -> None:
    (folder / "labels" / "face.txt").write_text("# made by hand\n" + BOTH)


@pytest.mark.parametrize(
    "change", [capital_suffixes, capital_folders, capital_class_list, darknet, remarks]
)
def test_a_set_is_found_as_tools_and_systems_name_things(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    folder = a_set(tmp_path / "set")
    change(folder)
    pictures = read_picture_set(folder)
    assert pictures.counts() == {"awake": 1, "sleep": 1}
    assert not pictures.notices


@pytest.mark.parametrize("suffix", [".heic", ".avif", ".mp4", ""])
def test_a_label_whose_picture_is_not_read_is_told(tmp_path: Path, suffix: str) -> None:
    """A phone's pictures would else be left out of the training without a word."""
    folder = a_set(tmp_path / "set")
    (folder / "labels" / "phone.txt").write_text(BOTH)
    if suffix:
        (folder / "images" / f"phone{suffix}").write_bytes(b"\0\0\0\x18ftyp")
    [notice] = read_picture_set(folder).notices
    assert "1 label files have no picture that can be read, first phone.txt" in notice


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("train/_annotations.coco.json", "COCO"),
        ("images/face.xml", "Pascal VOC"),
        ("train/_annotations.csv", "a table (CSV)"),
        ("_annotations.createml.json", "CreateML"),
    ],
)
def test_labels_of_another_make_are_named(tmp_path: Path, name: str, told: str) -> None:
    folder = a_set(tmp_path / "set")
    (folder / "data.yaml").unlink()
    (folder / "labels" / "face.txt").unlink()
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("{}")
    assert f"holds labels of {told}" in fault(folder)


# --- label files --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        LINE.encode(),
        LINE.encode("utf-8-sig"),
        LINE.encode("utf-16"),
        LINE.encode("utf-16-be"),
        LINE.encode("utf-16-le"),
        LINE.replace("\n", "\r\n").encode(),
        LINE.replace("\n", "\r").encode(),
        LINE.replace(" ", ",").encode(),
        LINE.replace(" ", ", ").encode(),
        LINE.replace(" ", "\t").encode(),
        LINE.replace(" ", ";").encode(),
        b"0 0.5 0.5 0.4 0.6 0.93\n",  # with a confidence
        b"0.0 .5 5e-1 0.40 0.6 \n\n",
        b"0 0.3 0.2 0.7 0.2 0.7 0.8 0.3 0.8\n",  # a polygon's four corners
        b"0 0.3 0.5 0.5 0.2 0.7 0.5 0.5 0.8\n",  # a turned one
    ],
)
def test_a_box_is_read_however_it_is_written(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "face.txt"
    path.write_bytes(content)
    [row] = label_rows(read_text(path), 2)
    assert (row.index, row.clipped) == (0, False)
    assert row.box == pytest.approx(BOX)


def test_points_of_a_pose_are_no_polygon(tmp_path: Path) -> None:
    folder = a_set(tmp_path, "names: [awake]\nkpt_shape: [2, 2]\n", LINE.strip() + " .1 .1 .9 .9\n")
    [picture] = read_picture_set(folder).pictures
    assert picture.boxes[0] == pytest.approx(BOX)


@pytest.mark.parametrize("line", ["0 0.1 0.5 0.2022 0.6", "0 0.5 0.98 0.4 0.1", "0 0 0 0.08 0.08"])
def test_slivers_beyond_the_edge_are_cut_and_counted(tmp_path: Path, line: str) -> None:
    found = read_picture_set(a_set(tmp_path, label=line))
    [corners] = found.pictures[0].xyxy
    height, width = found.pictures[0].hw
    assert corners.min() >= 0
    assert corners[2] <= width
    assert corners[3] <= height
    assert "1 boxes reach a little beyond" in found.notices[0]


@pytest.mark.parametrize(
    "line", ["0 0.5 0.5 0.4", "0 0.1 0.1 0.2 0.2 0.3 0.3 0.4", "0 1.2 0.5 0.1 0.1", "x 1 1 1 1"]
)
def test_what_is_no_box_is_refused(line: str) -> None:
    with pytest.raises(LabelError):
        label_rows(line, 1)


# --- class lists --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("data.yaml", b"names: [awake, sleep]"),
        ("data.yml", b"names: [awake, sleep]"),
        ("dataset.yaml", b"names: [awake, sleep]"),
        ("data.yaml", b"names: {'0': awake, '1': sleep}"),
        ("data.yaml", b"names:\n  1: sleep\n  0: awake\n"),
        ("data.yaml", b"names: \"['awake', 'sleep']\""),
        ("data.yaml", b"names: awake, sleep"),
        ("data.yaml", b"names: [' awake', 'sleep ']"),
        ("data.yaml", "names: [awake, sleep]".encode("utf-8-sig")),
        ("data.yaml", "names: [awake, sleep]".encode("utf-16")),
        ("data.yaml", b"names: [Awake, SLEEP]"),
        ("classes.txt", b"awake\r\nsleep\r\n\r\n"),
        ("obj.names", b"awake\nsleep\n"),
        ("_darknet.labels", b"awake\nsleep"),
    ],
)
def test_the_classes_are_found(tmp_path: Path, name: str, content: bytes) -> None:
    write(tmp_path, "face", BOTH)
    (tmp_path / name).write_bytes(content)
    assert read_picture_set(tmp_path).labels == ("awake", "sleep")


def test_labels_may_lie_beside_their_pictures(tmp_path: Path) -> None:
    write(tmp_path / "export", "face", BOTH)
    for part in ("images", "labels"):
        for path in (tmp_path / "export" / part).iterdir():
            shutil.move(path, tmp_path / path.name)
    (tmp_path / "classes.txt").write_text("awake\nsleep\n")
    assert len(read_picture_set(tmp_path).pictures) == 1


def test_classes_that_never_occur_are_left_out_and_told(tmp_path: Path) -> None:
    names = ["dog", "cat", *(f"thing {n}" for n in range(13)), "sleep", "awake"]
    found = read_picture_set(
        a_set(tmp_path, f"names: {names}\n", LINE.replace("0 ", "16 ", 1) + "15 .5 .5 .2 .2\n")
    )
    assert found.labels == ("awake", "sleep")
    assert found.counts() == {"awake": 1, "sleep": 1}
    assert any("no box of class dog, cat" in notice for notice in found.notices)


@pytest.mark.parametrize("names", ["[sleep, awake]", "[Sleep, Awake]", "{1: awake, 0: SLEEP}"])
def test_classes_are_matched_by_name_not_by_number(tmp_path: Path, names: str) -> None:
    found = read_picture_set(a_set(tmp_path, f"names: {names}\n", LINE), ("awake", "sleep", "yawn"))
    assert found.labels == ("awake", "sleep", "yawn")
    assert found.counts() == {"awake": 0, "sleep": 1, "yawn": 0}


def test_another_word_for_a_class_is_given_by_the_option(tmp_path: Path) -> None:
    folder = a_set(tmp_path, "names: [Alert, Drowsy]\n")
    classes = parse_classes(["drowsy=sleep,alert=awake"])
    found = read_picture_set(folder, classes=classes)
    check_driver_classes(found)
    assert found.labels == ("awake", "sleep")
    assert any("Drowsy is sleep" in notice for notice in found.notices)
    assert "--classes Alert=" in fault(folder, labels=("awake", "sleep"))
    assert "no such class" in fault(folder, classes={"tired": "sleep"})
    with pytest.raises(PictureSetError, match="write it as OURS"):
        parse_classes(["drowsy"])


def test_a_set_that_run_would_refuse_is_refused_before_training(tmp_path: Path) -> None:
    folder = a_set(tmp_path / "set", "names: [awake, drowsy]\n")
    told = CliRunner().invoke(
        models_app, ["train", "awake_sleep", "--data", str(folder), "--into", str(tmp_path / "run")]
    )
    assert told.exit_code == 2
    assert "--classes drowsy=sleep" in told.stderr
    assert not (tmp_path / "run").exists()


# --- people.csv ---------------------------------------------------------------------------------


def people(folder: Path, content: bytes) -> PictureSet:
    (folder / "people.csv").write_bytes(content)
    return read_picture_set(folder)


@pytest.fixture
def two(tmp_path: Path) -> Path:
    a_set(tmp_path)
    write(tmp_path, "other", LINE, seed=2)
    return tmp_path


TABLE = "file,person\nface.png,Ánna\nother.png,berta\n"


@pytest.mark.parametrize(
    "content",
    [
        TABLE.encode(),
        TABLE.encode("utf-8-sig"),
        TABLE.encode("utf-16"),
        TABLE.encode("cp1252"),
        TABLE.replace(",", ";").encode(),
        TABLE.replace(",", "\t").encode(),
        TABLE.replace("file,person", "File , PERSON").encode(),
        TABLE.replace(".png", "").encode(),
        TABLE.replace("face.png", "images/face.png").encode(),
        TABLE.replace("face.png", "images\\face.png").encode(),
        TABLE.replace("face.png", "FACE.PNG").encode(),
        TABLE.replace("\n", "\r\n").encode() + b"\r\n",
        (TABLE.replace("\n", ",07:00\n").replace("person,07:00", "person,time")).encode(),
    ],
)
def test_people_are_found_however_the_table_is_written(two: Path, content: bytes) -> None:
    assert people(two, content).people == ("berta", "Ánna")


def test_a_mistyped_file_loses_nobody(two: Path) -> None:
    (two / "people.csv").write_text("file,person\nfcae.png,anna\nother.png,berta\n")
    message = fault(two)
    assert "line 2" in message
    assert "no picture 'fcae.png'" in message


def test_a_table_of_other_columns_shows_what_it_has(two: Path) -> None:
    (two / "people.csv").write_text("picture,name\nface.png,anna\n")
    assert "'picture,name'" in fault(two)


def test_one_picture_is_of_one_person(two: Path) -> None:
    (two / "people.csv").write_text("file,person\nface.png,anna\nface,berta\n")
    assert "face is berta, but anna before" in fault(two)


def test_pictures_of_nobody_known_are_told_when_people_are_held_out(two: Path) -> None:
    found = people(two, b"file,person\nface.png,anna\nother.png,unknown\n")
    train, _ = split_by_person(found, ["anna"])
    assert "names nobody for 1 pictures, first other.png" in train.notices[-1]


def test_holding_out_a_person_nobody_knows_is_one_line(two: Path) -> None:
    (two / "people.csv").write_text("file,person\nface.png,anna\nother.png,berta\n")
    told = CliRunner().invoke(
        models_app, ["evaluate", "awake_sleep", "--data", str(two), "--hold-out", "dora"]
    )
    assert told.exit_code == 2
    assert "no person dora; there are anna, berta" in told.stderr


# --- splits -------------------------------------------------------------------------------------


def test_an_evaluation_takes_the_pictures_nobody_trained_on(tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text("names: [awake, sleep]\n")
    for number, split in enumerate(("train", "train", "valid", "test")):
        write(tmp_path / split, f"face_{number}", BOTH, seed=number)
    found = read_picture_set(tmp_path)
    count = {s: len(of_split(found, s)[0].pictures) for s in ("", "train", "val", "valid", "all")}
    assert count == {"": 1, "train": 2, "val": 1, "valid": 1, "all": 4}
    assert of_split(found, "")[1] == "test"
    with pytest.raises(PictureSetError, match="has test, train, val, all"):
        of_split(found, "dev")


def test_the_command_says_which_split_it_measured(tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text("names: [drowsy, AWAKE]\n")
    for number, split in enumerate(("train", "test")):
        write(tmp_path / split, f"face_{number}", BOTH, seed=number)
    told = CliRunner().invoke(
        models_app,
        ["evaluate", "awake_sleep", "--data", str(tmp_path), "--classes", "drowsy=sleep"],
    )
    assert told.exit_code == 0, told.stderr
    assert "split test" in told.stdout
    assert "drowsy is sleep" in told.stdout


# --- pictures -----------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["jpg", "png", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_size_and_pixels_come_from_one_reader(
    tmp_path: Path, ending: str, orientation: int
) -> None:
    upright = np.full((40, 60, 3), 30, np.uint8)
    upright[:16, :16] = (200, 40, 40)  # a corner that tells the turns apart, RGB
    lying = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1],
        5: upright.swapaxes(0, 1), 6: np.rot90(upright, 1),
        7: np.rot90(upright, 2).swapaxes(0, 1), 8: np.rot90(upright, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"face.{ending}"
    Image.fromarray(np.ascontiguousarray(lying)).save(path, exif=exif, quality=95)
    assert upright_size(path) == (40, 60)
    assert np.abs(read_upright(path)[..., ::-1].astype(int) - upright).mean() < 8


def test_a_turned_photo_scores_as_the_upright_one(tmp_path: Path) -> None:
    """A phone writes the face lying down, and how to turn it; labels are drawn on the upright."""
    frame = Portrait(size=(480, 640)).render(FaceState())
    for name, quarter in (("upright", 0), ("lying", 1)):
        folder = tmp_path / name
        (folder / "images").mkdir(parents=True)
        (folder / "labels").mkdir()
        (folder / "data.yaml").write_text("names: [awake, sleep]\n")
        (folder / "labels" / "a.txt").write_text("0 0.5 0.42 0.4 0.5\n")
        exif = Image.Exif()
        exif[0x0112] = 6 if quarter else 1
        pixels = np.ascontiguousarray(np.rot90(frame[..., ::-1], quarter))
        Image.fromarray(pixels).save(folder / "images" / "a.jpg", exif=exif, quality=95)
    a, b = (read_picture_set(tmp_path / n).pictures[0] for n in ("upright", "lying"))
    np.testing.assert_array_equal(a.xyxy, b.xyxy)
    assert a.hw == b.hw
    difference = np.abs(read_upright(a.path).astype(int) - read_upright(b.path).astype(int))
    assert difference.mean() < 3


def test_litter_is_no_class_and_no_picture(tmp_path: Path) -> None:
    for label in ("happiness", "sadness"):
        (tmp_path / "train" / label / ".ipynb_checkpoints").mkdir(parents=True)
        for place in ("", ".ipynb_checkpoints/"):
            cv2.imwrite(
                str(tmp_path / "train" / label / f"{place}a.png"), np.zeros((48, 48, 3), np.uint8)
            )
        (tmp_path / "train" / label / "._a.png").write_bytes(b"\0\5\x16\7")
    for litter in (".ipynb_checkpoints", "__MACOSX", ".git"):
        (tmp_path / "train" / litter).mkdir()
        (tmp_path / "train" / litter / "x.png").write_bytes(b"x")
    faces = open_faces(tmp_path, ("happiness", "sadness"), (48, 48), "train")
    assert faces.counts == {"happiness": 1, "sadness": 1}


def test_litter_is_no_labelled_picture(tmp_path: Path) -> None:
    folder = a_set(tmp_path)
    (folder / "images" / "._face.png").write_bytes(b"\0\5\x16\7")
    (folder / "images" / ".ipynb_checkpoints").mkdir()
    (folder / "__MACOSX").mkdir()
    assert len(read_picture_set(folder).pictures) == 1
