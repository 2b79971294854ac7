"""The demo's one real drive: the animated driver under the real watch, with a clip and a trace.

It runs once in a process of its own, beside the pages and at low priority; when it has come to its
end its alerts join the simulated fleet's, so that there is a clip to play and a drive to replay.
"""

import atexit
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine, Table, insert, select

from dashboard.queries.database import Database
from monitor import __version__
from monitor.errors import StoreError
from monitor.store import schema

VEHICLE: Final = "animated-driver"
# At low priority: the pages come first.
_RUN: Final = "import os; os.nice(10); from monitor.cli import main; main()"
_TABLES: Final = ("events", "samples", "coverage")


def record(home: Path) -> Path | None:
    """Let the watch see the animated driver to the end of the demo script.

    Args:
        home: the state folder; clips and traces go where its pages look for them.

    Returns:
        The event log of the drive; None if the watch could not run here.
    """
    database = home / "demo-drive.db"
    database.unlink(missing_ok=True)
    settings = {
        "WAKEFUL_HOME": str(home),
        "WAKEFUL_STORE__URL": f"sqlite:///{database}",
        "WAKEFUL_CLIPS__ENABLED": "true",
        "WAKEFUL_CHIME__ENABLED": "false",
    }
    options = ["--camera", "animated", "--vehicle", VEHICLE, "--broker", "none", "--quiet"]
    command = [sys.executable, "-c", _RUN, "run", *options, "--trace", str(home / "traces")]
    with (home / "demo-drive.log").open("wb") as log:
        drive = subprocess.Popen(  # noqa: S603 - our own command, no text from outside in it
            command,
            env={**os.environ, **settings},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        # It is of no use to anybody once the pages are gone.
        atexit.register(drive.terminate)
        status = drive.wait()
        atexit.unregister(drive.terminate)
    return database if status == 0 and database.is_file() else None


def write_truth(home: Path) -> None:
    """Put what the animated driver did beside the trace of it, for the replay page."""
    from models.synthesis.drive import Drive  # noqa: PLC0415 - only the demo animates
    from monitor.camera import DEMO_SCRIPT  # noqa: PLC0415

    traces = sorted((home / "traces").glob(f"*_{VEHICLE}_*.0000.jsonl.gz"))
    if traces:
        name = traces[-1].name.removesuffix(".0000.jsonl.gz")
        truth = Drive.load(DEMO_SCRIPT).truth_json()
        traces[-1].with_name(f"{name}.truth.json").write_text(truth, encoding="utf-8")


def join(database: Path, engine: Engine) -> int:
    """Copy the drive's rows into the demo's event log; returns how many alerts there were."""
    store = Database(f"sqlite:///{database}")
    alerts = 0
    try:
        with engine.begin() as connection:
            for name in _TABLES:
                table = schema.metadata.tables[name]
                rows = [_read(row, table) for row in store.rows(select(table))]
                if rows:
                    connection.execute(insert(table), rows)
                if name == "events" and rows:
                    alerts = len(rows)
                    connection.execute(insert(schema.vehicles), _parked(rows))
    except StoreError:
        return 0
    finally:
        store.close()
    return alerts


def _parked(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The row of `vehicles` of a drive that is over."""
    last = max(row["updated_at"] for row in rows)
    return {
        "vehicle": VEHICLE,
        "availability": "stopped",
        "availability_at": last,
        "first_seen_at": min(row["started_at"] for row in rows),
        "last_seen_at": last,
        "version": __version__,
    }


def _read(row: dict[str, Any], table: Table) -> dict[str, Any]:
    return {
        name: json.loads(value)
        if isinstance(value, str) and isinstance(table.c[name].type, type(schema.Json))
        else value
        for name, value in row.items()
    }
