"""The animated driver looks like a person to the network that watches people."""

from itertools import pairwise

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.synthesis import (
    Eyewear,
    FaceState,
    Image,
    Landmarks,
    Portrait,
    astronaut,
    blur,
    close_eyes,
    darken,
    ear,
    glare,
    glasses,
    infrared,
    open_jaw,
    turn_head,
    wear_cap,
    wear_glasses,
)
from models.synthesis.face_warp import EYES, find_landmarks
from models.synthesis.head_turn import rotation_matrix
from tests.support.paths import SHARED

PORTRAITS = SHARED / "data" / "portraits" / "images"


@pytest.fixture(scope="module")
def portrait() -> Portrait:
    return Portrait()


@pytest.fixture(scope="module")
def face() -> Image:
    return np.asarray(cv2.resize(astronaut()[20:250, 85:385], None, fx=2, fy=2))


@pytest.fixture(scope="module")
def mesh(face: Image) -> Landmarks:
    return seen(face)


def seen(image: Image) -> Landmarks:
    found = find_landmarks(image)
    assert found is not None, "MediaPipe finds no face"
    return found


def mean_ear(landmarks: Landmarks) -> float:
    return (ear(landmarks, "left") + ear(landmarks, "right")) / 2


def mouth_ratio(landmarks: Landmarks) -> float:
    gap = np.linalg.norm(landmarks[13, :2] - landmarks[14, :2])
    return float(gap / np.linalg.norm(landmarks[78, :2] - landmarks[308, :2]))


def turned(before: Landmarks, after: Landmarks) -> tuple[float, float, float]:
    """Yaw, pitch and roll in degrees between two meshes, by Kabsch's best rotation."""
    u, _, v = np.linalg.svd((after - after.mean(0)).T @ (before - before.mean(0)))
    r = u @ np.diag([1, 1, np.sign(np.linalg.det(u @ v))]) @ v
    yaw = np.arctan2(-r[0, 2], r[2, 2])
    pitch = np.arctan2(r[1, 2], np.hypot(r[0, 2], r[2, 2]))
    roll = np.arctan2(r[0, 1], r[1, 1])
    return tuple(float(np.degrees(a)) for a in (yaw, pitch, roll))  # type: ignore[return-value]


# --- the parts of a face ---------------------------------------------------------------------


def test_lids_come_down_by_degrees(face: Image, mesh: Landmarks) -> None:
    measured = [mean_ear(seen(close_eyes(face, mesh, a))) for a in (0.0, 0.4, 0.7, 1.0)]
    assert measured == sorted(measured, reverse=True)
    assert measured[0] > 0.28
    assert measured[-1] < 0.12


def test_a_wink_closes_one_eye(face: Image, mesh: Landmarks) -> None:
    winked = seen(close_eyes(face, mesh, 1.0, eyes=("left",)))
    assert ear(winked, "left") < 0.6 * ear(winked, "right")


def test_lowered_eyes_are_lower_but_not_shut(face: Image, mesh: Landmarks) -> None:
    lowered = close_eyes(face, mesh, 0.0, gaze_down=1.0)
    assert 0.5 * mean_ear(mesh) < mean_ear(seen(lowered)) < 0.95 * mean_ear(mesh)
    assert (lowered != face).any()


def test_a_mouth_opens_into_a_yawn(face: Image, mesh: Landmarks) -> None:
    measured = [mouth_ratio(seen(open_jaw(face, mesh, a))) for a in (0.0, 0.3, 0.7)]
    assert measured == sorted(measured)
    assert measured[0] < 0.25
    assert measured[-1] > 0.6


def test_an_open_mouth_is_dark_inside(face: Image, mesh: Landmarks) -> None:
    yawning = open_jaw(face, mesh, 0.9)
    x, y = mesh[14, :2].astype(int)
    inside = yawning[y + 8 : y + 24, x - 10 : x + 10]
    assert inside.mean() < 0.4 * face[y - 60 : y - 40, x - 10 : x + 10].mean()


@pytest.mark.parametrize(
    ("yaw", "pitch", "roll"),
    [(25, 0, 0), (-25, 0, 0), (0, 18, 0), (0, -25, 0), (0, 0, 15), (0, 0, -15)],
)
def test_a_turned_head_measures_as_turned(
    face: Image, mesh: Landmarks, yaw: float, pitch: float, roll: float
) -> None:
    measured = turned(mesh, seen(turn_head(face, mesh, yaw, pitch, roll)))
    assert measured == pytest.approx((yaw, pitch, roll), abs=7)


