"""Objectives that decorrelate the dimensions of an embedding."""

from torch import Tensor

from selfsup.objectives.correlation import off_diagonal_squares
from selfsup.objectives.distributed import all_reduce_mean, all_reduce_sum, world_size
from selfsup.objectives.precision import check_not_negative, check_pair, full_precision


@full_precision
def barlow_twins(z1: Tensor, z2: Tensor, lambda_: float = 0.0051) -> Tensor:
    """Barlow Twins (Zbontar et al. 2021, arXiv:2103.03230, eq. 1 and 2).

    With C = BN(z1)^T BN(z2) / N, where BN standardises each dimension over the global batch (no affine part,
    biased variance, eps 1e-5 as in the published code):

        L = sum_i (C_ii - 1)^2 + lambda_ * sum_{i != j} C_ij^2

    Value and gradient are those of the global batch. The published code sums C over W processes without
    differentiating the sum, so that its gradient is 1/W of this one. LARS is unaffected; a learning rate that
    was tuned there without LARS, such as its .0048 for biases on 16 processes, has to be divided by W.

    Args:
        z1: (N, D) projections of the first views, row i of the same image as row i of z2.
        z2: (N, D) projections of the second views.
        lambda_: weight of the off-diagonal terms, at least 0.

    Returns:
        Scalar, at least float32. D where all rows are equal. For a global batch N <= D it cannot reach 0, as
        the rank of C is too low: see `floors.barlow_twins_least`.

    Raises:
        ValueError: shapes that differ, tensors that are not floating or not finite, a negative weight, fewer
            than two samples in the global batch.

    >>> import torch
    >>> z = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    >>> round(barlow_twins(z, -z).item(), 3)
    8.0
    """
    samples = _check(z1, z2)
    check_not_negative(lambda_=lambda_)
    a, b = _standardise(z1) / samples, _standardise(z2)
    diagonal = all_reduce_sum((a * b).sum(0))
    return (diagonal - 1).square().sum() + lambda_ * off_diagonal_squares(a, b)


@full_precision
def vicreg(
    z1: Tensor, z2: Tensor, invariance: float = 25.0, variance: float = 25.0, covariance: float = 1.0
) -> Tensor:
    """VICReg (Bardes et al. 2022, arXiv:2105.04906, eq. 6).

    With var and cov the unbiased variances and covariances of a view's dimensions over the global batch:

        L = invariance * mean_nd (z1 - z2)^2
          + variance * mean over views and d of max(0, 1 - sqrt(var_d + 1e-4))
          + covariance * sum over views of sum_{i != j} cov_ij^2 / D

    As in the published code, to which the weights 25, 25 and 1 belong, the squared distance is averaged over
    the dimensions and the hinge over the two views; the paper sums both.

    Args:
        z1: (N, D) projections of the first views, row i of the same image as row i of z2.
        z2: (N, D) projections of the second views.
        invariance: weight of the distance between the views, at least 0.
        variance: weight of the hinge that keeps each dimension's standard deviation at 1 or above.
        covariance: weight of the squared covariances.

    Returns:
        Scalar, at least float32. variance * .99 where all rows are equal: 24.75 with the published weights.

    Raises:
        ValueError: shapes that differ, tensors that are not floating or not finite, a negative weight, fewer
            than two samples in the global batch.

    >>> import torch
    >>> round(vicreg(torch.ones(4, 3), torch.ones(4, 3)).item(), 4)
    24.75
    """
    samples = _check(z1, z2)
    check_not_negative(invariance=invariance, variance=variance, covariance=covariance)
    loss = invariance * all_reduce_mean((z1 - z2).square().mean())
    for z in (z1, z2):
        # Divided before it is squared: the sum of squares of a large batch of large values overflows.
        x = _centre(z) / (samples - 1) ** 0.5
        deviation = (all_reduce_sum(x.square().sum(0)) + 1e-4).sqrt()
        loss = loss + variance / 2 * (1 - deviation).relu().mean()
        loss = loss + covariance * off_diagonal_squares(x) / x.shape[1]
    return loss


def _check(z1: Tensor, z2: Tensor) -> int:
    """Samples of the global batch, at least two."""
    check_pair(z1, z2)
    samples = z1.shape[0] * world_size()
    if samples < 2:
        raise ValueError(f"z1 must hold at least two samples, got {samples}")
    return samples


def _centre(z: Tensor) -> Tensor:
    """(N, D) with zero mean over the samples of all processes."""
    return z - all_reduce_mean(z.mean(0))


def _standardise(z: Tensor, eps: float = 1e-5) -> Tensor:
    """(N, D) with zero mean and unit biased variance over the samples of all processes."""
    centred = _centre(z)
    return centred * (all_reduce_mean(centred.square().mean(0)) + eps).rsqrt()
