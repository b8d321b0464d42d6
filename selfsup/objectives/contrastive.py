"""Objectives that distinguish a sample's other view from all other samples."""

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsup.objectives.distributed import (
    all_reduce_mean,
    gather,
    gather_with_gradient,
    rank,
    world_size,
)
from selfsup.objectives.precision import (
    check_dimensions,
    check_floating,
    check_pair,
    check_positive,
    check_queue,
    check_same_shape,
    full_precision,
)


@full_precision
def nt_xent(z1: Tensor, z2: Tensor, temperature: float = 0.1) -> Tensor:
    """Normalised temperature-scaled cross-entropy of SimCLR (Chen et al. 2020, arXiv:2002.05709, eq. 1).

    With u_1 ... u_2N the rows of z1 and z2 of all processes divided by their length and p(i) the other
    view of i:

        L = mean_i [ log sum_{k != i} exp(u_i . u_k / temperature) - u_i . u_p(i) / temperature ]

    The mean over the 2N anchors is the paper's; its published code adds those of the two views,
    which is twice this.

    Args:
        z1: (N, D) projections of the first views, row i of the same image as row i of z2.
        z2: (N, D) projections of the second views.
        temperature: dimensionless, above 0.

    Returns:
        Scalar, at least float32. log(2N - 1) where all rows are equal.

    Raises:
        ValueError: shapes that differ, tensors that are not floating or not finite, a temperature that is not
            above 0, fewer than two samples in the global batch.

    >>> z = torch.eye(4)
    >>> round(nt_xent(z, z, temperature=0.5).item(), 4)
    0.5944
    """
    check_pair(z1, z2)
    check_positive(temperature=temperature)
    _check_several(z1=z1)
    logits, start = _similarities(z1, z2, temperature)
    other_view = torch.arange(len(logits), device=z1.device).roll(len(z1)) + start
    return all_reduce_mean(F.cross_entropy(logits, other_view))


@full_precision
def dcl(z1: Tensor, z2: Tensor, temperature: float = 0.1, sigma: float | None = None) -> Tensor:
    """Decoupled contrastive loss (Yeh et al. 2022, arXiv:2110.06848): `nt_xent` whose positives do not repel.

    With u_1 ... u_2N the rows of z1 and z2 of all processes divided by their length and p(i) the other
    view of i:

        L = mean_i [ log sum_{k != i, p(i)} exp(u_i . u_k / temperature) - w_i u_i . u_p(i) / temperature ]
        w_i = 2 - exp(u_i . u_p(i) / sigma) / mean_j exp(u_j . u_p(j) / sigma), or 1 without a sigma

    The weights, of the paper's DCLW, have no gradient, and their mean is over all processes. The paper adds
    up the anchors, of which this is the mean.

    Args:
        z1: (N, D) projections of the first views, row i of the same image as row i of z2.
        z2: (N, D) projections of the second views.
        temperature: dimensionless, above 0.
        sigma: above 0, .5 in the paper; the lower, the more weight have positives that are far apart. None
            weighs all alike.

    Returns:
        Scalar, at least float32, also below 0. log(2N - 2) where all rows are equal.

    Raises:
        ValueError: shapes that differ, tensors that are not floating or not finite, a temperature or a sigma
            that is not above 0, fewer than two samples in the global batch.

    >>> z = torch.eye(4)
    >>> round(dcl(z, z, temperature=0.5).item(), 4)
    -0.2082
    """
    check_pair(z1, z2)
    check_positive(temperature=temperature)
    _check_several(z1=z1)
    logits, start = _similarities(z1, z2, temperature)
    for own, column in zip(logits.detach().chunk(2), (start + len(z1), start), strict=True):
        own.diagonal(column).fill_(-torch.inf)
    positive = F.cosine_similarity(z1, z2, dim=1)
    agreement = positive / temperature
    if sigma is not None:
        check_positive(sigma=sigma)
        weights = (positive.detach() / sigma).exp()
        agreement = agreement * (2 - weights / all_reduce_mean(weights.mean()))
    return all_reduce_mean(logits.logsumexp(1).mean() - agreement.mean())


def _similarities(z1: Tensor, z2: Tensor, temperature: float) -> tuple[Tensor, int]:
    """Logits (2N / W, 2N) of this process's views to all, -inf to themselves, and their own first column."""
    local = F.normalize(torch.cat([z1, z2]), dim=1)
    start = rank() * len(local)
    logits = (local / temperature) @ gather_with_gradient(local).T
    # Hidden from autograd: a softmax passes no gradient to an entry of -inf, so there is none to stop, and
    # the backward pass needs no copy of the matrix.
    logits.detach().diagonal(start).fill_(-torch.inf)
    return logits, start


