"""The dashboard in a real browser on bad days: who may look, and what is not there."""

import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from dashboard.auth import accounts
from dashboard.auth.accounts import Role
from tests.support.browser import Reader, dashboard
from tests.support.dashboards import event, told, vehicle
from tests.support.servers import Postgres, free_port

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]


@pytest.fixture
def guarded_log(tmp_path: Path) -> str:
    """One vehicle's log, and beside it `access.yaml` with two reviewers."""
    url = f"sqlite:///{tmp_path}/log.db"
    told(url, vehicles=[vehicle()], events=[event(1, started_at=time.time() - 60)])
    known = accounts.with_account(accounts.Accounts(), "rita", Role.REVIEWER, "a long password")
    known = accounts.with_account(known, "ben@example.org", Role.REVIEWER, None)
    accounts.write(tmp_path / "access.yaml", known)
    return url


def test_signing_in_returns_to_the_link_and_lasts_over_a_reload(
    home: Path, guarded_log: str, tmp_path: Path, open_reader: Any
) -> None:
    with dashboard(guarded_log, home, "--access", str(tmp_path / "access.yaml")) as base:
        reader = open_reader(base)
        reader.page.goto(f"{base}/events?event=e0001")
        reader.sees("Sign in")
        with reader.page.expect_response(f"{base}/session"):
            _sign_in(reader)
        reader.sees("The eyes stayed closed")
        (cookie,) = [c for c in reader.page.context.cookies() if c["name"] == "wakeful_session"]
        assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
        reader.page.reload()
        reader.sees("The eyes stayed closed")
        other = open_reader(base).go("events?event=e0001")
        other.sees("The eyes stayed closed")
        with reader.page.expect_response(f"{base}/session"):
            reader.page.get_by_role("button", name="Sign out").click()
        reader.page.get_by_label("Password", exact=True).wait_for()
        assert "truck-1" not in reader.text()
        for one in (other, reader):
            one.page.reload()
            one.page.get_by_label("Password", exact=True).wait_for()
            assert "truck-1" not in one.text()
            assert "expired" not in one.text()
            one.page.close()


def test_an_expired_session_says_so_and_opens_the_page_again(
    home: Path, guarded_log: str, tmp_path: Path, open_reader: Any
) -> None:
    with dashboard(guarded_log, home, "--access", str(tmp_path / "access.yaml")) as base:
        reader = open_reader(base)
        old = {"name": "wakeful_session", "value": "of-another-day", "url": base}
        reader.page.context.add_cookies([old])
        reader.page.goto(f"{base}/events?event=e0001")
        reader.sees("Your session has expired")
        _sign_in(reader)
        reader.sees("The eyes stayed closed")
        reader.page.close()
        reader.page.context.clear_cookies()


def _sign_in(reader: Reader) -> None:
    reader.page.get_by_label("Name").fill("rita")
    reader.page.get_by_label("Password", exact=True).fill("a long password")
    reader.page.get_by_role("button", name="Sign in").click()


# The provider's own use of authlib, which streamlit needs newer.
@pytest.mark.filterwarnings("ignore::DeprecationWarning:authlib")
@pytest.mark.filterwarnings("ignore::DeprecationWarning:oidc_provider_mock")
@pytest.mark.filterwarnings("ignore:get_jwt_config:DeprecationWarning")
@pytest.mark.parametrize(
    ("verified", "sees"), [(True, "The eyes stayed closed"), (False, "No access yet")]
)
def test_an_organisations_own_provider_signs_people_in(
    home: Path, guarded_log: str, tmp_path: Path, open_reader: Any, verified: bool, sees: str
) -> None:
    provider = pytest.importorskip("oidc_provider_mock", reason="pip install 'wakeful[dev]'")
    port = free_port()
    claims = {"email": "ben@example.org", "email_verified": verified}
    ben = provider.User(sub="ben", claims=claims)
    with provider.run_server_in_thread(user_claims=[ben]) as organisation:
        secrets = tmp_path / ".streamlit" / "secrets.toml"
        secrets.parent.mkdir()
        secrets.write_text(
            f"""[auth]
redirect_uri = "http://127.0.0.1:{port}/oauth2callback"
cookie_secret = "{"0123456789abcdef" * 4}"
client_id = "wakeful"
client_secret = "of the test"
server_metadata_url = "http://localhost:{organisation.server_port}/.well-known/openid-configuration"
"""
        )
        access = ("--access", str(tmp_path / "access.yaml"))
        with dashboard(guarded_log, home, *access, port=port, HOME=str(tmp_path)) as base:
            reader = open_reader(base)
            reader.page.goto(f"{base}/events?event=e0001")
            reader.page.get_by_role("button", name="Sign in").click()
            reader.page.get_by_role("button", name="ben").click()
            reader.page.wait_for_url(f"{base}/**")
            reader.page.goto(f"{base}/events?event=e0001")
            reader.sees(sees)
            assert ("truck-1" in reader.text()) == verified
            reader.page.get_by_role("button", name="Sign out").click()
            reader.page.get_by_role("button", name="End session").click()
            reader.page.get_by_role("button", name="Sign in").wait_for()
            assert "truck-1" not in reader.text()
            reader.page.close()
            reader.page.context.clear_cookies()


def test_a_database_that_goes_away_is_told_and_comes_back(home: Path, open_reader: Any) -> None:
    pytest.importorskip("pgserver")
    server = Postgres()
    url = server.database("shaky")
    told(url, vehicles=[vehicle()], events=[event(1, started_at=time.time() - 60)])
    with dashboard(url, home) as base:
        reader = open_reader(base).go("events")
        reader.sees("1 alert")
        admin = create_engine(server.database("other"), isolation_level="AUTOCOMMIT")
        _rename(admin, "shaky", "elsewhere")
        reader.go("events?level=3")
        reader.sees("This page cannot be shown now")
        _rename(admin, "elsewhere", "shaky")
        reader.page.get_by_role("button", name="Try again").click()
        reader.sees("1 alert")
        reader.page.close()
        admin.dispose()
    server.close()


def test_an_empty_store_says_on_every_page_what_to_do_next(
    tmp_path: Path, open_reader: Any
) -> None:
    url = f"sqlite:///{tmp_path}/empty.db"
    told(url)
    with dashboard(url, tmp_path) as base:
        for page in ("", "events", "fleet", "replay", "health"):
            reader = open_reader(base).go(page)
            reader.page.locator("code", has_text="wakeful").first.wait_for()
            reader.page.close()


def test_an_unreachable_database_is_told_on_every_page(tmp_path: Path, open_reader: Any) -> None:
    nowhere = f"postgresql://ana:hunter2@127.0.0.1:{free_port()}/fleet"
    with dashboard(nowhere, tmp_path) as base:
        for page in ("", "events", "fleet", "health"):
            reader = open_reader(base).go(page)
            reader.sees("This page cannot be shown now")
            assert "hunter2" not in reader.text()
            reader.page.close()


def _rename(admin: Any, old: str, new: str) -> None:
    with admin.connect() as connection:
        connection.execute(
            text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"),
            {"name": old},
        )
        connection.execute(text(f'ALTER DATABASE "{old}" RENAME TO "{new}"'))
