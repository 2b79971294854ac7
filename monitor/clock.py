"""Whether the wall clock may be believed when it makes something old.

A box without a clock battery begins in 1970 and is set right during the drive; a bad battery says
2099. Durations come from the monotonic clock and do not care; but whoever deletes by age would take
a drive of 1970 for half a century old, or everything else in 2099.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

# 2025-01-01 UTC. No release is older: a clock that shows less was not set, and what it dated has
# no age.
SET_AT = 1_735_689_600.0
# No vehicle stands for so long between two drives: the clock has jumped.
LEAP_S = 366 * 86_400.0


def is_set(at: float) -> bool:
    """Whether a time (epoch seconds) is of a clock that had been set."""
    return at >= SET_AT


def beyond_any_count() -> int:
    """A number greater than any count of messages: the clock, or `SET_AT` while it is not set."""
    return int(max(time.time(), SET_AT))


@dataclass
class Calendar:
    """Tells the date to whoever deletes by age.

    Args:
        newest_at: what was dated last before, epoch seconds; None if nothing was.
        wall: UTC epoch clock, seconds.
        monotonic: seconds.
    """

    newest_at: float | None = None
    wall: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    _began_s: float = field(init=False)

    def __post_init__(self) -> None:
        self._began_s = self.monotonic()

    def now_at(self) -> float | None:
        """Epoch seconds; None where the clock was not set, or has leapt by more than a year."""
        now_at = self.wall()
        if not is_set(now_at):
            return None
        if self.newest_at is None or not is_set(self.newest_at):
            return now_at
        expected_at = self.newest_at + self.monotonic() - self._began_s
        return now_at if now_at - expected_at < LEAP_S else None
