"""The dashboard in a real browser on bad days: who may look, and what is not there."""

import time
from collections.abc import Iterator
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


def _guarded_log(folder: Path) -> tuple[str, str, str]:
    """One vehicle's log and two reviewers, as the command line names them: the URL, the option."""
    url = f"sqlite:///{folder}/log.db"
    told(url, vehicles=[vehicle()], events=[event(1, started_at=time.time() - 60)])
    known = accounts.with_account(accounts.Accounts(), "rita", Role.REVIEWER, "a long password")
    known = accounts.with_account(known, "ben@example.org", Role.REVIEWER, None)
    accounts.write(folder / "access.yaml", known)
    return url, "--access", str(folder / "access.yaml")


@pytest.fixture(scope="module")
def guarded(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The dashboard over a log that two reviewers may look at."""
    url, *access = _guarded_log(tmp_path_factory.mktemp("guarded"))
    with dashboard(url, home, *access) as base:
        yield base


def test_signing_in_returns_to_the_link_and_lasts_over_a_reload(
    guarded: str, open_reader: Any
) -> None:
    reader = open_reader(guarded)
    reader.page.goto(f"{guarded}/events?event=e0001")
    reader.sees("Sign in")
    with reader.page.expect_response(f"{guarded}/session"):
        _sign_in(reader)
    reader.sees("The eyes stayed closed")
    (cookie,) = [c for c in reader.page.context.cookies() if c["name"] == "wakeful_session"]
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    reader.page.reload()
    reader.sees("The eyes stayed closed")
    other = open_reader(guarded).go("events?event=e0001")
    other.sees("The eyes stayed closed")
    with reader.page.expect_response(f"{guarded}/session"):
        reader.settled().page.get_by_role("button", name="Sign out").click()
    reader.page.get_by_label("Password", exact=True).wait_for()
    assert "truck-1" not in reader.text()
    for one in (other, reader):
        one.page.reload()
        one.page.get_by_label("Password", exact=True).wait_for()
        assert "truck-1" not in one.text()
        assert "expired" not in one.text()


def test_an_expired_session_says_so_and_opens_the_page_again(
    guarded: str, open_reader: Any
) -> None:
    reader = open_reader(guarded)
    old = {"name": "wakeful_session", "value": "of-another-day", "url": guarded}
    reader.page.context.add_cookies([old])
    reader.page.goto(f"{guarded}/events?event=e0001")
    reader.sees("Your session has expired")
    _sign_in(reader)
    reader.sees("The eyes stayed closed")


def _sign_in(reader: Reader) -> None:
    reader.settled()
    reader.page.get_by_label("Name").fill("rita")
    reader.page.get_by_label("Password", exact=True).fill("a long password")
    reader.page.get_by_role("button", name="Sign in").click()


@pytest.fixture(scope="module")
def of_an_organisation(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The same with a provider that knows ben, and eve who says that ben's address is hers."""
    provider = pytest.importorskip("oidc_provider_mock", reason="pip install 'wakeful[dev]'")
    folder, port = tmp_path_factory.mktemp("organisation"), free_port()
    people = [
        provider.User(sub=name, claims={"email": "ben@example.org", "email_verified": verified})
        for name, verified in (("ben", True), ("eve", False))
    ]
    with provider.run_server_in_thread(user_claims=people) as organisation:
        secrets = folder / ".streamlit" / "secrets.toml"
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
        url, *access = _guarded_log(folder)
        with dashboard(url, home, *access, port=port, HOME=str(folder)) as base:
            yield base


# The provider's own use of authlib, which streamlit needs newer.
@pytest.mark.filterwarnings("ignore::DeprecationWarning:authlib")
@pytest.mark.filterwarnings("ignore::DeprecationWarning:oidc_provider_mock")
@pytest.mark.filterwarnings("ignore:get_jwt_config:DeprecationWarning")
@pytest.mark.parametrize(
    ("name", "sees"), [("ben", "The eyes stayed closed"), ("eve", "No access yet")]
)
def test_an_organisations_own_provider_signs_people_in(
    of_an_organisation: str, open_reader: Any, name: str, sees: str
) -> None:
    reader = open_reader(of_an_organisation)
    reader.page.goto(f"{reader.base}/events?event=e0001")
    reader.settled().page.get_by_role("button", name="Sign in").click()
    reader.page.get_by_role("button", name=name).click()
    reader.page.wait_for_url(f"{reader.base}/**")
    reader.page.goto(f"{reader.base}/events?event=e0001")
    reader.sees(sees)
    assert ("truck-1" in reader.text()) == (name == "ben")
    reader.settled().page.get_by_role("button", name="Sign out").click()
    reader.page.get_by_role("button", name="End session").click()
    reader.page.get_by_role("button", name="Sign in").wait_for()
    assert "truck-1" not in reader.text()


def test_a_database_that_goes_away_is_told_and_comes_back(
    home: Path, postgres: Postgres, open_reader: Any
) -> None:
    url = postgres.database("shaky")
    told(url, vehicles=[vehicle()], events=[event(1, started_at=time.time() - 60)])
    with dashboard(url, home) as base:
        reader = open_reader(base).go("events")
        reader.sees("1 alert")
        admin = create_engine(postgres.database("other"), isolation_level="AUTOCOMMIT")
        _rename(admin, "shaky", "elsewhere")
        reader.go("events?level=3")
        reader.sees("This page cannot be shown now")
        _rename(admin, "elsewhere", "shaky")
        reader.page.get_by_role("button", name="Try again").click()
        reader.sees("1 alert")
        reader.page.close()
        admin.dispose()


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
