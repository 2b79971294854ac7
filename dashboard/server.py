"""The web server of the pages: streamlit's own, and one route that keeps somebody signed in.

`wakeful dashboard` runs this file; streamlit finds `app` in it.
"""

import time
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from streamlit.starlette import App

from dashboard.auth.sessions import COOKIE, DESKS, IDLE_S, KEEP

LONGEST_TICKET: Final = 128


async def keep(request: Request) -> Response:
    """POST a ticket to get the session's cookie, DELETE to lose it. Of this very site only."""
    if not _same_site(request):
        return Response(status_code=403)
    answer = Response(status_code=204)
    if request.method == "DELETE":
        DESKS.close(request.cookies.get(COOKIE))
        answer.delete_cookie(COOKIE)
        return answer
    token = DESKS.redeem(await _ticket(request), time.time())
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


def _same_site(request: Request) -> bool:
    """Whether the page that posts is of this site, as the browser knows it.

    A proxy may send its own Host, or the browser's without the port; no page of another site can
    make a browser send `X-Forwarded-Host`.
    """
    origin = request.headers.get("origin")
    if origin is None:
        return True
    page = urlsplit(origin)
    forwarded = request.headers.get("x-forwarded-host", "").split(",")[0].strip()
    hosts = {request.headers.get("host", ""), forwarded}
    return page.netloc in hosts or page.hostname in hosts


async def _ticket(request: Request) -> str:
    """What was handed in; anybody may send anything, so no more of it than a ticket is read."""
    found = b""
    async for part in request.stream():
        found += part
        if len(found) > LONGEST_TICKET:
            return ""
    return found.decode("ascii", "replace")


def _over_tls(request: Request) -> bool:
    """Whether the browser came by https, to this server or to the proxy before it."""
    told = request.headers.get("x-forwarded-proto", "")
    return request.url.scheme == "https" or told.split(",")[0].strip() == "https"


app = App(
    Path(__file__).with_name("app.py"), routes=[Route(KEEP, keep, methods=["POST", "DELETE"])]
)
