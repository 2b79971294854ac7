"""What befalls a leg: how often, for how long, and what it only looked like.

A happening's rate is per hour of driving, as a function of the mood of the moment. Looks away that
last long enough to warn come once in about ten hours, yawns hourly, microsleeps once in hundreds of
hours by day and once in tens for a tired driver at night; the camera's own troubles are the most
frequent of all. A fleet then has about one alert (caution and up) in six hours of driving. These
are the simulator's assumptions, written here in one place to be argued with. What a vehicle says of
it is no assumption: that is recorded (`recording`).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from monitor.fleet.simulator.driver_profile import Array, CameraFault, Habits
from monitor.fleet.simulator.recording import About
from monitor.types import Cause


@dataclass(frozen=True, slots=True)
class Mood:
    """The leg in bins: who drives and how it stands in each of them.

    Attributes:
        sleepiness: per bin, 0..3.
        hour: per bin, hour of the day.
        habits: the driver's.
        fault: 1 in the bins in which the camera's own fault acts, else 0.
        kind_of_fault: which fault it is.
        tunnels: the route's factor on tunnels.
    """

    sleepiness: Array
    hour: Array
    habits: Habits
    fault: Array
    kind_of_fault: CameraFault
    tunnels: float

    def suffers(self, fault: CameraFault) -> Array:
        """1 in the bins in which this fault acts, else 0."""
        return self.fault * (self.kind_of_fault is fault)

    @property
    def low_sun(self) -> Array:
        """1 around sunrise and sunset, falling off within an hour or so."""
        return np.asarray(
            np.exp(-((self.hour - 7.5) ** 2)) + np.exp(-((self.hour - 17.5) ** 2)), np.float64
        )

    @property
    def dark(self) -> Array:
        """1 at night, else 0."""
        return np.asarray((self.hour < 6) | (self.hour > 21), np.float64)


@dataclass(frozen=True, slots=True)
class Happening:
    """One sort of thing that happens.

    Attributes:
        about: what the recordings of it are about.
        per_hour: rate in each bin.
        median_s: median duration in seconds, log-normal with `sigma`.
        looked_like: why it is a false alarm; None for a true one.
    """

    about: About
    per_hour: Callable[[Mood], Array]
    median_s: float
    sigma: float
    looked_like: str | None = None


def _steady(rate: float) -> Callable[[Mood], Array]:
    return lambda mood: np.full_like(mood.hour, rate)


def _restless(rate: float) -> Callable[[Mood], Array]:
    return lambda mood: np.full_like(mood.hour, rate * mood.habits.restless)


def _talkative(rate: float) -> Callable[[Mood], Array]:
    return lambda mood: np.full_like(mood.hour, rate * mood.habits.talkative)


def _degraded(
    cause: Cause, per_hour: Callable[[Mood], Array], median_s: float, sigma: float = 0.7
) -> Happening:
    return Happening(("degraded", cause, False), per_hour, median_s, sigma)


def _closure(
    per_hour: Callable[[Mood], Array], looked_like: str | None, median_s: float = 1.7
) -> Happening:
    return Happening(("closure", None, False), per_hour, median_s, 0.38, looked_like)


DROWSY, YAWNING = ("perclos", None, False), ("yawn", None, False)
DISTRACTION = ("distraction", None, False)
ABSENT, AWAY = ("absence", None, False), ("absence", None, True)

HAPPENINGS: tuple[Happening, ...] = (
    Happening(DROWSY, lambda m: 0.002 + 0.05 * m.sleepiness**2, 200.0, 0.6),
    _closure(lambda m: 0.001 + 0.03 * m.sleepiness**2, None),
    _closure(lambda m: (0.005 + 0.05 * m.low_sun) * m.habits.glasses, "glasses", 1.6),
    _closure(lambda m: 0.012 * m.low_sun, "light", 1.6),
    _closure(_restless(0.015), "looking_down", 1.6),
    Happening(YAWNING, lambda m: 0.5 + 1.1 * m.sleepiness, 3.6, 0.25),
    Happening(YAWNING, _talkative(0.25), 2.4, 0.2, "talking"),
    Happening(DISTRACTION, _restless(0.09), 4.0, 0.28),
    Happening(DISTRACTION, _talkative(0.015), 4.0, 0.2, "passenger"),
    # Out of the seat at a stop, leaning out of the picture on the way, or in it and not found.
    Happening(AWAY, _steady(0.25), 45.0, 1.0),
    Happening(ABSENT, _restless(0.006), 5.0, 0.4),
    Happening(ABSENT, _steady(0.004), 8.0, 0.5, "camera"),
    _degraded(Cause.EYES_NOT_VISIBLE, lambda m: 0.25 + 0.9 * m.habits.glasses * m.low_sun, 25.0),
    _degraded(Cause.GLARE, lambda m: 0.1 + 1.2 * m.low_sun, 16.0),
    _degraded(Cause.LOW_LIGHT, lambda m: 0.45 * m.tunnels + 0.5 * m.dark, 30.0),
    _degraded(Cause.LOW_FPS, _steady(0.08), 60.0),
    _degraded(Cause.CAMERA_LOST, lambda m: 0.004 + 1.6 * m.suffers(CameraFault.LOOSE), 45.0, 1.0),
    _degraded(Cause.OBSCURED, lambda m: 0.01 + 0.9 * m.suffers(CameraFault.DIRTY), 120.0, 0.9),
    _degraded(
        Cause.CAMERA_FROZEN, lambda m: 0.002 + 0.7 * m.suffers(CameraFault.FREEZING), 120.0, 0.9
    ),
)
