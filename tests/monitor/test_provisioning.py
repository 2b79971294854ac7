"""Credentials, and a real broker that keeps to them."""

import base64
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
import yaml
from paho.mqtt.enums import CallbackAPIVersion

from monitor.config import Config, MqttConfig
from monitor.errors import ConfigError
from monitor.fleet import provisioning
from monitor.fleet.config import load_fleet
from monitor.fleet.ingest.ingester import Ingester
from monitor.fleet.ingest.metrics import IngestMetrics
from monitor.fleet.ingest.subscriber import Intake
from monitor.protocol.topics import Topics
from monitor.sinks.mqtt.client import new_client
from tests.support.fleet_stories import Desk, Vehicle, an_event, sqlite_url
from tests.support.paths import ROOT
from tests.support.servers import Mosquitto, free_port, until

SHIPPED = ROOT / "configs" / "mosquitto"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_every_secret_is_a_file_that_its_owner_alone_may_read(tmp_path: Path) -> None:
    folder = tmp_path / "broker"
    provisioning.init(folder, ["localhost"], SHIPPED)
    issued = provisioning.vehicle(folder, "truck-1", "localhost", certificate=True)
    private = [*folder.glob("*.key"), *folder.glob("*.password"), folder / "passwords"]
    private += [issued.folder / "password", issued.folder / "client.key"]
    assert len(private) == 7
    assert {mode(path) for path in private} == {0o600}
    assert {mode(path) for path in (folder, folder / "vehicles", issued.folder)} == {0o700}
    password = (issued.folder / "password").read_text().strip()
    assert password not in (folder / "passwords").read_text()
    assert password not in issued.config.read_text()


def test_the_settings_it_writes_are_ours(tmp_path: Path) -> None:
    provisioning.init(tmp_path, ["localhost"], SHIPPED)
    for certificate in (False, True):
        issued = provisioning.vehicle(
            tmp_path, "truck-1", "broker.example", certificate=certificate
        )
        settings = Config.model_validate(yaml.safe_load(issued.config.read_text()))
        assert settings.vehicle == "truck-1"
        assert settings.mqtt.tls
        assert settings.mqtt.confirm == "application"
        assert (settings.mqtt.cert_file is not None) == certificate


@pytest.mark.parametrize("name", ["../x", "a/b", "", "x" * 65, "+", "ünï", "ingester", "operator"])
def test_a_name_that_would_be_more_than_a_name_is_refused(tmp_path: Path, name: str) -> None:
    provisioning.init(tmp_path / "broker", ["localhost"], SHIPPED)
    with pytest.raises(ConfigError, match="vehicle"):
        provisioning.vehicle(tmp_path / "broker", name, "localhost")
    assert not list(tmp_path.rglob("password"))


def test_a_folder_that_init_did_not_make_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="provision --init"):
        provisioning.vehicle(tmp_path, "truck-1", "localhost")


def test_a_second_init_keeps_the_authority_and_who_was_let_in(tmp_path: Path) -> None:
    provisioning.init(tmp_path, ["localhost"], SHIPPED)
    provisioning.vehicle(tmp_path, "truck-1", "localhost")
    before = (tmp_path / "ca.crt").read_bytes(), (tmp_path / "passwords").read_bytes()
    provisioning.init(tmp_path, ["localhost", "broker.example"], SHIPPED)
    assert ((tmp_path / "ca.crt").read_bytes(), (tmp_path / "passwords").read_bytes()) == before


def test_who_is_revoked_has_no_password_left(tmp_path: Path) -> None:
    provisioning.init(tmp_path, ["localhost"], SHIPPED)
    issued = provisioning.vehicle(tmp_path, "truck-1", "localhost")
    provisioning.revoke(tmp_path, "truck-1")
    assert "truck-1" not in (tmp_path / "passwords").read_text()
    assert not issued.folder.exists()
    with pytest.raises(ConfigError, match="not provisioned"):
        provisioning.revoke(tmp_path, "truck-1")


