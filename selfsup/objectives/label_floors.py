"""Reference losses of objectives that know labels; all are in :mod:`selfsup.objectives.floors`."""

import math


def sup_con(rows: int, temperature: float = 1.0, base_temperature: float | None = None) -> float:
    """All M `rows`, of all views and processes, are equal: temperature / base_temperature log(M - 1).

    >>> round(sup_con(512), 4)
    6.2364
    """
    return temperature / (base_temperature or temperature) * math.log(rows - 1)


def cross_entropy(classes: int) -> float:
    """All logits of C classes are equal: log C.

    >>> round(cross_entropy(10), 4)
    2.3026
    """
    return math.log(classes)


def cross_entropy_least(classes: int, smoothing: float = 0.0) -> float:
    """The entropy of a smoothed label, which is reached where it is predicted.

    >>> round(cross_entropy_least(10, smoothing=0.1), 4)
    0.5003
    """
    others = smoothing / classes
    own = 1 - smoothing + others
    return -own * math.log(own) - (classes - 1) * (others * math.log(others) if others else 0.0)
