"""What the dashboard asks the event log: the same answers from SQLite and PostgreSQL."""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select, text

from dashboard.queries import events, fleet, health, live, reviews
from dashboard.queries.database import Database, begin_view
from dashboard.queries.events import Filter
from dashboard.queries.fleet import TimeRange
from dashboard.queries.live import WatchStatus
from monitor.errors import StoreError
from monitor.store.schema import audit, coverage
from monitor.store.schema import events as event_table
from monitor.store.sums import day_of
from tests.support.dashboards import DAY_S, NOW, event, sample, simulated, state, told, vehicle
from tests.support.servers import Postgres

INJECTIONS = ["x' OR '1'='1", "'; DROP TABLE events; --", "%", "_", "truck-1\0", "é" * 300]


@pytest.fixture(scope="session")
def sqlite_fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    store = Database(simulated(f"sqlite:///{tmp_path_factory.mktemp('fleet')}/fleet.db").url)
    yield store
    store.close()


@pytest.fixture(scope="session")
def postgres_fleet(postgres: Postgres) -> Iterator[Database]:
    store = Database(simulated(postgres.database("dashboard")).url)
    yield store
    store.close()


@pytest.fixture
def opened() -> Iterator[Callable[[str], Database]]:
    """Opens event logs and closes them after the test."""
    stores: list[Database] = []

    def open_store(url: str) -> Database:
        stores.append(Database(url))
        return stores[-1]

    yield open_store
    for store in stores:
        store.close()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def filled(request: pytest.FixtureRequest) -> Database:
    found: Database = request.getfixturevalue(f"{request.param}_fleet")
    return found


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/log.db"
    else:
        yield request.getfixturevalue("postgres_url")


def everything(store: Database, wanted: Filter, sort: str) -> list[str]:
    """Ids of all pages, in order."""
    found: list[str] = []
    after = None
    while True:
        page = events.page(store, wanted, sort, after)
        found += [row.id for row in page.rows]
        after = page.after
        if after is None:
            return found


@pytest.mark.parametrize("sort", events.SORTS)
def test_pages_together_hold_every_alert_once_and_in_order(filled: Database, sort: str) -> None:
    wanted = Filter(min_level=2)
    found = everything(filled, wanted, sort)
    rows = filled.rows(
        select(event_table.c.id, *events.SORTS[sort][0]).where(event_table.c.level >= 2)
    )
    names = [column.name for column in events.SORTS[sort][0]]
    rows.sort(key=lambda row: [row[name] for name in names], reverse=events.SORTS[sort][1])
    assert found == [row["id"] for row in rows]
    assert events.count(filled, wanted) == len(found)


def test_a_filter_means_all_its_parts_at_once(filled: Database) -> None:
    since = NOW - 3 * DAY_S
    wanted = Filter(vehicles=("truck-001", "truck-002"), kinds=("distraction",), since=since)
    page = events.page(filled, wanted)
    assert page.rows
    assert {row.vehicle for row in page.rows} <= {"truck-001", "truck-002"}
    assert {row.kind for row in page.rows} == {"distraction"}
    assert all(row.started_at >= since for row in page.rows)


@pytest.mark.parametrize("hostile", INJECTIONS)
def test_hostile_text_is_only_text(filled: Database, hostile: str) -> None:
    clean = hostile.replace("\0", "")  # PostgreSQL refuses NUL in any text
    before = events.count(filled, Filter())
    assert events.page(filled, Filter(vehicles=(clean,))).rows == []
    assert events.page(filled, Filter(kinds=(clean,))).rows == []
    assert events.page(filled, Filter(verdict=clean, cause=clean)).rows == []
    assert events.page(filled, Filter(), sort=clean).rows == events.page(filled, Filter()).rows
    assert events.alert(filled, clean) is None
    assert live.now_of(filled, clean, NOW) is None
    assert events.count(filled, Filter()) == before


@pytest.mark.parametrize(
    "after", ["", "null", "[]", "[1]", '["x","y"]', "[true,1]", "{", '[1e999,"x"]', "[" * 5000]
)
def test_a_broken_place_begins_at_the_start(sqlite_fleet: Database, after: str) -> None:
    assert events.page(sqlite_fleet, Filter(), after=after) is not None


