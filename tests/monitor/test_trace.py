"""A trace holds everything the engine was given, to the last bit, and survives its process."""

import gzip
import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.config import TraceConfig
from monitor.errors import SourceError
from monitor.policy import load_policy
from monitor.protocol.mapping import event_line
from monitor.replay import events_of
from monitor.sinks.jsonl import EventFileSink
from monitor.sinks.trace import Given, TraceHeader, TraceWriter, observation_line, read_trace
from monitor.types import (
    Box,
    CameraCondition,
    Command,
    Detection,
    Emotion,
    EyeProbabilities,
    HeadPose,
    Observation,
    Phase,
    Quality,
)
from tests.support.drivers import (
    acknowledging,
    attentive,
    eyes_closed,
    head_down,
    look_left,
    slumped,
)
from tests.support.events import NOW, event, given_step, moment
from tests.support.paths import ROOT
from tests.support.servers import until

HEADER = TraceHeader("car-7", "drive-1", "driver", "default", "1a2b", ("landmarks",), "0", NOW)
FULL = Observation(
    12.1,
    NOW + 1 / 3,
    index=7,
    condition=CameraCondition.GLARE,
    skipped=3,
    size_px=(640, 480),
    face=Box(1.1, 2.2, 3.3, 4.4),
    faces=2,
    ear_left=0.1 + 0.2,
    ear_right=1 / 3,
    eye_left=EyeProbabilities(0.1, 0.2, 0.3, 0.4),
    eye_right=EyeProbabilities(0.0, 0.999, 0.001, 0.0),
    mar=0.3,
    gaze_down=0.25,
    lower_lid=-0.05,
    pose=HeadPose(1e-17, -3.3, 2.2),
    detection=Detection(Box(0, 0, 10, 10), 0.1, 0.9),
    emotion=Emotion("happy", 0.7, (("happy", 0.7), ("sad", 0.3))),
    quality=Quality(90.5, 40.25, None, 120.0),
    errors=("emotion",),
)


def recorded(folder: Path, given: Iterable[Given], **limits: int) -> Path:
    """Record it all; the first file."""
    trace = TraceWriter(TraceConfig(enabled=True, folder=folder, **limits), HEADER)
    first = trace.path
    for number, one in enumerate(given):
        trace.on_step(given_step(*one))
        if number % 500 == 499:
            until(lambda: not trace.waiting, what="written")
    trace.close()
    assert trace.trouble() is None
    return first


def test_a_full_and_an_empty_observation_read_back_exactly(tmp_path: Path) -> None:
    given = [(FULL, 53.5, (Command.ACKNOWLEDGE,)), (Observation(13.0, NOW), None, ())]
    header, again = read_trace(recorded(tmp_path, given))
    assert header == HEADER
    assert list(again) == given


finite = st.floats(allow_nan=False, allow_infinity=False)


@given(
    st.builds(
        Observation,
        timestamp_s=finite,
        captured_at=finite,
        ear_left=st.none() | finite,
        eye_left=st.none() | st.floats(0, 1).map(lambda p: EyeProbabilities(1 - p, p, 0, 0)),
        pose=st.none() | st.builds(HeadPose, finite, finite, finite),
        emotion=st.none() | st.builds(Emotion, st.text(), st.floats(0, 1)),
        errors=st.lists(st.text()).map(tuple),
    ),
    st.none() | finite,
)
def test_every_observation_survives_its_line(
    observation: Observation, speed_kmh: float | None
) -> None:
    from monitor.sinks.trace import _parsed

    line = observation_line(observation, speed_kmh)
    assert "\n" not in line
    again, speed, commands = _parsed(Path("x"), 1, line)
    assert again == observation
    assert math.copysign(1, again.timestamp_s) == math.copysign(1, observation.timestamp_s)
    assert (speed, commands) == (speed_kmh, ())


def test_a_line_holds_no_picture_and_knows_every_field() -> None:
    assert set(json.loads(observation_line(FULL))) >= {
        name for name in Observation.__dataclass_fields__ if getattr(FULL, name) not in (None, ())
    }


def test_a_replay_gives_the_same_events_to_the_byte(tmp_path: Path) -> None:
    story = (
        attentive(30)
        + eyes_closed(4)
        + acknowledging(attentive(5))
        + look_left(6)
        + eyes_closed(2)
        + head_down(3)
        + slumped(2)
        + attentive(8)
    )
    given = list(story.driving(60.0).at(30, noise=0.01))
    policy = load_policy("default")
    whose = {"drive": HEADER.drive, "camera": HEADER.camera, "models": HEADER.models}
    live = [event_line(told) for told in events_of(given, policy, **whose)]
    header, again = read_trace(recorded(tmp_path, given))
    whose = {"drive": header.drive, "camera": header.camera, "models": header.models}
    replayed = [event_line(told) for told in events_of(again, policy, **whose)]
    assert len(live) > 4
    assert replayed == live


def _many(count: int) -> list[Given]:
    return [
        (replace(FULL, timestamp_s=n / 30, index=n, mar=math.sin(n)), None, ())
        for n in range(count)
    ]


def test_a_long_drive_is_continued_in_parts_and_read_as_one(tmp_path: Path) -> None:
    given = _many(3000)
    first = recorded(tmp_path, given, rotate_bytes=20_000)
    parts = sorted(tmp_path.iterdir())
    assert len(parts) > 2
    assert parts[0] == first
    assert list(read_trace(first)[1]) == given
    assert list(read_trace(tmp_path)[1]) == given, "a folder is its latest drive"
    assert len(list(read_trace(parts[1])[1])) < len(given)


