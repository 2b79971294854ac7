"""The address of a page holds what it shows: Back, Forward and a copied link show the same again.

Streamlit's own `bind="query-params"` replaces the address, so that Back skips every filter. Here a
changed widget pushes a new address, and an address that changed by Back, Forward or a link sets
the widgets. For Back and Forward static/history.js loads the page again.
"""

from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import streamlit as st

_SEEN: Final = "address-seen"
# Set by a click inside a fragment: the whole page has to be drawn again.
_MOVED: Final = "address-moved"


@dataclass(frozen=True, slots=True)
class Field:
    """A widget whose value stands in the address under the name of its key.

    Attributes:
        key: of the widget.
        options: its values; an address with another value means the default.
        default: its value when the address has none; a tuple for a widget of many values.
    """

    key: str
    options: Collection[Hashable]
    default: Any = None

    def read(self, words: Sequence[str]) -> Any:
        """The value that these words of an address stand for."""
        by_word = {str(option): option for option in self.options}
        values = [by_word[word] for word in words if word in by_word]
        if isinstance(self.default, tuple):
            return values or list(self.default)
        return values[0] if values else self.default

    def write(self, value: Any) -> list[str]:
        """The words that stand for a value; none for the default."""
        if isinstance(self.default, tuple):
            return [] if tuple(value) == self.default else [str(part) for part in value]
        return [] if value is None or value == self.default else [str(value)]


class Address:
    """The fields of one page's address.

    Args:
        page: its name, so that pages do not mistake each other's addresses for their own.
        fields: what stands in it.
    """

    def __init__(self, page: str, *fields: Field) -> None:
        self._page = page
        self._fields = fields

    def follow(self) -> None:
        """Set the widgets from the address; to be called before they are drawn."""
        query = _query()
        moved = st.session_state.get(_SEEN) != (self._page, query)
        for field in self._fields:
            if moved or field.key not in st.session_state:
                st.session_state[field.key] = field.read(query.get(field.key, ()))
        st.session_state[_SEEN] = (self._page, query)

    def changed(self) -> None:
        """A widget's `on_change`: put every field into the address; a list begins at its start."""
        words = {
            field.key: field.write(st.session_state.get(field.key, field.default))
            for field in self._fields
        }
        _push({name: values for name, values in words.items() if values})
        st.session_state[_SEEN] = (self._page, _query())


def go(**parameters: str | None) -> None:
    """Change parameters of the address and draw the whole page again; None takes one away."""
    query = {name: list(values) for name, values in _query().items()}
    for name, value in parameters.items():
        query.pop(name, None)
        if value is not None:
            query[name] = [value]
    _push(query)
    st.session_state[_MOVED] = True


def moved() -> bool:
    """Whether `go` was called since the last time somebody asked."""
    return bool(st.session_state.pop(_MOVED, False))


def opens(parameter: str, key: str, names: Sequence[str]) -> Callable[[], None]:
    """What a click into a table does: it puts the clicked row's name into the address.

    The callback runs before the page is drawn again, so it finds the names that were shown when
    the reader clicked; by then the same place may hold another row.
    """
    shown = f"{key}-shown"
    st.session_state[shown] = list(names)

    def clicked() -> None:
        cells = st.session_state[key]["selection"]["cells"]
        if cells:
            go(**{parameter: st.session_state[shown][cells[0][0]]})

    return clicked


def _query() -> dict[str, tuple[str, ...]]:
    return {name: tuple(st.query_params.get_all(name)) for name in st.query_params}


def _push(query: dict[str, list[str]]) -> None:
    st.query_params.from_dict(query)
