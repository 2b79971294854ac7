"""Landmarks of crops, and whether faces sit as a card says they must."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from models.data.landmarks import (
    LEFT_EYE,
    MESH_OF_68,
    RIGHT_EYE,
    Alignment,
    find_landmarks,
    measure_alignment,
    misalignments,
)

CARD = {"eyes_xy": [0.5, 0.39], "eyes_apart": 0.37, "tolerance": 0.1}


@pytest.fixture(scope="module")
def portrait() -> NDArray[np.uint8]:
    """The face of scikit-image's astronaut (NASA, public domain), RGB."""
    from skimage import data

    return np.ascontiguousarray(data.astronaut()[40:220, 135:315])


def test_the_landmarks_of_a_face_are_where_its_eyes_are(portrait: NDArray[np.uint8]) -> None:
    [points] = find_landmarks([portrait])
    assert points.shape == (68, 2)
    right, left = points[RIGHT_EYE].mean(0), points[LEFT_EYE].mean(0)
    assert right[0] < 0.5 < left[0]
    mouth = points[48:].mean(0)
    assert mouth[1] > right[1]


def test_no_face_gives_no_landmarks() -> None:
    [points] = find_landmarks([np.full((64, 64, 3), 90, np.uint8)])
    assert np.isnan(points).all()
    assert len(MESH_OF_68) == 68


def test_alignment_is_measured_and_a_tilt_is_told(portrait: NDArray[np.uint8]) -> None:
    straight = measure_alignment([portrait] * 2)
    assert straight.faces == 2
    side = portrait.shape[0]
    turn = cv2.getRotationMatrix2D((side / 2, side / 2), 25, 1.0)
    tilted = np.asarray(cv2.warpAffine(portrait, turn, (side, side)))
    measured = measure_alignment([tilted])
    assert measured.roll_deg > straight.roll_deg + 10
    expected = {"eyes_xy": straight.eyes_xy, "eyes_apart": straight.eyes_apart}
    assert misalignments(straight, expected) == []
    assert any("tilted" in line for line in misalignments(measured, expected))


@pytest.mark.parametrize(
    ("measured", "told"),
    [
        (Alignment(32, 32, (0.5, 0.39), 0.37, 2.0), []),
        (Alignment(32, 32, (0.5, 0.6), 0.37, 2.0), ["eyes sit at y = 0.60"]),
        (Alignment(32, 32, (0.5, 0.39), 0.15, 2.0), ["0.15 of the crop apart"]),
        (Alignment(32, 10, (0.5, 0.39), 0.37, 2.0), ["only 10 of 32"]),
        (Alignment(32, 0, (np.nan, np.nan), np.nan, np.nan), ["only 0 of 32"]),
    ],
)
def test_a_warning_says_what_differs(measured: Alignment, told: list[str]) -> None:
    lines = misalignments(measured, CARD)
    assert len(lines) == len(told)
    assert all(part in line for part, line in zip(told, lines, strict=True))


def test_a_card_that_asks_for_nothing_warns_of_nothing() -> None:
    assert misalignments(Alignment(3, 0, (0, 0), 0, 0), {}) == []
