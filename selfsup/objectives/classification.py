"""Objectives that classify: which sample a view is of, and whether two views are of one sample."""

from itertools import combinations

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsup.objectives.distributed import all_reduce_mean, gather_with_gradient, rank, world_size
from selfsup.objectives.precision import (
    check_dimensions,
    check_floating,
    check_not_negative,
    check_positive,
    check_same_shape,
    full_precision,
)


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


@full_precision
def relational(alike: Tensor, unlike: Tensor, gamma: float = 2.0, alpha: float = 0.5) -> Tensor:
    """Whether two views are of one sample: relational reasoning (Patacchiola et al. 2020, arXiv:2006.05849).

    With p = sigmoid(score) of the pairs of one sample, and 1 - sigmoid(score) of those of two:

        L = -alpha mean (1 - p)^gamma log p

    The paper's text has the plain cross-entropy, which is gamma = 0 and alpha = 1.

    Args:
        alike: (...) scores of pairs of views of one sample, as of `relation_pairs`.
        unlike: (...) as many scores of pairs of two samples.
        gamma: how much less the pairs count that are sure, at least 0.
        alpha: a factor, above 0.

    Returns:
        Scalar, at least float32. `floors.relational(gamma, alpha)`, .0866 by default, where all scores are 0.

    Raises:
        ValueError: shapes that differ, tensors that are not floating or not finite or empty, a setting out of
            range.

    >>> round(relational(torch.zeros(5), torch.zeros(5)).item(), 4)
    0.0866
    """
    check_floating(alike=alike, unlike=unlike)
    check_same_shape(alike=alike, unlike=unlike)
    check_not_negative(gamma=gamma)
    check_positive(alpha=alpha)
    if not alike.numel():
        raise ValueError(f"alike must hold at least one pair, got {tuple(alike.shape)}")
    wrong = torch.stack([-alike, unlike])
    return alpha * all_reduce_mean((wrong.sigmoid() ** gamma * F.softplus(wrong)).mean())


def relation_pairs(z: Tensor) -> tuple[Tensor, Tensor]:
    """Pairs of views of one sample and of two, for `relational` (arXiv:2006.05849, algorithm 1).

    All P = V (V - 1) / 2 pairs of two of the V views, each once with every sample's own other view, and once
    with another sample's: the one s rows before in the batch of all processes, s = 1, 2, ... from pair to
    pair and from 1 again when it reaches the size of the batch.

    Args:
        z: (V, N, D) features of V views.

    Returns:
        alike: (P, N, 2 D), the two views' features behind one another; with their gradient.
        unlike: as many, of two samples.

    Raises:
        ValueError: a tensor that is not floating, or not (V, N, D), fewer than two views, or fewer than two
            samples in the global batch.

    >>> alike, unlike = relation_pairs(torch.tensor([[[1.0], [2.0]], [[10.0], [20.0]]]))
    >>> alike.tolist(), unlike.tolist()
    ([[[1.0, 10.0], [2.0, 20.0]]], [[[1.0, 20.0], [2.0, 10.0]]])
    """
    check_floating(z=z)
    check_dimensions("V N D", z=z)
    views, samples, _ = z.shape
    everyone = samples * world_size()
    if views < 2 or everyone < 2:
        raise ValueError(f"z must hold at least two views of two samples, got {views} of {everyone}")
    gathered = gather_with_gradient(z.transpose(0, 1).contiguous())
    start = rank() * samples
    alike, unlike = [], []
    for number, (one, other) in enumerate(combinations(range(views), 2)):
        another = gathered[:, other].roll(number % (everyone - 1) + 1, 0)[start : start + samples]
        alike.append(torch.cat([z[one], z[other]], dim=1))
        unlike.append(torch.cat([z[one], another], dim=1))
    return torch.stack(alike), torch.stack(unlike)
