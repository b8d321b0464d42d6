"""Ridge classification: every strength out of one decomposition."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from selfsup.evaluation.probes import spanned, split_labels, standardise

BLOCK = 4096


class RidgeProbe(NamedTuple):
    """What :func:`ridge_probe` found; fields as of :class:`selfsup.evaluation.probes.Probe`."""

    predictions: Tensor
    strength: float
    holdout: dict[float, float]
    samples: int


def ridge_probe(
    train: Tensor,
    labels: Tensor,
    test: Tensor,
    strengths: Sequence[float],
    holdout: float = 0.2,
    seed: int = 0,
) -> RidgeProbe:
    """Least squares on one-hot labels of standardised features, its strength chosen without the test set.

    With the eigenvectors V and eigenvalues e of the covariance, ``W = V (e + strength)^-1 V^T X^T Y / N`` for
    every strength. The best on a stratified hold-out is chosen (the strongest among equals), and W is
    solved anew for the whole training split.

    Args:
        train: features ``(N, D)``.
        labels: int64 ``(N,)``. Classes without a sample are never predicted.
        test: features ``(M, D)``.
        strengths: in units of a standardised feature's variance, 1.
        holdout: share of each class held out to choose.
        seed: of the hold-out.

    Raises:
        NoScore: fewer than two classes, or no class with two samples.
    """
    present, target, held = split_labels(labels, holdout, seed, "a ridge classifier")
    x, test = spanned(*standardise(train, test))
    fit, check = (~held).nonzero().squeeze(1), held.nonzero().squeeze(1)
    sums = [_sums(x, target, rows, len(present)) for rows in (fit, check)]
    ordered = sorted(strengths, reverse=True)
    hits = torch.zeros(len(ordered))
    weights = _solve(*sums[0], len(fit), ordered)
    for rows in check.split(BLOCK):
        hits += (_classes(x[rows], weights) == target[rows]).sum(1)
    best = int(hits.argmax())
    whole = (sums[0][0] + sums[1][0], sums[0][1] + sums[1][1], sums[0][2] + sums[1][2])
    final = _solve(*whole, len(x), [ordered[best]])
    return RidgeProbe(
        present[torch.cat([_classes(rows, final)[0] for rows in test.split(BLOCK)])],
        ordered[best],
        {strength: hit / len(check) for strength, hit in zip(ordered, hits.tolist(), strict=True)},
        len(check),
    )


def _sums(x: Tensor, y: Tensor, rows: Tensor, classes: int) -> tuple[Tensor, Tensor, Tensor]:
    """``X^T X`` ``(D, D)``, class sums ``(C, D)`` and class counts ``(C,)`` of some rows, in float64."""
    width = x.shape[1]
    gram, totals = torch.zeros(width, width, dtype=torch.float64), torch.zeros(classes, width)
    for block in rows.split(BLOCK):
        part = x[block].float()
        gram += part.t() @ part
        totals.index_add_(0, y[block], part)
    return gram, totals.double(), torch.bincount(y[rows], minlength=classes).double()


def _solve(gram: Tensor, totals: Tensor, counts: Tensor, samples: int, strengths: Sequence[float]) -> Tensor:
    """Weights ``(S, C, D + 1)``, bias last, for each strength."""
    mean, share = totals.sum(0) / samples, counts / samples
    covariance = gram / samples - torch.outer(mean, mean)
    relation = totals / samples - torch.outer(share, mean)
    if len(strengths) == 1:
        covariance.diagonal().add_(strengths[0])
        weights = torch.linalg.solve(covariance, relation.t()).t().unsqueeze(0)
        return _with_bias(weights, mean, share)
    values, vectors = torch.linalg.eigh(covariance)
    turned = relation @ vectors
    scale = 1 / (values.clamp(min=0) + torch.tensor(strengths, dtype=torch.float64).unsqueeze(1))
    weights = (turned * scale.unsqueeze(1)) @ vectors.t()
    return _with_bias(weights, mean, share)


def _with_bias(weights: Tensor, mean: Tensor, share: Tensor) -> Tensor:
    biases = share - weights @ mean
    return torch.cat([weights, biases.unsqueeze(2)], dim=2).float()


def _classes(x: Tensor, weights: Tensor) -> Tensor:
    """Classes ``(S, N)`` by weights ``(S, C, D + 1)``."""
    flat = weights.view(-1, weights.shape[2])
    scores = torch.addmm(flat[:, -1:], flat[:, :-1], x.float().t())
    return scores.view(*weights.shape[:2], -1).argmax(1)
