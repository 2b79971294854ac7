"""What the dashboard's tests share: a small simulated fleet, and rows told by hand."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import insert
from streamlit.testing.v1 import AppTest
from streamlit.util import calc_hash

from dashboard import settings
from dashboard.queries.events import AlertDetail
from monitor.fleet.simulator.seeding import Plan, seed
from monitor.protocol.mapping import cell_of, evidence_from
from monitor.store import schema
from monitor.store.database import open_engine, upgrade
from monitor.types import Kind, Position

# A Wednesday noon, so that "today" is half over.
NOW = 1_780_488_000.0
DAY_S = 86_400.0
APP = str(Path(settings.__file__).with_name("app.py"))
ADDRESSES = {name: name for name in ("live", "events", "fleet", "replay", "health")} | {
    "compare": "models"
}
PAGES = list(ADDRESSES)
HOSTILE = "<img src=x onerror=alert(1)>"


@dataclass(frozen=True)
class Simulated:
    """A database that holds a simulated fleet up to `end`."""

    url: str
    end: float


def simulated(url: str, *, vehicles: int = 4, days: float = 5, end: float = NOW) -> Simulated:
    """Fill an empty database with a small fleet."""
    upgrade(url)
    engine = open_engine(url, immediate=True)
    seed(engine, Plan(vehicles, days, end))
    engine.dispose()
    return Simulated(url, end)


def told(url: str, **rows: list[dict[str, Any]]) -> None:
    """Write rows by hand: `told(url, events=[event(...)])`."""
    upgrade(url)
    engine = open_engine(url, immediate=True)
    with engine.begin() as connection:
        for table, values in rows.items():
            connection.execute(insert(schema.metadata.tables[table]), values)
    engine.dispose()


def event(number: int, **changes: Any) -> dict[str, Any]:
    """A row of `events`: a microsleep of a truck, ten minutes apart."""
    began = NOW - 600.0 * number
    row = {
        "id": f"e{number:04d}",
        "started_at": began,
        "vehicle": "truck-1",
        "drive": "drive-1",
        "camera": "driver",
        "kind": "microsleep",
        "phase": "end",
        "level": 3,
        "updated_at": began + 1.6,
        "ended_at": began + 1.6,
        "duration_s": 1.6,
        "acknowledged": False,
        "evidence": {"rule": "closure", "closed_s": 1.6},
        "policy": "p",
        "calibration": "c",
        "models": ["m"],
        "received_at": began + 1.8,
    }
    at = changes.get("latitude"), changes.get("longitude")
    placed = cell_of(None if None in at else Position(*at))
    return {**row, **placed, **changes}


def alert(number: int, **changes: Any) -> AlertDetail:
    """The same as a page reads it."""
    row = {"clip": None, **event(number, **changes)}
    row = {name: value for name, value in row.items() if not name.startswith("cell_")}
    known = row["kind"] in set(Kind)
    evidence = evidence_from(Kind(row["kind"]), row["evidence"]) if known else None
    return AlertDetail(**{**row, "evidence": evidence})


def vehicle(name: str = "truck-1", **changes: Any) -> dict[str, Any]:
    """A row of `vehicles` that was heard of just now."""
    row = {
        "vehicle": name,
        "availability": "online",
        "availability_at": NOW - 3600,
        "first_seen_at": NOW - 30 * DAY_S,
        "last_seen_at": NOW - 1,
        "state": None,
        "state_at": None,
        "stats": None,
        "version": "0.1.0",
    }
    return {**row, **changes}


def state(**changes: Any) -> dict[str, Any]:
    """A state message as the pages read it."""
    found = {
        "camera": "driver",
        "drive": "drive-1",
        "level": "none",
        "kind": None,
        "eyes": "open",
        "openness": 0.97,
        "closure_s": 0.0,
        "perclos": 0.03,
        "emotion": "neutral",
        "degraded": [],
        "calibration": {"percent": 100.0, "ready": True, "id": "c"},
        "fps": 30.0,
        "signals": {
            "Vehicle.Speed": 80.0,
            "Vehicle.Occupant.Row1.DriverSide.HeadPosition.Yaw": 2.0,
        },
    }
    return {**found, **changes}


def sample(at: float, **changes: Any) -> dict[str, Any]:
    """A row of `samples` of an attentive driver."""
    row = {
        "vehicle": "truck-1",
        "camera": "driver",
        "at": at,
        "drive": "drive-1",
        "level": 0,
        "kind": None,
        "eyes": "open",
        "openness": 0.97,
        "closure_s": 0.0,
        "perclos": 0.03,
        "fatigue": 10.0,
        "yaw_deg": 1.0,
        "pitch_deg": -1.0,
        "roll_deg": 0.0,
        "emotion": "neutral",
        "fps": 30.0,
        "calibration": 1.0,
        "speed_kmh": 80.0,
        "degraded": [],
    }
    return {**row, **changes}


def wall() -> float:
    """The wall clock, for pages that ask it."""
    return time.time()


def forget() -> None:
    """Nothing remembered from another test."""
    import streamlit as st

    from dashboard import session

    settings.settings.cache_clear()
    session.close_all()
    st.cache_data.clear()
    st.cache_resource.clear()


def opened(page: str = "live", *, timeout_s: float = 240, **query: str) -> AppTest:
    """A page after its first run."""
    app = AppTest.from_file(APP, default_timeout=timeout_s)
    for name, value in query.items():
        app.query_params[name] = value
    # `switch_page` knows a page by its file's name, `st.navigation` by its address.
    app._page_hash = calc_hash(ADDRESSES[page]) if page != "live" else ""
    return app.run()


def words(app: AppTest) -> str:
    """Everything written on a page."""
    kinds = ("html", "markdown", "caption", "info", "warning", "error", "code", "button", "title")
    found = []
    for kind in kinds:
        for element in app.get(kind):
            proto = element.proto
            text = str(getattr(element, "value", "") or getattr(proto, "body", ""))
            found.append("" if text.startswith("<style>") else text)
            found.append(str(getattr(element, "label", "")))
    return "\n".join(found)
