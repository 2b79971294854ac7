"""From a frame to an observation, with fakes for every net and once with the real mesh."""

from collections.abc import Callable, Iterator, Sequence

import cv2
import numpy as np
import pytest
import skimage.data
import structlog

from models.synthesis import FaceState, Portrait
from models.synthesis.drive import Drive
from models.synthesis.film import animate
from monitor.camera import open_source
from monitor.config import CameraConfig, PerceptionConfig
from monitor.engine import Engine
from monitor.errors import ConfigError
from monitor.perception import Perception, open_perception, quality_of
from monitor.perception.face import Points, Region
from monitor.perception.face_tracker import COUNT_EVERY_S
from monitor.perception.networks import Parts
from monitor.perception.orientation import EMPTY_S, TURNS
from monitor.perception.rest import LOST_HZ
from monitor.policy import load_policy
from monitor.types import (
    Box,
    CameraCondition,
    Detection,
    Event,
    EyeProbabilities,
    Frame,
    Image,
    Observation,
)
from tests.support.fakes import FakeDetector, FakeEmotionNet, FakeEyes, FakeFinder, FakeLandmarker
from tests.support.paths import SHARED

DRIVER, PASSENGER = Box(120, 120, 280, 320), Box(420, 130, 560, 310)
FPS = 10
LOOKS = PerceptionConfig(emotion_hz=5)
LEFT_EYE, RIGHT_EYE = EyeProbabilities(0.8, 0.2, 0, 0), EyeProbabilities(0, 0, 0, 1)


def picture(value: int = 120) -> Image:
    return np.full((480, 640, 3), value, np.uint8)


def frame(at_s: float, image: Image | None = None) -> Frame:
    return Frame(picture() if image is None else image, at_s, 1_780_000_000 + at_s, int(at_s * FPS))


class Cabin:
    """A perception with a fake for every part."""

    def __init__(
        self, *faces: Box, detector: FakeDetector | None = None, fps: float = FPS, **camera: object
    ) -> None:
        self.landmarker = FakeLandmarker(*faces)
        self.finder = FakeFinder(*faces)
        self.eyes = FakeEyes(LEFT_EYE, RIGHT_EYE)
        self.emotion = FakeEmotionNet("neutral")
        self.fps = fps
        self.perceive = Perception(
            LOOKS,
            CameraConfig(**camera),  # type: ignore[arg-type]
            Parts(detector, self.eyes, self.emotion),
            landmarker=self.landmarker,
            finder=self.finder,
        )
        self.now_s = 0.0

    def seat(self, *faces: Box) -> None:
        """From now on these faces are in the picture."""
        self.landmarker.faces = list(faces)
        self.finder.faces = list(faces)

    def watch(self, seconds: float, image: Image | None = None) -> list[Observation]:
        seen = []
        for _ in range(round(seconds * self.fps)):
            seen.append(self.perceive(frame(self.now_s, image)))
            self.now_s += 1 / self.fps
        return seen


def test_a_face_is_found_and_measured() -> None:
    (seen,) = Cabin(DRIVER).watch(0.1)
    assert seen.face is not None
    assert seen.face.iou(DRIVER) > 0.9
    assert seen.faces == 1
    assert seen.ear_left == pytest.approx(0.3, abs=0.01)
    assert seen.ear_right == pytest.approx(0.3, abs=0.01)
    assert seen.mar is not None
    assert seen.pose is not None
    assert seen.lower_lid is not None
    assert (seen.eye_left, seen.eye_right) == (LEFT_EYE, RIGHT_EYE)
    assert seen.size_px == (640, 480)
    assert seen.errors == ()


def test_without_a_face_nothing_is_measured() -> None:
    (seen,) = Cabin().watch(0.1)
    assert seen.face is None
    assert seen.faces == 0
    measured = (seen.ear_left, seen.ear_right, seen.mar, seen.pose, seen.eye_left, seen.gaze_down)
    assert measured == (None,) * 6
    assert seen.quality is not None
    assert seen.quality.sharpness is None


def test_a_frame_without_a_picture_says_so_and_nothing_else() -> None:
    lost = Frame(None, 3.0, 1_780_000_003.0, 7, "rear", CameraCondition.LOST, skipped=2)
    seen = Cabin(DRIVER).perceive(lost)
    assert seen == Observation(3.0, 1_780_000_003.0, 7, "rear", CameraCondition.LOST, skipped=2)


