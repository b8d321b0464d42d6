"""Cells of two views of an image, matched one to one, and an objective of matched cells."""

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsup.objectives.devices import sent
from selfsup.objectives.distributed import all_reduce_mean, gather_with_gradient, rank, world_size
from selfsup.objectives.precision import (
    check_dimensions,
    check_finite,
    check_floating,
    check_positive,
    check_same_shape,
    full_precision,
)


@torch.no_grad()
def hungarian(similarity: Tensor) -> Tensor:
    """The one-to-one matching of the largest total similarity, of each image by itself (Kuhn 1955).

    With S an image's similarities, the match m of distinct columns that maximises

        sum_l S[l, m(l)]

    It is found on the CPU, in O(L^2 M), so similarities on a device are copied there.

    Args:
        similarity: (N, L, M), of the L cells of one view with the M >= L cells of the other.

    Returns:
        (N, L) int64, the column of each row, where the similarities are.

    Raises:
        ValueError: a tensor that is not (N, L, M), not floating or not finite, or more rows than columns.

    >>> hungarian(torch.tensor([[[0.9, 0.8], [0.7, 0.1]]])).tolist()
    [[1, 0]]
    """
    from scipy.optimize import linear_sum_assignment

    check_floating(similarity=similarity)
    check_finite(similarity=similarity)
    check_dimensions("N L M", similarity=similarity)
    if similarity.shape[1] > similarity.shape[2]:
        raise ValueError(f"similarity must have no more rows than columns, got {tuple(similarity.shape)}")
    # A run that has diverged has no matching; it goes on to where all processes see that.
    each = similarity.double().nan_to_num().cpu().numpy()
    match = torch.zeros(similarity.shape[:2], dtype=torch.int64)
    for n, one in enumerate(each):
        match[n] = torch.from_numpy(linear_sum_assignment(one, maximize=True)[1])
    return sent(match, similarity.device)


@full_precision
def matched_cells(cells1: Tensor, cells2: Tensor, temperature: float = 0.1) -> Tensor:
    """Matched cells of two views find each other among the cells of all other images (InfoNCE).

    With u_nk and v_nk the rows of cells1 and cells2 of all processes divided by their length, row k of image
    n in both being one match:

        L = mean_nk 1/2 [ l(u_nk, v) + l(v_nk, u) ]
        l(a_nk, b) = log( exp(a_nk . b_nk / t) + sum_{m != n, j} exp(a_nk . b_mj / t) ) - a_nk . b_nk / t

    Other cells of the same image are neither attracted nor repelled: they may show the same thing. No paper
    has this form. The negatives are those of DenseCL (Wang et al. 2021, arXiv:2011.09157), from the batch in
    the place of a queue; DenseCL and VICRegL (Bardes et al. 2022, arXiv:2210.01571) match cells by their
    features, too, but there one cell may be the match of several.

    Args:
        cells1: (N, K, D) embeddings of K cells of the first views.
        cells2: (N, K, D) of the cells that match them, in the second views.
        temperature: t, dimensionless, above 0.

    Returns:
        Scalar, at least float32. log(1 + (N - 1) K) where all rows are equal.

    Raises:
        ValueError: shapes that differ, tensors that are not floating or not finite, no cells, a temperature
            that is not above 0, fewer than two images in the global batch.

    >>> cells = torch.eye(4).view(2, 2, 4)
    >>> round(matched_cells(cells, cells, temperature=0.5).item(), 4)
    0.2395
    """
    check_floating(cells1=cells1, cells2=cells2)
    check_dimensions("N K D", cells1=cells1, cells2=cells2)
    check_same_shape(cells1=cells1, cells2=cells2)
    check_positive(temperature=temperature)
    if (samples := len(cells1) * world_size()) < 2:
        raise ValueError(f"cells1 must hold at least two samples, to tell them apart, got {samples}")
    if not cells1.shape[1]:
        raise ValueError("cells1 must hold at least one cell of each sample, got none")
    u, v = F.normalize(cells1, dim=2), F.normalize(cells2, dim=2)
    return all_reduce_mean((_found(u, v, temperature) + _found(v, u, temperature)) / 2)


def _found(anchors: Tensor, others: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of finding each anchor's match among all but the other cells of its own image."""
    n, k, _ = anchors.shape
    logits = (anchors.flatten(0, 1) / temperature) @ gather_with_gradient(others).flatten(0, 1).T
    own = torch.arange(n * k, device=logits.device) + rank() * n * k
    column = torch.arange(logits.shape[1], device=logits.device)
    rest = (own.unsqueeze(1) // k == column // k) & (own.unsqueeze(1) != column)
    return F.cross_entropy(logits.masked_fill(rest, -torch.inf), own)
