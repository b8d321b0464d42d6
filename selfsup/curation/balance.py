"""A subset balanced over clusters, and over clusters of clusters."""

from collections.abc import Sequence

import torch
from torch import Tensor

from selfsup.curation.draws import Draw, choose
from selfsup.curation.hierarchy import lifted
from selfsup.curation.kmeans import Clusters, groups


def shares(sizes: Tensor, target: int, draw: Draw) -> Tensor:
    """How many to take of clusters of ``sizes`` int64 ``(C,)``, as equally as they allow: int64 ``(C,)``.

    ``min(x, size)`` with the largest whole x for which their sum is at most ``target``; what is missing comes
    from random clusters that have more than x, one from each. All if ``target`` is more than there are.

    >>> shares(torch.tensor([3, 0, 8]), 4, lambda: 0.0)
    tensor([2, 0, 2])
    """
    if target >= int(sizes.sum()):
        return sizes.clone()
    low, high = 0, int(sizes.max())
    while low < high:
        middle = (low + high + 1) // 2
        if int(sizes.clamp(max=middle).sum()) <= target:
            low = middle
        else:
            high = middle - 1
    taken = sizes.clamp(max=low)
    larger = (sizes > low).nonzero()[:, 0]
    taken[larger[choose(draw, target - int(taken.sum()), len(larger))]] += 1
    return taken


def balanced(levels: Sequence[Clusters], target: int, draw: Draw, order: Tensor | None = None) -> Tensor:
    """Positions of ``target`` samples, spread over a tree of clusters from the top down (arXiv:2405.15613).

    Each cluster shares out its number among those below as :func:`shares` does, by the samples they hold; one
    of the finest level gives that many random samples.

    Args:
        levels: of :func:`selfsup.curation.hierarchy.hierarchy`, or one of k-means.
        target: the number to take.
        order: a number for each sample ``(N,)``; a cluster gives those with the lowest, not random ones.

    Returns:
        int64, ascending, none twice; all samples if they are fewer than ``target``.

    Example:
        >>> from selfsup.curation.draws import draws
        >>> level = Clusters(torch.zeros(2, 1), torch.tensor([0, 0, 0, 0, 1, 1]))
        >>> (balanced([level], 4, draws(0)) > 3).sum()
        tensor(2)
    """
    places = lifted(levels)
    counts = [
        torch.bincount(place, minlength=len(level.centroids))
        for place, level in zip(places, levels, strict=True)
    ]
    taken = shares(counts[-1], target, draw)
    for above, below in zip(range(len(levels) - 1, 0, -1), range(len(levels) - 2, -1, -1), strict=True):
        wanted, taken = taken, torch.zeros_like(counts[below])
        for number, children in enumerate(groups(levels[above].assigned, len(wanted))):
            taken[children] = shares(counts[below][children], int(wanted[number]), draw)
    chosen = []
    for number, members in enumerate(groups(places[0], len(taken))):
        if order is None:
            inside = choose(draw, int(taken[number]), len(members))
        else:
            inside = order[members].argsort(stable=True)[: int(taken[number])]
        chosen.append(members[inside])
    return torch.cat(chosen).sort().values
