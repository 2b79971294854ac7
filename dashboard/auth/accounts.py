"""Who may do what: one YAML file of people, their roles and, for one desk, their passwords.

    users:
      ana: {role: admin, password: scrypt$...}      # signs in on this desk
      ben@example.org: {role: reviewer}             # signs in with the organisation (OIDC)
      cleo: {role: viewer, groups: [north], password: scrypt$...}   # sees the depot north only

`wakeful dashboard passwd` writes it. Passwords are kept as scrypt hashes only.
"""

import base64
import binascii
import hashlib
import hmac
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Final, Literal

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from dashboard.queries.scope import EVERYTHING, Scope
from monitor.errors import ConfigError
from monitor.settings import explain

# OWASP Password Storage Cheat Sheet, scrypt: N = 2^15, r = 8, p = 3.
_N, _R, _P = 2**15, 8, 3
_MAX_MEMORY: Final = 256 * 1024 * 1024
MIN_LENGTH: Final = 10


class Role(IntEnum):
    """What somebody may do; each may do what those before it may."""

    VIEWER = 1  # look
    REVIEWER = 2  # and judge, acknowledge, export
    ADMIN = 3  # and save policies, see who did what


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who signed in."""

    name: str
    role: Role
    scope: Scope = EVERYTHING


class DashboardAccount(BaseModel):
    """One entry of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    role: Literal["viewer", "reviewer", "admin"]
    password: str | None = None
    # Only the vehicles of these groups; without it all of them.
    groups: tuple[str, ...] | None = None


class Accounts(BaseModel):
    """The whole file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    users: dict[str, DashboardAccount] = {}

    def user(self, name: str) -> User | None:
        """The user of this name; None for somebody who is not in the file."""
        account = self.users.get(name)
        if account is None:
            return None
        groups = None if account.groups is None else frozenset(account.groups)
        return User(name, Role[account.role.upper()], Scope(groups))

    def check(self, name: str, password: str) -> User | None:
        """The user, if the password is right. Takes as long for a name that is not there."""
        account = self.users.get(name)
        kept = account.password if account and account.password else _NOBODY
        right = verify(password, kept)
        return self.user(name) if right and account and account.password else None


def read(path: Path) -> Accounts:
    """Read the file.

    Raises:
        ConfigError: it cannot be read, or one line for each fault in it.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        return Accounts.model_validate(values)
    except OSError as error:
        raise ConfigError(
            f"{path}: accounts cannot be read ({error.strerror}); "
            "make one with `wakeful dashboard passwd NAME`"
        ) from None
    except ValidationError as error:
        raise ConfigError(explain(error, Accounts, str(path))) from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise ConfigError(f"{path}: is not YAML; see docs/dashboard.md") from None


def write(path: Path, accounts: Accounts) -> None:
    """Replace the file in one step, readable by its owner alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(accounts.model_dump(mode="json", exclude_none=True), sort_keys=True)
    fresh = path.with_name(path.name + ".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    fresh.replace(path)


def with_account(
    accounts: Accounts,
    name: str,
    role: Role,
    password: str | None,
    groups: Sequence[str] | None = None,
) -> Accounts:
    """The accounts with one added or replaced.

    Raises:
        ValueError: a password that is too short.
    """
    if password is not None and len(password) < MIN_LENGTH:
        raise ValueError(f"a password has at least {MIN_LENGTH} characters")
    account = DashboardAccount.model_validate(
        {
            "role": role.name.lower(),
            "password": hashed(password) if password is not None else None,
            "groups": None if groups is None else tuple(groups),
        }
    )
    return Accounts(users={**accounts.users, name: account})


def hashed(password: str) -> str:
    """A salted scrypt hash, as it is kept."""
    salt = secrets.token_bytes(16)
    key = _scrypt(password, salt, _N, _R, _P)
    parts = (base64.b64encode(part).decode() for part in (salt, key))
    return "$".join(("scrypt", str(_N), str(_R), str(_P), *parts))


def verify(password: str, kept: str) -> bool:
    """Whether a password is the one that was hashed; False for what is no such hash."""
    try:
        name, n, r, p, salt, key = kept.split("$")
        # A file that asks for gigabytes is a broken file.
        if name != "scrypt" or int(n) > 2**17 or int(r) > 16 or int(p) > 16:
            return False
        computed = _scrypt(password, base64.b64decode(salt), int(n), int(r), int(p))
        return hmac.compare_digest(computed, base64.b64decode(key))
    except (ValueError, binascii.Error):
        return False


def _scrypt(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=n, r=r, p=p, maxmem=_MAX_MEMORY)


# Compared with when a name is not there, so that an answer's delay tells nobody who is.
_NOBODY: Final = (
    f"scrypt${_N}${_R}${_P}$AAAAAAAAAAAAAAAAAAAAAA==$"
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=="
)
