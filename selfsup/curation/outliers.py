"""Outliers: samples far from their nearest others."""

from typing import NamedTuple

import torch
from torch import Tensor

from selfsup.evaluation.classifiers.neighbours import neighbours

K = 10
FENCE = 1.7  # interquartile ranges above the upper quartile, 1 / 0.37037 - 1 as in cleanlab


class Outliers(NamedTuple):
    """How far each sample is from its nearest others.

    Attributes:
        distance: mean distance ``(N,)`` to the k nearest others.
        score: that divided by its median, float32 ``(N,)``: 1 is usual, larger is stranger.
        limit: the score above which a sample is flagged.
    """

    distance: Tensor
    score: Tensor
    limit: float

    @property
    def flagged(self) -> Tensor:
        """bool ``(N,)``."""
        return self.score > self.limit


def outliers(distances: Tensor) -> Outliers:
    """Flag samples whose mean distance to their nearest others is large.

    The rule of Tukey's fences, as cleanlab sets it: a mean distance above the upper quartile plus 1.7 times
    the interquartile range.

    Args:
        distances: to the k nearest others ``(N, k)``.

    >>> far = torch.tensor([[1.0], [1.1], [0.9], [1.0], [5.0]])
    >>> outliers(far).flagged.tolist()
    [False, False, False, False, True]
    """
    mean = distances.double().mean(1)
    low, high = torch.quantile(mean, torch.tensor([0.25, 0.75], dtype=torch.float64)).tolist()
    usual = max(float(mean.median()), 1e-12)
    limit = (high + FENCE * (high - low)) / usual
    return Outliers(mean.float(), (mean / usual).float(), limit)


def nearest_others(x: Tensor, k: int = K) -> tuple[Tensor, Tensor]:
    """Cosine similarities, descending, and positions ``(N, k)`` of each row's nearest others.

    Args:
        x: features ``(N, D)``.
        k: at most N - 1 are found.

    Raises:
        NoScore: features are not finite.
    """
    k = min(k, len(x) - 1)
    value, index = neighbours(x, x, k + 1)
    own = index == torch.arange(len(x))[:, None]
    # Among copies of one sample another may come first, and the sample itself not at all.
    own[:, -1] |= ~own.any(dim=1)
    return value[~own].view(len(x), k), index[~own].view(len(x), k)


def cosine_distances(similarity: Tensor) -> Tensor:
    """Distances of unit vectors, ``sqrt(2 - 2 s)``.

    >>> cosine_distances(torch.tensor([1.0, 0.5])).tolist()
    [0.0, 1.0]
    """
    return (2 - 2 * similarity.double()).clamp(min=0).sqrt()
