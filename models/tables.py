"""Tables for a terminal of 80 columns, as every command prints them."""

from collections.abc import Sequence

from rich.box import SIMPLE
from rich.table import Table


def narrow_table(*columns: str, title: str | None = None) -> Table:
    """A table whose lines and margins leave 80 columns to what is in it.

    Args:
        columns: headings; more are added by `add_column`.
        title: a line above it.
    """
    return Table(
        *columns, title=title, title_justify="left", box=SIMPLE, pad_edge=False, show_edge=False,
        padding=(0, 1, 0, 0),
    )  # fmt: skip


def figure(value: float | None, interval: Sequence[float] | None) -> str:
    """A share with its 95 % interval below it, so that seven columns of them fit."""
    if value is None:
        return "-"
    if interval is None:
        return f"{value:.3f}"
    return f"{value:.3f}\n{interval[0]:.2f}-{interval[1]:.2f}"
