"""Eye sets are read in their layouts, people are left out whole, and four states are learned."""

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pytest
import torch
from numpy.typing import NDArray
from pyarrow import parquet
from typer.testing import CliRunner

from models.checkpoint import read_card, read_tensors
from models.cli import models_app
from models.data.eye_augmentation import relight, vary
from models.data.eyes import (
    CLOSED,
    LOWERED,
    NOT_VISIBLE,
    OPEN,
    ROOM_PX,
    EyeCrops,
    read_eyes,
    view_of,
)
from models.data.played_eyes import PARTS, Portrait, patches_without_eyes, play_eyes
from models.data.yolo import PictureSetError
from models.evaluation.eye_state import best_bias, by_person, eye_figures, raise_logits
from models.inference.eye_crops import CROP_PX
from models.synthesis import astronaut
from models.synthesis.face_warp import ear, find_landmarks, raise_lower_lids
from models.training.eye_state import (
    STATE_SHARES,
    allowed_loss,
    draw_chances,
    judge_eyes,
    train_eyes,
)
from models.training.eye_state_runs import folds_of, leave_out, read_bias

Image = NDArray[np.uint8]


@pytest.fixture(scope="module")
def portrait() -> Portrait:
    image = np.ascontiguousarray(astronaut()[:256, 96:352])
    mesh = find_landmarks(image)
    assert mesh is not None
    return image, mesh, "eileen"


def encoded(image: Image) -> bytes:
    return cv2.imencode(".png", image)[1].tobytes()


def drawn(state: int, rng: np.random.Generator) -> Image:
    """Open is a dark disc on white, closed a line, lowered the lower half, hidden nothing."""
    eye = np.full((ROOM_PX, ROOM_PX), 150, np.uint8)
    middle = (int(40 + rng.normal(0, 1)), int(40 + rng.normal(0, 1)))
    if state == 0:
        cv2.ellipse(eye, middle, (17, 8), 0, 0, 360, 240, -1)
        cv2.circle(eye, middle, 7, 30, -1)
    elif state == 1:
        cv2.ellipse(eye, middle, (17, 2), 0, 0, 360, 50, -1)
    elif state == 2:
        cv2.ellipse(eye, middle, (17, 8), 0, 0, 180, 240, -1)
        cv2.ellipse(eye, middle, (7, 7), 0, 0, 180, 30, -1)
    return eye


def test_a_table_of_eye_crops_is_read(tmp_path: Path) -> None:
    grey = np.full((64, 64), 90, np.uint8)
    rows = {"subject": ["a", "a", "b"], "image": [encoded(grey)] * 3, "closed": [1, 0, 1],
            "glasses": [0, 1, 0]}  # fmt: skip
    parquet.write_table(pa.table(rows), tmp_path / "eyes.parquet")
    crops = read_eyes(tmp_path / "eyes.parquet")
    assert crops.crops.shape == (3, ROOM_PX, ROOM_PX)
    np.testing.assert_array_equal(crops.states, [CLOSED, OPEN, CLOSED])
    assert crops.people.tolist() == ["a", "a", "b"]
    assert crops.glasses.tolist() == [False, True, False]


def test_a_table_of_faces_is_read_and_states_without_eyes_are_left_out(
    tmp_path: Path, portrait: Portrait
) -> None:
    face = encoded(portrait[0])
    rows = {"image": [face] * 3, "clip": ["p1"] * 3, "state": ["alert", "microsleep", "yawning"]}
    parquet.write_table(pa.table(rows), tmp_path / "frames.parquet")
    crops = read_eyes(tmp_path / "frames.parquet")
    np.testing.assert_array_equal(crops.states, [OPEN + LOWERED] * 2 + [CLOSED] * 2)


