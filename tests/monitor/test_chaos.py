"""Faults by SIGKILL: the short form of `python -m tests.benchmarks.chaos`, and named points of a
crash."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text

from monitor.fleet.simulator.publisher import Traffic
from monitor.fleet.simulator.seeding import Plan as Fleet
from monitor.store.database import open_engine, upgrade
from tests.benchmarks import chaos
from tests.monitor.test_fleet import fleet_settings, healthy, ingester
from tests.support.fleet_stories import NOON
from tests.support.servers import Mosquitto, until


@contextmanager
def _running(traffic: Traffic) -> Iterator[threading.Thread]:
    """The fleet tells in the background, until it is all acknowledged."""
    telling = threading.Thread(target=traffic.run)
    telling.start()
    try:
        yield telling
    finally:
        telling.join(60)


POINTS = ("ingest.before_commit", "ingest.after_commit", "ingest.after_confirm")


@pytest.mark.broker
@pytest.mark.postgres
def test_nothing_is_lost_doubled_or_invented_under_sigkill(postgres_url: str) -> None:
    """`make chaos` is the long form."""
    outcome = chaos.run(chaos.Plan(vehicles=3, ingesters=2, kills=3, seconds=9.0), postgres_url)
    assert outcome.fine, outcome
    assert outcome.committed > 30
    assert min(outcome.kills.values()) >= 3


@pytest.mark.broker
@pytest.mark.postgres
@pytest.mark.parametrize("point", POINTS)
def test_an_ingester_that_dies_at_a_commit_loses_and_doubles_nothing(
    tmp_path: Path, mosquitto: Mosquitto, postgres_url: str, point: str
) -> None:
    """Killed before and after its commit, and before its acknowledgement."""
    config = fleet_settings(mosquitto)
    upgrade(postgres_url)
    doomed = subprocess.Popen(
        [
            sys.executable, "-m", "tests.benchmarks.chaos", "ingester", "--url", postgres_url,
            "--port", str(mosquitto.port), "--crash-at", f"{point}:2",
        ],
        cwd=chaos.ROOT,
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    fleet = Fleet(vehicles=2, days=1.0, end=NOON)
    traffic = Traffic(fleet, config.mqtt)
    events = [episode for n in (1, 2) for episode in fleet.life(n).episodes]
    with _running(traffic) as telling:
        try:
            assert doomed.wait(60) == -9
        finally:
            doomed.kill()
            doomed.wait()
        with ingester(config, postgres_url):
            assert healthy(config)
            until(lambda: not telling.is_alive(), deadline_s=60, what="everything is told")
    assert traffic.missing == 0
    engine = open_engine(postgres_url)
    with engine.connect() as connection:
        stored = connection.execute(text("SELECT count(*), count(DISTINCT id) FROM events")).one()
        latest = connection.execute(
            text("SELECT count(*) FROM events WHERE phase = 'end'")
        ).scalar()
    engine.dispose()
    assert tuple(stored) == (len(events), len(events))
    assert latest == sum(not episode.going_on for episode in events)