def test_a_followed_face_is_not_looked_for_on_every_frame() -> None:
    cabin = Cabin(DRIVER)
    cabin.watch(5)
    turns = len(TURNS) * 5 / EMPTY_S  # which way up is the picture?
    assert cabin.finder.looks <= 5 / COUNT_EVERY_S + 1 + turns


def test_a_lost_face_is_looked_for_at_once() -> None:
    cabin = Cabin(DRIVER)
    cabin.watch(2)
    cabin.seat()
    assert cabin.watch(0.5)[-1].face is None
    cabin.seat(DRIVER)
    assert cabin.watch(0.1)[0].ear_left is not None


def test_several_faces_are_counted() -> None:
    cabin = Cabin(DRIVER, PASSENGER)
    assert cabin.watch(2)[-1].faces == 2


def test_the_passenger_is_not_taken_for_a_driver_whose_head_is_down() -> None:
    cabin = Cabin(DRIVER, PASSENGER)
    cabin.watch(3)
    cabin.seat(PASSENGER)
    down = cabin.watch(8)
    assert {seen.face for seen in down} == {None}
    assert {seen.ear_left for seen in down} == {None}
    assert down[-1].faces == 1
    cabin.seat(DRIVER, PASSENGER)
    back = cabin.watch(1)[-1]
    assert back.face is not None
    assert back.face.iou(DRIVER) > 0.5


@pytest.mark.parametrize("mirrored", [False, True])
def test_each_eye_has_the_drivers_own_name_in_a_mirror_image_too(*, mirrored: bool) -> None:
    class Winking(FakeLandmarker):
        """The eye on the left of the picture is shut."""

        def __call__(self, image: Image, region: Region) -> Points | None:
            points = super().__call__(image, region)
            if points is not None:
                for upper, lower in ((160, 144), (159, 145), (158, 153)):
                    points[upper] = points[lower]
            return points

    perceive = Perception(
        PerceptionConfig(),
        CameraConfig(mirrored=mirrored),
        Parts(eyes=FakeEyes(LEFT_EYE, RIGHT_EYE)),
        landmarker=Winking(DRIVER),
        finder=FakeFinder(DRIVER),
    )
    seen = perceive(frame(0))
    shut, open_ = (seen.ear_left, seen.ear_right) if mirrored else (seen.ear_right, seen.ear_left)
    assert shut == pytest.approx(0, abs=0.01)
    assert open_ == pytest.approx(0.3, abs=0.01)
    on_the_left, on_the_right = (
        (seen.eye_left, seen.eye_right) if mirrored else (seen.eye_right, seen.eye_left)
    )
    assert (on_the_left, on_the_right) == (RIGHT_EYE, LEFT_EYE)


# --- the detector ----------------------------------------------------------------------------


def test_the_detectors_word_on_the_drivers_face_is_told() -> None:
    cabin = Cabin(DRIVER, detector=FakeDetector(DRIVER, sleep=0.9))
    seen = cabin.watch(1)[-1]
    assert seen.detection is not None
    assert seen.detection.sleep == 0.9


def test_a_head_without_landmarks_is_still_there_by_the_detectors_word() -> None:
    cabin = Cabin(DRIVER, detector=FakeDetector(DRIVER, sleep=0.9))
    cabin.watch(2)
    cabin.landmarker.faces = []
    seen = cabin.watch(1)[-1]
    assert seen.face is not None
    assert seen.ear_left is None
    assert seen.detection is not None
    assert seen.detection.label == "sleep"


def test_the_passengers_word_is_not_the_drivers() -> None:
    detector = FakeDetector(DRIVER, PASSENGER)
    cabin = Cabin(DRIVER, PASSENGER, detector=detector)
    cabin.watch(2)
    detector.faces = [PASSENGER]
    cabin.seat(PASSENGER)
    seen = cabin.watch(2)[-1]
    assert seen.detection is None
    assert seen.faces == 1


def test_a_followed_face_is_judged_from_close_by() -> None:
    detector = FakeDetector(DRIVER)
    Cabin(DRIVER, detector=detector).watch(3)
    whole_pictures = detector.near.count(None)
    turns = len(TURNS) * 3 / EMPTY_S
    assert whole_pictures <= 3 / COUNT_EVERY_S + 1 + turns
    assert len(detector.near) - whole_pictures == pytest.approx(3 * LOOKS.detector_hz, abs=1)


