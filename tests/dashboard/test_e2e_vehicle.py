"""The dashboard in a real browser: one vehicle in its own SQLite."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.browser import dashboard
from tests.support.dashboards import event, sample, told

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]
CHARTS = {"review": 0, "places": 0, "coaching": 0, "terms": 0, "": 1, "events": 0, "fleet": 2,
          "models": 1, "replay": 1, "health": 0}  # fmt: skip


@pytest.fixture(scope="module")
def desk(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The dashboard over one vehicle's own SQLite, still being watched."""
    url = f"sqlite:///{tmp_path_factory.mktemp('desk')}/log.db"
    now = time.time()
    whose = {"vehicle": "truck-1", "drive": "drive-1", "camera": "driver"}
    # As the watch writes it: nothing came over a network, so that there is no row of `vehicles`.
    told(
        url,
        availability=[{"vehicle": "truck-1", "at": now - 10_800, "status": "online"}],
        coverage=[{**whose, "started_at": now - 10_800, "cause": "monitored", "seconds": 10_800.0}],
        events=[
            event(n, started_at=now - 300.0 * n, updated_at=now - 300.0 * n + 1.6,
                  ended_at=now - 300.0 * n + 1.6, received_at=None,
                  clip="e0001.mp4" if n == 1 else None)
            for n in range(1, 9)
        ],
        # The pages are read for some minutes, while the watch goes on.
        samples=[sample(now + 900.0 - 5.0 * n) for n in range(480)],
    )  # fmt: skip
    with dashboard(url, home) as base:
        yield base


@pytest.mark.parametrize("page", CHARTS)
def test_every_page_of_one_vehicle_is_drawn(desk: str, open_reader: Any, page: str) -> None:
    reader = open_reader(desk).go(page)
    assert "cannot be shown" not in reader.text()
    reader.charts(CHARTS[page])
    if page == "":
        reader.sees("Attentive")


def test_an_unknown_page_says_so(desk: str, open_reader: Any) -> None:
    reader = open_reader(desk)
    reader.page.goto(f"{desk}/nowhere")
    reader.page.get_by_text("There is no page /nowhere").wait_for()
    reader.faults.clear()  # the 404 itself


def test_the_title_names_the_page(desk: str, open_reader: Any) -> None:
    reader = open_reader(desk).go("events?event=e0002")
    assert reader.page.title() == "e0002 · Events · Wakeful"


def test_an_alert_is_opened_judged_and_remembered(desk: str, open_reader: Any) -> None:
    reader = open_reader(desk).go("events?event=e0002")
    reader.sees("The eyes stayed closed for 1.6 s")
    reader.charts(1)
    for words in ("False alarm", "glasses or reflections"):
        with reader.answered():
            reader.page.get_by_text(words, exact=True).click()
    reader.page.get_by_label("Note", exact=True).fill("sun <b>low</b>")
    with reader.answered():
        reader.page.get_by_label("Note", exact=True).press("Tab")
    reader.page.get_by_role("button", name="Save review").click()
    reader.sees("False alarm: glasses or reflections")
    again = open_reader(desk).go("events?event=e0002")
    again.sees("sun <b>low</b>")
    listed = open_reader(desk).go("events?review=false&cause=glasses")
    listed.sees("1 alert")


def test_a_click_in_the_list_opens_the_alert(desk: str, open_reader: Any) -> None:
    reader = open_reader(desk).go("events")
    reader.click_cell(150, 60)
    reader.page.wait_for_url("**event=e0001*")
    reader.sees("What was measured around it")


def test_a_clip_plays_in_the_browser(desk: str, open_reader: Any) -> None:
    reader = open_reader(desk).go("events?event=e0001")
    reader.page.wait_for_selector("video")
    reader.page.wait_for_function("() => document.querySelector('video').readyState == 4")


def test_an_export_holds_what_the_filters_show(desk: str, open_reader: Any, tmp_path: Path) -> None:
    reader = open_reader(desk).go("events")
    reader.page.get_by_role("button", name="Export").click()
    with reader.page.expect_download() as download:
        reader.page.get_by_text("CSV", exact=True).click()
    file = tmp_path / "events.csv"
    download.value.save_as(file)
    lines = file.read_text().strip().splitlines()
    assert len(lines) == 1 + 8
    assert lines[0].startswith("id,started_at_epoch_s,started_at,")


def test_a_dial_changes_the_alerts_and_the_policy_can_be_saved(
    desk: str, open_reader: Any, tmp_path: Path
) -> None:
    from monitor.policy import load_policy

    reader = open_reader(desk).go("replay")
    reader.sees("Both policies raise the same alerts")
    slider = reader.page.get_by_role("slider").nth(1)
    for _ in range(4):
        before = slider.input_value()
        with reader.answered():
            slider.press("ArrowRight")
        assert slider.input_value() != before
    reader.sees("1 → 0")
    with reader.page.expect_download() as download:
        reader.page.get_by_role("button", name="Save as a policy file").click()
    file = tmp_path / "mine.yaml"
    download.value.save_as(file)
    assert load_policy(str(file)).closure.microsleep_warn_s == pytest.approx(1.9)


def test_every_model_answers_to_a_picture_side_by_side(
    desk: str, open_reader: Any, tmp_path: Path
) -> None:
    from PIL import Image
    from skimage import data

    face = tmp_path / "face.jpg"
    Image.fromarray(data.astronaut()).save(face)
    reader = open_reader(desk).go("models")
    reader.page.locator("input[type=file]").set_input_files(face)
    reader.sees("the face they saw")
    for answer in ("awake_sleep_n: awake", "poster_v2_s: happiness", "cnn: happiness",
                   "eye_state: eyes open"):  # fmt: skip
        name, said = answer.split(": ")
        reader.page.locator("p", has_text=name).filter(has_text=said).first.wait_for()
    reader.sees("Not asked, because no weights of theirs ship: poster_v2, ")


def test_a_picture_nobody_can_use_is_told_in_words(
    desk: str, open_reader: Any, tmp_path: Path
) -> None:
    import numpy as np
    from PIL import Image

    (tmp_path / "text.jpg").write_text("this is no picture\n" * 99)
    Image.new("RGB", (300, 300)).save(tmp_path / "nobody.png")
    Image.new("1", (8_000, 8_000)).save(tmp_path / "huge.png")
    Image.fromarray(np.full((200, 200), 40_000, np.uint16)).save(tmp_path / "sixteen_bits.png")
    reader = open_reader(desk).go("models")
    for name, words in (
        ("text.jpg", "is not a picture that can be read"),
        ("nobody.png", "No face was found in this picture"),
        ("huge.png", "at most 40 million"),
        ("sixteen_bits.png", "No face was found in this picture"),
    ):
        with reader.answered():
            reader.page.locator("input[type=file]").set_input_files(tmp_path / name)
        reader.sees(words)


def test_a_webcam_shot_is_looked_at(desk: str, open_reader: Any) -> None:
    reader = open_reader(desk).go("models")
    with reader.answered():
        reader.page.get_by_text("The webcam", exact=True).click()
    reader.page.wait_for_function("() => document.querySelector('video')?.videoWidth > 0")
    reader.page.get_by_role("button", name="Take Photo").click()
    # Chromium's own test picture: a green disc.
    reader.sees("No face was found in this picture")
