"""Servers that several test files share. Each starts once, when a test first asks for it.

A laptop without Mosquitto, PostgreSQL or Chromium skips what needs them. CI installs them, so
that a skip there means that something was not tested: it fails.
"""

import os
import sys
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.servers import MOSQUITTO, Mosquitto, Postgres

if TYPE_CHECKING:
    from monitor.config import Config
    from monitor.store import Store
    from tests.support.fleet_stories import Desk

# Before torch is loaded, here and in what the tests start: its threads wait for each other by
# spinning, and with a worker on every core they take the time from the others.
os.environ.setdefault("OMP_NUM_THREADS", "1")

REAL_PARTS = {"broker", "postgres", "browser", "mosquitto", "postgres_url"}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI a skipped test of a real part is a failed one."""
    report = yield
    names = {mark.name for mark in item.iter_markers()} | set(getattr(item, "fixturenames", ()))
    optional = "optional:" in str(report.longrepr)  # as a proxy of another make
    if os.environ.get("CI") and report.skipped and names & REAL_PARTS and not optional:
        report.outcome = "failed"
        report.longrepr = f"skipped in CI, where nothing may be missing: {report.longrepr}"
    return report


@pytest.fixture(autouse=True)
def main_module(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streamlit's test runner leaves its script as `__main__`, which a spawned process runs."""
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])


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


@pytest.fixture
def pages_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """Points the dashboard's pages at a database: a home of their own, loopback, nothing kept."""
    import streamlit as st

    from dashboard import settings
    from tests.support.dashboards import forget

    monkeypatch.setenv("WAKEFUL_HOME", str(tmp_path / "home"))
    for name in (settings.ACCESS_VARIABLE, settings.CONFIG_VARIABLE, settings.DEMO_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    st.config.set_option("server.address", "127.0.0.1")

    def point(url: str) -> str:
        monkeypatch.setenv("WAKEFUL_STORE__URL", url)
        settings.settings.cache_clear()
        return url

    yield point
    forget()


@pytest.fixture
def one_vehicle(tmp_path: Path, pages_over: Callable[[str], str]) -> str:
    """The pages' event log: one vehicle that was heard of a second ago."""
    from tests.support.dashboards import event, sample, state, told, vehicle

    now = time.time()
    url = pages_over(f"sqlite:///{tmp_path}/log.db")
    told(
        url,
        vehicles=[vehicle(state=state(), state_at=now, last_seen_at=now)],
        events=[event(n, started_at=now - 600.0 * n, updated_at=now - 600 * n) for n in (1, 2, 3)],
        samples=[sample(now - 5.0 * n) for n in range(60)],
    )
    return url


@pytest.fixture
def office(request: pytest.FixtureRequest, tmp_path: Path) -> "Iterator[Desk]":
    """An ingester over a SQLite file, or where a test asks for it over a PostgreSQL."""
    from tests.support.fleet_stories import desk, sqlite_url

    postgres = getattr(request, "param", "sqlite") == "postgres"
    url = str(request.getfixturevalue("postgres_url")) if postgres else sqlite_url(tmp_path)
    with desk(url) as found:
        yield found


@pytest.fixture
def config(tmp_path: Path) -> "Config":
    """Settings of a vehicle whose log lies in the test's own folder."""
    from tests.support.events import settings

    return settings(tmp_path)


@pytest.fixture
def store(config: "Config") -> "Iterator[Store]":
    """That vehicle's event log, open for writing."""
    from monitor.store import open_store

    opened = open_store(config)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def context() -> Iterator[Any]:
    """A real Chromium."""
    from tests.support.browser import chromium

    with chromium(accept_downloads=True) as opened:
        yield opened


@pytest.fixture
def open_reader(context: Any) -> Iterator[Any]:
    """Opens pages that must end without a fault."""
    from tests.support.browser import Reader

    readers: list[Any] = []

    def opened(base: str) -> Any:
        readers.append(Reader(context.new_page(), base))
        return readers[-1]

    yield opened
    for reader in readers:
        reader.page.close()
    context.clear_cookies()
    assert [fault for reader in readers for fault in reader.faults] == []


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state folder with a recorded drive and a clip in it."""
    from monitor.config import TraceConfig
    from monitor.sinks.trace import TraceHeader, TraceWriter
    from tests.support.drivers import attentive, eyes_closed
    from tests.support.events import given_step

    folder = tmp_path_factory.mktemp("home")
    header = TraceHeader("truck-1", "drive-1", "driver", "default", started_at=time.time() - 900)
    writer = TraceWriter(TraceConfig(enabled=True, folder=folder / "traces"), header)
    for given in (attentive(30) + eyes_closed(1.75) + attentive(20)).at(fps=15):
        writer.on_step(given_step(*given))
    writer.close()
    _film(folder / "clips" / "e0001.mp4")
    return folder


def _film(file: Path) -> None:
    import av
    import numpy as np

    file.parent.mkdir()
    with av.open(str(file), "w", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for shade in range(0, 200, 10):
            picture = np.full((120, 160, 3), shade, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "bgr24")))
        container.mux(stream.encode())
