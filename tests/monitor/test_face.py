"""What landmarks say, on faces that are known exactly and on a real one."""

import math
from collections.abc import Iterator

import cv2
import numpy as np
import pytest
import skimage.data
from hypothesis import given
from hypothesis import strategies as st

from monitor.perception import face
from monitor.perception.facemesh import Landmarker, MediaPipeFaceFinder, _as_array
from monitor.types import Box, Image
from tests.support.fakes import a_mesh
from tests.support.paths import SHARED

VGA = (640, 480)
FACE = Box(220, 120, 420, 360)

angles = st.floats(-60, 60)
shifts = st.floats(-500, 500)


def turn(yaw_deg: float, pitch_deg: float, roll_deg: float) -> np.ndarray:
    """Camera axes (x right, y down, z away) of a head turned left, up and to the right."""
    a, b, c = (math.radians(-angle) for angle in (pitch_deg, yaw_deg, roll_deg))
    about_x = np.array([[1, 0, 0], [0, math.cos(a), -math.sin(a)], [0, math.sin(a), math.cos(a)]])
    about_y = np.array([[math.cos(b), 0, math.sin(b)], [0, 1, 0], [-math.sin(b), 0, math.cos(b)]])
    about_z = np.array([[math.cos(c), -math.sin(c), 0], [math.sin(c), math.cos(c), 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def projected(rotation: np.ndarray, size_px: tuple[int, int] = VGA) -> face.Points:
    """The head model seen by a camera 60 cm away whose focal length is the picture's width."""
    width, height = size_px
    seen = face.HEAD_MODEL @ rotation.T + (3.0, -2.0, 60.0)
    points = np.zeros((face.LANDMARKS, 2), np.float32)
    points[list(face.HEAD_POINTS)] = seen[:, :2] / seen[:, 2:] * width + (width / 2, height / 2)
    return points


@given(yaw=angles, pitch=angles, roll=angles)
def test_the_pose_of_a_projected_head_is_found_exactly(
    yaw: float, pitch: float, roll: float
) -> None:
    pose = face.head_pose(projected(turn(yaw, pitch, roll)), VGA)
    assert pose is not None
    assert (pose.yaw_deg, pose.pitch_deg, pose.roll_deg) == pytest.approx(
        (yaw, pitch, roll), abs=0.05
    )


def test_turning_to_the_drivers_left_moves_the_nose_to_the_right_of_the_picture() -> None:
    ahead, left = projected(turn(0, 0, 0)), projected(turn(30, 0, 0))
    nose = face.HEAD_POINTS[0]
    assert left[nose, 0] > ahead[nose, 0]


def test_looking_up_moves_the_nose_up_in_the_picture() -> None:
    ahead, up = projected(turn(0, 0, 0)), projected(turn(0, 20, 0))
    nose = face.HEAD_POINTS[0]
    assert up[nose, 1] < ahead[nose, 1]


def test_in_a_mirror_image_left_and_right_change_places() -> None:
    points = projected(turn(20, 10, 5))
    points[:, 0] = VGA[0] - points[:, 0]
    # The mesh fits the mirror image with its own left and right: swap the pairs.
    index = {point: k for k, point in enumerate(face.HEAD_POINTS)}
    model = face.HEAD_MODEL * (-1, 1, 1)
    other = [int(np.argmin(np.abs(face.HEAD_MODEL - row).sum(1))) for row in model]
    seen = points[list(face.HEAD_POINTS)].copy()
    for point, k in index.items():
        points[point] = seen[other[k]]
    pose = face.head_pose(points, VGA, mirrored=True)
    assert pose is not None
    assert (pose.yaw_deg, pose.pitch_deg, pose.roll_deg) == pytest.approx((20, 10, 5), abs=0.05)


@pytest.mark.parametrize("value", [0.0, math.nan])
def test_points_that_say_nothing_have_no_pose(value: float) -> None:
    assert face.head_pose(np.full((478, 3), value, np.float32), VGA) is None


@pytest.mark.parametrize("value", [0.0, math.nan])
def test_points_that_say_nothing_measure_nothing(value: float) -> None:
    points = np.full((478, 3), value, np.float32)
    assert face.eye_aspect_ratio(points, "left") is None
    assert face.mouth_aspect_ratio(points) is None
    assert face.gaze_lowering(points) is None
    assert face.lower_lid(points) is None


def test_an_eye_of_a_few_pixels_is_not_measured() -> None:
    tiny = a_mesh(FACE) * 0.1
    assert face.eye_aspect_ratio(tiny, "left") is None


@given(opening=st.floats(0.0, 0.6))
def test_the_eye_aspect_ratio_is_lid_opening_over_eye_width(opening: float) -> None:
    points = a_mesh(FACE, opening)
    for side in ("left", "right"):
        assert face.eye_aspect_ratio(points, side) == pytest.approx(opening, abs=1e-3)


@given(dx=shifts, dy=shifts, degrees=st.floats(-180, 180), scale=st.floats(0.5, 5))
def test_ratios_do_not_change_with_place_turn_and_size(
    dx: float, dy: float, degrees: float, scale: float
) -> None:
    points = a_mesh(FACE, 0.27)
    angle = math.radians(degrees)
    spin = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    moved = ((points[:, :2] @ spin.T) * scale + (dx, dy)).astype(np.float32)
    for measure in (
        lambda p: face.eye_aspect_ratio(p, "left"),
        lambda p: face.eye_aspect_ratio(p, "right"),
        face.mouth_aspect_ratio,
        face.gaze_lowering,
        face.lower_lid,
    ):
        assert measure(moved) == pytest.approx(measure(points[:, :2]), abs=2e-3)


def test_irises_that_sink_read_as_a_lower_gaze() -> None:
    ahead, down = a_mesh(FACE), a_mesh(FACE)
    down[[468, 473], 1] += 4
    assert face.gaze_lowering(ahead) == pytest.approx(0.5)
    lowered = face.gaze_lowering(down)
    assert lowered is not None
    assert lowered > 0.6


def test_a_raised_lower_lid_reads_smaller() -> None:
    looking_down, closing = a_mesh(FACE), a_mesh(FACE)
    closing[[144, 145, 153, 373, 374, 380], 1] -= 3
    low, high = face.lower_lid(looking_down), face.lower_lid(closing)
    assert low is not None
    assert high is not None
    assert high < low


def test_the_region_of_landmarks_is_turned_with_the_head() -> None:
    upright = face.region_of_landmarks(a_mesh(FACE))
    assert upright.angle_rad == pytest.approx(0, abs=1e-6)
    points = a_mesh(FACE)
    spin = cv2.getRotationMatrix2D((320, 240), -25, 1)  # clockwise: towards the driver's left
    points[:, :2] = points[:, :2] @ spin[:, :2].T + spin[:, 2]
    assert math.degrees(face.region_of_landmarks(points).angle_rad) == pytest.approx(25, abs=0.1)


# --- MediaPipe itself, on the portrait of the demo -------------------------------------------


@pytest.fixture(scope="module")
def landmarker() -> Iterator[Landmarker]:
    opened = Landmarker()
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def finder() -> Iterator[MediaPipeFaceFinder]:
    opened = MediaPipeFaceFinder()
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def portrait() -> Image:
    return np.ascontiguousarray(skimage.data.astronaut()[:, :, ::-1])


def fit(landmarker: Landmarker, finder: MediaPipeFaceFinder, image: Image) -> face.Points:
    (box,) = finder(image)
    rough = landmarker(image, face.region_of_box(box))
    assert rough is not None
    fine = landmarker(image, face.region_of_landmarks(rough))
    assert fine is not None
    return fine


def test_a_real_face_is_measured_as_a_person_sees_it(
    landmarker: Landmarker, finder: MediaPipeFaceFinder, portrait: Image
) -> None:
    points = fit(landmarker, finder, portrait)
    assert points.shape == (478, 3)
    for side in ("left", "right"):
        ear = face.eye_aspect_ratio(points, side)
        assert ear is not None
        assert 0.2 < ear < 0.45
    pose = face.head_pose(points, (512, 512))
    assert pose is not None
    assert abs(pose.yaw_deg) < 15
    assert abs(pose.roll_deg) < 15


def test_left_is_the_drivers_own(
    landmarker: Landmarker, finder: MediaPipeFaceFinder, portrait: Image
) -> None:
    points = fit(landmarker, finder, portrait)
    left, right = points[face._IRIS["left"][0]], points[face._IRIS["right"][0]]
    assert left[0] > right[0]


def test_a_small_face_in_a_wide_picture_is_measured(
    landmarker: Landmarker, finder: MediaPipeFaceFinder, portrait: Image
) -> None:
    large = fit(landmarker, finder, portrait)
    scale, corner = 160 / 512, (1000, 400)
    wide = np.full((720, 1280, 3), 60, np.uint8)
    wide[400:560, 1000:1160] = cv2.resize(portrait, (160, 160), interpolation=cv2.INTER_AREA)
    expected = large * scale + (*corner, 0)
    small = landmarker(wide, face.region_of_landmarks(expected.astype(np.float32)))
    assert small is not None
    assert np.abs(small - expected)[:, :2].mean() < 1.5


def test_a_tilted_head_is_measured_upright_and_told_as_roll(
    landmarker: Landmarker, finder: MediaPipeFaceFinder, portrait: Image
) -> None:
    upright = fit(landmarker, finder, portrait)
    spin = cv2.getRotationMatrix2D((256, 256), 35, 1)  # towards the driver's own right
    tilted = cv2.warpAffine(portrait, spin, (512, 512))
    expected = upright.copy()
    expected[:, :2] = upright[:, :2] @ spin[:, :2].T + spin[:, 2]
    found = landmarker(tilted, face.region_of_landmarks(expected))
    assert found is not None
    before, after = (face.head_pose(points, (512, 512)) for points in (upright, found))
    assert before is not None
    assert after is not None
    assert after.roll_deg - before.roll_deg == pytest.approx(35, abs=3)


def test_the_same_picture_gives_the_same_landmarks_whatever_came_before(
    landmarker: Landmarker, finder: MediaPipeFaceFinder, portrait: Image
) -> None:
    region = face.region_of_landmarks(fit(landmarker, finder, portrait))
    first = landmarker(portrait, region)
    landmarker(np.zeros((480, 640, 3), np.uint8), face.Region(320, 240, 300))
    again = landmarker(portrait, region)
    assert np.array_equal(first, again)


@pytest.mark.parametrize("shape", [(1, 1), (3, 900), (480, 640), (4320, 7680)])
@pytest.mark.parametrize("grey", [0, 128, 255])
def test_a_picture_without_a_face_has_none(
    landmarker: Landmarker, finder: MediaPipeFaceFinder, shape: tuple[int, int], grey: int
) -> None:
    flat = np.full((*shape, 3), grey, np.uint8)
    height, width = shape
    assert finder(flat) == []
    assert landmarker(flat, face.Region(width / 2, height / 2, max(shape))) is None
    assert landmarker(flat, face.Region(-1000, -1000, 50)) is None


def test_a_mesh_that_failed_once_is_opened_anew(
    portrait: Image, finder: MediaPipeFaceFinder
) -> None:
    fragile = Landmarker()
    fragile._mesh._graph.close()
    (box,) = finder(portrait)
    with pytest.raises(RuntimeError):
        fragile(portrait, face.region_of_box(box))
    assert fragile(portrait, face.region_of_box(box)) is not None
    fragile.close()


def test_landmarks_are_read_off_the_wire_as_off_the_message() -> None:
    from mediapipe.framework.formats.landmark_pb2 import NormalizedLandmarkList

    values = np.random.default_rng(1).normal(size=(478, 3)).astype(np.float32)
    message = NormalizedLandmarkList()
    for x, y, z in values:
        message.landmark.add(x=x, y=y, z=z)
    assert np.array_equal(_as_array(message), values)
    message.landmark[0].visibility = 0.5  # no longer 17 bytes a point
    assert np.array_equal(_as_array(message), values)


def test_opening_the_mesh_says_nothing_on_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    with_noise = Landmarker()
    with_noise(np.zeros((64, 64, 3), np.uint8), face.Region(32, 32, 64))
    with_noise.close()
    finder = MediaPipeFaceFinder()
    finder(np.zeros((64, 64, 3), np.uint8))
    finder.close()
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


CLIPS = SHARED / "video"


@pytest.mark.shared
@pytest.mark.parametrize(
    ("clip", "at_s", "closing"),
    [
        ("d14.mp4", 5.1, True),
        ("d14.mp4", 5.4, True),
        ("d3.mp4", 4.0, False),
        ("d3.mp4", 5.0, False),
    ],
)
def test_the_lower_lid_tells_a_lowered_look_from_a_closing_eye(
    landmarker: Landmarker, finder: MediaPipeFaceFinder, clip: str, at_s: float, *, closing: bool
) -> None:
    if not (CLIPS / clip).is_file():
        pytest.skip(f"no ../shared/video/{clip} here: real clips are not part of the project")
    video = cv2.VideoCapture(str(CLIPS / clip))
    fps = video.get(cv2.CAP_PROP_FPS)
    lids = {}
    for name, when_s in (("open", {"d14.mp4": 8.0, "d3.mp4": 6.0}[clip]), ("low", at_s)):
        video.set(cv2.CAP_PROP_POS_FRAMES, round(when_s * fps))
        lids[name] = face.lower_lid(fit(landmarker, finder, video.read()[1]))
    assert lids["open"] is not None
    assert lids["low"] is not None
    ratio = lids["low"] / lids["open"]
    assert ratio < 0.6 if closing else ratio > 0.62
