"""Hierarchical k-means with resampling, which spreads clusters evenly over what the data holds."""

from collections.abc import Sequence

import torch
from torch import Tensor

from selfsup.curation.draws import Draw
from selfsup.curation.kmeans import Clusters, groups, kmeans, mean, nearest, split, to_centroids

LEAST = 3  # clusters of a level


def level_sizes(samples: int) -> list[int]:
    """Numbers of clusters for so many samples, a tenth from level to level.

    >>> level_sizes(1_000_000), level_sizes(50_000), level_sizes(1000)
    ([10000, 1000, 100], [1667, 167], [33, 3])
    """
    parts = (100, 1000, 10_000) if samples >= 100_000 else (30, 300)
    sizes = [round(samples / part) for part in parts]
    return [size for size in sizes if size >= LEAST] or [min(samples, LEAST)]


@torch.no_grad()
def hierarchy(
    x: Tensor,
    sizes: Sequence[int],
    draw: Draw,
    near: Sequence[int] | None = None,
    rounds: int = 10,
    iterations: int = 50,
    parts: int = 1,
) -> list[Clusters]:
    """Clusters of clusters: each level clusters the centroids of the one below (Vo et al., arXiv:2405.15613).

    Centroids count once, however many rows they have: what the data repeats weighs less from level to level.
    Resampling goes further: ``rounds`` times, k-means is fitted anew to the rows of a level that are ``near``
    their centroids, so that each cluster has as many, and all rows are assigned to the new centroids.

    Args:
        x: features ``(N, D)``.
        sizes: numbers of clusters, falling, from the finest level (:func:`level_sizes`).
        near: rows of each cluster that a level is resampled from; 1 leaves it as it is. Default: half of the
            mean size of its clusters.
        rounds: of resampling.
        iterations: of each k-means.
        parts: find the finest level's clusters by splitting ``sizes[0] / parts`` clusters in so many each.

    Returns:
        Levels, the finest first; ``assigned`` of the others is of the clusters below.

    Raises:
        ValueError: sizes do not fall, or are more than the samples.

    Example:
        >>> from selfsup.curation.draws import draws
        >>> x = torch.tensor([[0.0], [0.1], [1.0], [8.0], [8.1], [9.0]])
        >>> fine, coarse = hierarchy(x, [4, 2], draws(0))
        >>> len(coarse.assigned[fine.assigned][:3].unique())
        1
    """
    counts = [len(x), *sizes]
    if not sizes or any(few < 1 or few > many for many, few in zip(counts, sizes, strict=False)):
        raise ValueError(f"levels of {list(sizes)} clusters of {len(x)} samples; each has to have fewer")
    if near is None:
        near = [max(1, many // few // 2) for many, few in zip(counts, sizes, strict=False)]
    levels: list[Clusters] = []
    for size, kept in zip(sizes, near, strict=True):
        below = levels[-1].centroids if levels else x
        size = min(size, len(below))
        if parts > 1 and not levels:
            cells = kmeans(below, max(1, size // parts), draw, iterations)
            clusters = split(below, cells, parts, draw, iterations)
        else:
            clusters = kmeans(below, size, draw, iterations)
        for _ in range(rounds if kept > 1 else 0):
            subset = _nearest_members(below, clusters, kept)
            fitted = kmeans(below[subset], min(size, len(subset)), draw, iterations)
            clusters = Clusters(fitted.centroids, nearest(below, fitted.centroids, mean(below)))
        levels.append(clusters)
    return levels


def lifted(levels: Sequence[Clusters]) -> list[Tensor]:
    """The cluster of each sample at each level, int64 ``(N,)`` each, the finest first."""
    found = [levels[0].assigned]
    for level in levels[1:]:
        found.append(level.assigned[found[-1]])
    return found


def _nearest_members(x: Tensor, clusters: Clusters, count: int) -> Tensor:
    """Positions of the ``count`` rows nearest to each centroid among its own, ascending."""
    distance = to_centroids(x, clusters)
    chosen = [
        members[distance[members].argsort(stable=True)[:count]]
        for members in groups(clusters.assigned, len(clusters.centroids))
    ]
    return torch.cat(chosen).sort().values
