"""The gate: nobody sees a page before it has let them in.

Without a file of accounts everybody on this very machine is the administrator, and a server that
listens to others refuses to show anything.
"""

import time
from dataclasses import dataclass, field
from typing import Final

import streamlit as st

from dashboard.auth import accounts
from dashboard.auth.accounts import Role, User
from dashboard.auth.sessions import COOKIE, IDLE_S, KEEP, SESSIONS
from dashboard.components import theme
from dashboard.queries.scope import Scope
from dashboard.settings import settings

LOOPBACK: Final = {"127.0.0.1", "::1", "localhost"}
TRIES: Final = 5
LOCKED_S: Final = 60.0
# Beside the page, wherever a proxy serves it: pages have one part, `/events` or `/fleet/events`.
_HERE: Final = f"location.pathname.replace(/[^/]*$/,'')+'{KEEP.lstrip('/')}'"


@dataclass
class Attempts:
    """Wrong passwords of late, over all sessions of this process."""

    wrong: dict[str, list[float]] = field(default_factory=dict)

    def locked(self, name: str, now: float) -> bool:
        """Too many wrong passwords for this name within `LOCKED_S`."""
        recent = [at for at in self.wrong.get(name, []) if now - at < LOCKED_S]
        self.wrong[name] = recent
        return len(recent) >= TRIES

    def failed(self, name: str, now: float) -> None:
        """Remember one more; forget everything when flooded with names."""
        if len(self.wrong) > 10_000:
            self.wrong.clear()
        self.wrong.setdefault(name, []).append(now)


@st.cache_resource
def _attempts() -> Attempts:
    return Attempts()


def gate() -> User:
    """Let somebody in, or draw what they must do first and end the run."""
    file = settings().access_file
    if file is None:
        if st.get_option("server.address") not in LOOPBACK:
            _refuse_strangers()
        return _remember(User("this desk", Role.ADMIN))
    people = accounts.read(file)
    return _by_organisation(people) if _oidc() else _by_password(people)


def forget() -> None:
    """Sign out; a button's callback."""
    st.session_state.pop("user", None)
    if _oidc():
        st.logout()
        return
    SESSIONS.close(_token())
    st.session_state["token"] = None
    st.session_state["signed_out"] = True


def keep_signed_in() -> None:
    """Give the browser its cookie, or take it away; drawn at a page's foot, once it is due."""
    ticket = st.session_state.get("ticket")
    if ticket is not None and SESSIONS.waits(ticket, time.time()):
        # A ticket is url-safe base64: nothing in it can end the string.
        _call(f"fetch({_HERE},{{method:'POST',body:'{ticket}'}})")
    elif st.session_state.get("signed_out"):
        _call(f"fetch({_HERE},{{method:'DELETE'}})")


def _call(script: str) -> None:
    st.html(f"<script>{script}</script>", unsafe_allow_javascript=True)


def current() -> User | None:
    """Who is signed in; None when nobody is or the session has expired."""
    user: User | None = st.session_state.get("user")
    now = time.time()
    if user is None or now - st.session_state.get("user_seen_at", 0.0) > IDLE_S:
        return None
    # A password's session may have been ended in another window.
    token = st.session_state.get("token")
    return user if token is None or SESSIONS.name(token, now) == user.name else None


def may(role: Role) -> bool:
    """Whether who is signed in may do what this role may."""
    user = current()
    return user is not None and user.role >= role


def scope() -> Scope:
    """The vehicles that who is signed in may see; none for nobody."""
    user = current()
    return user.scope if user is not None else Scope(frozenset())


def _remember(user: User) -> User:
    st.session_state["user"] = user
    st.session_state["user_seen_at"] = time.time()
    return user


def _oidc() -> bool:
    try:
        return "auth" in st.secrets
    except FileNotFoundError:
        return False


def _by_organisation(people: accounts.Accounts) -> User:
    if not st.user.is_logged_in:
        theme.heading("Wakeful", "Driver monitoring of your fleet")
        st.write("Sign in with your organisation's account to see the fleet.")
        st.button("Sign in", type="primary", on_click=st.login)
        st.stop()
    email = str(st.user.get("email") or "")
    # An address that its provider has not verified is anybody's.
    user = people.user(email) if st.user.get("email_verified", True) else None
    if user is None:
        theme.nothing(
            "No access yet",
            f"{email or 'Your account'} is signed in but not entered here. Ask an administrator "
            "to add it to the accounts file with a role.",
        )
        st.button("Sign out", on_click=st.logout)
        st.stop()
    return _remember(user)


def _token() -> str | None:
    """Of this window, else the browser's; None after signing out."""
    if "token" in st.session_state:
        token: str | None = st.session_state["token"]
        return token
    return st.context.cookies.get(COOKIE)


def _by_password(people: accounts.Accounts) -> User:
    token = _token()
    name = SESSIONS.name(token, time.time())
    user = people.user(name) if name is not None else None
    if user is not None and token is not None and st.session_state.get("user", user) == user:
        SESSIONS.touch(token, time.time())
        st.session_state["token"] = token
        return _remember(user)
    SESSIONS.close(token)
    st.session_state.pop("user", None)
    st.session_state["token"] = None
    if token is not None:
        st.session_state["expired"] = True
    _ask(people)
    keep_signed_in()
    return st.stop()


def _ask(people: accounts.Accounts) -> None:
    theme.heading("Sign in", "Wakeful: driver monitoring of your fleet")
    if st.session_state.get("expired"):
        st.info(
            "Your session has expired or your role has changed. Sign in again: the page you "
            "were on opens next.",
            icon=":material/schedule:",
        )
    if not people.users:
        theme.nothing(
            "No accounts yet", "Make the first one on the server:", "wakeful dashboard passwd NAME"
        )
        return
    with st.form("sign-in", width=420):
        name = st.text_input("Name", autocomplete="username", max_chars=128)
        password = st.text_input(
            "Password", type="password", autocomplete="current-password", max_chars=256
        )
        if st.form_submit_button("Sign in", type="primary"):
            _try(people, name, password)


def _try(people: accounts.Accounts, name: str, password: str) -> None:
    now, attempts = time.time(), _attempts()
    if attempts.locked(name, now):
        st.error(f"Too many wrong passwords; wait {LOCKED_S:.0f} s and try again.")
        return
    user = people.check(name, password)
    if user is None:
        attempts.failed(name, now)
        st.error("This name and password do not belong together.")
        return
    token = SESSIONS.open(user.name, now)
    _remember(user)
    ticket = SESSIONS.ticket(token, now)
    st.session_state.update(token=token, ticket=ticket, signed_out=False, expired=False)
    st.rerun()


def _refuse_strangers() -> None:
    theme.nothing(
        "Closed: there are no accounts",
        "This server listens to other machines, and without accounts it would show everybody "
        "everything. Make an account, or listen on 127.0.0.1 only.",
        "wakeful dashboard passwd NAME --role admin",
    )
    st.stop()
