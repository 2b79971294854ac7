"""PERCLOS: the share of observed time in which the eyes are closed, slow closures only.

Wierwille 1994 (DOT HS 808 247). Time in which the eyes were unknown counts in neither numerator
nor denominator, and there is no share before enough of its window was observed: one closed frame
at the start is not a drowsy driver.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Literal

from monitor.engine.finding import Elapsed, Finding, reached, rounded
from monitor.policy.rules import LevelsPolicy, PerclosPolicy, PerclosWindow
from monitor.types import Eyes, Kind, Level, PerclosEvidence, Reading


@dataclass
class EyeSpan:
    """Eyes in one state from `start_s` to `end_s`."""

    start_s: float
    end_s: float
    eyes: Eyes


@dataclass(frozen=True, slots=True)
class Share:
    """Closed and observed seconds of a window."""

    closed_s: float
    observed_s: float

    def value(self, min_observed_s: float) -> float | None:
        """The share, 0..1; None while less than `min_observed_s` was observed."""
        if self.observed_s <= 0 or not reached(self.observed_s, min_observed_s):
            return None
        return min(self.closed_s / self.observed_s, 1.0)


@dataclass
class Timeline:
    """The eyes over the last `keep_s` seconds, as spans without the unknown."""

    keep_s: float
    max_gap_s: float
    exclude_blink_shorter_s: float
    _elapsed: Elapsed | None = None
    _eyes: Eyes = Eyes.UNKNOWN
    _spans: deque[EyeSpan] = field(default_factory=deque)

    def update(self, reading: Reading) -> None:
        """Take one reading; times must not go back."""
        self._elapsed = self._elapsed or Elapsed(self.max_gap_s)
        was, self._eyes = self._eyes, reading.eyes
        now_s = reading.timestamp_s
        for start_s, end_s, eyes in self._elapsed.spans(now_s, was, reading.eyes, Eyes.UNKNOWN):
            self._add(start_s, end_s, eyes)
        while self._spans and self._spans[0].end_s <= now_s - self.keep_s:
            self._spans.popleft()

    def _add(self, start_s: float, end_s: float, eyes: Eyes) -> None:
        if eyes is Eyes.UNKNOWN:
            return
        last = self._spans[-1] if self._spans else None
        if last is None or last.end_s != start_s:
            self._spans.append(EyeSpan(start_s, end_s, eyes))
        elif last.eyes is eyes:
            last.end_s = end_s
        elif last.eyes is Eyes.CLOSED and not self._slow(last):
            self._forget_blink(end_s)
        else:
            self._spans.append(EyeSpan(start_s, end_s, eyes))

    def _slow(self, span: EyeSpan) -> bool:
        return reached(span.end_s - span.start_s, self.exclude_blink_shorter_s)

    def _forget_blink(self, end_s: float) -> None:
        """A blink that is over is observed time like any other."""
        blink = self._spans.pop()
        if self._spans and self._spans[-1].end_s == blink.start_s:
            self._spans[-1].end_s = end_s
        else:
            self._spans.append(EyeSpan(blink.start_s, end_s, Eyes.OPEN))

    def share(self, window_s: float, now_s: float) -> Share:
        """Closed and observed time of the window that ends now."""
        from_s, closed_s, observed_s = now_s - window_s, 0.0, 0.0
        for span in reversed(self._spans):
            if span.end_s <= from_s:
                break
            inside_s = span.end_s - max(span.start_s, from_s)
            observed_s += inside_s
            if span.eyes is Eyes.CLOSED and self._slow(span):
                closed_s += inside_s
        return Share(closed_s, observed_s)


@dataclass(frozen=True, slots=True)
class Band:
    """A degree of drowsiness: every window is over its share."""

    name: Literal["advisory", "drowsy", "severe"]
    level: Level
    windows: tuple[PerclosWindow, ...]


class Perclos:
    """Drowsiness by PERCLOS, with hysteresis: entered by a band, left below `drowsy.exit`.

    Args:
        limits, levels: of the policy.
        max_gap_s: a longer gap between readings was observed by nobody.

    Attributes:
        perclos: share of observed time with closed eyes over the first window, 0..1; None until
            enough was observed.
        coverage: share of that window in which the eyes were observed, 0..1.
    """

    def __init__(self, limits: PerclosPolicy, levels: LevelsPolicy, max_gap_s: float) -> None:
        self.perclos: float | None = None
        self.coverage = 0.0
        self._exit_share = limits.drowsy.exit
        self._window = limits.drowsy.all_of[0]
        self._bands = _bands(limits, levels)
        longest_s = max(window.window_s for band in self._bands for window in band.windows)
        self._timeline = Timeline(longest_s, max_gap_s, limits.exclude_blink_shorter_s)
        self._since_s: float | None = None
        self._band: Band | None = None

    def update(self, reading: Reading) -> Finding | None:
        """The band reached; an unknown share changes nothing."""
        self._timeline.update(reading)
        now_s, window = reading.timestamp_s, self._window
        share = self._timeline.share(window.window_s, now_s)
        self.perclos = share.value(window.min_observed_s)
        self.coverage = min(share.observed_s / window.window_s, 1.0)
        self._decide(now_s)
        if self._band is None or self._since_s is None:
            return None
        return Finding(
            track="drowsy",
            kind=Kind.DROWSY,
            level=self._band.level,
            since_s=self._since_s,
            until_s=now_s,
            evidence=PerclosEvidence(
                band=self._band.name,
                perclos=rounded(self.perclos, 3),
                coverage=round(self.coverage, 3),
                window_s=window.window_s,
            ),
        )

    def _decide(self, now_s: float) -> None:
        reached_bands = [band for band in self._bands if self._over(band, now_s)]
        if reached_bands:
            if self._band is None:
                self._since_s = now_s
            self._band = reached_bands[-1]
        elif self.perclos is not None and self.perclos < self._exit_share:
            self._band, self._since_s = None, None

    def _over(self, band: Band, now_s: float) -> bool:
        for window in band.windows:
            share = self._timeline.share(window.window_s, now_s).value(window.min_observed_s)
            if share is None or share < window.enter:
                return False
        return True


def _bands(limits: PerclosPolicy, levels: LevelsPolicy) -> tuple[Band, ...]:
    """From the mildest to the most severe."""
    bands = [Band("drowsy", levels.drowsy, limits.drowsy.all_of)]
    if limits.advisory is not None:
        bands.insert(0, Band("advisory", levels.drowsy_advisory, (limits.advisory,)))
    if limits.severe is not None:
        bands.append(Band("severe", levels.drowsy_severe, (limits.severe,)))
    return tuple(bands)
