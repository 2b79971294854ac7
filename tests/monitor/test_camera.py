"""Every kind of source gives frames with honest times, and says what is wrong in one line."""

import threading
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.synthesis.film import write_mp4
from monitor.camera import open_source
from monitor.camera.source import FROZEN_AFTER_S, LARGEST_PX, Scrutiny, fitting_size
from monitor.config import CameraConfig
from monitor.errors import ConfigError, SourceError
from monitor.types import CameraCondition, Frame, Image
from tests.support.paths import SHARED

FPS = 20.0
DEADLINE_S = 30.0


def noisy(number: int, size: tuple[int, int] = (64, 48)) -> Image:
    """A picture unlike every other one, smooth enough for a video codec."""
    coarse = np.random.default_rng(number).integers(40, 200, (6, 8, 3), np.uint8)
    return np.asarray(cv2.resize(coarse, size, interpolation=cv2.INTER_LINEAR))


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "drive.mp4"
    write_mp4(path, (noisy(n) for n in range(60)), FPS)
    return path


def read(source: str | Path, **settings: object) -> list[Frame]:
    config = CameraConfig.model_validate({"source": str(source), **settings})
    with open_source(config, wall=lambda: 1e9) as opened:
        return list(opened)


# --- recordings ------------------------------------------------------------------------------


def test_a_file_gives_every_frame_at_its_own_time_from_zero(video: Path) -> None:
    frames = read(video)
    assert [f.timestamp_s for f in frames] == pytest.approx([n / FPS for n in range(60)])
    assert [f.index for f in frames] == list(range(60))
    assert [f.captured_at for f in frames] == pytest.approx([1e9 + n / FPS for n in range(60)])
    assert {f.condition for f in frames} == {CameraCondition.OK}


def test_the_same_file_reads_the_same_twice(video: Path) -> None:
    first, second = read(video), read(video)
    assert [f.timestamp_s for f in first] == [f.timestamp_s for f in second]
    pairs = zip(first, second, strict=True)
    assert all(np.array_equal(a.image, b.image) for a, b in pairs if a.image is not None)


def test_a_loop_goes_on_with_growing_times(video: Path) -> None:
    with open_source(CameraConfig(source=str(video), loop=True)) as source:
        times = [f.timestamp_s for f in islice(source, 150)]
    assert np.diff(times).min() > 0
    assert times[-1] == pytest.approx(149 / FPS)


def test_a_mirror_image_is_turned_back(video: Path) -> None:
    straight, mirrored = read(video)[0].image, read(video, mirrored=True)[0].image
    assert straight is not None
    assert mirrored is not None
    np.testing.assert_array_equal(mirrored, straight[:, ::-1])


def test_a_paced_source_ends_promptly_when_closed(tmp_path: Path) -> None:
    for n in range(2):
        cv2.imwrite(str(tmp_path / f"{n}.png"), noisy(n))
    slow = CameraConfig(source=str(tmp_path), fps=0.001, realtime=True)
    with open_source(slow) as source:
        frames = iter(source)
        assert next(frames).timestamp_s == 0.0
        closer = threading.Timer(0.0, source.close)
        closer.start()
        assert list(frames) == []
        closer.join()


def test_pictures_of_a_folder_come_in_natural_order(tmp_path: Path) -> None:
    for n in (10, 9, 2):
        cv2.imwrite(str(tmp_path / f"frame_{n}.png"), np.full((8, 8, 3), n * 10, np.uint8))
        (tmp_path / f"._frame_{n}.png").write_bytes(b"\0\x05\x16\x07 what macOS knows of it")
    (tmp_path / "__MACOSX").mkdir()
    frames = read(tmp_path, fps=5)
    assert [f.timestamp_s for f in frames] == pytest.approx([0.0, 0.2, 0.4])
    assert [int(f.image[0, 0, 0]) for f in frames if f.image is not None] == [20, 90, 100]


