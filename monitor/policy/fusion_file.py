"""The file of the fusion's curves: which weigh what was measured of the eyes, with their card."""

import json
from functools import cache
from pathlib import Path

from pydantic import JsonValue

SHIPPED = Path(__file__).with_name("eye_fusion.json")


@cache
def read_fusion(path: Path = SHIPPED) -> dict[str, JsonValue]:
    """The file's content, for `monitor.engine.eye_state.additive_model`.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not JSON.
    """
    values: dict[str, JsonValue] = json.loads(path.read_text(encoding="utf-8"))
    return values
