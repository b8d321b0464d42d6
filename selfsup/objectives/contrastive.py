"""Objectives that distinguish a sample's other view from all other samples."""

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsup.objectives.distributed import all_reduce_mean, gather_with_gradient, rank, world_size
from selfsup.objectives.precision import check_pair, check_positive, full_precision


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
    samples = z1.shape[0]
    if samples * world_size() < 2:
        raise ValueError(f"z1 must hold at least two samples, got {samples * world_size()}")

    local = F.normalize(torch.cat([z1, z2]), dim=1)
    start = rank() * len(local)
    logits = (local / temperature) @ gather_with_gradient(local).T
    # Hidden from autograd: a softmax passes no gradient to an entry of -inf, so there is none to stop, and
    # the backward pass needs no copy of the matrix.
    logits.detach().diagonal(start).fill_(-torch.inf)
    other_view = torch.arange(len(local), device=z1.device).roll(samples) + start
    return all_reduce_mean(F.cross_entropy(logits, other_view))
