"""What OpenSSL says of a handshake that failed, in words that name the setting to change."""

import socket

from monitor.config import MqttConfig
from monitor.sinks.mqtt.client import tls_context

# A refusal is sent at once; a broker that is content waits for us to speak.
_LISTEN_S = 2.0

# In this order: what OpenSSL says of a certificate begins alike and ends with the reason.
_FAULTS = {
    "hostname mismatch": (
        "the broker's certificate is for another name than {host}; set mqtt.host to the name "
        "in it, or have one made for {host}"
    ),
    "ip address mismatch": (
        "the broker's certificate is not for the address {host}; set mqtt.host to the name in "
        "it, or have one made for {host}"
    ),
    "certificate has expired": (
        "the broker's certificate has expired; renew it, or set this machine's clock right"
    ),
    "not yet valid": "the broker's certificate is not yet valid; set this machine's clock right",
    "certificate required": (
        "the broker wants a client certificate; set mqtt.cert_file and mqtt.key_file"
    ),
    "alert certificate expired": (
        "the broker refuses the client certificate, which has expired; renew mqtt.cert_file"
    ),
    "unknown ca": (
        "the broker does not know who signed the client certificate; have mqtt.cert_file "
        "signed by the authority that the broker trusts"
    ),
    "wrong version number": (
        "the port speaks no TLS; set mqtt.tls to false or mqtt.port to the broker's TLS port "
        "(usually 8883)"
    ),
    "unexpected eof": (
        "ended the handshake: the port speaks no TLS (set mqtt.tls to false, or mqtt.port to "
        "its TLS port, usually 8883), or it wants a client certificate (mqtt.cert_file, "
        "mqtt.key_file)"
    ),
    "handshake failure": (
        "the broker refuses the handshake; it may want a client certificate (mqtt.cert_file, "
        "mqtt.key_file) or an older TLS"
    ),
    "certificate verify failed": (
        "nobody known signed the broker's certificate; set mqtt.ca_file to the authority that did"
    ),
}


def explain_tls(text: str, config: MqttConfig) -> str:
    """What OpenSSL's error means, and the cure."""
    plain = text.lower().replace("_", " ")
    for words, meaning in _FAULTS.items():
        if words in plain:
            return meaning.format(host=config.host)
    if not text:
        return "ended the connection; is it an MQTT broker?"
    return f"tls failed ({text[:160]}); see mqtt.ca_file, mqtt.cert_file and mqtt.key_file"


def fault_after_handshake(config: MqttConfig) -> str:
    """What the broker says of us once the handshake is done; empty where it says nothing."""
    try:
        with (
            socket.create_connection((config.host, config.port), config.connect_timeout_s) as line,
            tls_context(config).wrap_socket(line, server_hostname=config.host) as secured,
        ):
            secured.settimeout(_LISTEN_S)
            return "" if secured.recv(1) else "unexpected eof"
    except TimeoutError:
        return ""
    except OSError as error:
        return str(error)
