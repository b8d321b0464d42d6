"""Ridge classification: every strength from one decomposition."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from selfsup.evaluation.classifiers.probes import spanned, split_labels, standardise
from selfsup.evaluation.errors import NoScore
from selfsup.evaluation.features.extract import Features
from selfsup.evaluation.features.moments import add_products, symmetric
from selfsup.evaluation.registry import Fraction, Positives
from selfsup.evaluation.score import Score, absent, accuracy, edge

BLOCK = 4096


class RidgeProbe(NamedTuple):
    """What :func:`ridge_probe` found; fields as of :class:`selfsup.evaluation.classifiers.probes.Probe`."""

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
    every strength; the sums are standardised instead of the features. The best on a stratified hold-out is
    chosen (the strongest in a tie), and W is solved again for the whole training split.

    Args:
        train: features ``(N, D)``.
        labels: int64 ``(N,)``. Classes without a sample are never predicted.
        test: features ``(M, D)``.
        strengths: in units of a standardised feature's variance, 1.
        holdout: share of each class held out to choose.
        seed: of the hold-out.

    Raises:
        NoScore: fewer than two classes, no class with two samples, or features too large to be squared.
    """
    present, target, held = split_labels(labels, holdout, seed, "a ridge classifier")
    few = len(train) < train.shape[1]
    x, test = spanned(*standardise(train, test)) if few else (train, test)
    centre = torch.zeros(x.shape[1]) if few else x[:: max(1, len(x) // BLOCK)].float().mean(dim=0)
    fit, check = (~held).nonzero().squeeze(1), held.nonzero().squeeze(1)
    sums = [_sums(x, target, rows, len(present), centre) for rows in (fit, check)]
    whole = _Sums(*(a + b for a, b in zip(*sums, strict=True)))
    if not whole.gram.isfinite().all():
        raise NoScore("squares of the features exceed the range of float32")
    scale = torch.ones_like(whole.gram[0]) if few else _standard(whole, centre)
    ordered = sorted(strengths, reverse=True)
    hits = torch.zeros(len(ordered))
    weights = _solve(sums[0], centre, scale, ordered)
    for rows in check.split(BLOCK):
        hits += (_classes(x[rows], weights) == target[rows]).sum(1)
    best = int(hits.argmax())
    final = _solve(whole, centre, scale, [ordered[best]])
    return RidgeProbe(
        present[torch.cat([_classes(rows, final)[0] for rows in test.split(BLOCK)])],
        ordered[best],
        {strength: hit / len(check) for strength, hit in zip(ordered, hits.tolist(), strict=True)},
        len(check),
    )


class _Sums(NamedTuple):
    """Sums over features x minus a centre, in float64: ``sum x x^T`` ``(D, D)``; ``sum x`` and count by
    class."""

    gram: Tensor
    totals: Tensor
    counts: Tensor


def _sums(x: Tensor, y: Tensor, rows: Tensor, classes: int, centre: Tensor) -> _Sums:
    width = x.shape[1]
    gram, totals = torch.zeros(width, width, dtype=torch.float64), torch.zeros(classes, width)
    buffer = x.new_empty(min(BLOCK, len(rows)), width)
    for block in rows.split(BLOCK):
        part = torch.index_select(x, 0, block, out=buffer[: len(block)]).float().sub_(centre)
        add_products(gram, part)
        totals.index_add_(0, y[block], part)
    return _Sums(symmetric(gram), totals.double(), torch.bincount(y[rows], minlength=classes).double())


def _standard(sums: _Sums, centre: Tensor) -> Tensor:
    """The factor that standardises each dimension; 0 for those that do not vary, as in
    :func:`standardise`."""
    mean = sums.totals.sum(0) / sums.counts.sum()
    deviation = (sums.gram.diagonal() / sums.counts.sum() - mean.square()).clamp(min=0).sqrt()
    varies = deviation > 1e-6 * (centre + mean).abs()
    return torch.where(varies, 1 / deviation.where(varies, torch.ones_like(deviation)), 0)


def _solve(sums: _Sums, centre: Tensor, scale: Tensor, strengths: Sequence[float]) -> Tensor:
    """Weights ``(S, C, D + 1)`` for unstandardised features, bias last, for each strength."""
    samples = sums.counts.sum()
    mean, share = sums.totals.sum(0) / samples, sums.counts / samples
    covariance = (sums.gram / samples - torch.outer(mean, mean)) * torch.outer(scale, scale)
    relation = (sums.totals / samples - torch.outer(share, mean)) * scale
    if len(strengths) == 1:
        covariance.diagonal().add_(strengths[0])
        weights = torch.linalg.solve(covariance, relation.t()).t().unsqueeze(0)
    else:
        values, vectors = torch.linalg.eigh(covariance)
        gains = 1 / (values.clamp(min=0) + torch.tensor(strengths, dtype=torch.float64).unsqueeze(1))
        weights = ((relation @ vectors) * gains.unsqueeze(1)) @ vectors.t()
    weights = weights * scale
    biases = share - weights @ (centre + mean)
    return torch.cat([weights, biases.unsqueeze(2)], dim=2).float()


def _classes(x: Tensor, weights: Tensor) -> Tensor:
    """Classes ``(S, N)`` by weights ``(S, C, D + 1)``."""
    flat = weights.view(-1, weights.shape[2])
    scores = torch.addmm(flat[:, -1:], flat[:, :-1], x.float().t())
    return scores.view(*weights.shape[:2], -1).argmax(1)


def score(train: Features, test: Features, *, strengths: Positives, holdout: Fraction, seed: int) -> Score:
    """Accuracy of least squares on one-hot labels, its strength selected on a hold-out of the training."""
    assert train.labels is not None
    assert test.labels is not None
    probe = ridge_probe(train.x, train.labels, test.x, strengths, holdout, seed)
    return accuracy(
        probe.predictions,
        test.labels,
        split=f"hold-out of {probe.samples} training samples",
        seed=seed,
        settings={
            "classifier": "ridge on one-hot labels, standardised features, refitted to the whole split",
            "strength": probe.strength,
            "holdout_accuracy": {f"{strength:g}": value for strength, value in probe.holdout.items()},
        },
        citation="Hoerl and Kennard 1970, Technometrics 12:55; as in big_vision's few-shot evaluation",
        flags=absent(train.labels, test.labels) + edge(probe.strength, probe.holdout, "strongest penalty"),
    )
