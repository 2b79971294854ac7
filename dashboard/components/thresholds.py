"""The dials of the replay page: which thresholds may be turned, how far, and what comes of it."""

from dataclasses import dataclass
from typing import Any, Final

from monitor.policy import Policy


@dataclass(frozen=True, slots=True)
class Dial:
    """One threshold of a policy.

    Attributes:
        path: its place in the policy; numbers are places in a list.
        title: as people say it.
        low, high, step: of the slider, in the policy's unit.
        format: of the number shown.
    """

    path: str
    title: str
    low: float
    high: float
    step: float
    format: str

    def of(self, policy: Policy) -> float:
        """Its value in a policy."""
        value: Any = policy.model_dump(mode="json")
        for part in self.path.split("."):
            value = value[int(part)] if isinstance(value, list) else value[part]
        return float(value)


def _seconds(path: str, title: str, low: float, high: float, step: float = 0.1) -> Dial:
    return Dial(path, title, low, high, step, "%.1f s")


def _share(path: str, title: str, low: float, high: float, step: float = 0.01) -> Dial:
    return Dial(path, title, low, high, step, "%.2f")


def _degrees(path: str, title: str, low: float, high: float) -> Dial:
    return Dial(path, title, low, high, 1.0, "%.0f°")


DIALS: Final[dict[str, tuple[Dial, ...]]] = {
    "Closed eyes": (
        _seconds("closure.microsleep_log_s", "Microsleep, noted from", 0.5, 3.0),
        _seconds("closure.microsleep_warn_s", "Microsleep, warned from", 0.5, 4.0),
        _seconds("closure.microsleep_repeat_warn_s", "A repeated one, from", 0.6, 5.0),
        _seconds("closure.sleep_s", "Sleep from", 1.5, 6.0),
        _seconds("closure.unresponsive_s", "Unresponsive from", 3.0, 15.0),
        _share("eye.openness.closed_enter", "Closed below (own eye = 1)", 0.10, 0.60),
        _share("eye.openness.closed_exit", "Open again above", 0.15, 0.80),
    ),
    "PERCLOS": (
        _share("perclos.advisory.enter", "Advisory above", 0.02, 0.40),
        _share("perclos.drowsy.all_of.0.enter", "Drowsy above (1 min)", 0.05, 0.50),
        _share("perclos.drowsy.all_of.1.enter", "and above (3 min)", 0.03, 0.50),
        _share("perclos.severe.enter", "Severe above", 0.10, 0.80),
        _seconds("perclos.exclude_blink_shorter_s", "Blinks are shorter than", 0.0, 1.0, 0.05),
    ),
    "Looking away": (
        _seconds("distraction.long.nominal_s", "One long look", 1.0, 8.0),
        _seconds("distraction.vats.cumulative_s", "Looks away in 30 s, together", 3.0, 25.0, 0.5),
        _degrees("distraction.away_deg.yaw", "Away beyond (sideways)", 8.0, 60.0),
        _degrees("distraction.away_deg.pitch_down", "Away beyond (down)", 8.0, 45.0),
        _seconds("absence.after_s", "Driver not seen after", 0.5, 10.0, 0.5),
        _seconds("yawn.min_s", "A yawn is longer than", 0.5, 6.0),
    ),
}


def tuned(base: Policy, values: dict[str, float]) -> Policy:
    """The policy with some thresholds changed.

    Raises:
        ValidationError: thresholds out of order or out of range.
    """
    content = base.model_dump(mode="json")
    for path, value in values.items():
        *parents, last = path.split(".")
        place: Any = content
        for part in parents:
            place = place[int(part)] if isinstance(place, list) else place[part]
        place[last] = value
    return Policy.model_validate(content)


def changed(base: Policy, policy: Policy) -> list[tuple[str, float, float]]:
    """Dials that stand elsewhere than in the base: path, was, is."""
    pairs = [
        (dial.path, dial.of(base), dial.of(policy)) for dials in DIALS.values() for dial in dials
    ]
    return [pair for pair in pairs if abs(pair[1] - pair[2]) > 1e-9]