def test_an_unreadable_picture_leaves_a_gap_and_is_counted(tmp_path: Path) -> None:
    for n in range(4):
        cv2.imwrite(str(tmp_path / f"{n}.png"), noisy(n))
    (tmp_path / "1.png").write_bytes(b"not a picture")
    cut = (tmp_path / "2.png").read_bytes()[:60]
    (tmp_path / "2.png").write_bytes(cut)
    with open_source(CameraConfig(source=str(tmp_path), fps=10)) as source:
        assert [f.timestamp_s for f in source] == pytest.approx([0.0, 0.3])
        assert source.notice is not None
        assert "2 of 4 pictures skipped" in source.notice
        assert str(tmp_path / "1.png") in source.notice


@pytest.mark.parametrize("size", [(1, 1), (7680, 4320), (1, 9000)])
def test_any_size_of_picture_is_taken(tmp_path: Path, size: tuple[int, int]) -> None:
    cv2.imwrite(str(tmp_path / "0.png"), np.full((size[1], size[0], 3), 90, np.uint8))
    [frame] = read(tmp_path)
    assert frame.image is not None
    assert max(frame.image.shape) <= LARGEST_PX


def test_a_huge_video_is_scaled_down(tmp_path: Path) -> None:
    path = tmp_path / "huge.mp4"
    write_mp4(path, [noisy(n, (3840, 2160)) for n in range(2)], 10)
    frames = read(path)
    assert [f.image.shape for f in frames if f.image is not None] == [(1080, 1920, 3)] * 2


@given(st.integers(1, 20_000), st.integers(1, 20_000))
def test_scaling_down_keeps_the_shape_and_the_limit(width: int, height: int) -> None:
    new_width, new_height = fitting_size(width, height)
    assert min(new_width, new_height) >= 1
    assert max(new_width, new_height) <= LARGEST_PX
    if max(width, height) <= LARGEST_PX:
        assert (new_width, new_height) == (width, height)
    elif min(new_width, new_height) > 20:
        assert new_width / new_height == pytest.approx(width / height, rel=0.05)


# --- bad input -------------------------------------------------------------------------------


def a_missing_file(folder: Path, _: Path) -> Path:
    return folder / "missing.mp4"


def an_empty_file(folder: Path, _: Path) -> Path:
    (folder / "empty.mp4").touch()
    return folder / "empty.mp4"


def a_file_of_junk(folder: Path, _: Path) -> Path:
    path = folder / "junk.mp4"
    path.write_bytes(np.random.default_rng(0).bytes(5000))
    return path


def a_file_without_index(folder: Path, video: Path) -> Path:
    path = folder / "moovless.mp4"
    whole = video.read_bytes()
    start, end = whole.index(b"moov") - 4, whole.index(b"mdat") - 4
    path.write_bytes(whole[:start] + whole[end:])
    return path


def a_text(folder: Path, _: Path) -> Path:
    path = folder / "notes.txt"
    path.write_text("attentive 20\n" * 100)
    return path


def a_playlist_of_another_file(folder: Path, video: Path) -> Path:
    path = folder / "list.mp4"
    path.write_text(f"ffconcat version 1.0\nfile {video}\n")
    return path


def a_sound(folder: Path, _: Path) -> Path:
    import wave

    path = folder / "sound.wav"
    with wave.open(str(path), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(8000))
    return path


def an_empty_folder(folder: Path, _: Path) -> Path:
    return folder


@pytest.mark.parametrize(
    "make",
    [
        a_missing_file,
        an_empty_file,
        a_file_of_junk,
        a_file_without_index,
        a_text,
        a_playlist_of_another_file,
        a_sound,
        an_empty_folder,
    ],
)
def test_plainly_wrong_input_is_refused_in_one_line(
    tmp_path: Path, video: Path, make: Callable[[Path, Path], Path]
) -> None:
    path = make(tmp_path, video)
    with pytest.raises(SourceError) as caught:
        open_source(CameraConfig(source=str(path)))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("source", ["ftp://host/x", "", "-1", "a\0b", "webcam"])
def test_an_unknown_kind_of_source_names_the_kinds(source: str) -> None:
    with pytest.raises(SourceError, match=r"source is|cannot be read"):
        open_source(CameraConfig(source=source))


def test_a_folder_of_junk_pictures_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"junk")
    with pytest.raises(SourceError, match="none of its 1 pictures"):
        read(tmp_path)


