"""PERCLOS: the share of observed time in which the eyes are closed, slow closures only.

Wierwille 1994 (DOT HS 808 247). Time in which the eyes were unknown counts in neither numerator
nor denominator, and no share is told before enough of its window was observed: one closed frame
at the start is not a drowsy driver.
"""

from collections import deque
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

from monitor.engine.finding import Elapsed, Finding, reached, rounded
from monitor.types import Eyes, Kind, Level, PerclosEvidence, Reading


@dataclass
class Span:
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
    _spans: deque[Span] = field(default_factory=deque)

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
            self._spans.append(Span(start_s, end_s, eyes))
        elif last.eyes is eyes:
            last.end_s = end_s
        elif last.eyes is Eyes.CLOSED and not self._slow(last):
            self._forget_blink(end_s)
        else:
            self._spans.append(Span(start_s, end_s, eyes))

    def _slow(self, span: Span) -> bool:
        return reached(span.end_s - span.start_s, self.exclude_blink_shorter_s)

    def _forget_blink(self, end_s: float) -> None:
        """A blink that is over is observed time like any other."""
        blink = self._spans.pop()
        if self._spans and self._spans[-1].end_s == blink.start_s:
            self._spans[-1].end_s = end_s
        else:
            self._spans.append(Span(blink.start_s, end_s, Eyes.OPEN))

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
    """A degree of drowsiness: each window (seconds, share, least observed) is over its share."""

    name: Literal["advisory", "drowsy", "severe"]
    level: Level
    windows: tuple[tuple[float, float, float], ...]


@dataclass
class Perclos:
    """Drowsiness by PERCLOS, with hysteresis: entered by a band, left below `exit_share`."""

    bands: tuple[Band, ...]
    exit_share: float
    window_s: float
    min_observed_s: float
    timeline: Timeline
    _since_s: float | None = None
    _band: Band | None = None
    perclos: float | None = None
    coverage: float = 0.0

    def __post_init__(self) -> None:
        levels = [band.level for band in self.bands]
        if any(a > b for a, b in pairwise(levels)):
            raise ValueError(f"bands must rise in level, got {levels}")

    def update(self, reading: Reading) -> Finding | None:
        """The band reached; an unknown share changes nothing."""
        self.timeline.update(reading)
        now_s = reading.timestamp_s
        share = self.timeline.share(self.window_s, now_s)
        self.perclos = share.value(self.min_observed_s)
        self.coverage = min(share.observed_s / self.window_s, 1.0) if self.window_s else 0.0
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
                window_s=self.window_s,
            ),
        )

    def _decide(self, now_s: float) -> None:
        reached_bands = [band for band in self.bands if self._over(band, now_s)]
        if reached_bands:
            if self._band is None:
                self._since_s = now_s
            self._band = reached_bands[-1]
        elif self.perclos is not None and self.perclos < self.exit_share:
            self._band, self._since_s = None, None

    def _over(self, band: Band, now_s: float) -> bool:
        for window_s, enter, min_observed_s in band.windows:
            share = self.timeline.share(window_s, now_s).value(min_observed_s)
            if share is None or share < enter:
                return False
        return True
