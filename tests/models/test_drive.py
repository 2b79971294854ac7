"""A script becomes a drive, its pictures and its truth; a wrong one is told in one line."""

import json
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.synthesis import Portrait
from models.synthesis.drive import Drive, DriveError
from models.synthesis.drive_script import BLINK_S, WORDS
from models.synthesis.film import (
    animate,
    contact_sheet,
    frame_count,
    write_mp4,
    write_truth,
)
from tests.support.paths import ROOT

DEMO = ROOT / "configs" / "drives" / "demo.txt"
CALM = "blinks=0"


@pytest.fixture(scope="module")
def portrait() -> Portrait:
    return Portrait(size=(160, 120))


def intervals(script: str) -> list[tuple[str, float, float]]:
    truth = Drive.parse(script).truth()
    return [(i["kind"], i["start_s"], i["end_s"]) for i in truth if not i.get("spontaneous")]


# --- the truth -------------------------------------------------------------------------------


def test_segments_follow_one_another() -> None:
    script = "attentive 20, blink, yawn 4, closed 1.6"
    assert intervals(script) == [
        ("attentive", 0.0, 20.0),
        ("blink", 20.0, 20.0 + BLINK_S),
        ("yawn", 20.0 + BLINK_S, 24.0 + BLINK_S),
        ("closed", 24.0 + BLINK_S, 25.6 + BLINK_S),
    ]


def test_lids_are_half_shut_at_the_truths_edges() -> None:
    drive = Drive.parse(f"attentive 2 {CALM}, closed 2 ramp=0.4 depth=0.8, attentive 2 {CALM}")
    assert [drive.pose_at(t).closure for t in (1.7, 2.0, 3.0, 4.0, 4.3)] == pytest.approx(
        [0.0, 0.4, 0.8, 0.4, 0.0]
    )


def test_eyes_stay_shut_while_the_head_drops() -> None:
    drive = Drive.parse(f"attentive 2 {CALM}, closed 6 + nod 4 at=2 angle=30")
    for t in (4.5, 6.0, 7.5):
        assert drive.pose_at(t).closure == pytest.approx(1.0)
        assert drive.pose_at(t).pitch_deg == pytest.approx(-30)
    assert drive.pose_at(3.5).pitch_deg == pytest.approx(0)
    assert drive.duration_s == pytest.approx(8)


def test_what_is_held_lasts_until_the_driver_is_attentive_again() -> None:
    held = "closed 2 hold, nod 3, blink, attentive 5"
    assert ("closed", 0.0, 5.0 + BLINK_S) in intervals(held)
    assert Drive.parse(held).pose_at(4.0).closure == 1.0


def test_what_is_held_to_the_end_has_no_other_end() -> None:
    drive = Drive.parse("closed 2 hold, nod 3")
    assert ("closed", 0.0, 5.0) in intervals("closed 2 hold, nod 3")
    assert drive.pose_at(4.999).closure == 1.0


def test_adjoining_closures_are_one() -> None:
    drive = Drive.parse("attentive 1, closed 2, closed 3, attentive 1")
    assert ("closed", 1.0, 6.0) in intervals(drive.script)
    assert drive.pose_at(3.0).closure == pytest.approx(1.0)


def test_spontaneous_blinks_are_short_marked_and_repeatable() -> None:
    drive = Drive.parse("attentive 60 blinks=15", seed=4)
    blinks = [i for i in drive.truth() if i.get("spontaneous")]
    assert 10 <= len(blinks) <= 20
    assert all(b["kind"] == "blink" and b["end_s"] - b["start_s"] < 0.3 for b in blinks)
    assert blinks == [
        i for i in Drive.parse("attentive 60 blinks=15", seed=4).truth() if i.get("spontaneous")
    ]
    other = Drive.parse("attentive 60 blinks=15", seed=5).truth()
    assert blinks != [i for i in other if i.get("spontaneous")]


@pytest.mark.parametrize(
    ("script", "channel", "value"),
    [
        ("yawn 4 depth=0.8", "jaw", 0.8),
        ("look_away 4 angle=-35", "yaw_deg", -35),
        ("look_away 4 pitch=10", "pitch_deg", 10),
        ("nod 4 angle=20", "pitch_deg", -20),
        ("look_down 4 gaze=0.7", "gaze_down", 0.7),
        ("tilt 4 angle=12", "roll_deg", 12),
        ("absent 4", "away", 1),
        ("dark 4", "light", 0),
        ("glare 4 depth=0.9", "glare", 0.9),
        ("noise 4", "noise", 0.5),
        ("frozen 4", "frozen", True),
        ("second_face 4", "second_face", 1),
    ],
)
def test_each_word_does_what_it_says(script: str, channel: str, value: float) -> None:
    state = Drive.parse(f"attentive 2 {CALM}, {script}, attentive 2 {CALM}").pose_at(4.0)
    assert getattr(state, channel) == pytest.approx(value)


