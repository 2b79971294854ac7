"""Whatever keeps a vehicle from its broker is told by its own line with its own cure.

The doctor says no where `run` would not be let in.
"""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from monitor.config import Config, MqttConfig, load
from monitor.doctor import Check, Verdict, examine
from monitor.errors import ConfigError, WakefulError
from monitor.protocol import messages
from monitor.protocol.schemas import Availability
from monitor.protocol.topics import Topics
from monitor.sinks.mqtt.connection import Connection
from tests.support.servers import MOSQUITTO, Mosquitto, free_port, until

pytestmark = [
    pytest.mark.skipif(not MOSQUITTO, reason="needs mosquitto"),
    # paho leaves the socket of a failed handshake to the garbage collection, which closes it.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

DAY = timedelta(days=1)


@dataclass(frozen=True)
class Issued:
    """A certificate and its key, as PEM files."""

    cert: Path
    key: Path
    certificate: x509.Certificate
    private: ec.EllipticCurvePrivateKey


def issue(
    folder: Path,
    name: str,
    by: Issued | None = None,
    *,
    host: str = "",
    from_: timedelta = -DAY,
    until_: timedelta = DAY,
) -> Issued:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    draft = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by.certificate.subject if by else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + from_)
        .not_valid_after(now + until_)
        .add_extension(x509.BasicConstraints(ca=by is None, path_length=None), critical=True)
    )
    if host:
        named = x509.IPAddress(ip_address(host)) if host[0].isdigit() else x509.DNSName(host)
        draft = draft.add_extension(x509.SubjectAlternativeName([named]), critical=False)
    certificate = draft.sign(by.private if by else key, hashes.SHA256())
    files = folder / f"{name}.crt", folder / f"{name}.key"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return Issued(*files, certificate, key)