class Yard:
    """A provisioned broker that runs, with two vehicles let in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        provisioning.init(folder, ["localhost", "127.0.0.1"], SHIPPED)
        for name in ("truck-1", "truck-2"):
            provisioning.vehicle(folder, name, "localhost", certificate=True)
        self.port, self.certificate_port = free_port(), free_port()
        text = (folder / "mosquitto.conf").read_text()
        for old, new in ((8883, self.port), (8884, self.certificate_port)):
            text = text.replace(f"listener {old}", f"listener {new} 127.0.0.1")
        if os.geteuid() == 0:
            # As root it would become a user who may not look into pytest's own folder.
            text += "user root\n"
        (folder / "mosquitto.conf").write_text(text)
        self.broker = Mosquitto(folder, file=folder / "mosquitto.conf", port=self.port)

    def settings(self, name: str = "ingester", **changes: Any) -> MqttConfig:
        password = self.folder / f"{name}.password"
        if name not in provisioning.SERVICES:
            password = self.folder / "vehicles" / name / "password"
        values: dict[str, Any] = {
            "host": "localhost",
            "port": self.port,
            "tls": True,
            "ca_file": self.folder / "ca.crt",
            "username": name,
            "password_file": password,
            "retry_s": (0.1, 0.2),
        }
        return MqttConfig(**{**values, **changes})


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    found = Yard(tmp_path_factory.mktemp("yard") / "broker")
    with found.broker:
        yield found


class Attempt:
    """One client's try to publish: connected or not, and what became of the message."""

    def __init__(
        self, config: MqttConfig, topic: str, payload: bytes, *, old: bool = False
    ) -> None:
        self.reason: str | None = None
        self.published: list[str] = []
        client = new_client(config)
        if old:
            client = mqtt.Client(CallbackAPIVersion.VERSION2, "old", protocol=mqtt.MQTTv311)
            client.username_pw_set(config.username, provision_password(config))
            client.tls_set(str(config.ca_file))
        client.reconnect_delay_set(1, 1)
        client.on_connect = lambda c, _u, _f, reason, _p: setattr(self, "reason", str(reason))
        client.on_connect_fail = lambda *_: setattr(self, "reason", "no connection")
        client.on_disconnect = lambda *_: setattr(self, "reason", self.reason or "thrown out")
        client.on_publish = lambda c, _u, _m, reason, _p: self.published.append(str(reason))
        client.connect_async(config.host, config.port)
        client.loop_start()
        until(lambda: self.reason, what="an answer to CONNECT")
        if self.reason == "Success":
            client.publish(topic, payload, qos=1)
            until(lambda: self.published or not client.is_connected(), what="an answer")
        client.disconnect()
        client.loop_stop()


def provision_password(config: MqttConfig) -> str:
    assert config.password_file is not None
    return config.password_file.read_text().strip()


@pytest.fixture
def taken(yard: Yard, tmp_path: Path) -> Iterator["Listener"]:
    """What reaches an ingester that is connected to that broker."""
    found = Listener(yard, tmp_path)
    yield found
    found.close()


class Listener:
    """A real ingester's intake and database, fed by the broker of the yard."""

    def __init__(self, yard: Yard, folder: Path) -> None:
        self.desk = Desk(sqlite_url(folder))
        config = load_fleet(mqtt=yard.settings().model_dump())
        self.intake = Intake(config.mqtt, config.ingest)
        self.ingester = Ingester(config, self.desk.engine, self.intake, IngestMetrics())
        self.intake.start()
        assert self.intake.wait_connected(20), self.intake.refusal

    def events_after(self, marker: str, yard: Yard) -> list[str]:
        """Vehicles whose events arrived, once a right message sent afterwards has."""
        message = Vehicle("truck-2").tell(an_event(id=marker))
        Attempt(yard.settings("truck-2"), message.topic, message.payload)
        arrived = lambda: marker in {row["id"] for row in self.desk.rows("events")}  # noqa: E731
        until(lambda: self.ingester.step(self.intake.gather(0.1), self.desk.stop) or arrived())
        return [row["vehicle"] for row in self.desk.rows("events") if row["id"] != marker]

    def close(self) -> None:
        self.intake.close()
        self.desk.engine.dispose()


