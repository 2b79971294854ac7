"""A clock that is set during the drive: a box without a clock battery, or one that says 2099."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import structlog
from sqlalchemy import insert

from monitor.clock import LEAP_S, SET_AT, Calendar, fault_of
from monitor.engine import Engine
from monitor.fleet.admin.operation import retire
from monitor.fleet.config import RetentionConfig
from monitor.protocol.messages import Message
from monitor.protocol.schemas import Alert, AlertData
from monitor.sinks.clips import ClipsSink
from monitor.sinks.store import StoreSink
from monitor.store import Store, open_store, schema
from monitor.store.database import open_engine, upgrade
from monitor.store.event_log import newest_at
from monitor.store.maintenance import DAY_S, Retention
from monitor.types import DriverState, Event, Frame, Kind, Phase
from tests.support.drivers import (
    POLICY,
    WALL_S,
    Story,
    attentive,
    drive,
    eyes_closed,
)
from tests.support.events import rows, sample, settings, step
from tests.support.fleet_stories import (
    NOON,
    Desk,
    Vehicle,
    an_event,
    arrived,
    desk,
    on_both,
    sqlite_url,
)
from tests.support.servers import until

# What a box shows that does not know the time, and what one shows whose battery is bad.
NINETEEN_SEVENTY = 40.0
TWENTY_NINETY_NINE = 4_086_000_000.0
FPS = 10
CLOSED_S = POLICY.closure.sleep_s + 0.5
SLEEP = drive(eyes_closed(CLOSED_S))
WRONG = pytest.mark.parametrize("wrong_s", [NINETEEN_SEVENTY, WALL_S - 50_000, TWENTY_NINETY_NINE])


def watched(
    story: Story, wall: Callable[[float], float]
) -> Iterator[tuple[DriverState, list[Event]]]:
    """The engine's word on each frame, the drive's end included."""
    engine = Engine(POLICY, drive="d")
    state = None
    for observation, speed_kmh, commands in story.at(FPS, wall=wall):
        state, events = engine.update(observation, speed_kmh, commands)
        yield state, events
    assert state is not None
    yield state, engine.finish()


def set_right(wrong_s: float, after_s: float) -> Callable[[float], float]:
    """A wall clock that is wrong until `after_s`, and right from then on."""
    return lambda t: (WALL_S if t >= after_s else wrong_s) + t


# --- the engine ---


@WRONG
def test_what_begins_after_the_clock_was_set_bears_the_right_time(wrong_s: float) -> None:
    """A sleep before and a sleep after: each in its own time, both as long as they were."""
    told = [
        e for _, events in watched(SLEEP * 2, set_right(wrong_s, SLEEP.seconds)) for e in events
    ]
    sleeps = [e for e in told if e.kind is Kind.SLEEP and e.phase is Phase.END]
    assert len(sleeps) == 2
    assert sleeps[0].started_at == pytest.approx(wrong_s + sleeps[0].started_s - 100, abs=0.01)
    assert sleeps[1].started_at == pytest.approx(WALL_S + sleeps[1].started_s - 100, abs=0.01)
    for sleep in sleeps:
        assert sleep.at - sleep.started_at == pytest.approx(sleep.duration_s, abs=2e-3)
        assert CLOSED_S - 0.2 < sleep.duration_s < CLOSED_S + 5


@WRONG
def test_an_alert_that_is_open_keeps_its_id_and_its_duration(wrong_s: float) -> None:
    began_s = SLEEP.parts[0].seconds
    steady = [e for _, events in watched(SLEEP, lambda t: wrong_s + t) for e in events]
    opened_s = next(e.at_s for e in steady if e.kind in (Kind.MICROSLEEP, Kind.SLEEP)) - 100
    assert opened_s > began_s
    told = [e for _, events in watched(SLEEP, set_right(wrong_s, opened_s + 0.5)) for e in events]
    assert told == steady


@WRONG
def test_the_state_follows_the_clock_and_the_capture_time_goes_on(wrong_s: float) -> None:
    states = [state for state, _ in watched(attentive(6), set_right(wrong_s, 3.0))][:-1]
    assert states[20].captured_at == pytest.approx(wrong_s + 2.0)
    assert states[40].captured_at == pytest.approx(WALL_S + 4.0)
    steps = {round(b.timestamp_s - a.timestamp_s, 3) for a, b in pairwise(states)}
    assert steps == {1 / FPS}


def test_a_clock_that_drifts_is_not_followed() -> None:
    """The daemon that sets a clock slews it by half a millisecond a second: no step."""
    told = [e for _, events in watched(SLEEP, lambda t: WALL_S + 1.0005 * t) for e in events]
    steady = [e for _, events in watched(SLEEP, lambda t: WALL_S + t) for e in events]
    assert [e.id for e in told] == [e.id for e in steady]


# --- the log ---


def logged(store: Store, story: Story, wall: Callable[[float], float]) -> None:
    """The story as the watch leaves it in the log."""
    whose = {"vehicle": "car-7", "drive": "drive-1", "camera": "driver"}
    sink = StoreSink(store, **whose, sample_every_s=1.0, coverage_every_s=5.0)
    frames: Any = story.at(FPS, wall=wall)
    for (observation, _, _), (state, events) in zip(frames, watched(story, wall), strict=False):
        for event in events:
            sink.on_event(event)
        frame = Frame(None, observation.timestamp_s, observation.captured_at, observation.index)
        sink.on_step(step(frame, state, observation))
    sink.close()


@WRONG
def test_the_log_keeps_order_and_lengths_over_the_step(wrong_s: float, tmp_path: Path) -> None:
    config = settings(tmp_path, store={"samples_keep_days": 3650, "events_keep_days": 3650})
    with closing(open_store(config)) as store:
        logged(store, SLEEP * 2, set_right(wrong_s, SLEEP.seconds))
        assert store.flush()
        assert store.outbox is not None
        waiting = store.outbox.next(99)
    told_s = [e.at_s for _, events in watched(SLEEP * 2, lambda t: t) for e in events]
    assert told_s == sorted(told_s)
    alerts = [p for p in waiting if p.message.topic.endswith("alert")]
    assert [p.sequence for p in waiting] == sorted(p.sequence for p in waiting)
    assert len(alerts) >= len(told_s) - 1
    reports = rows(config, schema.coverage)
    # Reports of five seconds each, on both sides of the step.
    assert sum(row["seconds"] for row in reports) == pytest.approx(2 * SLEEP.seconds, abs=0.5)
    right = [row for row in reports if abs(row["started_at"] - WALL_S) < 1000]
    assert sum(row["seconds"] for row in right) > SLEEP.seconds - 6
    sampled = [row["at"] for row in rows(config, schema.samples)]
    assert sum(abs(at - WALL_S) < 1000 for at in sampled) > SLEEP.seconds / 2


def logged_parts(store: Store, wrong_s: float) -> tuple[list[Message], list[Message]]:
    """What is told of a sleep before and one after the clock is set right: until then, and all."""
    wall = set_right(wrong_s, SLEEP.seconds)
    frames = (SLEEP * 2).at(FPS, wall=wall)
    sink = StoreSink(
        store, vehicle="car-7", drive="d", camera="driver", sample_every_s=5.0,
        coverage_every_s=600.0,
    )  # fmt: skip
    before: list[Message] | None = None
    assert store.outbox is not None
    for (observation, _, _), (state, events) in zip(frames, watched(SLEEP * 2, wall), strict=False):
        if before is None and observation.timestamp_s - 100 >= SLEEP.seconds:
            assert store.flush()
            before = [pending.message for pending in store.outbox.next(99)]
        for event in events:
            sink.on_event(event)
        frame = Frame(None, observation.timestamp_s, observation.captured_at, observation.index)
        sink.on_step(step(frame, state, observation))
    assert store.flush()
    told = [p.message for p in store.outbox.next(99)]
    sink.close()
    return before or [], told


def alerts_in(messages: list[Message]) -> list[AlertData]:
    alerts = [m for m in messages if m.topic.endswith("/alert")]
    return [Alert.model_validate_json(message.payload).data for message in alerts]


@WRONG
def test_what_began_before_the_clock_was_right_is_dated_anew(
    wrong_s: float, tmp_path: Path
) -> None:
    """In the log and in what is still to be told, each by its own monotonic start."""
    config = settings(tmp_path, store={"samples_keep_days": 3650, "events_keep_days": 3650})
    with closing(open_store(config)) as store:
        before, told = logged_parts(store, wrong_s)
    assert alerts_in(before)
    assert all(abs(alert.started_at - wrong_s) < 1000 for alert in alerts_in(before))
    logged_events = rows(config, schema.events)
    assert len({row["id"] for row in logged_events}) == len(logged_events)
    assert {alert.id for alert in alerts_in(before)} < {row["id"] for row in logged_events}
    starts = {alert.id: alert.started_s - 100 for alert in alerts_in(told)}
    for row in logged_events:
        assert row["started_at"] == pytest.approx(WALL_S + starts[row["id"]], abs=0.01)
    for alert in alerts_in(told):
        assert alert.started_at == pytest.approx(WALL_S + alert.started_s - 100, abs=0.01)
        assert alert.at == pytest.approx(WALL_S + alert.at_s - 100, abs=0.01)
        first = alert.id in {known.id for known in alerts_in(before)}
        assert (alert.redated_from is not None) == first


@WRONG
def test_an_open_alert_that_is_dated_anew_goes_on_under_its_id(
    wrong_s: float, tmp_path: Path
) -> None:
    opened_s = next(
        e.at_s for _, events in watched(SLEEP, lambda t: wrong_s + t) for e in events
        if e.kind in (Kind.MICROSLEEP, Kind.SLEEP)
    ) - 100  # fmt: skip
    config = settings(tmp_path, store={"events_keep_days": 36500})
    with closing(open_store(config)) as store:
        logged(store, SLEEP, set_right(wrong_s, opened_s + 0.5))
        assert store.flush()
    slept = [row for row in rows(config, schema.events) if row["kind"] == Kind.SLEEP.value]
    assert len(slept) == 1
    assert slept[0]["phase"] == Phase.END.value
    assert abs(slept[0]["started_at"] - WALL_S) < SLEEP.seconds
    assert CLOSED_S - 0.2 < slept[0]["duration_s"] < CLOSED_S + 5


@on_both
@pytest.mark.parametrize("again", [False, True], ids=["in order", "sent again late"])
def test_the_fleet_moves_what_it_was_told_under_another_date(
    office: Desk, again: bool, tmp_path: Path
) -> None:
    config = settings(tmp_path)
    with closing(open_store(config)) as store:
        before, told = logged_parts(store, NINETEEN_SEVENTY)
    office.take(*before)
    assert {row["started_at"] < 1000 for row in office.rows("events")} == {True}
    office.take(*told, *(told if again else ()))
    starts = {alert.id: alert.started_at for alert in alerts_in(told)}
    assert {row["id"]: row["started_at"] for row in office.rows("events")} == starts
    assert len(office.rows("events")) == len(starts)
    assert office.rows("dead_letters") == []


def test_the_fleet_takes_both_dates_in_one_batch(tmp_path: Path) -> None:
    with closing(open_store(settings(tmp_path))) as store:
        before, told = logged_parts(store, NINETEEN_SEVENTY)
    with desk(sqlite_url(tmp_path)) as office:
        office.take(*before, *told)
        assert all(row["started_at"] > SET_AT for row in office.rows("events"))
        assert len(office.rows("events")) == len({alert.id for alert in alerts_in(told)})


def test_a_vehicle_moves_no_event_of_another(tmp_path: Path) -> None:
    with desk(sqlite_url(tmp_path)) as office:
        theirs = an_event()
        office.take(Vehicle("car-1").tell(theirs))
        lie = replace(theirs, started_at=NOON + 60, at=NOON + 61, redated_from=NOON)
        office.take(Vehicle("car-2").tell(lie))
        held = {(row["vehicle"], row["started_at"]) for row in office.rows("events")}
        assert ("car-1", NOON) in held


def test_a_clock_that_goes_wrong_dates_nothing_anew(tmp_path: Path) -> None:
    config = settings(tmp_path)
    with closing(open_store(config)) as store:
        logged(
            store, SLEEP * 2, lambda t: t + (TWENTY_NINETY_NINE if t > SLEEP.seconds else WALL_S)
        )
        assert store.flush()
    dates = {row["started_at"] > TWENTY_NINETY_NINE for row in rows(config, schema.events)}
    assert dates == {False, True}


# --- what is forgotten ---


def the_day(now_at: float, newest_at: float | None = None) -> Calendar:
    return Calendar(newest_at, wall=lambda: now_at)


def test_a_clock_is_believed_unless_it_was_not_set_or_leapt() -> None:
    assert the_day(WALL_S).now_at() == WALL_S
    assert the_day(WALL_S, WALL_S - 90 * DAY_S).now_at() == WALL_S
    assert the_day(WALL_S, newest_at=NINETEEN_SEVENTY).now_at() == WALL_S
    assert the_day(NINETEEN_SEVENTY).now_at() is None
    assert the_day(TWENTY_NINETY_NINE, newest_at=WALL_S).now_at() is None
    assert the_day(WALL_S + LEAP_S - DAY_S, newest_at=WALL_S).now_at() is not None


def test_a_drive_of_1970_is_not_half_a_century_old(tmp_path: Path) -> None:
    """Nor are its undelivered alerts; it goes when what was written after it is old."""
    config = settings(tmp_path, store={"samples_keep_days": 2, "events_keep_days": 5})
    with closing(open_store(config)) as store:
        logged(store, SLEEP, lambda t: NINETEEN_SEVENTY + t)
        assert store.flush()
        waiting = store.outbox.waiting if store.outbox else 0
    before = len(rows(config, schema.samples)), len(rows(config, schema.events))
    assert min(before) > 0
    engine = open_engine(config.store.url)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE outbox SET created_at = 41.0")
    with closing(open_store(config)) as store:  # a new process keeps house at once
        store.add(sample(WALL_S))
        assert store.flush()
        Retention(config.store, store.outbox, the_day(WALL_S + DAY_S)).apply(engine)
        assert store.outbox is not None
        assert store.outbox.waiting >= waiting > 0
        assert store.outbox.lost == 0
    assert len(rows(config, schema.samples)) == before[0] + 1
    assert len(rows(config, schema.events)) == before[1]
    with engine.begin() as connection:
        connection.execute(insert(schema.samples), [dict(sample(WALL_S + 3 * DAY_S).values)])
    Retention(config.store, None, the_day(WALL_S + 4 * DAY_S)).apply(engine)
    assert [row["at"] for row in rows(config, schema.samples)] == [WALL_S + 3 * DAY_S]
    engine.dispose()


def test_a_lost_count_goes_on_beyond_any_other_even_in_1970(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database is away and its count with it: the fleet must not take the new for older."""
    monkeypatch.setenv("WAKEFUL_HOME", str(tmp_path))
    monkeypatch.setattr(time, "time", lambda: NINETEEN_SEVENTY)
    away = settings(tmp_path, store={"url": "postgresql+psycopg://w@127.0.0.1:1/w"})
    with closing(open_store(away)) as store:
        store.record(an_event())
        assert store.outbox is not None
        until(lambda: store.outbox and store.outbox.waiting, what="in memory")
        assert store.outbox.next(1)[0].sequence > 1_000_000_000


