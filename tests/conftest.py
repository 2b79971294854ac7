"""Servers that several test files share. Each starts once, when a test first asks for it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import MOSQUITTO, Mosquitto, Postgres


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
