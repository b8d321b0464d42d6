"""Objectives over a relation: who belongs with whom among all views of a batch."""

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsup.objectives.distributed import all_reduce_sum, gather_with_gradient, rank, world_size
from selfsup.objectives.precision import check_dimensions, check_floating, check_not_negative, full_precision


@full_precision
def spectral_contrastive(z: Tensor, positives: Tensor | None = None) -> Tensor:
    """The factorisation of a relation (PAL, Cabannes et al. 2023, arXiv:2303.15256, spectral form).

    With Z the V N rows of all views of all processes and G_ij whether rows i and j are of samples that belong
    together, a row with itself too:

        L = |Z Z^T / D - G|^2 / (V N)

    with the squared Frobenius norm. The least is at the eigenvectors of the D largest eigenvalues of G,
    scaled by their roots; with views of one sample alone it is the spectral contrastive loss of HaoChen et
    al. 2021 (arXiv:2106.04156), up to a constant. The paper divides by neither: here embeddings whose
    dimensions are of size 1, as a projector's are, begin near the right length, and the batch may be of any.

    Args:
        z: (V, N, D) embeddings of V views of this process's samples.
        positives: (N, W N), which samples of all W processes belong with those of this one, each with
            itself too; None for each with itself alone.

    Returns:
        Scalar, at least float32. The mean number of a row's positives where all rows are 0.

    Raises:
        ValueError: a tensor that is not (V, N, D), not floating or not finite, a relation of another shape.

    >>> spectral_contrastive(2 * torch.eye(4).expand(1, 4, 4)).item()
    0.0
    """
    check_floating(z=z)
    products, related = _products(z / z.shape[-1] ** 0.5, positives)
    apart = (products - related.to(z.dtype)).square().sum()
    return all_reduce_sum(apart) / (len(products) * world_size())


@full_precision
def triplet(z: Tensor, positives: Tensor | None = None, margin: float = 0.5, negatives: int = 4) -> Tensor:
    """What belongs together is nearer than what does not, by a margin (Wang et al. 2017, arXiv:1708.02901).

    With u the V N rows of all views of all processes divided by their length, p over the rows that belong
    with row i, other than itself, and n over its ``negatives`` most similar rows that do not:

        L = mean_i mean_p mean_n max(0, margin - u_i . u_p + u_i . u_n)

    A row that belongs with all or with no other one is left out. The margin is the paper's; how many of the
    hard negatives it took is not verified.

    Args:
        z: (V, N, D) embeddings of V views of this process's samples.
        positives: (N, W N), which samples of all W processes belong with those of this one, each with
            itself too; None for each with itself alone.
        margin: of the cosine similarities, at least 0.
        negatives: how many, at least 1; all where there are fewer.

    Returns:
        Scalar, at least float32. The margin where all rows are equal; 0 is the least.

    Raises:
        ValueError: a tensor that is not (V, N, D), not floating or not finite, a relation of another shape, a
            negative margin, no negatives.

    >>> z = torch.eye(4).expand(2, 4, 4)
    >>> triplet(z).item(), triplet(torch.ones(2, 4, 4)).item()
    (0.0, 0.5)
    """
    check_floating(z=z)
    check_not_negative(margin=margin)
    if negatives < 1:
        raise ValueError(f"negatives must be at least 1, got {negatives}")
    similarity, related = _products(F.normalize(z, dim=2), positives)
    own = torch.zeros_like(related)
    samples = z.shape[1]
    rows = torch.arange(len(own), device=z.device)
    own[rows, rows // samples * samples * world_size() + rows % samples + rank() * samples] = True
    others = related & ~own
    hard = similarity.masked_fill(related, -torch.inf).topk(min(negatives, similarity.shape[1]), dim=1).values
    # A row that has fewer negatives has -inf in the place of others, which adds nothing.
    margins = sum((margin - similarity + each.unsqueeze(1)).relu() for each in hard.unbind(1))
    found, counts = hard.isfinite().sum(1), others.sum(1)
    each = (margins * others).sum(1) / (found * counts).clamp(min=1)
    used = ((found > 0) & (counts > 0)).to(z.dtype)
    return all_reduce_sum((each * used).sum()) / all_reduce_sum(used.sum()).clamp(min=1)


def _products(z: Tensor, positives: Tensor | None) -> tuple[Tensor, Tensor]:
    """Inner products of this process's rows with all, (V N, V W N), and whether they belong together."""
    check_dimensions("V N D", z=z)
    views, samples, _ = z.shape
    everyone = samples * world_size()
    if not views or not samples:
        raise ValueError(f"z must hold at least one view of one sample, got {tuple(z.shape)}")
    if positives is None:
        own = torch.arange(samples, device=z.device) + rank() * samples
        positives = own.unsqueeze(1) == torch.arange(everyone, device=z.device)
    if positives.shape != (samples, everyone):
        raise ValueError(
            f"positives must be ({samples}, {everyone}), a row for each sample of this process and a column "
            f"for each of all, got {tuple(positives.shape)}"
        )
    gathered = gather_with_gradient(z.transpose(0, 1).contiguous()).transpose(0, 1)
    return z.flatten(0, 1) @ gathered.flatten(0, 1).T, positives.bool().repeat(views, views)
