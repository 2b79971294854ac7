"""Servers that several test files share. Each starts once, when a test first asks for it.

A laptop without Mosquitto, PostgreSQL or Chromium skips what needs them. CI installs them, so
that a skip there means that something was not tested: it fails.
"""

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.servers import MOSQUITTO, Mosquitto, Postgres

REAL_PARTS = {"broker", "postgres", "browser", "mosquitto", "postgres_url"}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI a skipped test of a real part is a failed one."""
    report = yield
    names = {mark.name for mark in item.iter_markers()} | set(getattr(item, "fixturenames", ()))
    if os.environ.get("CI") and report.skipped and names & REAL_PARTS:
        report.outcome = "failed"
        report.longrepr = f"skipped in CI, where nothing may be missing: {report.longrepr}"
    return report


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A real PostgreSQL."""
    pytest.importorskip("pgserver", reason="pip install 'wakeful[dev]' for a PostgreSQL")
    server = Postgres()
    yield server
    server.close()


@pytest.fixture
def postgres_url(postgres: Postgres) -> str:
    """The URL of an empty database in it, this test's alone."""
    return postgres.empty("tests")


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    """A real broker that lets everybody in, on loopback."""
    if MOSQUITTO is None:
        pytest.skip("no mosquitto here (apt-get install mosquitto)")
    with Mosquitto(tmp_path) as broker:
        yield broker
