"""An alert in a sentence: what was seen that made it, in words for whoever must judge it."""

from typing import Any, Final

from dashboard.components import theme
from dashboard.queries.database import Record
from monitor.policy import Policy
from monitor.types import Kind

# Below this the eye's witnesses contradict each other (monitor.engine.eye_state.witnesses).
UNSURE: Final = 0.65
LOWERED_DEG: Final = -12.0
_CLOSURES: Final = {Kind.MICROSLEEP.value, Kind.SLEEP.value, Kind.UNRESPONSIVE.value}

_NAMES = {
    "closed_s": ("Eyes closed for", "s"),
    "closure_s": ("Eyes closed for", "s"),
    "openness": ("Eye opening", "share"),
    "perclos": ("PERCLOS", "share"),
    "coverage": ("Eyes observed", "share"),
    "window_s": ("Window", "s"),
    "band": ("PERCLOS band", ""),
    "fatigue": ("Fatigue", "/100"),
    "nod": ("Head nodded", "flag"),
    "held_over_unknown": ("Held over unknown eyes", "flag"),
    "away_s": ("Looked away for", "s"),
    "rule": ("Limit", ""),
    "looking_down": ("Looking down", "flag"),
    "yaw_deg": ("Head yaw", "°"),
    "pitch_deg": ("Head pitch", "°"),
    "open_s": ("Mouth open for", "s"),
    "yawn_s": ("Mouth open for", "s"),
    "yawns": ("Yawns in the window", ""),
    "mouth": ("Mouth opening", ""),
    "gone_s": ("Gone for", "s"),
    "cause": ("Cause", "cause"),
    "speed_kmh": ("Speed", "km/h"),
    "capped_by_speed_kmh": ("Kept quieter at", "km/h"),
}


def why(event: Record) -> str:
    """One sentence on why this alert was raised."""
    told = event["evidence"] if isinstance(event["evidence"], dict) else {}
    sentence = _SENTENCES.get(event["kind"], _plain)(told, event["duration_s"])
    speed: Any = told.get("speed_kmh", told.get("capped_by_speed_kmh"))
    moving = f" at {speed:.0f} km/h" if _is_number(speed) and speed > 0 else ""
    return f"{sentence}{moving}."


def limit(event: Record, policy: Policy) -> str | None:
    """From when on the policy alerts to this; None where one number does not say it."""
    closure, windows = policy.closure, policy.perclos.drowsy.all_of
    since_s = {
        Kind.MICROSLEEP.value: closure.microsleep_log_s,
        Kind.SLEEP.value: closure.sleep_s,
        Kind.UNRESPONSIVE.value: closure.unresponsive_s,
        Kind.ABSENT.value: policy.absence.after_s,
        Kind.YAWNING.value: policy.yawn.min_s,
    }
    if event["kind"] == Kind.DROWSY.value:
        shares = " and ".join(f"{theme.share(one.enter)} of {one.window_s:g} s" for one in windows)
        return f"the limit is {shares}"
    if event["kind"] not in since_s:
        return None
    return f"the limit is {since_s[event['kind']]:g} s"


def doubts(event: Record, samples: list[Record]) -> list[str]:
    """What was measured that speaks against an alert, for whoever judges it."""
    told = event["evidence"] if isinstance(event["evidence"], dict) else {}
    found = []
    if _is_number(told.get("confidence")) and told["confidence"] < UNSURE:
        found.append(f"the evidence was weak (confidence {theme.share(told['confidence'])})")
    if told.get("held_over_unknown"):
        found.append("the eyes were out of sight for a part of it")
    pitch: Any = told.get("pitch_deg")
    if event["kind"] in _CLOSURES and _is_number(pitch) and pitch < LOWERED_DEG:
        found.append(f"the head was lowered by {-pitch:.0f}°: eyes that look down seem closed")
    impaired = {cause for row in samples for cause in row["degraded"]}
    if impaired:
        causes = ", ".join(sorted(theme.cause_word(cause) for cause in impaired))
        found.append(f"the watch was impaired around it: {causes}")
    if not event["calibration"]:
        found.append("the watch was not calibrated to this driver yet")
    return found


