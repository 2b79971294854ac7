"""The life of a simulated vehicle: its drives, and what was told of them."""

import hashlib
import math
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache, cached_property
from typing import NamedTuple

import numpy as np

from models.registry import shipped
from monitor.fleet.simulator.driver_profile import (
    BREAK_H,
    DAY_S,
    HOUR_S,
    LEG_H,
    Array,
    Drive,
    Habits,
    Shift,
    draw_vehicle,
    hour_of_day,
    sleepiness,
)
from monitor.fleet.simulator.events import HAPPENINGS, LEVELS, Happening, Mood
from monitor.policy import load_policy
from monitor.policy.rules import AbsencePolicy, ClosurePolicy, YawnPolicy
from monitor.types import (
    AbsenceEvidence,
    Cause,
    ClosureEvidence,
    DegradedEvidence,
    DistractionEvidence,
    Event,
    Evidence,
    Kind,
    Level,
    PerclosEvidence,
    Phase,
    YawnEvidence,
)

BIN_S = 300.0
# Names in the demo's own space, so that simulated ids never meet a real vehicle's.
NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "wakeful:simulated")
CAMERA = "driver"
# The policy that the fleet had before today's was rolled out.
FORMER_POLICY = hashlib.sha256(b"the policy before").hexdigest()[:12]
CLOSURES = frozenset({Kind.MICROSLEEP, Kind.SLEEP, Kind.UNRESPONSIVE})
YAWN = YawnPolicy()
SHORTEST_S = {
    Kind.MICROSLEEP: 1.05,
    Kind.YAWNING: YAWN.min_s + 0.1,
    Kind.DISTRACTION: 3.0,
    Kind.ABSENT: AbsencePolicy().after_s,
}


class Chance(NamedTuple):
    """One episode's dice: a normal deviate, a delay in seconds, and numbers in 0..1."""

    duration: float
    delay_s: float
    answered: float
    speed: float
    a: float
    b: float
    c: float
    d: float


@dataclass(frozen=True, slots=True)
class Episode:
    """An event as it stood when it was last told, and the truth that only the simulator knows.

    Attributes:
        event: told at its end, or at the end of the simulated time while it is still going on.
        looked_like: why it is a false alarm; None for a true one.
        received_at: when the fleet's database had it, epoch seconds.
        sequence: of its last telling, in the vehicle's own count.
    """

    event: Event
    looked_like: str | None
    received_at: float
    sequence: int = 0

    @property
    def going_on(self) -> bool:
        """It had not ended at the end of the simulated time."""
        return self.event.phase is not Phase.END


