"""One eye behind a patch, gauze, hair or a dark lens: the other one is watched as ever."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from models.synthesis import Eyewear, Portrait, astronaut
from models.synthesis.cabin import seat
from models.synthesis.drive import Drive
from models.synthesis.face_warp import EYES, FOREHEAD, NOSE_TIP, EyeName
from monitor.camera import open_source
from monitor.camera.recordings import ANIMATED_SIZE
from monitor.config import CameraConfig, PerceptionConfig
from monitor.engine import Engine
from monitor.perception import Perception
from monitor.perception.networks import Parts, open_parts
from monitor.policy import load_policy
from monitor.types import Event, Frame, Image, Kind, Phase
from tests.support.paths import SHARED

FPS = 10
LOOK = PerceptionConfig(emotion=None)
POLICY = load_policy("default")
MICROSLEEP_S, SLEEP_S = POLICY.closure.microsleep_log_s + 0.6, POLICY.closure.sleep_s + 0.5
FIRST_S, SECOND_S = 6.0, 6.0 + MICROSLEEP_S + 3.0
SCRIPT = f"attentive {FIRST_S}, closed {MICROSLEEP_S}, attentive 3, closed {SLEEP_S}, attentive 3"

Points = NDArray[np.float32]
# Draws a cover's shape white into a mask, from the mesh, the eye's middle, the distance of the
# eyes and where out is (-1 to the picture's left); gives its colour, BGR.
Cover = Callable[[Image, Points, Points, float, int], tuple[int, int, int]]


def black_patch(
    mask: Image, mesh: Points, eye: Points, apart: float, out: int
) -> tuple[int, int, int]:
    _oval(mask, eye, 0.40 * apart, 0.34 * apart)
    strap = eye + apart * np.array([[-1.6 * out, -0.75], [0.7 * out, 0.15]])
    cv2.polylines(mask, [np.int32(strap)], False, 255, 4)
    return 12, 12, 12


def gauze(mask: Image, mesh: Points, eye: Points, apart: float, out: int) -> tuple[int, int, int]:
    corners = [[-0.42, -0.45], [0.42, -0.42], [0.40, 0.42], [-0.44, 0.40]]
    cv2.fillPoly(mask, [np.int32(eye + apart * np.array(corners))], 255)
    return 225, 232, 236


def hair(mask: Image, mesh: Points, eye: Points, apart: float, out: int) -> tuple[int, int, int]:
    """A strand from the parting down over half the face."""
    across = np.array([[-0.35, -0.2], [-0.1, 0.9], [0.9, 1.4], [0.9, -1.5]]) * [out, 1]
    parting = mesh[FOREHEAD] - [0, 20]
    cv2.fillPoly(mask, [np.int32(np.vstack([parting, eye + apart * across]))], 255)
    return 25, 40, 60


def dark_lens(
    mask: Image, mesh: Points, eye: Points, apart: float, out: int
) -> tuple[int, int, int]:
    """The opaque half of sunglasses whose other glass has fallen out."""
    _oval(mask, eye, 0.42 * apart, 0.32 * apart)
    return 14, 12, 10


def _oval(mask: Image, eye: Points, wide: float, high: float) -> None:
    centre = (round(float(eye[0])), round(float(eye[1])) + 2)
    cv2.ellipse(mask, centre, (round(wide), round(high)), 0, 0, 360, 255, -1)


@pytest.fixture(scope="module")
def parts() -> Parts:
    return open_parts(LOOK)


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    camera = CameraConfig.model_validate({"source": "animated", "script": SCRIPT, "fps": FPS})
    with open_source(camera) as source:
        return list(source)


def painted(frames: list[Frame], cover: Cover, side: EyeName) -> list[Frame]:
    """The drive with something before the driver's own `side` eye; the head hardly moves."""
    seated = seat(astronaut(), ANIMATED_SIZE)
    mesh = seated.landmarks[:, :2] - [seated.left_px, 0]
    edge, colour = drawn(ANIMATED_SIZE[::-1], mesh, cover, side)
    weave = np.random.default_rng(0).normal(0, 3, (*edge.shape[:2], 1))

    def worn(image: Image) -> Image:
        mixed = image * (1 - edge) + edge * (colour + weave)
        return np.asarray(np.clip(mixed, 0, 255), np.uint8)

    return [replace(frame, image=worn(frame.image)) for frame in frames if frame.image is not None]


