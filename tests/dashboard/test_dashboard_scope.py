"""An account limited to a group sees no other group: each door of the dashboard is tried."""

import inspect
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from dashboard.queries import (
    clip_requests,
    coaching,
    comments,
    drivers,
    events,
    fleet,
    groups,
    health,
    live,
    places,
    precision,
    review_queue,
    reviews,
    weekly,
)
from dashboard.queries.database import Database
from dashboard.queries.events import Filter
from dashboard.queries.fleet import TimeRange
from dashboard.queries.live import VehicleNow, WatchStatus
from dashboard.queries.review_queue import QueueFilter
from dashboard.queries.scope import Scope
from monitor.fleet.notify.weekly import body
from monitor.types import Level
from tests.support.dashboards import NOW, event, sample, state, told, vehicle

SPAN = TimeRange(NOW - 7_200, NOW)
SEEN = NOW - 9_000, NOW
UTC = ZoneInfo("UTC")
WEEK = f"{datetime.fromtimestamp(NOW, UTC):%G-W%V}"
MINE, THEIRS = "truck-1", "truck-2"


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything twice: once of a vehicle of the group north, once of one of the group south."""
    file = tmp_path_factory.mktemp("scope") / "log.db"
    url = f"sqlite:///{file}"
    heard = {"state": state(), "state_at": NOW, "last_seen_at": NOW}
    at = {"latitude": 52.5, "longitude": 13.4}
    told(
        url,
        vehicles=[vehicle(MINE, **heard), vehicle(THEIRS, **heard)],
        vehicle_groups=[
            {"vehicle": MINE, "group_name": "north"},
            {"vehicle": THEIRS, "group_name": "south"},
        ],
        events=[event(n, vehicle=name, driver=f"shift of {name}", **at) for n, name in _numbered()],
        dead_letters=[
            {
                "at": NOW,
                "topic": f"dms/v1/{name}/alert",
                "payload": b"{}",
                "reason": f"payload of vehicle {name} on the topic of another",
            }
            for name in (MINE, THEIRS)
        ],
        samples=[sample(NOW - 5, vehicle=name, **at) for name in (MINE, THEIRS)],
        availability=[
            {"vehicle": name, "at": NOW - 3_600, "status": "online"} for name in (MINE, THEIRS)
        ],
        coverage=[
            {
                "vehicle": name,
                "drive": "drive-1",
                "camera": "driver",
                "started_at": NOW - 3_600,
                "cause": "monitored",
                "seconds": 3_600.0,
                "driver": f"shift of {name}",
            }
            for name in (MINE, THEIRS)
        ],
    )
    database = Database(url)
    reviews.add(database, ["e0001", "e0004"], "ana", "true")
    comments.add(database, ["e0004"], "ana", "look at this")
    coaching.step(database, "e0004", "ana", "open")
    clip_requests.ask(database, "e0004", "ana")
    database.close()
    return file


@pytest.fixture
def both(filled: Path, tmp_path: Path) -> Iterator[Database]:
    """A copy of it, which a test may write into."""
    database = Database(f"sqlite:///{shutil.copy(filled, tmp_path)}")
    yield database
    database.close()


def _numbered() -> list[tuple[int, str]]:
    return [(n, MINE) for n in (1, 2, 3)] + [(n, THEIRS) for n in (4, 5, 6)]


def _causes_of_a_false_one_of_theirs(limited: Database) -> list[Any]:
    reviews.add(limited.scoped(Scope()), ["e0005"], "ana", "false", "glasses")
    return precision.cause_trends(limited, *SEEN)


def _hours_beyond(seconds: float) -> int:
    return int(seconds / 3_600) - 1


def _alerting(vehicle: str) -> VehicleNow:
    level = Level.CRITICAL
    return VehicleNow(
        vehicle, WatchStatus.ALERT, level, "microsleep", NOW, "online", None, (), None
    )


# What each door answers, as text: no word of it may be of the other group.
DOORS: dict[str, Callable[[Database], Any]] = {
    "list": lambda d: events.page(d, Filter()).rows,
    "count": lambda d: ["truck-2"] * (events.count(d, Filter()) - 3),
    "alert": lambda d: events.alert(d, "e0004"),
    "samples": lambda d: events.samples_between(d, THEIRS, NOW - 60, NOW),
    "neighbours": lambda d: events.of_vehicle(d, THEIRS, NOW - 9_000, NOW),
    "export": lambda d: events.export(d, Filter()),
    "live": lambda d: live.now_of_all(d, NOW),
    "live vehicle": lambda d: live.now_of(d, THEIRS, NOW),
    "names": live.names,
    "ranking": lambda d: fleet.by_vehicle(d, SPAN),
    "coverage": lambda d: fleet.watched_by_vehicle(d, SPAN),
    "reachable": lambda d: fleet.reachable(d, SPAN),
    "drivers": lambda d: drivers.by_driver(d, SPAN),
    "drivers' hours": lambda d: drivers.watched_by_driver(d, SPAN),
    "alerts of their driver": lambda d: events.page(d, Filter(driver="shift of truck-2")).rows,
    "weekly report": lambda d: body(weekly.report(d, WEEK, "UTC"), "UTC", ["north"]),
    "weekly counts": lambda d: ["truck-2"] * (weekly.report(d, WEEK, "UTC").vehicles - 1),
    "repeating places": lambda d: ["truck-2"] * (places.repeating(d, *SEEN)[0].alerts - 3),
    "days": lambda d: ["truck-2"] * (sum(r.events for r in fleet.by_day(d, SPAN)) - 3),
    "hours": lambda d: ["truck-2"] * (sum(r.events for r in fleet.by_hour(d, SPAN)) - 3),
    "processes": health.processes,
    "lags": lambda d: ["truck-2"] * (len(health.lags_s(d, NOW - 9_000)) - 3),
    "reviews": lambda d: reviews.history(d, "e0004"),
    "queue": lambda d: review_queue.items(d, QueueFilter()),
    "precision": lambda d: precision.precision(d, "vehicle", NOW - 9_000, NOW),
    "comments": lambda d: comments.of_alert(d, "e0004"),
    "coaching": coaching.items,
    "coaching history": lambda d: coaching.history(d, "e0004"),
    "clip request": lambda d: clip_requests.latest(d, "e0004"),
    "causes of not being monitored": lambda d: (
        ["truck-2"] * _hours_beyond(fleet.watched_by_cause(d, SPAN)[0].seconds)
    ),
    "hours monitored": lambda d: (
        ["truck-2"] * _hours_beyond(sum(row.driven_s for row in fleet.watched_by_hour(d, SPAN)))
    ),
    "open alerts": lambda d: live.open_since(d, [_alerting(THEIRS)], NOW),
    "latest verdicts": lambda d: reviews.latest(d, ["e0004"]),
    "causes of false alarms": lambda d: ["truck-2"] * len(_causes_of_a_false_one_of_theirs(d)),
    "alerts of a place": lambda d: places.near(d, places.repeating(d, *SEEN)[0], *SEEN),
    "positions": lambda d: places.positions(d, NOW - 9_000, NOW),
    "track": lambda d: places.track(d, THEIRS, "drive-1", NOW - 60, NOW),
    "refused": lambda d: health.dead_by_reason(d, NOW - 9_000),
    "refused messages": health.dead_newest,
    "audit": health.last_audited,
    "groups": groups.names,
    "groups of vehicles": groups.of_vehicles,
}


@pytest.mark.parametrize("door", DOORS)
def test_no_door_shows_another_group(both: Database, door: str) -> None:
    limited = both.scoped(Scope(frozenset({"north"})))
    shown = str(DOORS[door](limited))
    assert THEIRS not in shown
    assert "south" not in shown
    assert "e0004" not in shown


def test_every_question_that_is_asked_of_the_log_is_a_door_that_is_tried() -> None:
    tried = inspect.getsource(sys.modules[__name__])
    for module in (clip_requests, coaching, comments, drivers, events, fleet, groups, health, live,
                   places, precision, review_queue, reviews, weekly):  # fmt: skip
        for name, function in inspect.getmembers(module, inspect.isfunction):
            own = function.__module__ == module.__name__ and not name.startswith("_")
            asks = "database" in inspect.signature(function).parameters
            known = f"{module.__name__}.{name}" in UNLIMITED
            if own and asks and not known:
                short = module.__name__.rpartition(".")[2]
                assert f"{short}.{name}" in tried, f"{short}.{name}"


# These tell of the store as a whole (numbers of rows and bytes, no vehicle's), whether there is
# any alert, or are what the writing doors below go through.
UNLIMITED = {
    "dashboard.queries.health.storage",
    "dashboard.queries.health.own_outbox",
    "dashboard.queries.health.database_bytes",
    "dashboard.queries.events.any_at_all",
    "dashboard.queries.reviews.check_visible",
    "dashboard.queries.reviews.note_export",
}


@pytest.mark.parametrize(
    "write",
    [
        lambda d: reviews.add(d, ["e0004"], "ben", "true"),
        lambda d: comments.add(d, ["e0004"], "ben", "hello"),
        lambda d: coaching.step(d, "e0004", "ben", "talked"),
        lambda d: clip_requests.ask(d, "e0004", "ben"),
    ],
)
def test_nobody_writes_about_another_group(
    both: Database, write: Callable[[Database], None]
) -> None:
    with pytest.raises(ValueError, match="no alert"):
        write(both.scoped(Scope(frozenset({"north"}))))


def test_whoever_may_see_all_sees_both(both: Database) -> None:
    assert live.names(both) == [MINE, THEIRS]
    assert groups.names(both) == ["north", "south"]
    assert len(places.repeating(both, NOW - 9_000, NOW)) == 1


def test_a_group_that_is_not_ones_own_is_empty() -> None:
    assert Scope(frozenset({"north"})).narrowed("south").groups == frozenset()
    assert Scope().narrowed("south").groups == frozenset({"south"})


def test_similar_alerts_of_one_drive_are_one_item_until_they_are_judged(both: Database) -> None:
    wanted = QueueFilter()
    items = review_queue.items(both, wanted)
    assert {(item.vehicle, item.alerts) for item in items} == {(MINE, 2), (THEIRS, 2)}
    mine = next(item for item in items if item.vehicle == MINE)
    rows = [row.id for row in review_queue.alerts_of(both, mine, wanted)]
    reviews.add(both, rows, "ana", "false", "glasses")
    assert review_queue.waiting(both, wanted) == 2
    reviews.add(both, rows, "ana", reviews.WITHDRAWN)
    assert review_queue.waiting(both, wanted) == 4, "undone"


def test_precision_has_an_interval_and_counts_the_latest_verdict_only(both: Database) -> None:
    reviews.add(both, ["e0001"], "ben", "false", "light")
    (kind,) = precision.precision(both, "kind", NOW - 9_000, NOW)
    assert (kind.right, kind.wrong) == (1, 1)
    estimate = kind.estimate
    assert estimate.n == 2
    assert estimate.value == pytest.approx(0.5)
    assert 0.0 < estimate.low < 0.5 < estimate.high < 1.0


def test_an_assignment_shows_in_the_queue_of_that_person_only(both: Database) -> None:
    comments.add(both, ["e0002"], "ana", assignee="ben")
    assert review_queue.waiting(both, QueueFilter(assignee="ben")) == 1
    comments.add(both, ["e0002"], "ben", assignee=comments.NOBODY)
    assert review_queue.waiting(both, QueueFilter(assignee="ben")) == 0


def test_coaching_goes_its_way_and_keeps_its_history(both: Database) -> None:
    coaching.step(both, "e0004", "ana", "talked", "sleeps too little")
    coaching.step(both, "e0004", "ana", "closed")
    assert [step.status for step in coaching.history(both, "e0004")] == ["open", "talked", "closed"]
    with pytest.raises(ValueError, match="cannot become"):
        coaching.step(both, "e0004", "ana", "talked")
    assert time.time() - coaching.items(both, "closed")[0].at < 60
