"""The report counts what a person would count, and says how sure it can be."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from models.data.yolo import Picture, PictureSet
from models.evaluation.detector import (
    Judged,
    as_report,
    draw_grid,
    figures,
    judge,
    report,
    roc_area,
    worst,
)
from models.inference.boxes import FaceBoxes
from models.report import Report

LABELS = ("awake", "sleep", "yawn")
BOX = np.array([[20, 20, 60, 80]], np.float32)


def picture(label: str, person: str = "anna", path: Path = Path("x.png")) -> Picture:
    share = np.array([[0.4, 0.5, 0.4, 0.6]], np.float32)
    return Picture(path, (100, 100), np.array([LABELS.index(label)]), share, "", person)


def judged(label: str, said: tuple[float, float, float] | None, box: Any = BOX) -> Judged:
    if said is None:
        nothing = FaceBoxes(np.zeros((0, 4), np.float32), np.zeros((0, 3), np.float32))
        return Judged(picture(label), BOX, nothing)
    return Judged(picture(label), BOX, FaceBoxes(np.asarray(box), np.array([said], np.float32)))


AWAKE, SLEEP, YAWN = (0.9, 0.05, 0.02), (0.05, 0.9, 0.02), (0.02, 0.1, 0.9)


def test_a_perfect_detector_scores_one() -> None:
    pictures = [judged("awake", AWAKE), judged("sleep", SLEEP), judged("yawn", YAWN)] * 4
    row = figures(pictures, LABELS)
    assert row["map50"] == pytest.approx(0.995, abs=0.01)
    assert row["accuracy"] == 1.0
    assert row["sleep_roc"] == 1.0
    assert row["classes"]["sleep"]["n"] == 4


def test_a_detector_that_confuses_the_eyes_scores_low_and_says_which() -> None:
    pictures = [judged("awake", SLEEP), judged("sleep", AWAKE)] * 5
    row = figures(pictures, LABELS)
    assert row["accuracy"] == 0.0
    assert row["sleep_roc"] == 0.0
    assert row["awake_sleep_map50"] < 0.6
    assert row["confusion"]["awake"] == {"awake": 0, "sleep": 5, "no face": 0}


def test_a_face_not_found_is_wrong() -> None:
    row = figures([judged("awake", None), judged("sleep", SLEEP)], LABELS)
    assert row["accuracy"] == 0.5
    assert row["confusion"]["awake"]["no face"] == 1


def test_finding_nothing_at_all_is_zero_not_an_error() -> None:
    row = figures([judged("awake", None), judged("sleep", None)], LABELS)
    assert row["map50"] == 0.0
    assert row["accuracy"] == 0.0


def test_a_box_beside_the_face_is_no_hit() -> None:
    aside = np.array([[60, 20, 99, 80]], np.float32)
    row = figures([judged("awake", AWAKE, aside), judged("sleep", SLEEP)] * 3, LABELS)
    assert row["classes"]["awake"]["map50"] == 0.0
    assert row["classes"]["sleep"]["map50"] > 0.9


def test_intervals_hold_the_figure_and_narrow_with_more_pictures() -> None:
    few = [judged("awake", AWAKE), judged("sleep", SLEEP), judged("sleep", AWAKE)]
    narrow, wide = figures(few * 30, LABELS), figures(few * 2, LABELS)
    for row in (narrow, wide):
        low, high = row["intervals_95"]["accuracy"]
        assert low <= row["accuracy"] <= high
    spread = [high - low for low, high in (r["intervals_95"]["accuracy"] for r in (narrow, wide))]
    assert spread[0] < spread[1]


def test_the_area_under_the_roc_is_the_share_of_pairs_in_order() -> None:
    score, positive = np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True])
    assert roc_area(score, positive) == 0.75
    assert roc_area(np.ones(4), positive) == 0.5
    assert roc_area(score, np.zeros(4, np.bool_)) is None


def test_each_person_has_figures_and_the_document_is_that_of_all_models(tmp_path: Path) -> None:
    rows = [judged("awake", AWAKE), judged("sleep", SLEEP)]
    other = [Judged(picture(j.picture.path and "awake", "berta"), BOX, j.faces) for j in rows[:1]]
    pictures = PictureSet(tmp_path, LABELS, tuple(j.picture for j in rows + other))
    measured = report(rows + other, pictures) | {
        "model": "awake_sleep_n@1", "dataset": "faces", "scene": "", "measured_at": "2026-11-28",
    }  # fmt: skip
    assert set(measured["people"]) == {"anna", "berta"}
    path = tmp_path / "report.json"
    as_report(measured, command="wakeful models evaluate awake_sleep").save(path)
    kept = Report.load(path)
    assert [d.split for d in kept.detection] == ["all people", "anna", "berta"]
    assert kept.accuracy[0].n == 3
    assert kept.detection[0].per_class["sleep"]["roc"] == 1.0


def test_the_worst_errors_are_drawn_first(tmp_path: Path) -> None:
    path = tmp_path / "face.png"
    cv2.imwrite(str(path), np.full((100, 100, 3), 90, np.uint8))
    right = Judged(picture("awake", path=path), BOX, FaceBoxes(BOX, np.array([AWAKE], np.float32)))
    wrong = Judged(picture("awake", path=path), BOX, FaceBoxes(BOX, np.array([SLEEP], np.float32)))
    assert worst([right, wrong], 1) == [wrong]
    draw_grid([wrong, right], LABELS, tmp_path / "grid.png", columns=2, side=120)
    assert cv2.imread(str(tmp_path / "grid.png")).shape == (120, 240, 3)


def test_a_detector_is_shown_every_picture(tmp_path: Path) -> None:
    path = tmp_path / "face.png"
    cv2.imwrite(str(path), np.full((100, 100, 3), 90, np.uint8))
    seen: list[Any] = []

    def look(image: Any) -> FaceBoxes:
        seen.append(image.shape)
        return FaceBoxes(BOX, np.array([AWAKE], np.float32))

    found = judge(look, [picture("awake", path=path)] * 2)
    assert seen == [(100, 100, 3)] * 2
    np.testing.assert_allclose(found[0].truth, BOX)