def test_left_and_up_are_positive() -> None:
    nose = np.array(
        [0.0, 0.0, -1.0]
    )  # towards the camera; the driver's left is the picture's right
    assert (rotation_matrix(30, 0, 0) @ nose)[0] > 0
    assert (rotation_matrix(0, 30, 0) @ nose)[1] < 0  # the picture's y grows downwards
    crown = np.array([0.0, -1.0, 0.0])
    assert (rotation_matrix(0, 0, 30) @ crown)[0] < 0


def test_nothing_done_changes_nothing(face: Image, mesh: Landmarks) -> None:
    np.testing.assert_array_equal(close_eyes(face, mesh, 0.0), face)
    np.testing.assert_array_equal(open_jaw(face, mesh, 0.0), face)
    assert np.abs(turn_head(face, mesh).astype(int) - face).mean() < 1


@pytest.mark.parametrize("tint", [0.0, 1.0])
def test_glasses_sit_on_the_eyes(face: Image, mesh: Landmarks, tint: float) -> None:
    worn = wear_glasses(face, mesh, np.random.default_rng(5), tint=tint)
    changed = np.argwhere((worn != face).any(-1))
    for eye in EYES.values():
        x, y = mesh[eye.iris, :2]
        assert changed[:, 1].min() < x < changed[:, 1].max()
        assert changed[:, 0].min() < y < changed[:, 0].max()
        if tint:
            assert worn[int(y), int(x)].max() < 40
    assert changed[:, 0].max() < mesh[13, 1]  # nothing on the mouth


def test_glasses_stay_where_they_are_while_the_lids_come_down() -> None:
    def worn(hw: tuple[int, ...], mesh: Landmarks) -> Eyewear:
        return glasses(hw, mesh, np.random.default_rng(5))

    wearer, bare = Portrait(worn=worn), Portrait()
    rims = [
        (wearer.render(FaceState(closure=lids)) != bare.render(FaceState(closure=lids))).any(-1)
        for lids in (0.0, 1.0)
    ]
    assert rims[0].sum() > 500
    assert (rims[0] ^ rims[1]).sum() < 0.02 * rims[0].sum()


def test_a_shut_lid_is_skin_and_no_dark_hole(face: Image, mesh: Landmarks) -> None:
    """A person, and the mesh, take a shadow between brow and lashes for an eye."""
    shut = close_eyes(face, mesh, 1.0)
    for eye in EYES.values():
        upper, lower = mesh[eye.upper[4], :2], mesh[eye.lower[4], :2]
        x, y = ((upper + lower) / 2).round().astype(int)
        cheek = face[
            round(float(lower[1] + 0.15 * (mesh[eye.upper[-1]] - mesh[eye.upper[0]])[0])), x
        ]
        assert shut[y, x].mean() > 0.6 * cheek.mean()


def test_a_cap_covers_the_hair_and_leaves_the_mouth(face: Image, mesh: Landmarks) -> None:
    capped = wear_cap(face, mesh, np.random.default_rng(2))
    x, y = mesh[10, :2].astype(int)
    assert (capped[y - 20, x] != face[y - 20, x]).any()
    mouth_y = int(mesh[13, 1])
    np.testing.assert_array_equal(capped[mouth_y:], face[mouth_y:])


def test_light_and_lens(face: Image) -> None:
    assert darken(face, 0.3).mean() < 0.3 * face.mean()
    assert glare(face, 0.8).mean() > 1.4 * face.mean()
    sharp = cv2.Laplacian(face, cv2.CV_32F).var()
    assert cv2.Laplacian(blur(face, 2, 9), cv2.CV_32F).var() < 0.3 * sharp
    grey = infrared(face)
    np.testing.assert_array_equal(grey[..., 0], grey[..., 2])


