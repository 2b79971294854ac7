"""An alert in a sentence: what was seen that made it, in words for whoever must judge it."""

from collections.abc import Sequence
from dataclasses import fields
from enum import StrEnum
from typing import Final

from dashboard.components import theme
from dashboard.queries.events import AlertDetail, DriverSample
from monitor.policy import Policy
from monitor.types import Cause, Kind, Level
from monitor.types.evidence import (
    AbsenceEvidence,
    ClosureEvidence,
    DegradedEvidence,
    DistractionEvidence,
    PerclosEvidence,
    RuleEvidence,
    YawnEvidence,
)

# Below this what was seen of the eyes contradicts itself (monitor.engine.eye_state).
UNSURE: Final = 0.65
# A head lowered this far makes eyes that look down measure like closed ones (policy, eye.*).
LOWERED_DEG: Final = -12.0

# Title and unit of each piece of evidence; what is not here is named by its field.
_NAMES: Final = {
    "closed_s": ("Eyes closed for", "s"),
    "confidence": ("Certainty", "share"),
    "openness": ("Least eye opening", "share"),
    "perclos": ("PERCLOS", "share"),
    "coverage": ("Eyes seen for", "share"),
    "window_s": ("Counted over", "s"),
    "band": ("PERCLOS band", ""),
    "nod": ("Head nodded", ""),
    "contributions": ("Signs of closed eyes", ""),
    "held_over_unknown": ("Eyes out of sight for a part", ""),
    "away_s": ("Looked away for", "s"),
    "limit": ("Limit", "limit"),
    "looking_down": ("Looking down", ""),
    "yaw_deg": ("Head turned (yaw)", "°"),
    "pitch_deg": ("Head lowered to (pitch)", "°"),
    "open_s": ("Mouth open for", "s"),
    "yawns": ("Yawns in that time", ""),
    "gone_s": ("Not seen for", "s"),
    "cause": ("Cause", "cause"),
    "speed_kmh": ("Speed", "km/h"),
    "capped_by_speed_kmh": ("Kept less urgent at", "km/h"),
    "unanswered_s": ("Warning not answered for", "s"),
    "repeat": ("Repeated", "times"),
    "fleet_notice": ("Many critical alerts in this drive", ""),
    "ended_by": ("Ended because", "ended"),
}
_LIMITS: Final = {
    "long": "one long look away",
    "addw": "a look at something low (EU 2023/2590)",
    "vats": "many short looks away, added up",
}
_ENDED: Final = {
    "over": "it was over",
    "attentive": "the driver was attentive again",
    "nobody_there": "the driver had left",
    "drive": "the drive ended",
    "process": "the monitoring stopped",
}


def why(alert: AlertDetail) -> str:
    """One sentence on why this alert was raised."""
    evidence = alert.evidence
    if evidence is None:
        return f"It lasted {theme.lasting(alert.duration_s)}."
    speed_kmh = evidence.speed_kmh
    moving = f" at {speed_kmh:.0f} km/h" if speed_kmh else ""
    return f"{_sentence(evidence, alert.duration_s)}{moving}."


def limit(alert: AlertDetail, policy: Policy) -> str | None:
    """The limit of the policy that gave this alert its level; None where one number is not it."""
    evidence = alert.evidence
    if evidence is not None and evidence.unanswered_s is not None:
        after_s = policy.unresponsive_after_warning_s
        return f"a warning that is not answered for {after_s:g} s becomes critical"
    match evidence:
        case ClosureEvidence():
            words: str | None = _closure_limit(alert, policy)
        case PerclosEvidence(band=band):
            words = _perclos_limit(band, policy)
        case DistractionEvidence():
            words = _distraction_limit(evidence, policy)
        case YawnEvidence():
            words = f"a yawn is longer than {policy.yawn.min_s:g} s"
        case AbsenceEvidence():
            words = f"the limit is {policy.absence.after_s:g} s"
        case _:
            words = None
    return words


