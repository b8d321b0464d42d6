"""Alignment of an image's views and uniformity of all images, on the unit sphere."""

import math

import torch
from torch import Tensor

from selfsup.evaluation.errors import NoScore
from selfsup.evaluation.features.extract import Features, evenly
from selfsup.evaluation.features.moments import double_device, real_matrix
from selfsup.evaluation.label_free.lidar import numbered
from selfsup.evaluation.registry import Count, Positive
from selfsup.evaluation.score import Score

BLOCK = 2048
ALMOST_NOTHING = -1 + 2.0**-53  # bound on |exp(x) - 1| for opposite points and a large t
PAIRS = 8192


def alignment(features: Tensor, groups: Tensor, alpha: float = 2.0) -> float:
    """Alignment, the mean distance of two views of an image (Wang and Isola 2020, arXiv:2005.10242).

    ``mean ||u - v||^alpha`` over the pairs of views u, v of one image, scaled to unit length. 0 if views
    coincide, 2 (with alpha = 2) if they are perpendicular. Lower is better, and collapsed features also have
    0: read it with :func:`uniformity`.

    Args:
        features: ``(N, D)``.
        groups: int64 ``(N,)``, which rows are views of one image: each two of them are a pair, so that an
            image with more views counts more, and one with a single view does not; or int64 ``(P, 2)``,
            the pairs' rows themselves.
        alpha: the exponent.

    Raises:
        NoScore: no pair, or features that are not finite or have no direction.
        ValueError: groups of another shape, or rows out of range.

    Example:
        >>> views = torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0], [3.0, 3.0]])
        >>> alignment(views, torch.tensor([7, 7, 8, 8]))
        1.0
        >>> alignment(views, torch.tensor([[0, 1]]))
        2.0
    """
    total, count = alignment_sums(features, groups, alpha)
    if count == 0:
        raise NoScore("no image has two views, and alignment is the distance of two")
    return float(total / count)


def alignment_sums(features: Tensor, groups: Tensor, alpha: float = 2.0) -> tuple[Tensor, int]:
    """Sum of the pairs' distances, float64, and the number of pairs; sums of disjoint groups add up."""
    rows = on_sphere(features)
    pairs = groups if groups.ndim == 2 else pairs_within(groups, len(rows))
    if pairs.ndim != 2 or pairs.shape[1] != 2 or pairs.is_floating_point():
        raise ValueError(
            f"pairs must be rows of features, int64 (P, 2), not {pairs.dtype} {tuple(pairs.shape)}"
        )
    if len(pairs) and not 0 <= int(pairs.min()) <= int(pairs.max()) < len(rows):
        raise ValueError(f"pairs name rows from {pairs.min()} to {pairs.max()}, and there are {len(rows)}")
    total = rows.new_zeros(())
    for block in pairs.to(rows.device).split(PAIRS):
        total += (rows[block[:, 0]] - rows[block[:, 1]]).square().sum(1).pow(alpha / 2).sum()
    return total, len(pairs)


def pairs_within(groups: Tensor, samples: int) -> Tensor:
    """Every two rows of one group, int64 ``(P, 2)``."""
    index, sizes = numbered(groups, samples)
    order, ends = index.argsort(stable=True), sizes.cumsum(0)
    found = [order.new_empty(0, 2)]
    for size in sizes.unique().tolist():
        starts = (ends - size)[sizes == size]
        rows = order[starts[:, None] + torch.arange(size, device=order.device)]
        found.append(rows[:, torch.combinations(torch.arange(size))].flatten(0, 1))
    return torch.cat(found)


def uniformity(features: Tensor, t: float = 2.0) -> float:
    """Uniformity, how evenly features cover the sphere (Wang and Isola 2020, arXiv:2005.10242).

    ``log mean exp(-t ||u - v||²)`` over all pairs of different samples u, v, scaled to unit length. 0 for
    collapsed features, near ``-2 t`` for independent directions in many dimensions; lower is more uniform.
    It hardly sees dimensional collapse: a few dimensions suffice to be nearly uniform. Takes N² products, in
    blocks; a few thousand samples are enough.

    Args:
        features: ``(N, D)``. Samples that occur twice (:func:`repeated`) count as pairs.
        t: sharpness of the kernel.

    Raises:
        NoScore: fewer than two samples, or features that are not finite or have no direction.

    Example:
        >>> round(uniformity(torch.tensor([[1.0, 0.0], [-3.0, 0.0]])), 4)  # opposite: distance 2
        -8.0
    """
    rows = on_sphere(features)
    samples = len(rows)
    if samples < 2:
        raise NoScore(f"uniformity compares samples, and there are {samples}")
    # Distances do not change when the mean is subtracted, and then float32 represents collapsed ones exactly.
    rows = (rows - rows.mean(dim=0)).float()
    lengths = rows.square().sum(dim=1)
    # A sum of exp(x) - 1 keeps the digits of collapsed features that a sum near 1 would lose.
    total = 0.0
    for start in range(0, samples, BLOCK):
        here = slice(start, start + BLOCK)
        for other in range(start, samples, BLOCK):
            there = slice(other, other + BLOCK)
            squared = lengths[here, None] + lengths[there] - 2 * rows[here] @ rows[there].t()
            kernel = squared.clamp_(min=0).double().mul_(-t).expm1_()
            if other == start:
                kernel.fill_diagonal_(0)
            total += float(kernel.sum()) * (1 if other == start else 2)
    return math.log1p(max(total / (samples * (samples - 1)), ALMOST_NOTHING))


def on_sphere(features: Tensor) -> Tensor:
    """Features ``(N, D)`` scaled to unit length, in float64.

    Raises:
        NoScore: some are not finite, or zero.
    """
    features = real_matrix(features)
    rows = features.to(double_device(features), torch.float64)
    lengths = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    if not lengths.isfinite().all():
        raise NoScore("the features are not finite")
    if not (lengths > 0).all():
        raise NoScore(f"{int((lengths == 0).sum())} of {len(rows)} features are zero and have no direction")
    return rows / lengths


def distinct(features: Tensor) -> Tensor:
    """Distinct rows of ``features`` ``(N, D)``, the first of each: ascending int64 indices."""
    bits = real_matrix(features).contiguous().view(torch.int32).long()
    generator = torch.Generator().manual_seed(0)
    factors = torch.randint(-(2**62), 2**62, (bits.shape[1],), generator=generator).to(bits.device)
    # Sums of whole numbers wrap around equally for equal rows; unequal ones agree once in 2^64.
    keys = (bits * (factors | 1)).sum(dim=1)
    _, index = keys.unique(return_inverse=True)
    first = torch.full((len(keys),), len(keys), device=keys.device)
    first.scatter_reduce_(0, index, torch.arange(len(keys), device=keys.device), "amin")
    return first[first < len(keys)].sort().values


def repeated(features: Tensor) -> str | None:
    """A sentence if some of ``features`` ``(N, D)`` occur more than once, else None."""
    twice = len(features) - len(distinct(features))
    if not twice:
        return None
    return f"{twice} of {len(features)} features repeat another: images that occur twice, or collapse"


def score(train: Features, test: Features, *, t: Positive, samples: Count) -> Score:
    """:func:`uniformity` of evenly spaced training samples."""
    some = train.x[evenly(len(train), samples)]
    return Score(
        value=uniformity(some, t),
        settings={"t": t, "samples": len(some)},
        citation="Wang and Isola 2020, arXiv:2005.10242",
        flags=[flag for flag in [repeated(some)] if flag],
        n_train=len(some),
        n_test=0,
        higher_is_better=False,
    )
