"""Columns of tables, whose headings explain themselves where they are no everyday words."""

from typing import Any

import streamlit as st
from streamlit.elements.lib.column_types import ColumnConfig

from dashboard.components import terms


def text(label: str, **options: Any) -> ColumnConfig:
    """A column of words; `options` are streamlit's own."""
    return st.column_config.TextColumn(label, help=terms.about(label), **options)


def number(label: str, **options: Any) -> ColumnConfig:
    """A column of numbers."""
    return st.column_config.NumberColumn(label, help=terms.about(label), **options)


def bar(label: str, **options: Any) -> ColumnConfig:
    """A column of numbers, each with a bar."""
    return st.column_config.ProgressColumn(label, help=terms.about(label), **options)
