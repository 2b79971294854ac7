"""Whether the wall clock may be believed when it dates something, or makes it old.

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
# 2040-01-01 UTC. No box runs this release by then: a clock that shows more is broken.
UNTIL_AT = 2_208_988_800.0
# No vehicle stands for so long between two drives: the clock has jumped.
LEAP_S = 366 * 86_400.0


def is_set(at: float) -> bool:
    """Whether a time (epoch seconds) is of a clock that had been set, and not to a far future."""
    return SET_AT <= at < UNTIL_AT


def is_correction(before_at: float, after_at: float) -> bool:
    """Whether a clock that stepped is right now: what it dated before is to be dated anew.

    Args:
        before_at, after_at: what it showed just before and after the step, epoch seconds.
    """
    return is_set(after_at) and (not is_set(before_at) or after_at - before_at < LEAP_S)


def fault_of(at: float) -> str | None:
    """What is wrong with a clock that shows `at` (epoch seconds), in one line; None if nothing."""
    if is_set(at):
        return None
    shown = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
    why = "was not set" if at < SET_AT else "is broken, or set to a far future"
    return f"the clock shows {shown}: it {why}"


def beyond_any_count() -> int:
    """A number greater than any count of messages: the clock, or `SET_AT` while it is not set."""
    now_at = time.time()
    return int(now_at if is_set(now_at) else SET_AT)


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
