"""Pictures are kept only where somebody said so, only around alerts, and not for ever."""

import os
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import skimage.data
from sqlalchemy import select

from monitor.config import ClipsConfig, Config
from monitor.sinks.clips import RING_BYTES, ClipsSink, _Ring
from monitor.sinks.mp4 import blurred, jpeg, write_mp4
from monitor.store import Store, open_store, schema
from monitor.store.database import open_engine
from monitor.types import Box, DriverState, Frame, Level, Observation, Phase
from tests.support.events import NOW, event, settings, step
from tests.support.servers import until

PERSON = np.ascontiguousarray(skimage.data.astronaut()[:, :, ::-1])
FACE = Box(170.0, 60.0, 280.0, 210.0)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return settings(tmp_path)


@pytest.fixture
def store(config: Config) -> Iterator[Store]:
    with closing(open_store(config)) as store:
        yield store


def clips(folder: Path, **more: Any) -> ClipsConfig:
    short = {"before_s": 2.0, "after_s": 1.0, "fps": 10.0, "width_px": 320}
    return ClipsConfig(enabled=True, folder=folder / "clips", **{**short, **more})


def drive(sink: ClipsSink, from_s: float, to_s: float, face: Box | None = FACE) -> None:
    """Thirty pictures a second of the person, waiting where the sink is busy."""
    for n in range(round(from_s * 30), round(to_s * 30)):
        at_s = n / 30
        until(lambda: sink.idle, what="taken")
        frame = Frame(PERSON, at_s, NOW + at_s, n)
        seen = Observation(at_s, NOW + at_s, face=face, faces=1 if face else 0)
        sink.on_step(step(frame, DriverState(at_s, NOW + at_s), seen))


def film_of(path: Path) -> tuple[list[float], list[np.ndarray], str]:
    with av.open(str(path)) as film:
        frames = list(film.decode(video=0))
        codec = film.streams.video[0].codec_context
        return (
            [float(frame.pts * frame.time_base) for frame in frames],
            [frame.to_ndarray(format="bgr24") for frame in frames],
            f"{codec.name} {codec.pix_fmt}",
        )


def audited(config: Config) -> list[str]:
    engine = open_engine(config.store.url)
    with engine.connect() as connection:
        found = list(connection.scalars(select(schema.audit.c.action)))
    engine.dispose()
    return found


def test_clips_are_off_unless_switched_on() -> None:
    assert not Config().clips.enabled


def test_an_alert_is_filmed_from_before_to_after(
    config: Config, store: Store, tmp_path: Path
) -> None:
    told = event(began_s=5.0)  # at 10 s of the capture clock
    store.record(told)
    sink = ClipsSink(clips(tmp_path), store)
    drive(sink, 0, 10)
    sink.on_event(told)
    drive(sink, 10, 13)
    sink.on_event(event(phase=Phase.END, began_s=5.0, after_s=3.0))
    drive(sink, 13, 16)
    sink.close()
    assert store.flush()
    path = tmp_path / "clips" / f"{told.id}.mp4"
    times, pictures, codec = film_of(path)
    assert times[-1] - times[0] == pytest.approx(2.0 + 3.0 + 1.0, abs=0.25)
    assert len(times) == pytest.approx(60, abs=4)
    assert pictures[0].shape == (320, 320, 3)
    assert codec == "h264 yuv420p"
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat"), "the index is in front"
    assert audited(config) == ["clips.on", "clips.write"]
    engine = open_engine(config.store.url)
    with engine.connect() as connection:
        assert connection.scalar(select(schema.events.c.clip)) == path.name
    engine.dispose()


def test_what_is_not_urgent_enough_is_not_filmed(store: Store, tmp_path: Path) -> None:
    sink = ClipsSink(clips(tmp_path), store)
    drive(sink, 0, 3)
    sink.on_event(event(level=Level.CAUTION))
    sink.on_event(event(phase=Phase.END, level=Level.CAUTION, after_s=1))
    drive(sink, 3, 6)
    sink.close()
    assert not (tmp_path / "clips").exists()


