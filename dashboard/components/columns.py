"""Columns of tables, whose headings explain themselves where they are no everyday words."""

from typing import Literal

import streamlit as st
from streamlit.elements.lib.column_types import ColumnConfig

from dashboard.components import terms

# Streamlit's own words, or pixels.
Width = Literal["small", "medium", "large"] | int | None


def text(label: str, *, width: Width = None, pinned: bool | None = None) -> ColumnConfig:
    """A column of words; a pinned one stays when the table is scrolled to the side."""
    return st.column_config.TextColumn(label, help=terms.about(label), width=width, pinned=pinned)


def number(label: str, *, format: str | None = None, width: Width = None) -> ColumnConfig:  # noqa: A002
    """A column of numbers in a printf format or a named one."""
    return st.column_config.NumberColumn(label, help=terms.about(label), format=format, width=width)


def bar(
    label: str,
    *,
    max_value: float,
    format: str,  # noqa: A002
    width: Width = None,
) -> ColumnConfig:
    """A column of numbers from 0 to `max_value`, each with a bar."""
    return st.column_config.ProgressColumn(
        label,
        help=terms.about(label),
        min_value=0.0,
        max_value=max_value,
        format=format,
        width=width,
    )
