"""Addresses as people write them, everywhere one is taken: IPv6, with a scheme, empty."""

import urllib.request
from pathlib import Path

import pytest
from cryptography import x509
from prometheus_client import CollectorRegistry
from typer.testing import CliRunner

from dashboard.cli import dashboard
from monitor.addresses import host_alone, host_and_port, shown_host
from monitor.cli import app
from monitor.config import load
from monitor.errors import ConfigError
from monitor.fleet.config import MetricsConfig, load_fleet
from monitor.fleet.ingest.metrics import Pages
from tests.support.servers import free_port

ANYWHERE = [
    ("127.0.0.1", "127.0.0.1"),
    ("::1", "::1"),
    ("[::1]", "::1"),
    ("http://127.0.0.1", "127.0.0.1"),
    ("http://[::1]/", "::1"),
    ("localhost", "localhost"),
]
NO_HOST = ["", " ", "127.0.0.1:9100", "[::1]:9100", "http://", "a b", "[", "/metrics"]


@pytest.mark.parametrize(("text", "host"), ANYWHERE)
def test_the_numbers_are_served_there(text: str, host: str) -> None:
    config = MetricsConfig(address=text, port=free_port())
    assert config.address == host
    pages = Pages(config, CollectorRegistry(), lambda: {"troubles": {}})
    with urllib.request.urlopen(f"http://{shown_host(host, config.port)}/health") as answer:
        assert answer.status == 200
    pages.close()


@pytest.mark.parametrize("text", NO_HOST)
def test_an_address_of_the_numbers_that_is_none_is_one_line(text: str, tmp_path: Path) -> None:
    file = tmp_path / "w.yaml"
    file.write_text(f"metrics: {{address: '{text}'}}\n")
    with pytest.raises(ConfigError, match=r"metrics\.address") as caught:
        load_fleet(file)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", NO_HOST)
def test_an_address_of_the_pages_that_is_none_is_one_line(text: str) -> None:
    done = CliRunner().invoke(dashboard, ["--address", text, "--port", "0"])
    assert isinstance(done.exception, ConfigError)
    assert "--address" in str(done.exception)
    assert "\n" not in str(done.exception)


@pytest.mark.parametrize("text", ["[::1]", "::1", "mqtts://[::1]"])
def test_a_broker_s_certificate_is_made_for_the_address_that_is_meant(
    text: str, tmp_path: Path
) -> None:
    folder = tmp_path / "broker"
    done = CliRunner().invoke(
        app, ["fleet", "provision", "truck-1", "--init", "--host", text, "--folder", str(folder)]
    )
    assert done.exit_code == 0, done.output
    server = x509.load_pem_x509_certificate((folder / "server.crt").read_bytes())
    names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(name) for name in names.get_values_for_type(x509.IPAddress)] == ["::1"]
    [settings] = folder.rglob("truck-1/*.yaml")
    assert load(settings).mqtt.host == "::1"


@pytest.mark.parametrize("text", ["broker:x", "", "http://broker", "broker:70000"])
@pytest.mark.parametrize(
    "command", [["ingest", "--broker"], ["simulate", "--vehicles", "1", "--mqtt"]]
)
def test_a_fleet_s_broker_that_is_none_is_one_line(command: list[str], text: str) -> None:
    done = CliRunner().invoke(app, ["fleet", *command, text])
    assert isinstance(done.exception, ConfigError)
    assert command[-1] in str(done.exception)
    assert "\n" not in str(done.exception)


def test_a_zone_of_ipv6_is_kept() -> None:
    assert host_and_port("[fe80::1%eth0]:1883", "x") == ("fe80::1%eth0", 1883)
    assert host_alone("fe80::1%eth0", "x") == "fe80::1%eth0"


@pytest.mark.parametrize(
    "url", ["postgresql://me@[::1]:5432/w", "postgres://me@[::1]/w", "postgresql://me@db/w"]
)
def test_a_database_s_address_is_taken_as_others_write_it(url: str) -> None:
    """`postgres://` is what hosting services print; SQLAlchemy knows `postgresql` alone."""
    from monitor.store.database import shown

    assert "me@" in shown(url)
