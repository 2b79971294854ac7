"""What one frame and the second before it measure of the driver's eyes: the input of the fusion.

Everything is relative to the driver's own baseline where there is one, and in units in which nought
says nothing: log-odds of the networks, openness against half open, degrees against level. What was
not measured is None and speaks neither for nor against.
"""

import math
from dataclasses import dataclass, field

from monitor.engine.calibration import frontal_ear
from monitor.types import Calibration, Observation

# A network's word is clipped here: none is so sure that nobody else is heard.
LOUDEST = 6.0
# Smoothing of the last moments; long enough for a flicker, short against a microsleep.
RECENT_S = 0.3
# Nothing measured for longer than this: the mean is begun anew.
FORGOTTEN_S = 2.0
# Turned so far the farther eye is seen edge-on: its weight falls from 1 to 0 between the two.
EDGE_ON_DEG = (12.0, 32.0)
# An eye less likely seen than this says nothing of its lids.
LEAST_VISIBLE = 0.35
# Both eyes face the camera and each is sure of its own: a wink, and the open one sees the road.
WINK = 2.0
_LEAST = 1e-3

Measures = dict[str, float | None]

# Every measure, with what it says; the order is that of the model's file.
MEASURES: dict[str, str] = {
    "lids": "EAR of the nearer eye as a share of the driver's own, minus one half",
    "lids_recent": "the same, smoothed over the last 0.3 s",
    "net_shut": "eye network: log-odds of closed or lowered against open",
    "net_shut_recent": "the same, smoothed",
    "net_closed": "eye network: log-odds of closed against lowered",
    "net_closed_recent": "the same, smoothed",
    "detector": "detector: log-odds of sleep against awake, by how sure it is of the face",
    "detector_recent": "the same, smoothed",
    "lower_lid": "how far the lower lid hangs as a share of the driver's own, minus 0.75",
    "gaze_low": "how low the irises sit in the eyes, minus one half",
    "pitch": "head against the driver's neutral, degrees, + up",
    "yaw": "head against the camera, degrees either way",
    "mouth": "how far the mouth is open, MAR",
}


@dataclass(frozen=True, slots=True)
class EyeLogOdds:
    """What the eye network says of both eyes together.

    Attributes:
        shut: log-odds of closed or lowered against open.
        closed: log-odds of closed against lowered.
        visible: 0..1, of the eye that is seen best.
    """

    shut: float | None
    closed: float | None
    visible: float


def log_ratio(over: float, under: float) -> float:
    """Log of a ratio of probabilities, clipped at `LOUDEST`."""
    value = math.log(max(over, _LEAST)) - math.log(max(under, _LEAST))
    return min(max(value, -LOUDEST), LOUDEST)


def facing(yaw_deg: float | None) -> tuple[float, float]:
    """How much the driver's own (left, right) eye faces the camera, 0..1.

    A head turned to its own left (+) shows the right eye.
    """
    near, far = EDGE_ON_DEG
    turned = min(max((abs(yaw_deg or 0.0) - near) / (far - near), 0.0), 1.0)
    return (1 - turned, 1.0) if (yaw_deg or 0.0) > 0 else (1.0, 1 - turned)


def eye_word(observation: Observation) -> EyeLogOdds | None:
    """The network's word on both eyes; None where it did not look.

    Each eye counts by how much it faces the camera and is visible, so that a hidden or turned eye
    does not speak for both; of a wink the open eye counts.
    """
    yaw_deg = observation.pose.yaw_deg if observation.pose else None
    both = zip((observation.eye_left, observation.eye_right), facing(yaw_deg), strict=True)
    eyes = [(eye, weight) for eye, weight in both if eye is not None]
    if not eyes:
        return None
    visible = max((1 - eye.not_visible) * weight for eye, weight in eyes)
    seen = [
        (eye, weight * (1 - eye.not_visible))
        for eye, weight in eyes
        if weight > 0 and 1 - eye.not_visible >= LEAST_VISIBLE
    ]
    if not seen:
        return EyeLogOdds(None, None, visible)
    shut = [log_ratio(eye.closed + eye.lowered, eye.open) for eye, _ in seen]
    closed = [log_ratio(eye.closed, eye.lowered) for eye, _ in seen]
    weights = [weight for _, weight in seen]
    if len(seen) == 2 and min(weights) > 0.5 and max(shut) > WINK and min(shut) < -WINK:
        weights = [float(value == min(shut)) for value in shut]
    return EyeLogOdds(_mean(shut, weights), _mean(closed, weights), visible)


def _mean(values: list[float], weights: list[float]) -> float:
    return sum(v * w for v, w in zip(values, weights, strict=True)) / sum(weights)


def lids_of(observation: Observation, calibration: Calibration) -> float | None:
    """EAR as a camera straight ahead would see it, as a share of the driver's own open eye.

    Of a turned head the nearer eye counts more, and in the end alone.
    """
    yaw_deg = observation.pose.yaw_deg if observation.pose else None
    ear = frontal_ear(observation, facing(yaw_deg))
    return None if ear is None else min(ear / calibration.ear_open, 1.6)


@dataclass
class _Recent:
    """Exponential mean over `RECENT_S`, whatever the frame rate; begun anew after a gap."""

    value: float | None = None
    at_s: float = -math.inf

    def update(self, now_s: float, value: float | None) -> float | None:
        """The mean up to now; while nothing is measured it fades with its last instant."""
        gap_s = now_s - self.at_s
        if value is None:
            return self.value if gap_s <= RECENT_S else None
        if self.value is None or gap_s > FORGOTTEN_S:
            self.value = value
        else:
            self.value += (value - self.value) * (1 - math.exp(-gap_s / RECENT_S))
        self.at_s = now_s
        return self.value


@dataclass
class Window:
    """Makes the measures of one frame after another; remembers the last second."""

    _recent: dict[str, _Recent] = field(default_factory=dict)

    def update(
        self,
        observation: Observation,
        calibration: Calibration,
        pitch_deg: float | None,
        lids: float | None,
        detector: float | None,
    ) -> Measures:
        """The measures of this frame, by the names of `MEASURES`.

        Args:
            observation: what was measured; timestamps must not go back.
            calibration: the baseline in use.
            pitch_deg: of the head against the driver's neutral.
            lids: share of the driver's own open eye, where it can be measured.
            detector: log-odds of sleep against awake, weighed.
        """
        word, own = eye_word(observation), calibration.lower_lid_open
        measured: Measures = {
            "lids": None if lids is None else lids - 0.5,
            "net_shut": word.shut if word else None,
            "net_closed": word.closed if word else None,
            "detector": detector,
        }
        for name in ("lids", "net_shut", "net_closed", "detector"):
            recent = self._recent.setdefault(name, _Recent())
            measured[f"{name}_recent"] = recent.update(observation.timestamp_s, measured[name])
        lid, gaze = observation.lower_lid, observation.gaze_down
        yaw_deg = observation.pose.yaw_deg if observation.pose else None
        measured |= {
            "lower_lid": None if lids is None or lid is None or not own else lid / own - 0.75,
            "gaze_low": None if lids is None or gaze is None else gaze - 0.5,
            "pitch": pitch_deg,
            "yaw": None if yaw_deg is None else abs(yaw_deg),
            "mouth": observation.mar,
        }
        return {name: measured[name] for name in MEASURES}
