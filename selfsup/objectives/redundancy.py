"""Objectives that decorrelate the dimensions of an embedding."""

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsup.objectives.correlation import off_diagonal_squares
from selfsup.objectives.distributed import (
    all_reduce_mean,
    all_reduce_sum,
    gather_with_gradient,
    world_size,
)
from selfsup.objectives.precision import (
    check_dimensions,
    check_floating,
    check_not_negative,
    check_pair,
    check_same_shape,
    full_precision,
)


@full_precision
def barlow_twins(z1: Tensor, z2: Tensor, lambda_: float = 0.0051, positives: Tensor | None = None) -> Tensor:
    """Barlow Twins (Zbontar et al. 2021, arXiv:2103.03230, eq. 1 and 2).

    With C = BN(z1)^T BN(z2) / N, where BN standardises each dimension over the global batch (no affine part,
    biased variance, eps 1e-5 as in the published code):

        L = sum_i (C_ii - 1)^2 + lambda_ * sum_{i != j} C_ij^2

    Value and gradient are those of the global batch. The published code sums C over W processes without
    differentiating the sum, so that its gradient is 1/W of this one. LARS is unaffected; a learning rate that
    was tuned there without LARS, such as its .0048 for biases on 16 processes, has to be divided by W.

    With a relation G of the samples, C = BN(z1)^T G BN(z2) / sum G (after PAL, Cabannes et al. 2023,
    arXiv:2303.15256, whose normalisation is another); G = 1 is the original.

    Args:
        z1: (N, D) projections of the first views, row i of the same image as row i of z2.
        z2: (N, D) projections of the second views.
        lambda_: weight of the off-diagonal terms, at least 0.
        positives: (N, W N), which samples of all W processes belong with those of this one, each with
            itself too; None for each with itself alone.

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
    a, b = _standardise(z1), _standardise(z2)
    if positives is None:
        a = a / samples
    else:
        pairs, b = _related(positives, b)
        a = a / all_reduce_sum(pairs.sum())
    diagonal = all_reduce_sum((a * b).sum(0))
    return (diagonal - 1).square().sum() + lambda_ * off_diagonal_squares(a, b)


@full_precision
def mixed_barlow(
    z1: Tensor, z2: Tensor, partner: Tensor, mixed: Tensor, share: Tensor, eps: float = 1e-5
) -> Tensor:
    """Regulariser of Mixed Barlow Twins (Bandara et al. 2023, arXiv:2312.02151).

    An image that is a mixture of two should correlate with the views as the mixture of their embeddings does.
    With a, b, p and m the rows of z1, z2, partner and mixed, standardised over the global batch as in
    `barlow_twins`, and s the shares:

        L = |m^T a / N - (s a + (1 - s) p)^T a / N|^2 + |m^T b / N - (s a + (1 - s) p)^T b / N|^2

    with the squared Frobenius norms of the differences of correlation matrices. All have a gradient, also the
    mixtures of embeddings. The paper adds it to `barlow_twins`, weighed by `lambda_` and a factor, 2 to 4 in
    the published runs. Its code for small images standardises by the unbiased deviation without eps, which
    makes it ((N - 1) / N)^2 times this; its code for ImageNet halves it, and has b for a in the mixture
    of the second difference.

    Args:
        z1: (N, D) projections of the first views.
        z2: (N, D) projections of the second views of the same images.
        partner: (N, D) rows of z2 in the order in which they were mixed: a permutation of the global batch.
        mixed: (N, D) projections of the images share * view 1 + (1 - share) * partner's view 2.
        share: (N) what view 1 has of the mixture, from 0 to 1.
        eps: added to the variances, at least 0.

    Returns:
        Scalar, at least float32. 0 where all rows are equal, and where mixed is the mixture of embeddings.

    Raises:
        ValueError: shapes that do not match, tensors that are not floating or not finite, a negative eps,
            fewer than two samples in the global batch.

    >>> import torch
    >>> z = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    >>> round(mixed_barlow(z, z, z, -z, torch.ones(4)).item(), 3)
    16.0
    """
    samples = _check(z1, z2)
    check_floating(partner=partner, mixed=mixed, share=share)
    check_same_shape(z1=z1, partner=partner, mixed=mixed)
    check_dimensions("N", share=share)
    if len(share) != len(z1):
        raise ValueError(f"share must hold one number a sample, {len(z1)}, got {len(share)}")
    check_not_negative(eps=eps)
    a, b, p, m = (_standardise(z, eps) for z in (z1, z2, partner, mixed))
    share = share.unsqueeze(1)
    # Both matrices of a difference have the same second factor, so that one product is enough.
    apart = (m - share * a - (1 - share) * p) / samples
    losses = [
        off_diagonal_squares(apart, view) + all_reduce_sum((apart * view).sum(0)).square().sum()
        for view in (a, b)
    ]
    return losses[0] + losses[1]


@full_precision
def vicreg(
    z1: Tensor,
    z2: Tensor,
    invariance: float = 25.0,
    variance: float = 25.0,
    covariance: float = 1.0,
    positives: Tensor | None = None,
) -> Tensor:
    """VICReg (Bardes et al. 2022, arXiv:2105.04906, eq. 6).

    With var and cov the unbiased variances and covariances of a view's dimensions over the global batch:

        L = invariance * mean_nd (z1 - z2)^2
          + variance * mean over views and d of max(0, 1 - sqrt(var_d + 1e-4))
          + covariance * sum over views of sum_{i != j} cov_ij^2 / D

    As in the published code, to which the weights 25, 25 and 1 belong, the squared distance is averaged over
    the dimensions and the hinge over the two views; the paper sums both. With a relation G of the samples,
    the first term is the mean of G_ij |z1_i - z2_j|^2 / D over its pairs, those of G_ij = 1 (PAL, Cabannes et
    al. 2023, arXiv:2303.15256).

    Args:
        z1: (N, D) projections of the first views, row i of the same image as row i of z2.
        z2: (N, D) projections of the second views.
        invariance: weight of the distance between the views, at least 0.
        variance: weight of the hinge that keeps each dimension's standard deviation at 1 or above.
        covariance: weight of the squared covariances.
        positives: (N, W N), which samples of all W processes belong with those of this one, each with
            itself too; None for each with itself alone.

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
    if positives is None:
        apart = all_reduce_mean((z1 - z2).square().mean())
    else:
        pairs, others = _related(positives, z2)
        lengths = _related(positives, z2.square().mean(1, keepdim=True))[1][:, 0]
        each = pairs * z1.square().mean(1) - 2 * (z1 * others).mean(1) + lengths
        apart = all_reduce_sum(each.sum()) / all_reduce_sum(pairs.sum())
    loss = invariance * apart
    for z in (z1, z2):
        # Divided before it is squared: the sum of squares of a large batch of large values overflows.
        x = _centre(z) / (samples - 1) ** 0.5
        deviation = (all_reduce_sum(x.square().sum(0)) + 1e-4).sqrt()
        loss = loss + variance / 2 * (1 - deviation).relu().mean()
        loss = loss + covariance * off_diagonal_squares(x) / x.shape[1]
    return loss


