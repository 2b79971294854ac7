"""Who may see and do what: passwords, roles, sessions, an organisation's own sign-in."""

import time
from pathlib import Path
from typing import Any

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest
from typer.testing import CliRunner

from dashboard import cli, settings
from dashboard.auth import access, accounts
from dashboard.auth.accounts import Role
from monitor.config import TraceConfig
from monitor.errors import ConfigError
from monitor.sinks.trace import TraceHeader, TraceWriter
from monitor.types import Observation
from tests.support.dashboards import NOW, opened, told, vehicle, words
from tests.support.events import given_step


@pytest.fixture(scope="session")
def known() -> accounts.Accounts:
    """A viewer, a reviewer and an admin, each with their name thrice as the password."""
    found = accounts.Accounts()
    for name, role in (("vera", Role.VIEWER), ("rita", Role.REVIEWER), ("adam", Role.ADMIN)):
        found = accounts.with_account(found, name, role, f"{name}-{name}-{name}")
    return found


@pytest.fixture
def people(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: accounts.Accounts) -> Path:
    """Their file, and the dashboard using it."""
    file = tmp_path / "access.yaml"
    accounts.write(file, known)
    monkeypatch.setenv(settings.ACCESS_VARIABLE, str(file))
    settings.settings.cache_clear()
    return file


def sign_in(app: AppTest, name: str, password: str | None = None) -> AppTest:
    app.text_input[0].set_value(name)
    app.text_input[1].set_value(password or f"{name}-{name}-{name}")
    next(button for button in app.button if button.label == "Sign in").click()
    return app.run()


def test_nobody_sees_anything_before_signing_in(one_vehicle: str, people: Path) -> None:
    app = opened("events", event="e0001")
    assert "truck-1" not in words(app)
    assert "Sign in" in words(app)


def test_the_linked_page_opens_after_signing_in(one_vehicle: str, people: Path) -> None:
    app = sign_in(opened("events", event="e0001"), "rita")
    assert "The eyes stayed closed" in words(app)
    assert "Save review" in words(app)


def test_a_viewer_looks_and_does_not_judge_or_export(one_vehicle: str, people: Path) -> None:
    app = sign_in(opened("events", event="e0001"), "vera")
    assert "may look, not judge" in words(app)
    assert "Save review" not in words(app)
    assert "Export" not in words(sign_in(opened("events"), "vera"))


