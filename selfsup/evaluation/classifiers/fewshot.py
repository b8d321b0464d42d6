"""Few labels: a ridge classifier whose penalty is chosen by the drawn samples alone."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from selfsup.evaluation.classifiers.probes import logits
from selfsup.evaluation.errors import NoScore

STRENGTHS = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003)
SINGLE = 0.03
NOTHING = 1e-12  # of the largest squared singular value: rounding


class NShot(NamedTuple):
    """What :func:`nshot` found, for each draw.

    Attributes:
        accuracies: on all test samples.
        strengths: of the penalty.
    """

    accuracies: list[float]
    strengths: list[float]


def nshot(
    train: Tensor,
    labels: Tensor,
    test: Tensor,
    test_labels: Tensor,
    shots: int = 5,
    draws: int = 20,
    seed: int = 0,
    strengths: Sequence[float] = STRENGTHS,
    single: float = SINGLE,
) -> NShot:
    """Accuracy with few labels: a ridge classifier on ``shots`` random samples a class, for each draw.

    Closed form on one-hot targets with an unpenalised intercept, after the few-shot evaluation of
    big_vision. Two things differ from it. Features are centred and not standardised, so that turning
    them changes nothing: to bring each dimension to variance 1 whitens those that are uncorrelated, such as
    principal components, and leaves a handful of samples to fight the noise of the last ones. And the
    penalty is no constant, since encoders differ a hundredfold in the best one: leave-one-out accuracy on the
    drawn samples chooses it (the lower squared error in a tie), so that no other label is used.

    Args:
        train: features ``(N, D)``.
        labels: int64 ``(N,)``; shots are drawn from every class with a sample.
        test: features ``(M, D)``.
        test_labels: int64 ``(M,)``.
        shots: samples a class.
        draws: repetitions with other samples.
        seed: of the draws.
        strengths: of the penalty, to choose from, as shares of the mean squared length of the drawn,
            centred samples: scale and width of the features do not matter.
        single: the strength with one shot, where leaving it out leaves none of its class.

    Raises:
        NoScore: a class with fewer samples than ``shots``, or fewer than two classes.

    Example:
        >>> corners = torch.eye(3).repeat(4, 1)
        >>> nshot(corners, torch.arange(12) % 3, corners, torch.arange(12) % 3, shots=2, draws=2).accuracies
        [1.0, 1.0]
    """
    present, count = labels.unique(return_counts=True)
    if len(present) < 2:
        raise NoScore("few-shot accuracy needs samples of at least two classes")
    if count.min() < shots:
        raise NoScore(
            f"class {present[count.argmin()]} has {count.min()} training samples, fewer than {shots} shots"
        )
    generator = torch.Generator().manual_seed(seed)
    answer = torch.arange(len(present), device=train.device).repeat_interleave(shots)
    members = [(labels == label).nonzero().squeeze(1) for label in present]
    found = NShot([], [])
    for _ in range(draws):
        drawn = [rows[torch.randperm(len(rows), generator=generator)[:shots]] for rows in members]
        weights, strength = ridge(train[torch.cat(drawn)], answer, (single,) if shots == 1 else strengths)
        predictions = present[logits(test, weights).argmax(0)]
        found.accuracies.append((predictions == test_labels).double().mean().item())
        found.strengths.append(strength)
    return found


def ridge(x: Tensor, y: Tensor, strengths: Sequence[float]) -> tuple[Tensor, float]:
    """Weights ``(C, D + 1)``, bias last, of ridge regression on one-hot targets, and their strength.

    With ``X = U S V^T`` the centred rows, ``W = Y^T U (S² + p)^-1 U^T X`` for the penalty p, and the
    residual of sample i, had it been left out, is ``r_i / (1 - h_i)`` with ``h_i = 1/n + sum_k U_ik² S_k² /
    (S_k² + p)``: one decomposition serves all strengths.

    Args:
        x: ``(n, D)``.
        y: int64 ``(n,)``, of 0 .. C - 1, each present.
        strengths: penalties as shares of the mean squared length of the centred rows; the best by
            leave-one-out accuracy, then squared error, is taken.
    """
    target = torch.eye(int(y.max()) + 1, dtype=torch.float64, device=x.device)[y]
    mean, level = x.double().mean(0), target.mean(0)
    rows, values = x - mean, target - level
    left, squares = _decomposed(rows)
    turned, unit = left.t() @ values, rows.square().sum(1).mean()
    outcomes = []
    for strength in strengths:
        kept = squares / (squares + strength * unit)
        lever = left.square() @ kept + 1 / len(x)
        away = (values - left @ (kept[:, None] * turned)) / (1 - lever)[:, None]
        hits = ((target - away).argmax(1) == y).sum()
        outcomes.append((int(hits), -float(away.square().sum()), strength))
    strength = max(outcomes)[2]
    weights = (turned / (squares + strength * unit)[:, None]).t() @ (left.t() @ rows)
    bias = level - weights @ mean
    return torch.cat([weights, bias[:, None]], dim=1).to(x.dtype), strength


def _decomposed(rows: Tensor) -> tuple[Tensor, Tensor]:
    """U ``(n, K)`` and S² ``(K,)`` of ``rows = U S V^T`` ``(n, D)``, by the smaller Gram matrix."""
    few = len(rows) <= rows.shape[1]
    squares, vectors = torch.linalg.eigh(rows @ rows.t() if few else rows.t() @ rows)
    kept = squares > NOTHING * squares[-1]
    squares, vectors = squares[kept], vectors[:, kept]
    return vectors if few else rows @ vectors / squares.sqrt(), squares
