"""The pages behind real proxies: configured as documented, and as people get it wrong."""

import contextlib
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.datastructures import Headers

from dashboard.auth import accounts
from dashboard.auth.accounts import Role
from dashboard.proxies import same_site
from tests.support.browser import Reader, dashboard
from tests.support.dashboards import event, told, vehicle
from tests.support.paths import ROOT
from tests.support.servers import free_port, listening, until


def asked(**headers: str) -> Headers:
    return Headers({name.replace("_", "-"): text for name, text in headers.items()})


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "desk:8501"},  # no browser's page: no origin
        {"host": "desk:8501", "origin": "http://desk:8501"},
        {"host": "desk", "origin": "https://desk:8443"},  # the proxy dropped the port
        {
            "host": "127.0.0.1:8501",  # the proxy's own Host
            "origin": "https://fleet.example",
            "x_forwarded_host": "fleet.example",
        },
        {
            "host": "backend",
            "origin": "https://fleet.example:8443",
            "x_forwarded_host": "fleet.example:8443, inner",
        },
    ],
)
def test_a_page_of_this_site_may_post(headers: dict[str, str]) -> None:
    assert same_site(asked(**headers))


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "desk:8501", "origin": "http://evil.example"},
        {"host": "desk:8501", "origin": "http://desk:8502"},
        {"host": "desk", "origin": "null"},
        {"host": "desk", "origin": "http://desk.evil.example"},
        {"host": "backend", "origin": "http://evil.example", "x_forwarded_host": "fleet.example"},
    ],
)
def test_a_page_of_another_site_may_not(headers: dict[str, str]) -> None:
    assert not same_site(asked(**headers))


# --- real proxies -------------------------------------------------------------------------------

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
NGINX_OWN, NGINX_BELOW = re.findall(r"```nginx\n(.*?)```", PAGE, re.DOTALL)
CADDY_OWN, CADDY_BELOW = re.findall(r"```caddy\n(.*?)```", PAGE, re.DOTALL)
NO_UPGRADE = "\n".join(line for line in NGINX_OWN.splitlines() if "pgrade" not in line)
OWN_HOST = NGINX_OWN.replace("Host $http_host", "Host inner.example")
PATH_KEPT = NGINX_BELOW.replace(":8501/;", ":8501;")
PASSWORD = "a long password"


class Listener:
    """Stands for every server on the internet: whoever asks one is counted."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                with connection:
                    connection.settimeout(2)
                    self.asked.append(connection.recv(200))

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(scope="module")
def internet() -> Iterator[Listener]:
    listener = Listener()
    yield listener
    listener.close()


@pytest.fixture(scope="module")
def pages(
    tmp_path_factory: pytest.TempPathFactory, internet: Listener
) -> Iterator[tuple[str, Path]]:
    """A dashboard with one account, its address and its home; it asks others through `internet`."""
    home = tmp_path_factory.mktemp("home")
    url = f"sqlite:///{home}/log.db"
    told(url, vehicles=[vehicle()], events=[event(1, started_at=time.time() - 60)])
    known = accounts.with_account(accounts.Accounts(), "rita", Role.REVIEWER, PASSWORD)
    accounts.write(home / "access.yaml", known)
    access, asked = ("--access", str(home / "access.yaml")), f"http://127.0.0.1:{internet.port}"
    with dashboard(url, home, *access, no_proxy="", http_proxy=asked, https_proxy=asked) as base:
        yield base, home


@contextlib.contextmanager
def behind(config: str, base: str, folder: Path) -> Iterator[str]:
    """The dashboard behind the proxy that the configuration is of; gives the proxy's address."""
    port, inner = free_port(), base.removeprefix("http://")
    config = config.replace("127.0.0.1:8501", inner)
    make = _nginx if "proxy_pass" in config else _caddy
    command = make(config, port, folder)
    if shutil.which(command[0]) is None:
        pytest.skip(f"optional: no {command[0]} here (apt-get install {command[0]})")
    with (folder / "proxy.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
    try:
        until(lambda: listening(port) or process.poll() is not None, 30, "the proxy listens")
        assert process.poll() is None, (folder / "proxy.log").read_text()
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


def _nginx(config: str, port: int, folder: Path) -> list[str]:
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/nginx.pid; events {{}}\n"
        f"http {{ access_log off; {places}\nserver {{ listen 127.0.0.1:{port};\n{config}\n}} }}\n"
    )
    return ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")]


def _caddy(config: str, port: int, folder: Path) -> list[str]:
    own = config.replace("fleet.example:8443", f"http://127.0.0.1:{port}")
    (folder / "Caddyfile").write_text(f"{{\nadmin off\n}}\n{own}")
    return ["caddy", "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]


@pytest.fixture
def reader(context: Any) -> Iterator[Reader]:
    """Its faults are the proxies'."""
    opened = Reader(context.new_page(), "")
    yield opened
    opened.page.close()
    context.clear_cookies()


@pytest.mark.browser
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("config", "path"),
    [(NGINX_OWN, ""), (NGINX_BELOW, "/wakeful"), (CADDY_OWN, ""), (CADDY_BELOW, "/wakeful")],
    ids=["nginx", "nginx below a path", "caddy", "caddy below a path"],
)
def test_as_documented_one_signs_in_once_and_stays(
    pages: tuple[str, Path],
    reader: Reader,
    internet: Listener,
    tmp_path: Path,
    config: str,
    path: str,
) -> None:
    with behind(config, pages[0], tmp_path) as proxy:
        reader.base = proxy
        reader.page.goto(f"{proxy}{path}/events?event=e0001")
        reader.sees("Sign in")
        with reader.page.expect_response(f"{proxy}{path}/session") as kept:
            reader.settled().page.get_by_label("Name").fill("rita")
            reader.page.get_by_label("Password", exact=True).fill(PASSWORD)
            reader.page.get_by_role("button", name="Sign in").click()
        assert kept.value.status == 204
        reader.sees("The eyes stayed closed")
        reader.page.reload()
        reader.sees("The eyes stayed closed")
        assert not reader.page.locator("#wk-blank").count()
    assert internet.asked == []


@pytest.mark.browser
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("config", "path", "says"),
    [
        (NO_UPGRADE, "/events", "must forward WebSockets"),
        (OWN_HOST, "/events", "the browser's own Host"),
        (PATH_KEPT, "/wakeful/", "that it does not take away"),
    ],
    ids=["no WebSockets", "a Host of its own", "the path is not taken away"],
)
def test_a_page_that_would_stay_blank_says_why(
    pages: tuple[str, Path],
    reader: Reader,
    internet: Listener,
    tmp_path: Path,
    config: str,
    path: str,
    says: str,
) -> None:
    base, home = pages
    with behind(config, base, tmp_path) as proxy:
        reader.page.goto(f"{proxy}{path}")
        # Not the script that says it, but what is shown.
        reader.page.locator("p", has_text=says).first.wait_for()
    if config == OWN_HOST:
        lines = (home / "dashboard.log").read_text()
        assert f"a page of {proxy} is not connected: the proxy sends Host inner.example" in lines
    # Nor was anybody asked which address this machine has.
    assert internet.asked == []