def test_a_clock_that_says_2099_is_not_believed_at_the_second_start_either(tmp_path: Path) -> None:
    config = settings(tmp_path)
    upgrade(config.store.url)
    engine = open_engine(config.store.url)
    with engine.begin() as connection:
        times = [WALL_S, TWENTY_NINETY_NINE]  # of the first start's rows
        connection.execute(insert(schema.samples), [dict(sample(at).values) for at in times])
    with engine.connect() as connection:
        assert newest_at(connection) == WALL_S
        assert the_day(TWENTY_NINETY_NINE + DAY_S, newest_at(connection)).now_at() is None
    # Nor in a new log, where nothing contradicts it.
    assert the_day(TWENTY_NINETY_NINE).now_at() is None
    engine.dispose()


def test_a_clock_set_to_a_far_future_is_named() -> None:
    assert "2099-06-24" in (fault_of(TWENTY_NINETY_NINE) or "")
    assert "1970-01-01" in (fault_of(NINETEEN_SEVENTY) or "")
    assert fault_of(WALL_S) is None


@pytest.mark.postgres
def test_postgres_forgets_what_an_unset_clock_dated_when_what_followed_is_old(
    postgres_url: str, tmp_path: Path
) -> None:
    """1970 before and after, and 2099: each goes with the rows that were written after it."""
    config = settings(tmp_path, store={"samples_keep_days": 2, "url": postgres_url})
    upgrade(postgres_url)
    engine = open_engine(postgres_url)
    for at in (NINETEEN_SEVENTY, TWENTY_NINETY_NINE, WALL_S, NINETEEN_SEVENTY + 5):
        with engine.begin() as connection:
            connection.execute(insert(schema.samples), [dict(sample(at).values)])
    Retention(config.store, None, the_day(WALL_S + DAY_S)).apply(engine)
    assert len(rows(config, schema.samples)) == 4
    Retention(config.store, None, the_day(WALL_S + 3 * DAY_S)).apply(engine)
    assert [row["at"] for row in rows(config, schema.samples)] == [NINETEEN_SEVENTY + 5]
    engine.dispose()


