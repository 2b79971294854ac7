"""Running a fleet's database: kept as long as told, given out whole, erased without a trace."""

import gzip
import itertools
import json
import sqlite3
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, insert, select, text

from monitor.errors import StoreError
from monitor.fleet.admin import partitions
from monitor.fleet.admin.operation import (
    Subject,
    erase,
    export,
    join_group,
    leave_group,
    maintain,
    retire,
    vehicles,
)
from monitor.fleet.admin.partitions import ensure, ensure_ahead, month_start, months, next_month
from monitor.fleet.config import RetentionConfig
from monitor.fleet.simulator.rows import Detail
from monitor.fleet.simulator.seeding import Plan, seed
from monitor.store import schema
from monitor.store.database import open_engine, upgrade
from tests.support.fleet_stories import NOON, Desk, Vehicle, an_event, desk, sqlite_url
from tests.support.servers import Postgres

DAY_S = 86_400.0
DATABASES = ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]
on_both = pytest.mark.parametrize("url", DATABASES, indirect=True)


@pytest.fixture
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if getattr(request, "param", "sqlite") == "postgres":
        return str(request.getfixturevalue("postgres_url"))
    return sqlite_url(tmp_path)


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    """A database with two months of three vehicles."""
    upgrade(url)
    found = open_engine(url, immediate=True)
    seed(found, Plan(3, 60, NOON, detail=Detail(sample_hours=0.5, keep_samples_days=4)))
    yield found
    found.dispose()


def ages(engine: Engine, table: str, column: str, where: str = "1 = 1") -> list[float]:
    """How old what is left is, in days, oldest first."""
    query = text(f"SELECT {column} FROM {table} WHERE {where} ORDER BY {column}")  # noqa: S608
    with engine.connect() as connection:
        return [(NOON - at) / DAY_S for at in connection.execute(query).scalars()]


@on_both
def test_samples_go_soon_and_alerts_stay(engine: Engine) -> None:
    """Alerts outlive samples."""
    config = RetentionConfig(samples_days=2, info_days=10, degraded_days=20, alerts_days=40)
    before = len(ages(engine, "events", "started_at", "kind <> 'degraded' AND level > 1"))
    gone = retire(engine, config, NOON)
    degraded, info = "kind = 'degraded'", "kind <> 'degraded' AND level <= 1"
    alerts = "kind <> 'degraded' AND level > 1"
    for table, column, where, days in (
        ("samples", "at", "1 = 1", 2),
        ("events", "started_at", info, 10),
        ("events", "started_at", degraded, 20),
        ("events", "started_at", alerts, 40),
    ):
        left = ages(engine, table, column, where)
        assert left
        assert days - 3 < left[0] <= days
    assert sum(gone.values()) > 0
    assert len(ages(engine, "events", "started_at", alerts)) > before * 0.5
    assert not retire(engine, config, NOON)


@pytest.mark.postgres
@pytest.mark.parametrize("url", ["postgres"], indirect=True)
def test_a_month_that_is_too_old_goes_whole(engine: Engine) -> None:
    days = (NOON - month_start(NOON)) / DAY_S + 0.1
    config = RetentionConfig(
        samples_days=1, info_days=days, degraded_days=days, alerts_days=days, coverage_days=days
    )
    gone = maintain(engine, config, NOON)
    assert gone["events in whole partitions"] > 0
    with engine.connect() as connection:
        assert connection.execute(text("SELECT to_regclass('events_2026_07')")).scalar() is None
        assert connection.execute(text("SELECT to_regclass('events_2026_12')")).scalar()
    assert ages(engine, "events", "started_at")[0] <= days


@pytest.mark.postgres
def test_partitions_are_made_ahead_and_take_what_strayed(postgres_url: str) -> None:
    with desk(postgres_url) as office:
        early = an_event(id="early", started_at=NOON, at=NOON)
        wrong_clock = an_event(id="1970", started_at=5.0, at=5.0)
        office.take(Vehicle().tell(early), Vehicle().tell(wrong_clock))
        assert _rows(office, "events_default") == 2
        with office.engine.begin() as connection:
            made = ensure_ahead(connection, NOON)
        assert {"events_2026_09", "samples_2026_12", "coverage_2026_10"} <= set(made)
        assert _rows(office, "events_2026_09") == 1
        assert _rows(office, "events_default") == 1
        assert _rows(office, "events") == 2


