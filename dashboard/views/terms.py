"""Terms: what the words of these pages mean."""

import streamlit as st

from dashboard.components import theme
from dashboard.components.terms import TERMS
from dashboard.session import guarded


@guarded
def terms_page() -> None:
    """Every term in the order of the alphabet; a word narrows them."""
    theme.heading("Terms", "What the words on these pages mean")
    word = st.text_input(
        "Search", placeholder="Search", label_visibility="collapsed", width=280, key="word"
    )
    rows = [
        (name, text)
        for name, text in sorted(TERMS.items(), key=lambda term: term[0].lower())
        if word.lower() in f"{name} {text}".lower()
    ]
    if not rows:
        theme.nothing("No such term", "Try a part of the word.")
        return
    body = "".join(
        f"<dt>{theme.escape(name)}</dt><dd>{theme.escape(text)}</dd>" for name, text in rows
    )
    st.html(f'<dl class="wk-terms">{body}</dl>')


terms_page()
