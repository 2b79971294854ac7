"""The eye-state network sees upright eyes of one size, in any light, whichever eye it is."""

from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.architectures.eye_state import CLOSER, eye_state
from models.inference.eye_crops import (
    CORNERS,
    CROP_PX,
    EYE_SHARE,
    LEAST_OF_WIDER,
    NOT_VISIBLE,
    cut_eye,
    eye_matrix,
    eye_probabilities,
    standardise,
)


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
    matrix = eye_matrix(start, end, EYE_SHARE * CROP_PX / width)
    (x1, y1), (x2, y2) = ((matrix @ [*point, 1]).tolist() for point in (start, end))
    assert y1 == pytest.approx(CROP_PX / 2, abs=1e-3)
    assert y2 == pytest.approx(CROP_PX / 2, abs=1e-3)
    assert x2 - x1 == pytest.approx(EYE_SHARE * CROP_PX, rel=1e-6)


def test_the_left_eye_is_the_right_eyes_mirror_image() -> None:
    rng = np.random.default_rng(0)
    half = cv2.GaussianBlur(rng.integers(0, 255, (200, 160, 3)).astype(np.uint8), (0, 0), 3)
    face = np.hstack([half, half[:, ::-1]])
    mirrored = landmarks_at([[100, 100], [140, 100]], [[219, 100], [179, 100]])
    right, left = (cut_eye(face, mirrored, side).astype(int) for side in ("right", "left"))
    assert np.abs(right - left).mean() < 1.5


def test_the_far_eye_of_a_turned_head_is_not_blown_up() -> None:
    image = np.zeros((200, 320, 3), np.uint8)
    cv2.circle(image, (195, 100), 10, (255, 255, 255), -1)
    turned = landmarks_at([[100, 100], [140, 100]], [[200, 100], [190, 100]])
    area = int((cut_eye(image, turned, "left") > 127).sum())
    scale = EYE_SHARE * CROP_PX / (LEAST_OF_WIDER * 40)
    assert area == pytest.approx(np.pi * (10 * scale) ** 2, rel=0.1)


@given(gain=st.floats(0.3, 1.0), offset=st.floats(0, 40))
def test_the_light_is_taken_out(gain: float, offset: float) -> None:
    crop = np.random.default_rng(1).integers(20, 200, (1, CROP_PX, CROP_PX))
    lit, dim = standardise(crop), standardise(crop * gain + offset)
    np.testing.assert_allclose(lit, dim, atol=0.25)


def test_a_bright_window_beside_the_face_does_not_flatten_the_eye() -> None:
    crop = np.random.default_rng(1).normal(60, 12, (1, CROP_PX, CROP_PX)).clip(0, 255)
    beside = crop.copy()
    beside[:, :, :5] = 255
    inner = slice(8, None)
    assert standardise(beside)[..., inner].std() > 0.6 * standardise(crop)[..., inner].std()


def test_each_eye_is_judged_by_itself() -> None:
    winking = landmarks_at([[100, 100], [140, 100]], [[220, 100], [180, 100]])
    image = np.zeros((200, 320, 3), np.uint8)
    asked = []

    def network(crops: Any) -> Any:
        asked.append(crops.shape)
        return np.array([[0.0, 6.0, 0.0, 0.0], [6.0, 0.0, 0.0, 0.0]])

    left, right = eye_probabilities(network, image, winking)
    assert asked == [(2, 1, CROP_PX, CROP_PX)]
    assert left is not None
    assert right is not None
    assert left[CLOSED] > 0.9
    assert right[CLOSED] < 0.1
    assert sum(left) == pytest.approx(1, abs=1e-3)


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
    left, right = eye_probabilities(lambda _: np.zeros((2, 4)), image, half_out)
    assert right == NOT_VISIBLE
    assert left is not None
    assert left == (0.25, 0.25, 0.25, 0.25)


def test_the_network_has_four_outputs_and_no_others() -> None:
    assert eye_state()(torch.zeros(2, 1, CROP_PX, CROP_PX)).shape == (2, 4)
    with pytest.raises(ValueError, match="tells open, closed, lowered, not_visible; not open"):
        eye_state(("open", "closed"))


def test_two_looks_are_averaged_the_second_at_the_mirror_image() -> None:
    torch.manual_seed(0)
    network = eye_state().eval()
    crop = torch.randn(2, 1, CROP_PX, CROP_PX)
    closer = network.rows @ crop @ network.columns
    enlarged = cv2.warpAffine(
        np.ascontiguousarray(crop[0, 0].numpy()[:, ::-1]),
        np.array([[CLOSER, 0, 19.5 * (1 - CLOSER)], [0, CLOSER, 19.5 * (1 - CLOSER)]]),
        (CROP_PX, CROP_PX),
    )
    assert np.abs(closer[0, 0].numpy() - enlarged).max() < 0.1  # OpenCV rounds places to 1/32
    single = [network.head(network.features(one)) for one in (crop, closer)]
    torch.testing.assert_close(network(crop), (single[0] + single[1]) / 2)
