"""Letterbox and suppression say what ultralytics says; the closer look finds its way back."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.inference import boxes
from models.inference.boxes import (
    FaceBoxes,
    closer_square,
    cut,
    decode,
    find_faces,
    letterbox,
    suppress,
)

LABELS = ("awake", "sleep", "yawn")


def picture(height: int, width: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3)).astype(np.uint8)


def raw_output(
    rng: np.random.Generator, boxes_in_view: int, classes: int = 3, side: Any = 320
) -> Any:
    """Raw rows as a network gives them: clusters of overlapping boxes."""
    centre = rng.uniform(40, side - 40, (boxes_in_view // 8, 2)).repeat(8, 0)
    xy = centre + rng.normal(0, 6, centre.shape)
    wh = rng.uniform(20, 90, (boxes_in_view // 8, 2)).repeat(8, 0) * rng.uniform(
        0.8, 1.25, xy.shape
    )
    return np.hstack([xy, wh, rng.uniform(0, 1, (len(xy), classes))]).astype(np.float32)


def ultralytics_nms(rows: Any, min_score: float, iou: float) -> Any:
    import torch

    from models.ultralytics_safe import ultralytics

    ultralytics()
    from ultralytics.utils.nms import non_max_suppression

    found = non_max_suppression(
        torch.from_numpy(rows.T[None].copy()), min_score, iou, agnostic=True, nc=rows.shape[1] - 4
    )
    return found[0].numpy()


def test_suppression_keeps_the_boxes_ultralytics_keeps() -> None:
    rng = np.random.default_rng(0)
    for case in range(100):
        rows = raw_output(rng, int(rng.integers(16, 240)))
        min_score, iou = float(rng.uniform(0.05, 0.6)), float(rng.uniform(0.3, 0.7))
        theirs = ultralytics_nms(rows, min_score, iou)
        xyxy, scores = decode(rows.T[None], 3)
        kept = suppress(xyxy, scores, min_score, iou)
        assert len(kept) == len(theirs), case
        np.testing.assert_allclose(xyxy[kept], theirs[:, :4], atol=1e-3)
        np.testing.assert_allclose(scores[kept].max(1), theirs[:, 4], atol=1e-6)
        np.testing.assert_array_equal(scores[kept].argmax(1), theirs[:, 5])


@pytest.mark.parametrize(
    "size", [(480, 640), (1080, 1920), (416, 416), (333, 517), (97, 1003), (320, 320)]
)
@pytest.mark.parametrize("input_hw", [(320, 320), (256, 320), (640, 640)])
def test_the_letterbox_is_ultralytics_to_the_pixel(size: Any, input_hw: tuple[int, int]) -> None:
    from models.ultralytics_safe import ultralytics

    ultralytics()
    from ultralytics.data.augment import LetterBox

    image = picture(*size)
    theirs = LetterBox(input_hw, auto=False)(image=image)
    ours, _ = letterbox(image, input_hw)
    np.testing.assert_array_equal(ours, theirs)


@given(
    width=st.integers(16, 2000),
    height=st.integers(16, 2000),
    corner=st.tuples(st.floats(0, 0.8), st.floats(0, 0.8)),
    share=st.floats(0.05, 0.2),
)
def test_a_box_finds_its_way_back_into_the_picture(
    width: int, height: int, corner: tuple[float, float], share: float
) -> None:
    _, way = letterbox(np.zeros((height, width, 3), np.uint8), (320, 320))
    box = np.array([[corner[0] * width, corner[1] * height, 0, 0]], np.float32)
    box[:, 2:] = box[:, :2] + [[share * width, share * height]]
    there = box * np.array(way.scale * 2) + [way.left_px, way.top_px, way.left_px, way.top_px]
    np.testing.assert_allclose(
        way.back(there.astype(np.float32)), box, atol=0.01 * max(width, height)
    )


def test_three_layouts_of_output_are_one() -> None:
    rows = raw_output(np.random.default_rng(0), 80)
    objectness = np.full((len(rows), 1), 0.5, np.float32)
    legacy = np.hstack([rows[:, :4], objectness, rows[:, 4:]])
    ours = decode(rows.T[None], 3)
    transposed = decode(rows[None], 3)
    original = decode(legacy[None], 3)
    np.testing.assert_array_equal(ours[1], transposed[1])
    np.testing.assert_array_equal(ours[0], original[0])
    np.testing.assert_allclose(ours[1] * 0.5, original[1])


def test_output_of_other_classes_is_refused_in_one_line() -> None:
    with pytest.raises(ValueError, match="fits no 3-class YOLO"):
        decode(np.zeros((1, 6300, 85), np.float32), 3)


def test_no_box_is_no_face() -> None:
    nothing = decode(np.zeros((1, 7, 0), np.float32), 3)
    assert len(suppress(*nothing, 0.1)) == 0


def test_nothing_above_the_score_is_no_face() -> None:
    rows = raw_output(np.random.default_rng(0), 80)
    assert len(suppress(*decode(rows.T[None], 3), 1.0)) == 0


class SquareFinder:
    """A network that finds a bright square, and says `sleep` once the square is large."""

    def __init__(self) -> None:
        self.asked = []

    def __call__(self, planes: Any) -> Any:
        self.asked.append(planes.shape[2:])
        bright = planes[0].min(0) > 0.9
        if not bright.any():
            return np.zeros((1, 7, 1), np.float32)
        ys, xs = np.nonzero(bright)
        x1, x2, y1, y2 = xs.min(), xs.max() + 1, ys.min(), ys.max() + 1
        seen_well = (x2 - x1) > 60
        scores = (0.1, 0.8, 0.05) if seen_well else (0.3, 0.2, 0.1)
        row = [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1, *scores]
        return np.array(row, np.float32)[None, :, None]


def scene_with_square(height: int, width: int, x: Any, y: Any, side: Any) -> Any:
    image = np.full((height, width, 3), 40, np.uint8)
    image[y : y + side, x : x + side] = 255
    return image


@pytest.mark.parametrize(("x", "y"), [(900, 400), (0, 0), (1800, 960)])
def test_a_small_face_is_judged_from_closer(x: Any, y: Any) -> None:
    network = SquareFinder()
    image = scene_with_square(1080, 1920, x, y, 120)
    faces = find_faces(network, image, LABELS, 0.25)
    assert network.asked == [(320, 320), (256, 256)]
    assert faces.scores[0].argmax() == LABELS.index("sleep")
    np.testing.assert_allclose(faces.xyxy[0], [x, y, x + 120, y + 120], atol=3)


def test_one_look_is_enough_where_the_face_is_large() -> None:
    network = SquareFinder()
    find_faces(network, scene_with_square(480, 640, 100, 60, 340), LABELS, 0.25)
    assert network.asked == [(320, 320)]


def test_a_single_look_can_be_asked_for() -> None:
    network = SquareFinder()
    image = scene_with_square(1080, 1920, 900, 400, 120)
    assert len(find_faces(network, image, LABELS, 0.25, closer_hw=None).xyxy) == 1
    assert network.asked == [(320, 320)]


def test_an_empty_scene_holds_no_face() -> None:
    faces = find_faces(SquareFinder(), np.full((480, 640, 3), 40, np.uint8), LABELS)
    assert len(faces.xyxy) == 0


def test_where_the_closer_look_sees_nothing_the_first_word_stands() -> None:
    def blind_from_close(planes: Any) -> Any:
        if planes.shape[2] == 256:
            return np.zeros((1, 7, 1), np.float32)
        return SquareFinder()(planes)

    image = scene_with_square(1080, 1920, 900, 400, 120)
    faces = find_faces(blind_from_close, image, LABELS, 0.25)
    assert faces.scores[0].argmax() == LABELS.index("awake")


def test_the_drivers_face_is_the_sure_and_large_one() -> None:
    xyxy = np.array([[0, 0, 20, 20], [0, 0, 90, 90], [0, 0, 60, 60]], np.float32)
    scores = np.array([[0.9, 0, 0], [0.5, 0, 0], [0.1, 0.6, 0]], np.float32)
    assert boxes.prominent(FaceBoxes(xyxy, scores)).tolist() == [1, 2, 0]


@given(x=st.floats(-50, 400), y=st.floats(-50, 400), side=st.floats(4, 600))
def test_a_cut_is_always_square_and_full(x: Any, y: Any, side: Any) -> None:
    image = picture(300, 400)
    left, top, wide = closer_square(np.array([x, y, x + side, y + side], np.float32))
    assert cut(image, left, top, wide, 64).shape == (64, 64, 3)
