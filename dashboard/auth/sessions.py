"""Who has signed in with a password, and the cookie by which a reloaded page knows them again.

A page talks to its server over a websocket, which cannot set a cookie. So a page that has let
somebody in shows a *ticket*, good once and for a moment; the browser hands it to `KEEP` and gets
the *token* as a cookie no script can read. Both live in this process only: ending a session on the
server ends it everywhere, and a restarted server asks again.
"""

import secrets
import threading
from dataclasses import dataclass
from typing import Final

# Signed in, but nothing was asked for this long: sign in again.
IDLE_S: Final = 8 * 3600.0
TICKET_S: Final = 300.0
COOKIE: Final = "wakeful_session"
KEEP: Final = "/session"


@dataclass(slots=True)
class _Session:
    """Somebody at a browser."""

    name: str
    seen_at: float


class SignInSessions:
    """Sessions by their token; safe from many threads. Times are epoch seconds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sessions: dict[str, _Session] = {}
        self._tickets: dict[str, tuple[str, float]] = {}

    def open(self, name: str, now: float) -> str:
        """Begin a session; returns its token."""
        token = secrets.token_urlsafe(32)
        with self._lock:
            self._forget_old(now)
            self._sessions[token] = _Session(name, now)
        return token

    def name(self, token: str | None, now: float) -> str | None:
        """Whose session this is; None if there is none or it has been idle for too long."""
        with self._lock:
            session = self._sessions.get(token or "")
            return session.name if session and now - session.seen_at <= IDLE_S else None

    def touch(self, token: str, now: float) -> None:
        """Something was asked: the session is not idle."""
        with self._lock:
            if session := self._sessions.get(token):
                session.seen_at = now

    def close(self, token: str | None) -> None:
        """End a session in every window that has it."""
        with self._lock:
            self._sessions.pop(token or "", None)

    def ticket(self, token: str, now: float) -> str:
        """A word that can be changed for the session's token, once."""
        ticket = secrets.token_urlsafe(32)
        with self._lock:
            self._tickets[ticket] = (token, now)
        return ticket

    def waits(self, ticket: str, now: float) -> bool:
        """Whether a ticket has still to be handed in."""
        with self._lock:
            return ticket in self._tickets and now - self._tickets[ticket][1] <= TICKET_S

    def redeem(self, ticket: str, now: float) -> str | None:
        """The token of a ticket; None for one that is unknown, used or too old."""
        with self._lock:
            token, at = self._tickets.pop(ticket, ("", 0.0))
            return token if token in self._sessions and now - at <= TICKET_S else None

    def _forget_old(self, now: float) -> None:
        self._sessions = {
            k: one for k, one in self._sessions.items() if now - one.seen_at <= IDLE_S
        }
        self._tickets = {k: one for k, one in self._tickets.items() if now - one[1] <= TICKET_S}


# One for all pages of this process and for the route that hands out cookies.
SESSIONS: Final = SignInSessions()