@pytest.mark.broker
def test_a_provisioned_vehicle_reaches_the_ingester(yard: Yard, taken: Listener) -> None:
    message = Vehicle("truck-1").tell(an_event(id="by-password"))
    attempt = Attempt(yard.settings("truck-1"), message.topic, message.payload)
    assert attempt.published == ["Success"]
    assert taken.events_after("marker", yard) == ["truck-1"]


@pytest.mark.broker
def test_a_client_certificate_is_enough_and_is_the_vehicle(yard: Yard, taken: Listener) -> None:
    own = yard.folder / "vehicles" / "truck-1"
    by_certificate = yard.settings(
        "truck-1",
        port=yard.certificate_port,
        username=None,
        password_file=None,
        cert_file=own / "client.crt",
        key_file=own / "client.key",
    )
    message = Vehicle("truck-1").tell(an_event(id="by-certificate"))
    assert Attempt(by_certificate, message.topic, message.payload).published == ["Success"]
    other = Vehicle("truck-2").tell(an_event(id="forged"))
    assert Attempt(by_certificate, other.topic, other.payload).published == ["Not authorized"]
    assert taken.events_after("marker", yard) == ["truck-1"]


def outsiders(yard: Yard, folder: Path) -> dict[str, MqttConfig]:
    strangers = folder / "strangers"
    provisioning.init(strangers, ["localhost"], SHIPPED)
    provisioning.vehicle(strangers, "truck-1", "localhost", certificate=True)
    theirs = strangers / "vehicles" / "truck-1"
    wrong = folder / "wrong.password"
    wrong.write_text("wrong")
    on_certificates = {"port": yard.certificate_port, "username": None, "password_file": None}
    return {
        "without TLS": yard.settings("truck-1", tls=False, ca_file=None),
        "trusting another authority": yard.settings("truck-1", ca_file=strangers / "ca.crt"),
        "anonymous": yard.settings("truck-1", username=None, password_file=None),
        "with a wrong password": yard.settings("truck-1", password_file=wrong),
        "under an unknown name": yard.settings("truck-1", username="truck-9"),
        "without a certificate": yard.settings("truck-1", **on_certificates),
        "with a stranger's certificate": yard.settings(
            "truck-1",
            **on_certificates,
            cert_file=theirs / "client.crt",
            key_file=theirs / "client.key",
        ),
    }


# paho leaves the socket of a failed handshake to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.broker
def test_nobody_else_reaches_the_ingester(yard: Yard, taken: Listener, tmp_path: Path) -> None:
    for how, config in outsiders(yard, tmp_path).items():
        message = Vehicle("truck-1").tell(an_event(id="intruder"))
        attempt = Attempt(config, message.topic, message.payload)
        assert attempt.reason != "Success" or not attempt.published, how
    assert taken.events_after("marker", yard) == []


@pytest.mark.broker
@pytest.mark.parametrize("old", [False, True], ids=["MQTT 5", "MQTT 3.1.1"])
def test_no_vehicle_speaks_for_another(yard: Yard, taken: Listener, *, old: bool) -> None:
    message = Vehicle("truck-2").tell(an_event(id="forged"))
    for topic in (
        message.topic,
        "dms/v1/truck-1/../truck-2/alert",
        "dms/v1/truck-2/alert/x",
        "dms/v1/truck-2/state",
        "dms/v1/truck-1/ack",
        "dms/v1/truck-1/cmd/ack",
        "dms/v1/truck-2/camera/left/state",
        "dms/v1/truck-1/camera/left/cmd/ack",
    ):
        attempt = Attempt(yard.settings("truck-1"), topic, message.payload, old=old)
        # 3.1.1 has no word for a refusal: the broker confirms and drops.
        assert attempt.published == (["Success"] if old else ["Not authorized"]), topic
    assert taken.events_after("marker", yard) == []
    assert not taken.desk.rows("dead_letters")


REFUSED = ["Not authorized"]