def test_talk_moves_the_jaw_without_gaping() -> None:
    drive = Drive.parse("talk 6 depth=0.4")
    jaw = [drive.pose_at(t).jaw for t in np.arange(1, 5, 0.02)]
    assert max(jaw) <= 0.4
    assert max(jaw) - min(jaw) > 0.2
    assert np.sum(np.diff(np.sign(np.diff(jaw))) < 0) > 8  # syllables


# --- reading ---------------------------------------------------------------------------------


def test_yaml_says_the_same_as_text() -> None:
    text = "attentive 20, closed 6 depth=0.9 + nod 4 at=1.5, blink, closed 2 hold, absent 3"
    as_yaml = """
    seed: 3
    drive:
      - attentive: 20
      - closed: {seconds: 6, depth: 0.9}
        nod: {seconds: 4, at: 1.5}
      - blink
      - closed: {seconds: 2, hold: true}
      - absent: 3
    """
    assert Drive.parse(as_yaml).truth() == Drive.parse(text, seed=3).truth()
    assert Drive.parse(as_yaml).seed == 3


def test_lines_commas_and_comments_all_part_segments() -> None:
    assert intervals("blink # one\n\n blink, ;blink # two, three") == intervals("blink,blink,blink")


@pytest.mark.parametrize(
    ("script", "place", "cure"),
    [
        ("attentive 5, clsoed 2", "line 1, column 14", "did you mean `closed`?"),
        ("blink\nclosed 2 dept=1", "line 2, column 1", "did you mean `depth`?"),
        ("xyzzy", "line 1, column 1", "known: attentive"),
        ("closed two", "line 1", "number from 0.02 to 86400, got `two`"),
        ("closed -1", "line 1", "got `-1`"),
        ("closed nan", "line 1", "got `nan`"),
        ("closed 1e999", "line 1", "got `1e999`"),
        ("closed 2 depth=1.5", "line 1", "depth must be a number from 0 to 1"),
        ("closed 2 3", "line 1", "given twice"),
        ("closed 2 hold=maybe", "line 1", "hold must be true or false"),
        ("closed 2 + ", "line 1, column 12", "on both sides"),
        ("+ closed", "line 1", "on both sides"),
        ("", "", "nothing to do"),
        ("# only a comment", "", "nothing to do"),
        ("- clsoed: 2", "drive[0]", "did you mean `closed`?"),
        ("- closed: {dept: 1}", "drive[0]", "did you mean `depth`?"),
        ("- closed: true", "drive[0]", "got True"),
        ("- closed: [1]", "drive[0]", "got [1]"),
        ("- 7", "drive[0]", "must be a segment"),
        ("- blink, clsoed", "drive[0], line 1, column 8", "did you mean `closed`?"),
        ("drive: [blink]\nsed: 1", "sed", "did you mean `seed`?"),
        ("drive: [blink]\nseed: -1", "seed", "whole number from 0"),
        ("drive: blink", "", "must be a list"),
        ("- {", "line 1", "broken YAML"),
        ("- !!python/object:os.system x", "line 1", "broken YAML"),
        ("[" * 5000, "", "YAML"),
        ("attentive 80000, attentive 80000", "", "at most 86400 s"),
        ("blink," * 10_001, "", "at most"),
    ],
)
def test_a_wrong_script_is_told_in_one_line(script: str, place: str, cure: str) -> None:
    with pytest.raises(DriveError) as caught:
        Drive.parse(script)
    message = str(caught.value)
    assert place in message
    assert cure in message
    assert "\n" not in message
    assert len(message) < 400


def test_a_script_may_lie_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "night.txt"
    path.write_text("attentive 3, closed 2")
    assert Drive.load(path).duration_s == Drive.load("attentive 3, closed 2").duration_s == 5
    with pytest.raises(DriveError, match=r"none\.yaml: cannot be read"):
        Drive.load(str(tmp_path / "none.yaml"))
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DriveError, match="not UTF-8"):
        Drive.load(path)
    path.write_text("attentive 3, clsoed 2")
    with pytest.raises(DriveError, match=r"night\.txt.*did you mean"):
        Drive.load(path)


