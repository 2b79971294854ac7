"""An operator asks for the clip of one alert: it comes whole, or it is said why not."""

import json
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, insert, select

from monitor.config import Config, MqttConfig
from monitor.errors import ConfigError
from monitor.fleet.clips.fetcher import ClipFetcher
from monitor.fleet.clips.service import serve
from monitor.fleet.config import FleetClipsConfig, load_fleet
from monitor.protocol import messages
from monitor.protocol.mapping import event_row
from monitor.protocol.schemas import ClipAsk, ClipPart
from monitor.store import schema
from monitor.store.database import open_engine, upgrade
from tests.support.events import NOW, event, rows, settings
from tests.support.fleet_stories import sqlite_url
from tests.support.listeners import TOPICS, Listener, watching
from tests.support.servers import Mosquitto, until

pytestmark = pytest.mark.broker

ALERT = event("asleep").id
# A part of some 6 KB, so that a clip has a hundred.
SMALL_PACKETS = 9216
FILM = random.Random(17).randbytes(600_000)
DAY_S = 86_400.0


class Clock:
    """Tells the time it was set to."""

    at = NOW

    def __call__(self) -> float:
        return self.at


class Fleet:
    """The fleet's side: a database that knows one alert, a folder, a fetcher."""

    def __init__(self, folder: Path, port: int) -> None:
        upgrade(sqlite_url(folder))
        self.engine: Engine = open_engine(sqlite_url(folder), immediate=True)
        self.folder = folder / "fleet-clips"
        self.clock = Clock()
        self.mqtt = MqttConfig(host="127.0.0.1", port=port, retry_s=(1, 1))
        self.config = FleetClipsConfig(parts=8, retry_s=(0.2, 0.4), keep_days=30)
        with self.engine.begin() as connection:
            row = dict(event_row(event("asleep"), "car-7", sequence=1, received_at=NOW))
            del row["redated_from"]  # no column of `events`
            connection.execute(insert(schema.events).values(row))

    def ask(self, name: str = "request-1", vehicle: str = "car-7") -> None:
        values = {
            "id": name, "event": ALERT, "vehicle": vehicle, "requested_by": "anna",
            "requested_at": self.clock(), "status": "requested", "received_bytes": 0,
            "updated_at": self.clock(), "expires_at": self.clock() + 14 * DAY_S,
        }  # fmt: skip
        with self.engine.begin() as connection:
            connection.execute(insert(schema.clip_requests).values(values))

    def row(self, name: str = "request-1") -> dict[str, Any]:
        table = schema.clip_requests
        with self.engine.connect() as connection:
            found = connection.execute(select(table).where(table.c.id == name)).mappings().one()
            return dict(found)

    def actions(self) -> list[str]:
        with self.engine.connect() as connection:
            return list(connection.scalars(select(schema.audit.c.action)))

    @contextmanager
    def fetching(self) -> Iterator[ClipFetcher]:
        fetcher = ClipFetcher(self.mqtt, self.config, self.folder, self.engine, self.clock)
        fetcher.start()
        try:
            until(lambda: fetcher.connected, what="the fetcher is connected")
            yield fetcher
        finally:
            fetcher.close()

    def until_status(self, fetcher: ClipFetcher, *wanted: str) -> dict[str, Any]:
        def there() -> bool:
            self.clock.at += 0.1
            fetcher.step(0.05)
            return self.row()["status"] in wanted

        until(there, 60, what=f"{wanted}")
        return self.row()


@pytest.fixture
def fleet(mosquitto: Mosquitto, tmp_path: Path) -> Iterator[Fleet]:
    found = Fleet(tmp_path, mosquitto.port)
    yield found
    found.engine.dispose()


def car(folder: Path, port: int, *, send: bool = True, film: bytes | None = FILM) -> Config:
    clips = folder / "car-clips"
    clips.mkdir(exist_ok=True)
    if film is not None:
        (clips / f"{ALERT}.mp4").write_bytes(film)
    quick = {"host": "127.0.0.1", "port": port, "retry_s": (0.05, 0.3), "will_delay_s": 0}
    return settings(
        folder,
        mqtt={**quick, "max_payload_bytes": SMALL_PACKETS},
        clips={"enabled": True, "folder": str(clips), "send": send},
    )


