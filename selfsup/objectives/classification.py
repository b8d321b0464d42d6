"""Objectives that classify: which sample a view is of, and whether two views are of one sample."""

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsup.objectives.distributed import all_reduce_mean
from selfsup.objectives.precision import check_dimensions, check_floating, check_not_negative, full_precision


@full_precision
def diet(logits: Tensor, index: Tensor, smoothing: float = 0.8) -> Tensor:
    """DIET: every sample is a class of its own (Balestriero 2023, arXiv:2302.10260).

    With S the number of samples and p_n = softmax(logits_n):

        L = mean_n [ -(1 - smoothing) log p_n,index(n) - smoothing / S sum_s log p_ns ]

    Args:
        logits: (N, S) of N views, one for each of the S samples that there are.
        index: (N,) int64, which sample a view is of.
        smoothing: share of the label that all samples get alike, from 0 to below 1.

    Returns:
        Scalar, at least float32. log S where all logits are equal; at least `floors.diet_least(S)`.

    Raises:
        ValueError: shapes that do not match, logits that are not floating or not finite, an index that is not
            int64 or (on a CPU) out of range, a smoothing out of range.

    >>> round(diet(torch.zeros(3, 100), torch.tensor([5, 99, 0])).exp().item(), 3)
    100.0
    """
    check_floating(logits=logits)
    check_dimensions("N S", logits=logits)
    check_not_negative(smoothing=smoothing)
    if smoothing >= 1:
        raise ValueError(f"smoothing must be below 1, got {smoothing}")
    views, samples = logits.shape
    if index.dtype != torch.int64 or index.shape != (views,):
        raise ValueError(
            f"index must be int64 of the shape ({views},), got {index.dtype} {tuple(index.shape)}"
        )
    if not views:
        raise ValueError(f"logits must hold at least one view, got {tuple(logits.shape)}")
    # An accelerator has its own assertion.
    if index.device.type == "cpu" and not torch.compiler.is_compiling():
        low, high = (int(end) for end in index.aminmax())
        if low < 0 or high >= samples:
            raise ValueError(f"index must be from 0 to {samples - 1}, got {low if low < 0 else high}")
    return all_reduce_mean(F.cross_entropy(logits, index, label_smoothing=smoothing))
