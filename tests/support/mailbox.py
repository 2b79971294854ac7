"""Real receivers on loopback: an SMTP server and a webhook that remember what they were given."""

import json
import threading
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from aiosmtpd.controller import Controller

from tests.support.servers import free_port


class Mailbox:
    """An SMTP server that keeps every message it accepts; may be taken away and come back."""

    def __init__(self) -> None:
        self.port = free_port()
        self.messages: list[EmailMessage] = []
        self._controller: Controller | None = None

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802
        """Called by aiosmtpd with a whole message."""
        mail = message_from_bytes(envelope.content, policy=default)
        assert isinstance(mail, EmailMessage)
        self.messages.append(mail)
        return "250 OK"

    @property
    def url(self) -> str:
        """Its apprise URL."""
        return f"mailto://127.0.0.1:{self.port}?from=watch@example.org&to=boss@example.org"

    @property
    def ids(self) -> list[str]:
        """`Message-ID` of each message, in the order they came."""
        return [str(mail["Message-ID"]).strip("<>").rpartition("@")[0] for mail in self.messages]

    def open(self) -> Self:
        """Listen."""
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port)
        self._controller.start()
        return self

    def close(self) -> None:
        """Listen no more."""
        if self._controller is not None:
            self._controller.stop()
            self._controller = None

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(self, *_: object) -> None:
        self.close()


class Webhook:
    """An HTTP server that keeps every body it is sent."""

    def __init__(self) -> None:
        kept: list[dict[str, Any]] = []
        ids: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                ids.append(self.headers["Idempotency-Key"])
                kept.append(json.loads(body))
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                """Say nothing."""

        self.bodies, self.ids = kept, ids
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"json://127.0.0.1:{self._server.server_port}/alerts"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