def _rows(office: Desk, table: str) -> int:
    with office.engine.connect() as connection:
        query = text(f"SELECT count(*) FROM {table}")  # noqa: S608 - our own tables
        return int(connection.execute(query).scalar_one())


@pytest.mark.postgres
def test_many_ingesters_make_the_same_months_at_once(postgres_url: str) -> None:
    upgrade(postgres_url)
    engine = open_engine(postgres_url)

    def make(_: int) -> list[str]:
        with engine.begin() as connection:
            return ensure(connection, NOON, NOON + 90 * DAY_S)

    with ThreadPoolExecutor(4) as pool:
        made = [name for names in pool.map(make, range(4)) for name in names]
    engine.dispose()
    assert len(made) == len(set(made)) == 4 * len(partitions.PARTITIONED)


@given(first=st.floats(0, 4e9), span=st.floats(0, 3e7))
def test_months_follow_each_other_without_a_gap(first: float, span: float) -> None:
    found = list(months(first, first + span))
    assert found[0][0] <= first
    assert found[-1][1] > first + span
    for (_, end), (start, _) in itertools.pairwise(found):
        assert end == start
    assert all(next_month(start) == end and month_start(start) == start for start, end in found)


def held(engine: Engine, name: str) -> dict[str, int]:
    """In how many rows of each table the name occurs anywhere."""
    found = {}
    with engine.connect() as connection:
        for table in schema.metadata.sorted_tables:
            rows = connection.execute(select(table)).all()
            count = sum(name in repr(tuple(row)) for row in rows)
            if count:
                found[table.name] = count
    return found


@on_both
def test_an_erased_vehicle_leaves_nothing_but_the_audit(engine: Engine, tmp_path: Path) -> None:
    """Delete-by-vehicle leaves 0 rows, 0 files."""
    clips = tmp_path / "clips"
    clips.mkdir()
    (clips / "one.mp4").write_bytes(b"film")
    outside = tmp_path / "keep.mp4"
    outside.write_bytes(b"not a clip")
    events = schema.events
    with engine.begin() as connection:
        theirs = select(events.c.id).where(events.c.vehicle == "truck-001").limit(2)
        first, second = connection.execute(theirs).scalars()
        for event, name in ((first, "one.mp4"), (second, "../keep.mp4")):
            changed = events.update().where(events.c.id == event).values(clip=name)
            connection.execute(changed)
        letter = {"at": NOON, "payload": b"{}", "reason": "why"}
        topics = ("dms/v1/truck-001/alert", "dms/v1/truck-0010/alert")
        connection.execute(
            insert(schema.dead_letters), [{**letter, "topic": topic} for topic in topics]
        )
    others = held(engine, "truck-002")
    forgotten: list[str] = []
    gone = erase(engine, Subject("truck-001"), "anna", NOON, clips, forgotten.append)
    assert set(held(engine, "truck-001")) == {"audit", "dead_letters"}
    assert held(engine, "truck-001")["dead_letters"] == 1  # that of truck-0010
    assert held(engine, "truck-002") == others
    assert gone["events"] > 100
    assert gone["files"] == 1
    assert not (clips / "one.mp4").exists()
    assert outside.exists()
    assert forgotten == ["truck-001"]
    with engine.connect() as connection:
        audit = connection.execute(select(schema.audit)).mappings().one()
    assert (audit["actor"], audit["action"], audit["subject"]) == ("anna", "erase", "truck-001")
    orphans = "SELECT count(*) FROM reviews WHERE event NOT IN (SELECT id FROM events)"
    with engine.connect() as connection:
        assert connection.execute(text(orphans)).scalar() == 0


def test_the_bytes_of_what_was_erased_are_gone_too(engine: Engine, tmp_path: Path) -> None:
    erase(engine, Subject("truck-003"), "anna", NOON)
    engine.dispose()
    with closing(sqlite3.connect(tmp_path / "fleet.db", isolation_level=None)) as connection:
        connection.execute("DELETE FROM audit")
        connection.execute("VACUUM")
    files = [path.read_bytes() for path in tmp_path.glob("fleet.db*")]
    assert files
    assert not any(b"truck-003" in content for content in files)