def test_a_clip_comes_whole_and_both_sides_note_it(
    fleet: Fleet, mosquitto: Mosquitto, tmp_path: Path
) -> None:
    config = car(tmp_path, mosquitto.port)
    fleet.ask()
    with watching(config), fleet.fetching() as fetcher:
        row = fleet.until_status(fetcher, "stored", "failed", "refused")
    assert (row["status"], row["file"]) == ("stored", f"{ALERT}.mp4")
    assert (fleet.folder / row["file"]).read_bytes() == FILM
    assert row["received_bytes"] == row["total_bytes"] == len(FILM)
    assert row["expires_at"] == pytest.approx(fleet.clock() + 30 * DAY_S, abs=5)
    assert fleet.actions() == ["clip store"]
    with fleet.engine.connect() as connection:
        assert connection.scalar(select(schema.events.c.clip)) == row["file"]
    sent = [r for r in rows(config, schema.audit) if r["action"] == "clips.send"]
    assert sent
    assert sent[0]["subject"] == f"{ALERT}.mp4"
    assert not list((fleet.folder / ".partial").iterdir())


def test_a_cut_in_the_middle_is_resumed_where_it_was(
    fleet: Fleet, mosquitto: Mosquitto, tmp_path: Path
) -> None:
    """The broker is killed, then the vehicle's watch and the fetcher start anew: nothing twice."""
    config = car(tmp_path, mosquitto.port)
    fleet.ask()
    third = len(FILM) // 3

    def some(fetcher: ClipFetcher, least: int) -> bool:
        fleet.clock.at += 0.1
        fetcher.step(0.05)
        return int(fleet.row()["received_bytes"]) >= least

    with fleet.fetching() as fetcher:
        with watching(config):
            until(lambda: some(fetcher, third), what="a third has come")
            mosquitto.kill()
            until(lambda: not fetcher.connected, what="the cut is noticed")
            before = fleet.row()["received_bytes"]
            mosquitto.start()
            until(lambda: some(fetcher, before + 1), 60, what="it goes on")
        assert before < len(FILM)
    halfway = fleet.row()["received_bytes"]
    assert halfway < len(FILM)
    with Listener(mosquitto.port) as outside, watching(config), fleet.fetching() as fetcher:
        row = fleet.until_status(fetcher, "stored", "failed", "refused")
        parts = [messages.read(TOPICS.parse(TOPICS.channel("clip")), p) for p in outside.on("clip")]
    assert row["status"] == "stored"
    assert (fleet.folder / row["file"]).read_bytes() == FILM
    offsets = [part.offset for part in parts if isinstance(part, ClipPart)]
    assert min(offsets) == halfway


def test_a_vehicle_that_was_away_is_asked_when_it_is_back(
    fleet: Fleet, mosquitto: Mosquitto, tmp_path: Path
) -> None:
    fleet.config = FleetClipsConfig(parts=8, retry_s=(3600, 3600))
    fleet.ask()
    with fleet.fetching() as fetcher:
        fetcher.step(0.2)
        assert fleet.row()["status"] == "requested"
        with watching(car(tmp_path, mosquitto.port)):
            # Long before the hour is over: it said that it is online.
            assert fleet.until_status(fetcher, "stored")["file"]


@pytest.mark.parametrize(
    ("send", "film", "why"),
    [(False, FILM, "clips.send is off"), (True, None, "no clip of this alert")],
)
def test_a_refusal_says_why(
    fleet: Fleet, mosquitto: Mosquitto, tmp_path: Path, send: bool, film: bytes | None, why: str
) -> None:
    config = car(tmp_path, mosquitto.port, send=send, film=film)
    fleet.ask()
    with watching(config), fleet.fetching() as fetcher:
        row = fleet.until_status(fetcher, "stored", "failed", "refused")
    assert row["status"] == "refused"
    assert why in row["reason"]
    assert not list(fleet.folder.glob("*.mp4"))


