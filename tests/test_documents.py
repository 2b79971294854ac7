"""Pages refer to what is there, and to nothing else."""

import re
from pathlib import Path

import pytest

from tests.support.paths import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"\]\((?!https?://|mailto:|#)([^)#\s]+)")
# A file that code or a page names by its path (`models/` is also a folder of other repositories).
NAMED = re.compile(
    r"\b((?:docs|configs|tests|monitor|dashboard)/[\w./-]+\.(?:md|py|yaml|txt|json))\b"
)


# One tells of files that are gone, the other of one that the reader is to write.
UNCHECKED = {"CHANGELOG.md", "CONTRIBUTING.md"}


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    links = LINK.findall(page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", [p for p in PAGES if p.name not in UNCHECKED], ids=name)
def test_every_file_that_a_page_names_is_there(page: Path) -> None:
    files = NAMED.findall(page.read_text(encoding="utf-8"))
    assert [file for file in files if not (ROOT / file).exists()] == []


def test_every_file_that_the_source_names_is_there() -> None:
    missing = [
        f"{name(path)}: {file}"
        for floor in ("models", "monitor", "dashboard")
        for path in sorted((ROOT / floor).rglob("*.py"))
        for file in NAMED.findall(path.read_text(encoding="utf-8"))
        if not (ROOT / file).exists()
    ]
    assert missing == []
