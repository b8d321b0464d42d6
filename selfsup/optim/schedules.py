"""Schedules: pure functions of the step, so that a resumed run needs no scheduler's state."""

import math


def linear(step: int, steps: int, start: float, end: float) -> float:
    """Linearly from ``start`` at step 0 to ``end`` at step ``steps``, constant after it.

    Raises:
        ValueError: a negative step, or a negative number of steps.

    Example:
        >>> linear(50, 100, 0.996, 1.0)
        0.998
    """
    return start + (end - start) * _progress(step, steps)


def cosine(step: float, steps: int, start: float, end: float) -> float:
    """Half a cosine from ``start`` at step 0 to ``end`` at step ``steps``.

    Raises:
        ValueError: a negative step, or a negative number of steps.

    Example:
        >>> cosine(50, 100, 0.996, 1.0)
        0.998
    """
    return end + (start - end) * (1 + math.cos(math.pi * _progress(step, steps))) / 2


def warmup_cosine(step: int, steps: int, warmup: int, peak: float, end: float = 0.0) -> float:
    """Linearly from 0 to ``peak`` in ``warmup`` steps, then half a cosine towards ``end``.

    The first step of a warm-up already moves (it has ``peak / warmup``): an update of rate 0 would waste a
    batch.

    Raises:
        ValueError: a negative step, or a warm-up that is negative or longer than ``steps``.

    Example:
        >>> [warmup_cosine(step, 100, 10, 1.0) for step in (0, 9, 55)]
        [0.1, 1.0, 0.5]
    """
    if not 0 <= warmup <= steps:
        raise ValueError(f"warmup must be from 0 to the {steps} steps of the run, got {warmup}")
    if 0 <= step < warmup:
        return peak * (step + 1) / warmup
    return cosine(step if step < 0 else step - warmup, steps - warmup, peak, end)


def warmup_constant(step: int, warmup: int, peak: float) -> float:
    """Linearly from 0 to ``peak`` in ``warmup`` steps, and ``peak`` from then on.

    Example:
        >>> [warmup_constant(step, 10, 1.0) for step in (0, 9, 55)]
        [0.1, 1.0, 1.0]
    """
    return peak * (step + 1) / warmup if step < warmup else peak


def infinite(n: float, warmup: int, cooldown: int, peak: float, constant: float) -> float:
    """A rate without an end: up along a line, down along half a cosine, and constant from then on.

    Ibrahim et al. 2024, arXiv:2403.08763, and Singh et al. 2025, arXiv:2503.02844. It does not depend on the
    length of the run, so that a finished run goes on as if it had been longer, without a second warm-up.

    Args:
        n: optimizer steps; the rate at 0 is 0.
        warmup: the step at which the rate is ``peak``.
        cooldown: the step from which it is ``constant``.
        peak, constant: rates.

    Raises:
        ValueError: unless ``0 <= warmup <= cooldown``.

    Example:
        >>> [infinite(n, warmup=10, cooldown=50, peak=1.0, constant=0.5) for n in (5, 10, 30, 50, 1000)]
        [0.5, 1.0, 0.75, 0.5, 0.5]
    """
    if not 0 <= warmup <= cooldown:
        raise ValueError(f"the warm-up of {warmup} steps has to end before the cool-down does, at {cooldown}")
    if n < warmup:
        return peak * n / warmup
    return cosine(n - warmup, cooldown - warmup, peak, constant) if n < cooldown else constant


def anneal(n: float, steps: int, start: float, end: float) -> float:
    """Exponentially from ``start`` to ``end`` in ``steps``: ``start * (end / start) ** (n / steps)``.

    Published codes differ here: one divides by the step at which the annealing ends, one leaves a remainder.

    Example:
        >>> [round(anneal(n, 20, 4e-4, 1e-5), 10) for n in (0, 5, 10, 20, 30)]
        [0.0004, 0.0001590541, 6.32456e-05, 1e-05, 1e-05]
    """
    return float(start * (end / start) ** min(n / steps, 1.0))


def part(share: float, steps: int) -> int:
    """A share of a number of steps as a whole number, halves rounded up.

    (Python's ``round`` takes halves to the even neighbour: a tenth of 25 steps would be 2, of 35 steps 4.)

    Example:
        >>> [part(0.1, steps) for steps in (24, 25, 35, 36)]
        [2, 3, 4, 4]
    """
    return math.floor(share * steps + 0.5)


def _progress(step: float, steps: int) -> float:
    """The share of the steps that are done, at most 1."""
    if step < 0 or steps < 0:
        raise ValueError(f"step and steps must be at least 0, got {step} of {steps}")
    return min(step / max(steps, 1), 1.0)