@pytest.mark.parametrize("fps", [5, 10, 30, 60])
def test_of_a_still_face_the_detectors_last_word_holds_for_a_while(fps: float) -> None:
    detector = FakeDetector(DRIVER, sleep=0.7)
    seen = Cabin(DRIVER, detector=detector, fps=fps).watch(4)
    judged = sum(near is not None for near in detector.near)
    assert judged == pytest.approx(4 * min(LOOKS.detector_hz, fps), rel=0.15)
    assert {one.detection.sleep for one in seen if one.detection} == {0.7}
    assert all(one.detection for one in seen)


@pytest.mark.parametrize("fps", [10, 15])
def test_lids_that_move_are_judged_by_the_detector_at_once(fps: float) -> None:
    detector = FakeDetector(DRIVER)
    cabin = Cabin(DRIVER, detector=detector, fps=fps)
    cabin.watch(2)
    cabin.landmarker.opening, detector.sleep = 0.05, 0.9
    (seen,) = cabin.watch(1 / fps)
    assert seen.detection is not None
    assert seen.detection.sleep == 0.9


# --- a driver who sits still -------------------------------------------------------------------


def with_eyes(grey: int) -> Image:
    """A picture with stripes where `DRIVER`'s eyes are."""
    image = picture()
    eyes = image[170:210, 140:260]
    eyes[:, ::8] = grey
    return image


@pytest.mark.parametrize("fps", [10, 15, 30, 60])
def test_a_driver_who_does_not_move_is_looked_at_some_times_a_second(fps: float) -> None:
    cabin = Cabin(DRIVER, fps=fps)
    cabin.watch(1)
    before = cabin.landmarker.looks
    seen = cabin.watch(4)
    looks = cabin.landmarker.looks - before
    assert looks == pytest.approx(4 * min(LOOKS.still_hz, fps), rel=0.05)
    assert all(one.ear_left is not None and one.eye_left is not None for one in seen)
    times = [one.timestamp_s for one in seen]
    assert times == sorted(set(times))  # each frame has its own time, looked at or not


def test_lids_that_move_are_seen_on_the_frame_on_which_they_do() -> None:
    cabin = Cabin(DRIVER, fps=60)
    cabin.watch(2, with_eyes(60))
    cabin.landmarker.opening = 0.05
    (seen,) = cabin.watch(1 / 60, with_eyes(140))
    assert seen.ear_left is not None
    assert seen.ear_left < 0.1


def test_light_alone_is_no_movement() -> None:
    cabin = Cabin(DRIVER, fps=60)
    cabin.watch(2, with_eyes(60))
    before = cabin.landmarker.looks
    brighter = np.asarray(with_eyes(60) + 20, np.uint8)
    cabin.watch(1, brighter)
    assert cabin.landmarker.looks - before == pytest.approx(LOOKS.still_hz, abs=1)


def test_nobody_in_view_is_looked_for_at_once_and_later_ten_times_a_second() -> None:
    cabin = Cabin(DRIVER, fps=60)
    cabin.watch(2)
    cabin.seat()
    before = cabin.finder.looks
    cabin.watch(1)
    assert cabin.finder.looks - before >= 0.7 * 60
    before = cabin.finder.looks
    assert {seen.face for seen in cabin.watch(4)} == {None}
    turns = len(TURNS) * 4 / EMPTY_S
    assert cabin.finder.looks - before <= 4 * LOST_HZ + turns + 1
    cabin.seat(DRIVER)
    assert cabin.watch(1 / LOST_HZ)[-1].face is not None


def test_a_lost_camera_ends_the_rest() -> None:
    cabin = Cabin(DRIVER, fps=60)
    cabin.watch(2)
    lost = Frame(None, cabin.now_s, 1_780_000_003.0, 7, "rear", CameraCondition.LOST)
    assert cabin.perceive(lost).ear_left is None
    before = cabin.landmarker.looks
    cabin.now_s += 1 / 60
    cabin.watch(1 / 60)
    assert cabin.landmarker.looks == before + 1


