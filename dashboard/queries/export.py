"""Alerts as a file: CSV for a spreadsheet, Parquet for whoever counts.

Every time stands there twice: as ISO 8601 with its offset, in the reader's own zone, and as the
epoch seconds that other tables hold. Levels stand there as words.
"""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

import pandas as pd

from dashboard.queries.database import Record
from monitor.types import Level

# A spreadsheet runs a cell that begins with one of these as a formula (OWASP, CSV injection).
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRow:
    """An alert with its provenance and its latest review; times are epoch seconds."""

    id: str
    started_at: float
    ended_at: float | None
    updated_at: float
    duration_s: float
    vehicle: str
    drive: str
    camera: str
    driver: str | None = None
    kind: str
    level: int
    phase: str
    acknowledged: bool
    evidence: Record
    policy: str
    calibration: str
    models: list[str]
    received_at: float | None
    clip: str | None
    latitude: float | None = None
    longitude: float | None = None
    verdict: str | None
    cause: str | None
    reviewer: str | None
    reviewed_at: float | None
    note: str | None


_TIMES: Final = ("started_at", "ended_at", "updated_at", "received_at", "reviewed_at")


def frame(rows: Sequence[ExportRow], zone: ZoneInfo) -> pd.DataFrame:
    """The rows as a table, times written out in the reader's zone."""
    names = [field.name for field in fields(ExportRow)]
    table = pd.DataFrame([[getattr(row, name) for name in names] for row in rows], columns=names)
    table["level"] = [Level(level).name.lower() for level in table["level"]]
    for name in ("evidence", "models"):
        table[name] = [json.dumps(value, sort_keys=True) for value in table[name]]
    for name in _TIMES:
        place = int(table.columns.get_loc(name))
        epoch_s = table[name]
        table.insert(place, f"{name}_epoch_s", epoch_s)
        table[name] = [None if pd.isna(at) else _iso(at, zone) for at in epoch_s]
    return table


def as_csv(table: pd.DataFrame) -> bytes:
    """A table as CSV, text that a spreadsheet would run as a formula made harmless."""
    safe = table.copy()
    for name in safe.select_dtypes(include=["object", "str"]).columns:
        safe[name] = [_harmless(value) for value in safe[name]]
    text: str = safe.to_csv(index=False)
    return text.encode()


def as_parquet(table: pd.DataFrame) -> bytes:
    """A table as Parquet, as it is."""
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    return buffer.getvalue()


def _iso(at: float, zone: ZoneInfo) -> str:
    return datetime.fromtimestamp(at, zone).isoformat(timespec="milliseconds")


def _harmless(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
