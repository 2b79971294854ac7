"""Recordings as cameras and recorders really write them: played at their pace, and whatever had to
be assumed is said in one line."""

import shutil
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from PIL import Image as Pillow

from monitor.camera import open_source
from monitor.config import CameraConfig
from monitor.errors import SourceError
from monitor.types import Frame, Image

FPS = 30
COUNT = 90
SECONDS = COUNT / FPS
B_PICTURE = 3  # FFmpeg's AV_PICTURE_TYPE_B


def picture(number: int, size: tuple[int, int] = (96, 64)) -> Image:
    coarse = np.random.default_rng(number).integers(40, 200, (6, 8, 3), np.uint8)
    return np.asarray(cv2.resize(coarse, size, interpolation=cv2.INTER_LINEAR))


def write(
    path: Path,
    codec: str = "mpeg4",
    *,
    muxer: str | None = None,
    fps: float = FPS,
    stamps: Sequence[int] | None = None,
    tick: Fraction = Fraction(1, 90_000),
    aspect: Fraction | None = None,
    sound_s: float = 0.0,
    count: int = COUNT,
    options: dict[str, str] | None = None,
) -> Path:
    """A film of noise; `stamps` in ticks take the place of the packets' own times."""
    with av.open(str(path), "w", format=muxer) as container:
        stream = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1000))
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.options = options or {}
        if codec == "mjpeg":
            stream.codec_context.color_range = 2
            stream.pix_fmt = "yuvj420p"
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        sound = container.add_stream("mp2", rate=48_000) if sound_s else None
        packets: list[av.Packet] = []
        for number in range(count):
            packets += stream.encode(av.VideoFrame.from_ndarray(picture(number), "bgr24"))
        packets += stream.encode(None)
        for number, packet in enumerate(packets):
            if stamps is not None:
                packet.time_base = tick
                packet.pts = packet.dts = stamps[number]
            container.mux(packet)
        if sound is not None:
            silence = np.zeros((1, 1152), np.int16)
            for block in range(int(sound_s * 48_000 / 1152)):
                frame = av.AudioFrame.from_ndarray(silence, "s16", "mono")
                frame.sample_rate, frame.pts = 48_000, block * 1152
                container.mux(sound.encode(frame))
            container.mux(sound.encode(None))
    return path


def play(path: Path | str, **settings: object) -> tuple[list[Frame], str]:
    config = CameraConfig.model_validate({"source": str(path), **settings})
    with open_source(config, wall=lambda: 1e9) as source:
        return list(source), source.notice or ""


def times(frames: Iterable[Frame]) -> list[float]:
    return [frame.timestamp_s for frame in frames]


# --- no times of their own --------------------------------------------------------------------

RAW = [
    ("pi.h264", "h264", "libx264"),
    ("pi.hevc", "hevc", "libx265"),
    ("pi.mjpeg", "mjpeg", "mjpeg"),
    ("old.m4v", "m4v", "mpeg4"),
]


@pytest.mark.parametrize(("name", "container", "codec"), RAW)
def test_a_raw_stream_is_played_at_the_configured_pace(
    tmp_path: Path, name: str, container: str, codec: str
) -> None:
    path = write(tmp_path / name, codec, muxer=container)
    frames, notice = play(path, fps=15)
    assert times(frames) == pytest.approx([n / 15 for n in range(COUNT)])
    assert "played at the configured 15 frames a second" in notice


@pytest.mark.parametrize(("name", "container", "codec"), RAW)
def test_without_a_configured_pace_one_line_says_what_was_assumed(
    tmp_path: Path, name: str, container: str, codec: str
) -> None:
    frames, notice = play(write(tmp_path / name, codec, muxer=container))
    step_s = np.diff(times(frames))
    assert len(frames) == COUNT
    assert step_s.min() == pytest.approx(step_s.max())
    assert float(step_s[0]) in (pytest.approx(1 / FPS), pytest.approx(1 / 25))
    assert "holds no times" in notice
    assert "cameras[].fps" in notice
    assert "cut short" not in notice


def test_stamps_that_are_counters_are_not_taken_for_times(tmp_path: Path) -> None:
    squeezed = write(tmp_path / "squeezed.mkv", stamps=range(COUNT), tick=Fraction(1, 1000))
    frames, notice = play(squeezed, fps=FPS)
    assert times(frames)[-1] == pytest.approx(SECONDS - 1 / FPS)
    assert "1000 pictures a second" in notice


