"""A core-set towards a target: the samples of a pool that look like those of a small set (SimCore)."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsup.curation.draws import Draw
from selfsup.curation.kmeans import kmeans

CENTROIDS, STEADY, FALLEN, MOST = 100, 20, 0.95, 50


class Towards(NamedTuple):
    """What was chosen.

    Attributes:
        rows: int64, in the order of the choice.
        centroid: int64 ``(N,)``, the target's centroid nearest to each sample of the pool.
        similarity: of each sample of the pool to that centroid, ``(N,)``.
        stopped: whether the rounds ended because similarity fell, before ``count`` was reached.
    """

    rows: Tensor
    centroid: Tensor
    similarity: Tensor
    stopped: bool


@torch.inference_mode()
def towards(x: Tensor, target: Tensor, draw: Draw, count: int | None = None) -> Towards:
    """The samples of ``x`` nearest to clusters of ``target``: SimCore (Kim et al. 2023, arXiv:2303.11101).

    In each round every one of up to 100 centroids of the target takes the most similar sample that no earlier
    round took; several may take the same. Without a ``count`` the rounds end when their mean cosine falls
    below 0.95 times that of the 20th, and at 50 times the size of the target.

    Args:
        x: features of the pool ``(N, D)``; directions are compared.
        target: features ``(T, D)`` by the same encoder.
        draw: for k-means.
        count: samples to take, at most N; the last round takes its most similar ones.

    Example:
        >>> from selfsup.curation.draws import draws
        >>> pool = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.9, 0.1], [-1.0, 0.0]])
        >>> towards(pool, torch.tensor([[1.0, 0.05]]), draws(0), count=2).rows.tolist()
        [0, 2]
    """
    unit, wanted = F.normalize(x, dim=1), F.normalize(target, dim=1)
    centroids = F.normalize(kmeans(wanted, min(CENTROIDS, len(wanted)), draw).centroids, dim=1)
    most = min(len(x), MOST * len(target)) if count is None else count
    similarities = unit @ centroids.t()
    # Of what each centroid likes best, no more than all that is taken can be taken before.
    value, order = similarities.t().topk(most, dim=1)
    place = [0] * len(centroids)
    taken: dict[int, float] = {}
    steady, stopped, number = None, False, 0
    while len(taken) < most:
        number += 1
        found: dict[int, float] = {}
        for i, (values, rows) in enumerate(zip(value, order, strict=True)):
            while place[i] < most and int(rows[place[i]]) in taken:
                place[i] += 1
            if place[i] < most:
                row = int(rows[place[i]])
                found[row] = max(found.get(row, -1.0), float(values[place[i]]))
        mean = sum(found.values()) / len(found)
        steady = mean if number == STEADY else steady
        if count is None and steady is not None and mean < FALLEN * steady:
            stopped = True
            break
        best = sorted(found, key=lambda row: (-found[row], row))[: most - len(taken)]
        taken |= {row: found[row] for row in best}
    similarity, centroid = similarities.max(dim=1)
    return Towards(torch.tensor(list(taken), dtype=torch.int64), centroid, similarity, stopped)
