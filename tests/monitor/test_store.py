"""The log keeps what it was given, whatever happens to the database underneath."""

import os
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import bindparam, inspect, select, text

from monitor.config import Config
from monitor.errors import StoreError
from monitor.protocol.mapping import event_row
from monitor.protocol.schemas import Availability, CoverageData
from monitor.store import Store, open_store, recent_events, schema
from monitor.store.database import migrations, open_engine, upgrade
from monitor.types import Cause, ClosureEvidence, EndedBy, Kind, Level, Phase
from tests.support.events import (
    NOW,
    alerts,
    database,
    event,
    fill,
    in_a_process,
    large_event,
    rows,
    sample,
    settings,
)
from tests.support.servers import until


def test_the_migrations_make_exactly_the_tables_of_the_schema(config: Config) -> None:
    upgrade(config.store.url)
    engine = open_engine(config.store.url)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), schema.metadata) == []
    engine.dispose()


@pytest.mark.postgres
def test_in_postgresql_what_grows_is_partitioned(postgres_url: str) -> None:
    assert upgrade(postgres_url) == upgrade(postgres_url)
    engine = open_engine(postgres_url)
    query = "SELECT relname FROM pg_class WHERE relkind = 'p' ORDER BY relname"
    with engine.connect() as connection:
        partitioned = connection.exec_driver_sql(query).scalars().all()
    engine.dispose()
    assert {"coverage", "events", "samples"} <= set(partitioned)


@pytest.mark.postgres
def test_a_vehicle_s_log_may_be_a_postgresql(tmp_path: Path, postgres_url: str) -> None:
    config = settings(tmp_path, store={"url": postgres_url})
    store = open_store(config)
    store.record(event())
    store.record(event(phase=Phase.END, after_s=2))
    assert store.flush()
    assert [e.phase for e in store.recent_events()] == [Phase.END]
    assert store.outbox is not None
    assert [p.sequence for p in store.outbox.next(9)] == [1, 2]
    store.close()


def test_the_database_is_written_through_to_the_disk(store: Store, config: Config) -> None:
    engine = open_engine(config.store.url)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL
    engine.dispose()


def test_the_log_is_its_owner_s_alone(store: Store, config: Config) -> None:
    store.record(event())
    assert store.flush()
    for part in database(config).parent.glob("log.db*"):
        if part.suffix not in {".lock", ".reserve"}:
            assert part.stat().st_mode & 0o077 == 0, part.name


def test_an_event_is_one_row_at_its_highest_and_latest(store: Store, config: Config) -> None:
    store.record(event())
    store.record(event(phase=Phase.UPDATE, after_s=1, level=Level.CRITICAL, acknowledged=True))
    store.record(
        event(phase=Phase.END, after_s=2, level=Level.INFO, evidence=ClosureEvidence(closed_s=2.0))
    )
    assert store.flush()
    (row,) = rows(config, schema.events)
    assert row["phase"] == "end"
    assert row["level"] == Level.CRITICAL
    assert row["acknowledged"]
    assert row["duration_s"] == pytest.approx(2.0)
    assert row["ended_at"] == NOW + 2
    assert row["evidence"] == {"rule": "closure", "closed_s": 2.0}


def test_every_telling_has_its_message_in_the_outbox(store: Store, config: Config) -> None:
    store.record(event())
    store.record(event(phase=Phase.END, after_s=2))
    store.account(report(0))
    assert store.flush()
    waiting = rows(config, schema.outbox)
    assert [row["sequence"] for row in waiting] == [1, 2, 3]
    assert [row["topic"].rpartition("/")[2] for row in waiting] == ["alert", "alert", "coverage"]


def report(began: float) -> CoverageData:
    seconds = {"monitored": 500.0, Cause.LOW_LIGHT: 100.0}
    whose = {"vehicle": "car-7", "drive": "d", "camera": "driver"}
    return CoverageData(
        **whose, started_at=NOW + began, ended_at=NOW + began + 600, seconds=seconds
    )


def test_coverage_is_a_row_a_cause(store: Store, config: Config) -> None:
    store.account(report(0))
    store.account(report(0))
    assert store.flush()
    found = {row["cause"]: row["seconds"] for row in rows(config, schema.coverage)}
    assert found == {"monitored": 500.0, "low_light": 100.0}