def evidence(event: Record) -> list[tuple[str, str]]:
    """Everything that was written as evidence, named and with units."""
    told = event["evidence"] if isinstance(event["evidence"], dict) else {}
    return [_named(name, value) for name, value in told.items()]


def _closure(told: Record, seconds: float) -> str:
    closed = told.get("closed_s", told.get("closure_s", seconds))
    words = f"The eyes stayed closed for {closed:.1f} s"
    if _is_number(told.get("openness")):
        words += f" (opened to {theme.share(told['openness'])} of the driver's own)"
    if told.get("nod"):
        words += ", the head nodded"
    elif _is_number(told.get("pitch_deg")) and told["pitch_deg"] < -10:
        words += f", the head sank by {-told['pitch_deg']:.0f}°"
    if told.get("held_over_unknown"):
        words += "; they were last seen closed and have not been seen open since"
    return words


def _drowsy(told: Record, _seconds: float) -> str:
    if not _is_number(told.get("perclos")):
        return "The eyes were closed for too large a share of the time"
    window = told.get("window_s", 60)
    words = f"The eyes were closed for {theme.share(told['perclos'], 1)} of the last {window:.0f} s"
    if _is_number(told.get("coverage")):
        words += f", of which {theme.share(told['coverage'])} was observed"
    return words


def _distraction(told: Record, seconds: float) -> str:
    away = told.get("away_s", seconds)
    words = f"The driver looked away from the road for {away:.1f} s"
    if _is_number(told.get("yaw_deg")):
        side = "left" if told["yaw_deg"] > 0 else "right"
        words += f", the head turned {abs(told['yaw_deg']):.0f}° to the {side}"
    elif told.get("looking_down"):
        words += ", downwards"
    return words


def _yawning(told: Record, seconds: float) -> str:
    length = told.get("open_s", told.get("yawn_s", seconds))
    words = f"The mouth stayed wide open for {length:.1f} s"
    if _is_number(told.get("yawns")) and told["yawns"] > 1:
        words += (
            f", one of {told['yawns']:.0f} yawns within {told.get('window_s', 600) / 60:.0f} min"
        )
    return words


def _absent(told: Record, seconds: float) -> str:
    return f"Nobody was in the driver's place for {theme.lasting(told.get('gone_s', seconds))}"


def _degraded(told: Record, seconds: float) -> str:
    cause = theme.cause_word(str(told.get("cause", "unknown")))
    return f"The driver could not be watched for {theme.lasting(seconds)}: {cause}"


def _plain(_told: Record, seconds: float) -> str:
    return f"It lasted {theme.lasting(seconds)}"


_SENTENCES = {
    Kind.MICROSLEEP.value: _closure,
    Kind.SLEEP.value: _closure,
    Kind.UNRESPONSIVE.value: _closure,
    Kind.DROWSY.value: _drowsy,
    Kind.DISTRACTION.value: _distraction,
    Kind.YAWNING.value: _yawning,
    Kind.ABSENT.value: _absent,
    Kind.DEGRADED.value: _degraded,
}


def _named(name: str, value: object) -> tuple[str, str]:
    title, unit = _NAMES.get(name, (name.replace("_", " ").capitalize(), ""))
    if unit == "share" and _is_number(value):
        return title, theme.share(value, 1)  # type: ignore[arg-type]
    if unit == "flag":
        return title, "yes" if value else "no"
    if unit == "cause":
        return title, theme.cause_word(str(value))
    if isinstance(value, float):
        text = f"{value:.2f}".rstrip("0").rstrip(".")
        return title, f"{text} {unit}".strip() if unit != "°" else f"{text}°"
    return title, f"{value} {unit}".strip()


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
