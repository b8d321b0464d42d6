"""Scores without labels from the eigenvalues of features' second moment."""

from collections.abc import Callable
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from selfsup.evaluation.errors import NoScore
from selfsup.evaluation.moments import Moments, batch_moments, double_device, real_matrix

SAMPLES_PER_DIMENSION = 10
FIRST, LAST = 11, 100  # of the eigenvalues that alpha_req fits
FEWEST = 10  # of them, to fit a line
STRAIGHT = 0.95  # R² above which a spectrum counts as a power law
ROUNDING = torch.finfo(torch.float64).eps


class Spectrum:
    """Eigenvalues of the second moment of features, with their mean and without it.

    Each is decomposed when it is first asked for, and once: all scores of one Spectrum share it.

    Args:
        gram: ``Z^T Z`` of features Z ``(N, D)``, or ``Z Z^T``, which has the same eigenvalues.
        scatter: the same of the centred features.
        samples, width: N and D.
        cancelled: squared length that centring removed from ``scatter``, which sets its rounding.
    """

    def __init__(self, gram: Tensor, scatter: Tensor, samples: int, width: int, cancelled: float) -> None:
        self.samples, self.width = samples, width
        self._gram, self._scatter, self._cancelled = gram, scatter, cancelled

    @cached_property
    def raw(self) -> Tensor:
        """Eigenvalues of ``sum z z^T``, float64 ``(min(N, D),)``, descending, none below 0."""
        return self._eigenvalues(self._gram, 0.0)

    @cached_property
    def centred(self) -> Tensor:
        """Eigenvalues of ``sum (z - mean)(z - mean)^T``: N times the covariance's; as :attr:`raw`."""
        return self._eigenvalues(self._scatter, 8 * ROUNDING * self._cancelled)

    def singular_values(self, centre: bool = False) -> Tensor:
        """Singular values of the features, or of the centred features: ``(min(N, D),)``, descending."""
        return (self.centred if centre else self.raw).sqrt()

    def _eigenvalues(self, matrix: Tensor, noise: float) -> Tensor:
        values = torch.linalg.eigvalsh(matrix).flip(0)[: min(self.samples, self.width)]
        # Values below the rounding of the sums are zero; their root would count as a dimension.
        floor = max(noise, 4 * ROUNDING * float(values[0]))
        return values.where(values > floor, torch.zeros_like(values))


def spectrum(features: Tensor | Moments | Spectrum) -> Spectrum:
    """The spectrum of features ``(N, D)`` or of their moments; a spectrum is returned as it is.

    Pass one to several scores and they share the work. Memory is the square of the smaller side.

    Raises:
        NoScore: there are no features, or some are not finite.

    Example:
        >>> found = spectrum(torch.eye(4))
        >>> found.raw
        tensor([1., 1., 1., 1.], dtype=torch.float64)
        >>> round(rankme(found), 3), round(stable_rank(found), 3)
        (4.0, 4.0)
    """
    if isinstance(features, Spectrum):
        return features
    if isinstance(features, Tensor):
        features = real_matrix(features)
        if len(features) < features.shape[1]:
            return _of_few(features)
        features = batch_moments(features)
    samples = int(features.count)
    if samples == 0:
        raise NoScore("there are no features")
    cancelled = float(features.total.dot(features.mean))
    return Spectrum(features.gram, features.scatter, samples, len(features.total), cancelled)


def _of_few(features: Tensor) -> Spectrum:
    """For fewer samples than dimensions: products of samples give the smaller matrix."""
    samples, width = features.shape
    if samples == 0:
        raise NoScore("there are no features")
    rows = features.to(double_device(features), torch.float64)
    mean = rows.mean(dim=0)
    if not rows.isfinite().all():
        raise NoScore("the features are not finite")
    away = rows - mean
    return Spectrum(rows @ rows.t(), away @ away.t(), samples, width, samples * float(mean.dot(mean)))


