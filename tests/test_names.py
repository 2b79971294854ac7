"""One name, one thing; and the field's words for variables, not a dialect of our own."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.support.paths import ROOT

FLOORS = ("models", "monitor", "dashboard")
# A participle that says nothing of what is held: call it by what it is (payload, rows, matches …).
DIALECT = {"told", "found", "known", "said"}


@cache
def sources() -> dict[Path, ast.Module]:
    """Every source file of the three floors, parsed."""
    paths = [path for floor in FLOORS for path in sorted((ROOT / floor).rglob("*.py"))]
    return {path.relative_to(ROOT): ast.parse(path.read_text(encoding="utf-8")) for path in paths}


def bound(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Every name that a file gives to something, with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.lineno, node.name


def test_no_class_name_stands_for_two_things() -> None:
    places: defaultdict[str, list[str]] = defaultdict(list)
    for path, tree in sources().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(f"{path}:{node.lineno}")
    twice = {name: where for name, where in places.items() if len(where) > 1}
    assert not twice


@pytest.mark.parametrize("word", sorted(DIALECT))
def test_variables_bear_the_words_of_the_field(word: str) -> None:
    bearers = [
        f"{path}:{line}: {name}"
        for path, tree in sources().items()
        for line, name in bound(tree)
        if name.strip("_") == word
    ]
    assert not bearers
