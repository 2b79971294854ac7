"""Plain words: every heading that is no everyday word explains itself, and no jargon is left."""

import ast
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest

from dashboard.components import explanation
from dashboard.components.terms import TERMS
from monitor.types.evidence import Evidence
from tests.support.paths import ROOT

DRAWN = [
    *(ROOT / "dashboard" / "views").glob("*.py"),
    *(ROOT / "dashboard" / "components").glob("*.py"),
]
# Words that somebody whose second language is English knows without a tooltip.
EVERYDAY = {
    "95 % interval", "Alert", "Alert now", "Alerts", "Alerts arrive within", "All vehicles",
    "Ask somebody else", "At", "Began", "Capped", "Causes of false alarms", "Caution", "Comments",
    "Compared, those surely above the others first", "Critical", "Database", "Day by day", "Driven",
    "Ended because", "Eyes", "Eyes closed for", "Eyes out of sight for a part", "False alarms",
    "Found", "From the vehicle to the database", "Head nodded", "Keep these limits", "Last heard",
    "Lasted", "Level", "Licence", "Looked away for", "Looking down",
    "Many critical alerts in this drive", "Model", "Mouth open for",
    "Needs attention now, the most pressing first", "Not seen for", "Now", "Paper", "Pictures",
    "Places that repeat", "Position", "Refused messages, by reason", "Released", "Repeated",
    "Review", "Right", "Rows, about", "Share", "Shipped weights", "Software", "Source", "Speed",
    "Stopped", "Storage", "This machine", "Trained", "Trained on", "Try your own picture",
    "Vehicle", "Vehicles", "Version", "Warning", "Warning not answered for",
    "Warnings and critical", "Was it right?", "Weights", "What", "What the alerts were",
    "What was measured around it", "When in the week", "Where", "Where it comes from", "Why",
    "Why drivers were not monitored", "Within a quarter of an hour", "Yawns in that time", "Cause",
    "Counted over", "About one model", "Closed for", "Input",
}  # fmt: skip
# Of the issue: no heading or sentence speaks like the code.
JARGON = ("watch is impaired", "Watch impaired", "What made it", "Given up", "Minutes are vehicles",
          "One model closely", "watched")  # fmt: skip


def calls() -> Iterator[tuple[Path, ast.Call, str]]:
    for file in DRAWN:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                yield file, node, ast.unparse(node.func)


def headings() -> set[str]:
    """The first argument of every column, tile and section, where it is written out."""
    drawers = ("columns.text", "columns.number", "columns.bar", "theme.tile", "theme.section")
    return {
        call.args[0].value
        for _, call, name in calls()
        if name in drawers and call.args and isinstance(call.args[0], ast.Constant)
    }


def test_every_heading_is_an_everyday_word_or_explains_itself() -> None:
    strange = headings() - EVERYDAY - TERMS.keys()
    assert not strange


def test_columns_are_made_where_their_headings_explain_themselves() -> None:
    around = {
        f"{file.name}:{call.lineno}"
        for file, call, name in calls()
        if name.startswith("st.column_config.") and "Checkbox" not in name
        and file.name != "columns.py"
    }  # fmt: skip
    assert not around


@pytest.mark.parametrize("kind", get_args(Evidence))
def test_every_piece_of_evidence_has_words(kind: type) -> None:
    for field in fields(kind):
        if field.name == "rule":
            continue
        title, _ = explanation._NAMES[field.name]
        assert title in EVERYDAY or title in TERMS, title


def test_no_jargon_is_shown() -> None:
    for file in DRAWN:
        strings = [
            node.value
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value
        ]
        docstrings = {
            ast.get_docstring(node, clean=False)
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module)
        }
        for text in strings:
            if text not in docstrings:
                assert not any(word in text for word in JARGON), f"{file.name}: {text}"


def test_terms_explain_themselves_in_short_sentences() -> None:
    for name, meaning in TERMS.items():
        assert meaning.endswith("."), name
        assert all(len(sentence.split()) <= 30 for sentence in meaning.split(". ")), name
