"""A paho client as the fleet's side uses it: MQTT 5, TLS, credentials from files."""

import secrets
import ssl

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
    try:
        context = ssl.create_default_context(cafile=config.ca_file)
        if config.cert_file is not None:
            context.load_cert_chain(config.cert_file, config.key_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"mqtt: TLS files cannot be used ({error}); see mqtt.ca_file, cert_file and key_file"
        ) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
