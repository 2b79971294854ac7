"""A paho client as the fleet's side uses it: MQTT 5, TLS, credentials from files."""

import secrets
import ssl
from pathlib import Path

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from monitor.config import MqttConfig
from monitor.errors import ConfigError


def new_client(config: MqttConfig) -> mqtt.Client:
    """A client that is ready to connect.

    Args:
        config: credentials, TLS and pauses between attempts.

    Raises:
        ConfigError: a password or certificate file cannot be read.
    """
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=fresh_id(), protocol=mqtt.MQTTv5)
    set_up(client, config)
    return client


def fresh_id() -> str:
    """A client id of its own, so that no two of us throw each other out."""
    return f"wakeful-{secrets.token_hex(6)}"


def set_up(client: mqtt.Client, config: MqttConfig) -> None:
    """Give a client its credentials, TLS and pauses between attempts.

    Raises:
        ConfigError: a password or certificate file cannot be read.
    """
    if config.username is not None:
        client.username_pw_set(config.username, password(config))
    if config.tls:
        client.tls_set_context(tls_context(config))
    first_s, longest_s = config.retry_s
    client.reconnect_delay_set(max(1, int(first_s)), max(1, int(longest_s)))
    client.connect_timeout = config.connect_timeout_s


def password(config: MqttConfig) -> str | None:
    """The password, from the setting or its file.

    Raises:
        ConfigError: the file cannot be read.
    """
    if config.password is not None:
        return config.password.get_secret_value()
    if config.password_file is None:
        return None
    try:
        return config.password_file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError(
            f"mqtt.password_file {config.password_file} cannot be read ({error.strerror})"
        ) from None


def tls_context(config: MqttConfig) -> ssl.SSLContext:
    """TLS that checks the broker's certificate and name.

    Raises:
        ConfigError: a file is missing or is not what it should be.
    """
    for name in ("ca_file", "cert_file", "key_file"):
        _check_readable(f"mqtt.{name}", getattr(config, name))
    if config.key_file is not None and config.cert_file is None:
        raise ConfigError("mqtt.key_file is set without mqtt.cert_file; set both or neither")
    try:
        context = ssl.create_default_context(cafile=config.ca_file)
    except (OSError, ssl.SSLError):
        raise ConfigError(
            f"mqtt.ca_file {config.ca_file}: holds no certificate; give the authority's, as PEM"
        ) from None
    if config.cert_file is not None:
        _load_certificate(context, config.cert_file, config.key_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _load_certificate(context: ssl.SSLContext, cert_file: Path, key_file: Path | None) -> None:
    try:
        # A key that is locked must not make a service wait for somebody to type.
        context.load_cert_chain(cert_file, key_file, password=lambda: "")
    except (OSError, ssl.SSLError, ValueError) as error:
        key = key_file or cert_file
        mismatch = "key values mismatch" in str(error).lower().replace("_", " ")
        why = (
            f"{key} is not its key"
            if mismatch
            else f"certificate or key ({key}) cannot be used; give both as PEM, the key unlocked"
        )
        raise ConfigError(f"mqtt.cert_file {cert_file}: {why}") from None


def _check_readable(setting: str, path: Path | None) -> None:
    if path is None:
        return
    try:
        with path.open("rb"):
            return
    except OSError as error:
        raise ConfigError(
            f"{setting} {path}: cannot be read ({(error.strerror or str(error)).lower()}); correct "
            "the setting or the file's rights"
        ) from None
