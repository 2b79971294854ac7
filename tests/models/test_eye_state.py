"""The eye-state network sees upright eyes of one size, in any light, whichever eye it is."""

from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.architectures.eye_state import eye_state
from models.inference.eye_crops import (
    CORNERS,
    CROP_HW,
    EYE_SHARE,
    NOT_VISIBLE,
    cut_eye,
    eye_matrix,
    eye_probabilities,
    standardise,
)
from models.training.eye_state import EyeCrops, train_eyes, vary


def landmarks_at(right: Any, left: Any) -> Any:
    """A mesh of which only the eyes' corners are anywhere: (outer, inner) of both."""
    mesh = np.zeros((478, 3), np.float32)
    for side, corners in (("right", right), ("left", left)):
        mesh[list(CORNERS[side]), :2] = corners
    return mesh


CLOSED = 1  # place among the four states
FACE = landmarks_at([[100, 100], [140, 100]], [[220, 100], [180, 100]])


@given(
    outer=st.tuples(st.floats(0, 500), st.floats(0, 500)),
    width=st.floats(8, 300),
    angle=st.floats(-1.5, 1.5),
)
def test_an_eye_comes_out_level_and_of_one_size(
    outer: tuple[float, float], width: float, angle: float
) -> None:
    start = np.array(outer)
    end = start + width * np.array([np.cos(angle), np.sin(angle)])
    matrix = eye_matrix(start, end)
    (x1, y1), (x2, y2) = ((matrix @ [*point, 1]).tolist() for point in (start, end))
    assert y1 == pytest.approx(CROP_HW[0] / 2, abs=1e-3)
    assert y2 == pytest.approx(CROP_HW[0] / 2, abs=1e-3)
    assert x2 - x1 == pytest.approx(EYE_SHARE * CROP_HW[1], rel=1e-6)


def test_the_left_eye_is_the_right_eyes_mirror_image() -> None:
    rng = np.random.default_rng(0)
    half = cv2.GaussianBlur(rng.integers(0, 255, (200, 160, 3)).astype(np.uint8), (0, 0), 3)
    face = np.hstack([half, half[:, ::-1]])
    mirrored = landmarks_at([[100, 100], [140, 100]], [[219, 100], [179, 100]])
    right, left = (cut_eye(face, mirrored, side).astype(int) for side in ("right", "left"))
    assert np.abs(right - left).mean() < 1.5


@given(gain=st.floats(0.3, 1.0), offset=st.floats(0, 40))
def test_the_light_is_taken_out(gain: float, offset: float) -> None:
    crop = np.random.default_rng(1).integers(20, 200, (1, *CROP_HW))
    lit, dim = standardise(crop), standardise(crop * gain + offset)
    np.testing.assert_allclose(lit, dim, atol=0.25)


def test_a_bright_window_beside_the_face_does_not_flatten_the_eye() -> None:
    crop = np.random.default_rng(1).normal(60, 12, (1, *CROP_HW)).clip(0, 255)
    beside = crop.copy()
    beside[:, :, :6] = 255
    inner = slice(8, None)
    assert standardise(beside)[..., inner].std() > 0.6 * standardise(crop)[..., inner].std()


def test_each_eye_is_judged_by_itself() -> None:
    winking = landmarks_at([[100, 100], [140, 100]], [[220, 100], [180, 100]])
    image = np.zeros((200, 320, 3), np.uint8)
    asked = []

    def network(crops: Any) -> Any:
        asked.append(crops.shape)
        return np.array([[4.0], [-4.0]])

    left, right = eye_probabilities(network, image, winking)
    assert asked == [(2, 1, *CROP_HW)]
    assert left is not None
    assert right is not None
    assert left[CLOSED] > 0.9
    assert right[CLOSED] < 0.1
    assert sum(left) == pytest.approx(1)


def test_eyes_too_small_are_unknown_and_eyes_outside_the_picture_not_visible() -> None:
    image = np.zeros((200, 320, 3), np.uint8)

    def network(crops: Any) -> Any:
        pytest.fail("nothing should be asked")

    tiny = landmarks_at([[100, 100], [104, 100]], [[112, 100], [108, 100]])
    outside = landmarks_at([[-30, 100], [10, 100]], [[400, 100], [330, 100]])
    assert eye_probabilities(network, image, tiny) == (None, None)
    assert eye_probabilities(network, image, outside) == (NOT_VISIBLE, NOT_VISIBLE)


def test_an_eye_outside_the_picture_does_not_speak_for_the_other() -> None:
    image = np.zeros((200, 320, 3), np.uint8)
    half_out = landmarks_at([[-30, 100], [10, 100]], [[220, 100], [180, 100]])
    left, right = eye_probabilities(lambda _: np.array([[0.0], [0.0]]), image, half_out)
    assert right == NOT_VISIBLE
    assert left is not None
    assert left[CLOSED] == 0.5


def test_the_network_has_one_output_and_no_other() -> None:
    assert eye_state()(torch.zeros(2, 1, *CROP_HW)).shape == (2, 1)
    with pytest.raises(ValueError, match="has one output, closed; not open, closed"):
        eye_state(("open", "closed"))


def test_it_learns_lids_from_a_few_crops() -> None:
    """An open eye is drawn as a dark disc, a closed one as a dark line."""
    rng = np.random.default_rng(0)
    crops, closed = [], []
    for index in range(60):
        eye = np.full((56, 84), 150, np.uint8)
        middle = (int(42 + rng.normal(0, 1)), int(28 + rng.normal(0, 1)))
        if index % 2:
            cv2.ellipse(eye, middle, (19, 2), 0, 0, 360, 50, -1)
        else:
            cv2.ellipse(eye, middle, (19, 8), 0, 0, 360, 240, -1)
            cv2.circle(eye, middle, 7, 30, -1)
        crops.append(eye)
        closed.append(float(index % 2))
    data = EyeCrops(np.stack(crops), np.array(closed, np.float32), np.ones(60))
    network = train_eyes(data, epochs=3, samples=640, batch=32, lr=5e-3)
    seen = np.stack([vary(crop, rng) for crop in crops])
    with torch.no_grad():
        said = network(torch.from_numpy(standardise(seen))).numpy()[:, 0] > 0
    assert (said == (np.array(closed) > 0.5)).mean() > 0.8