@pytest.mark.broker
def test_each_may_say_all_that_is_its_own_to_say(yard: Yard) -> None:
    own, asking = Topics("dms/v1", "truck-1"), ("ack", "calibrate", "warnings", "clip")
    told = [
        own.channel(name) for name in ("available", "state", "alert", "coverage", "stats", "clip")
    ]
    told += [own.camera("left"), own.camera_state("left"), own.channel("response/x")]
    asked = [own.command(name) for name in asking] + [own.command("ack", "left")]
    for topic in told:
        assert Attempt(yard.settings("truck-1"), topic, b"").published != REFUSED, topic
        assert Attempt(yard.settings("operator"), topic, b"").published == REFUSED, topic
    for topic in asked:
        assert Attempt(yard.settings("operator"), topic, b"").published != REFUSED, topic
        assert Attempt(yard.settings("truck-1"), topic, b"").published == REFUSED, topic


class Ear:
    """A client that asks the broker for everything, and what it is given."""

    def __init__(self, config: MqttConfig) -> None:
        self.heard: list[str] = []
        subscribed: list[int] = []
        self._client = new_client(config)
        self._client.on_connect = lambda c, *_: c.subscribe("#", qos=1)
        self._client.on_subscribe = lambda *_: subscribed.append(1)
        self._client.on_message = lambda _c, _u, message: self.heard.append(message.topic)
        self._client.connect_async(config.host, config.port)
        self._client.loop_start()
        until(lambda: subscribed, what="an answer to SUBSCRIBE")

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.mark.broker
def test_nobody_but_the_operator_hears_a_clip_or_another_vehicle(yard: Yard) -> None:
    ears = {name: Ear(yard.settings(name)) for name in ("truck-2", "ingester", "operator")}
    own = Topics("dms/v1", "truck-1")
    for topic in (own.channel("clip"), own.channel("response/x"), own.channel("state")):
        assert Attempt(yard.settings("truck-1"), topic, b"{}").published != REFUSED, topic
    for vehicle in ("truck-1", "truck-2"):
        # What comes last to each: whatever else it was to hear came before.
        command = Topics("dms/v1", vehicle).command("clip")
        assert Attempt(yard.settings("operator"), command, b"{}").published != REFUSED
    last = Topics("dms/v1", "truck-2").command("clip")
    until(lambda: last in ears["truck-2"].heard and last in ears["operator"].heard, what="the end")
    until(lambda: own.channel("state") in ears["ingester"].heard, what="the ingester's part")
    for ear in ears.values():
        ear.close()
    assert own.channel("clip") in ears["operator"].heard
    assert ears["truck-2"].heard == [last]
    assert ears["ingester"].heard == [own.channel("state")]


@pytest.mark.broker
def test_a_new_vehicle_is_let_in_without_a_restart(yard: Yard) -> None:
    provisioning.vehicle(yard.folder, "truck-3", "localhost")
    yard.broker.reload()
    message = Vehicle("truck-3").tell(an_event())

    def let_in() -> bool:
        attempt = Attempt(yard.settings("truck-3"), message.topic, message.payload)
        # Nobody listens in this test, and MQTT 5 says so.
        return attempt.published == ["No matching subscribers"]

    until(let_in, what="the broker has read its passwords again")


@pytest.mark.broker
def test_an_ingester_that_is_not_let_in_says_so(yard: Yard, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.password"
    wrong.write_text("wrong")
    config = load_fleet(mqtt=yard.settings(password_file=wrong).model_dump())
    intake = Intake(config.mqtt, config.ingest)
    intake.start()
    until(lambda: "refuses" in (intake.refusal or ""), what="the refusal is told")
    assert not intake.connected
    intake.close()


@pytest.mark.broker
def test_the_shipped_password_format_is_mosquittos_own(tmp_path: Path) -> None:
    """What `mosquitto_passwd` writes and what we write differ in salt and rounds only."""
    file = tmp_path / "passwords"
    file.touch()
    try:
        subprocess.run(["mosquitto_passwd", "-b", str(file), "someone", "secret"], check=True)
    except FileNotFoundError:
        pytest.skip("no mosquitto_passwd here")
    _, _, theirs = file.read_text().strip().partition(":")
    _, kind, rounds, salt, _ = theirs.split("$")
    assert kind == "7"
    assert provisioning.hashed("secret", base64.b64decode(salt), int(rounds)) == theirs
