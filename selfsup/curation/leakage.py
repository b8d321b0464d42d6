"""Leakage: what copies of test images in the training set add to a score."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from selfsup.curation.pairs import Pairs
from selfsup.evaluation.classifiers.neighbours import neighbours
from selfsup.evaluation.intervals import NORMAL_QUANTILE


class Leakage(NamedTuple):
    """kNN accuracy with and without each test sample's own copies among the training samples.

    Attributes:
        affected: test samples with a copy in training.
        total: test samples.
        whole, without: accuracies with and without.
        effect: their difference, and ``low``, ``high`` its 95 % interval, paired over test samples.
        helped, harmed: samples that only the copies make right, and that only they make wrong.
    """

    affected: int
    total: int
    whole: float
    without: float
    effect: float
    low: float
    high: float
    helped: int
    harmed: int


@torch.inference_mode()
def leakage(
    bank: Tensor,
    bank_labels: Tensor,
    queries: Tensor,
    labels: Tensor,
    copies: Pairs,
    k: int = 20,
    temperature: float = 0.07,
) -> Leakage:
    """The score of weighted kNN, as in :func:`selfsup.evaluation.knn`, and the same with k others where a
    test sample's own copies are left out.

    The difference is paired, d_i = correct_i(whole bank) - correct_i(bank without i's copies), and its
    interval is ``1.96 sd(d) / sqrt(n)``. Accuracy without the affected test samples would be another
    quantity: it also changes because those samples are easier.

    For an encoder this is the leakage of the bank alone: what its own training learned from copies of test
    images takes a run without them to tell.

    Args:
        bank, bank_labels: training features ``(N, D)`` and labels ``(N,)``.
        queries, labels: test features ``(M, D)`` and labels ``(M,)``.
        copies: ``first`` are rows of the bank, ``second`` rows of the queries.
        k, temperature: of kNN; k at most what is left without the copies.
    """
    classes = int(torch.cat([bank_labels, labels]).max()) + 1
    affected = copies.second.unique()
    k = min(k, len(bank))
    similarity, index = neighbours(bank, queries, k)
    right = _vote(similarity, bank_labels[index], k, temperature, classes) == labels
    without = right.clone()
    if len(affected):
        most = int(copies.second.bincount().max())
        wide = min(k + most, len(bank))
        similarity, index = neighbours(bank, queries[affected], wide)
        place = torch.searchsorted(affected, copies.second)
        own = torch.isin(
            torch.arange(len(affected))[:, None] * len(bank) + index, place * len(bank) + copies.first
        )
        # Copies go behind all others, with no weight.
        similarity = similarity.masked_fill(own, -torch.inf)
        similarity, order = similarity.sort(dim=1, descending=True, stable=True)
        voted = bank_labels[index.gather(1, order)]
        without[affected] = _vote(similarity, voted, k, temperature, classes) == labels[affected]
    d = right.double() - without.double()
    n = len(labels)
    effect = float(d.mean())
    half = NORMAL_QUANTILE * float(d.std()) / math.sqrt(n) if n > 1 else math.inf
    return Leakage(
        affected=len(affected),
        total=n,
        whole=float(right.double().mean()),
        without=float(without.double().mean()),
        effect=effect,
        low=effect - half,
        high=effect + half,
        helped=int((d > 0).sum()),
        harmed=int((d < 0).sum()),
    )


def _vote(similarity: Tensor, voted: Tensor, k: int, temperature: float, classes: int) -> Tensor:
    weights = (similarity[:, :k] / temperature).softmax(dim=1)
    return weights.new_zeros(len(weights), classes).scatter_add_(1, voted[:, :k], weights).argmax(1)
