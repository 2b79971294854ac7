"""The dashboard in a real browser: a fleet in PostgreSQL.

`WAKEFUL_E2E_VEHICLES` and `WAKEFUL_E2E_DAYS` make the fleet larger: 200 and 90 is a million events.
`WAKEFUL_E2E_DATABASE` names a filled database to walk over in place of simulating one.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.browser import dashboard
from tests.support.dashboards import simulated

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]
VEHICLES = int(os.environ.get("WAKEFUL_E2E_VEHICLES", "20"))
DAYS = float(os.environ.get("WAKEFUL_E2E_DAYS", "14"))
PAGES = {"": "Live", "review": "Review", "events": "Events", "fleet": "Fleet", "places": "Places",
         "coaching": "Coaching", "models": "Models", "replay": "Replay", "health": "Health",
         "terms": "Terms"}  # fmt: skip
CHARTS = {"review": 1, "fleet": 4, "models": 1, "replay": 1, "health": 1}
PHONE = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def fleet(home: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """The dashboard over a simulated fleet in PostgreSQL."""
    url = os.environ.get("WAKEFUL_E2E_DATABASE")
    if url is None:
        url = request.getfixturevalue("postgres").database("fleet")
        simulated(url, vehicles=VEHICLES, days=DAYS, end=time.time())
    with dashboard(url, home) as base:
        yield base


@pytest.mark.parametrize("page", PAGES)
def test_every_page_of_a_fleet_is_drawn_and_fits_a_phone(
    fleet: str, open_reader: Any, page: str
) -> None:
    reader = open_reader(fleet).go(page)
    reader.sees(PAGES[page])
    reader.charts(CHARTS.get(page, 0))
    assert "cannot be shown" not in reader.text()
    assert reader.received < 2_000_000
    reader.page.set_viewport_size(PHONE)
    reader.page.wait_for_function(f"() => document.documentElement.scrollWidth <= {PHONE['width']}")


def test_the_filter_stands_in_the_address_and_a_link_repeats_it(
    fleet: str, open_reader: Any
) -> None:
    # Of one kind: of all alerts a large fleet's list says "more than 1,000" for day and week.
    reader = open_reader(fleet).go("events?kinds=distraction")
    week = reader.count()
    reader.page.get_by_text("24 hours", exact=True).click()
    reader.page.wait_for_url("**time=1*")
    day = reader.counts_other_than(week)
    other = open_reader(fleet)
    other.page.goto(reader.page.url)
    assert other.settled().count() == day
    narrowed = open_reader(fleet).go("events?kinds=distraction&level=3&time=all")
    assert narrowed.count() != day


def test_pages_turn_there_and_back(fleet: str, open_reader: Any) -> None:
    reader = open_reader(fleet).go("events")
    with reader.answered():
        reader.page.get_by_role("button", name="Next").click()
    reader.page.wait_for_url("**after=*")
    reader.page.get_by_role("button", name="Back").click()
    reader.page.wait_for_url("**before=*")


def test_back_and_forward_return_to_the_filter(fleet: str, open_reader: Any) -> None:
    reader = open_reader(fleet).go("events?kinds=distraction")
    week = reader.count()
    reader.page.get_by_text("24 hours", exact=True).click()
    reader.page.wait_for_url("**time=1*")
    day = reader.counts_other_than(week)
    reader.settled().page.go_back()
    assert reader.counts_other_than(day) == week
    reader.settled().page.go_forward()
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