def test_only_traces_of_ones_own_vehicles_are_offered_for_replay(
    people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "traces"
    for name in ("truck-1", "truck-2"):
        header = TraceHeader(name, "drive-1", "driver", "default", started_at=NOW)
        writer = TraceWriter(TraceConfig(folder=folder), header)
        writer.on_step(given_step(Observation(1.0, NOW), 80.0))
        writer.close()
    url = f"sqlite:///{tmp_path}/fleet.db"
    member = {"vehicle": "truck-1", "group_name": "north"}
    told(url, vehicles=[vehicle("truck-1"), vehicle("truck-2")], vehicle_groups=[member])
    monkeypatch.setenv("WAKEFUL_STORE__URL", url)
    monkeypatch.setenv("WAKEFUL_TRACE__FOLDER", str(folder))
    limited = accounts.with_account(
        accounts.read(people), "nora", Role.REVIEWER, "nora-nora-nora", ["north"]
    )
    accounts.write(people, limited)
    settings.settings.cache_clear()
    assert "truck-2" in str(sign_in(opened("replay"), "rita").multiselect[0].options)
    offered = str(sign_in(opened("replay"), "nora").multiselect[0].options)
    assert "truck-1" in offered
    assert "truck-2" not in offered


def test_a_new_password_does_not_widen_what_somebody_sees(tmp_path: Path) -> None:
    file = tmp_path / "access.yaml"

    def passwd(*options: str) -> None:
        command = ["passwd", "ben", "--access", str(file), *options]
        done = CliRunner().invoke(cli.dashboard, command, input="a long password\n")
        assert done.exit_code == 0, done.output

    passwd("--role", "reviewer", "--group", "north", "--group", "west")
    assert accounts.read(file).users["ben"].groups == ("north", "west")
    passwd("--role", "reviewer")
    assert accounts.read(file).users["ben"].groups == ("north", "west")
    passwd("--role", "reviewer", "--all-groups")
    assert accounts.read(file).users["ben"].groups is None


def test_a_wrong_password_is_refused_and_soon_locked(one_vehicle: str, people: Path) -> None:
    app = opened()
    for _ in range(5):
        app = sign_in(app, "rita", "wrong")
        assert "do not belong together" in words(app)
    assert "Too many wrong passwords" in words(sign_in(app, "rita"))
    assert "Too many" not in words(sign_in(opened(), "adam")), "another name is not locked"


def test_an_expired_session_asks_again_and_says_why(
    one_vehicle: str, people: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = sign_in(opened(), "rita")
    nine_hours_on = time.time() + 9 * 3600
    monkeypatch.setattr(access.time, "time", lambda: nine_hours_on)
    app.run()
    assert "Your session has expired" in words(app)
    assert "truck-1" not in words(app)


def test_a_role_that_was_taken_away_is_gone_at_once(one_vehicle: str, people: Path) -> None:
    app = sign_in(opened(), "rita")
    accounts.write(people, accounts.Accounts())
    app.run()
    assert "truck-1" not in words(app)


class Organisation(dict[str, Any]):
    """Who an OIDC provider says it is."""

    is_logged_in = True


@pytest.mark.parametrize(
    ("told_by_provider", "sees"),
    [
        ({"email": "ben@example.org", "email_verified": True}, "The eyes stayed closed"),
        ({"email": "ben@example.org", "email_verified": False}, "No access yet"),
        ({"email": "eve@example.org", "email_verified": True}, "No access yet"),
        ({}, "No access yet"),
    ],
)
def test_the_organisations_sign_in_gives_the_role_of_the_file(
    one_vehicle: str,
    people: Path,
    monkeypatch: pytest.MonkeyPatch,
    told_by_provider: dict[str, Any],
    sees: str,
) -> None:
    entered = accounts.with_account(accounts.read(people), "ben@example.org", Role.VIEWER, None)
    accounts.write(people, entered)
    monkeypatch.setattr(access, "_oidc", lambda: True)
    monkeypatch.setattr(st, "user", Organisation(told_by_provider))
    text = words(opened("events", event="e0001"))
    assert sees in text
    assert ("truck-1" in text) == (sees == "The eyes stayed closed")


def test_without_accounts_strangers_are_refused(one_vehicle: str) -> None:
    st.config.set_option("server.address", "0.0.0.0")  # noqa: S104 - that is what is refused
    text = words(opened())
    assert "Closed: there are no accounts" in text
    assert "truck-1" not in text


def test_the_command_refuses_strangers_too(one_vehicle: str) -> None:
    result = CliRunner().invoke(cli.dashboard, ["--address", "0.0.0.0"])  # noqa: S104
    assert isinstance(result.exception, ConfigError)
    assert "wakeful dashboard passwd" in str(result.exception)


def test_passwd_keeps_a_hash_only_its_owner_can_read(tmp_path: Path) -> None:
    file = tmp_path / "access.yaml"
    arguments = ["passwd", "ana", "--role", "reviewer", "--access", str(file)]
    result = CliRunner().invoke(cli.dashboard, arguments, input="correct horse battery\n")
    assert result.exit_code == 0, result.output
    assert "correct" not in file.read_text()
    assert file.stat().st_mode & 0o077 == 0
    known = accounts.read(file)
    assert known.check("ana", "correct horse battery") == accounts.User("ana", Role.REVIEWER)
    assert known.check("ana", "correct horse batterz") is None
    assert known.check("nobody", "correct horse battery") is None
    CliRunner().invoke(cli.dashboard, ["passwd", "ana", "--remove", "--access", str(file)])
    assert accounts.read(file).users == {}


def test_a_short_password_and_an_unknown_role_are_refused(tmp_path: Path) -> None:
    at = ["--access", str(tmp_path / "access.yaml")]
    short = CliRunner().invoke(cli.dashboard, ["passwd", "ana", *at], input="short\n")
    assert "at least 10" in str(short.exception)
    role = CliRunner().invoke(cli.dashboard, ["passwd", "ana", "--role", "king", *at], input="x\n")
    assert "viewer, reviewer or admin" in str(role.exception)


@pytest.mark.parametrize(
    "content", ["users: [", "users: {ana: {role: king}}", "other: 1", "\xff", "- 1"]
)
def test_a_broken_accounts_file_is_one_clear_line(tmp_path: Path, content: str) -> None:
    file = tmp_path / "access.yaml"
    file.write_bytes(content.encode("latin-1"))
    with pytest.raises(ConfigError, match=r"access\.yaml"):
        accounts.read(file)


@pytest.mark.parametrize("kept", ["", "scrypt$1", "scrypt$99999999$8$1$AA==$AA==", "md5$1$1$1$a$b"])
def test_a_hash_that_is_none_lets_nobody_in(kept: str) -> None:
    assert not accounts.verify("anything", kept)