@given(after=st.text(max_size=60))
def test_no_place_in_a_link_breaks_a_page(sqlite_fleet: Database, after: str) -> None:
    assert events.page(sqlite_fleet, Filter(), after=after).rows is not None


def test_the_latest_review_is_the_verdict_and_the_earlier_ones_remain(
    url: str, opened: Callable[[str], Database]
) -> None:
    told(url, events=[event(1), event(2)], vehicles=[vehicle()])
    store = opened(url)
    reviews.add(store, ["e0001"], "ana", "true", None)
    reviews.add(store, ["e0001"], "ben", "false", "glasses", "reflection <b>of</b> the sun")
    assert [row.id for row in events.page(store, Filter(reviewed=False)).rows] == ["e0002"]
    assert [row.id for row in events.page(store, Filter(verdict="false")).rows] == ["e0001"]
    assert events.page(store, Filter(verdict="true")).rows == []
    assert events.page(store, Filter(verdict="false", cause="light")).rows == []
    (row,) = events.page(store, Filter(reviewed=True)).rows
    assert row.review is not None
    assert (row.review.verdict, row.review.cause, row.review.reviewer) == (
        "false",
        "glasses",
        "ben",
    )
    assert [one.reviewer for one in reviews.history(store, "e0001")] == ["ben", "ana"]


@pytest.mark.parametrize(
    ("given_event", "verdict", "cause"),
    [
        ("e0001", "perhaps", None),
        ("e0001", "false", None),
        ("e0001", "false", "magic"),
        ("e0001", "true", "glasses"),
        ("nobody", "true", None),
    ],
)
def test_a_review_that_means_nothing_is_refused(
    tmp_path: Path,
    given_event: str,
    verdict: str,
    cause: str | None,
    opened: Callable[[str], Database],
) -> None:
    url = f"sqlite:///{tmp_path}/log.db"
    told(url, events=[event(1)])
    with pytest.raises(ValueError, match=r"verdict|cause|no alert"):
        reviews.add(opened(url), [given_event], "ana", verdict, cause)
    assert reviews.history(opened(url), "e0001") == []


def test_an_export_has_provenance_and_verdict_and_leaves_a_trace(
    url: str, opened: Callable[[str], Database]
) -> None:
    told(url, events=[event(1), event(2, level=1)])
    store = opened(url)
    reviews.add(store, ["e0001"], "ana", "false", "talking")
    (row,) = events.export(store, Filter(min_level=2))
    assert row.verdict == "false"
    assert row.evidence == {"rule": "closure", "closed_s": 1.6}
    assert (row.policy, row.calibration, row.models) == ("p", "c", ["m"])
    reviews.note_export(store, "ana", "events", {"rows": 1})
    (noted,) = store.rows(select(audit))
    assert (noted["actor"], noted["action"]) == ("ana", "export")


def test_what_is_not_monitored_never_stands_as_watched(
    url: str, opened: Callable[[str], Database]
) -> None:
    degraded = state(degraded=["obscured"], eyes="unknown")
    told(
        url,
        vehicles=[
            vehicle("fine", state=state(), state_at=NOW - 1),
            vehicle("blind", state=degraded, state_at=NOW - 1),
            vehicle("silent", state=state(), state_at=NOW - 60, last_seen_at=NOW - 60),
            vehicle("parked", availability="stopped", state=state(), state_at=NOW - 1),
            vehicle("asleep", state=state(level="critical", kind="sleep"), state_at=NOW - 1),
            vehicle("new"),
        ],
    )
    fleet_now = live.now_of_all(opened(url), NOW)
    assert {one.vehicle: one.status for one in fleet_now} == {
        "asleep": WatchStatus.ALERT,
        "blind": WatchStatus.UNWATCHED,
        "silent": WatchStatus.SILENT,
        "new": WatchStatus.SILENT,
        "fine": WatchStatus.WATCHED,
        "parked": WatchStatus.PARKED,
    }
    assert fleet_now[0].vehicle == "asleep"
    assert next(one for one in fleet_now if one.vehicle == "silent").causes == ()


