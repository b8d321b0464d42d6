"""A stream of uniform numbers for the algorithms of curation, in whose place tests put their own."""

from collections.abc import Callable

import torch

Draw = Callable[[], float]  # the next uniform number in [0, 1)


def draws(seed: int) -> Draw:
    """A stream of uniform draws that is the same for a seed on every machine.

    >>> first, again = draws(0), draws(0)
    >>> first() == again() and 0 <= first() < 1
    True
    """
    generator = torch.Generator().manual_seed(seed)

    def draw() -> float:
        return torch.rand((), generator=generator, dtype=torch.float64).item()

    return draw


def whole(draw: Draw, n: int) -> int:
    """The next draw as one of 0..n-1: ``floor(u n)``.

    >>> whole(lambda: 0.5, 5)
    2
    """
    return min(int(draw() * n), n - 1)


def choose(draw: Draw, count: int, n: int) -> torch.Tensor:
    """``count`` of 0..n-1 without replacement, int64 ``(count,)``, in the order drawn (Fisher and Yates).

    >>> sorted(choose(draws(0), 4, 4).tolist())
    [0, 1, 2, 3]
    """
    moved: dict[int, int] = {}
    chosen = []
    for place in range(count):
        other = place + whole(draw, n - place)
        chosen.append(moved.get(other, other))
        moved[other] = moved.get(place, place)
    return torch.tensor(chosen, dtype=torch.int64)
