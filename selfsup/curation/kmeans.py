"""k-means by squared Euclidean distance, in blocks: k-means++ and Lloyd's iterations."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsup.cores import look
from selfsup.curation.draws import Draw, whole
from selfsup.curation.share import each, filled
from selfsup.evaluation.classifiers.topk import GROUP, Rounded, products
from selfsup.precision import multiplies_bf16

ENTRIES = 2**24  # of a block of distances
MANY = 256  # centroids from which rounded products and exact ones of few candidates take less time


class Clusters(NamedTuple):
    """What k-means finds: centroids ``(k, D)``, and int64 ``(N,)``, the nearest one's number for each row."""

    centroids: Tensor
    assigned: Tensor


@torch.no_grad()
def kmeans(x: Tensor, k: int, draw: Draw, iterations: int = 50) -> Clusters:
    """Clusters of the rows of ``x`` ``(N, D)``: greedy k-means++, then Lloyd's algorithm.

    As in the curation of Vo et al. 2024 (arXiv:2405.15613): always all iterations; an empty cluster keeps its
    centroid. Computed in float32, or in float64 for such rows; sums are float64. Products in bf16 find the
    candidates where the CPU multiplies those faster; the nearest is the one by float32. Beyond ``x`` and the
    result memory holds a block of 2**24 distances, its rows, and for k-means++ ``5 + 2 ln k`` numbers a row.

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
    return lloyd(x, x[plus_plus(x, k, draw, centre)].to(centre), iterations, centre)


def lloyd(x: Tensor, centroids: Tensor, iterations: int, centre: Tensor | None = None) -> Clusters:
    """Lloyd's iterations from ``centroids`` ``(k, D)``; ``centre`` as for :func:`nearest`."""
    assigned = nearest(x, centroids, centre)
    for _ in range(iterations):
        look()
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
    trials = _trials(k)
    chosen = [whole(draw, len(x))]
    squares = torch.cat([(rows.to(centre) - centre).square().sum(1) for _, rows in _blocks(x, 1)])
    least = _distances(x, chosen, centre, squares)[:, 0]
    while len(chosen) < k:
        ends = least.cumsum(0, dtype=torch.float64)
        marks = torch.tensor([draw() for _ in range(trials)], dtype=torch.float64) * ends[-1]
        candidates = torch.searchsorted(ends, marks).clamp(max=len(x) - 1).tolist()
        new = torch.minimum(_distances(x, candidates, centre, squares), least[:, None])
        best = int(new.sum(0, dtype=torch.float64).argmin())
        chosen.append(candidates[best])
        least = new[:, best].contiguous()
    return torch.tensor(chosen)


def _trials(k: int) -> int:
    return 2 + int(math.log(k))


def _draws(k: int) -> int:
    """How many numbers :func:`plus_plus` draws."""
    return 1 + (k - 1) * _trials(k)


def nearest(x: Tensor, centroids: Tensor, centre: Tensor | None = None) -> Tensor:
    """The number of the nearest of ``centroids`` ``(k, D)`` for each row of ``x``, int64 ``(N,)``.

    Args:
        centre: near the rows, for accurate distances; that of the centroids if None.
    """
    if centre is None:
        centre = mean(centroids)
    keys = centroids.to(centre) - centre
    # The score x . c - |c|^2 / 2 falls as the distance grows.
    keys = torch.cat([keys, -keys.square().sum(1, keepdim=True) / 2], dim=1)
    found = torch.empty(len(x), dtype=torch.int64)
    rough = len(keys) >= MANY and keys.dtype == torch.float32 and multiplies_bf16()
    keys16 = Rounded.of(keys) if rough else None
    buffer = keys.new_empty(_rows(x, len(keys)) * (len(keys) + GROUP))

    def of_block(place: slice) -> Tensor:
        rows = F.pad(x[place].to(centre) - centre, (0, 1), value=1.0)
        least = rows.new_full((len(rows),), -torch.inf)
        few = keys16.above(rows, keys, least, 1, buffer) if keys16 else None
        if few is None:
            return products(rows, keys.t(), buffer).argmax(1)
        score, number = few
        largest = score == score.amax(1, keepdim=True)
        return number.where(largest, torch.tensor(len(keys))).amin(1)

    return filled(found, _places(x, len(keys)), of_block)


