"""Mask samplers: on the CPU, vectorised, random by the given generator alone.

All of :data:`MASKS` have one form, ``sampler(n, grid, ratio, generator)``, and hide equally many patches of
every sample, so that what is kept has one shape.
"""

import math
from collections.abc import Callable, Sequence
from fractions import Fraction

import torch
from torch import Tensor

from selfsup.objectives.rectangles import anywhere, check_counts, check_grid, check_range


def random_mask(
    n: int, grid: Sequence[int], ratio: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Hide a random subset of the patches of each sample, uniformly (MAE, He et al. 2022, arXiv:2111.06377).

    Of L patches, `L * (1 - ratio)` are kept, rounded down. (The published `int(L * (1 - ratio))` loses one
    more to floating point in places: 100 at 0.8 keeps 19.)

    Args:
        n: samples.
        grid: (H, W), patches a side.
        ratio: share of hidden patches, at least 0 and below 1.
        generator: CPU generator, the only source of randomness.

    Returns:
        keep: (n, kept) int64, ascending indices of the patches that the encoder sees.
        mask: (n, H * W) bool, True where hidden.

    Raises:
        ValueError: an argument out of range, or a ratio that keeps nothing.

    >>> keep, mask = random_mask(2, (10, 10), 0.8, torch.Generator().manual_seed(0))
    >>> keep.shape, mask.sum(1)
    (torch.Size([2, 20]), tensor([80, 80]))
    """
    length = _length(n, grid)
    kept = _at_least_one(math.floor(length - _hidden(length, ratio)), length, ratio)
    return _both(smallest(torch.rand(n, length, generator=generator), kept), length)


def blockwise_mask(
    n: int,
    grid: Sequence[int],
    ratio: float,
    generator: torch.Generator,
    aspect: Sequence[float] = (0.3, 1 / 0.3),
    area: int = 4,
    faithful: bool = False,
) -> tuple[Tensor, Tensor]:
    """Hide rectangles of patches (BEiT, Bao et al. 2022, arXiv:2106.08254, algorithm 1; as in iBOT).

    Sixteen times per sample, a rectangle of a size from `area` to what is still to be hidden, of a
    log-uniform height over width, is put anywhere; it counts unless it would hide too much. What is then left
    to hide is hidden patch by patch, so that every sample hides exactly `L * ratio` of L patches, rounded
    to the nearest number and halves up. (Samplers published with BEiT and iBOT stop below; DINOv3's
    completes like this.)

    Rectangles may hang over the edge of the grid, by which all patches are hidden about equally often. The
    published ones lie within it, as here with `faithful=True`: a corner is then hidden a twelfth as often as
    the middle.

    Args:
        n: samples.
        grid: (H, W), patches a side.
        ratio: share of hidden patches, at least 0 and below 1.
        generator: CPU generator, the only source of randomness.
        aspect: range of a rectangle's height over its width, in patches.
        area: patches of the smallest rectangle.
        faithful: keep the rectangles within the grid.

    Returns:
        keep: (n, kept) int64, ascending indices of the patches that the encoder sees.
        mask: (n, H * W) bool, True where hidden.

    Raises:
        ValueError: an argument out of range, or a ratio that keeps nothing.

    >>> keep, mask = blockwise_mask(2, (8, 8), 0.4, torch.Generator().manual_seed(0))
    >>> keep.shape, mask.sum(1)
    (torch.Size([2, 38]), tensor([26, 26]))
    """
    check_counts(area=area)
    low, high = check_range("aspect", aspect)
    length, sides = _length(n, grid), check_grid(grid)
    kept = _nearest_kept(length, ratio)
    mask = torch.zeros(n, length, dtype=torch.bool)
    for _ in range(16):
        missing = length - kept - mask.sum(1, keepdim=True)
        size = area + torch.rand(n, 1, generator=generator) * (missing - area).clamp(min=0)
        height_over_width = low * (high / low) ** torch.rand(n, 1, generator=generator)
        lengths = [(size * height_over_width).sqrt(), (size / height_over_width).sqrt()]
        larger = mask | anywhere(lengths, sides, generator, over_edge=not faithful)
        fits = larger.sum(1, keepdim=True) <= length - kept
        mask = torch.where(fits, larger, mask)
    return _both(smallest(mask + torch.rand(n, length, generator=generator), kept), length)


def connected_mask(
    n: int, grid: Sequence[int], ratio: float, generator: torch.Generator, groups: int = 3
) -> tuple[Tensor, Tensor]:
    """Hide groups of connected patches (GMML, Atito et al. 2022, arXiv:2205.14986), of any outline.

    Each group grows from a random patch, by half of the patches beside it at a time, until together they hide
    `L * ratio` of L patches, rounded to the nearest number and halves up. Groups may meet. (The published
    sampler joins rectangles.)

    Args:
        n: samples.
        grid: (H, W), patches a side.
        ratio: share of hidden patches, at least 0 and below 1.
        generator: CPU generator, the only source of randomness.
        groups: places from which the hidden patches grow.

    Returns:
        keep: (n, kept) int64, ascending indices of the patches that the encoder sees.
        mask: (n, H * W) bool, True where hidden.

    Raises:
        ValueError: an argument out of range, or a ratio that keeps nothing.

    >>> _, mask = connected_mask(1, (4, 6), 0.5, torch.Generator().manual_seed(0), groups=1)
    >>> for row in mask.view(4, 6).int():
    ...     print("".join(".#"[hidden] for hidden in row))
    ..#...
    ..##..
    .####.
    .#####
    """
    check_counts(groups=groups)
    length, sides = _length(n, grid), check_grid(grid)
    hidden = length - _nearest_kept(length, ratio)
    order = torch.rand(n, length, generator=generator)
    mask = torch.zeros(n, length, dtype=torch.bool)
    mask.scatter_(1, order.topk(min(groups, hidden), dim=1).indices, True)
    while (missing := hidden - mask.sum(1, keepdim=True)).any():
        beside = _beside(mask.view(n, *sides)).flatten(1) & ~mask
        order = torch.rand(n, length, generator=generator).masked_fill(~beside, 2.0)
        half = (beside.sum(1, keepdim=True) + 1) // 2
        mask |= order.argsort(1).argsort(1) < torch.minimum(missing, half)
    return _both(smallest(mask.float(), length - hidden), length)


def inverse_block_mask(
    n: int, grid: Sequence[int], ratio: float, generator: torch.Generator, side: int = 3
) -> tuple[Tensor, Tensor]:
    """Keep blocks of patches and hide the others (data2vec 2.0, Baevski et al. 2022, arXiv:2212.07525).

    Squares of `side` patches stay, about random centres; what reaches over the edge counts for the patch at
    the edge. Random patches are then hidden or kept in addition, so that `L * (1 - ratio)` of L patches are
    kept, rounded down. As in the published code, `L * (1 - ratio + 0.07) / side^2` squares are drawn.

    Args:
        n: samples.
        grid: (H, W), patches a side.
        ratio: share of hidden patches, at least 0 and below 1.
        generator: CPU generator, the only source of randomness.
        side: patches a side of a square.

    Returns:
        keep: (n, kept) int64, ascending indices of the patches that the encoder sees.
        mask: (n, H * W) bool, True where hidden.

    Raises:
        ValueError: an argument out of range, or a ratio that keeps nothing.

    >>> keep, mask = inverse_block_mask(2, (14, 14), 0.8, torch.Generator().manual_seed(0))
    >>> keep.shape, mask.sum(1)
    (torch.Size([2, 39]), tensor([157, 157]))
    """
    check_counts(side=side)
    length, sides = _length(n, grid), check_grid(grid)
    kept = _at_least_one(math.floor(length - _hidden(length, ratio)), length, ratio)
    squares = max(1, int(length * (1 - ratio + 0.07) / side**2))
    centres = torch.randint(length, (n, squares), generator=generator)
    offsets = torch.arange(side) - side // 2
    rows = (centres // sides[1]).unsqueeze(-1).add(offsets).clamp(0, sides[0] - 1)
    columns = (centres % sides[1]).unsqueeze(-1).add(offsets).clamp(0, sides[1] - 1)
    patches = rows.unsqueeze(-1) * sides[1] + columns.unsqueeze(-2)
    outside = torch.ones(n, length).scatter_(1, patches.flatten(1), 0.0)
    return _both(smallest(outside + torch.rand(n, length, generator=generator), kept), length)


def window_mask(
    n: int,
    grid: Sequence[int],
    ratio: float,
    generator: torch.Generator,
    aspect: Sequence[float] = (0.5, 2.0),
) -> tuple[Tensor, Tensor]:
    """Keep one rectangle of patches, which may go over the edge and come in opposite (CAPI).

    Darcet et al. 2025, "Cluster and Predict Latent Patches for Improved Masked Image Modeling",
    arXiv:2502.08769: the rectangle has a log-uniform height over width and `L * (1 - ratio)` of L patches,
    rounded down; its last row is cut to that. As the grid is rolled, every patch is hidden equally often.

    Args:
        n: samples.
        grid: (H, W), patches a side.
        ratio: share of hidden patches, at least 0 and below 1.
        generator: CPU generator, the only source of randomness.
        aspect: range of the rectangle's height over its width, in patches.

    Returns:
        keep: (n, kept) int64, ascending indices of the patches that the encoder sees.
        mask: (n, H * W) bool, True where hidden.

    Raises:
        ValueError: an argument out of range, or a ratio that keeps nothing.

    >>> keep, mask = window_mask(2, (16, 16), 0.65, torch.Generator().manual_seed(0))
    >>> keep.shape, mask.sum(1)
    (torch.Size([2, 89]), tensor([167, 167]))
    """
    length, (rows, columns) = _length(n, grid), check_grid(grid)
    low, high = check_range("aspect", aspect)
    kept = _at_least_one(math.floor(length - _hidden(length, ratio)), length, ratio)
    height_over_width = low * (high / low) ** torch.rand(n, generator=generator)
    least = -(-kept // rows)  # narrower, it would be higher than the grid
    width = (kept / height_over_width).sqrt().round().clamp(least, columns).long().unsqueeze(1)
    place = torch.arange(kept)  # in the rectangle, in raster order
    row, column = (torch.randint(side, (n, 1), generator=generator) for side in (rows, columns))
    patches = (row + place // width) % rows * columns + (column + place % width) % columns
    return _both(patches.sort(dim=1).values, length)


MaskSampler = Callable[[int, Sequence[int], float, torch.Generator], tuple[Tensor, Tensor]]
MASKS: dict[str, MaskSampler] = {
    "random": random_mask,
    "block": blockwise_mask,
    "connected": connected_mask,
    "inverse": inverse_block_mask,
    "window": window_mask,
}


def smallest(order: Tensor, k: int) -> Tensor:
    """Ascending positions of the k smallest entries of each row: (n, length) -> (n, k)."""
    chosen = torch.zeros(order.shape, dtype=torch.bool)
    chosen.scatter_(1, order.topk(k, dim=1, largest=False, sorted=False).indices, True)
    return chosen.nonzero()[:, 1].reshape(len(order), k)


def _hidden(length: int, ratio: float) -> Fraction:
    """The exact number of patches in a share of them: the share is taken as its decimal notation."""
    if not 0 <= ratio < 1:
        raise ValueError(f"ratio must be at least 0 and below 1, got {ratio}")
    return length * Fraction(str(float(ratio)))


def _nearest_kept(length: int, ratio: float) -> int:
    """Patches that are kept where the number of hidden ones is rounded to the nearest, halves up."""
    return _at_least_one(math.ceil(length - _hidden(length, ratio) - Fraction(1, 2)), length, ratio)


def _both(keep: Tensor, length: int) -> tuple[Tensor, Tensor]:
    return keep, torch.ones(len(keep), length, dtype=torch.bool).scatter_(1, keep, False)


def _beside(mask: Tensor) -> Tensor:
    """Which patches have one of ``mask`` (n, H, W) above, below, left or right of them."""
    padded = torch.nn.functional.pad(mask, (1, 1, 1, 1))
    rows, columns = padded[:, :, 1:-1], padded[:, 1:-1]
    return rows[:, :-2] | rows[:, 2:] | columns[:, :, :-2] | columns[:, :, 2:]


def _length(n: int, grid: Sequence[int]) -> int:
    check_counts(n=n)
    sides = check_grid(grid)
    return sides[0] * sides[1]


def _at_least_one(kept: int, length: int, ratio: float) -> int:
    if kept < 1:
        raise ValueError(f"ratio must leave at least one of {length} patches, but {ratio} hides them all")
    return kept