def test_a_clock_that_says_2099_forgets_nothing(tmp_path: Path) -> None:
    config = settings(tmp_path, store={"samples_keep_days": 2, "events_keep_days": 5})
    upgrade(config.store.url)
    engine = open_engine(config.store.url)
    with engine.begin() as connection:
        connection.execute(
            insert(schema.samples), [dict(sample(WALL_S + n).values) for n in range(9)]
        )
    with structlog.testing.capture_logs() as lines:
        Retention(config.store, None, the_day(TWENTY_NINETY_NINE, WALL_S)).apply(engine)
    assert len(rows(config, schema.samples)) == 9
    assert [line["clock"][:4] for line in lines] == ["2099"]
    engine.dispose()


def test_the_store_remembers_when_it_was_last_written(tmp_path: Path) -> None:
    config = settings(tmp_path)
    with closing(open_store(config)) as store:
        store.add(sample(WALL_S))
        assert store.flush()
    engine = open_engine(config.store.url)
    with engine.connect() as connection:
        assert (newest_at(connection) or 0) >= WALL_S
    engine.dispose()


def test_films_of_an_unset_clock_have_no_age(tmp_path: Path) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    for name, at in (("of-1970", 60.0), ("old", time.time() - 30 * DAY_S), ("new", time.time())):
        (folder / f"{name}.mp4").write_bytes(b"x" * 1000)
        os.utime(folder / f"{name}.mp4", (at, at))
    config = settings(tmp_path, clips={"enabled": True, "folder": str(folder), "keep_days": 7})
    with closing(open_store(config)) as store:
        sink = ClipsSink(config.clips, store)
        until(lambda: not (folder / "old.mp4").exists(), what="the old film goes")
        sink.close()
    assert {film.name for film in folder.iterdir()} == {"of-1970.mp4", "new.mp4"}


