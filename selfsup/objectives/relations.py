"""Objectives of how samples relate: to others as a teacher sees it, or because somebody said so."""

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsup.objectives.distributed import (
    all_reduce_mean,
    all_reduce_sum,
    gather,
    gather_with_gradient,
    rank,
    world_size,
)
from selfsup.objectives.precision import (
    check_dimensions,
    check_floating,
    check_not_negative,
    check_positive,
    check_queue,
    full_precision,
)


@full_precision
def ressl(
    query: Tensor,
    key: Tensor,
    queue: Tensor,
    student_temperature: float = 0.1,
    teacher_temperature: float = 0.04,
) -> Tensor:
    """Relational loss of ReSSL (Zheng et al. 2021, arXiv:2107.09282).

    With q, k and m_j the rows of query, key and queue divided by their length:

        L = -mean_n sum_j softmax_j(k_n . m_j / teacher_temperature)
                          log softmax_j(q_n . m_j / student_temperature)

    Keys and queue have no gradient. The paper adds the keys to the queue after this call, all processes to
    the same queue; no row is a positive.

    Args:
        query: (N, D) embeddings of strongly changed views.
        key: (N, D) the teacher's embeddings of weakly changed views of the same images.
        queue: (K, D) earlier keys of any images.
        student_temperature: dimensionless, above 0.
        teacher_temperature: dimensionless, above 0, and below the student's, or all becomes alike.

    Returns:
        Scalar, at least float32. log K where all rows are equal; the least is the teacher's mean entropy.

    Raises:
        ValueError: shapes that do not match, tensors that are empty, not floating or not finite, a
            temperature that is not above 0.

    >>> import torch
    >>> z = torch.eye(4)
    >>> round(ressl(z, z, z).item(), 4)
    0.0001
    """
    check_queue(queue, query=query, key=key)
    check_positive(student_temperature=student_temperature, teacher_temperature=teacher_temperature)
    rows = F.normalize(queue.detach(), dim=1).T
    targets = (F.normalize(key.detach(), dim=1) @ rows / teacher_temperature).softmax(1)
    logits = (F.normalize(query, dim=1) / student_temperature) @ rows
    return all_reduce_mean(F.cross_entropy(logits, targets))


@full_precision
def sup_con(
    z: Tensor, positives: Tensor, temperature: float = 0.1, base_temperature: float | None = None
) -> Tensor:
    """Supervised contrastive loss of SupCon (Khosla et al. 2020, arXiv:2004.11362, eq. 2, "out").

    With u_1 ... u_M the rows of all V views and of all processes divided by their length, and G_ip how much
    the sample of row p is a positive of row i's:

        L = -temperature / base_temperature
            mean_i [ sum_{p != i} G_ip log softmax_{k != i}(u_i . u_k / temperature)_p / sum_{p != i} G_ip ]

    A sample is always a positive of itself, which means its other views, with weight 1. Rows without a
    positive, such as the one view of a class's only sample, are left out of the mean; if all are, L is 0.
    If samples are positives of themselves alone, two views give `nt_xent`. The published code has a base
    temperature of .07: a factor that acts as one on the learning rate does.

    Args:
        z: (V, N, D) embeddings of V views, row n of each of the same sample.
        positives: (N, W N) of this process's samples to those of all W processes in the order of their ranks,
            as of `same_class`: bool, or weights of at least 0.
        temperature: dimensionless, above 0.
        base_temperature: above 0; None for the temperature, which is a factor of 1.

    Returns:
        Scalar, at least float32. log(M - 1) where all rows are equal and the factor is 1.

    Raises:
        ValueError: shapes that do not match, embeddings that are not floating or not finite, positives that
            are neither bool nor floating or (on a CPU) below 0, a temperature that is not above 0, fewer than
            two samples in the global batch.

    >>> z = torch.eye(4)[None]
    >>> round(sup_con(z, same_class(torch.tensor([0, 0, 1, 1])), temperature=0.5).item(), 4)
    1.0986
    """
    check_floating(z=z)
    check_dimensions("V N D", z=z)
    base = temperature if base_temperature is None else base_temperature
    check_positive(temperature=temperature, base_temperature=base)
    views, samples, _ = z.shape
    everyone = samples * world_size()
    if not views or everyone < 2:
        raise ValueError(f"z must hold at least two samples over all processes, got {everyone}")
    if positives.shape != (samples, everyone):
        raise ValueError(
            f"positives must have the shape ({samples}, {everyone}), got {tuple(positives.shape)}"
        )
    weights = _with_themselves(positives, z.dtype)

    local = F.normalize(z.transpose(0, 1), dim=2)
    gathered = gather_with_gradient(local.contiguous())
    logits = (local.flatten(0, 1) / temperature) @ gathered.flatten(0, 1).T
    # Hidden from autograd, as in `nt_xent`.
    logits.detach().diagonal(rank() * len(logits)).fill_(-torch.inf)
    # The positives' similarities, added up as vectors, without a second matrix of all pairs of views.
    towards = (weights @ gathered.sum(1)).unsqueeze(1) - local
    total = (weights.sum(1) * views - 1).unsqueeze(1).expand(samples, views)
    found = total > 0
    agreement = (local * towards).sum(2) / total.where(found, 1) / temperature
    losses = (logits.logsumexp(1).view_as(agreement) - agreement).where(found, 0)
    count = all_reduce_sum(found.sum().to(z.dtype)).clamp(min=1)
    return temperature / base * all_reduce_sum(losses.sum()) / count


def same_class(labels: Tensor) -> Tensor:
    """Which samples are of one class: the positives of `sup_con`.

    Args:
        labels: (N,) int64 of this process's samples.

    Returns:
        bool (N, W N), to the samples of all W processes in the order of their ranks.

    Raises:
        ValueError: labels that are not int64 (N,).

    >>> same_class(torch.tensor([0, 1, 0])).int().tolist()
    [[1, 0, 1], [0, 1, 0], [1, 0, 1]]
    """
    if labels.dtype != torch.int64 or labels.ndim != 1:
        raise ValueError(f"labels must be int64 of the shape (N), got {labels.dtype} {tuple(labels.shape)}")
    return labels[:, None] == gather(labels)


def _with_themselves(positives: Tensor, dtype: torch.dtype) -> Tensor:
    """The positives as weights, with a weight of 1 of each of this process's samples for itself."""
    if positives.dtype != torch.bool:
        check_floating(positives=positives)
        if positives.device.type == "cpu" and not torch.compiler.is_compiling():
            check_not_negative(**{"the least of positives": float(positives.min())})
    weights = positives.to(dtype, copy=True)
    weights.diagonal(rank() * len(positives)).fill_(1)
    return weights
