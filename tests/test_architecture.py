"""ARCHITECTURE.md draws what the imports say."""

import re
from collections import Counter
from functools import cache
from pathlib import Path

import grimp
import pytest

from tests.support.paths import ROOT

PAGE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
CALL = re.compile(r"^ +([\w.]+) -->(?:\|(\w+)\|)? ([\w.]+)$", re.MULTILINE)
WIRE = re.compile(r"^ +([\w.]+) -\. \w+ \.-> ([\w.]+)$", re.MULTILINE)
WALKS = dict(re.findall(r"## The walk of an? (\w+)\n\n```mermaid\n(.*?)```", PAGE, re.DOTALL))


@cache
def imports() -> grimp.ImportGraph:
    return grimp.build_graph("models", "monitor", "dashboard", cache_dir=None)


def inside(room: str) -> set[str]:
    """A module, or a package with everything in it."""
    return {m for m in imports().modules if m == room or m.startswith(f"{room}.")}


def source(room: str) -> str:
    """The code of a module or package."""
    path = ROOT / Path(*room.split("."))
    files = sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]
    return "\n".join(file.read_text(encoding="utf-8") for file in files)


def connected(one: str, other: str) -> bool:
    """One imports the other, or a third that is neither puts the two together."""
    first, second = inside(one), inside(other)
    direct = {i for m in first for i in imports().find_modules_directly_imported_by(m)}
    back = {i for m in second for i in imports().find_modules_directly_imported_by(m)}
    if direct & second or back & first:
        return True
    users_of_first = {u for m in first for u in imports().find_modules_that_directly_import(m)}
    users_of_second = {u for m in second for u in imports().find_modules_that_directly_import(m)}
    return bool((users_of_first & users_of_second) - first - second)


def test_both_walks_are_drawn() -> None:
    assert set(WALKS) == {"frame", "event"}
    for drawing in WALKS.values():
        arrows = [line for line in drawing.splitlines() if "->" in line]
        assert len(arrows) == len(CALL.findall(drawing)) + len(WIRE.findall(drawing))


@pytest.mark.parametrize(
    ("one", "carries", "other"), [arrow for d in WALKS.values() for arrow in CALL.findall(d)]
)
def test_what_an_arrow_joins_is_joined_by_imports_and_knows_what_it_carries(
    one: str, carries: str, other: str
) -> None:
    assert inside(one)
    assert inside(other)
    assert connected(one, other), f"nothing joins {one} and {other}"
    for room in (one, other) if carries else ():
        assert re.search(rf"\b{carries}\b", source(room)), f"{room} knows no {carries}"


def test_a_drawing_that_is_wrong_is_found_out() -> None:
    assert not connected("monitor.engine.rules", "dashboard.components")
    assert not connected("monitor.perception.face", "monitor.fleet.provisioning")


@pytest.mark.parametrize("walk", WALKS)
def test_a_walk_passes_each_room_once(walk: str) -> None:
    drawing = WALKS[walk]
    pairs = [(a, b) for a, _, b in CALL.findall(drawing)] + WIRE.findall(drawing)
    assert max(Counter(a for a, _ in pairs).values()) == 1
    assert max(Counter(b for _, b in pairs).values()) == 1


@pytest.mark.parametrize("floor", ["monitor", "models"])
def test_the_table_of_rooms_has_every_room_and_no_other(floor: str) -> None:
    table = PAGE.partition(f"## The rooms of `{floor}/`")[2].partition("\n## ")[0]
    firsts = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]
    named = {name.rstrip("/") for cell in firsts for name in re.findall(r"`([\w./]+)`", cell)}
    there = {
        path.name
        for path in (ROOT / floor).iterdir()
        if (path.suffix == ".py" and not path.name.startswith("__"))
        or (path / "__init__.py").is_file()
    }
    assert named == there
