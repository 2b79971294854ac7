"""The fleet end to end: real vehicles' outboxes, a real broker, real ingesters, real databases."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import text
from typer.testing import CliRunner

from monitor.config import Config, MqttConfig
from monitor.errors import ConfigError
from monitor.fleet import fleet_app
from monitor.fleet.config import FleetConfig, load_fleet
from monitor.fleet.ingest.service import serve
from monitor.fleet.ingest.subscriber import forget
from monitor.fleet.simulator.publisher import Traffic
from monitor.fleet.simulator.seeding import Plan
from monitor.protocol.messages import Topics
from monitor.sinks.mqtt import MqttSink
from monitor.store import Store, open_store
from monitor.store.database import open_engine
from monitor.types import Phase
from tests.support.fleet_stories import NOON, an_event, later, sqlite_url
from tests.support.paths import ROOT
from tests.support.servers import Mosquitto, free_port, pause, resume, until

DAY = Plan(vehicles=3, days=0.4, end=NOON)


def fleet_settings(broker: Mosquitto, **sections: Any) -> FleetConfig:
    values: dict[str, Any] = {
        "mqtt": {"host": "127.0.0.1", "port": broker.port, "retry_s": (0.1, 0.2), "resend_s": 0.5},
        "metrics": {"port": free_port()},
    }
    return load_fleet(**{**values, **sections})


def page(config: FleetConfig, path: str) -> tuple[int, str]:
    """Status and text of one of an ingester's pages; status 0 while it does not listen."""
    try:
        url = f"http://127.0.0.1:{config.metrics.port}{path}"
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except OSError:
        return 0, ""


def healthy(config: FleetConfig) -> bool:
    return page(config, "/health")[0] == 200


@contextmanager
def ingester(config: FleetConfig, url: str) -> Iterator[None]:
    """A running ingester, stopped as SIGTERM would."""
    stop = threading.Event()
    worker = threading.Thread(target=serve, args=(config, url, stop))
    worker.start()
    try:
        until(lambda: healthy(config), what="the ingester is healthy")
        yield
    finally:
        stop.set()
        worker.join(20)
        assert not worker.is_alive()


def scalar(url: str, query: str) -> Any:
    engine = open_engine(url)
    with engine.connect() as connection:
        found = connection.execute(text(query)).scalar()
    engine.dispose()
    return found


@contextmanager
def vehicle(folder: Path, broker: Mosquitto) -> Iterator[Store]:
    """A vehicle's own log and its way to the broker, as `wakeful run` assembles them."""
    config = Config(
        vehicle="truck-7",
        store={"url": f"sqlite:///{folder / 'vehicle.db'}"},  # type: ignore[arg-type]
        mqtt=MqttConfig(
            host="127.0.0.1",
            port=broker.port,
            confirm="application",
            retry_s=(0.05, 0.2),
            resend_s=0.5,
            discovery=False,
        ),
    )
    store = open_store(config)
    sink = MqttSink(config, store, drive="drive-1", policy="default-1")
    try:
        yield store
    finally:
        sink.close()
        store.close()


@pytest.mark.broker
@pytest.mark.postgres
def test_an_alert_leaves_the_vehicle_when_the_fleet_has_it(
    tmp_path: Path, mosquitto: Mosquitto, postgres_url: str
) -> None:
    config = fleet_settings(mosquitto)
    with vehicle(tmp_path, mosquitto) as store:
        assert store.outbox is not None
        begin = an_event()
        store.record(begin)
        store.record(later(begin, 4, phase=Phase.END))
        assert store.flush()
        # The broker alone has confirmed it by now; nobody has stored it.
        assert store.outbox.waiting == 2
        with ingester(config, postgres_url):
            until(lambda: store.outbox.waiting == 0, what="the outbox is empty")
        assert scalar(postgres_url, "SELECT phase FROM events") == "end"
        assert scalar(postgres_url, "SELECT vehicle FROM events") == "truck-7"