def test_a_folder_with_a_list_of_eyes_is_read(tmp_path: Path, portrait: Portrait) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "1.png").write_bytes(encoded(portrait[0]))
    with (tmp_path / "eyes.csv").open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file)
        lines.writerow(["file", "person", "eyes", "through"])
        lines.writerow(["1.png", "ann", "down", ""])
        lines.writerow(["1.png", "ann", "sunglasses", "faint"])
        lines.writerow(["1.png", "ann", "empty", ""])
    crops = read_eyes(tmp_path)
    np.testing.assert_array_equal(crops.states, [LOWERED] * 2 + [OPEN + NOT_VISIBLE] * 2)
    assert set(crops.people) == {"ann"}


def test_what_is_no_eye_set_is_one_line(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"image": [b""]}), tmp_path / "x.parquet")
    for path, reason in ((tmp_path, "no eye set"), (tmp_path / "x.parquet", "needs the columns")):
        with pytest.raises(PictureSetError, match=reason) as caught:
            read_eyes(path)
        assert "\n" not in str(caught.value)


def test_portraits_play_every_state(portrait: Portrait) -> None:
    played = play_eyes([portrait], np.random.default_rng(0))
    assert len(played) >= 2 * len(PARTS)
    counts = played.states.sum(0)
    assert (counts >= [4, 4, 10, 2]).all(), "two eyes a part"
    again = play_eyes([portrait], np.random.default_rng(0))
    np.testing.assert_array_equal(played.crops, again.crops)


def test_a_squint_raises_the_lower_lid_and_leaves_the_eye_open(portrait: Portrait) -> None:
    image, mesh, _ = portrait
    squinting = raise_lower_lids(image, mesh, 0.5)
    seen = find_landmarks(squinting)
    assert seen is not None
    assert 0.3 * ear(mesh, "left") < ear(seen, "left") < 0.95 * ear(mesh, "left")
    np.testing.assert_array_equal(raise_lower_lids(image, mesh, 0.0), image)


def test_patches_without_eyes_lie_beside_the_eyes(portrait: Portrait) -> None:
    patches = patches_without_eyes([portrait] * 5, np.random.default_rng(1))
    assert len(patches) == 5
    np.testing.assert_array_equal(patches.states, [NOT_VISIBLE] * 5)


def some(people: list[str], states: NDArray[np.float32], source: str = "set") -> EyeCrops:
    count = len(people)
    return EyeCrops.of(np.zeros((count, ROOM_PX, ROOM_PX), np.uint8), states, people, source)


def test_a_person_of_many_crops_does_not_drown_the_others() -> None:
    many = some(["a"] * 400 + ["b"] * 4, np.tile(OPEN, (404, 1)))
    few = some(["c"] * 10, np.tile(CLOSED, (10, 1)))
    chances = draw_chances(EyeCrops.join([many, few]))
    assert chances.sum() == pytest.approx(1)
    assert chances[:400].sum() / chances[400:404].sum() == pytest.approx(10)
    share = STATE_SHARES[1] / (STATE_SHARES[0] + STATE_SHARES[1])
    assert chances[404:].sum() == pytest.approx(share)


def test_people_are_left_out_whole_and_those_that_are_alike_together() -> None:
    data = some(["a", "b", "c", "d", "a", ""], np.tile(OPEN, (6, 1)))
    fold = folds_of(data, 2, [["a", "d"]])
    assert fold[0] == fold[3] == fold[4]
    assert fold[5] == -1, "nobody knows who it is: never left out"
    assert set(fold[:4]) == {0, 1}


def test_a_label_of_two_states_is_content_with_either() -> None:
    logits = torch.tensor([[8.0, 0, 0, 0], [0, 0, 8.0, 0], [0, 8.0, 0, 0]])
    either = torch.tensor(np.tile(OPEN + LOWERED, (3, 1)))
    losses = [float(allowed_loss(logits[i : i + 1], either[i : i + 1])) for i in range(3)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)
    assert losses[2] > 5 * losses[0]