def test_the_oldest_files_go_when_all_together_are_too_many(tmp_path: Path) -> None:
    first = recorded(tmp_path, _many(4000), rotate_bytes=20_000, keep_bytes=50_000)
    assert not first.exists()
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 50_000 + 3 * 20_000


def test_of_files_of_one_instant_the_first_by_name_goes(tmp_path: Path) -> None:
    parts = [tmp_path / f"drive.{part:04d}.jsonl.gz" for part in range(40)]
    for part in reversed(parts):
        part.write_bytes(bytes(1000))
        os.utime(part, (NOW, NOW))
    recorded(tmp_path, _many(1), keep_bytes=20_000)
    assert [part for part in parts if part.exists()] == parts[20:]


WRITER = """
import sys, time
from pathlib import Path
from tests.monitor.test_trace import HEADER, FULL, TraceConfig, TraceWriter, given_step
trace = TraceWriter(TraceConfig(enabled=True, folder=Path(sys.argv[1])), HEADER)
for n in range(10**6):
    trace.on_step(given_step(FULL, float(n)))
    if n % 100 == 0:
        print(n, flush=True)
        time.sleep(0.02)
"""


def test_what_a_killed_process_leaves_is_read_up_to_its_last_second(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        until(lambda: any(f.stat().st_size > 20_000 for f in tmp_path.iterdir()), what="written")
        process.send_signal(signal.SIGKILL)
    _, given = read_trace(tmp_path)
    speeds = [speed for _, speed, _ in given]
    assert len(speeds) > 100
    assert speeds == [float(n) for n in range(len(speeds))]


def test_a_trace_cut_at_any_byte_reads_up_to_there(tmp_path: Path) -> None:
    given = _many(40)
    whole = recorded(tmp_path, given).read_bytes()
    cut = tmp_path / "cut.0000.jsonl.gz"
    lengths = []
    for length in range(len(whole) - 1, 0, -101):
        cut.write_bytes(whole[:length])
        found = _readable(cut)
        assert found == given[: len(found)]
        lengths.append(len(found))
    assert lengths[0] >= len(given) - 1
    assert lengths == sorted(lengths, reverse=True)


def _readable(path: Path) -> list[Given]:
    try:
        return list(read_trace(path)[1])
    except SourceError:
        return []  # cut within its header


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"not gzip at all", "cannot be read as a trace"),
        (gzip.compress(b"", mtime=0), "first line must be a header"),
        (gzip.compress(b"[1, 2]\n", mtime=0), "first line must be a header"),
        (gzip.compress(b'{"version": 99}\n', mtime=0), "newer version"),
        (gzip.compress(b'{"version": 1}\n', mtime=0), "first line must be a header"),
    ],
)
def test_what_is_no_trace_is_one_line(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "x.0000.jsonl.gz"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=reason) as caught:
        read_trace(path)
    assert "\n" not in str(caught.value)


def test_a_trace_of_version_1_tells_the_same_of_both_eyes(tmp_path: Path) -> None:
    first = recorded(tmp_path, _many(1))
    header, line = (json.loads(one) for one in gzip.decompress(first.read_bytes()).splitlines())
    del line["eye_left"], line["eye_right"]
    old = [header | {"version": 1}, line | {"closed": 0.25}]
    first.write_bytes(gzip.compress("".join(json.dumps(one) + "\n" for one in old).encode()))
    ((observation, _, _),) = read_trace(first)[1]
    eye = EyeProbabilities(0.75, 0.25, 0.0, 0.0)
    assert (observation.eye_left, observation.eye_right) == (eye, eye)


def test_a_line_that_is_no_observation_is_named(tmp_path: Path) -> None:
    first = recorded(tmp_path, _many(3))
    lines = gzip.decompress(first.read_bytes()).splitlines(keepends=True)
    lines[2] = b'{"timestamp_s": 1.0, "surprise": 2}\n'
    first.write_bytes(gzip.compress(b"".join(lines)))
    with pytest.raises(SourceError, match=r"line 3: not an observation"):
        list(read_trace(first)[1])


def test_an_empty_folder_or_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="holds no trace"):
        read_trace(tmp_path)
    with pytest.raises(SourceError, match="No such file"):
        read_trace(tmp_path / "none.jsonl.gz")


def test_a_disk_that_refuses_is_told_and_holds_up_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    trace = TraceWriter(TraceConfig(enabled=True, folder=tmp_path / "file" / "traces"), HEADER)
    trace.on_step(given_step(FULL, None))
    assert "cannot be written" in until(trace.trouble, what="trouble told")
    (tmp_path / "file").unlink()
    trace.on_step(given_step(FULL, None))
    until(lambda: trace.trouble() is None, what="well again")
    trace.close()


def test_every_event_is_appended_as_one_line(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text("an earlier drive's\n")
    told = [event(), event(phase=Phase.END, after_s=2)]
    sink = EventFileSink(str(path))
    for one in told:
        sink.on_event(one)
        sink.on_step(moment(1.0))
    sink.close()
    assert path.read_text().splitlines()[1:] == [event_line(one) for one in told]


def test_events_go_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    sink = EventFileSink("-")
    sink.on_event(event())
    sink.close()
    assert capsys.readouterr().out == event_line(event()) + "\n"
