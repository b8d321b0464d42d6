"""Objectives that predict one view's embedding from another's, without anything to tell it from."""

import torch.nn.functional as F
from torch import Tensor

from selfsup.objectives.distributed import all_reduce_mean
from selfsup.objectives.precision import (
    check_dimensions,
    check_floating,
    check_same_shape,
    full_precision,
)


@full_precision
def byol(prediction: Tensor, target: Tensor) -> Tensor:
    """BYOL's squared distance of unit vectors (Grill et al. 2020, arXiv:2006.07733, eq. 2), of one direction.

        L = mean_n | p_n / |p_n| - t_n / |t_n| |^2 = 2 - 2 mean_n cos(p_n, t_n)

    The paper's loss is the sum of both directions.

    Args:
        prediction: (N, D) predictions from the first views.
        target: (N, D) projections of the other views by the teacher; no gradient reaches them.

    Returns:
        Scalar, at least float32, from 0 to 4. 0 where all rows are equal, which is also the least.

    Raises:
        ValueError: shapes that differ, or tensors that are empty, not floating or not finite.

    >>> import torch
    >>> byol(torch.eye(3), -torch.eye(3)).item()
    4.0
    """
    return 2 - 2 * _mean_cosine(prediction, target)


@full_precision
def simsiam(prediction: Tensor, target: Tensor) -> Tensor:
    """SimSiam's negative cosine (Chen and He 2021, arXiv:2011.10566, eq. 1), of one direction.

        L = -mean_n cos(p_n, z_n)

    The paper's loss is the mean of both directions. It is that of `byol` halved, less 1.

    Args:
        prediction: (N, D) predictions from the first views.
        target: (N, D) projections of the other views by the same network; no gradient reaches them.

    Returns:
        Scalar, at least float32, from -1 to 1. -1 where all rows are equal, which is also the least.

    Raises:
        ValueError: shapes that differ, or tensors that are empty, not floating or not finite.

    >>> import torch
    >>> simsiam(torch.eye(3), torch.eye(3)).item()
    -1.0
    """
    return -_mean_cosine(prediction, target)


def _mean_cosine(prediction: Tensor, target: Tensor) -> Tensor:
    """Of rows (N, D) and targets without a gradient, over the samples of all processes."""
    check_floating(prediction=prediction, target=target)
    check_dimensions("N D", prediction=prediction, target=target)
    check_same_shape(prediction=prediction, target=target)
    if not len(prediction):
        raise ValueError("prediction must hold at least one sample, got none")
    return all_reduce_mean(F.cosine_similarity(prediction, target.detach(), dim=1).mean())
