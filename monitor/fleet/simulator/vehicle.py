"""The life of a simulated vehicle: its legs, each put together from recorded pieces.

A leg begins with the recorded start of a drive; what befalls it comes when `events` says, each as
a whole piece, one after another; in between the recorded driver drives on, as sleepy as this one.
"""

import hashlib
import math
import uuid
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property

import numpy as np

from monitor.fleet.simulator.driver_profile import (
    BREAK_H,
    DAY_S,
    HOUR_S,
    LEG_H,
    Array,
    Habits,
    Leg,
    Shift,
    draw_vehicle,
    hour_of_day,
    sleepiness,
)
from monitor.fleet.simulator.events import HAPPENINGS, Happening, Mood
from monitor.fleet.simulator.recording import Piece, Recording, shipped_recording
from monitor.fleet.simulator.whereabouts import Whereabouts
from monitor.types import DriverState, Event, Phase, Position, Trip

BIN_S = 300.0
# Names in the demo's own space, so that simulated ids never meet a real vehicle's.
NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "wakeful:simulated")
CAMERA = "driver"
# The policy that the fleet had before today's was rolled out.
FORMER_POLICY = hashlib.sha256(b"the policy before").hexdigest()[:12]
# From so much sleepiness on the quiet driver is tired, sleepy.
DROWSINESS_FROM = (0.7, 1.6)


@dataclass(frozen=True, slots=True)
class Placed:
    """A piece in its place.

    Attributes:
        second: of the leg, at which it begins.
        looked_like: why its main event is a false alarm; None for a true one.
        delay_s: from sending an event to its being in the fleet's database.
    """

    second: int
    piece: Piece
    looked_like: str | None
    delay_s: float


@dataclass(frozen=True, slots=True)
class Episode:
    """An event as far as it was sent, and the truth that only the simulator knows.

    Attributes:
        leg: in which it happened.
        second: of the leg, at which its piece begins.
        piece: whose event it is.
        sent: places in `piece.events` of what was sent by the end of the simulated time.
        going_on: it had not ended by then.
        looked_like: why it is a false alarm; None for a true one.
        received_at: when the fleet's database had the last of it, epoch seconds.
        sequence: of the last of it, in the vehicle's own count.
    """

    leg: Leg
    second: int
    piece: Piece
    sent: tuple[int, ...]
    going_on: bool
    looked_like: str | None
    received_at: float
    sequence: int = 0

    @property
    def recorded(self) -> Event:
        """The last of it, as the piece has it."""
        return self.piece.events[self.sent[-1]]

    @property
    def id(self) -> str:
        """The event's id."""
        return event_id(self.leg, self.second, self.recorded.id)

    @property
    def started_at(self) -> float:
        """When it began, epoch seconds."""
        return round(self.leg.started_at + self.second + self.recorded.started_s, 3)

    @property
    def at(self) -> float:
        """When the last of it was sent, or its condition over; epoch seconds."""
        return round(self.leg.started_at + self.second + self.recorded.at_s, 3)

    def sent_at(self) -> list[float]:
        """When each of it was sent, epoch seconds."""
        began = self.leg.started_at + self.second
        return [began + self.piece.events[place].at_s for place in self.sent]

    def events(self) -> Iterator[Event]:
        """All of it, as this vehicle sent it."""
        for place in self.sent:
            yield self._of_this_vehicle(self.piece.events[place])

    @property
    def event(self) -> Event:
        """The last of it, as this vehicle sent it."""
        return self._of_this_vehicle(self.recorded)

    def _of_this_vehicle(self, event: Event) -> Event:
        leg, second = self.leg, self.second
        return replace(
            event,
            id=self.id,
            started_at=round(leg.started_at + second + event.started_s, 3),
            at=round(leg.started_at + second + event.at_s, 3),
            started_s=second + event.started_s,
            at_s=second + event.at_s,
            drive=leg.id,
            camera=CAMERA,
            policy=leg.policy,
            calibration=leg.calibration,
        )


def event_id(leg: Leg, second: int, recorded: str) -> str:
    """The id in this leg of an event of a piece that begins at `second`."""
    return str(uuid.uuid5(NAMESPACE, f"{leg.id}/{second}/{recorded}"))


