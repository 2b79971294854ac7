"""Credentials for a broker and its vehicles: a certificate authority, passwords, a start for each.

`init` makes a folder from which Mosquitto starts as it is; `vehicle` adds one vehicle to it.
Private keys and passwords are files of mode 0600; nothing secret is ever printed.
"""

import base64
import contextlib
import hashlib
import ipaddress
import os
import re
import secrets
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from monitor.errors import ConfigError

# The paths that the shipped configuration names; `init` puts its own folder in their place.
SHIPPED_FOLDER = "/etc/wakeful/broker"
SERVICES = ("ingester", "operator")
# Mosquitto's `$7$`: PBKDF2-HMAC-SHA512. It checks one at each connect, so the count is its burden
# too: 20,000 take some 15 ms of a core, and 192 random bits need no more.
PBKDF2_ROUNDS = 20_000
CA_DAYS, LEAF_DAYS = 3650, 825
_IDENTIFIER = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class Issued:
    """What a newly provisioned vehicle gets, all in one folder to be copied to it."""

    folder: Path
    config: Path
    certificate: Path | None


def init(folder: Path, hosts: Iterable[str], shipped: Path, owner: str | None = None) -> None:
    """Make the folder of a broker: authority, server certificate, passwords, rules, configuration.

    Args:
        folder: to be made; an authority that is already there is kept.
        hosts: names and addresses under which clients reach the broker.
        shipped: `configs/mosquitto`.
        owner: user (name or number) that the services run as, in containers; they get it all but
            the authority's key. None gives Mosquitto's own user what Mosquitto needs.

    Raises:
        ConfigError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for inside in ("data", "vehicles"):
            (folder / inside).mkdir(exist_ok=True, mode=0o700)
        if not (folder / "ca.key").exists():
            _make_authority(folder)
        _issue(folder, folder / "server", "wakeful broker", list(hosts))
        shutil.copy(shipped / "acl", folder / "acl")
        text = (shipped / "mosquitto.conf").read_text(encoding="utf-8")
        (folder / "mosquitto.conf").write_text(text.replace(SHIPPED_FOLDER, str(folder.resolve())))
        (folder / "acl").chmod(0o600)
        for service in SERVICES:
            if not (folder / f"{service}.password").exists():
                _set_password(folder, service, folder / f"{service}.password")
        _give_away(folder, owner)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be written ({error.strerror})") from None


def vehicle(
    folder: Path, name: str, host: str, prefix: str = "dms/v1", *, certificate: bool = False
) -> Issued:
    """Let one vehicle in: a password (and a certificate) of its own, and its settings.

    A vehicle that is there already gets a new password; the old one ends with the broker's reload.

    Args:
        folder: made by `init`.
        name: the vehicle's id.
        host: under which it reaches the broker.
        prefix: of the topics.
        certificate: issue a client certificate as well, for the listener that asks for one.

    Raises:
        ConfigError: a name that is none, a folder that `init` did not make.
    """
    _must_be_ours(folder)
    if not _IDENTIFIER.fullmatch(name) or name in SERVICES:
        raise ConfigError(
            f"vehicle {name!r}: use 1 to 64 of A-Z a-z 0-9 _ -, and none of {', '.join(SERVICES)}"
        )
    target = folder / "vehicles" / name
    try:
        target.mkdir(parents=True, exist_ok=True, mode=0o700)
        _set_password(folder, name, target / "password")
        shutil.copy(folder / "ca.crt", target / "ca.crt")
        if certificate:
            _issue(folder, target / "client", name, [])
        config = target / "wakeful.yaml"
        config.write_text(_snippet(name, host, prefix, certificate=certificate))
    except OSError as error:
        raise ConfigError(f"{target}: cannot be written ({error.strerror})") from None
    return Issued(target, config, target / "client.crt" if certificate else None)


def revoke(folder: Path, name: str) -> None:
    """Let a vehicle in no more. Its certificate, if it had one, must be put on the broker's CRL.

    Raises:
        ConfigError: it was never let in.
    """
    _must_be_ours(folder)
    passwords = _passwords(folder)
    if name not in passwords or name in SERVICES:
        raise ConfigError(f"vehicle {name!r} is not provisioned in {folder}")
    del passwords[name]
    _write_passwords(folder, passwords)
    shutil.rmtree(folder / "vehicles" / name, ignore_errors=True)


def hashed(password: str, salt: bytes, rounds: int = PBKDF2_ROUNDS) -> str:
    """A password as Mosquitto's password file holds it."""
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, rounds)
    return f"$7${rounds}${_base64(salt)}${_base64(digest)}"


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _must_be_ours(folder: Path) -> None:
    if not (folder / "ca.key").is_file():
        raise ConfigError(
            f"{folder}: no broker folder; make one with `wakeful fleet provision --init`"
        )