def test_the_sequence_goes_on_after_everything_was_delivered(config: Config) -> None:
    first = open_store(config)
    first.record(event())
    first.record(event(phase=Phase.END, after_s=1))
    assert first.flush()
    assert first.outbox is not None
    first.outbox.confirm([pending.id for pending in first.outbox.next(9)])
    first.close()
    assert rows(config, schema.outbox) == []
    second = open_store(config)
    second.record(event("later"))
    assert second.flush()
    assert second.outbox is not None
    assert [pending.sequence for pending in second.outbox.next(9)] == [3]
    second.close()


def test_without_mqtt_nothing_waits_for_delivery(tmp_path: Path) -> None:
    config = settings(tmp_path, mqtt={"enabled": False})
    store = open_store(config)
    store.record(event())
    assert store.flush()
    store.close()
    assert len(rows(config, schema.events)) == 1
    assert rows(config, schema.outbox) == []


def test_what_an_earlier_process_left_open_is_ended_and_told(config: Config) -> None:
    assert in_a_process(_record_and_die, database(config).parent) == -9
    store = open_store(config)
    assert store.flush()
    assert store.restarts == 1
    (told,) = store.recent_events()
    assert told.phase is Phase.END
    assert told.evidence.ended_by is EndedBy.PROCESS
    assert told.at == told.started_at + 2, "as late as it is known to have lasted"
    assert store.outbox is not None
    assert [p.id.split(".")[1] for p in store.outbox.next(9)] == ["start", "update", "end"]
    store.close()
    assert _restarts(config) == 1, "the clean stop is remembered"


def _record_and_die(folder: Path) -> None:
    store = open_store(settings(folder))
    store.record(event())
    store.record(event(phase=Phase.UPDATE, after_s=2))
    store.flush()
    os.kill(os.getpid(), 9)


def _restarts(config: Config) -> int:
    store = open_store(config)
    store.close()
    return store.restarts


@pytest.mark.parametrize(
    ("url", "cure"),
    [
        ("nonsense", "write sqlite:////path"),
        ("mysql://h/d", "use sqlite or postgresql"),
        ("sqlite://", "SQLite needs a file"),
    ],
)
def test_a_wrong_url_is_one_line_with_the_cure(url: str, cure: str) -> None:
    with pytest.raises(StoreError, match=cure) as caught:
        upgrade(url)
    assert "\n" not in str(caught.value)


def test_a_password_is_never_printed() -> None:
    with pytest.raises(StoreError) as caught:
        upgrade("postgresql://driver:hush@127.0.0.1:1/none?connect_timeout=2")
    assert "hush" not in str(caught.value)
    assert "start the server" in str(caught.value)


