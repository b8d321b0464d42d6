"""Work over all rows, shared out among the processes of a launcher, piece by piece.

Every process holds all features, takes the pieces whose number is its own, and gets those of the others from
them. Pieces do not depend on the number of processes, and so neither does a bit of the result.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import chain
from typing import TypeVar

import torch.distributed as dist
from torch import Tensor

from selfsup.objectives.distributed import rank, world_size

T = TypeVar("T")
_alone = ContextVar("alone", default=False)


def filled(found: Tensor, places: Iterable[slice], fill: Callable[[slice], Tensor]) -> Tensor:
    """Write what ``fill`` gives for each of some ranges of rows into ``found``, which is returned.

    >>> import torch
    >>> filled(torch.zeros(4), [slice(0, 2), slice(2, 4)], lambda rows: torch.ones(2))
    tensor([1., 1., 1., 1.])
    """
    places = list(places)
    world = 1 if _alone.get() else world_size()
    for number, place in enumerate(places):
        if number % world == (rank() if world > 1 else 0):
            found[place] = fill(place)
    for number, place in enumerate(places if world > 1 else []):
        part = found[place].contiguous()
        dist.broadcast(part, src=number % world)
        found[place] = part
    return found


def each(items: Iterable[T], work: Callable[[T], list[Tensor]]) -> list[list[Tensor]]:
    """What ``work`` gives for each item, in their order; inside it nothing is shared further.

    >>> import torch
    >>> each([1, 2], lambda item: [torch.tensor(item)])
    [[tensor(1)], [tensor(2)]]
    """
    world = 1 if _alone.get() else world_size()
    own = rank() if world > 1 else 0
    found: list[tuple[int, list[Tensor]]] = []
    for number, item in enumerate(items):
        if number % world == own:
            with _not_shared():
                found.append((number, work(item)))
    if world == 1:
        return [tensors for _, tensors in found]
    everyone: list[list[tuple[int, list[Tensor]]]] = [[] for _ in range(world)]
    dist.all_gather_object(everyone, found)
    return [tensors for _, tensors in sorted(chain(*everyone), key=lambda pair: pair[0])]


@contextmanager
def _not_shared() -> Iterator[None]:
    token = _alone.set(True)
    try:
        yield
    finally:
        _alone.reset(token)