@pytest.mark.broker
@pytest.mark.postgres
def test_two_ingesters_share_the_work_and_double_nothing(
    mosquitto: Mosquitto, postgres_url: str
) -> None:
    one, other = fleet_settings(mosquitto), fleet_settings(mosquitto)
    traffic = Traffic(DAY, one.mqtt)
    with ingester(one, postgres_url), ingester(other, postgres_url):
        told = traffic.run()
        shares = [_tellings(config) for config in (one, other)]
    assert told.missing == 0
    events = [e for n in (1, 2, 3) for e in DAY.life(n).episodes]
    assert scalar(postgres_url, "SELECT count(*) FROM events") == len(events)
    assert scalar(postgres_url, "SELECT count(DISTINCT id) FROM events") == len(events)
    open_now = sum(e.going_on for e in events)
    assert scalar(postgres_url, "SELECT count(*) FROM events WHERE phase <> 'end'") == open_now
    assert min(shares) > 0.2 * sum(shares)
    assert scalar(postgres_url, "SELECT count(*) FROM dead_letters") == 0
    statuses = scalar(postgres_url, "SELECT count(*) FROM availability")
    changes = scalar(
        postgres_url,
        "SELECT count(*) FROM (SELECT status, lag(status) OVER "
        "(PARTITION BY vehicle ORDER BY at) AS before FROM availability) AS told "
        "WHERE status IS DISTINCT FROM before",
    )
    assert statuses == changes > 0


def _tellings(config: FleetConfig) -> float:
    lines = page(config, "/metrics")[1].splitlines()
    return sum(
        float(line.rpartition(" ")[2])
        for line in lines
        if line.startswith("wakeful_ingest_tellings_total")
    )


