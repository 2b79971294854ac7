"""One closure of the eyes: microsleep, sleep, unresponsive.

    open ──closed──▶ closing ──log_s──▶ microsleep ──sleep_s──▶ sleep ──unresponsive_s──▶ …
      ▲                 │  a blink, or unknown too early: forgotten
      └──open reopen_s──┴───────────────────────────────────────────────────────────────┘

Unknown eyes neither begin nor end a closure. One that has lasted `hold_from_s` goes on counting
over them for `hold_over_unknown_s` (a head that drops out of the picture) and then stands still.
Lids that flutter do not cut a closure: open eyes are a debt that grows with time seen open and
shrinks with time seen closed, and at `reopen_s` the closure was over when the debt began.
"""

from dataclasses import dataclass

from monitor.engine.finding import EPSILON_S, Elapsed, Finding, reached, rounded
from monitor.engine.signals.nod import Nod
from monitor.policy.rules import ClosurePolicy, LevelsPolicy, NodPolicy
from monitor.types import ClosureEvidence, Eyes, Kind, Level, Reading


@dataclass(frozen=True, slots=True)
class Rung:
    """From `after_s` of closed eyes the finding is this."""

    after_s: float
    kind: Kind
    level: Level


@dataclass
class ClosureEpisode:
    """A closure in progress.

    Attributes:
        since_s, until_s: when the lids fell, and when they were last seen closed.
        closed_s: how long they have been closed, the highest so far.
        shut_s, open_s: time seen closed, and seen open in between.
        debt_s, debt_since_s: how far, and since when, the eyes have reopened.
        unknown_s, held_s: the unknown stretch in progress, and how much of it counts.
        lowered_s: how much of it looked like lids lowered to look down.
        standing_s: unknown time that did not count.
    """

    since_s: float
    until_s: float
    closed_s: float = 0.0
    shut_s: float = 0.0
    open_s: float = 0.0
    debt_s: float = 0.0
    debt_since_s: float | None = None
    unknown_s: float = 0.0
    held_s: float = 0.0
    lowered_s: float = 0.0
    standing_s: float = 0.0

    def elapsed_s(self) -> float:
        """From the fall of the lids on, less the unknown time that does not count."""
        return self.until_s - self.since_s - self.standing_s + self.held_s


