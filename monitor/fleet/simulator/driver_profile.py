"""Who drives the simulated vehicles, when, and how tired they are at any hour.

Alertness follows the three-process model (Akerstedt, Folkard & Portin 2004, Aviation, Space and
Environmental Medicine 75:A75-A83): a homeostatic part S that decays with the time awake, a
24-hour circadian part C and a 12-hour ultradian part U. The model's scale runs from 1 to 21;
below 7 sleepiness intrudes. It drives the *rates* of the simulator and nothing else.
"""

import math
import zlib
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

HOUR_S: Final = 3600.0
DAY_S: Final = 86_400.0
# The model's constants: S starts at 14 on waking and decays towards 2.4 by 3.53 % an hour;
# C has amplitude 2.5 and peaks at 16.8 h; U has amplitude 0.5 and peaks at 21 h.
S_WAKING, S_FLOOR, S_DECAY = 14.0, 2.4, 0.0353
C_AMPLITUDE, C_PEAK_H = 2.5, 16.8
U_AMPLITUDE, U_PEAK_H = 0.5, 21.0
# Where sleepiness begins to show, and the span over which it grows by one.
SLEEPY_BELOW, SLEEPY_SPAN = 10.0, 3.0
# The recorded camera's frames a second (`films.FPS`).
RECORDED_FPS = 10.0
# For so long a face looks the same; the shares of its looks, added up to 100.
EXPRESSION_S = 40
EXPRESSIONS = (
    (84, "neutral"),
    (91, "happiness"),
    (96, "sadness"),
    (98, "surprise"),
    (100, "anger"),
)
# EU 561/2006, article 7: a break of 45 minutes after 4.5 hours of driving.
LEG_H, BREAK_H = 4.5, 0.75


class CameraFault(StrEnum):
    """What may be wrong with a vehicle's camera for some days."""

    NONE = "none"
    LOOSE = "loose"  # the connector: the picture is lost again and again
    DIRTY = "dirty"  # obscured
    FREEZING = "freezing"


@dataclass(frozen=True, slots=True)
class Habits:
    """One driver.

    Attributes:
        sleep_debt: points taken off the model's alertness.
        chronotype_h: hours by which the body clock runs late (owl) or early (lark, negative).
        glasses: reflections are taken for closed eyes now and then.
        talkative: factor on yawns that were talk.
        restless: factor on looks away from the road.
    """

    sleep_debt: float
    chronotype_h: float
    glasses: bool
    talkative: float
    restless: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Habits":
        """A driver at random: most rested, a few chronically short of sleep."""
        return cls(
            sleep_debt=float(rng.gamma(1.2, 1.1)),
            chronotype_h=float(rng.normal(0.0, 1.2)),
            glasses=bool(rng.random() < 0.35),
            talkative=float(rng.gamma(2.0, 0.5)),
            restless=float(rng.gamma(3.0, 1 / 3)),
        )


@dataclass(frozen=True, slots=True)
class Shift:
    """When a driver works: local hour of the start, hours behind the wheel and hours awake."""

    start_h: float
    hours: float
    awake_before_h: float


DAY = Shift(6.0, 9.0, 1.5)
EVENING = Shift(14.5, 8.5, 6.5)
NIGHT = Shift(21.5, 8.0, 7.0)
# Single crews by day, by evening, by night, and vehicles that two crews share.
ROSTERS: tuple[tuple[Shift, ...], ...] = ((DAY,), (EVENING,), (NIGHT,), (DAY, EVENING))
ROSTER_SHARES = (0.34, 0.12, 0.16, 0.38)


