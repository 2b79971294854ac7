"""How sure a share or a rate is: 95 % intervals for counts, however small."""

import math
from dataclasses import dataclass
from typing import Final

from scipy.stats import chi2

# The standard normal's 97.5 % quantile.
_Z: Final = 1.959964


@dataclass(frozen=True, slots=True)
class Estimate:
    """A share or a rate with its 95 % interval, and how many counts it was made of.

    Attributes:
        value: None where nothing was counted.
        low, high: the interval's ends, in the value's unit.
        n: how many cases were looked at.
    """

    value: float | None
    low: float
    high: float
    n: int


def share(hits: int, n: int) -> Estimate:
    """A share of `n` cases, 0..1 (Wilson's score interval)."""
    if n == 0:
        return Estimate(None, 0.0, 1.0, 0)
    p, z2 = hits / n, _Z**2
    middle = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    return Estimate(p, max(middle - half, 0.0), min(middle + half, 1.0), n)


def rate(count: int, exposure: float) -> Estimate:
    """Events per unit of exposure (the exact Poisson interval of Garwood, 1936)."""
    if exposure <= 0:
        return Estimate(None, 0.0, math.inf, count)
    low = float(chi2.ppf(0.025, 2 * count)) / 2 if count else 0.0
    high = float(chi2.ppf(0.975, 2 * count + 2)) / 2
    return Estimate(count / exposure, low / exposure, high / exposure, count)