def _set_password(folder: Path, name: str, secret: Path) -> None:
    password = secrets.token_urlsafe(24)
    passwords = _passwords(folder)
    passwords[name] = hashed(password, secrets.token_bytes(12))
    _write_passwords(folder, passwords)
    _write_secret(secret, (password + "\n").encode())


def _passwords(folder: Path) -> dict[str, str]:
    try:
        lines = (folder / "passwords").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}
    return dict(line.split(":", 1) for line in lines if ":" in line)


def _write_passwords(folder: Path, hashes: dict[str, str]) -> None:
    text = "".join(f"{name}:{entry}\n" for name, entry in sorted(hashes.items()))
    _write_secret(folder / "passwords", text.encode())


def _write_secret(path: Path, content: bytes) -> None:
    """Whole or not at all, and never readable by others in between."""
    fresh = path.with_suffix(path.suffix + ".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    if path.exists() and os.geteuid() == 0:
        os.chown(fresh, path.stat().st_uid, path.stat().st_gid)
    fresh.replace(path)


def _snippet(name: str, host: str, prefix: str, *, certificate: bool) -> str:
    lines = [
        f"vehicle: {name}",
        "mqtt:",
        f"  host: {host}",
        f"  port: {8884 if certificate else 8883}",
        f"  prefix: {prefix}",
        "  tls: true",
        "  ca_file: /etc/wakeful/ca.crt",
        f"  username: {name}",
        "  password_file: /etc/wakeful/password",
        "  # The fleet's database says when an alert is safe; the broker alone may lose it.",
        "  confirm: application",
        # Home Assistant's topics are not in a fleet's rules.
        "  discovery: false",
    ]
    if certificate:
        lines[8:9] = ["  cert_file: /etc/wakeful/client.crt", "  key_file: /etc/wakeful/client.key"]
        lines.remove(f"  username: {name}")
    return "\n".join(lines) + "\n"


def _make_authority(folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Wakeful fleet authority")])
    usage = x509.KeyUsage(
        digital_signature=False, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, key_cert_sign=True, crl_sign=True,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip
    builder = (
        _dated(name, name, key.public_key(), CA_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    _write_pair(folder / "ca", key, builder.sign(key, hashes.SHA256()))


def _issue(folder: Path, stem: Path, common_name: str, hosts: list[str]) -> None:
    """A certificate for a server (with hosts) or a client (without), signed by the authority."""
    authority = x509.load_pem_x509_certificate((folder / "ca.crt").read_bytes())
    signer = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None)
    if not isinstance(signer, ec.EllipticCurvePrivateKey):
        raise ConfigError(f"{folder / 'ca.key'}: is not the key that `provision --init` made")
    key = ec.generate_private_key(ec.SECP256R1())
    purpose = ExtendedKeyUsageOID.SERVER_AUTH if hosts else ExtendedKeyUsageOID.CLIENT_AUTH
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    signer_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    builder = (
        _dated(name, authority.subject, key.public_key(), LEAF_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(signer_id, critical=False)
    )
    if hosts:
        named = x509.SubjectAlternativeName([_host(host) for host in hosts])
        builder = builder.add_extension(named, critical=False)
    _write_pair(stem, key, builder.sign(signer, hashes.SHA256()))


def _dated(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return x509.CertificateBuilder(
        issuer_name=issuer,
        subject_name=subject,
        public_key=key,
        serial_number=x509.random_serial_number(),
        # A vehicle's clock may be a little behind.
        not_valid_before=now - timedelta(days=1),
        not_valid_after=now + timedelta(days=days),
    )


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _write_pair(stem: Path, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    _write_secret(stem.with_suffix(".key"), private)
    stem.with_suffix(".crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def _give_away(folder: Path, owner: str | None = None) -> None:
    """Started as root, Mosquitto becomes the user `mosquitto`, who must be able to read it all.

    The authority's key and the vehicles' folders stay root's own.
    """
    if os.geteuid() != 0:
        return
    for name in ("", "data", "acl", "passwords", "server.key", "server.crt", "ca.crt"):
        _give(folder / name, owner or "mosquitto")
    for service in SERVICES if owner else ():
        _give(folder / f"{service}.password", owner or "")


def _give(path: Path, owner: str) -> None:
    if not path.exists():
        return
    # A machine without that user has no Mosquitto of its own.
    with contextlib.suppress(LookupError):
        shutil.chown(path, int(owner) if owner.isdigit() else owner)
