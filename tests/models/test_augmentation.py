"""Changes to pictures: landmarks move with them, limits hold, spoiling is repeatable."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.data.augmentation import Augmentation, Batch, augment
from models.data.landmarks import MIRROR_OF_68
from models.evaluation.corruptions import CONDITIONS, few_pixels


def spot(x: float, y: float, side: int = 64) -> Tensor:
    """A picture (1, 3, side, side), dark but for a soft spot at (x, y), shares of the side."""
    axis = (torch.arange(side) + 0.5) / side
    away = (axis[None, :] - x) ** 2 + (axis[:, None] - y) ** 2
    return torch.exp(-away / 0.004).expand(1, 3, side, side)


def brightest(image: Tensor) -> tuple[float, float]:
    side = image.shape[-1]
    axis = (torch.arange(side) + 0.5) / side
    weights = image[0, 0] ** 2
    weights = weights / weights.sum()
    return float((weights.sum(0) * axis).sum()), float((weights.sum(1) * axis).sum())


@settings(max_examples=25, deadline=None)
@given(x=st.floats(0.4, 0.6), y=st.floats(0.4, 0.6), seed=st.integers(0, 1000), flip=st.booleans())
def test_landmarks_stay_on_what_they_mark(x: float, y: float, seed: int, flip: bool) -> None:
    torch.manual_seed(seed)
    how = Augmentation(flip=float(flip), rotate_deg=25, zoom=0.2, shift=0.1)
    before = Batch(spot(x, y), torch.ones(1, 1), torch.tensor([[[x, y]]]))
    after = augment(before, how)
    assert after.points is not None
    found = brightest(after.images)
    assert torch.allclose(after.points[0, 0], torch.tensor(found), atol=0.02)


def test_a_mirror_image_swaps_left_and_right() -> None:
    points = torch.rand(1, 68, 2)
    batch = Batch(torch.rand(1, 3, 16, 16), torch.ones(1, 1), points)
    mirrored = augment(batch, Augmentation(flip=1.0), MIRROR_OF_68)
    assert mirrored.points is not None
    torch.testing.assert_close(mirrored.images, batch.images.flip(3))
    expected = points[:, list(MIRROR_OF_68)].clone()
    expected[..., 0] = 1 - expected[..., 0]
    torch.testing.assert_close(mirrored.points, expected)


def test_mirroring_landmarks_twice_changes_nothing() -> None:
    assert [MIRROR_OF_68[i] for i in MIRROR_OF_68] == list(range(68))


def test_nothing_asked_for_changes_nothing() -> None:
    batch = Batch(torch.rand(2, 3, 8, 8), torch.ones(2, 1))
    assert torch.equal(augment(batch, Augmentation()).images, batch.images)


def test_pictures_stay_pictures() -> None:
    torch.manual_seed(0)
    how = Augmentation(
        flip=0.5, rotate_deg=20, zoom=0.2, shift=0.1, brightness=0.5, contrast=0.5,
        dark=0.5, blur=0.5, erase=0.5,
    )  # fmt: skip
    images = augment(Batch(torch.rand(64, 3, 24, 24), torch.ones(64, 1)), how).images
    assert images.shape == (64, 3, 24, 24)
    assert images.min() >= 0
    assert images.max() <= 1


def test_an_erased_rectangle_has_the_size_that_was_asked_for() -> None:
    torch.manual_seed(0)
    how = Augmentation(erase=1.0, erase_area=(0.1, 0.1))
    images = augment(Batch(torch.full((200, 1, 50, 50), 2.0), torch.ones(200, 1)), how).images
    share = (images != 2).float().mean()
    assert 0.08 < share < 0.12


def test_every_condition_spoils_and_is_the_same_each_time() -> None:
    images = torch.rand(4, 3, 96, 96)
    for name, spoil in CONDITIONS.items():
        spoiled = spoil(images)
        assert spoiled.shape == images.shape, name
        assert not torch.equal(spoiled, images), name
        assert torch.equal(spoiled, spoil(images)), name
        assert spoiled.min() >= 0, name
        assert spoiled.max() <= 1, name


def test_a_face_with_few_pixels_loses_none() -> None:
    images = torch.rand(1, 3, 48, 48)
    assert torch.equal(few_pixels(48)(images), images)
    assert not torch.equal(few_pixels(24)(images), images)
