"""Objectives that classify: which class or sample a view is of, and whether two views are of one sample."""

from itertools import combinations

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsup.objectives.distributed import (
    all_reduce_mean,
    all_reduce_sum,
    gather_with_gradient,
    rank,
    world_size,
)
from selfsup.objectives.precision import (
    check_dimensions,
    check_floating,
    check_not_negative,
    check_positive,
    check_same_shape,
    full_precision,
)
from selfsup.objectives.relations import same_class


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
    return _cross_entropy(smoothing, logits=logits, index=index)


@full_precision
def cross_entropy(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy of a classifier, with label smoothing (Szegedy et al. 2016, arXiv:1512.00567, sec. 7).

    With C the number of classes and p_n = softmax(logits_n):

        L = mean_n [ -(1 - smoothing) log p_n,label(n) - smoothing / C sum_c log p_nc ]

    Args:
        logits: (N, C).
        labels: (N,) int64, from 0 to C - 1.
        smoothing: share of the label that all classes get alike, from 0 to below 1.

    Returns:
        Scalar, at least float32. log C where all logits are equal.

    Raises:
        ValueError: as of `diet`.

    >>> round(cross_entropy(torch.zeros(3, 10), torch.tensor([5, 9, 0])).exp().item(), 3)
    10.0
    """
    return _cross_entropy(smoothing, logits=logits, labels=labels)


def _cross_entropy(smoothing: float, **named: Tensor) -> Tensor:
    """Of logits (N, C) and numbers of classes (N,), in this order."""
    (_, logits), (name, classes) = named.items()
    check_floating(logits=logits)
    check_dimensions("N C", logits=logits)
    check_not_negative(smoothing=smoothing)
    if smoothing >= 1:
        raise ValueError(f"smoothing must be below 1, got {smoothing}")
    rows, count = logits.shape
    if classes.dtype != torch.int64 or classes.shape != (rows,):
        raise ValueError(
            f"{name} must be int64 of the shape ({rows},), got {classes.dtype} {tuple(classes.shape)}"
        )
    if not rows:
        raise ValueError(f"logits must hold at least one view, got {tuple(logits.shape)}")
    # An accelerator has its own assertion.
    if classes.device.type == "cpu" and not torch.compiler.is_compiling():
        low, high = (int(end) for end in classes.aminmax())
        if low < 0 or high >= count:
            raise ValueError(f"{name} must be from 0 to {count - 1}, got {low if low < 0 else high}")
    return all_reduce_mean(F.cross_entropy(logits, classes, label_smoothing=smoothing))


@full_precision
def view_batch(logits: Tensor) -> Tensor:
    """How far the classes of a sample's other views are from those of its first (arXiv:2503.18371).

    The one-to-many divergence of the view-batch model, with p_v,n = softmax(logits_v,n):

        L = 1 / (V - 1) mean_n sum_{v > 1} KL(p_1,n || p_v,n)

    The first view has its gradient too.

    Args:
        logits: (V, N, C) of V views.

    Returns:
        Scalar, at least float32. 0, the least, where all views have the same classes.

    Raises:
        ValueError: logits that are not (V, N, C), floating and finite, fewer than two views, or no sample.

    >>> round(view_batch(torch.tensor([[[0.0, 0.0]], [[0.0, 1.0]]])).item(), 4)
    0.1201
    """
    check_floating(logits=logits)
    check_dimensions("V N C", logits=logits)
    if len(logits) < 2 or not logits.shape[1]:
        raise ValueError(f"logits must hold at least two views of a sample, got {tuple(logits.shape)}")
    log_p = logits.log_softmax(2)
    return all_reduce_mean((log_p[0].exp() * (log_p[0] - log_p[1:])).sum(2).mean())


@full_precision
def look(z: Tensor, labels: Tensor, k: int = 20, temperature: float = 0.1) -> Tensor:
    """Leave-one-out k-nearest-neighbours loss (LOOK, arXiv:2110.06014).

    With u the rows of z of all processes divided by their length, and N(i) the k rows that are nearest to u_i
    without itself, beside the nearest one of its own class:

        L = -mean_i log( sum_{j in N(i), of i's class} exp(u_i . u_j / temperature)
                         / sum_{j in N(i)} exp(u_i . u_j / temperature) )

    Rows without another of their class are left out of the mean; if all are, L is 0. With k of all rows it is
    the loss of neighbourhood components analysis. The paper looks for neighbours among a queue of a moving
    average's embeddings, here they are of the batch; k and temperature are not verified: as remembered, the
    paper has 400 of 65,536 and .1. That the nearest of the class always counts is ours; without it a sample
    far from its class would have an infinite loss.

    Args:
        z: (N, D) embeddings.
        labels: (N,) int64.
        k: neighbours, at least 1; all others where they are fewer.
        temperature: dimensionless, above 0.

    Returns:
        Scalar, at least float32, at least 0.

    Raises:
        ValueError: shapes that do not match, embeddings that are not floating or not finite, labels that are
            not int64, a k below 1, a temperature that is not above 0, fewer than two samples in the
            global batch.

    >>> z = torch.tensor([[1.0, 0], [1, 0], [0, 1], [0, 1]])
    >>> round(look(z, torch.tensor([0, 0, 1, 1]), k=3, temperature=1.0).item(), 4)
    0.5514
    """
    check_floating(z=z)
    check_dimensions("N D", z=z)
    check_positive(temperature=temperature)
    everyone = len(z) * world_size()
    if everyone < 2:
        raise ValueError(f"z must hold at least two samples over all processes, got {everyone}")
    check_positive(k=k)
    if labels.shape != z.shape[:1]:
        raise ValueError(f"labels must have the shape ({len(z)},), got {tuple(labels.shape)}")
    alike, start = same_class(labels), rank() * len(z)
    alike.diagonal(start).fill_(False)
    local = F.normalize(z, dim=1)
    logits = (local / temperature) @ gather_with_gradient(local).T
    known = logits.detach()
    known.diagonal(start).fill_(-torch.inf)
    hidden = torch.ones_like(alike)
    for nearest in (
        known.topk(min(k, everyone - 1), dim=1),
        known.masked_fill(~alike, -torch.inf).topk(1, dim=1),
    ):
        hidden.scatter_(1, nearest.indices, False)
    found = alike.any(1)
    # A row of nothing but -inf would have no gradient.
    own = logits.masked_fill((hidden | ~alike) & found[:, None], -torch.inf)
    losses = (logits.masked_fill(hidden, -torch.inf).logsumexp(1) - own.logsumexp(1)).where(found, 0)
    count = all_reduce_sum(found.sum().to(z.dtype)).clamp(min=1)
    return all_reduce_sum(losses.sum()) / count


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
