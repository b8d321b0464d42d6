"""Objectives of the spectrum of a batch's embeddings, over all views of its samples together."""

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
from selfsup.objectives.precision import check_dimensions, check_floating, check_not_negative, full_precision


@full_precision
def frossl(z: Tensor, weight: float = 1.0) -> Tensor:
    """FroSSL (Skean et al. 2024, arXiv:2310.02903).

    With U_v the embeddings of view v, each dimension divided by its length over the global batch, C_v =
    U_v^T U_v / D, of trace 1, and U the mean of the views:

        L = sum_v [ log |C_v|^2 + weight * V * D * mean_nd (U_v - U)^2 ]

    with the squared Frobenius norm, whose negative logarithm is the entropy of the spectrum. As in the
    published code for several views, dimensions are not centred; its function for two views, which is
    another, centres them and compares the views with each other.

    Args:
        z: (V, N, D) embeddings of V views.
        weight: of the distance of the views, at least 0.

    Returns:
        Scalar, at least float32, also below 0. 0 where all rows are equal; -V log min(N, D) is the least.

    Raises:
        ValueError: a tensor that is not (V, N, D), not floating or not finite, a negative weight, fewer than
            two views, or fewer than two samples in the global batch.

    >>> z = torch.eye(4).expand(2, 4, 4)
    >>> round(frossl(z).item(), 4)  # -2 log 4
    -2.7726
    """
    views, dimensions = _check(z), z.shape[2]
    check_not_negative(weight=weight)
    # Not below 1e-12, as a dimension may be 0 throughout.
    u = z * all_reduce_sum(z.square().sum(1, keepdim=True)).clamp(min=1e-24).rsqrt()
    # The diagonal is 1 in all dimensions.
    squares = torch.stack([off_diagonal_squares(view) for view in u]) + dimensions
    apart = all_reduce_mean((u - u.mean(0)).square().mean())
    return (squares / dimensions**2).log().sum() + weight * views**2 * dimensions * apart


@full_precision
def mmcr(z: Tensor, lambda_: float = 0.0) -> Tensor:
    """Maximum manifold capacity (MMCR, Yerxa et al. 2023, arXiv:2303.03307).

    With U_n the (V, D) views of sample n, of rows of length 1, c_n their mean, and C the (N, D) means of all
    processes:

        L = lambda_ * mean_n |U_n|_* - |C|_*

    with the nuclear norm, the sum of the singular values. The published code's gradient goes through the
    means of its own process alone and is 1 / W of this one; its settings have a `lambda_` of 0. Where views
    of a sample are linearly dependent, the first term has more than one gradient.

    Args:
        z: (V, N, D) embeddings of V views.
        lambda_: weight of the spread of a sample's views, at least 0.

    Returns:
        Scalar, at least float32, below 0 where `lambda_` is 0. lambda_ sqrt(V) - sqrt(N) where all rows are
        equal; lambda_ sqrt(V) - sqrt(N min(N, D)) is the least.

    Raises:
        ValueError: a tensor that is not (V, N, D), not floating or not finite, a negative weight, fewer than
            two views, or fewer than two samples in the global batch.

    >>> round(mmcr(torch.eye(4).expand(2, 4, 4)).item(), 4)
    -4.0
    """
    _check(z)
    check_not_negative(lambda_=lambda_)
    u = F.normalize(z, dim=2)
    loss = -_nuclear(gather_with_gradient(u.mean(0)))
    if lambda_:
        loss = loss + lambda_ * all_reduce_mean(_nuclear(u.transpose(0, 1)).mean())
    return loss


def _nuclear(x: Tensor) -> Tensor:
    """Sum of the singular values (...) of matrices (..., N, D); not a number where a value is none."""
    # The decomposition would raise an exception.
    unknown = x.detach().sum((-2, -1)) * 0
    return torch.linalg.svdvals(x.nan_to_num(0, 0, 0)).sum(-1) + unknown


def _check(z: Tensor) -> int:
    """Number of views, at least two, of at least two samples."""
    check_floating(z=z)
    check_dimensions("V N D", z=z)
    if len(z) < 2:
        raise ValueError(f"z must hold at least two views, got {len(z)}")
    if (samples := z.shape[1] * world_size()) < 2:
        raise ValueError(f"z must hold at least two samples, got {samples}")
    return len(z)