def rankme(features: Tensor | Moments | Spectrum, centre: bool = False, eps: float = 1e-7) -> float:
    """RankMe, the effective rank of features (Garrido et al. 2023, arXiv:2210.02885).

    ``exp(-sum_k p_k log p_k)`` with ``p_k = sigma_k / sum_j sigma_j + eps`` over the ``min(N, D)``
    singular values of the matrix, which is neither centred nor renormalised after eps. From 1
    (collapsed) to ``min(N, D)``. Compare only encoders of one method and one width.

    Args:
        features: ``(N, D)``, or their :class:`Moments` or :class:`Spectrum`. Fewer than 10 D samples
            read too low (:func:`too_few`); rounding of half-precision features reads too high where
            they are collapsed.
        centre: subtract the mean first: a large common component would otherwise hide the others.
        eps: the paper's 1e-7.

    Raises:
        NoScore: all singular values are zero, or one is not finite.

    Example:
        >>> round(rankme(torch.eye(8)), 3)
        8.0
    """
    sigma = spectrum(features).singular_values(centre)
    if not sigma[0] > 0:
        raise NoScore(_nothing(centre))
    p = sigma / sigma.sum() + eps
    return float((-(p * p.log()).sum()).exp())


class PowerLaw(NamedTuple):
    """What :func:`alpha_req` found.

    Attributes:
        alpha: the spectrum's exponent.
        r2: share, up to 1, of the logarithms' weighted variance that the line explains.
        first, last: the eigenvalues that were fitted, counted from 1, both included.
    """

    alpha: float
    r2: float
    first: int
    last: int


def alpha_req(features: Tensor | Moments | Spectrum, first: int = FIRST, last: int = LAST) -> PowerLaw:
    """alpha-ReQ, the decay of the covariance's spectrum (Agrawal et al. 2022, NeurIPS).

    ``lambda_k ~ k^-alpha``: minus the slope of ``log lambda_k`` on ``log k``, by least squares weighted
    1/k, which gives every octave of k the same weight. The first eigenvalues, which follow the data's
    few largest factors, are left out, as is the tail, which bends down with too few samples. Near 1 is best;
    far above 1 features are collapsed, far below they resemble noise.

    Args:
        features: ``(N, D)``, or their moments or spectrum.
        first, last: of the eigenvalues to fit, counted from 1; the range ends where eigenvalues do
            or fall below 1e-12 of the largest.

    Raises:
        NoScore: fewer than 10 eigenvalues are left to fit.

    Example:
        >>> axes = torch.diag(torch.arange(1, 201) ** -0.5)
        >>> round(alpha_req(torch.cat([axes, -axes])).alpha, 3)
        1.0
    """
    values = spectrum(features).centred
    rank = int((values > 1e-12 * values[0]).sum())
    if min(last, rank) - first + 1 < FEWEST:
        raise NoScore(
            f"the covariance has {rank} eigenvalues above rounding, and a power law is fitted to "
            f"numbers {first} to {last}, {FEWEST} of them at least"
        )
    last = min(last, rank)
    k = torch.arange(first, last + 1, dtype=torch.float64, device=values.device)
    x, y = k.log(), values[first - 1 : last].log()
    weights = 1 / k / (1 / k).sum()
    x, y = x - weights.dot(x), y - weights.dot(y)
    slope = weights.dot(x * y) / weights.dot(x * x)
    residual, variance = weights.dot((y - slope * x).square()), weights.dot(y.square())
    # Equal eigenvalues lie on a level line, and their only variance is rounding.
    r2 = 1 - residual / variance if variance > 1e-20 else torch.ones(())
    return PowerLaw(-float(slope), float(r2), first, last)


def nesum(features: Tensor | Moments | Spectrum) -> float:
    """NESum, the sum of the covariance's eigenvalues over the largest (He and Ozay 2022, ICML).

    ``sum_k lambda_k / lambda_1``: from 1 to D. It is the stable rank of the centred features.

    Raises:
        NoScore: the features are constant.
    """
    values = _spread(features)
    return float(values.sum() / values[0])