def test_an_alert_that_becomes_urgent_is_filmed_once(store: Store, tmp_path: Path) -> None:
    sink = ClipsSink(clips(tmp_path), store)
    drive(sink, 3, 6)
    sink.on_event(event(level=Level.CAUTION))
    sink.on_event(event(phase=Phase.UPDATE, level=Level.WARNING, after_s=1))
    drive(sink, 6, 7)
    sink.on_event(event(phase=Phase.UPDATE, level=Level.CRITICAL, after_s=2))
    sink.on_event(event(phase=Phase.END, level=Level.CRITICAL, after_s=2))
    drive(sink, 7, 9)
    sink.close()
    assert len(list((tmp_path / "clips").iterdir())) == 1


def test_the_end_of_the_drive_ends_the_film(store: Store, tmp_path: Path) -> None:
    sink = ClipsSink(clips(tmp_path), store)
    drive(sink, 3, 6)
    sink.on_event(event())
    sink.close()
    assert len(list((tmp_path / "clips").glob("*.mp4"))) == 1


def test_a_blurred_face_is_beyond_recognition_and_the_rest_is_not() -> None:
    picture = blurred(PERSON, FACE)
    inside = (slice(60, 210), slice(170, 280))
    change = np.abs(picture.astype(int) - PERSON).mean(axis=2)
    assert change[inside].mean() > 15
    assert not np.array_equal(picture[60:210, 170:280], PERSON[60:210, 170:280])
    far = (slice(350, 512), slice(0, 150))
    assert np.array_equal(picture[far], PERSON[far])


def test_without_a_known_face_everything_is_blurred() -> None:
    """A face the watch did not find may still be one."""
    assert np.abs(blurred(PERSON, None).astype(int) - PERSON).mean() > 15


def test_the_pictures_in_memory_are_bounded() -> None:
    ring = _Ring(seconds=2.0)
    for n in range(100):
        ring.add(n / 10, b"x" * 1000)
    assert ring.pictures[0][0] >= 9.9 - 2.0
    assert ring.size == sum(len(picture) for _, picture in ring.pictures)
    for n in range(10):
        ring.add(20 + n / 100, b"x" * (RING_BYTES // 4))
    assert ring.size <= RING_BYTES


def test_old_and_too_many_films_are_removed_and_audited(
    config: Config, store: Store, tmp_path: Path
) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    for number, days in enumerate([30, 10, 3, 2, 1]):
        film = folder / f"film-{number}.mp4"
        film.write_bytes(b"x" * 400_000)
        then = time.time() - days * 86_400
        os.utime(film, (then, then))
    sink = ClipsSink(clips(tmp_path, keep_days=7, keep_bytes=1_000_000), store)
    until(lambda: len(list(folder.iterdir())) == 2, what="the newest two are left")
    sink.close()
    assert {film.name for film in folder.iterdir()} == {"film-3.mp4", "film-4.mp4"}
    assert store.flush()
    assert audited(config) == ["clips.on", "clips.delete"]


def test_a_film_that_cannot_be_written_is_told(store: Store, tmp_path: Path) -> None:
    (tmp_path / "clips").write_text("in the way")
    sink = ClipsSink(clips(tmp_path), store)
    drive(sink, 3, 6)
    sink.on_event(event())
    sink.close()
    assert "no film" in (sink.trouble() or "")


def test_a_film_appears_only_when_whole(tmp_path: Path) -> None:
    pictures = [(n / 10, jpeg(PERSON)) for n in range(3)]
    with pytest.raises(Exception, match=r".*"):
        write_mp4(tmp_path / "x.mp4", [*pictures, (0.4, b"no picture")])
    assert list(tmp_path.iterdir()) == []
    write_mp4(tmp_path / "x.mp4", pictures)
    assert [file.name for file in tmp_path.iterdir()] == ["x.mp4"]