def test_too_large_an_alert_is_in_the_log_alone_and_stops_nobody(tmp_path: Path) -> None:
    config = settings(tmp_path, mqtt={"max_payload_bytes": 2048})
    store = open_store(config)
    large = large_event("large")
    store.record(large)
    store.record(event("small"))
    assert store.flush()
    assert store.outbox is not None
    (waiting,) = store.outbox.next(9)
    assert waiting.id == f"{event('small').id}.start.0"
    assert {logged.id for logged in store.recent_events()} == {large.id, event("small").id}
    store.close()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def either_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind."""
    if request.param == "postgres":
        return str(request.getfixturevalue("postgres_url"))
    return f"sqlite:///{tmp_path / 'log.db'}"


def test_a_database_of_the_first_version_reads_as_one_of_today_s(either_url: str) -> None:
    old = {
        "sleep": {"closure_s": 3.0, "nod": True, "mouth": 0.2, "ended_by": "nobody there"},
        "distraction": {"rule": "vats", "away_s": 10.0, "speed_kmh": 80},
    }
    engine = open_engine(either_url, immediate=True)
    insert = text(
        "INSERT INTO events (id, started_at, vehicle, drive, camera, kind, phase, level, "
        "updated_at, duration_s, acknowledged, evidence, policy, calibration, models) "
        "VALUES (:kind, 1.0, 'car-7', 'd', 'c', :kind, 'end', 3, 4.0, 3.0, false, :evidence, "
        "'', '', '[]')"
    ).bindparams(bindparam("evidence", type_=schema.events.c.evidence.type))
    with engine.begin() as connection:
        command.upgrade(migrations(connection), "0002")
        for kind, evidence in old.items():
            connection.execute(insert, {"kind": kind, "evidence": evidence})
    upgrade(either_url)
    with engine.connect() as connection:
        columns = schema.events.c.id, schema.events.c.evidence
        today = {row.id: row.evidence for row in connection.execute(select(*columns))}
    engine.dispose()
    assert today == {
        "sleep": {
            "rule": "closure", "closed_s": 3.0, "nod": True, "ended_by": "nobody_there",
        },
        "distraction": {
            "rule": "distraction", "limit": "vats", "away_s": 10.0, "speed_kmh": 80,
        },
    }  # fmt: skip
    slept = next(e for e in recent_events(either_url) if e.kind is Kind.SLEEP)
    assert slept.evidence == ClosureEvidence(closed_s=3.0, nod=True, ended_by=EndedBy.NOBODY_THERE)


def test_what_the_operator_needs_comes_and_goes_without_loss_of_an_alert(either_url: str) -> None:
    head = upgrade(either_url)
    engine = open_engine(either_url, immediate=True)
    row = event_row(event(), "car-7", sequence=1, received_at=NOW)
    with engine.begin() as connection:
        connection.execute(schema.events.insert(), [{**row}])
        command.downgrade(migrations(connection), "0003")
        tables = set(inspect(connection).get_table_names())
        assert not tables & {"comments", "coaching", "notifications", "vehicle_groups"}
    assert upgrade(either_url) == head
    with engine.connect() as connection:
        assert connection.execute(select(schema.events.c.id)).scalars().all() == [event().id]
        assert {"comments", "notifications"} <= set(inspect(connection).get_table_names())
    engine.dispose()


def test_old_samples_go_before_old_alerts(tmp_path: Path) -> None:
    days = 86_400.0
    config = settings(
        tmp_path,
        store={"samples_keep_days": 2, "events_keep_days": 30, "keep_days": {"yawning": 5}},
    )
    store = open_store(config)
    for age_days in (1, 3, 10, 40):
        store.add(sample(NOW - age_days * days))
        for kind in (Kind.MICROSLEEP, Kind.YAWNING):
            began_s = -age_days * days
            ended = event(f"{kind}{age_days}", Phase.END, kind=kind, began_s=began_s, after_s=1)
            store.record(ended)
    assert store.flush()
    store.close()
    store = open_store(config)  # a new process keeps house at once
    until(lambda: len(rows(config, schema.samples)) == 1, what="old samples gone")
    until(lambda: len(rows(config, schema.events)) == 5, what="old alerts gone")
    store.close()
    kept = {
        (row["kind"], round((NOW - row["started_at"]) / days))
        for row in rows(config, schema.events)
    }
    assert kept == {("microsleep", n) for n in (1, 3, 10)} | {("yawning", n) for n in (1, 3)}


def test_the_size_is_capped_and_alerts_outlive_samples(tmp_path: Path) -> None:
    """In the vehicle."""
    config = settings(tmp_path, store={"max_bytes": 1_000_000})
    store = open_store(config)
    for told in alerts(100):
        store.record(told)
    assert store.flush()
    store.close()
    fill(config, samples=15_000)
    store = open_store(config)  # keeps house at once
    until(lambda: len(rows(config, schema.samples)) < 15_000, what="samples gone")
    store.close()
    assert len(rows(config, schema.events)) == 100
    assert min(row["at"] for row in rows(config, schema.samples)) > NOW, "the oldest went"


def test_a_clean_start_and_stop_are_in_the_log(config: Config) -> None:
    open_store(config).close()
    statuses = [row["status"] for row in rows(config, schema.availability)]
    assert statuses == [Availability.ONLINE, Availability.STOPPED]


def test_the_last_events_of_a_drive_come_newest_first(store: Store, config: Config) -> None:
    for told in alerts(3):
        store.record(told)
    store.record(event("another drive", drive="drive-2", began_s=9))
    assert store.flush()
    found = recent_events(config.store.url, limit=2, drive="drive-1")
    assert [told.id for told in found] == [event(f"alert-{n}").id for n in (2, 1)]
