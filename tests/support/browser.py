"""A real dashboard on loopback and a real Chromium that reads it."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

from tests.support.servers import free_port, listening, until

# The one without windows first: it draws a page for less processor time.
NAMES = ("chromium-headless-shell", "chromium", "chromium-browser")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), "")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # A webcam that shows a test picture, and may be used.
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
]
# The client first asks below a sub-page's own path, is told 404, and goes on at the root.
PROBES = ("/_stcore/health", "/_stcore/host-config")
DRAWN = '[data-testid="stVegaLiteChart"] svg, [data-testid="stVegaLiteChart"] canvas'


@contextlib.contextmanager
def dashboard(
    database: str, home: Path, *arguments: str, port: int = 0, **environment: str
) -> Iterator[str]:
    """`wakeful dashboard` in a process of its own; gives its address."""
    port = port or free_port()
    command = [sys.executable, "-c", "from monitor.cli import main; main()", "dashboard"]
    if database:
        command += ["--database", database]
    with (home / "dashboard.log").open("ab") as log:
        process = subprocess.Popen(
            [*command, "--port", str(port), *arguments],
            env={**os.environ, "WAKEFUL_HOME": str(home), **environment},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        until(lambda: listening(port) or process.poll() is not None, 120, "the dashboard listens")
        assert process.poll() is None, (home / "dashboard.log").read_text()
        yield f"http://127.0.0.1:{port}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(20)
    said = (home / "dashboard.log").read_text(errors="replace")
    assert not [word for word in STRAY if word in said], said


# Of libraries, and of ours where nobody caught it.
STRAY = ("ScriptRunContext", "Traceback", "You can now view", "Collecting usage statistics")
# How long a wait may last where ten other things run beside the tests.
PATIENCE_MS = 120_000
# Streamlit's own mark for its tests; "initial" in place of it before the first run.
IDLE = '[data-testid="stApp"][data-test-script-state="notRunning"]'


def _script_finished(payload: str | bytes) -> bool:
    """Whether this message ends a run that was not cut short for another."""
    message = ForwardMsg.FromString(payload) if isinstance(payload, bytes) else ForwardMsg()
    ended = message.WhichOneof("type") == "script_finished"
    return ended and message.script_finished != ForwardMsg.FINISHED_EARLY_FOR_RERUN


@dataclass
class Reader:
    """One browser window, and everything that went wrong in it.

    Attributes:
        page: Playwright's.
        base: the dashboard's address.
        faults: the dashboard's responses of 400 and more, and its errors in the console.
        received: bytes of answers and of the socket since `forget`.
    """

    page: Any
    base: str
    faults: list[str] = field(default_factory=list)
    received: int = 0
    _socket: Any = None

    def __post_init__(self) -> None:
        self.page.set_default_timeout(PATIENCE_MS)
        self.page.on("console", self._console)
        self.page.on("response", self._response)
        self.page.on("websocket", self._connected)

    def go(self, path: str = "") -> "Reader":
        """Open a page and wait until it is drawn to its foot."""
        self.page.goto(f"{self.base}/{path}")
        self.page.wait_for_selector(".wk-foot")
        return self.settled()

    def settled(self) -> "Reader":
        """Wait until the script has run to its end, and what it sent is drawn."""
        self.page.wait_for_selector(IDLE)
        return self

    @contextlib.contextmanager
    def answered(self) -> Iterator[None]:
        """One click or key, then wait until the script has run for it and the page is drawn.

        A page that is being drawn again loses the next key: no second one before this ends.
        """
        with self._socket.expect_event("framereceived", _script_finished):
            yield
        self.settled()

    def text(self) -> str:
        """Everything readable."""
        return str(self.page.inner_text('[data-testid="stMain"]'))

    def sees(self, words: str) -> None:
        """Wait until these words stand on the page."""
        self.page.get_by_text(words, exact=False).first.wait_for()

    def charts(self, at_least: int) -> None:
        """Wait until so many charts are drawn."""
        self.page.wait_for_function(
            f"() => document.querySelectorAll('{DRAWN}').length >= {at_least}"
        )

    def count(self) -> str:
        """How many alerts the list says there are."""
        return str(self.page.locator("p:has-text(' alert')").first.inner_text())

    def counts_other_than(self, known: str) -> str:
        """Wait until the list says another number, and return it."""
        return str(
            until(
                lambda: (now := self.count()) != known and now, PATIENCE_MS / 1000, "another count"
            )
        )

    def click_cell(self, x: int, y: int) -> None:
        """Click into the first table; its cells are painted, so only a place can be clicked."""
        table = self.page.locator('[data-testid="stDataFrame"]').first
        table.scroll_into_view_if_needed()
        table.click(position={"x": x, "y": y}, force=True)

    def forget(self) -> None:
        """Count from here."""
        self.received = 0

    def _connected(self, socket: Any) -> None:
        self._socket = socket
        socket.on("framereceived", self._frame)

    def _console(self, message: Any) -> None:
        place = (message.location or {}).get("url", "")
        foreign = bool(place) and not place.startswith(self.base)
        known = any(probe in place for probe in PROBES)
        if message.type == "error" and not foreign and not known:
            self.faults.append(f"console: {message.text[:300]} ({place})")

    def _response(self, response: Any) -> None:
        ours = response.url.startswith(self.base) and not response.url.endswith(PROBES)
        if response.status >= 400 and ours:
            self.faults.append(f"{response.status}: {response.url}")
        if "/media/" in response.url or "/_stcore/" in response.url:
            self.received += int(response.headers.get("content-length", 0))

    def _frame(self, payload: str | bytes) -> None:
        self.received += len(payload)


@contextlib.contextmanager
def chromium(**options: Any) -> Iterator[Any]:
    """A real Chromium's context; skips where there is none."""
    api = pytest.importorskip("playwright.sync_api", reason="pip install 'wakeful[dev]'")
    if not CHROMIUM:
        pytest.skip("no Chromium here (apt-get install chromium-headless-shell)")
    settings = {"viewport": {"width": 1440, "height": 900}, "timezone_id": "Europe/Berlin"}
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            yield browser.new_context(**{**settings, **options})
        finally:
            browser.close()