def test_what_the_detector_began_is_always_waited_for() -> None:
    class OneAtATime(FakeDetector):
        """As a real network: it cannot begin on a frame before it has answered for the last."""

        busy = False

        def start(self, image: Image, near: Box) -> Callable[[], list[Detection]]:
            assert not self.busy
            self.busy = True
            answer = super().start(image, near)

            def wait() -> list[Detection]:
                self.busy = False
                return answer()

            return wait

    detector = OneAtATime(DRIVER)
    cabin = Cabin(DRIVER, detector=detector)
    for faces in ([DRIVER], [], [DRIVER], [PASSENGER], [DRIVER, PASSENGER], []):
        cabin.seat(*faces)
        detector.faces = list(faces)
        assert {seen.errors for seen in cabin.watch(1)} == {()}


def test_where_the_detector_sees_nobody_mediapipe_may() -> None:
    cabin = Cabin(DRIVER, detector=FakeDetector())
    seen = cabin.watch(1)[-1]
    assert seen.face is not None
    assert seen.detection is None


# --- what breaks -----------------------------------------------------------------------------


@pytest.mark.parametrize("stage", ["detector", "landmarks", "finder", "eyes", "emotion"])
def test_a_stage_that_breaks_is_named_and_the_rest_still_holds(stage: str) -> None:
    detector = FakeDetector(DRIVER)
    cabin = Cabin(DRIVER, detector=detector)
    broken = {
        "detector": detector,
        "landmarks": cabin.landmarker,
        "finder": cabin.finder,
        "eyes": cabin.eyes,
        "emotion": cabin.emotion,
    }[stage]
    broken.error = RuntimeError("out of memory")
    if stage == "finder":
        detector.faces = []  # else the finder is not asked
    # An expression is read beside the loop, so its failure is told two looks later.
    seen = cabin.watch(0.5 if stage == "emotion" else 0.1)[-1]
    assert seen.errors == (stage,)
    if stage not in {"landmarks", "finder"}:
        assert seen.ear_left is not None
    if stage not in {"detector", "finder"}:
        assert seen.detection is not None
    broken.error = None
    if stage == "finder":
        detector.faces = [DRIVER]
    cabin.now_s += 1
    assert cabin.watch(0.5)[-1].errors == ()


def test_a_stage_that_breaks_on_every_frame_is_logged_now_and_then() -> None:
    with structlog.testing.capture_logs() as logged:
        cabin = Cabin(DRIVER)
        cabin.eyes.error = RuntimeError("out of memory")
        cabin.watch(20)
    assert [entry["stage"] for entry in logged] == ["eyes"]


# --- pictures --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real() -> Iterator[Perception]:
    with Perception(PerceptionConfig(), CameraConfig(), Parts()) as perceive:
        yield perceive


@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (1, 4000), (480, 640), (4320, 7680)])
@pytest.mark.parametrize("value", [0, 128, 255])
def test_bad_pictures_are_looked_at_without_harm(
    real: Perception, shape: tuple[int, int], value: int
) -> None:
    seen = real(frame(0, np.full((*shape, 3), value, np.uint8)))
    assert seen.errors == ()
    assert seen.face is None
    assert seen.quality is not None
    assert seen.quality.brightness == value
    assert seen.quality.contrast == 0


def test_an_empty_picture_is_no_picture(real: Perception) -> None:
    assert real(frame(0, np.zeros((0, 640, 3), np.uint8))).size_px is None


def test_a_real_portrait_is_measured_from_edge_to_edge(real: Perception) -> None:
    portrait = np.ascontiguousarray(skimage.data.astronaut()[:, :, ::-1])
    seen = real(frame(100, portrait))
    assert seen.errors == ()
    assert seen.ear_left is not None
    assert 0.2 < seen.ear_left < 0.45
    assert seen.quality is not None
    assert seen.quality.face_height_px is not None
    assert real.overlay.landmarks is not None
    assert real.overlay.landmarks.shape == (478, 3)
    assert real.overlay.face == seen.face


def test_a_blurred_face_is_less_sharp_however_near_it_is() -> None:
    portrait = np.ascontiguousarray(skimage.data.astronaut()[:, :, ::-1])
    box = Box(170, 60, 280, 200)
    double = cv2.resize(portrait, None, fx=2, fy=2, interpolation=cv2.INTER_LINEAR)
    near = quality_of(double, Box(340, 120, 560, 400))
    sharp, blurred = (
        quality_of(portrait, box),
        quality_of(cv2.GaussianBlur(portrait, (0, 0), 4), box),
    )
    assert sharp.sharpness is not None
    assert blurred.sharpness is not None
    assert near.sharpness is not None
    assert blurred.sharpness < 0.3 * sharp.sharpness
    assert near.sharpness == pytest.approx(sharp.sharpness, rel=0.35)