def means(x: Tensor, assigned: Tensor, centroids: Tensor) -> Tensor:
    """The mean of each cluster's rows ``(k, D)``; that of an empty one is its centroid."""
    sums = torch.zeros(centroids.shape, dtype=torch.float64)
    for place, rows in _blocks(x, 1):
        sums.index_add_(0, assigned[place], rows.double())
    counts = torch.bincount(assigned, minlength=len(centroids))[:, None]
    return torch.where(counts > 0, sums / counts.clamp(min=1), centroids.double()).to(centroids)


def split(x: Tensor, cells: Clusters, parts: int, draw: Draw, iterations: int = 50) -> Clusters:
    """Clusters of each cell's rows, at most ``parts`` a cell, numbered through; empty ones are left out.

    k-means++ goes through all rows for each cluster, which for very many takes longer than all that follows.
    To split 100 clusters in 100 each takes 200 passes for 10,000 clusters (so Vo et al. make 10 million).
    """
    several = [members for members in groups(cells.assigned, len(cells.centroids)) if len(members)]
    # What each cell will draw, before cells are shared out.
    drawn = [[draw() for _ in range(_draws(min(parts, len(members))))] for members in several]

    def of_cell(cell: tuple[Tensor, list[float]]) -> list[Tensor]:
        members, numbers = cell
        part = kmeans(x[members], min(parts, len(members)), iter(numbers).__next__, iterations)
        used, number = part.assigned.unique(return_inverse=True)
        return [number, part.centroids[used]]

    centroids: list[Tensor] = []
    assigned = torch.empty(len(x), dtype=torch.int64)
    for members, (number, found) in zip(
        several, each(zip(several, drawn, strict=True), of_cell), strict=True
    ):
        assigned[members] = number + sum(map(len, centroids))
        centroids.append(found)
    return Clusters(torch.cat(centroids), assigned)


def groups(assigned: Tensor, count: int) -> tuple[Tensor, ...]:
    """The rows of each of ``count`` clusters, ascending.

    >>> groups(torch.tensor([1, 0, 1]), 3)
    (tensor([1]), tensor([0, 2]), tensor([], dtype=torch.int64))
    """
    return assigned.argsort(stable=True).split(torch.bincount(assigned, minlength=count).tolist())


def to_centroids(x: Tensor, clusters: Clusters) -> Tensor:
    """Squared distance of each row to its own centroid, in float64 ``(N,)``."""
    found = torch.empty(len(x), dtype=torch.float64)
    for place, rows in _blocks(x, 1):
        apart = rows.double() - clusters.centroids[clusters.assigned[place]].double()
        found[place] = apart.square().sum(1)
    return found


def _distances(x: Tensor, chosen: list[int], centre: Tensor, squares: Tensor) -> Tensor:
    """Squared distances ``(N, len(chosen))`` to rows of ``x``; ``squares`` ``(N,)`` are those to the centre.

    |x - c|^2 = |x - m|^2 - 2 x . (c - m) + (c - m) . (c + m), with the centre m.
    """
    rows = x[chosen].to(centre)
    keys, rest = (rows - centre).t().contiguous(), ((rows - centre) * (rows + centre)).sum(1)
    found = torch.empty(len(x), len(chosen), dtype=centre.dtype)
    places = _places(x, len(chosen))
    filled(found, places, lambda place: torch.addmm(rest, x[place].to(centre), keys, alpha=-2))
    return found.add_(squares[:, None]).clamp_(min=0)


def _rows(x: Tensor, columns: int) -> int:
    return max(1, min(len(x), ENTRIES // max(columns, x.shape[1])))


def _places(x: Tensor, columns: int) -> list[slice]:
    """Ranges of rows, few enough for a block of their distances to ``columns`` and of themselves."""
    size = _rows(x, columns)
    return [slice(start, min(start + size, len(x))) for start in range(0, len(x), size)]


def _blocks(x: Tensor, columns: int) -> Iterator[tuple[slice, Tensor]]:
    """The rows of each of :func:`_places`."""
    for place in _places(x, columns):
        yield place, x[place]
