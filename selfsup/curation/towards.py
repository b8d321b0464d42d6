"""Samples of a pool that resemble a small target set."""

from typing import NamedTuple

import torch
from torch import Tensor

from selfsup.curation.draws import Draw
from selfsup.curation.kmeans import kmeans
from selfsup.evaluation.classifiers.neighbours import neighbours, unit

AT_FIRST = 1024  # candidates a centroid, doubled when they are used up


class Near(NamedTuple):
    """Samples chosen from a pool.

    Attributes:
        rows: positions int64 ``(n,)``, in the order in which they were chosen, none twice.
        similarity: cosine to the centroid that chose each, float32 ``(n,)``.
        why: why there are no more: ``"count"``, ``"pool"`` (all are chosen), ``"unlike"`` (what is left is).
    """

    rows: Tensor
    similarity: Tensor
    why: str


@torch.no_grad()
def towards(
    pool: Tensor,
    target: Tensor,
    draw: Draw,
    count: int | None = None,
    clusters: int = 100,
    stop: float = 0.95,
    reference: int = 20,
) -> Near:
    """Samples of ``pool`` ``(N, D)`` like those of ``target`` ``(M, D)`` (SimCore, arXiv:2303.11101).

    k-means finds ``clusters`` centroids of the target's unit features. In each round every centroid takes
    the most similar sample of those that no earlier round has taken; two may take the same. It ends with
    ``count`` samples, or when a round's mean similarity is below ``stop`` times that of round ``reference``:
    what is left is unlike.

    Args:
        count: samples at most; 50 for each of the target by default.
        stop: 0 goes on to the count.

    Raises:
        NoScore: features are not finite.

    Example:
        >>> from selfsup.curation.draws import draws
        >>> pool = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.9, 0.1]])
        >>> towards(pool, torch.tensor([[1.0, 0.0]]), draws(0), count=2).rows
        tensor([0, 2])
    """
    count = min(len(pool), 50 * len(target) if count is None else count)
    centroids = kmeans(unit(target.float()), min(clusters, len(target)), draw).centroids
    width = min(AT_FIRST, len(pool))
    similarity, order = neighbours(pool, centroids, width)
    used, every = torch.zeros(len(pool), dtype=torch.bool), torch.arange(len(centroids))
    at = torch.zeros_like(every)  # each centroid's place in its order
    chosen: dict[int, float] = {}
    means: list[float] = []
    while len(chosen) < count:
        while (late := used[order[every, at]]).any():
            at += late
            if int(at.max()) == width:
                width = min(2 * width, len(pool))
                similarity, order = neighbours(pool, centroids, width)
        row, value = order[every, at], similarity[every, at]
        means.append(float(value.mean()))
        if stop > 0 and len(means) > reference and means[-1] < stop * means[reference - 1]:
            return _near(chosen, "unlike")
        for number in value.argsort(descending=True, stable=True).tolist():
            if len(chosen) < count:
                chosen.setdefault(int(row[number]), float(value[number]))
        used[row] = True
    return _near(chosen, "pool" if count == len(pool) else "count")


def _near(chosen: dict[int, float], why: str) -> Near:
    return Near(torch.tensor(list(chosen)), torch.tensor(list(chosen.values())), why)