@dataclass(frozen=True, slots=True)
class SimulatedVehicle:
    """A vehicle, its crews and what is wrong with it.

    Attributes:
        id: in topics and in the log.
        crews: shifts and who works them.
        fault: what the camera suffers from between `fault_from` and `fault_to` (epoch seconds).
        tunnels: factor on tunnels and other places without network.
        rollout: share 0..1 of the simulated time after which the new policy is installed.
        version: of the software.
        camera_fps: frames a second of its camera.
    """

    id: str
    crews: tuple[tuple[Shift, Habits], ...]
    fault: CameraFault
    fault_from: float
    fault_to: float
    tunnels: float
    rollout: float
    version: str
    camera_fps: float

    def fps(self, recorded: float) -> float:
        """Frames a second of this camera where the recorded one had so many."""
        return recorded * self.camera_fps / RECORDED_FPS


def draw_vehicle(
    identifier: str, rng: np.random.Generator, start: float, end: float
) -> SimulatedVehicle:
    """A vehicle at random for a simulated span of time (epoch seconds)."""
    roster = ROSTERS[int(rng.choice(len(ROSTERS), p=ROSTER_SHARES))]
    fault = CameraFault(rng.choice([f.value for f in CameraFault], p=[0.82, 0.08, 0.06, 0.04]))
    span = end - start
    fault_from = start + rng.random() * span
    # Half of the broken cameras have not been mended yet.
    fault_to = math.inf if rng.random() < 0.5 else fault_from + rng.gamma(2.0, 3.0) * DAY_S
    return SimulatedVehicle(
        id=identifier,
        crews=tuple((shift, Habits.draw(rng)) for shift in roster),
        fault=fault,
        fault_from=fault_from,
        fault_to=fault_to,
        tunnels=float(rng.gamma(2.0, 0.5)),
        rollout=float(rng.random() * 1.4),
        version=str(rng.choice(["0.1.0", "0.1.0", "0.1.0", "0.0.9"])),
        camera_fps=float(rng.choice([15.0, 25.0, 30.0])),
    )


@dataclass(frozen=True, slots=True)
class Leg:
    """One run of the in-vehicle process.

    Attributes:
        id: as written on its events.
        started_at, ended_at: epoch seconds.
        woke_at: when the driver got up.
        habits: who drives.
        calibration: id of the driver's baseline in this drive.
        policy: id of the policy then installed.
    """

    id: str
    started_at: float
    ended_at: float
    woke_at: float
    habits: Habits
    calibration: str
    policy: str

    def expression(self, second: int) -> str:
        """What the driver's face looks like at a second of the leg: mostly nothing in particular.

        The recorded portrait smiles for ever, as no driver does: like the rates this is assumed.
        """
        chance = zlib.crc32(f"{self.id}/{second // EXPRESSION_S}".encode()) % 100
        return next(label for below, label in EXPRESSIONS if chance < below)


def hour_of_day(at: Array) -> Array:
    """Hour of the day (UTC) of epoch seconds, 0..24."""
    return (at % DAY_S) / HOUR_S


def alertness(at: Array, woke_at: float, habits: Habits) -> Array:
    """The three-process model less the driver's sleep debt, on its own scale (1..21)."""
    awake_h = np.maximum(at - woke_at, 0.0) / HOUR_S
    body_h = hour_of_day(at) - habits.chronotype_h
    homeostatic = S_FLOOR + (S_WAKING - S_FLOOR) * np.exp(-S_DECAY * awake_h)
    circadian = C_AMPLITUDE * np.cos((body_h - C_PEAK_H) * math.pi / 12)
    ultradian = U_AMPLITUDE * np.cos((body_h - U_PEAK_H) * math.pi / 6)
    return np.asarray(homeostatic + circadian + ultradian - habits.sleep_debt)


def sleepiness(at: Array, woke_at: float, habits: Habits, driving_h: Array) -> Array:
    """0 for the fresh driver, about 1 where sleepiness intrudes, at most 3.

    Time on task adds to it: a monotonous leg costs about as much as a short night.
    """
    awake = alertness(at, woke_at, habits) - 0.35 * driving_h
    return np.clip((SLEEPY_BELOW - awake) / SLEEPY_SPAN, 0.0, 3.0)
