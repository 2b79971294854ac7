"""The log keeps what it was given, whatever happens to the database underneath."""

import multiprocessing
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import select

from monitor.config import Config
from monitor.errors import StoreError
from monitor.payloads import Availability, CoverageData
from monitor.store import Store, open_store, recent_events, schema
from monitor.store.database import CorruptError, open_engine, upgrade
from monitor.store.scribe import Row
from monitor.types import Cause, Kind, Level, Phase
from tests.servers import until
from tests.tellings import NOW, alerts, event, settings


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return settings(tmp_path)


@pytest.fixture
def store(config: Config) -> Iterator[Store]:
    store = open_store(config)
    yield store
    store.close()


def rows(config: Config, table: Any) -> list[dict[str, Any]]:
    engine = open_engine(config.store.url)
    try:
        with engine.connect() as connection:
            return [dict(row) for row in connection.execute(select(table)).mappings()]
    finally:
        engine.dispose()


def database(config: Config) -> Path:
    return Path(config.store.url.removeprefix("sqlite:///"))


def in_a_process(what: Callable[[Path], None], folder: Path) -> int | None:
    """Run it in a fresh process; its exit code."""
    process = multiprocessing.get_context("spawn").Process(target=what, args=(folder,))
    process.start()
    process.join()
    return process.exitcode


def lock(path: Path) -> sqlite3.Connection:
    """Another program that holds the write lock until it is closed."""
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    return other


def sample(at: float) -> Row:
    values = {"vehicle": "car-7", "camera": "driver", "at": at, "drive": "d", "level": 0}
    return Row(schema.samples, {**values, "eyes": "open", "degraded": []})


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
        if part.suffix not in {".lock", ".ballast"}:
            assert part.stat().st_mode & 0o077 == 0, part.name


def test_an_event_is_one_row_at_its_highest_and_latest(store: Store, config: Config) -> None:
    store.record(event())
    store.record(event(phase=Phase.UPDATE, after_s=1, level=Level.CRITICAL, acknowledged=True))
    store.record(event(phase=Phase.END, after_s=2, level=Level.INFO, evidence={"closed_s": 2}))
    assert store.flush()
    (row,) = rows(config, schema.events)
    assert row["phase"] == "end"
    assert row["level"] == Level.CRITICAL
    assert row["acknowledged"]
    assert row["duration_s"] == pytest.approx(2.0)
    assert row["ended_at"] == NOW + 2
    assert row["evidence"] == {"closed_s": 2}


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
    assert told.evidence["reason"] == "process ended"
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


def test_a_second_writer_is_turned_away_in_one_line(store: Store, config: Config) -> None:
    with pytest.raises(StoreError, match="another wakeful writes to it") as caught:
        open_store(config)
    assert str(os.getpid()) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_locked_database_holds_up_neither_the_loop_nor_the_alert(
    store: Store, config: Config
) -> None:
    outbox = store.outbox
    assert outbox is not None
    news = threading.Event()
    outbox.on_news = news.set
    other = lock(database(config))
    store.record(event())
    assert until(lambda: outbox.next(9), what="the alert from memory")
    until(store.trouble, what="trouble told")
    assert "locked" in str(store.trouble())
    other.close()
    assert store.flush()
    until(lambda: store.trouble() is None, what="all is well again")
    assert len(rows(config, schema.events)) == 1
    assert len(outbox.next(9)) == 1, "the message is not there twice"


def test_an_alert_delivered_while_locked_is_not_delivered_again(
    store: Store, config: Config
) -> None:
    outbox = store.outbox
    assert outbox is not None
    other = lock(database(config))
    store.record(event())
    (pending,) = until(lambda: outbox.next(9), what="the alert from memory")
    outbox.confirm([pending.id])
    other.close()
    assert store.flush()
    assert outbox.next(9) == []
    assert rows(config, schema.outbox) == []
    assert len(rows(config, schema.events)) == 1


def test_a_full_disk_loses_no_alert_and_leaves_a_sound_database(tmp_path: Path) -> None:
    assert in_a_process(_fill_up, tmp_path) == 0, "see its output"
    config = settings(tmp_path)
    store = open_store(config)
    store.record(event("after the cure"))
    assert store.flush()
    store.close()
    assert sound(config)