segments = st.builds(
    lambda word, seconds, hold: f"{word} {seconds}{' hold' if hold else ''}",
    st.sampled_from(sorted(WORDS)),
    st.floats(0.02, 30).map(lambda s: round(s, 2)),
    st.booleans(),
)
scripts = st.lists(segments, min_size=1, max_size=12).map(", ".join)


@given(scripts, st.floats(0, 1))
def test_any_drive_stays_within_its_limits(script: str, share: float) -> None:
    drive = Drive.parse(script)
    state = drive.pose_at(share * drive.duration_s)
    for name in ("closure", "jaw", "gaze_down", "away", "light", "glare", "noise", "second_face"):
        assert 0 <= getattr(state, name) <= 1
    assert abs(state.yaw_deg) <= 50
    assert -45 <= state.pitch_deg <= 30
    for interval in drive.truth():
        assert 0 <= interval["start_s"] < interval["end_s"] <= drive.duration_s + 1e-6


@given(scripts)
def test_a_face_moves_without_jumps(script: str) -> None:
    drive = Drive.parse(script)
    times = np.linspace(0, min(drive.duration_s, 20), 40)
    for t in times:
        here, next_ = drive.pose_at(t), drive.pose_at(t + 0.001)
        assert abs(here.pitch_deg - next_.pitch_deg) < 5
        assert abs(here.yaw_deg - next_.yaw_deg) < 8


# --- pictures --------------------------------------------------------------------------------


def test_a_frozen_camera_repeats_its_picture_exactly(portrait: Portrait) -> None:
    frames = list(animate(portrait, Drive.parse("attentive 1, frozen 1, attentive 1"), 10))
    pictures = [image for _, image in frames]
    assert [t for t, _ in frames] == pytest.approx([n / 10 for n in range(30)])
    assert all(np.array_equal(pictures[9], picture) for picture in pictures[10:20])
    assert not np.array_equal(pictures[20], pictures[19])
    assert not np.array_equal(pictures[8], pictures[9])


def test_a_film_and_its_truth_are_written(tmp_path: Path, portrait: Portrait) -> None:
    drive = Drive.parse("attentive 1, closed 0.5, attentive 0.5")
    film, truth = tmp_path / "drive.mp4", tmp_path / "drive.json"
    written = write_mp4(film, (image for _, image in animate(portrait, drive, 12.5)), 12.5)
    write_truth(truth, drive)
    assert written == frame_count(drive, 12.5) == 25
    content = film.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")  # browsers may start at once
    with av.open(str(film)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert stream.codec_context.name == "h264"
        assert float(stream.average_rate) == 12.5
        assert sum(1 for _ in container.decode(video=0)) == 25
    document = json.loads(truth.read_text())
    assert document["duration_s"] == 2.0
    closed = [i for i in document["intervals"] if i["kind"] == "closed"]
    assert closed == [{"kind": "closed", "start_s": 1.0, "end_s": 1.5, "ramp_s": 0.2, "depth": 1.0,
                       "squint": 0.0}]  # fmt: skip
    assert Drive.parse(document["script"], seed=document["seed"]).truth() == document["intervals"]


def test_a_film_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no picture"):
        write_mp4(tmp_path / "none.mp4", [])
    with pytest.raises(OSError, match="No such file"):
        write_mp4(tmp_path / "missing" / "x.mp4", [np.zeros((4, 4, 3), np.uint8)])


def test_a_contact_sheet_shows_every_segment(portrait: Portrait) -> None:
    sheet = contact_sheet(portrait, Drive.load(DEMO), columns=5, tile_px=80)
    segments = len(intervals(DEMO.read_text()))
    assert sheet.shape == (-(-segments // 5) * (60 + 22), 5 * 80, 3)
    assert sheet[:60, :80].std() > 20


def test_the_shipped_drive_climbs_the_whole_ladder() -> None:
    drive = Drive.load(DEMO)
    closures = sorted(
        end - start for kind, start, end in intervals(drive.script) if kind == "closed"
    )
    # A microsleep from 1 s, sleep from 3 s, unresponsive from 6 s of closed eyes (design.md).
    assert [1 <= c < 3 for c in closures].count(True) >= 1
    assert [3 <= c < 6 for c in closures].count(True) >= 1
    assert max(closures) >= 6
    assert {"yawn", "look_away", "absent", "talk", "nod", "blink"} <= {
        kind for kind, _, _ in intervals(drive.script)
    }
    assert drive.duration_s < 120