def test_a_clock_of_whole_seconds_keeps_the_pace(tmp_path: Path) -> None:
    seconds = [1000 * (n // FPS) for n in range(COUNT)]
    path = write(tmp_path / "whole.mkv", stamps=seconds, tick=Fraction(1, 1000))
    frames, notice = play(path, fps=FPS)
    assert times(frames)[-1] == pytest.approx(SECONDS - 1 / FPS)
    assert "the same time" in notice


# --- times that begin anew, jump, come out of order -----------------------------------------


def test_files_joined_end_to_end_are_played_one_after_the_other(tmp_path: Path) -> None:
    part = write(tmp_path / "part.ts", "mpeg2video")
    joined = tmp_path / "joined.ts"
    joined.write_bytes(part.read_bytes() * 2)
    frames, notice = play(joined)
    assert len(frames) >= 2 * COUNT - 2
    assert times(frames)[-1] == pytest.approx(2 * SECONDS, abs=0.2)
    assert np.diff(times(frames)).min() > 0
    assert "begin anew once" in notice
    assert "cut short" not in notice


def test_a_clock_that_jumps_a_day_is_a_gap_of_seconds(tmp_path: Path) -> None:
    day = 86_400_000
    stamps = [n * 33 + (day if n >= COUNT // 2 else 0) for n in range(COUNT)]
    path = write(tmp_path / "jump.mkv", stamps=stamps, tick=Fraction(1, 1000))
    frames, notice = play(path)
    assert times(frames)[-1] < SECONDS + 20
    assert max(np.diff(times(frames))) > 5
    assert "jump" in notice


def test_times_of_decoding_are_put_into_the_order_of_showing(tmp_path: Path) -> None:
    path = write(tmp_path / "b.avi", "libx264", options={"bf": "3"})
    frames, _ = play(path)
    assert times(frames) == pytest.approx([n / FPS for n in range(COUNT)], abs=2 / FPS)
    assert np.diff(times(frames)).max() <= 2 / FPS + 1e-3


@pytest.mark.parametrize("codec", ["mpeg4", "mpeg2video", "libx264"])
@pytest.mark.parametrize("name", ["b.mp4", "b.mkv", "b.ts", "b.avi"])
def test_pictures_that_look_ahead_are_played_in_order_and_called_whole(
    tmp_path: Path, name: str, codec: str
) -> None:
    """B pictures are stored after the later one that they need; their own times are right."""
    path = write(tmp_path / name, codec, options={"bf": "2"})
    with av.open(str(path)) as container:
        kinds = {int(frame.pict_type) for frame in container.decode(video=0)}
    assert B_PICTURE in kinds
    frames, notice = play(path)
    assert times(frames) == pytest.approx([n / FPS for n in range(COUNT)], abs=2e-3)
    if (name, codec) != ("b.avi", "libx264"):  # AVI keeps decoding times alone
        assert notice == ""


# --- whole, or cut ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["film.mp4", "film.mkv", "film.avi", "film.ts", "film.flv"])
@pytest.mark.parametrize("fps", [1, 12.5, 29.97])
def test_a_whole_file_is_not_called_cut(tmp_path: Path, name: str, fps: float) -> None:
    codec = "flv1" if name.endswith("flv") else "libx264"
    path = write(tmp_path / name, codec, fps=fps, count=12)
    frames, notice = play(path)
    assert len(frames) == 12
    assert "cut short" not in notice


def test_a_sound_track_that_runs_on_is_no_cut(tmp_path: Path) -> None:
    _, notice = play(write(tmp_path / "talk.mkv", sound_s=SECONDS + 6))
    assert notice == ""


def test_a_file_cut_in_the_middle_is_called_cut(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.mkv", sound_s=SECONDS)
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 3])
    _, notice = play(cut)
    assert "cut short" in notice


# --- which stream, which pixels, which name ------------------------------------------------


def with_a_cover(tmp_path: Path, film: Path | None) -> Path:
    """A container whose first video stream is a cover picture."""
    path = tmp_path / "cover.mp4"
    with av.open(str(path), "w") as container:
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 640, 480, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        out = None
        if film is not None:
            source = av.open(str(film))
            out = container.add_stream_from_template(source.streams.video[0])
        frame = av.VideoFrame.from_ndarray(picture(1, (640, 480)), "bgr24").reformat(
            format="yuvj420p"
        )
        frame.pts = 0
        container.mux(cover.encode(frame))
        container.mux(cover.encode(None))
        if out is not None:
            for packet in source.demux(video=0):
                if packet.size:
                    packet.stream = out
                    container.mux(packet)
            source.close()
    return path


def test_a_cover_picture_is_not_the_film(tmp_path: Path) -> None:
    frames, notice = play(with_a_cover(tmp_path, write(tmp_path / "film.mp4")))
    assert len(frames) == COUNT
    assert frames[0].image is not None
    assert frames[0].image.shape == (64, 96, 3)
    assert notice == ""


def test_a_cover_picture_alone_is_no_video(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="holds no video"):
        play(with_a_cover(tmp_path, None))


@pytest.mark.parametrize(
    ("aspect", "shape"),
    [
        (Fraction(2), (64, 192, 3)),
        (Fraction(1, 2), (128, 96, 3)),
        (Fraction(16, 15), (64, 102, 3)),
        (Fraction(1), (64, 96, 3)),
    ],
)
def test_pixels_that_are_not_square_are_made_so(
    tmp_path: Path, aspect: Fraction, shape: tuple[int, int, int]
) -> None:
    frames, _ = play(write(tmp_path / "dvr.mp4", "libx264", aspect=aspect))
    assert {f.image.shape for f in frames if f.image is not None} == {shape}


def test_a_file_that_does_not_say_so_is_told_by_its_setting(tmp_path: Path) -> None:
    frames, _ = play(write(tmp_path / "half.avi"), pixel_aspect=2)
    assert frames[0].image is not None
    assert frames[0].image.shape == (64, 192, 3)


@pytest.mark.parametrize("turn", [0, 90, 180, 270, -90])
def test_a_camera_hangs_as_it_is_said_to(tmp_path: Path, turn: int) -> None:
    path = write(tmp_path / "film.mp4", "libx264", options={"qp": "0"})
    straight, turned = play(path)[0][0].image, play(path, rotate=turn)[0][0].image
    assert straight is not None
    np.testing.assert_array_equal(turned, np.rot90(straight, -turn // 90))


@pytest.mark.parametrize(
    "name", ["2026-11-28T10:00:00.mp4", "rtsp:x.mp4", "a b.mp4", "-x.mp4", "100%.mp4", "ü#?.mp4"]
)
def test_a_file_may_be_called_anything(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.move(write(tmp_path / "film.mp4"), tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert len(play(name)[0]) == COUNT
    assert len(play(f"file://{tmp_path / name}")[0]) == COUNT


def a_jpg(path: Path) -> Path:
    cv2.imwrite(str(path.with_suffix(".jpg")), picture(1))
    return path.with_suffix(".jpg")


def a_png(path: Path) -> Path:
    cv2.imwrite(str(path.with_suffix(".png")), picture(1))
    return path.with_suffix(".png")


def a_webp(path: Path) -> Path:
    cv2.imwrite(str(path.with_suffix(".webp")), picture(1))
    return path.with_suffix(".webp")


def a_jpg_called_mp4(path: Path) -> Path:
    return Path(shutil.move(a_jpg(path), path.with_suffix(".mp4")))


@pytest.mark.parametrize("make", [a_jpg, a_png, a_webp, a_jpg_called_mp4])
def test_a_single_picture_is_refused(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    with pytest.raises(SourceError, match="is a single picture, not a recording"):
        play(make(tmp_path / "photo"))


def test_a_film_of_one_picture_says_that_nothing_was_watched(tmp_path: Path) -> None:
    frames, notice = play(write(tmp_path / "one.mp4", count=1))
    assert len(frames) == 1
    assert "holds a single picture" in notice


# --- animated pictures ------------------------------------------------------------------------


def animated(path: Path, step_ms: int = 40) -> Path:
    films = [Pillow.fromarray(np.ascontiguousarray(picture(n)[..., ::-1])) for n in range(COUNT)]
    films[0].save(path, save_all=True, append_images=films[1:], duration=step_ms, loop=0)
    return path


@pytest.mark.parametrize("name", ["film.webp", "film.gif", "film.png"])
def test_an_animated_picture_is_a_film(tmp_path: Path, name: str) -> None:
    frames, notice = play(animated(tmp_path / name))
    assert times(frames) == pytest.approx([n * 0.04 for n in range(COUNT)], abs=0.011)
    assert frames[3].image is not None
    assert frames[3].image.shape == picture(3).shape
    assert not notice


def test_an_animated_webp_cut_short_is_played_as_far_as_it_goes(tmp_path: Path) -> None:
    whole = animated(tmp_path / "film.webp").read_bytes()
    (tmp_path / "cut.webp").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SourceError, match=r"cut\.webp"):
        play(tmp_path / "cut.webp")
