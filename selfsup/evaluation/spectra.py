"""What the singular values of features say without labels."""

import torch
from torch import Tensor

from selfsup.evaluation.errors import NoScore

BLOCK = 4096
SAMPLES_PER_DIMENSION = 10


def rankme(features: Tensor, centre: bool = False, eps: float = 1e-7) -> float:
    """RankMe, the effective rank of features (Garrido et al. 2023, arXiv:2210.02885).

    ``exp(-sum_k p_k log p_k)`` with ``p_k = sigma_k / sum_j sigma_j + eps`` over the ``min(N, D)``
    singular values of the matrix, which is neither centred nor renormalised after eps. From 1
    (collapsed) to ``min(N, D)``. Compare only encoders of one method and one width.

    Args:
        features: ``(N, D)``. Fewer than 10 D samples read too low (:func:`too_few`); rounding of
            half-precision features reads too high where they are collapsed.
        centre: subtract the mean first, which a large common component would otherwise hide behind.
        eps: the paper's 1e-7.

    Raises:
        NoScore: all singular values are zero, or one is not finite.

    Example:
        >>> round(rankme(torch.eye(8)), 3)
        8.0
    """
    sigma = spectrum(features, centre)
    if not sigma[0] > 0:
        raise NoScore("all singular values of the features are zero")
    p = sigma / sigma.sum() + eps
    return float((-(p * p.log()).sum()).exp())


def too_few(features: Tensor) -> str | None:
    """A sentence if there are too few samples for the width of ``features`` ``(N, D)``, else None."""
    samples, width = features.shape
    if samples >= SAMPLES_PER_DIMENSION * width:
        return None
    return f"{samples} samples are few for {width} dimensions; {SAMPLES_PER_DIMENSION * width} would do"


def spectrum(features: Tensor, centre: bool = False) -> Tensor:
    """Singular values of ``features`` ``(N, D)``, float64 ``(min(N, D),)``, descending.

    They are roots of the eigenvalues of an accumulated Gram matrix, so that memory is the square of the
    smaller side. Products are of float32 with float64 sums where the spectrum's range allows, else
    all float64.

    Raises:
        NoScore: features that are not finite.
    """
    eigenvalues = torch.linalg.eigvalsh(gram(features, centre))
    # Roots halve the digits: below this range float32 products would be noise in the small ones.
    if not eigenvalues[0] > 1e-6 * eigenvalues[-1]:
        eigenvalues = torch.linalg.eigvalsh(gram(features, centre, torch.float64))
    return eigenvalues.clamp(min=0).sqrt().flip(0)


@torch.inference_mode()
def gram(features: Tensor, centre: bool = False, product: torch.dtype = torch.float32) -> Tensor:
    """``Z^T Z`` of ``features`` Z ``(N, D)``, or ``Z Z^T`` where that is smaller, in float64.

    Args:
        features: ``(N, D)``.
        centre: subtract the mean row first (exactly: not from the product, where it would cancel).
        product: precision of a block's product; the sum over blocks is float64.
    """
    mean = features.mean(dim=0, dtype=torch.float64) * centre
    if not features.isfinite().all():
        raise NoScore("the features are not finite")
    if len(features) < features.shape[1]:
        rows = (features.double() - mean).to(product)
        return (rows @ rows.t()).double()
    total = torch.zeros(features.shape[1], features.shape[1], dtype=torch.float64, device=features.device)
    for block in features.split(BLOCK):
        rows = (block.double() - mean).to(product)
        total += rows.t() @ rows
    return total
