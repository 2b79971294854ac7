"""The dashboard in a real browser: a fleet in PostgreSQL, one vehicle in SQLite, and bad days.

`WAKEFUL_E2E_VEHICLES` and `WAKEFUL_E2E_DAYS` make the fleet larger: 200 and 90 is a million events.
`WAKEFUL_E2E_DATABASE` names a filled database to walk over in place of simulating one.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dashboard.queries import rollup
from dashboard.queries.database import Database
from tests.support.browser import dashboard
from tests.support.dashboards import event, sample, simulated, told
from tests.support.servers import Postgres

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]
VEHICLES = int(os.environ.get("WAKEFUL_E2E_VEHICLES", "20"))
DAYS = float(os.environ.get("WAKEFUL_E2E_DAYS", "14"))
PAGES = {"": "Live", "review": "Review", "events": "Events", "fleet": "Fleet", "places": "Places",
         "coaching": "Coaching", "models": "Models", "replay": "Replay", "health": "Health",
         "terms": "Terms"}  # fmt: skip
ON_ONE = {
    "review": 0,
    "places": 0,
    "coaching": 0,
    "terms": 0,
    "": 1,
    "events": 0,
    "fleet": 2,
    "models": 1,
    "replay": 1,
    "health": 0,
}
CHARTS = {
    "review": 1,
    "places": 0,
    "coaching": 0,
    "terms": 0,
    "": 0,
    "events": 0,
    "fleet": 4,
    "models": 1,
    "replay": 1,
    "health": 1,
}


@pytest.fixture(scope="module")
def fleet(home: Path) -> Iterator[str]:
    """The dashboard over a simulated fleet in PostgreSQL."""
    if filled := os.environ.get("WAKEFUL_E2E_DATABASE"):
        with dashboard(filled, home) as base:
            yield base
        return
    pytest.importorskip("pgserver")
    server = Postgres()
    url = server.database("fleet")
    simulated(url, vehicles=VEHICLES, days=DAYS, end=time.time())
    store = Database(url)
    rollup.refresh(store, time.time())
    store.close()
    with dashboard(url, home) as base:
        yield base
    server.close()


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


@pytest.mark.parametrize("page", PAGES)
def test_every_page_of_a_fleet_is_drawn(fleet: str, open_reader: Any, page: str) -> None:
    reader = open_reader(fleet).go(page)
    reader.sees(PAGES[page])
    reader.charts(CHARTS[page])
    assert "cannot be shown" not in reader.text()
    assert reader.received < 2_000_000


@pytest.mark.parametrize("page", PAGES)
def test_every_page_of_one_vehicle_is_drawn(desk: str, open_reader: Any, page: str) -> None:
    reader = open_reader(desk).go(page)
    assert "cannot be shown" not in reader.text()
    reader.charts(ON_ONE[page])
    if page == "":
        reader.sees("Attentive")


def test_the_filter_stands_in_the_address_and_a_link_repeats_it(
    fleet: str, open_reader: Any
) -> None:
    # Of a rare kind: of all alerts a large fleet's list says "more than 1,000" for day and week.
    reader = open_reader(fleet).go("events?kinds=sleep")
    week = reader.count()
    reader.page.get_by_text("24 hours", exact=True).click()
    reader.page.wait_for_url("**time=1*")
    day = reader.counts_other_than(week)
    other = open_reader(fleet)
    other.page.goto(reader.page.url)
    assert other.settled().count() == day
    narrowed = open_reader(fleet).go("events?kinds=sleep&level=4&time=all")
    assert narrowed.count() != day


def test_pages_turn_there_and_back(fleet: str, open_reader: Any) -> None:
    reader = open_reader(fleet).go("events")
    with reader.answered():
        reader.page.get_by_role("button", name="Next").click()
    reader.page.wait_for_url("**after=*")
    reader.page.get_by_role("button", name="Back").click()
    reader.page.wait_for_url("**before=*")


def test_back_and_forward_return_to_the_filter(fleet: str, open_reader: Any) -> None:
    reader = open_reader(fleet).go("events?kinds=sleep")
    week = reader.count()
    reader.page.get_by_text("24 hours", exact=True).click()
    reader.page.wait_for_url("**time=1*")
    day = reader.counts_other_than(week)
    reader.page.go_back()
    assert reader.counts_other_than(day) == week
    reader.page.go_forward()
    assert reader.counts_other_than(week) == day


def test_open_on_live_opens_the_vehicle_and_back_returns(fleet: str, open_reader: Any) -> None:
    reader = open_reader(fleet).go("")
    reader.page.locator("[class*=st-key-open-] button").first.click()
    reader.page.wait_for_url("**vehicle=truck-*")
    reader.sees("The driver now")
    reader.page.go_back()
    reader.sees("Which vehicle needs attention now")


def test_the_queue_is_judged_by_keys_and_a_verdict_undone(fleet: str, open_reader: Any) -> None:
    reader = open_reader(fleet).go("review?days=30")
    waiting = reader.page.locator("p:has-text('alerts wait')").first
    before = waiting.inner_text()
    for key, words in (("r", "Saved: real"), ("f", "1 glasses or reflections"),
                       ("1", "Saved: glasses or reflections"), ("u", "Undone")):  # fmt: skip
        with reader.answered():
            reader.page.keyboard.press(key)
        reader.sees(words)
    assert waiting.inner_text() != before


def test_a_key_held_down_and_let_go_is_one_request(fleet: str, open_reader: Any) -> None:
    reader = open_reader(fleet)
    requests: list[int] = []
    reader.page.on(
        "websocket", lambda socket: socket.on("framesent", lambda sent: requests.append(len(sent)))
    )
    reader.go("review?days=30")
    requests.clear()
    reader.page.keyboard.down("r")
    reader.page.keyboard.down("r")  # a second time without `up`: the keyboard repeats it
    reader.page.keyboard.up("r")
    reader.sees("Saved: real")
    assert len(requests) == 1


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


@pytest.mark.parametrize("junk", ["text", "sixteen bits", "nobody", "huge"])
def test_a_picture_nobody_can_use_is_told_in_words(
    desk: str, open_reader: Any, tmp_path: Path, junk: str
) -> None:
    import numpy as np
    from PIL import Image

    file = tmp_path / ("picture.jpg" if junk == "text" else "picture.png")
    if junk == "text":
        file.write_text("this is no picture\n" * 99)
    elif junk == "sixteen bits":
        Image.fromarray(np.full((200, 200), 40_000, np.uint16)).save(file)
    else:
        side = 8_000 if junk == "huge" else 300
        Image.new("1" if junk == "huge" else "RGB", (side, side)).save(file)
    says = {"text": "is not a picture that can be read", "huge": "at most 40 million"}
    reader = open_reader(desk).go("models")
    reader.page.locator("input[type=file]").set_input_files(file)
    reader.sees(says.get(junk, "No face was found in this picture"))


def test_a_webcam_shot_is_looked_at(desk: str, open_reader: Any) -> None:
    reader = open_reader(desk).go("models")
    with reader.answered():
        reader.page.get_by_text("The webcam", exact=True).click()
    reader.page.get_by_role("button", name="Take Photo").click()
    # Chromium's own test picture: a green disc.
    reader.sees("No face was found in this picture")


def test_from_the_fleet_to_one_vehicle_and_its_alerts(fleet: str, open_reader: Any) -> None:
    reader = open_reader(fleet).go("fleet")
    reader.click_cell(40, 60)
    reader.page.wait_for_url("**of=truck-*")
    reader.sees("the fleet's median is")
    reader.settled()
    reader.page.get_by_text("Its alerts").click()
    reader.page.wait_for_url("**/events?vehicles=truck-*")


@pytest.mark.parametrize(
    "link", ["events?event=%27%20OR%201%3D1--", "events?event=../../x", "fleet?of=%3Cb%3Ex",
             "?vehicle=%3Cimg%20src%3Dx%3E", "events?kinds=nonsense&sort=;drop&level=99"],
)  # fmt: skip
def test_a_hostile_link_is_a_helpful_page(fleet: str, open_reader: Any, link: str) -> None:
    reader = open_reader(fleet).go(link)
    assert "Traceback" not in reader.text()
    assert reader.page.locator("img[src=x]").count() == 0


@pytest.mark.parametrize("page", PAGES)
def test_nothing_sticks_out_of_a_phone(fleet: str, open_reader: Any, page: str) -> None:
    reader = open_reader(fleet)
    reader.page.set_viewport_size({"width": 390, "height": 844})
    reader.go(page)
    wide = reader.page.evaluate("() => document.documentElement.scrollWidth")
    assert wide <= 390
