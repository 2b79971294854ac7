"""Every page on good days and bad: drawn, empty, without its database, with hostile names."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dashboard.queries import reviews
from dashboard.queries.database import Database
from tests.support.dashboards import (
    HOSTILE,
    PAGES,
    event,
    opened,
    simulated,
    state,
    told,
    vehicle,
    words,
)

TITLES = {"live": "Live", "events": "Events", "fleet": "Fleet", "compare": "Models",
          "replay": "Replay", "health": "Health"}  # fmt: skip


@pytest.fixture(scope="session")
def fleet_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("pages")
    return simulated(f"sqlite:///{folder}/fleet.db", vehicles=3, days=4, end=time.time()).url


@pytest.mark.parametrize("page", PAGES)
def test_every_page_draws_on_a_fleet(
    page: str, fleet_url: str, pages_over: Callable[[str], str]
) -> None:
    pages_over(fleet_url)
    app = opened(page)
    assert not app.exception
    assert f"<h1>{TITLES[page]}</h1>" in words(app)
    assert "cannot be shown" not in words(app)
    assert "An aid, not a type-approved system" in words(app)


@pytest.mark.parametrize("page", ["live", "events", "fleet", "health"])
def test_an_empty_store_says_what_to_do_next(
    page: str, tmp_path: Path, pages_over: Callable[[str], str]
) -> None:
    told(pages_over(f"sqlite:///{tmp_path}/empty.db"))
    app = opened(page)
    assert not app.exception
    assert "wakeful " in words(app)


@pytest.mark.parametrize("page", ["live", "events", "fleet", "health"])
def test_an_unreachable_database_is_a_helpful_page(
    page: str, pages_over: Callable[[str], str]
) -> None:
    pages_over("postgresql://ana:hunter2@127.0.0.1:9/fleet")
    app = opened(page)
    assert not app.exception
    assert "This page cannot be shown now" in words(app)
    assert "hunter2" not in words(app)
    assert "Try again" in words(app)


def test_a_missing_file_offers_the_demo(tmp_path: Path, pages_over: Callable[[str], str]) -> None:
    pages_over(f"sqlite:///{tmp_path}/nothing.db")
    assert "wakeful dashboard --demo" in words(opened())
    assert not (tmp_path / "nothing.db").exists()


def test_html_in_names_and_notes_is_only_text(one_vehicle: str) -> None:
    now = time.time()
    told(
        one_vehicle,
        events=[event(9, started_at=now - 60, vehicle=HOSTILE, evidence={HOSTILE: HOSTILE})],
        vehicles=[vehicle(HOSTILE, state=state(emotion=HOSTILE), state_at=now, last_seen_at=now)],
    )
    store = Database(one_vehicle)
    reviews.add(store, ["e0009"], HOSTILE, "unsure", None, HOSTILE)
    store.close()
    for app in (opened(), opened("events", event="e0009"), opened("fleet")):
        assert not app.exception
        drawn = "".join(element.proto.body for element in app.get("html"))
        assert "<img" not in drawn


def test_the_fleet_page_of_the_first_minutes_has_no_rate_yet(
    tmp_path: Path, pages_over: Callable[[str], str]
) -> None:
    url, now = pages_over(f"sqlite:///{tmp_path}/log.db"), time.time()
    whose = {"vehicle": "truck-1", "drive": "drive-1", "camera": "driver"}
    told(
        url,
        coverage=[{**whose, "started_at": now - 60, "cause": "monitored", "seconds": 60.0}],
        events=[event(1, started_at=now - 30)],
    )
    app = opened("fleet")
    assert not app.exception
    assert "Compared, those surely above" in words(app)
