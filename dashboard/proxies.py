"""The pages behind a proxy: whether one is of this site, and a word where it would stay blank."""

import logging
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger("wakeful.dashboard")

SAYS_WHY: Final = (
    "<script>"
    + (Path(__file__).parent / "static" / "blank.js").read_text(encoding="utf-8")
    + "</script></body>"
).encode()
_END: Final = b"</body>"


def same_site(headers: Headers) -> bool:
    """Whether the page that asks is of this site, as the browser knows it.

    A proxy may send its own Host, or the browser's without the port; no page of another site can
    make a browser send `X-Forwarded-Host`.
    """
    origin = headers.get("origin")
    if origin is None:
        return True
    page = urlsplit(origin)
    forwarded = headers.get("x-forwarded-host", "").split(",")[0].strip()
    hosts = {headers.get("host", ""), forwarded} - {""}
    return page.netloc in hosts or page.hostname in hosts


class OwnPages:
    """ASGI middleware: pages of this site are connected, behind any proxy; of others none is.

    Streamlit alone compares the page's address with Host, which proxies change, and then asks a
    server on the internet which address this machine has. It is never left to ask.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._refused: set[tuple[str, str]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, or close the connection before it is open."""
        headers = Headers(scope=scope) if scope["type"] == "websocket" else Headers()
        origin = headers.get("origin")
        if origin is None:
            await self._app(scope, receive, send)
        elif same_site(headers):
            await self._app(_hosted(scope, urlsplit(origin).netloc), receive, send)
        else:
            self._note(origin, headers.get("host", ""))
            await receive()
            await send({"type": "websocket.close", "code": 1008})

    def _note(self, origin: str, host: str) -> None:
        if (origin, host) in self._refused or len(self._refused) > 100:
            return
        self._refused.add((origin, host))
        log.warning(
            "a page of %.200s is not connected: the proxy sends Host %.200s; let it send the "
            "browser's, or X-Forwarded-Host (docs/troubleshooting.md, Behind a proxy)",
            origin,
            host,
        )


def _hosted(scope: Scope, host: str) -> MutableMapping[str, Any]:
    """The scope with the Host that the browser knows."""
    bare = _without(scope, b"host")
    return {**bare, "headers": [*bare["headers"], (b"host", host.encode("latin-1", "replace"))]}


def _without(scope: Scope, header: bytes) -> MutableMapping[str, Any]:
    return {**scope, "headers": [pair for pair in scope["headers"] if pair[0] != header]}


class ExplainedBlank:
    """ASGI middleware: the page that holds all the others says so when it stays blank."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on; HTML gets the script before its end."""
        if scope["type"] != "http" or "text/html" not in Headers(scope=scope).get("accept", ""):
            await self._app(scope, receive, send)
            return
        # Asked for as it is: a compressed page cannot be added to.
        await self._app(_without(scope, b"accept-encoding"), receive, _Page(send).send)


class _Page:
    """One answer on its way: held back whole if it is HTML, else passed on as it comes."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message | None = None
        self._body = b""

    async def send(self, message: Message) -> None:
        """Take a message of the answer."""
        if message["type"] == "http.response.start" and _is_html(message):
            self._start = message
        elif self._start is None:
            await self._send(message)
        else:
            self._body += message.get("body", b"")
            if not message.get("more_body", False):
                await self._finish(self._start)

    async def _finish(self, start: Message) -> None:
        self._start = None
        body = self._body.replace(_END, SAYS_WHY, 1)
        MutableHeaders(raw=start["headers"])["content-length"] = str(len(body))
        await self._send(start)
        await self._send({"type": "http.response.body", "body": body})


def _is_html(start: Message) -> bool:
    kind = Headers(raw=start["headers"]).get("content-type", "")
    return bool(start["status"] == 200) and kind.startswith("text/html")