def test_a_cut_file_ends_with_a_notice(tmp_path: Path, video: Path) -> None:
    path = tmp_path / "cut.mp4"
    path.write_bytes(video.read_bytes()[: int(0.6 * video.stat().st_size)])
    with open_source(CameraConfig(source=str(path))) as source:
        frames = list(source)
        assert 5 < len(frames) < 60
        assert source.notice is not None
        assert "cut short" in source.notice


def test_flipped_bytes_do_not_end_the_watch(tmp_path: Path, video: Path) -> None:
    content = bytearray(video.read_bytes())
    rng = np.random.default_rng(3)
    start = content.index(b"mdat") + len(content) // 8
    for place in rng.integers(start, len(content), 40):
        content[place] = rng.integers(256)
    path = tmp_path / "damaged.mp4"
    path.write_bytes(content)
    frames = read(path)
    assert len(frames) > 20
    assert np.diff([f.timestamp_s for f in frames]).min() > 0


def test_a_wrong_script_or_portrait_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean `closed`"):
        open_source(CameraConfig(source="animated", script="clsoed 2, attentive"))
    faceless = tmp_path / "wall.png"
    cv2.imwrite(str(faceless), np.full((200, 200, 3), 128, np.uint8))
    with pytest.raises(SourceError, match=r"wall\.png: no face"):
        open_source(CameraConfig(source="animated", portrait=faceless))
    with pytest.raises(SourceError, match=r"none\.png: cannot be read"):
        open_source(CameraConfig(source="animated", portrait=tmp_path / "none.png"))


# --- what the picture shows ------------------------------------------------------------------


def test_the_animated_camera_tells_dark_glare_and_frozen_and_when_they_are_over() -> None:
    script = "attentive 1, dark 1, attentive 1, glare 1, attentive 1, frozen 3, attentive 1"
    frames = read("animated", script=script, fps=10, width_px=320, height_px=240)
    told: list[tuple[CameraCondition, float]] = []
    for frame in frames:
        if not told or told[-1][0] != frame.condition:
            told.append((frame.condition, frame.timestamp_s))
    ok = CameraCondition.OK
    dark, glare, frozen = CameraCondition.DARK, CameraCondition.GLARE, CameraCondition.FROZEN
    assert [condition for condition, _ in told] == [ok, dark, ok, glare, ok, frozen, ok]
    times = [t for _, t in told]
    begins = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0 + FROZEN_AFTER_S, 8.0]
    assert times == pytest.approx(begins, abs=0.2)


def test_a_still_scene_with_sensor_noise_is_not_frozen() -> None:
    rng = np.random.default_rng(1)
    scene = np.full((48, 64, 3), 100, np.float32)
    scrutiny = Scrutiny()
    for n in range(60):
        image = (scene + rng.normal(0, 1, scene.shape)).astype(np.uint8)
        assert scrutiny.judge(image, n / 10) == CameraCondition.OK


def test_a_black_picture_is_dark_rather_than_frozen() -> None:
    scrutiny = Scrutiny()
    black = np.zeros((48, 64, 3), np.uint8)
    assert {scrutiny.judge(black, n / 10) for n in range(50)} == {CameraCondition.DARK}


def test_one_changed_corner_is_a_living_picture() -> None:
    scrutiny = Scrutiny()
    for n in range(60):
        image = noisy(0).copy()
        image[:4, :4] = n * 4
        assert scrutiny.judge(image, n / 10) == CameraCondition.OK


# --- the real clips --------------------------------------------------------------------------


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="the real clips of ../shared are not here")
@pytest.mark.parametrize(
    ("name", "frames", "duration_s"),
    [("d11.mp4", 225, 9.0), ("head-pose-face-detection-male.gif", 62, 5.16)],
)
def test_real_clips_are_read_whole(name: str, frames: int, duration_s: float) -> None:
    with open_source(CameraConfig(source=str(SHARED / "video" / name))) as source:
        seen = list(source)
        assert source.duration_s == pytest.approx(duration_s, abs=0.05)
        assert source.notice is None
    assert len(seen) == frames
    assert seen[0].timestamp_s == 0.0
    assert np.diff([f.timestamp_s for f in seen]).min() > 0