def stable_rank(features: Tensor | Moments | Spectrum) -> float:
    """Stable rank ``||Z||_F² / ||Z||_2²`` of features that are not centred (Rudelson and Vershynin 2007).

    From 1 to ``min(N, D)``; a large mean makes it nearly 1.

    Raises:
        NoScore: all features are zero.
    """
    values = spectrum(features).raw
    if not values[0] > 0:
        raise NoScore(_nothing(centre=False))
    return float(values.sum() / values[0])


def participation_ratio(features: Tensor | Moments | Spectrum) -> float:
    """Participation ratio ``(sum_k lambda_k)² / sum_k lambda_k²`` of the covariance's eigenvalues.

    From 1 to D: the number of dimensions that, sharing the variance equally, would have that ratio
    (Gao et al. 2017, bioRxiv 214262).

    Raises:
        NoScore: the features are constant.
    """
    values = _spread(features)
    return float(values.sum() ** 2 / values.square().sum())


def _spread(features: Tensor | Moments | Spectrum) -> Tensor:
    values = spectrum(features).centred
    if not values[0] > 0:
        raise NoScore(_nothing(centre=True))
    # Their scale cancels, but its square could leave the range.
    return values / values[0]


def _nothing(centre: bool) -> str:
    return (
        "all singular values of the features are zero"
        if not centre
        else "the features are constant, so the singular values of the centred features are all zero"
    )


def panel(features: Tensor | Moments | Spectrum, eps: float = 1e-7) -> dict[str, float | str]:
    """All scores of one spectrum by name; a sentence in place of a missing score.

    Example:
        >>> scores = panel(torch.cat([torch.eye(4), -torch.eye(4)]))
        >>> round(float(scores["rankme"]), 3), scores["nesum"]
        (4.0, 4.0)
        >>> str(scores["alpha-req"])[:44]
        'the covariance has 4 eigenvalues above round'
    """
    scores: dict[str, Callable[[Spectrum], float]] = {
        "rankme": lambda z: rankme(z, eps=eps),
        "rankme-centred": lambda z: rankme(z, centre=True, eps=eps),
        "alpha-req": lambda z: alpha_req(z).alpha,
        "nesum": nesum,
        "participation-ratio": participation_ratio,
        "stable-rank": stable_rank,
    }
    try:
        shared = spectrum(features)
    except NoScore as why:
        return dict.fromkeys(scores, str(why))
    found: dict[str, float | str] = {}
    for name, score in scores.items():
        try:
            found[name] = score(shared)
        except NoScore as why:
            found[name] = str(why)
    return found


def too_few(features: Tensor) -> str | None:
    """A sentence if there are too few samples for the width of ``features`` ``(N, D)``, else None."""
    samples, width = features.shape
    if samples >= SAMPLES_PER_DIMENSION * width:
        return None
    return f"{samples} samples are few for {width} dimensions; {SAMPLES_PER_DIMENSION * width} would do"


def rounded(features: Tensor) -> str | None:
    """A sentence if features ``(N, D)`` are or were in half precision, else None."""
    if not features.is_floating_point():
        return None
    values = features[:64].flatten()
    names = {torch.bfloat16: "bfloat16", torch.float16: "float16"}
    if not (values == values.round()).all():
        for dtype, name in names.items():
            if features.dtype == dtype or (values.to(dtype).to(values.dtype) == values).all():
                return f"the features were rounded to {name}, which raises the rank of collapsed ones"
    return None


def no_power_law(fit: PowerLaw) -> str | None:
    """A sentence if a line explains the fitted spectrum badly, else None."""
    if fit.r2 >= STRAIGHT:
        return None
    return f"the spectrum is not a power law (R² {fit.r2:.2f}), so its exponent means little"