def drawn(
    hw: tuple[int, ...], mesh: Points, cover: Cover, side: EyeName
) -> tuple[NDArray[np.float32], tuple[int, int, int]]:
    """How much of each pixel the cover before the driver's own `side` eye takes, and its colour."""
    lids = EYES[side]
    eye = mesh[[*lids.upper, *lids.lower]].mean(0)
    apart = float(np.linalg.norm(mesh[EYES["left"].iris] - mesh[EYES["right"].iris]))
    mask = np.zeros(hw, np.uint8)
    colour = cover(mask, mesh, eye, apart, 1 if eye[0] > mesh[NOSE_TIP, 0] else -1)
    return np.float32(cv2.GaussianBlur(mask, (0, 0), 1.0)[..., None] / 255.0), colour


def events(parts: Parts, frames: list[Frame]) -> list[Event]:
    engine = Engine(POLICY, drive="covered")
    seen: list[Event] = []
    with Perception(LOOK, CameraConfig(), parts) as perceive:
        for frame in frames:
            seen += engine.update(perceive(frame))[1]
    return seen + engine.finish()


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("cover", [black_patch, gauze, hair, dark_lens])
def test_the_seen_eye_alone_tells_microsleep_and_sleep(
    parts: Parts, frames: list[Frame], cover: Cover, side: EyeName
) -> None:
    """Nor does the hidden one make a false distraction, or hide the driver."""
    seen = events(parts, painted(frames, cover, side))
    began_at = frames[0].captured_at
    ends = {e.kind: e for e in seen if e.phase is Phase.END}
    assert set(ends) == {Kind.MICROSLEEP, Kind.SLEEP}, [(e.kind, e.phase) for e in seen]
    microsleep, sleep = ends[Kind.MICROSLEEP], ends[Kind.SLEEP]
    assert microsleep.started_at - began_at == pytest.approx(FIRST_S, abs=0.5)
    assert microsleep.duration_s == pytest.approx(MICROSLEEP_S, abs=0.5)
    assert sleep.started_at - began_at == pytest.approx(SECOND_S, abs=0.5)
    assert sleep.duration_s == pytest.approx(SLEEP_S, abs=0.5)


# --- people ------------------------------------------------------------------------------------

PORTRAITS = SHARED / "data" / "portraits" / "images"
# Evenly through the set: of these seven the watch tells both closures while nothing is covered.
PEOPLE = sorted(PORTRAITS.glob("open_*.jpg"))[80:1100:160]


def person_s_drive(path: Path, side: EyeName) -> Iterator[Frame]:
    """A portrait plays the script with a black patch that moves with the head."""

    def worn(hw: tuple[int, ...], landmarks: NDArray[np.float32]) -> Eyewear:
        edge, colour = drawn(hw, landmarks[:, :2], black_patch, side)
        return Eyewear(1 - edge, np.float32(edge * colour))

    around = cv2.copyMakeBorder(cv2.imread(str(path)), 40, 40, 40, 40, cv2.BORDER_REPLICATE)
    portrait, drive = Portrait(np.asarray(around), worn=worn), Drive.parse(SCRIPT)
    for index in range(int(drive.duration_s * FPS)):
        t_s = index / FPS
        yield Frame(portrait.render(drive.pose_at(t_s), t_s), t_s, 1e9 + t_s, index)


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.skipif(not PORTRAITS.is_dir(), reason="the portraits of ../shared are not here")
def test_people_with_a_patch_are_watched_by_their_other_eye(parts: Parts) -> None:
    """Nearly every closure of seven people is told, behind a patch left or right; nothing else is.

    Measured: 26 of 28 closures, 10 of the 14 long ones as sleep.
    """
    closures, slept = 0, 0
    drives: list[tuple[Path, EyeName]] = [(path, s) for path in PEOPLE for s in ("left", "right")]
    for path, side in drives:
        ends = [e for e in events(parts, list(person_s_drive(path, side))) if e.phase is Phase.END]
        assert not [e for e in ends if e.kind not in {Kind.MICROSLEEP, Kind.SLEEP}], (path, side)
        for began_s, lasted_s in ((FIRST_S, MICROSLEEP_S), (SECOND_S, SLEEP_S)):
            same = [e for e in ends if abs(e.started_s - began_s) < 1.0]
            closures += any(abs(e.duration_s - lasted_s) < 1.0 for e in same)
            slept += any(e.kind is Kind.SLEEP for e in same)
    assert closures >= 0.9 * 2 * len(drives)
    assert slept >= 0.7 * len(drives)
