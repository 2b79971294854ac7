"""Locked, full, damaged, not ours: the log goes on, and what it was given is not lost."""

import os
import resource
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
from contextlib import ExitStack, closing, suppress
from functools import partial
from pathlib import Path

import pytest
import structlog

from monitor.config import Config
from monitor.errors import StoreError
from monitor.store import Store, open_store, schema
from monitor.store.database import CorruptError, open_engine, shown, upgrade
from monitor.types import Phase
from tests.support.events import (
    alerts,
    database,
    event,
    fill,
    in_a_process,
    large_event,
    lock,
    rows,
    settings,
)
from tests.support.paths import ROOT
from tests.support.servers import until


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
    story = "from tests.monitor.test_store_faults import fill_the_disk; fill_the_disk()"
    done = subprocess.run(
        [*small_disk, sys.executable, "-c", story],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
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

    def waits(count: int) -> bool:
        return len(outbox.next(9999)) == count

    told = 0
    while "free space" not in (store.trouble() or ""):
        store.record(large_event(f"alert-{told}"))
        told += 1
        assert told < 5000, "the disk never got full"
        until(partial(waits, told), what="every alert can be delivered")
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
    for n in range(1500):
        told = large_event(f"alert-{n}")
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


def test_no_secret_of_a_url_is_shown() -> None:
    url = "postgresql+psycopg://wakeful:secret@host/log?sslpassword=secret&connect_timeout=10"
    assert shown(url) == "postgresql+psycopg://wakeful:***@host/log"


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


def test_a_folder_without_locks_is_told_as_such_and_the_watch_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As NFS without its lock daemon, or FUSE: nobody else writes there."""
    import errno
    import fcntl

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with closing(open_store(settings(tmp_path))) as store:
        assert "its folder knows no locks" in (store.trouble() or "")
        assert "WAKEFUL_HOME" in (store.trouble() or "")


def test_a_server_that_never_answers_is_tried_once_more_at_the_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each try lasts seconds; who has switched off the ignition waits for one of them at most."""
    monkeypatch.setenv("WAKEFUL_HOME", str(tmp_path / "home"))
    with socket.create_server(("127.0.0.1", 0)) as silent, ExitStack() as held:
        url = f"postgresql+psycopg://wakeful@127.0.0.1:{silent.getsockname()[1]}/wakeful"
        tries: list[socket.socket] = []

        def take() -> None:
            with suppress(OSError):
                while True:
                    tries.append(held.enter_context(silent.accept()[0]))

        threading.Thread(target=take, daemon=True).start()
        with structlog.testing.capture_logs() as logged:
            store = open_store(settings(tmp_path, store={"url": url}))
            store.record(event())
            before = len(tries)
            store.close()
        # One that was under way, and the last one.
        assert len(tries) <= before + 1
    [line] = [line for line in logged if "unwritten" in line["event"]]
    assert event().id in Path(line["kept"]).read_text()


def test_what_no_database_took_is_kept_and_its_place_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that is away until the end of the drive."""
    monkeypatch.setenv("WAKEFUL_HOME", str(tmp_path / "home"))
    away = "postgresql+psycopg://wakeful@127.0.0.1:1/wakeful"
    config = settings(tmp_path, store={"url": away})
    with structlog.testing.capture_logs() as logged, closing(open_store(config)) as store:
        store.record(event())
    [line] = [line for line in logged if "unwritten" in line["event"]]
    kept = Path(line["kept"])
    assert kept.parent == tmp_path / "home"
    assert event().id in kept.read_text()
