"""Schedules: pure functions of the step, so that a resumed run needs no scheduler's state."""

import math


def linear(step: int, steps: int, start: float, end: float) -> float:
    """From ``start`` at step 0 towards ``end``, which step ``steps`` would reach.

    Example:
        >>> linear(50, 100, 0.996, 1.0)
        0.998
    """
    return start + (end - start) * min(step / max(steps, 1), 1.0)


def cosine(step: int, steps: int, start: float, end: float) -> float:
    """Half a cosine from ``start`` at step 0 towards ``end``, which step ``steps`` would reach.

    Example:
        >>> cosine(50, 100, 0.996, 1.0)
        0.998
    """
    progress = min(step / max(steps, 1), 1.0)
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2


def warmup_cosine(step: int, steps: int, warmup: int, peak: float, end: float = 0.0) -> float:
    """Linearly from 0 to ``peak`` in ``warmup`` steps, then half a cosine towards ``end``.

    The first step of a warm-up already moves (it has ``peak / warmup``): an update of rate 0 is a
    batch thrown away.

    Example:
        >>> [warmup_cosine(step, 100, 10, 1.0) for step in (0, 9, 55)]
        [0.1, 1.0, 0.5]
    """
    if step < warmup:
        return peak * (step + 1) / warmup
    return cosine(step - warmup, steps - warmup, peak, end)