def test_it_learns_four_states_from_a_few_crops() -> None:
    rng = np.random.default_rng(0)
    states = [index % 4 for index in range(80)]
    crops = np.stack([drawn(state, rng) for state in states])
    data = EyeCrops.of(crops, np.eye(4, dtype=np.float32)[states], [""] * 80, "drawn")
    network = train_eyes(data, steps=120, batch=32, lr=5e-3)
    called = judge_eyes(network, data).argmax(1)
    assert (called == states).mean() > 0.8


def test_training_twice_gives_the_same_network() -> None:
    rng = np.random.default_rng(0)
    crops = np.stack([drawn(state, rng) for state in (0, 1, 2, 3)])
    data = EyeCrops.of(crops, np.eye(4, dtype=np.float32), [""] * 4, "drawn")
    first, second = (train_eyes(data, steps=3, batch=8, seed=5).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_varied_crop_is_the_networks_view_and_a_hidden_eye_is_told() -> None:
    rng, crop = np.random.default_rng(3), drawn(0, np.random.default_rng(0))
    seen = [vary(crop, crop, rng) for _ in range(400)]
    assert {image.shape for image, _ in seen} == {(CROP_PX, CROP_PX)}
    assert 5 < sum(hidden for _, hidden in seen) < 50
    lit = relight(np.stack([image for image, _ in seen]), rng)
    assert lit.shape == (400, CROP_PX, CROP_PX)
    assert len({image.tobytes() for image in lit}) == 400, "no two in the same light"
    assert view_of(crop[None]).shape == (1, CROP_PX, CROP_PX)


def set_of_drawn_eyes(folder: Path) -> Path:
    rng, path = np.random.default_rng(0), folder / "drawn.parquet"
    rows = {"subject": [f"p{index % 4}" for index in range(16)],
            "image": [encoded(drawn(index // 4 % 2, rng)) for index in range(16)],
            "closed": [index // 4 % 2 for index in range(16)]}  # fmt: skip
    parquet.write_table(pa.table(rows), path)
    return path


def test_people_left_out_are_judged_by_the_network_that_never_saw_them(tmp_path: Path) -> None:
    data = read_eyes(set_of_drawn_eyes(tmp_path))
    left_out, judged = leave_out(data, folds_of(data, 2), tmp_path / "run", steps=4, batch=8)
    assert sorted(left_out.people) == sorted(data.people)
    assert judged.shape == (16, 4)
    cards = [read_card(tmp_path / "run" / f"fold_{n}" / "eye_state.safetensors") for n in (1, 2)]
    assert [card.measured["left_out"] for card in cards] == [["p0", "p2"], ["p1", "p3"]]
    assert read_bias(tmp_path / "run").shape == (4,)


def test_closed_is_raised_as_far_as_strangers_need_and_hidden_eyes_are_called_so() -> None:
    """Of these strangers closed eyes get 0.4, open ones 0.1: the border lies between."""
    open_eyes, closed, hidden = [0.85, 0.1, 0.05, 0], [0.55, 0.4, 0.05, 0], [0.5, 0.2, 0, 0.3]
    data = some(["a"] * 20 + ["b"] * 10, np.repeat([OPEN, CLOSED, NOT_VISIBLE], 10, axis=0))
    judged = np.repeat([open_eyes, closed, hidden], 10, axis=0)
    before = eye_figures(data, judged)
    assert before["closed_called_closed"] == before["not_visible"]["called_so"] == 0
    bias = best_bias(data, judged)
    after = eye_figures(data, raise_logits(judged, bias))
    assert after["balanced_accuracy"] == after["not_visible"]["called_so"] == 1
    assert bias[0] == bias[2] == 0
    assert best_bias(data, raise_logits(judged, bias)).tolist() == [0, 0, 0, 0], "once is enough"


def test_the_command_measures_each_person_with_the_network_that_never_saw_them(
    tmp_path: Path,
) -> None:
    data, run = set_of_drawn_eyes(tmp_path), tmp_path / "run"
    crops = read_eyes(data)
    left_out, judged = leave_out(crops, folds_of(crops, 2), run, steps=4, batch=8)
    figures = tmp_path / "figures.json"
    command = ["evaluate", "eye_state", "--data", str(data), "--json", str(figures), "--folds"]
    measured = CliRunner().invoke(models_app, [*command, str(run)])
    assert measured.exit_code == 0, measured.output
    row = json.loads(figures.read_text())["drawn"]
    assert row["roc"] == pytest.approx(eye_figures(left_out, judged)["roc"], abs=0.05)
    assert set(row["people"]) == {"p0", "p1", "p2", "p3"}
    nowhere = CliRunner().invoke(models_app, [*command, str(tmp_path)])
    assert nowhere.exit_code == 2
    assert "train eye_state --folds" in nowhere.output


def test_the_commands_train_and_measure(tmp_path: Path) -> None:
    data, run = str(set_of_drawn_eyes(tmp_path)), tmp_path / "run"
    trained = CliRunner().invoke(
        models_app,
        [
            "train",
            "eye_state",
            "--data",
            data,
            "--into",
            str(run),
            *("--steps", "100", "--batch", "8"),
        ],
    )
    assert trained.exit_code == 0, trained.output
    weights = str(run / "eye_state.safetensors")
    figures = tmp_path / "figures.json"
    measured = CliRunner().invoke(
        models_app,
        ["evaluate", "eye_state", "--data", data, "--weights", weights, "--json", str(figures)],
    )
    assert measured.exit_code == 0, measured.output
    row = json.loads(figures.read_text())["drawn"]
    assert (row["open"], row["closed"]) == (8, 8)
    assert set(row["people"]) == {"p0", "p1", "p2", "p3"}


def test_what_people_left_out_chose_is_in_the_network_that_learns_from_everybody(
    tmp_path: Path,
) -> None:
    data, folds = str(set_of_drawn_eyes(tmp_path)), tmp_path / "folds"

    def train(into: Path, *options: str) -> NDArray[np.float32]:
        command = ["train", "eye_state", "--data", data, "--steps", "100", "--batch", "4"]
        done = CliRunner().invoke(models_app, [*command, "--into", str(into), *options])
        assert done.exit_code == 0, done.output
        weights = next(into.rglob("eye_state.safetensors"))
        bias: NDArray[np.float32] = read_tensors(weights)["head.5.bias"].float().numpy()
        return bias

    train(folds, "--folds", "2")
    assert json.loads((folds / "people_left_out.json").read_text())["drawn"]["closed"] == 8
    chosen = json.loads((folds / "bias.json").read_text())
    (folds / "bias.json").write_text(json.dumps(chosen | {"closed": 0.7, "not_visible": 0.3}))
    plain = train(tmp_path / "plain")
    raised = train(tmp_path / "raised", "--bias-of", str(folds))
    np.testing.assert_allclose(raised - plain, [0, 0.7, 0, 0.3], atol=2e-3)


def test_figures_tell_sets_apart_by_person() -> None:
    data = some(["a", "a", "b", "b", "b"], np.stack([OPEN, CLOSED, OPEN, CLOSED, LOWERED]))
    judged = np.array(
        [[0.9, 0.1, 0, 0], [0.1, 0.9, 0, 0], [0.8, 0.2, 0, 0], [0.7, 0.3, 0, 0], [0, 0.2, 0.8, 0]]
    )
    figures = eye_figures(data, judged)
    assert (figures["open"], figures["closed"]) == (2, 2)
    assert figures["balanced_accuracy"] == 0.75
    assert figures["roc"] == 1.0
    assert figures["lowered"] == {"n": 1, "called_so": 1.0, "called_closed": 0.0}
    people = dict(by_person(data, judged))
    assert people["a"]["balanced_accuracy"] == 1.0
    assert people["b"]["closed_called_closed"] == 0.0
