"""Objectives that decorrelate the dimensions of an embedding."""

import torch
from torch import Tensor

from selfsup.objectives.distributed import all_reduce_mean, all_reduce_sum, world_size
from selfsup.objectives.precision import check_dimensions, check_floating, check_same_shape, full_precision


@full_precision
def barlow_twins(z1: Tensor, z2: Tensor, lambda_: float = 0.0051) -> Tensor:
    """Barlow Twins (Zbontar et al. 2021, arXiv:2103.03230, eq. 1 and 2).

    With C = BN(z1)^T BN(z2) / N, where BN standardises each dimension over the global batch (no affine part,
    biased variance, eps 1e-5 as in the published code):

        L = sum_i (C_ii - 1)^2 + lambda_ * sum_{i != j} C_ij^2

    Value and gradient are those of the global batch. The published code sums C over W processes without
    differentiating the sum, so that its gradient is 1/W of this one. LARS does not notice; a learning rate
    that was tuned there without it, such as its .0048 for biases on 16 processes, is to be divided by W.

    Args:
        z1: (N, D) projections of the first views, row i of the same image as row i of z2.
        z2: (N, D) projections of the second views.
        lambda_: weight of the off-diagonal terms.

    Returns:
        Scalar, at least float32. D where all rows are equal. For a global batch N <= D it cannot fall to 0,
        as C then has too low a rank: see `floors.barlow_twins_least`.

    Raises:
        ValueError: shapes that differ, tensors that are not floating, fewer than two samples in the global
            batch.

    >>> z = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    >>> round(barlow_twins(z, -z).item(), 3)
    8.0
    """
    check_floating(z1=z1, z2=z2)
    check_dimensions("N D", z1=z1, z2=z2)
    check_same_shape(z1=z1, z2=z2)
    samples = z1.shape[0] * world_size()
    if samples < 2:
        raise ValueError(f"z1 must hold at least two samples, as it is standardised over them, got {samples}")

    a, b = _standardise(torch.stack([z1, z2]))
    correlation = all_reduce_sum((a / samples).T @ b)
    diagonal = correlation.diagonal().clone()
    # Behind autograd's back: the sum of squares then has the gradient of the off-diagonal elements alone,
    # without another D x D matrix and without the cancellation in ||C||^2 - ||diag C||^2.
    correlation.detach().diagonal().zero_()
    # Row by row, as float32 loses three digits in a single running sum of D^2 squares.
    off_diagonal = torch.linalg.vector_norm(correlation, dim=1).square().sum()
    return (diagonal - 1).square().sum() + lambda_ * off_diagonal


def _standardise(z: Tensor, eps: float = 1e-5) -> Tensor:
    """(views, N, D) with zero mean and unit biased variance over the samples of all processes."""
    centred = z - all_reduce_mean(z.mean(1, keepdim=True))
    variance = all_reduce_mean(centred.square().mean(1, keepdim=True))
    return centred * (variance + eps).rsqrt()