@dataclass(frozen=True, slots=True)
class LegTimeline:
    """What is on at each second of a leg.

    Attributes:
        placed: pieces in order; they do not overlap.
        drowsiness: of the quiet driver, one for each `BIN_S`.
        begins: second of each piece.
    """

    placed: tuple[Placed, ...]
    drowsiness: tuple[int, ...]
    recording: Recording
    begins: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "begins", tuple(placed.second for placed in self.placed))

    def at(self, second: int) -> tuple[Piece, int, int | None]:
        """The piece that is on, the second of it, and that of the leg at which it begins.

        The last is None while the driver just drives.
        """
        before = bisect_right(self.begins, second) - 1
        if before >= 0:
            placed = self.placed[before]
            if second - placed.second < len(placed.piece.states):
                return placed.piece, second - placed.second, placed.second
        drowsiness = self.drowsiness[min(int(second // BIN_S), len(self.drowsiness) - 1)]
        calm = self.recording.quiet[drowsiness]
        return calm, second % len(calm.states), None

    def state(self, leg: Leg, second: int) -> DriverState:
        """The driver's state at a second of the leg."""
        piece, recorded, begun = self.at(second)
        state = piece.states[recorded]
        return replace(
            state,
            timestamp_s=float(second),
            captured_at=leg.started_at + second,
            emotion=state.emotion and leg.expression(second),
            calibration=state.calibration and replace(state.calibration, id=leg.calibration),
            open_alerts=tuple(event_id(leg, begun or 0, alert) for alert in state.open_alerts),
        )


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
        self.whereabouts = Whereabouts.of(seed, number)
        self.recording = shipped_recording()
        # Two crews' legs that the simulated time cuts at its start would be one by name.
        legs = {leg.id: leg for leg in self._legs_of_shifts()}
        self.legs = sorted(legs.values(), key=lambda leg: leg.started_at)

    @cached_property
    def timelines(self) -> dict[str, LegTimeline]:
        """What is on in each leg, by its id."""
        return {leg.id: self._timeline(leg) for leg in self.legs}

    @cached_property
    def episodes(self) -> list[Episode]:
        """What was sent, in the order of its last message, numbered as the vehicle numbers it."""
        episodes = [e for leg in self.legs for e in self._episodes(leg)]
        times = [at for e in episodes for at in e.sent_at()]
        # The rank of a message among all of the vehicle's is its number.
        ranks = np.argsort(np.argsort(np.array(times), kind="stable"), kind="stable") + 1
        last = np.cumsum([len(e.sent) for e in episodes]) - 1
        numbered = [
            replace(e, sequence=int(ranks[place])) for e, place in zip(episodes, last, strict=True)
        ]
        return sorted(numbered, key=lambda e: e.sequence)

    @cached_property
    def by_leg(self) -> dict[str, list[Episode]]:
        """Episodes by the id of the leg they happened in."""
        by_leg: dict[str, list[Episode]] = {leg.id: [] for leg in self.legs}
        for episode in self.episodes:
            by_leg[episode.leg.id].append(episode)
        return by_leg

    @property
    def current(self) -> Leg | None:
        """The leg that is still going on at the end of the simulated time."""
        last = self.legs[-1] if self.legs else None
        return last if last and last.ended_at >= self.end else None

    @property
    def clock_skew_s(self) -> float:
        """How far the vehicle's clock is off: a few hundredths, and minutes for one in fifty."""
        rng = np.random.default_rng([len(self.legs), int(self.end), 7])
        return float(rng.normal(0, 180.0 if rng.random() < 0.02 else 0.03))

    def state(self, leg: Leg, at: float) -> DriverState:
        """What is true of the driver at `at` (epoch seconds, within the leg)."""
        own = self.whereabouts
        trip = Trip(own.driver(at), Position(*own.position(at)))
        return replace(self.timelines[leg.id].state(leg, _second(leg, at)), trip=trip)

    def fps(self, leg: Leg, at: float) -> float:
        """Frames a second at `at` (epoch seconds, within the leg)."""
        piece, second, _ = self.timelines[leg.id].at(_second(leg, at))
        return self.vehicle.fps(piece.fps[second])

    def _legs_of_shifts(self) -> Iterator[Leg]:
        for day in np.arange(self.start - self.start % DAY_S - DAY_S, self.end, DAY_S):
            for shift, habits in self.vehicle.crews:
                if not self._works(float(day)):
                    continue
                yield from self._legs(float(day), shift, habits)

    def _works(self, day: float) -> bool:
        sunday = int(day // DAY_S + 4) % 7 == 0  # 1 January 1970 was a Thursday
        return bool(self._rng.random() > (0.55 if sunday else 0.04))

    def _legs(self, day: float, shift: Shift, habits: Habits) -> Iterator[Leg]:
        begin = day + (shift.start_h + self._rng.normal(0, 0.5)) * HOUR_S
        woke_at = begin - (shift.awake_before_h + abs(self._rng.normal(0, 0.7))) * HOUR_S
        left_h = float(np.clip(shift.hours + self._rng.normal(0, 0.6), 1.0, 2 * LEG_H))
        while left_h > 0.1:
            hours = min(left_h, LEG_H - self._rng.random() * 0.5)
            started, ended = max(begin, self.start), min(begin + hours * HOUR_S, self.end)
            if ended - started > 60.0:
                yield self._leg(started, ended, woke_at, habits)
            begin += (hours + BREAK_H) * HOUR_S
            left_h -= hours

    def _leg(self, started: float, ended: float, woke_at: float, habits: Habits) -> Leg:
        stamp = datetime.fromtimestamp(started, UTC).strftime("%Y%m%dT%H%M%S")
        share = (started - self.start) / (self.end - self.start)
        rolled_out = share >= self.vehicle.rollout
        return Leg(
            id=f"{self.vehicle.id}-{stamp}",
            started_at=started,
            ended_at=ended,
            woke_at=woke_at,
            habits=habits,
            calibration=hashlib.sha256(f"{self.vehicle.id}{stamp}".encode()).hexdigest()[:12],
            policy=self.recording.policy if rolled_out else FORMER_POLICY,
        )

    def mood(self, leg: Leg, at: Array) -> Mood:
        """How the leg stands at these instants (epoch seconds)."""
        driving_h = (at - leg.started_at) / HOUR_S
        vehicle = self.vehicle
        return Mood(
            sleepiness=sleepiness(at, leg.woke_at, leg.habits, driving_h),
            hour=hour_of_day(at),
            habits=leg.habits,
            fault=((at >= vehicle.fault_from) & (at < vehicle.fault_to)).astype(np.float64),
            kind_of_fault=vehicle.fault,
            tunnels=vehicle.tunnels,
        )

    def _timeline(self, leg: Leg) -> LegTimeline:
        bins = np.arange(leg.started_at, leg.ended_at, BIN_S)
        mood = self.mood(leg, bins + BIN_S / 2)
        drowsiness = np.searchsorted(DROWSINESS_FROM, mood.sleepiness, side="right")
        placed = [Placed(0, self.recording.start, None, 0.0)]
        room_s = math.inf if leg.ended_at >= self.end else leg.ended_at - leg.started_at
        for second, happening, seconds, delay_s, chance in self._befalls(leg, mood, bins):
            last = placed[-1]
            piece = self.recording.like(happening.about, seconds, chance)
            # One thing at a time, and none that the end of the leg would cut.
            free = second >= last.second + len(last.piece.states)
            if free and second + len(piece.states) <= room_s:
                placed.append(Placed(second, piece, happening.looked_like, delay_s))
        return LegTimeline(tuple(placed), tuple(drowsiness.tolist()), self.recording)

    def _befalls(
        self, leg: Leg, mood: Mood, bins: Array
    ) -> Iterator[tuple[int, Happening, float, float, float]]:
        """(second of the leg, what, for how long, delay, chance), in order."""
        rng = self._rng
        share_of_hour = np.minimum(leg.ended_at - bins, BIN_S) / HOUR_S
        rates = np.stack([happening.per_hour(mood) for happening in HAPPENINGS])
        what, where = np.nonzero(counts := rng.poisson(rates * share_of_hour))
        times = counts[what, where]
        what, where = np.repeat(what, times), np.repeat(where, times)
        count = len(what)
        begins = (bins[where] - leg.started_at) + rng.random(count) * share_of_hour[where] * HOUR_S
        median, sigma = _DURATIONS[:, what]
        seconds = median * np.exp(sigma * rng.normal(size=count))
        offline = rng.random(count) < 0.012 * self.vehicle.tunnels
        # From sending to the database: mostly a blink, minutes in a place without network.
        delays = np.where(offline, rng.gamma(1.5, 150.0, count), rng.gamma(2.0, 0.06, count))
        order = np.argsort(begins, kind="stable")
        columns = begins.astype(int), what, seconds, delays, rng.random(count)
        for second, kind, *rest in zip(*(c[order].tolist() for c in columns), strict=True):
            yield second, HAPPENINGS[kind], *rest

    def _episodes(self, leg: Leg) -> Iterator[Episode]:
        for placed in self.timelines[leg.id].placed:
            piece, began = placed.piece, leg.started_at + placed.second
            for places in piece.tellings.values():
                sent = tuple(p for p in places if began + piece.events[p].at_s <= self.end)
                if not sent:
                    continue
                last = piece.events[sent[-1]]
                yield Episode(
                    leg,
                    placed.second,
                    piece,
                    sent,
                    going_on=last.phase is not Phase.END,
                    looked_like=placed.looked_like if last.id == piece.main.id else None,
                    received_at=began + last.at_s + placed.delay_s,
                )


def _second(leg: Leg, at: float) -> int:
    return max(int(at - leg.started_at + 1e-6), 0)


_DURATIONS = np.array([(h.median_s, h.sigma) for h in HAPPENINGS]).T