@full_precision
def tico(z1: Tensor, z2: Tensor, moment: Tensor, rho: float = 8.0, beta: float = 0.9) -> Tensor:
    """TiCo (Zhu et al. 2022, arXiv:2206.10698).

    With u and v the rows of z1 and z2 of all processes divided by their length, and `moment` the running mean
    of the second moments of earlier batches:

        C = beta * moment + (1 - beta) * mean_n u_n u_n^T
        L = 1 - mean_n u_n . v_n + rho * mean_n u_n^T C u_n

    C has no gradient, nor has z2, the embeddings of a moving average. Afterwards the second moment of the
    batch is to be brought into the running mean (see `tico_moment`), which makes it C.

    Args:
        z1: (N, D) embeddings of the first views.
        z2: (N, D) the teacher's embeddings of the other views of the same images.
        moment: (D, D) zeros at first.
        rho: weight of the second term, at least 0: 8 on ImageNet in the paper, 20 in its pseudocode.
        beta: from 0 to 1, what is kept of the running mean.

    Returns:
        Scalar, at least float32. rho where all rows are equal, and were in earlier batches.

    Raises:
        ValueError: shapes that do not match, tensors that are empty, not floating or not finite, a negative
            rho, a beta that is not from 0 to 1.

    >>> z = torch.eye(4)
    >>> round(tico(z, z, torch.zeros(4, 4)).item(), 4)
    0.2
    """
    check_pair(z1, z2)
    check_floating(moment=moment)
    if tuple(moment.shape) != (z1.shape[1], z1.shape[1]):
        raise ValueError(f"moment must have the shape {(z1.shape[1],) * 2}, got {tuple(moment.shape)}")
    check_not_negative(rho=rho)
    if not 0 <= beta <= 1:
        raise ValueError(f"beta must be from 0 to 1, got {beta}")
    running = torch.lerp(tico_moment(z1), moment.detach(), beta)
    u, v = F.normalize(z1, dim=1), F.normalize(z2.detach(), dim=1)
    return all_reduce_mean(1 - (u * v).sum(1).mean() + rho * ((u @ running) * u).sum(1).mean())


@torch.no_grad()
@full_precision
def tico_moment(z: Tensor) -> Tensor:
    """Second moment of a batch's directions, over all processes, for the running mean that `tico` takes.

    Args:
        z: (N, D) embeddings.

    Returns:
        (D, D) mean_n u_n u_n^T of the rows divided by their length, without a gradient. Its trace is 1.

    Raises:
        ValueError: a tensor that is empty, not (N, D), not floating or not finite.

    >>> tico_moment(torch.tensor([[3.0, 0.0], [0.0, -2.0]]))
    tensor([[0.5000, 0.0000],
            [0.0000, 0.5000]])
    """
    check_floating(z=z)
    check_dimensions("N D", z=z)
    if not len(z):
        raise ValueError("z must hold at least one sample, got none")
    u = F.normalize(z, dim=1)
    return all_reduce_mean(u.T @ u / len(u))


def _related(positives: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """How many rows of z (of all processes) belong with each of this one's, (N,), and their sum, (N, D)."""
    if positives.shape != (len(z), len(z) * world_size()):
        raise ValueError(
            f"positives must be ({len(z)}, {len(z) * world_size()}), a row for each sample of this process "
            f"and a column for each of all, got {tuple(positives.shape)}"
        )
    relation = positives.to(z.dtype)
    return relation.sum(1), relation @ gather_with_gradient(z)


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
