"""k-means by squared Euclidean distance, in blocks: k-means++ and Lloyd's iterations."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from selfsup.curation.draws import Draw, whole

ENTRIES = 2**24  # of a block of distances


class Clusters(NamedTuple):
    """What k-means finds: centroids ``(k, D)``, and int64 ``(N,)``, the nearest one's number for each row."""

    centroids: Tensor
    assigned: Tensor


@torch.inference_mode()
def kmeans(x: Tensor, k: int, draw: Draw, iterations: int = 50) -> Clusters:
    """Clusters of the rows of ``x`` ``(N, D)``: greedy k-means++, then Lloyd's algorithm.

    As in the curation of Vo et al. 2024 (arXiv:2405.15613): always all iterations; an empty cluster keeps its
    centroid. Computed in float32, or in float64 for such rows; sums are float64. Beyond ``x`` and the result
    memory holds a block of 2**24 distances, its rows, and for k-means++ ``3 + ln k`` numbers a row.

    Args:
        k: number of clusters, in 1..N.
        iterations: each replaces the centroids by the means of their rows and assigns all rows anew.

    Raises:
        ValueError: k is not in 1..N, or rows are not finite.

    Example:
        >>> from selfsup.curation.draws import draws
        >>> kmeans(torch.tensor([[0.0], [1.0], [9.0], [9.5]]), 2, draws(0)).centroids.sort(0).values
        tensor([[0.5000],
                [9.2500]])
    """
    if not 1 <= k <= len(x):
        raise ValueError(f"k={k} clusters of {len(x)} rows; choose k from 1 to {len(x)}")
    centre = mean(x)
    if not centre.isfinite().all():
        raise ValueError("the features are not finite")
    centroids = x[plus_plus(x, k, draw, centre)].to(centre)
    assigned = nearest(x, centroids, centre)
    for _ in range(iterations):
        centroids = means(x, assigned, centroids)
        assigned = nearest(x, centroids, centre)
    return Clusters(centroids, assigned)


def mean(x: Tensor) -> Tensor:
    """Of the rows ``(N, D)``, in float32 or for such rows in float64 ``(D,)``.

    Distances are computed about it: between rows far from the origin they are small differences of large
    numbers.
    """
    total = sum(rows.sum(0, dtype=torch.float64) for _, rows in _blocks(x, 1))
    return (torch.as_tensor(total) / len(x)).to(x.dtype if x.dtype == torch.float64 else torch.float32)


def plus_plus(x: Tensor, k: int, draw: Draw, centre: Tensor) -> Tensor:
    """Positions ``(k,)`` of the first centroids (Arthur and Vassilvitskii 2007, "k-means++"; greedy).

    The first is uniform. For each further one ``2 + floor(ln k)`` candidates are drawn, with probabilities in
    proportion to the squared distance to the nearest so far; the one that leaves the smallest sum is kept.
    """
    trials = 2 + int(math.log(k))
    chosen = [whole(draw, len(x))]
    least = _distances(x, chosen, centre)[:, 0]
    while len(chosen) < k:
        ends = least.cumsum(0, dtype=torch.float64)
        marks = torch.tensor([draw() for _ in range(trials)], dtype=torch.float64) * ends[-1]
        candidates = torch.searchsorted(ends, marks).clamp(max=len(x) - 1).tolist()
        new = torch.minimum(_distances(x, candidates, centre), least[:, None])
        best = int(new.sum(0, dtype=torch.float64).argmin())
        chosen.append(candidates[best])
        least = new[:, best].contiguous()
    return torch.tensor(chosen)


def nearest(x: Tensor, centroids: Tensor, centre: Tensor | None = None) -> Tensor:
    """The number of the nearest of ``centroids`` ``(k, D)`` for each row of ``x``, int64 ``(N,)``.

    Args:
        centre: near the rows, for accurate distances; that of the centroids if None.
    """
    if centre is None:
        centre = mean(centroids)
    keys = (centroids.to(centre) - centre).t().contiguous()
    half = keys.square().sum(0) / 2
    found = torch.empty(len(x), dtype=torch.int64)
    for place, rows in _blocks(x, len(centroids)):
        # The squared distance, without the row's own square and halved.
        found[place] = torch.addmm(half, rows.to(centre) - centre, keys, alpha=-1).argmin(1)
    return found


def means(x: Tensor, assigned: Tensor, centroids: Tensor) -> Tensor:
    """The mean of each cluster's rows ``(k, D)``; that of an empty one is its centroid."""
    sums = torch.zeros(centroids.shape, dtype=torch.float64)
    for place, rows in _blocks(x, 1):
        sums.index_add_(0, assigned[place], rows.double())
    counts = torch.bincount(assigned, minlength=len(centroids))[:, None]
    return torch.where(counts > 0, sums / counts.clamp(min=1), centroids.double()).to(centroids)


def _distances(x: Tensor, chosen: list[int], centre: Tensor) -> Tensor:
    """Squared distances ``(N, len(chosen))`` to rows of ``x``."""
    keys = (x[chosen].to(centre) - centre).t().contiguous()
    squares = keys.square().sum(0)
    found = torch.empty(len(x), len(chosen), dtype=centre.dtype)
    for place, rows in _blocks(x, len(chosen)):
        rows = rows.to(centre) - centre
        found[place] = torch.addmm(squares, rows, keys, alpha=-2) + rows.square().sum(1, keepdim=True)
    return found.clamp_(min=0)


def _blocks(x: Tensor, columns: int) -> Iterator[tuple[slice, Tensor]]:
    """Rows of ``x`` at a time, few enough for a block of their distances to ``columns`` and of themselves."""
    size = max(1, ENTRIES // max(columns, x.shape[1]))
    for start in range(0, len(x), size):
        place = slice(start, min(start + size, len(x)))
        yield place, x[place]
