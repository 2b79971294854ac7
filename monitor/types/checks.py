"""What every travelling value is held to at birth."""

import math


def finite(owner: object, *names: str) -> None:
    """Those of the fields that are not None are finite numbers.

    Raises:
        ValueError: one is not.
    """
    for name in names:
        value = getattr(owner, name)
        if value is not None and not math.isfinite(value):
            raise ValueError(f"{type(owner).__name__}.{name} must be finite or None, got {value!r}")


def share(owner: object, *names: str) -> None:
    """Those of the fields that are not None lie in 0..1.

    Raises:
        ValueError: one does not.
    """
    for name in names:
        value = getattr(owner, name)
        if value is not None and not 0.0 <= value <= 1.0:
            raise ValueError(f"{type(owner).__name__}.{name} must lie in 0..1, got {value!r}")