@pytest.mark.broker
def test_a_desk_takes_in_over_a_broker_that_dies_and_returns(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    config = fleet_settings(mosquitto)
    url = sqlite_url(tmp_path)
    with ingester(config, url), vehicle(tmp_path, mosquitto) as store:
        assert store.outbox is not None
        store.record(an_event(id="before"))
        until(lambda: scalar(url, "SELECT count(*) FROM events") == 1)
        mosquitto.kill()
        until(lambda: page(config, "/health")[0] == 503, what="the fault is told")
        assert "broker" in json.loads(page(config, "/health")[1])["troubles"]
        store.record(an_event(id="during", started_s=20.0, at_s=20.0))
        assert store.flush()
        mosquitto.start()
        until(lambda: store.outbox.waiting == 0, what="the outbox is empty")
        until(lambda: healthy(config))
    assert scalar(url, "SELECT count(*) FROM events") == 2
    assert scalar(url, "SELECT status FROM availability ORDER BY at LIMIT 1") == "online"


@pytest.mark.slow
@pytest.mark.broker
def test_a_hung_broker_is_told_within_one_and_a_half_keepalives(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    """The broker is there and answers nothing."""
    mqtt = {"host": "127.0.0.1", "port": mosquitto.port, "keepalive_s": 8, "retry_s": (0.1, 0.2)}
    config = fleet_settings(mosquitto, mqtt=mqtt)
    with ingester(config, sqlite_url(tmp_path)):
        pause(mosquitto.pid)
        try:
            until(lambda: not healthy(config), deadline_s=1.5 * 8, what="the fault is told")
        finally:
            resume(mosquitto.pid)
        until(lambda: healthy(config), what="it is over")


@pytest.mark.broker
def test_a_new_ingester_learns_who_is_online(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """Shared subscriptions bring nothing retained; the status topics are subscribed plainly."""
    config, url = fleet_settings(mosquitto), sqlite_url(tmp_path)
    with vehicle(tmp_path, mosquitto), ingester(config, url):
        until(lambda: scalar(url, "SELECT availability FROM vehicles") == "online")


@pytest.mark.broker
def test_erasing_a_vehicle_clears_what_the_broker_retains(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    config, url = fleet_settings(mosquitto), sqlite_url(tmp_path)
    with ingester(config, url):
        Traffic(replace(DAY, vehicles=1), config.mqtt).run()
        until(lambda: scalar(url, "SELECT state FROM vehicles") is not None)
    forget(config.mqtt, "truck-001")
    with ingester(fleet_settings(mosquitto), sqlite_url(tmp_path / "again")):
        assert scalar(sqlite_url(tmp_path / "again"), "SELECT count(*) FROM vehicles") == 0


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    """What systemd listens on; a service finds it by NOTIFY_SOCKET."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(20)
        yield listening


@pytest.mark.broker
def test_the_command_tells_systemd_that_it_lives_and_ends_well_on_sigterm(
    tmp_path: Path, mosquitto: Mosquitto, systemd: socket.socket
) -> None:
    port = free_port()
    file = tmp_path / "fleet.yaml"
    file.write_text(yaml.safe_dump({"mqtt": {"host": "127.0.0.1", "port": mosquitto.port}}))
    process = subprocess.Popen(
        [
            sys.executable, "-c", "from monitor.fleet import fleet_app; fleet_app()", "ingest",
            "--config", str(file), "--database", sqlite_url(tmp_path), "--metrics-port", str(port),
        ],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={
            **os.environ, "WAKEFUL_HOME": str(tmp_path), "NOTIFY_SOCKET": systemd.getsockname(),
        },
    )  # fmt: skip
    config = load_fleet(metrics={"port": port})
    try:
        until(lambda: healthy(config), what="the ingester is healthy")
        assert "wakeful_ingest_broker_connected" in page(config, "/metrics")[1]
        assert page(config, "/nothing")[0] == 404
        said = set[bytes]()
        until(lambda: said.add(systemd.recv(99)) or {b"READY=1", b"WATCHDOG=1"} <= said)
        mosquitto.kill()
        until(lambda: not healthy(config), what="the broker is missed")
        # A broker that is away is no reason to be killed: the loop turns.
        assert b"WATCHDOG=1" in {systemd.recv(99) for _ in range(3)}
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        until(lambda: systemd.recv(99) == b"STOPPING=1", what="it says that it ends")
    finally:
        process.kill()
        process.wait()


def run(*arguments: str) -> str:
    """A command's output; it must end well."""
    result = CliRunner().invoke(fleet_app, list(arguments))
    assert result.exit_code == 0, result.output or result.exception
    return result.output


def test_the_commands_do_what_they_say_on_a_desk(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path)
    run(
        "simulate", "--vehicles", "3", "--days", "4", "--end", "2026-07-01T09:00", "--database", url
    )
    assert "truck-002" in run("status", "--database", url)
    run("export", "truck-002", str(tmp_path / "out"), "--database", url)
    assert (tmp_path / "out" / "events.jsonl.gz").is_file()
    run("erase", "truck-002", "--yes", "--database", url)
    assert "truck-002" not in run("status", "--database", url)
    run("retention", "--database", url)
    assert scalar(url, "SELECT count(*) FROM samples") == 0  # July's, far older than 14 days


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["simulate", "--hours", "1", "--days", "1"], "not both"),
        (["simulate", "--end", "yesterday"], "ISO time"),
        (["provision"], "name a vehicle"),
        (["ingest", "--broker", "host:x"], "is no port"),
        (["simulate", "--mqtt", ":1883"], "HOST:PORT"),
        (["ingest", "--config", "/nonexistent.yaml"], "cannot be read"),
    ],
)
def test_wrong_arguments_are_told_in_one_line(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(fleet_app, arguments)
    assert isinstance(result.exception, ConfigError)
    assert message in str(result.exception)
    assert "\n" not in str(result.exception)


def test_the_shipped_settings_of_the_fleet_are_valid() -> None:
    load_fleet(ROOT / "configs" / "fleet.yaml")


def test_a_port_alone_leaves_the_host_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAKEFUL_FLEET_MQTT__PORT", "1884")
    assert (load_fleet().mqtt.host, load_fleet().mqtt.port) == ("localhost", 1884)


def test_secrets_are_never_printed(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("open sesame\n")
    config = load_fleet(
        mqtt={"password": "hush"}, database={"url": "postgresql://w@h/d", "password_file": secret}
    )
    assert "open sesame" in config.database.resolved_url().replace("%20", " ")
    assert "hush" not in repr(config)
    assert "sesame" not in repr(config)


def test_a_wrong_setting_is_named_with_the_nearest_right_one(tmp_path: Path) -> None:
    file = tmp_path / "fleet.yaml"
    file.write_text("ingest:\n  gather_msec: 5\n")
    with pytest.raises(ConfigError, match="did you mean `gather_ms`"):
        load_fleet(file)


def test_topics_for_all_vehicles_are_one_segment_wide() -> None:
    assert Topics("dms/v1").channel("alert") == "dms/v1/+/alert"