def test_samples_make_room_for_alerts_on_a_full_disk(tmp_path: Path) -> None:
    mount = 'mount -t tmpfs -o size=8m tmpfs "$0" && cd "$0" && exec "$@"'
    small_disk = ["unshare", "-Urm", "sh", "-c", mount, str(tmp_path)]
    if not shutil.which("unshare") or subprocess.run([*small_disk, "true"], check=False).returncode:
        pytest.skip("no small disk can be mounted here (unshare -Urm)")
    story = "from tests.test_store import fill_the_disk; fill_the_disk()"
    done = subprocess.run(
        [*small_disk, sys.executable, "-c", story],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    assert done.returncode == 0, done.stderr


def fill_the_disk() -> None:
    """On a disk of 8 MB: somebody's logs take all that the samples leave."""
    folder = Path.cwd()
    config = settings(folder, mqtt={"enabled": False})
    store = open_store(config)
    fill(config, samples=10_000)
    with suppress(OSError), (folder / "somebody's.log").open("wb", buffering=0) as log:
        while True:
            log.write(b"x" * 4096)
    for told in alerts(200):
        store.record(told)
    assert store.flush(15.0), store.trouble()
    assert len(store.recent_events(limit=1000)) == 200
    assert len(rows(config, schema.samples)) < 10_000
    store.close()
    assert sound(config)


def sound(config: Config) -> bool:
    other = sqlite3.connect(database(config))
    verdict = other.execute("PRAGMA integrity_check").fetchone()
    other.close()
    return bool(verdict == ("ok",))


def may_grow_to(limit: int) -> None:
    """No file of this process may be larger: what a full disk looks like from in here."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))


def _fill_up(folder: Path) -> None:
    config = settings(folder)
    store = open_store(config)
    assert store.outbox is not None
    outbox = store.outbox
    may_grow_to(database(config).stat().st_size)
    told = 0
    while "free space" not in (store.trouble() or ""):
        store.record(event(f"alert-{told}", evidence={"n": "x" * 400}))
        told += 1
        assert told < 5000, "the disk never got full"
        until(lambda told=told: len(outbox.next(9999)) == told, what="every alert can be delivered")
    may_grow_to(resource.RLIM_INFINITY)
    assert store.flush(15.0)
    assert len(outbox.next(9999)) == told
    assert len(store.recent_events(limit=9999)) == told
    store.close()


def test_a_damaged_database_is_set_aside_and_a_new_one_begun(config: Config) -> None:
    store = open_store(config)
    for told in alerts(50):
        store.record(told)
    store.close()
    path = database(config)
    with path.open("r+b") as file:
        file.seek(0)
        file.write(os.urandom(4096))
    store = open_store(config)
    store.record(event("after"))
    assert store.flush()
    assert "damaged" in (store.trouble() or "")
    assert [told.id for told in store.recent_events()] == [event("after").id]
    assert list(path.parent.glob("log.db.corrupt-*"))
    assert [row["action"] for row in rows(config, schema.audit)] == ["store.quarantine"]
    store.close()


def test_undelivered_alerts_are_carried_over_from_a_damaged_database(config: Config) -> None:
    store = open_store(config)
    for told in alerts(50):
        store.record(told)
    store.close()
    engine = open_engine(config.store.url)
    with engine.begin() as connection:
        root = "SELECT rootpage FROM sqlite_master WHERE name = 'ix_events_started'"
        page = connection.exec_driver_sql(root).scalar_one()
    engine.dispose()
    with database(config).open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(os.urandom(4096))
    store = open_store(config)
    store.record(event("after"))
    assert store.flush()
    assert store.outbox is not None
    waiting = store.outbox.next(99)
    assert len(waiting) == 51
    assert max(p.sequence for p in waiting) == 51, "the count goes on"
    store.close()


def test_damage_that_shows_while_running_is_survived(store: Store, config: Config) -> None:
    # More than fits into SQLite's cache, so that the damage is met.
    for n in range(300):
        told = event(f"alert-{n}", evidence={f"n{m}": "x" * 480 for m in range(24)})
        store.record(told)
    assert store.flush(20.0)
    path = database(config)
    other = sqlite3.connect(path)
    other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    other.close()
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(path.stat().st_size - 4096))
    for n in range(0, 300, 30):
        store.record(event(f"alert-{n}", Phase.END, after_s=1))
    until(store.trouble, what="trouble told")
    store.record(event("after"))
    assert store.flush(15.0)
    assert "damaged" in (store.trouble() or "")
    assert event("after").id in [told.id for told in store.recent_events()]
    assert sound(config)


def test_a_file_that_was_never_ours_is_left_alone(config: Config) -> None:
    path = database(config)
    path.write_bytes(b"Dear diary, " * 1000)
    with pytest.raises(CorruptError, match="is not a database") as caught:
        open_store(config)
    assert "set store.url" in str(caught.value)
    assert path.read_bytes().startswith(b"Dear diary")
    with pytest.raises(StoreError, match="is not a database"):
        upgrade(config.store.url)


def test_a_newer_version_s_database_is_refused_with_the_cure(config: Config) -> None:
    upgrade(config.store.url)
    other = sqlite3.connect(database(config))
    other.execute("UPDATE alembic_version SET version_num = '9999'")
    other.commit()
    other.close()
    for opening in (open_store, lambda config: upgrade(config.store.url)):
        with pytest.raises(StoreError, match=r"newer version \(revision 9999") as caught:
            opening(config)
        assert "set store.url" in str(caught.value)


def test_a_place_that_cannot_be_written_does_not_stop_the_watch(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    config = settings(tmp_path, store={"url": f"sqlite:///{tmp_path}/file/log.db"})
    store = open_store(config)
    assert "set store.url or WAKEFUL_HOME" in (store.trouble() or "")
    store.record(event())
    outbox = store.outbox
    assert outbox is not None
    assert until(lambda: outbox.next(9), what="the alert from memory")
    (tmp_path / "file").unlink()
    assert store.flush(15.0)
    assert len(rows(config, schema.events)) == 1
    store.close()


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


def test_too_large_an_alert_goes_without_its_evidence(tmp_path: Path) -> None:
    """Fault matrix 20: our limit, before it is queued."""
    config = settings(tmp_path, mqtt={"max_payload_bytes": 2048})
    store = open_store(config)
    much = {f"n{n}": "x" * 400 for n in range(20)}
    store.record(event("large", evidence=much))
    store.record(event("small"))
    assert store.flush()
    assert store.outbox is not None
    first, second = store.outbox.next(9)
    assert b"too large to send" in first.message.payload
    assert len(first.message.payload) <= 2048
    assert second.id == f"{event('small').id}.start.0"
    logged = {told.id: told.evidence for told in store.recent_events()}
    assert logged[event("large").id] == much, "the log has all of it"
    store.close()


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
    """Fault matrix 27: in the vehicle."""
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


def fill(config: Config, samples: int) -> None:
    engine = open_engine(config.store.url, immediate=True)
    with engine.begin() as connection:
        values = [dict(sample(NOW + n).values) for n in range(samples)]
        connection.execute(schema.samples.insert(), values)
    engine.dispose()


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