class Life:
    """One vehicle over a span of time. Everything follows from the seed and the number.

    Args:
        seed: of the whole fleet.
        number: of the vehicle in it, from 1.
        start, end: of the simulated time, epoch seconds.
    """

    def __init__(self, seed: int, number: int, start: float, end: float) -> None:
        self._rng = np.random.default_rng([seed, number])
        self.start, self.end = start, end
        self.vehicle = draw_vehicle(f"truck-{number:03d}", self._rng, start, end)
        # Two crews' drives that the simulated time cuts at its start would be one by name.
        drives = {drive.id: drive for drive in self._drives()}
        self.drives = sorted(drives.values(), key=lambda drive: drive.started_at)

    @cached_property
    def episodes(self) -> list[Episode]:
        """What was told, in the order of its last telling, numbered as the vehicle numbers it."""
        episodes = [episode for drive in self.drives for episode in self._episodes(drive)]
        told_at = np.array([(e.event.started_at, e.event.at) for e in episodes]).reshape(-1, 2)
        # Two tellings an event: the rank of its end among all tellings is its sequence.
        ranks = np.argsort(np.argsort(told_at.ravel(), kind="stable"), kind="stable") + 1
        numbered = [
            replace(episode, sequence=int(rank))
            for episode, rank in zip(episodes, ranks[1::2], strict=True)
        ]
        return sorted(numbered, key=lambda e: e.sequence)

    @cached_property
    def by_drive(self) -> dict[str, list[Episode]]:
        """Episodes by the id of the drive they happened in."""
        found: dict[str, list[Episode]] = {drive.id: [] for drive in self.drives}
        for episode in self.episodes:
            found[episode.event.drive].append(episode)
        return found

    @property
    def current(self) -> Drive | None:
        """The drive that is still going on at the end of the simulated time."""
        last = self.drives[-1] if self.drives else None
        return last if last and last.ended_at >= self.end else None

    @property
    def clock_skew_s(self) -> float:
        """How far the vehicle's clock is off: a few hundredths, and minutes for one in fifty."""
        rng = np.random.default_rng([len(self.drives), int(self.end), 7])
        return float(rng.normal(0, 180.0 if rng.random() < 0.02 else 0.03))

    def _drives(self) -> Iterator[Drive]:
        for day in np.arange(self.start - self.start % DAY_S - DAY_S, self.end, DAY_S):
            for shift, habits in self.vehicle.crews:
                if not self._works(float(day)):
                    continue
                yield from self._legs(float(day), shift, habits)

    def _works(self, day: float) -> bool:
        sunday = int(day // DAY_S + 4) % 7 == 0  # 1 January 1970 was a Thursday
        return bool(self._rng.random() > (0.55 if sunday else 0.04))

    def _legs(self, day: float, shift: Shift, habits: Habits) -> Iterator[Drive]:
        begin = day + (shift.start_h + self._rng.normal(0, 0.5)) * HOUR_S
        woke_at = begin - (shift.awake_before_h + abs(self._rng.normal(0, 0.7))) * HOUR_S
        left_h = float(np.clip(shift.hours + self._rng.normal(0, 0.6), 1.0, 2 * LEG_H))
        while left_h > 0.1:
            hours = min(left_h, LEG_H - self._rng.random() * 0.5)
            started, ended = max(begin, self.start), min(begin + hours * HOUR_S, self.end)
            if ended - started > 60.0:
                yield self._drive(started, ended, woke_at, habits)
            begin += (hours + BREAK_H) * HOUR_S
            left_h -= hours

    def _drive(self, started: float, ended: float, woke_at: float, habits: Habits) -> Drive:
        stamp = datetime.fromtimestamp(started, UTC).strftime("%Y%m%dT%H%M%S")
        share = (started - self.start) / (self.end - self.start)
        return Drive(
            id=f"{self.vehicle.id}-{stamp}",
            started_at=started,
            ended_at=ended,
            woke_at=woke_at,
            habits=habits,
            calibration=_short_hash(f"{self.vehicle.id}{stamp}"),
            policy=_policy() if share >= self.vehicle.rollout else FORMER_POLICY,
        )

    def mood(self, drive: Drive, at: Array) -> Mood:
        """How the drive stands at these instants (epoch seconds)."""
        driving_h = (at - drive.started_at) / HOUR_S
        vehicle = self.vehicle
        return Mood(
            sleepiness=sleepiness(at, drive.woke_at, drive.habits, driving_h),
            hour=hour_of_day(at),
            habits=drive.habits,
            fault=((at >= vehicle.fault_from) & (at < vehicle.fault_to)).astype(np.float64),
            kind_of_fault=vehicle.fault,
            tunnels=vehicle.tunnels,
        )

    def _episodes(self, drive: Drive) -> Iterator[Episode]:
        bins = np.arange(drive.started_at, drive.ended_at, BIN_S)
        mood = self.mood(drive, bins + BIN_S / 2)
        share_of_hour = np.minimum(drive.ended_at - bins, BIN_S) / HOUR_S
        rates = np.stack([happening.per_hour(mood) for happening in HAPPENINGS])
        what, where = np.nonzero(counts := self._rng.poisson(rates * share_of_hour))
        times = counts[what, where]
        what, where = np.repeat(what, times), np.repeat(where, times)
        begins = bins[where] + self._rng.random(len(where)) * share_of_hour[where] * HOUR_S
        sleepy = mood.sleepiness[where]
        yield self._episode(drive, _CALIBRATING, drive.started_at, 0.0, self._chances(1)[0])
        for index, begin, tired, chance in zip(
            what.tolist(), begins.tolist(), sleepy.tolist(), self._chances(len(what)), strict=True
        ):
            yield self._episode(drive, HAPPENINGS[index], begin, tired, chance)

    def _chances(self, count: int) -> list[Chance]:
        """The dice of `count` episodes, thrown together because one by one is ten times slower."""
        rng = self._rng
        offline = rng.random(count) < 0.012 * self.vehicle.tunnels
        # From telling to the database: mostly a blink, minutes in a place without network.
        delay = np.where(offline, rng.gamma(1.5, 150.0, count), rng.gamma(2.0, 0.06, count))
        return [
            Chance(*row)
            for row in zip(
                rng.normal(size=count).tolist(),
                delay.tolist(),
                *rng.random((6, count)).tolist(),
                strict=True,
            )
        ]

    def _episode(
        self, drive: Drive, what: Happening, begin: float, sleepy: float, chance: Chance
    ) -> Episode:
        tired = 0.12 * sleepy if what.kind is Kind.MICROSLEEP else 0.0
        seconds = what.median_s * math.exp(what.sigma * chance.duration + tired)
        seconds = max(round(seconds, 2), SHORTEST_S.get(what.kind, 0.5))
        kind, level = _rung(what, seconds, _yawns(sleepy, chance))
        # The process ends what is open when it stops; only the simulated time's end leaves it open.
        end = min(begin + seconds, drive.ended_at)
        going_on = end >= self.end
        event = Event(
            id=str(uuid.uuid5(NAMESPACE, f"{drive.id}/{what.kind}/{begin:.6f}")),
            kind=kind,
            phase=Phase.START if going_on else Phase.END,
            level=level,
            started_at=round(begin, 3),
            at=round(end, 3),
            started_s=round(begin - drive.started_at, 3),
            at_s=round(end - drive.started_at, 3),
            drive=drive.id,
            camera=CAMERA,
            acknowledged=not going_on and level >= Level.WARNING and chance.answered < 0.45,
            evidence=_evidence(what, kind, end - begin, sleepy, chance),
            policy=drive.policy,
            calibration="" if what is _CALIBRATING else drive.calibration,
            models=_models(),
        )
        return Episode(event, what.looked_like, event.at + chance.delay_s)


CLOSURE = ClosurePolicy()
# Who is drowsy for five minutes is so severely at some time in them: an assumption.
SEVERE_S = 300.0
_CALIBRATING = Happening(
    Kind.DEGRADED, LEVELS.degraded_minor, lambda mood: 0 * mood.hour, 60.0, 0.1, Cause.UNCALIBRATED
)


def _yawns(sleepy: float, chance: Chance) -> int:
    """How many yawns within the policy's window this one makes, if it is one."""
    return 1 + int(1.2 * (1 + sleepy) * chance.b)


def _rung(what: Happening, seconds: float, yawns: int) -> tuple[Kind, Level]:
    """How far it climbs on the default policy's ladder in so many seconds, or yawns."""
    if what.kind is Kind.MICROSLEEP:
        if seconds >= CLOSURE.unresponsive_s:
            return Kind.UNRESPONSIVE, LEVELS.unresponsive
        if seconds >= CLOSURE.sleep_s:
            return Kind.SLEEP, LEVELS.sleep
        if seconds < CLOSURE.microsleep_warn_s:
            return what.kind, LEVELS.microsleep_logged
    if what.kind is Kind.DROWSY and seconds >= SEVERE_S:
        return what.kind, LEVELS.drowsy_severe
    if what.kind is Kind.YAWNING and yawns >= YAWN.count:
        return what.kind, LEVELS.yawning_repeated
    return what.kind, what.level


def _evidence(
    what: Happening, kind: Kind, seconds: float, sleepy: float, chance: Chance
) -> Evidence:
    """Numbers as the rules would write them."""
    stands = what.kind is Kind.ABSENT and what.level is LEVELS.absent
    speed_kmh = 0.0 if stands else round(88.0 * (0.35 + 0.65 * chance.speed), 1)
    if what.cause is not None:
        return DegradedEvidence(cause=what.cause, speed_kmh=speed_kmh)
    if kind is Kind.DROWSY:
        return PerclosEvidence(
            band="drowsy",
            perclos=round(0.125 + 0.1 * chance.a + 0.03 * sleepy, 3),
            coverage=round(0.8 + 0.2 * chance.b, 2),
            window_s=60.0,
            speed_kmh=speed_kmh,
        )
    if kind is Kind.DISTRACTION:
        return DistractionEvidence(
            limit="long",
            away_s=round(seconds, 2),
            yaw_deg=round((1 if chance.b < 0.35 else -1) * (28 + 30 * chance.c), 1),
            pitch_deg=round(-4 - 22 * chance.d, 1),
            speed_kmh=speed_kmh,
        )
    if kind is Kind.YAWNING:
        return YawnEvidence(
            open_s=round(seconds, 2),
            yawns=_yawns(sleepy, chance),
            window_s=YAWN.window_s,
            speed_kmh=speed_kmh,
        )
    if kind is Kind.ABSENT:
        return AbsenceEvidence(gone_s=round(seconds, 2), speed_kmh=speed_kmh)
    # What only looked like closed eyes is seldom quite closed, and the head stays up.
    falling = 3.0 if what.looked_like else 6.0 + 4.0 * seconds
    return ClosureEvidence(
        closed_s=round(seconds, 2),
        confidence=round((0.5 if what.looked_like else 0.75) + 0.25 * chance.a, 2),
        nod=not what.looked_like and seconds > 2.0 and chance.d < 0.7,
        openness=round((0.22 if what.looked_like else 0.04) + 0.08 * chance.b, 3),
        pitch_deg=round(-min(falling, 45.0) - 5 * chance.c, 1),
        speed_kmh=speed_kmh,
    )


@cache
def _policy() -> str:
    return load_policy("default").hash


@cache
def _models() -> tuple[str, ...]:
    """Ids of the shipped models that a watch would load."""
    return tuple(card.id for task in ("detection", "eyes") for card in shipped(task)[:1])


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
