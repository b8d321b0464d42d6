"""L-BFGS of a smooth convex function, without the start-up second of scipy's or the four of torch's."""

from collections import deque
from collections.abc import Callable

import torch
from torch import Tensor

MEMORY, LEAST_STEP = 10, 2.0**-10


def minimise(
    objective: Callable[[Tensor], tuple[float, Tensor]],
    start: Tensor,
    steps: int = 200,
    gradient_tolerance: float = 1e-4,
    value_tolerance: float = 1e-7,
) -> Tensor:
    """The minimum of a positive convex function by L-BFGS (Nocedal and Wright 2006, algorithm 7.5).

    Steps are halved until they satisfy Armijo's condition; of a convex function every pair of steps and
    gradients has positive curvature then.

    Args:
        objective: gives value and gradient at a point; scaled such that its Hessian is near the
            identity, since the first step is of length one.
        start: any shape.
        steps: most iterations.
        gradient_tolerance: stop where no entry of the gradient is larger, as a share of the value.
        value_tolerance: stop where a step gains less, as a share of the value.

    Example:
        >>> minimise(lambda x: (float(((x - 3) ** 2).sum()) + 1, 2 * (x - 3)), torch.zeros(2))
        tensor([3., 3.])
    """
    point = start
    value, gradient = objective(point)
    pairs: deque[tuple[Tensor, Tensor]] = deque(maxlen=MEMORY)
    for _ in range(steps):
        if gradient.abs().max() <= gradient_tolerance * value:
            break
        direction = -_inverse_hessian(pairs, gradient)
        slope, length = float(_dot(gradient, direction)), 1.0
        moved, (lower, steeper) = point + direction, objective(point + direction)
        while not lower <= value + 1e-4 * length * slope and length > LEAST_STEP:
            length /= 2
            moved = point + length * direction
            lower, steeper = objective(moved)
        # No step goes down any more: what is left of the gradient is rounding.
        if not lower < value:
            break
        if _dot(moved - point, steeper - gradient) > 0:
            pairs.append((moved - point, steeper - gradient))
        gain = value - lower
        point, value, gradient = moved, lower, steeper
        if gain <= value_tolerance * value:
            break
    return point


def _inverse_hessian(pairs: deque[tuple[Tensor, Tensor]], vector: Tensor) -> Tensor:
    """The product with the inverse Hessian that steps and gradient changes imply, by two loops."""
    factors = []
    for step, change in reversed(pairs):
        factor = _dot(step, vector) / _dot(step, change)
        vector = vector - factor * change
        factors.append(factor)
    if pairs:
        step, change = pairs[-1]
        vector = vector * (_dot(step, change) / _dot(change, change))
    for (step, change), factor in zip(pairs, reversed(factors), strict=True):
        vector = vector + (factor - _dot(change, vector) / _dot(step, change)) * step
    return vector


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return torch.dot(a.flatten(), b.flatten())