# --- opening ---------------------------------------------------------------------------------


def test_everything_can_be_switched_off() -> None:
    off = PerceptionConfig(detector=None, emotion=None, eyes=None)
    with open_perception(off, CameraConfig()) as perceive:
        assert perceive.models == ()
        assert perceive(frame(0)).errors == ()


@pytest.mark.parametrize("setting", ["detector", "emotion", "eyes"])
@pytest.mark.parametrize("value", ["no_such_model", "/no/such/file.safetensors"])
def test_an_unknown_model_is_answered_with_its_setting(setting: str, value: str) -> None:
    config = PerceptionConfig(**{"detector": None, "emotion": None, "eyes": None, setting: value})
    with pytest.raises(ConfigError, match=rf"perception\.{setting}: ") as caught:
        open_perception(config, CameraConfig())
    assert "\n" not in str(caught.value)


def test_a_model_for_another_task_is_refused() -> None:
    config = PerceptionConfig(detector="poster_v2", emotion=None, eyes=None)
    with pytest.raises(ConfigError, match="poster_v2 is a model for expression, not detection"):
        open_perception(config, CameraConfig())


# --- the fast path sees what the slow one sees -----------------------------------------------

DRIVES = (
    "attentive 5, closed 1.7, attentive 4, closed 3.5, attentive 3, closed 4 + nod 3 at=1.5",
    "attentive 5, look_away 4.5 angle=38, attentive 3, yawn 4, attentive 2, absent 5, attentive 4",
    "attentive 4, second_face 10 + closed 2 at=4, attentive 4",
)
CLIPS = SHARED / "video"


# Every frame looked at, by every network.
TIRELESS = PerceptionConfig(detector_hz=240, still_hz=240)


def events_of(frames: Sequence[Frame], config: PerceptionConfig) -> list[Event]:
    engine = Engine(load_policy("default"), drive="test")
    with open_perception(config, CameraConfig()) as perceive:
        events = [event for one in frames for event in engine.update(perceive(one))[1]]
    return [*events, *engine.finish()]


def check_fast_against_slow(frames: Sequence[Frame], monkeypatch: pytest.MonkeyPatch) -> None:
    fast = events_of(frames, PerceptionConfig())
    # Nothing followed: every picture is searched as if it were the first.
    monkeypatch.setattr("monitor.perception.face_tracker.TRACK_GAP_S", -1.0)
    slow = events_of(frames, TIRELESS)
    assert [(e.kind, e.phase, e.level) for e in fast] == [(e.kind, e.phase, e.level) for e in slow]
    step_s = frames[1].timestamp_s - frames[0].timestamp_s
    for one, other in zip(fast, slow, strict=True):
        assert one.at_s == pytest.approx(other.at_s, abs=step_s * 1.01)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("script", DRIVES)
def test_following_a_face_gives_the_events_of_searching_every_picture(
    script: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    played = animate(Portrait(), Drive.parse(script), 15.0)
    frames = [Frame(image, t_s, 1e9 + t_s, k) for k, (t_s, image) in enumerate(played)]
    check_fast_against_slow(frames, monkeypatch)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.shared
@pytest.mark.parametrize(
    "clip",
    [
        "d14.mp4",
        "d6.mp4",
        "d11.mp4",
        pytest.param(
            "d3.mp4",
            marks=pytest.mark.xfail(
                strict=False, reason="a long look down stands at the very threshold of a closure"
            ),
        ),
    ],
)
def test_on_real_clips_too(clip: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if not (CLIPS / clip).is_file():
        pytest.skip(f"no ../shared/video/{clip} here: real clips are not part of the project")
    with open_source(CameraConfig(source=str(CLIPS / clip))) as source:
        check_fast_against_slow(list(source), monkeypatch)


@pytest.mark.parametrize("yaw_deg", [-45.0, 45.0])
def test_a_head_turned_far_away_is_measured(yaw_deg: float) -> None:
    """In half profile the mesh is not found in the whole of the face's box, but in a part of it."""
    turned = Portrait().render(FaceState(yaw_deg=yaw_deg), 0.0)
    with open_perception(PerceptionConfig(emotion=None), CameraConfig()) as perceive:
        pose = perceive(frame(0.0, turned)).pose
    assert pose is not None
    assert pose.yaw_deg == pytest.approx(yaw_deg, abs=10)
