"""The eigenvalues of features' second moment, which several scores share."""

from functools import cached_property

import torch
from torch import Tensor

from selfsup.evaluation.errors import NoScore
from selfsup.evaluation.features.moments import Moments, batch_moments, double_device, real_matrix

ROUNDING = torch.finfo(torch.float64).eps


class Spectrum:
    """Eigenvalues of the second moment of features, with their mean and without it.

    Each is decomposed when it is first asked for, and once: all scores of one Spectrum share it.

    Args:
        gram: ``Z^T Z`` of features Z ``(N, D)``, or ``Z Z^T``, which has the same eigenvalues.
        scatter: the same of the centred features.
        samples, width: N and D.
        cancelled: squared length that centring took out of ``scatter``, which sets its rounding.
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
        # What is below the rounding of the sums is zero; its root would count as a dimension.
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
        >>> found.samples, found.width
        (4, 4)
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


def leading(features: Tensor | Moments | Spectrum, count: int) -> Tensor:
    """The ``count`` largest eigenvalues of the features' covariance (of 1/N), float64, descending.

    Over the steps of training they show which dimensions are learned when: under Barlow Twins, SimCLR and
    VICReg from small weights they rise one after another (Simon et al. 2023, arXiv:2303.15438).

    Args:
        features: ``(N, D)``, or what :func:`spectrum` takes else.
        count: at most; there are no more than N and D.

    Raises:
        NoScore: as :func:`spectrum`.

    Example:
        >>> leading(torch.tensor([[2.0, 0.0], [-2.0, 0.0], [0.0, 1.0], [0.0, -1.0]]), 16)
        tensor([2.0000, 0.5000], dtype=torch.float64)
    """
    found = spectrum(features)
    return found.centred[:count] / found.samples


def _of_few(features: Tensor) -> Spectrum:
    """Of fewer samples than dimensions: products of samples make the smaller matrix."""
    samples, width = features.shape
    if samples == 0:
        raise NoScore("there are no features")
    rows = features.to(double_device(features), torch.float64)
    mean = rows.mean(dim=0)
    if not rows.isfinite().all():
        raise NoScore("the features are not finite")
    away = rows - mean
    return Spectrum(rows @ rows.t(), away @ away.t(), samples, width, samples * float(mean.dot(mean)))
