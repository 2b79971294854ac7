"""What every page needs: the open store, answers kept for a while, faults as helpful pages."""

import functools
import logging
import time
from collections.abc import Callable
from typing import Final, ParamSpec, TypeVar

import streamlit as st

from dashboard import address
from dashboard.auth import access
from dashboard.components import theme
from dashboard.queries.database import Database, begin_view
from dashboard.settings import settings
from monitor.errors import WakefulError

P = ParamSpec("P")
R = TypeVar("R")
KEPT_S: Final = 60
# What a page view may take in the database at most.
SLOW_S: Final = 0.3
log = logging.getLogger("wakeful.dashboard")


_stores: list[Database] = []


@st.cache_resource(show_spinner=False)
def _opened(url: str) -> Database:
    store = Database(url)
    _stores.append(store)
    return store


def close_all() -> None:
    """Close every store."""
    while _stores:
        _stores.pop().close()
    _opened.clear()


def database(group: str | None = None) -> Database:
    """The event log, opened once for all sessions, as far as who is signed in may see it.

    Args:
        group: only the vehicles of this group; None is every one that may be seen.

    Raises:
        StoreError: it is not there.
    """
    return _opened(settings().database).scoped(access.scope().narrowed(group))


def kept(query: Callable[P, R], seconds: float = KEPT_S) -> Callable[P, R]:
    """The query, with its answers kept for all sessions for some seconds."""
    keep = st.cache_data(
        ttl=seconds,
        max_entries=500,
        show_spinner=False,
        hash_funcs={Database: lambda opened: opened.key},
    )
    return keep(query)


def now(grain_s: float = 1.0) -> float:
    """Epoch seconds, rounded up to `grain_s` so that views close in time ask the same question."""
    at = time.time()
    return at - at % grain_s + grain_s if grain_s > 1 else at


def guarded(draw: Callable[P, R]) -> Callable[P, R | None]:
    """Draw, or say in words what is wrong; counts what the database took.

    Pages and the fragments that refresh themselves go through here: a fragment's own run does not
    pass the gate, so that an expired session is noticed here too.
    """

    @functools.wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> R | None:
        if access.current() is None or address.moved():
            st.rerun(scope="app")
        spent, began = begin_view(), time.perf_counter()
        try:
            return draw(*args, **kwargs)
        except WakefulError as error:
            trouble(error)
            return None
        finally:
            slow = spent.seconds > SLOW_S
            log.log(
                logging.WARNING if slow else logging.DEBUG,
                "view=%s db_ms=%.1f statements=%d rows=%d total_ms=%.0f",
                draw.__qualname__,
                1000 * spent.seconds,
                spent.statements,
                spent.rows,
                1000 * (time.perf_counter() - began),
            )

    return drawn


def trouble(error: WakefulError) -> None:
    """A fault as a page that says what to do next."""
    theme.nothing("This page cannot be shown now", str(error))
    if st.button("Try again", icon=":material/refresh:"):
        close_all()
        st.rerun(scope="app")