@full_precision
def moco(query: Tensor, key: Tensor, queue: Tensor, temperature: float = 0.2) -> Tensor:
    """InfoNCE against a queue of MoCo (He et al. 2020, arXiv:1911.05722, eq. 1; v2, arXiv:2003.04297).

    With q, k and m_j the rows of query, key and queue divided by their length:

        L = mean_n [ log( exp(q_n . k_n / temperature) + sum_j exp(q_n . m_j / temperature) )
                     - q_n . k_n / temperature ]

    Keys have no gradient. The paper adds them to the queue after this call, all processes to the same queue.
    Its temperature is .07 in the first version and .2 in the second.

    Args:
        query: (N, D) embeddings of the first views.
        key: (N, D) the teacher's embeddings of the other views of the same images.
        queue: (K, D) earlier keys of any images.
        temperature: dimensionless, above 0.

    Returns:
        Scalar, at least float32. log(K + 1) where all rows are equal.

    Raises:
        ValueError: shapes that do not match, tensors that are empty, not floating or not finite, or a
            temperature that is not above 0.

    >>> z = torch.eye(3)
    >>> round(moco(z, z, -z).item(), 4)
    0.0134
    """
    check_queue(queue, query=query, key=key)
    check_positive(temperature=temperature)
    queries = F.normalize(query, dim=1)
    positive = (queries * F.normalize(key.detach(), dim=1)).sum(1) / temperature
    negatives = (queries / temperature) @ F.normalize(queue.detach(), dim=1).T
    # Not concatenated, which would copy N K similarities.
    return all_reduce_mean((torch.logaddexp(positive, negatives.logsumexp(1)) - positive).mean())


@full_precision
def moco_v3(query: Tensor, key: Tensor, temperature: float = 0.2) -> Tensor:
    """InfoNCE against the other images of the batch, of MoCo v3 (Chen et al. 2021, arXiv:2104.02057, alg. 1).

    With q and k the rows of query and key, of all processes, divided by their length:

        L = 2 temperature mean_n [ log sum_m exp(q_n . k_m / temperature) - q_n . k_n / temperature ]

    Of one direction; the paper's loss is the sum of both. Keys have no gradient. The factor keeps the
    gradient's length whatever the temperature.

    Args:
        query: (N, D) predictions from the first views.
        key: (N, D) the teacher's projections of the other views of the same images.
        temperature: dimensionless, above 0.

    Returns:
        Scalar, at least float32. 2 temperature log N where all rows are equal.

    Raises:
        ValueError: shapes that differ, tensors that are not floating or not finite, a temperature that is not
            above 0, fewer than two samples in the global batch.

    >>> z = torch.eye(4)
    >>> round(moco_v3(z, z, temperature=0.5).item(), 4)
    0.3408
    """
    check_floating(query=query, key=key)
    check_dimensions("N D", query=query, key=key)
    check_same_shape(query=query, key=key)
    check_positive(temperature=temperature)
    _check_several(query=query)
    keys = gather(F.normalize(key.detach(), dim=1))
    logits = (F.normalize(query, dim=1) / temperature) @ keys.T
    return 2 * temperature * all_reduce_mean(F.cross_entropy(logits, _own(logits)))


@full_precision
def nnclr(prediction: Tensor, projection: Tensor, queue: Tensor, temperature: float = 0.1) -> Tensor:
    """InfoNCE of nearest neighbours (NNCLR, Dwibedi et al. 2021, arXiv:2104.14548, algorithm 1).

    With p the rows of prediction, of all processes, divided by their length, and m_n the unit row of the
    queue that is nearest to row n of projection:

        L = mean_n [ log sum_i exp(m_n . p_i / temperature) - m_n . p_n / temperature ]

    Of one direction; the paper's loss is the mean of both. Neighbours have no gradient. Afterwards, the
    projections of one view, of all processes, are to be added to the queue: before, each would be its own
    neighbour.

    Args:
        prediction: (N, D) predictions from the other views.
        projection: (N, D) projections of the first views, row n of the same image as row n of prediction.
        queue: (K, D) earlier projections of any images.
        temperature: dimensionless, above 0.

    Returns:
        Scalar, at least float32. log N where all predictions are equal.

    Raises:
        ValueError: shapes that do not match, tensors that are empty, not floating or not finite, a
            temperature that is not above 0, fewer than two samples in the global batch.

    >>> z = torch.eye(4)
    >>> round(nnclr(z, 5 * z, z, temperature=0.5).item(), 4)
    0.3408
    """
    check_queue(queue, prediction=prediction, projection=projection)
    check_positive(temperature=temperature)
    _check_several(prediction=prediction)
    rows = F.normalize(queue.detach(), dim=1)
    neighbours = rows[(projection.detach() @ rows.T).argmax(1)]
    logits = (neighbours / temperature) @ gather_with_gradient(F.normalize(prediction, dim=1)).T
    return all_reduce_mean(F.cross_entropy(logits, _own(logits)))


def _own(logits: Tensor) -> Tensor:
    """Columns of the samples (N,) of this process among those of all."""
    return torch.arange(len(logits), device=logits.device) + rank() * len(logits)


def _check_several(**tensors: Tensor) -> None:
    """Raise ValueError for a global batch of fewer than two samples."""
    for name, tensor in tensors.items():
        if (samples := len(tensor) * world_size()) < 2:
            raise ValueError(f"{name} must hold at least two samples, to tell them apart, got {samples}")