class Closure:
    """The rungs of one closure, from the shortest to the longest.

    Args:
        limits, levels: of the policy.
        nod: of the policy: how a head drops.
        max_gap_s: a longer gap between readings was observed by nobody.
        turned_deg: turned further than this, the lids cannot be judged.
    """

    def __init__(
        self,
        limits: ClosurePolicy,
        levels: LevelsPolicy,
        nod: NodPolicy,
        *,
        max_gap_s: float,
        turned_deg: float,
    ) -> None:
        self._limits = limits
        self._rungs = _rungs(limits, levels)
        self._nod = Nod(nod.pitch_drop_deg, nod.within_s, nod.eyes_closed_s)
        self._max_gap_s = max_gap_s
        self._turned_deg = turned_deg
        self._elapsed = Elapsed(max_gap_s)
        self._episode: ClosureEpisode | None = None
        self._eyes = Eyes.UNKNOWN
        self._nodded = False
        self._confidence = 0.0
        self._contributions: tuple[tuple[str, float], ...] = ()

    @property
    def closed_s(self) -> float:
        """How long the eyes have been closed, held over the unknown; 0 when open."""
        episode = self._episode
        return 0.0 if episode is None or episode.debt_s > 0 else episode.elapsed_s()

    def update(self, reading: Reading) -> Finding | None:
        """What the closure in progress has come to, if it has come to anything."""
        self._nodded = self._nod.update(reading)
        was, self._eyes = self._eyes, reading.eyes
        if reading.eyes is Eyes.CLOSED:
            self._confidence = reading.confidence
            self._contributions = reading.contributions
        turned = reading.pose is not None and abs(reading.pose.yaw_deg) > self._turned_deg
        spans = self._elapsed.spans(reading.timestamp_s, was, reading.eyes, Eyes.UNKNOWN)
        for start_s, end_s, eyes in spans:
            if eyes is Eyes.CLOSED:
                self._shut(start_s, end_s)
            elif eyes is Eyes.OPEN:
                self._opened(start_s, end_s)
            else:
                lowered = reading.looking_down is True
                self._unseen(end_s - start_s, turned=turned, lowered=lowered)
        self._climb(reading.eyes)
        return self._finding(reading)

    def _shut(self, start_s: float, end_s: float) -> None:
        episode = self._episode
        if episode is not None and episode.unknown_s > 0:
            episode = self._resume(episode)
        elif episode is not None and episode.debt_s > 0 and self._blinks(episode):
            episode = None
        if episode is None:
            episode = ClosureEpisode(since_s=start_s, until_s=start_s)
        seconds = end_s - start_s
        episode.until_s = end_s
        episode.shut_s += seconds
        episode.debt_s = max(0.0, episode.debt_s - seconds * self._limits.reopen_decay)
        if episode.debt_s == 0:
            episode.debt_since_s = None
        self._episode = episode

    def _blinks(self, episode: ClosureEpisode) -> bool:
        """Open nearly as often as closed and not yet a closure: blinking, not sleeping."""
        seen_s = episode.shut_s + episode.open_s
        return not self._slept(episode) and episode.shut_s < self._limits.bridge_share * seen_s

    def _resume(self, episode: ClosureEpisode) -> ClosureEpisode | None:
        """Closed again after the unknown: a short one was closed too, a long one stood still.

        What looked like lids lowered to look down stood still in either case.
        """
        if not self._slept(episode) and episode.unknown_s > self._patience_s(episode) + EPSILON_S:
            return None
        if episode.unknown_s > self._max_gap_s + EPSILON_S:
            episode.standing_s += episode.unknown_s - episode.held_s
        else:
            episode.standing_s += min(episode.lowered_s, episode.unknown_s - episode.held_s)
        episode.unknown_s = episode.held_s = episode.lowered_s = 0.0
        return episode

    def _opened(self, start_s: float, end_s: float) -> None:
        episode = self._episode
        if episode is None:
            return
        if episode.debt_since_s is None:
            episode.debt_since_s = start_s
        episode.open_s += end_s - start_s
        episode.debt_s += end_s - start_s
        if reached(episode.debt_s, self._limits.reopen_s):
            self._episode = None

    def _unseen(self, seconds: float, *, turned: bool, lowered: bool) -> None:
        episode = self._episode
        if episode is None:
            return
        episode.unknown_s += seconds
        episode.lowered_s += seconds if lowered else 0.0
        # Nobody falls asleep by turning the head aside.
        if self._holds(episode) and not turned and not lowered:
            episode.held_s = min(episode.held_s + seconds, self._limits.hold_over_unknown_s)
        if not self._slept(episode) and episode.unknown_s > self._patience_s(episode) + EPSILON_S:
            self._episode = None

    def _climb(self, eyes: Eyes) -> None:
        """Half a frame is guessed, so neither open eyes nor an open debt reach a rung."""
        episode = self._episode
        if episode is not None and eyes is not Eyes.OPEN and episode.debt_s == 0:
            episode.closed_s = max(episode.closed_s, episode.elapsed_s())

    def _holds(self, episode: ClosureEpisode) -> bool:
        """Longer than a blink, or the head fell with it: the sleep goes on unseen."""
        long_enough = reached(episode.elapsed_s(), self._limits.hold_from_s)
        return episode.debt_s == 0 and (self._nodded or long_enough)

    def _patience_s(self, episode: ClosureEpisode) -> float:
        return self._limits.hold_over_unknown_s if self._holds(episode) else self._max_gap_s

    def _slept(self, episode: ClosureEpisode) -> bool:
        return reached(episode.closed_s, self._rungs[0].after_s)

    def _finding(self, reading: Reading) -> Finding | None:
        episode = self._episode
        if episode is None or not self._slept(episode):
            return None
        climbed = sum(reached(episode.closed_s, rung.after_s) for rung in self._rungs)
        rung = self._rungs[climbed - 1]
        over_s = episode.debt_since_s
        return Finding(
            track="closure",
            kind=rung.kind,
            level=rung.level,
            since_s=episode.since_s,
            until_s=reading.timestamp_s if over_s is None else over_s,
            rung=climbed,
            evidence=ClosureEvidence(
                closed_s=round(episode.closed_s, 3),
                confidence=round(float(self._confidence), 2),
                held_over_unknown=reading.eyes is Eyes.UNKNOWN,
                nod=self._nodded,
                openness=rounded(reading.openness, 2) if reading.eyes is Eyes.CLOSED else None,
                pitch_deg=rounded(reading.pose.pitch_deg, 1) if reading.pose else None,
                contributions=self._contributions,
            ),
        )


def _rungs(limits: ClosurePolicy, levels: LevelsPolicy) -> tuple[Rung, ...]:
    return (
        Rung(limits.microsleep_log_s, Kind.MICROSLEEP, levels.microsleep_logged),
        Rung(limits.microsleep_warn_s, Kind.MICROSLEEP, levels.microsleep),
        Rung(limits.microsleep_repeat_warn_s, Kind.MICROSLEEP, levels.microsleep),
        Rung(limits.sleep_s, Kind.SLEEP, levels.sleep),
        Rung(limits.unresponsive_s, Kind.UNRESPONSIVE, levels.unresponsive),
    )
