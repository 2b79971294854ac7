"""The entry: the gate, the pages, the foot. Run it by `wakeful dashboard`."""

from pathlib import Path
from typing import Final

import streamlit as st

from dashboard import address, session
from dashboard.auth import access
from dashboard.auth.accounts import User
from dashboard.components import theme
from dashboard.routes import LOGO, PAGES
from dashboard.settings import settings
from monitor import __version__
from monitor.errors import WakefulError

# Not a folder named `pages`: streamlit would run those by itself, without the gate below.
SCRIPTS: Final = Path(__file__).parent / "views"
HISTORY_SCRIPT: Final = Path(__file__).parent / "static" / "history.js"
# What of an address names one thing: its name belongs into the window's title.
_NAMED: Final = ("vehicle", "of", "event", "vehicles")


def main() -> None:
    """One run of the script: a click, a new page, a fresh session."""
    st.set_page_config(page_title="Wakeful", page_icon=str(LOGO), layout="wide")
    st.logo(str(LOGO), size="large")
    theme.style()
    pages = [
        st.Page(
            SCRIPTS / f"{page.script}.py",
            title=page.title,
            icon=page.icon,
            url_path=page.path,
            default=page.path == "live",
        )
        for page in PAGES
    ]
    page = st.navigation(pages, position="top")
    st.set_page_config(page_title=_title(page.title))
    try:
        user = access.gate()
    except WakefulError as error:
        session.trouble(error)
        return
    address.moved()  # this very run draws the whole page
    body = st.container()
    # Sent before the page, so that Back works from the first moment that something is shown.
    st.html(f"<script>{HISTORY_SCRIPT.read_text()}</script>", unsafe_allow_javascript=True)
    with body:
        page.run()
    _foot(user)
    access.keep_signed_in()


def _title(page: str) -> str:
    """The window's title: what it shows, then where."""
    names = [name for key in _NAMED if (name := st.query_params.get(key))]
    return " · ".join([*names[:1], page, "Wakeful"])


def _foot(user: User) -> None:
    where = theme.escape(_database())
    demo = "simulated fleet · " if settings().demo else ""
    st.html(
        f'<div class="wk-foot">Wakeful {__version__} · {demo}{where} · '
        f"{theme.escape(user.name)} ({user.role.name.lower()}) · times in {theme.zone().key}. "
        "An aid, not a type-approved system.</div>"
    )
    if settings().access_file is not None:
        st.button("Sign out", type="tertiary", icon=":material/logout:", on_click=access.forget)


def _database() -> str:
    try:
        return session.database().place
    except WakefulError:
        return "no database"


main()