class Yard:
    """One Mosquitto with a door for each kind of trouble."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca = issue(folder, "ca")
        self.stranger = issue(folder, "stranger")
        host = "127.0.0.1"
        self.client = issue(folder, "client", self.ca)
        self.stale_client = issue(folder, "stale-client", self.ca, from_=-2 * DAY, until_=-DAY)
        self.foreign_client = issue(folder, "foreign-client", self.stranger)
        certificates = {
            "good": issue(folder, "good", self.ca, host=host),
            "other-name": issue(folder, "other-name", self.ca, host="broker.example"),
            "expired": issue(folder, "expired", self.ca, host=host, from_=-2 * DAY, until_=-DAY),
            "future": issue(folder, "future", self.ca, host=host, from_=DAY, until_=2 * DAY),
            "unknown": issue(folder, "unknown", self.stranger, host=host),
            "mutual": issue(folder, "mutual", self.ca, host=host),
        }
        passwords = folder / "passwords"
        passwords.write_text("me:right\n")
        subprocess.run(["mosquitto_passwd", "-U", str(passwords)], check=True, capture_output=True)
        self.ports = {name: free_port() for name in (*certificates, "plain", "login")}
        text = "per_listener_settings true\nuser root\n"
        for name, port in self.ports.items():
            text += f"listener {port} {host}\n"
            text += f"allow_anonymous {'false' if name == 'login' else 'true'}\n"
            if name == "login":
                text += f"password_file {passwords}\n"
            if name in certificates:
                one = certificates[name]
                text += f"certfile {one.cert}\nkeyfile {one.key}\ncafile {self.ca.cert}\n"
                text += "require_certificate true\n" if name == "mutual" else ""
        (folder / "all.conf").write_text(text)
        self.broker = Mosquitto(folder, file=folder / "all.conf", port=self.ports["plain"]).start()

    def mqtt(self, door: str, **settings: object) -> MqttConfig:
        values = {"host": "127.0.0.1", "port": self.ports[door], "connect_timeout_s": 10}
        if door not in {"plain", "login"}:
            values |= {"tls": True, "ca_file": self.ca.cert}
        return MqttConfig.model_validate(values | settings)


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    made = Yard(tmp_path_factory.mktemp("yard"))
    yield made
    made.broker.kill()


def connect(config: MqttConfig, client_id: str = "wakeful-test", **options: bool) -> Connection:
    will = messages.available(Topics(config.prefix, "test"), Availability.OFFLINE)
    options = {"modern": True} | options
    return Connection(config, client_id, will, lambda: None, **options)


# Door of the yard, settings, what the line must say and the settings it must name.
FAULTS: list[tuple[str, dict[str, object], str, str]] = [
    ("other-name", {}, "certificate is not for the address 127.0.0.1", "mqtt.host"),
    ("other-name", {"host": "localhost"}, "is for another name than localhost", "mqtt.host"),
    ("expired", {}, "has expired", "clock"),
    ("future", {}, "not yet valid", "clock"),
    ("unknown", {}, "nobody known signed", "mqtt.ca_file"),
    ("good", {"ca_file": None}, "nobody known signed", "mqtt.ca_file"),
    ("mutual", {}, "wants a client certificate", "mqtt.cert_file"),
    ("mutual", {"cert_file": "stale-client.crt", "key_file": "stale-client.key"},
     "client certificate, which has expired", "mqtt.cert_file"),
    ("mutual", {"cert_file": "foreign-client.crt", "key_file": "foreign-client.key"},
     "who signed the client certificate", "mqtt.cert_file"),
    ("plain", {"tls": True}, "speaks no TLS", "mqtt.tls"),
    ("good", {"tls": False}, "ended the connection", "mqtt.tls"),
    ("good", {"ca_file": "/nowhere/ca.crt"}, "cannot be read (no such file", "mqtt.ca_file"),
    ("good", {"ca_file": "passwords"}, "holds no certificate", "mqtt.ca_file"),
    ("mutual", {"cert_file": "client.crt", "key_file": "good.key"}, "is not its key", "cert_file"),
    ("mutual", {"cert_file": "client.crt", "key_file": "nowhere.key"},
     "cannot be read", "mqtt.key_file"),
    ("login", {}, "not authorized", "mqtt.username"),
    ("login", {"username": "me", "password": "wrong"}, "not authorized", "mqtt.username"),
    ("login", {"host": "no-such-host.invalid"}, "nobody knows the host", "mqtt.host"),
]  # fmt: skip


@pytest.mark.parametrize(("door", "settings", "why", "cure"), FAULTS)
def test_each_fault_has_its_own_line_and_cure_and_fails_the_doctor(
    yard: Yard, door: str, settings: dict[str, object], why: str, cure: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(yard.folder)
    config = yard.mqtt(door, **settings)
    with pytest.raises(WakefulError) as caught:
        connect(config).close()
    line = str(caught.value)
    assert why.lower() in line.lower()
    assert cure in line
    assert "\n" not in line
    finding = broker_of(Config(mqtt=config))
    assert finding.verdict is Verdict.FAIL
    assert why.lower() in finding.text.lower()


def broker_of(config: Config) -> Check:
    return next(found for found in examine(config, only={"broker"}))


@pytest.mark.parametrize(
    ("door", "settings"),
    [
        ("good", {}),
        ("mutual", {"cert_file": "client.crt", "key_file": "client.key"}),
        ("plain", {}),
        ("login", {"username": "me", "password": "right"}),
        ("plain", {"protocol": "3.1.1"}),
    ],
)
def test_who_is_let_in_is_fine(
    yard: Yard, door: str, settings: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(yard.folder)
    finding = broker_of(Config(mqtt=yard.mqtt(door, **settings)))
    assert (finding.verdict, finding.cure) == (Verdict.OK, "")


def test_the_doctor_throws_no_running_watch_out(yard: Yard) -> None:
    config = Config(mqtt=yard.mqtt("plain"))
    watch = connect(config.mqtt, f"wakeful-{config.vehicle}")
    assert broker_of(config).verdict is Verdict.OK
    assert watch.alive
    watch.close()


def test_what_an_earlier_process_had_subscribed_to_is_not_heard(yard: Yard) -> None:
    """The broker keeps a session for who went without a word; another speed topic is set since."""
    mqtt = yard.mqtt("plain")
    earlier = connect(mqtt, "wakeful-car-9", resume=False)
    earlier.subscribe(["old/speed"])
    until(lambda: earlier.alive, what="connected")
    earlier._client.socket().shutdown(2)  # type: ignore[union-attr]  # the power fails
    until(lambda: not earlier.alive, what="gone")
    later = connect(mqtt, "wakeful-car-9", resume=False)
    later.subscribe(["new/speed"])
    sender = connect(mqtt, "sender")
    heard: list[str] = []

    def hear() -> bool:
        for topic in ("old/speed", "new/speed"):
            sender.publish(messages.Message(topic, b"50"))
        while not later.incoming.empty():
            heard.append(later.incoming.get().topic)
        return bool(heard)

    until(hear, what="a speed")
    assert set(heard) == {"new/speed"}
    later.close()
    sender.close()


# --- addresses ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "host", "port", "tls"),
    [
        ("broker", "broker", 1883, False),
        ("broker:1884", "broker", 1884, False),
        ("[::1]:1884", "::1", 1884, False),
        ("[::1]", "::1", 1883, False),
        ("::1", "::1", 1883, False),
        ("mqtt://broker:1884", "broker", 1884, False),
        ("mqtt://[::1]", "::1", 1883, False),
        ("mqtts://broker", "broker", 8883, True),
        ("ssl://broker:8884/", "broker", 8884, True),
        ("tcp://broker", "broker", 1883, False),
        ("MQTT://broker", "broker", 1883, False),
    ],
)
def test_a_broker_s_address_is_taken_as_people_write_it(
    text: str, host: str, port: int, tls: bool, tmp_path: Path
) -> None:
    from monitor.app import overrides

    given = overrides(
        cameras=None, policy=None, vehicle=None, broker=text, trace=None, realtime=False
    )
    by_option = load(None, **given).mqtt
    (tmp_path / "w.yaml").write_text(f"mqtt: {{host: '{text}'}}\n")
    for mqtt in (by_option, load(tmp_path / "w.yaml").mqtt):
        assert (mqtt.host, mqtt.port, mqtt.tls) == (host, port, tls)


@pytest.mark.parametrize("text", ["", " ", ":1883", "broker:x", "broker:70000", "ws://b", "me@b"])
def test_an_address_that_names_no_broker_is_one_line(text: str, tmp_path: Path) -> None:
    from monitor.app import overrides

    with pytest.raises(ConfigError, match="--broker"):
        overrides(cameras=None, policy=None, vehicle=None, broker=text, trace=None, realtime=False)
    (tmp_path / "w.yaml").write_text(f"mqtt: {{host: '{text}'}}\n")
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "w.yaml")
    assert "\n" not in str(caught.value)


def test_a_broker_on_ipv6_alone_is_reached(tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "six.conf").write_text(f"user root\nlistener {port} ::1\nallow_anonymous true\n")
    broker = Mosquitto(tmp_path, file=tmp_path / "six.conf", port=port)
    broker.host = "::1"
    broker.start()
    connect(MqttConfig.model_validate({"host": f"[::1]:{port}"})).close()
    broker.kill()


@pytest.mark.parametrize("value", ["null", "none", "off", "", "NULL"])
@pytest.mark.parametrize("model", ["EYES", "DETECTOR", "EMOTION"])
def test_the_environment_can_switch_a_model_off(
    model: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"WAKEFUL_PERCEPTION__{model}", value)
    assert getattr(load().perception, model.lower()) is None


@pytest.mark.parametrize("topic", ["car/out_+/speed", "car/#/speed", "car/+x", "a/#b", "a\0b"])
def test_a_filter_that_no_broker_takes_is_refused_at_the_start(topic: str) -> None:
    with pytest.raises(ConfigError, match=r"speed\.topic"):
        load(None, speed={"topic": topic})