def test_nothing_is_sent_unless_the_vehicle_s_owner_said_so(tmp_path: Path) -> None:
    assert settings(tmp_path).clips.send is False


def test_a_clip_that_is_too_large_is_not_fetched(
    fleet: Fleet, mosquitto: Mosquitto, tmp_path: Path
) -> None:
    fleet.config = FleetClipsConfig(max_bytes=100_000)
    fleet.ask()
    with watching(car(tmp_path, mosquitto.port)), fleet.fetching() as fetcher:
        row = fleet.until_status(fetcher, "failed", "stored")
    assert row["status"] == "failed"
    assert "clips.max_bytes is 100000" in row["reason"]


def test_what_is_not_the_announced_file_is_not_kept(
    fleet: Fleet, mosquitto: Mosquitto, tmp_path: Path
) -> None:
    """Somebody on the broker who lies about the checksum."""
    fleet.ask()
    with Listener(mosquitto.port) as liar, fleet.fetching() as fetcher:
        lie = {"vehicle": "car-7", "request": "request-1", "event": ALERT, "total_bytes": 3,
               "sha256": "0" * 64, "data": "YWJj"}  # fmt: skip
        part = ClipPart.model_validate(lie, strict=False)

        def told() -> bool:
            message = messages.clip_part(TOPICS, part)
            liar.ask(message.topic, message.payload)
            fleet.clock.at += 0.1
            fetcher.step(0.05)
            return fleet.row()["status"] == "failed"

        until(told, what="given up")
    assert "checksum" in fleet.row()["reason"]
    assert not list(fleet.folder.glob("*.mp4"))


def test_only_the_vehicle_that_was_asked_is_heard(
    fleet: Fleet, mosquitto: Mosquitto, tmp_path: Path
) -> None:
    fleet.ask(vehicle="car-8")
    with Listener(mosquitto.port) as other, fleet.fetching() as fetcher:
        refusal = ClipPart(vehicle="car-7", request="request-1", event=ALERT, reason="ha")
        message = messages.clip_part(TOPICS, refusal)
        other.ask(message.topic, message.payload)
        fetcher.step(0.3)
    assert fleet.row()["status"] == "requested"


def test_a_clip_is_deleted_after_its_time_and_a_request_forgotten_after_its(
    fleet: Fleet, mosquitto: Mosquitto, tmp_path: Path
) -> None:
    fleet.ask()
    with watching(car(tmp_path, mosquitto.port)), fleet.fetching() as fetcher:
        row = fleet.until_status(fetcher, "stored")
        fleet.ask("request-2", vehicle="car-8")
        fleet.clock.at = row["expires_at"] - 1
        fetcher.step(0.01)
        assert (fleet.folder / row["file"]).exists()
        assert fleet.row("request-2")["status"] == "expired"
        fleet.clock.at = row["expires_at"]
        fetcher.step(0.01)
    assert not (fleet.folder / row["file"]).exists()
    assert fleet.row()["file"] is None
    assert fleet.actions() == ["clip store", "clip delete"]


@pytest.mark.parametrize("event_id", ["../../etc/passwd", "a/b", "..", "", "x" * 37, "\0"])
def test_no_request_leads_out_of_the_folder(event_id: str) -> None:
    with pytest.raises(ValueError, match="event"):
        messages.read_clip_ask(json.dumps({"request": "r", "event": event_id}).encode())
    assert ClipAsk(request="r", event=ALERT).offset == 0


def test_two_fetchers_do_not_share_a_folder(mosquitto: Mosquitto, tmp_path: Path) -> None:
    config = load_fleet(
        None,
        mqtt={"host": "127.0.0.1", "port": mosquitto.port},
        clips={"folder": str(tmp_path / "clips")},
    )
    stop = threading.Event()
    first = threading.Thread(target=serve, args=(config, sqlite_url(tmp_path), stop))
    first.start()
    try:
        until((tmp_path / "clips" / ".fetcher.lock").exists, what="the first began")
        with pytest.raises(ConfigError, match="another"):
            serve(config, sqlite_url(tmp_path), stop)
    finally:
        stop.set()
        first.join()