def doubts(alert: AlertDetail, samples: Sequence[DriverSample]) -> list[str]:
    """What was measured that speaks against an alert, for whoever judges it."""
    reasons = []
    if isinstance(alert.evidence, ClosureEvidence):
        reasons += _closure_doubts(alert.evidence)
    causes = sorted(theme.cause_word(cause) for cause in _other_causes(alert, samples))
    if causes:
        reasons.append(f"the driver was badly seen around it: {', '.join(causes)}")
    if not alert.calibration:
        reasons.append("the system had not learned this driver's face yet")
    return reasons


def evidence_pairs(alert: AlertDetail) -> list[tuple[str, str]]:
    """Everything that was written as evidence, named and with units."""
    evidence = alert.evidence
    if evidence is None:
        return []
    values = ((field.name, field.default) for field in fields(evidence) if field.name != "rule")
    return [
        _named(name, value)
        for name, default in values
        if (value := getattr(evidence, name)) is not None and value != default
    ]


def _sentence(evidence: RuleEvidence, duration_s: float) -> str:
    match evidence:
        case ClosureEvidence():
            words = _closure(evidence)
        case PerclosEvidence():
            words = _drowsy(evidence)
        case DistractionEvidence():
            words = _distraction(evidence)
        case YawnEvidence():
            words = _yawning(evidence)
        case AbsenceEvidence():
            words = _absent(evidence)
        case DegradedEvidence(cause=cause):
            lasting = theme.lasting(duration_s)
            words = f"The driver could not be monitored for {lasting}: "
            words += theme.cause_word(cause.value)
        case _:
            words = f"It lasted {theme.lasting(duration_s)}"
    return words


def _closure(evidence: ClosureEvidence) -> str:
    words = f"The eyes stayed closed for {evidence.closed_s:.1f} s"
    if evidence.openness is not None:
        words += f" (opened to {theme.share(evidence.openness)} of the driver's own)"
    if evidence.nod:
        words += ", the head nodded"
    elif evidence.pitch_deg is not None and evidence.pitch_deg < LOWERED_DEG:
        words += f", the head sank by {-evidence.pitch_deg:.0f}°"
    if evidence.held_over_unknown:
        words += "; they were last seen closed and have not been seen open since"
    speakers = [witness for witness, log_odds in evidence.contributions if log_odds > 0]
    if speakers:
        words += f"; the strongest signs of closed eyes: {', '.join(speakers[:2])}"
    return words


def _drowsy(evidence: PerclosEvidence) -> str:
    if evidence.perclos is None:
        return "The eyes were closed for too large a part of the time"
    words = (
        f"The eyes were closed for {theme.share(evidence.perclos, 1)} of the last "
        f"{evidence.window_s:.0f} s"
    )
    if evidence.coverage:
        words += f", of which {theme.share(evidence.coverage)} was seen"
    return words


def _distraction(evidence: DistractionEvidence) -> str:
    many = evidence.limit == "vats"
    looks = "in several looks, together" if many else "for"
    words = f"The driver looked away from the road {looks} {evidence.away_s:.1f} s"
    if evidence.yaw_deg is not None and abs(evidence.yaw_deg) >= 1:
        side = "left" if evidence.yaw_deg > 0 else "right"
        words += f", the head turned {abs(evidence.yaw_deg):.0f}° to the {side}"
    elif evidence.looking_down:
        words += ", downwards"
    return words


def _yawning(evidence: YawnEvidence) -> str:
    words = f"The mouth stayed wide open for {evidence.open_s:.1f} s"
    if evidence.yawns > 1:
        words += f", one of {evidence.yawns} yawns within {evidence.window_s / 60:.0f} min"
    return words


def _absent(evidence: AbsenceEvidence) -> str:
    # Whoever steers a moving vehicle is there: what is certain is that the camera did not see them.
    lasting = theme.lasting(evidence.gone_s)
    if evidence.speed_kmh:
        return f"The driver could not be seen for {lasting}"
    return f"Nobody was seen in the driver's place for {lasting}"


