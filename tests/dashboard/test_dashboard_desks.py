"""Sessions of the sign-in: begun once, idle for so long, ended everywhere."""

import asyncio
import time
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from dashboard.auth.sessions import COOKIE, IDLE_S, KEEP, SESSIONS, TICKET_S, SignInSessions
from dashboard.server import keep

NOW = 1_000.0


def test_a_session_lasts_while_something_is_asked_of_it() -> None:
    desks = SignInSessions()
    token = desks.open("rita", NOW)
    assert desks.name(token, NOW + IDLE_S) == "rita"
    assert desks.name(token, NOW + IDLE_S + 1) is None
    desks.touch(token, NOW + IDLE_S)
    assert desks.name(token, NOW + IDLE_S + 1) == "rita"


@pytest.mark.parametrize("token", [None, "", "of another day"])
def test_a_token_nobody_was_given_is_nobodys(token: str | None) -> None:
    desks = SignInSessions()
    desks.open("rita", NOW)
    assert desks.name(token, NOW) is None


def test_a_ticket_is_good_once_and_for_a_moment() -> None:
    desks = SignInSessions()
    token = desks.open("rita", NOW)
    ticket = desks.ticket(token, NOW)
    assert desks.waits(ticket, NOW)
    assert desks.redeem(ticket, NOW) == token
    assert not desks.waits(ticket, NOW)
    assert desks.redeem(ticket, NOW) is None
    assert desks.redeem(desks.ticket(token, NOW), NOW + TICKET_S + 1) is None


def test_a_ticket_of_an_ended_session_opens_nothing() -> None:
    desks = SignInSessions()
    token = desks.open("rita", NOW)
    ticket = desks.ticket(token, NOW)
    desks.close(token)
    assert desks.redeem(ticket, NOW) is None


def asked(method: str, body: bytes | str = b"", **headers: str) -> httpx.Response:
    """The route's answer to a browser that came by https."""
    app: Any = Starlette(routes=[Route(KEEP, keep, methods=["POST", "DELETE"])])

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="https://fleet.example") as one:
            return await one.request(method, KEEP, content=body, headers=headers)

    return asyncio.run(ask())


def test_the_cookie_is_for_this_site_only_and_no_script_reads_it() -> None:
    token = SESSIONS.open("rita", time.time())
    answer = asked("POST", SESSIONS.ticket(token, time.time()))
    assert answer.status_code == 204
    assert answer.cookies[COOKIE] == token
    flags = answer.headers["set-cookie"].lower()
    assert all(flag in flags for flag in ("httponly", "samesite=strict", "secure", "max-age="))


def test_signing_out_ends_the_session_and_takes_the_cookie_away() -> None:
    token = SESSIONS.open("rita", time.time())
    answer = asked("DELETE", cookie=f"{COOKIE}={token}")
    assert SESSIONS.name(token, time.time()) is None
    assert "max-age=0" in answer.headers["set-cookie"].lower()


def test_another_site_can_neither_sign_in_nor_out() -> None:
    token = SESSIONS.open("rita", time.time())
    ticket = SESSIONS.ticket(token, time.time())
    evil = "https://evil.example"
    assert asked("POST", ticket, origin=evil).status_code == 403
    assert asked("DELETE", cookie=f"{COOKIE}={token}", origin=evil).status_code == 403
    assert SESSIONS.name(token, time.time()) == "rita"


@pytest.mark.parametrize("body", [b"", b"\xff\x00", b"x" * 100_000, b"<script>"])
def test_what_is_no_ticket_is_refused(body: bytes) -> None:
    answer = asked("POST", body)
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers
