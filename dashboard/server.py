"""The web server of the pages: streamlit's own, and what it lacks.

That is: compressed scripts, a page for an address that there is not, pages behind any proxy, and
the route that keeps somebody signed in.

`wakeful dashboard` runs this file; streamlit finds `app` in it.
"""

import html
import time
from pathlib import Path
from typing import Final

from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send
from streamlit.starlette import App

from dashboard.auth.sessions import COOKIE, IDLE_S, KEEP, SESSIONS
from dashboard.proxies import ExplainedBlank, OwnPages, same_site
from dashboard.routes import PAGES

LONGEST_TICKET: Final = 128


async def keep(request: Request) -> Response:
    """POST a ticket to get the session's cookie, DELETE to lose it. Of this very site only."""
    if not same_site(request.headers):
        return Response(status_code=403)
    answer = Response(status_code=204)
    if request.method == "DELETE":
        SESSIONS.close(request.cookies.get(COOKIE))
        answer.delete_cookie(COOKIE)
        return answer
    token = SESSIONS.redeem(await _ticket(request), time.time())
    if token is None:
        return Response(status_code=403)
    answer.set_cookie(
        COOKIE,
        token,
        max_age=int(IDLE_S),
        httponly=True,
        samesite="strict",
        secure=_over_tls(request),
    )
    return answer


async def _ticket(request: Request) -> str:
    """What was handed in; anybody may send anything, so no more of it than a ticket is read."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > LONGEST_TICKET:
            return ""
    return body.decode("ascii", "replace")


def _over_tls(request: Request) -> bool:
    """Whether the browser came by https, to this server or to the proxy before it."""
    forwarded = request.headers.get("x-forwarded-proto", "")
    return request.url.scheme == "https" or forwarded.split(",")[0].strip() == "https"


class KnownPages:
    """ASGI middleware: a browser that asks for a page that there is not gets one that says so."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass on."""
        if scope["type"] == "http" and _unknown_page(scope):
            page = NOT_FOUND.format(path=html.escape(scope["path"][:200]), links=_links(scope))
            await HTMLResponse(page, status_code=404)(scope, receive, send)
            return
        await self._app(scope, receive, send)


class CompressedStatic:
    """ASGI middleware: the pages' scripts and styles go out compressed, 5.5 MB as 1.6 MB.

    Streamlit compresses its messages, and leaves these alone. Clips and files to download are left
    alone here: a player asks for parts of them.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._compressed = GZipMiddleware(app, minimum_size=1_000, compresslevel=6)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, compressed or as it is."""
        static = scope["type"] == "http" and scope["path"].startswith("/static/")
        await (self._compressed if static else self._app)(scope, receive, send)


def _unknown_page(scope: Scope) -> bool:
    """Whether a browser asks for a page, and there is none of that name."""
    wants = Headers(scope=scope).get("accept", "")
    first, *rest = scope["path"].strip("/").split("/")
    ours = first in SERVED or (not rest and first in {page.path for page in PAGES})
    return scope["method"] == "GET" and "text/html" in wants and not ours


def _links(scope: Scope) -> str:
    """To each page, relative to the one that is not: a proxy may serve all of them below a path."""
    up = "../" * scope["path"].strip("/").count("/") or "./"
    return " · ".join(f'<a href="{up}{page.path}">{page.title}</a>' for page in PAGES)


# Besides pages: streamlit's own files and endpoints, and an organisation's sign-in.
SERVED: Final = {"", "static", "media", "_stcore", "oauth2callback", "auth", "session", "component"}
NOT_FOUND: Final = """<!doctype html><html lang="en"><title>No such page · Wakeful</title>
<meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark">
<body style="font:16px/1.5 system-ui;max-width:40rem;margin:18vh auto 0;padding:0 1rem">
<h1>There is no page {path}</h1>
<p>The address may be mistyped, or of another version; or a proxy serves the pages below a path that
it does not take away. These are the pages:</p>
<p>{links}</p>"""

app = App(
    Path(__file__).with_name("app.py"),
    routes=[Route(KEEP, keep, methods=["POST", "DELETE"])],
    middleware=[
        Middleware(KnownPages),
        Middleware(CompressedStatic),
        Middleware(OwnPages),
        Middleware(ExplainedBlank),
    ],
)