def _closure_limit(alert: AlertDetail, policy: Policy) -> str:
    closure = policy.closure
    if alert.kind == Kind.MICROSLEEP.value and alert.level >= Level.WARNING:
        return (
            f"a microsleep is a warning from {closure.microsleep_warn_s:g} s, and noted from "
            f"{closure.microsleep_log_s:g} s"
        )
    limit_s = {
        Kind.MICROSLEEP.value: closure.microsleep_log_s,
        Kind.SLEEP.value: closure.sleep_s,
        Kind.UNRESPONSIVE.value: closure.unresponsive_s,
    }.get(alert.kind, closure.microsleep_log_s)
    return f"the limit is {limit_s:g} s"


def _perclos_limit(band: str, policy: Policy) -> str | None:
    perclos = policy.perclos
    windows = {
        "advisory": [perclos.advisory],
        "severe": [perclos.severe],
    }.get(band, list(perclos.drowsy.all_of))
    shares = " and ".join(f"{theme.share(w.enter)} of {w.window_s:g} s" for w in windows if w)
    return f"the limit is {shares}" if shares else None


def _distraction_limit(evidence: DistractionEvidence, policy: Policy) -> str | None:
    rules = policy.distraction
    if evidence.limit == "vats":
        return f"the limit is {rules.vats.cumulative_s:g} s within {rules.vats.window_s:g} s"
    if evidence.limit == "long":
        return f"the limit is {rules.long.nominal_s:g} s"
    speed_kmh = evidence.speed_kmh or 0.0
    reached = [step for step in rules.addw if speed_kmh >= step.min_speed_kmh]
    if not reached:
        return None
    return f"the limit is {min(step.max_s for step in reached):g} s at this speed"


def _closure_doubts(evidence: ClosureEvidence) -> list[str]:
    reasons = []
    against = [witness for witness, log_odds in evidence.contributions if log_odds <= -1]
    if against:
        reasons.append(f"signs of open eyes: {', '.join(against)}")
    if evidence.confidence and evidence.confidence < UNSURE:
        certainty = theme.share(evidence.confidence)
        reasons.append(f"it is not certain that the eyes were closed (certainty {certainty})")
    if evidence.held_over_unknown:
        reasons.append("the eyes were out of sight for a part of it")
    if evidence.pitch_deg is not None and evidence.pitch_deg < LOWERED_DEG:
        reasons.append(
            f"the head was lowered by {-evidence.pitch_deg:.0f}°: eyes that look down seem closed"
        )
    return reasons


# What an alert says by itself does not speak against it.
_OWN_CAUSES: Final = {
    Kind.ABSENT.value: {Cause.NO_FACE.value, Cause.EYES_NOT_VISIBLE.value},
    # A head that is turned away takes the eyes with it.
    Kind.DISTRACTION.value: {Cause.NO_FACE.value, Cause.EYES_NOT_VISIBLE.value},
    Kind.UNRESPONSIVE.value: {Cause.NO_FACE.value, Cause.EYES_NOT_VISIBLE.value},
}


def _other_causes(alert: AlertDetail, samples: Sequence[DriverSample]) -> set[str]:
    """What impaired the monitoring around an alert, less what the alert itself is about."""
    if isinstance(alert.evidence, DegradedEvidence):
        return set()
    causes = {cause for row in samples for cause in row.degraded}
    return causes - _OWN_CAUSES.get(alert.kind, set())


def _named(name: str, value: float | str | bool | tuple[tuple[str, float], ...]) -> tuple[str, str]:
    title, unit = _NAMES.get(name, (name.replace("_", " ").capitalize(), ""))
    match value:
        case bool():
            return title, "yes" if value else "no"
        case tuple():
            return title, ", ".join(f"{witness} {log_odds:+.1f}" for witness, log_odds in value)
        case StrEnum() | str():
            words = {"limit": _LIMITS, "ended": _ENDED}.get(unit, {})
            return title, theme.cause_word(value) if unit == "cause" else words.get(value, value)
        case _ if unit == "share":
            return title, theme.share(value, 1)
        case _ if unit == "°":
            return title, f"{value:.0f}°"
        case _:
            return title, f"{value:.2f}".rstrip("0").rstrip(".") + (f" {unit}" if unit else "")