@pytest.mark.shared
@pytest.mark.skipif(not PORTRAITS.is_dir(), reason="the portraits of ../shared are not here")
def test_lids_of_real_people_come_down() -> None:
    opening_left = []
    for path in sorted(PORTRAITS.glob("open_*.jpg"))[10::100]:
        image = cv2.copyMakeBorder(cv2.imread(str(path)), 40, 40, 40, 40, cv2.BORDER_REPLICATE)
        before = find_landmarks(np.asarray(image))
        if before is not None:
            after = seen(close_eyes(np.asarray(image), before, 1.0))
            opening_left.append(mean_ear(after) / mean_ear(before))
    assert len(opening_left) >= 12
    # The mesh network keeps the lids of some apart (glasses, beards, wide open mouths).
    assert np.median(opening_left) < 0.5
    assert np.mean(np.array(opening_left) < 0.75) > 0.65


# --- the driver in the seat ------------------------------------------------------------------


def test_a_live_picture_never_equals_the_one_before(portrait: Portrait) -> None:
    pictures = [portrait.render(FaceState(), n / 30).astype(int) for n in range(10)]
    differences = [np.abs(a - b).mean() for a, b in pairwise(pictures)]
    assert min(differences) > 1


def test_the_same_seed_gives_the_same_pictures(portrait: Portrait) -> None:
    state = FaceState(closure=0.5, yaw_deg=12, second_face=1.0)
    np.testing.assert_array_equal(Portrait().render(state, 1.5), portrait.render(state, 1.5))
    assert (Portrait(seed=1).render(state, 1.5) != portrait.render(state, 1.5)).any()


def test_the_cabin_stands_still_while_the_head_turns(portrait: Portrait) -> None:
    straight, away = portrait.render(FaceState(), 1.0), portrait.render(FaceState(yaw_deg=35), 1.0)
    window = np.s_[60:160, 560:]
    assert np.abs(straight[window].astype(int) - away[window]).mean() < 1
    assert np.abs(straight.astype(int) - away).mean() > 3


def test_a_driver_who_left_is_not_in_the_picture(portrait: Portrait) -> None:
    assert find_landmarks(portrait.render(FaceState(away=1.0))) is None
    assert find_landmarks(portrait.render(FaceState())) is not None


def test_a_passenger_comes_beside_the_driver(portrait: Portrait) -> None:
    seat = np.s_[:, :190]
    assert find_landmarks(portrait.render(FaceState())[seat].copy()) is None
    assert find_landmarks(portrait.render(FaceState(second_face=1.0))[seat].copy()) is not None


def test_darkness_and_glare_pass_for_what_they_are(portrait: Portrait) -> None:
    night = portrait.render(FaceState(light=0.0))
    assert night.mean() < 8
    assert night.std() < 5
    assert portrait.render(FaceState(glare=1.0)).mean() > 247


def test_closed_eyes_stay_closed_when_the_head_drops(portrait: Portrait) -> None:
    awake = seen(portrait.render(FaceState(), 2.0))
    asleep = seen(portrait.render(FaceState(closure=1.0, pitch_deg=-25), 2.0))
    assert turned(awake, asleep)[1] < -15
    assert mean_ear(asleep) < 0.6 * mean_ear(awake)


def test_a_portrait_without_a_face_is_refused() -> None:
    with pytest.raises(ValueError, match="no face"):
        Portrait(np.full((200, 200, 3), 127, np.uint8))


def test_a_tightly_cut_portrait_keeps_its_own_background() -> None:
    tight = astronaut()[30:190, 160:290]
    animated = Portrait(np.asarray(cv2.resize(tight, (256, 256))), size=(320, 240))
    assert mean_ear(seen(animated.render(FaceState()))) > 0.2
    assert find_landmarks(animated.render(FaceState(away=1.0))) is None


shares = st.floats(0, 1)


@settings(max_examples=25, deadline=None)
@given(
    state=st.builds(
        FaceState,
        closure=shares,
        jaw=shares,
        gaze_down=shares,
        yaw_deg=st.floats(-90, 90),
        pitch_deg=st.floats(-90, 90),
        roll_deg=st.floats(-40, 40),
        away=shares,
        light=shares,
        glare=shares,
        noise=shares,
        second_face=shares,
    ),
    t_s=st.floats(0, 1e5),
)
def test_any_state_can_be_rendered(portrait: Portrait, state: FaceState, t_s: float) -> None:
    picture = portrait.render(state, t_s)
    assert picture.shape == (480, 640, 3)
    assert picture.dtype == np.uint8