def test_a_warning_over_an_impaired_watch_is_still_a_warning(
    tmp_path: Path, opened: Callable[[str], Database]
) -> None:
    url = f"sqlite:///{tmp_path}/log.db"
    gone = state(level="critical", kind="unresponsive", degraded=["no_face"], eyes="unknown")
    told(url, vehicles=[vehicle(state=gone, state_at=NOW)])
    assert live.now_of_all(opened(url), NOW)[0].status is WatchStatus.ALERT


def test_without_a_state_message_the_last_sample_speaks(
    tmp_path: Path, opened: Callable[[str], Database]
) -> None:
    url = f"sqlite:///{tmp_path}/log.db"
    told(url, vehicles=[vehicle()], samples=[sample(NOW - 2, level=3, kind="drowsy")])
    one = live.now_of(opened(url), "truck-1", NOW)
    assert one is not None
    assert (one.status, one.kind) == (WatchStatus.ALERT, "drowsy")
    later = live.now_of(opened(url), "truck-1", NOW + 60)
    assert later is not None
    assert later.status is WatchStatus.SILENT


def test_a_vehicles_own_log_knows_its_vehicle_by_its_samples(
    url: str, opened: Callable[[str], Database]
) -> None:
    told(url, samples=[sample(NOW - 3), sample(NOW - 8), sample(NOW - 900, camera="second")])
    store = opened(url)
    assert live.names(store) == ["truck-1"]
    (one,) = live.now_of_all(store, NOW)
    assert (one.status, one.seen_at) == (WatchStatus.WATCHED, NOW - 3)
    later = live.now_of(store, "truck-1", NOW + 60)
    assert later is not None
    assert later.status is WatchStatus.SILENT


def summary(store: Database, span: TimeRange) -> dict[str, object]:
    """Everything the fleet page asks, in an order of its own."""
    return {
        "vehicles": Counter(
            {(r.vehicle, r.level): r.events for r in fleet.by_vehicle(store, span)}
        ),
        "days": Counter({(r.day, r.kind, r.level): r.events for r in fleet.by_day(store, span)}),
        "hours": Counter({r.hour: r.events for r in fleet.by_hour(store, span)}),
        "watched": {
            r.vehicle: (round(r.monitored_s, 3), round(r.driven_s, 3))
            for r in fleet.watched_by_vehicle(store, span)
        },
        "causes": {r.cause: round(r.seconds, 3) for r in fleet.watched_by_cause(store, span)},
        "watched hours": {
            r.hour: round(r.monitored_s, 3) for r in fleet.watched_by_hour(store, span)
        },
    }


def test_both_databases_count_alike(sqlite_fleet: Database, request: pytest.FixtureRequest) -> None:
    other: Database = request.getfixturevalue("postgres_fleet")
    span = TimeRange(day_of(NOW) - 3 * DAY_S, NOW)
    assert summary(sqlite_fleet, span) == summary(other, span)
    assert summary(sqlite_fleet, TimeRange(span.since + 1234.5, NOW)) == summary(other, span)


def test_sums_are_what_the_rows_of_each_vehicle_are(filled: Database) -> None:
    span = TimeRange(day_of(NOW) - 3 * DAY_S, NOW)
    alone = Counter[tuple[str, int]]()
    for name in live.names(filled):
        for row in fleet.by_day(filled, span, vehicle=name):
            alone[name, row.level] += row.events
    assert alone == {(r.vehicle, r.level): r.events for r in fleet.by_vehicle(filled, span)}


def test_what_was_told_late_counts_at_once(url: str, opened: Callable[[str], Database]) -> None:
    began = NOW - 40 * DAY_S
    told(url, vehicles=[vehicle("a"), vehicle("b")], events=[event(1, started_at=began)])
    store, span = opened(url), TimeRange(began - DAY_S, NOW)
    assert sum(row.events for row in fleet.by_day(store, span)) == 1
    told(url, events=[event(2, started_at=began + 60)])
    assert sum(row.events for row in fleet.by_day(store, span)) == 2