# --- the fleet ---


def test_the_fleet_keeps_an_alert_of_1970_as_long_as_any_other(tmp_path: Path) -> None:
    config = RetentionConfig(alerts_days=30, info_days=30, degraded_days=30)
    with desk(sqlite_url(tmp_path)) as office:
        unset = an_event(id="unset", started_at=NINETEEN_SEVENTY, at=NINETEEN_SEVENTY + 1)
        office.take(Vehicle().tell(unset))
        arrived_at = office.row("events")["received_at"]
        retire(office.engine, config, arrived_at + 29 * DAY_S)
        assert office.row("events")["started_at"] == NINETEEN_SEVENTY
        retire(office.engine, config, arrived_at + 31 * DAY_S)
        assert office.rows("events") == []


def test_a_live_state_of_1970_is_of_its_arrival(tmp_path: Path) -> None:
    with desk(sqlite_url(tmp_path)) as office:
        office.take(arrived(Vehicle().state(NINETEEN_SEVENTY), NOON))
        assert office.row("samples")["at"] == NOON
        # Set right: the next one is taken by its own time, and the skew is gone.
        office.take(arrived(Vehicle().state(NOON + 60), NOON + 60.2))
        assert [row["at"] for row in office.rows("samples")] == [NOON, NOON + 60]
        assert office.row("vehicles")["clock_skew_s"] == -0.2


def test_no_release_is_older_than_what_counts_as_set() -> None:
    assert NINETEEN_SEVENTY < SET_AT < NOON < time.time()
