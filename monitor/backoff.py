"""Pauses between attempts that grow up to a longest, scattered so that many do not come at once."""

import random

LEAST_S = 0.05  # a pause of zero, again and again, would spin


class Backoff:
    """The pauses of one thing that is tried again and again.

    Args:
        first_s: the first pause; 0 tries again at once, but only once.
        longest_s: no pause is longer.
        scatter: each pause is this share of itself shorter at most; 0 scatters nothing.
    """

    def __init__(self, first_s: float, longest_s: float, *, scatter: float = 0.5) -> None:
        self._first_s, self._longest_s = first_s, longest_s
        self._scatter = scatter
        self._pause_s = 0.0
        self._failures = 0

    @property
    def failing(self) -> bool:
        """The last attempt failed."""
        return self._failures > 0

    def next_s(self) -> float:
        """How long to wait after another failure, in seconds."""
        if not self._failures:
            self._pause_s = self._first_s
        else:
            self._pause_s = min(max(self._pause_s * 2, LEAST_S), max(self._longest_s, LEAST_S))
        self._failures += 1
        return self._pause_s * random.uniform(1 - self._scatter, 1.0)  # noqa: S311 - no secret

    def reset(self) -> None:
        """It worked: the next failure begins with the first pause."""
        self._failures = 0
