"""Objectives of the spectrum of a batch's embeddings, over all views of its samples together."""

import torch
from torch import Tensor

from selfsup.objectives.correlation import off_diagonal_squares
from selfsup.objectives.distributed import all_reduce_mean, all_reduce_sum, world_size
from selfsup.objectives.precision import check_dimensions, check_floating, check_not_negative, full_precision


@full_precision
def frossl(z: Tensor, weight: float = 1.0) -> Tensor:
    """FroSSL (Skean et al. 2024, arXiv:2310.02903, eq. 4 and algorithm 1).

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


def _check(z: Tensor) -> int:
    """Number of views, at least two, of at least two samples."""
    check_floating(z=z)
    check_dimensions("V N D", z=z)
    if len(z) < 2:
        raise ValueError(f"z must hold at least two views, got {len(z)}")
    if (samples := z.shape[1] * world_size()) < 2:
        raise ValueError(f"z must hold at least two samples, got {samples}")
    return len(z)
