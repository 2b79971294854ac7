"""Addresses that people write: cameras' URLs, brokers' host and port, and what to hide of them.

Passwords hold any character, also those that RFC 3986 wants escaped; they are escaped here, so that
the address means what was meant, and none of it is ever printed.
"""

import re
from urllib.parse import quote

from monitor.errors import ConfigError

_HIDDEN = "***"
# The words cameras, DVRs and databases put in front of a secret, in a query or in a path:
# `?user=admin&password=x`, `loginuse=..&loginpas=..`, `/user=a_password=x_channel=1`.
_HIDES = (
    r"[a-z0-9]*(?:passwd|password|passwort|passphrase|passcode|loginpas|pass|pwd|psw"
    r"|secret|token|key|auth|credentials?|signature|sig)"
)
_SECRET_PAIR = re.compile(
    # A value ends at `&` or `;`; in the Xiongmai spelling at `_` before the next known word.
    rf"(?P<name>(?<![A-Za-z0-9])(?!bypass=)(?:{_HIDES}))=(?P<value>.*?)"
    r"(?=$|[&;\s]|_(?:channel|stream|user|username)=)",
    re.IGNORECASE,
)
# Greedy to the last `@`: a password may hold `/`, `#`, `?` and `@`. Better too much than a part.
_USER_INFO = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)(?P<user>[^:@/\s]*):(?P<rest>\S*@)")
# In a text that is an address and nothing else it may hold a space, too.
_USER_INFO_ALONE = re.compile(_USER_INFO.pattern.replace(r"\S*@", r".*@"))
_SCHEME = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)(?P<rest>.*)", re.DOTALL)
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+(?:%[^\]]+)?\]|[^\s:/?#@\[\]]+)(?::\d+)?(?=[/?#]|$)")
_ESCAPED = re.compile(r"%(?![0-9A-Fa-f]{2})")


def redacted(text: str) -> str:
    """A text, such as an address or an error that quotes one, without passwords and tokens."""
    user_info = _USER_INFO_ALONE if _SCHEME.match(text) else _USER_INFO
    hidden = user_info.sub(rf"\g<scheme>\g<user>:{_HIDDEN}@", text)
    return _SECRET_PAIR.sub(rf"\g<name>={_HIDDEN}", hidden)


def escaped(url: str) -> str:
    """A URL whose user and password hold no character that would end them early.

    `rtsp://me:a[b/c@cam/live` becomes `rtsp://me:a%5Bb%2Fc@cam/live`; what is escaped already, and
    an address without a user, stays as it is.
    """
    parts = _SCHEME.fullmatch(url)
    if parts is None:
        return url
    rest = parts["rest"]
    if _HOST.match(rest):  # a host comes first: an `@` further on is the path's
        return url
    for at in (index for index, letter in enumerate(rest) if letter == "@"):
        if _HOST.match(rest, at + 1):
            user, colon, password = rest[:at].partition(":")
            secret = f"{_quoted(user)}{colon}{_quoted(password)}"
            return f"{parts['scheme']}{secret}@{rest[at + 1 :]}"
    return url


def _quoted(text: str) -> str:
    return quote(_ESCAPED.sub("%25", text), safe="%!$&'()*+,;=:-._~")


def host_and_port(text: str, setting: str) -> tuple[str, int | None]:
    """Host and port of `host`, `host:1883`, `[::1]:1883`, `::1` or a URL of them.

    Args:
        text: what was given.
        setting: its name, for the message.

    Raises:
        ConfigError: empty, no host in it, a port that is none.
    """
    scheme = _SCHEME.fullmatch(text.strip())
    rest = (scheme["rest"] if scheme else text.strip()).rstrip("/")
    shown = redacted(text)
    if "@" in rest:
        raise ConfigError(
            f"{setting}: {shown} holds a user; give the host alone and set mqtt.username and "
            "WAKEFUL_MQTT__PASSWORD"
        )
    bracketed = re.fullmatch(r"\[(?P<host>[^\]]+)\](?::(?P<port>.*))?", rest)
    if bracketed:
        host, port = bracketed["host"], bracketed["port"]
    elif rest.count(":") > 1:  # a bare IPv6 address
        host, port = rest, None
    else:
        host, _, tail = rest.partition(":")
        port = tail if ":" in rest else None
    if not host or re.search(r"[\s/?#\[\]]", host):
        raise ConfigError(
            f"{setting}: {shown!r} names no host; give HOST, HOST:PORT or [IPV6]:PORT"
        )
    if port is None:
        return host, None
    if not (port.isascii() and port.isdigit() and int(port) <= 65535):
        raise ConfigError(f"{setting}: {shown!r}: {port!r} is no port; ports are 0 to 65535")
    return host, int(port)


def host_alone(text: str, setting: str) -> str:
    """A host to listen on or to ask, without brackets.

    Raises:
        ConfigError: none, or one with a port.
    """
    host, port = host_and_port(text, setting)
    if port is not None:
        raise ConfigError(f"{setting}: {text!r} holds a port; it has a setting of its own")
    return host


def scheme_of(text: str) -> str:
    """`mqtts` of `mqtts://host`; empty where there is none."""
    return text.strip().partition("://")[0].lower() if "://" in text else ""


def shown_host(host: str, port: int) -> str:
    """`host:port` as people read it; IPv6 in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