def test_monitored_time_never_exceeds_driven_time(filled: Database) -> None:
    span = TimeRange(NOW - 5 * DAY_S, NOW)
    rows = fleet.watched_by_vehicle(filled, span)
    assert rows
    assert all(0 <= row.monitored_s <= row.driven_s + 1e-6 for row in rows)
    causes = sum(row.seconds for row in fleet.watched_by_cause(filled, span))
    assert causes == pytest.approx(sum(row.driven_s for row in rows))


def test_one_vehicle_is_a_part_of_the_whole(filled: Database) -> None:
    span = TimeRange(day_of(NOW) - 2 * DAY_S, NOW)
    names = live.names(filled)
    alone = sum(row.events for name in names for row in fleet.by_hour(filled, span, vehicle=name))
    assert alone == sum(row.events for row in fleet.by_hour(filled, span))


def test_reachable_time_is_what_the_history_says(
    url: str, opened: Callable[[str], Database]
) -> None:
    spells = [("online", 1000.0), ("offline", 400.0), ("online", 300.0), ("stopped", 0.0)]
    at, rows = NOW - 2000, []
    for status, seconds in spells:
        rows.append({"vehicle": "truck-1", "at": at, "status": status})
        at += seconds
    told(url, availability=rows)
    (row,) = fleet.reachable(opened(url), TimeRange(NOW - 5000, NOW))
    assert (row.online_s, row.offline_s) == (1300.0, 400.0)


def test_health_tells_lag_refusals_backlog_and_size(
    url: str, opened: Callable[[str], Database]
) -> None:
    letters = [
        {"at": NOW - 60, "topic": "dms/v1/x/alert", "payload": b"\xff\x00junk", "reason": "JSON"}
    ]
    waiting = [{"message": "m1", "topic": "t", "payload": b"12345", "created_at": NOW - 9}]
    told(url, events=[event(1)], dead_letters=letters, outbox=waiting, vehicles=[vehicle()])
    store = opened(url)
    (lag,) = health.lags_s(store, NOW - DAY_S)
    assert lag.lag_s == pytest.approx(0.2)
    (refused,) = health.dead_by_reason(store, NOW - DAY_S)
    assert (refused.reason, refused.n) == ("JSON", 1)
    assert health.dead_newest(store)[0].payload.startswith(b"\xff")
    assert health.own_outbox(store) == health.Backlog(1, 5, NOW - 9)
    assert {row.name for row in health.storage(store)} >= {"events", "samples", "vehicles"}
    assert health.database_bytes(store) > 10_000


def test_a_view_counts_what_it_asked(sqlite_fleet: Database) -> None:
    spent = begin_view()
    page = events.page(sqlite_fleet, Filter())
    assert spent.statements == 2
    assert spent.rows >= len(page.rows)
    assert spent.seconds > 0


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ("nonsense", "not a SQLAlchemy URL"),
        ("mysql://u@h/d", "mysql is not supported"),
        ("sqlite:////nowhere/at/all.db", "--demo"),
    ],
)
def test_a_database_that_cannot_be_opened_says_what_to_do(
    bad: str, says: str, opened: Callable[[str], Database]
) -> None:
    with pytest.raises(StoreError, match=says):
        opened(bad)


def test_what_pages_read_through_writes_nothing(filled: Database) -> None:
    before = filled.rows(select(func.count()).select_from(event_table))
    with pytest.raises(StoreError, match=r"read-?only"):
        filled.rows(text("DELETE FROM events RETURNING id"))
    assert filled.rows(select(func.count()).select_from(event_table)) == before


def test_an_unreachable_server_is_one_line_without_the_password(
    opened: Callable[[str], Database],
) -> None:
    store = opened("postgresql://ana:hunter2@127.0.0.1:9/fleet")
    with pytest.raises(StoreError) as caught:
        store.rows(text("SELECT 1"))
    assert "\n" not in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_another_versions_database_asks_for_the_upgrade(
    tmp_path: Path, opened: Callable[[str], Database]
) -> None:
    (tmp_path / "old.db").touch()
    store = opened(f"sqlite:///{tmp_path}/old.db")
    with pytest.raises(StoreError, match="wakeful db upgrade"):
        store.rows(select(coverage))
