"""The choice of a group of vehicles, the same on every page that has it."""

from collections.abc import Sequence

import streamlit as st

from dashboard.address import Address


def draw(names: Sequence[str], address: Address) -> str | None:
    """The chosen group; None for every vehicle. Nothing is drawn where there are no groups.

    The page's `Address` has a field `group`.
    """
    if not names:
        return None
    group: str = st.selectbox(
        "Group",
        ["", *names],
        format_func=lambda name: name or "All groups",
        key="group",
        width=160,
        on_change=address.changed,
        help="Vehicles that belong together, for example those of one depot.",
    )
    return group or None
