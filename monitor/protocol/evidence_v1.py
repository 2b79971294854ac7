"""Evidence as version 1 wrote it, an untyped object, brought into today's shape.

Plain dictionaries in and out: the database's migration and the reader of old payloads share it.
"""

from collections.abc import Mapping
from typing import Final

_RULES: Final = {
    "microsleep": "closure",
    "sleep": "closure",
    "unresponsive": "closure",
    "drowsy": "perclos",
    "distraction": "distraction",
    "yawning": "yawn",
    "absent": "absence",
    "degraded": "degraded",
}
# What each rule's evidence cannot do without, where nothing was written.
LEAST: Final[Mapping[str, Mapping[str, object]]] = {
    "closure": {"rule": "closure", "closed_s": 0.0},
    "perclos": {"rule": "perclos", "band": "drowsy", "window_s": 60.0},
    "distraction": {"rule": "distraction", "limit": "long", "away_s": 0.0},
    "yawn": {"rule": "yawn", "open_s": 0.0, "yawns": 1, "window_s": 600.0},
    "absence": {"rule": "absence", "gone_s": 0.0},
    "degraded": {"rule": "degraded", "cause": "model_error"},
}
_RENAMED: Final = {"closure_s": "closed_s", "yawn_s": "open_s", "reason": "ended_by"}
_LIMITS: Final = ("long", "addw", "vats")  # what a distraction's `rule` was; it is `limit` now
_ENDINGS: Final = {"nobody there": "nobody_there", "process ended": "process"}
_SHARED: Final = {
    "speed_kmh", "capped_by_speed_kmh", "unanswered_s", "repeat", "fleet_notice", "ended_by",
}  # fmt: skip
_OWN: Final[Mapping[str, set[str]]] = {
    "closure": {"closed_s", "confidence", "held_over_unknown", "nod", "openness", "pitch_deg"},
    "perclos": {"band", "perclos", "coverage", "window_s"},
    "distraction": {"limit", "away_s", "looking_down", "yaw_deg", "pitch_deg"},
    "yawn": {"open_s", "yawns", "window_s"},
    "absence": {"gone_s"},
    "degraded": {"cause"},
}


def rule_of(kind: str, stored: Mapping[str, object]) -> str:
    """The rule that found an event of this kind; a look that nobody answered climbs as well."""
    return "distraction" if "away_s" in stored else _RULES.get(kind, "closure")


def upgraded(kind: str, stored: Mapping[str, object]) -> dict[str, object]:
    """Evidence of any version as today's JSON; today's own is returned as it is."""
    if stored.get("rule") not in (None, *_LIMITS):
        return dict(stored)
    values = {_RENAMED.get(name, name): value for name, value in stored.items()}
    rule = rule_of(kind, stored)
    if rule == "distraction":
        values["limit"] = stored.get("rule", "long")
    ended_by = values.get("ended_by")
    values["ended_by"] = _ENDINGS.get(str(ended_by), ended_by)
    names = _OWN[rule] | _SHARED
    values = {n: v for n, v in values.items() if n in names and v is not None}
    return {**LEAST[rule], **values, "rule": rule}