def test_one_drive_can_be_erased_alone(engine: Engine) -> None:
    with engine.connect() as connection:
        drive = str(connection.execute(select(schema.events.c.drive).limit(1)).scalar())
    vehicle = drive[: len("truck-000")]
    before = held(engine, vehicle)
    erase(engine, Subject(vehicle, drive), "anna", NOON)
    assert set(held(engine, drive)) == {"audit"}
    assert held(engine, vehicle)["vehicles"] == before["vehicles"] == 1
    assert 0 < held(engine, vehicle)["events"] < before["events"]


@on_both
def test_what_is_exported_is_everything_and_for_one_pair_of_eyes(
    engine: Engine, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    before = held(engine, "truck-002")
    written = export(engine, Subject("truck-002"), folder, "anna", NOON)
    assert {name: written[name] for name in before} == before
    for name, rows in written.items():
        file = folder / f"{name}.jsonl.gz"
        assert file.stat().st_mode & 0o777 == 0o600
        with gzip.open(file, "rt") as lines:
            told: list[dict[str, Any]] = [json.loads(line) for line in lines]
        assert len(told) == rows
        assert all(row.get("vehicle", "truck-002") == "truck-002" for row in told)
    with engine.connect() as connection:
        assert connection.execute(select(schema.audit.c.action)).scalars().all() == ["export"]


def test_nothing_is_held_about_a_stranger(engine: Engine, tmp_path: Path) -> None:
    for subject in (
        Subject("truck-999"),
        Subject("truck-001", "drive-x"),
        Subject("%"),
        Subject("' OR 1=1 --"),
    ):
        with pytest.raises(StoreError, match="nothing is held"):
            erase(engine, subject, "anna", NOON)
        with pytest.raises(StoreError, match="nothing is held"):
            export(engine, subject, tmp_path / "out", "anna", NOON)


def test_the_list_of_vehicles_counts_the_last_day(engine: Engine) -> None:
    found = {one.vehicle: one for one in vehicles(engine, NOON)}
    assert set(found) == {"truck-001", "truck-002", "truck-003"}
    assert sum(one.events for one in found.values()) == len(
        [age for age in ages(engine, "events", "started_at") if age <= 1]
    )
    assert replace(found["truck-001"], events=0).vehicle == "truck-001"


@pytest.mark.postgres
@pytest.mark.parametrize("url", ["postgres"], indirect=True)
def test_a_backup_restores_to_the_same_fleet(
    engine: Engine, url: str, postgres: Postgres, tmp_path: Path
) -> None:
    """The commands of docs/fleet.md, on a database with partitions."""
    dump = tmp_path / "fleet.dump"
    server = ["-h", str(postgres.folder), "-U", "postgres"]
    _tool(postgres, "pg_dump", *server, "-Fc", "-f", str(dump), "tests")
    other = postgres.empty("restored")
    engine_of_other = open_engine(other)
    _tool(postgres, "pg_restore", *server, "-d", "restored", "--exit-on-error", str(dump))
    upgrade(other)
    for table in ("vehicles", "events", "samples", "coverage", "availability", "reviews"):
        query = text(f"SELECT * FROM {table} ORDER BY 1, 2, 3")  # noqa: S608 - our own tables
        with engine.connect() as one, engine_of_other.connect() as two:
            assert one.execute(query).all() == two.execute(query).all(), table
    with engine_of_other.begin() as connection:
        assert ensure_ahead(connection, NOON + 200 * DAY_S)
    engine_of_other.dispose()


def _tool(postgres: Postgres, name: str, *arguments: str) -> None:
    result = subprocess.run(
        [str(postgres.binaries / name), *arguments], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


def test_vehicles_join_and_leave_groups_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'fleet.db'}"
    upgrade(url)
    engine = open_engine(url, immediate=True)
    assert join_group(engine, "north", ["truck-1", "truck-2"], "anna", NOON) == 2
    assert join_group(engine, "north", ["truck-2", "truck-3"], "anna", NOON) == 1
    assert leave_group(engine, "north", ["truck-1", "truck-9"], "ben", NOON) == 1
    with engine.connect() as connection:
        table = schema.vehicle_groups.c
        left = connection.execute(select(table.vehicle).order_by(table.vehicle)).scalars().all()
        audited = connection.execute(select(schema.audit.c.action)).scalars().all()
    engine.dispose()
    assert left == ["truck-2", "truck-3"]
    assert audited == ["group join", "group join", "group leave"]
