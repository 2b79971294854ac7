"""The entry: the gate, the pages, the foot. Run it by `wakeful dashboard`."""

from pathlib import Path

import streamlit as st

from dashboard import session
from dashboard.auth import access
from dashboard.auth.accounts import User
from dashboard.components import theme
from dashboard.settings import settings
from monitor import __version__
from monitor.errors import WakefulError

LOGO = Path(__file__).parent / "static" / "wakeful.svg"
# Not in a folder named `pages`: streamlit would run those by itself, without the gate below.
PAGES = {
    "views/live.py": ("Live", ":material/sensors:", "live"),
    "views/events.py": ("Events", ":material/notifications:", "events"),
    "views/fleet.py": ("Fleet", ":material/local_shipping:", "fleet"),
    "views/compare.py": ("Models", ":material/balance:", "models"),
    "views/replay.py": ("Replay", ":material/replay:", "replay"),
    "views/health.py": ("Health", ":material/monitor_heart:", "health"),
}


def main() -> None:
    """One run of the script: a click, a new page, a fresh session."""
    st.set_page_config(page_title="Wakeful", page_icon=str(LOGO), layout="wide")
    st.logo(str(LOGO), size="large")
    theme.style()
    pages = [
        st.Page(file, title=title, icon=icon, url_path=path, default=path == "live")
        for file, (title, icon, path) in PAGES.items()
    ]
    page = st.navigation(pages, position="top")
    try:
        user = access.gate()
    except WakefulError as error:
        session.trouble(error)
        return
    page.run()
    _foot(user)
    access.keep_signed_in()


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
        return session.store().place
    except WakefulError:
        return "no database"


main()
