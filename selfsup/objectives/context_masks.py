"""I-JEPA's mask sampler: blocks to predict, and a context without them."""

import functools
from collections.abc import Sequence

import torch
from torch import Tensor

from selfsup.objectives.masks import smallest
from selfsup.objectives.published_masks import published_block_masks
from selfsup.objectives.rectangles import (
    Grid,
    Range,
    anywhere,
    between,
    check_counts,
    check_grid,
    check_range,
    covered,
    patches_of,
    rectangle,
)


def block_masks(
    n: int,
    grid: Sequence[int],
    generator: torch.Generator,
    targets: int = 4,
    target_scale: Sequence[float] = (0.15, 0.2),
    target_aspect: Sequence[float] = (0.75, 1.5),
    context_scale: Sequence[float] = (0.85, 1.0),
    context_size: int | None = None,
    faithful: bool = False,
    min_keep: int = 10,
) -> tuple[Tensor, Tensor]:
    """Context and target patches of I-JEPA's multi-block masking (Assran et al. 2023, arXiv:2301.08243).

    Per sample, `targets` rectangles (which may overlap) are to be predicted from a large rectangle without
    them. One size, drawn per call from `target_shapes`, serves all targets of the batch; every position on
    the grid is equally likely. The context is a random subset of `context_size` patches of what the targets
    leave of the context rectangle, whose size and position are drawn per sample. A sample whose targets leave
    fewer is drawn again, up to 16 times; after that, patches outside the rectangle fill up. A target patch is
    never in the context.

    The published sampler differs, and `faithful=True` reproduces it: one random number sets scale and aspect;
    the last row and column are never used; the context rectangle is smaller than the grid; contexts are cut
    to the smallest of the batch in raster order, so that their size falls with the batch size and their lower
    rows are lost; where at most `min_keep` patches are left after 20 draws, the last target leaks into the
    context, after 20 more the last two, and so on.

    Args:
        n: samples.
        grid: (H, W), patches a side.
        generator: CPU generator, the only source of randomness.
        targets: target rectangles of a sample.
        target_scale: range of a target's share of the grid.
        target_aspect: range of a target's height over its width, in patches.
        context_scale: range of the context rectangle's share of the grid, whose proportions it has.
        context_size: patches of the context; None takes `default_context_size`. Not with `faithful`.
        faithful: use the published sampler.
        min_keep: of the published sampler alone: every rectangle must have more patches than this.

    Returns:
        context: (n, Lc) int64, ascending indices into the H * W patches in raster order.
        targets: (targets, n, Lt) int64, likewise. Unless `faithful`, all calls have the same Lc, and Lt takes
            at most six values.

    Raises:
        ValueError: an argument out of range, a context size that the targets can never leave, or a published
            sampler that may draw rectangles of at most `min_keep` patches (where it searches without an end).

    >>> context, hidden = block_masks(8, (6, 6), torch.Generator().manual_seed(0))
    >>> context.shape, hidden.shape
    (torch.Size([8, 14]), torch.Size([4, 8, 6]))
    """
    check_counts(n=n, targets=targets)
    sides = check_grid(grid)
    scale = check_range("target_scale", target_scale, 1)
    aspect = check_range("target_aspect", target_aspect)
    share = check_range("context_scale", context_scale, 1)
    if faithful:
        if context_size is not None:
            raise ValueError("context_size must be None with faithful=True, where the batch determines it")
        return published_block_masks(n, sides, generator, targets, scale, aspect, share, min_keep)

    shapes = target_shapes(sides, scale, aspect)
    if context_size is None:
        context_size = default_context_size(sides, targets, scale, aspect, share)
    most = sides[0] * sides[1] - max(h * w for h, w in shapes)
    if not 1 <= context_size <= most:
        raise ValueError(
            f"context_size must be from 1 to {most}, the patches that a target can leave of a grid of "
            f"{sides[0]} x {sides[1]}, got {context_size}"
        )

    shape = shapes[int(torch.randint(len(shapes), (), generator=generator))]
    corners, available = _draw(n, sides, generator, targets, shape, share)
    for _ in range(16):
        short = (available.sum(1) < context_size).nonzero().flatten()
        if not len(short):
            break
        corners[:, short], available[short] = _draw(len(short), sides, generator, targets, shape, share)

    # Targets that leave too little at any position are put on top of each other.
    crowded = (~covered(patches_of(corners, shape, sides), sides)).sum(1) < context_size
    corners[:, crowded] = corners[:1, crowded]
    hidden = patches_of(corners, shape, sides)

    # In random order: first what is left of the context rectangle, then what is outside of it, targets last.
    preference = (~available).float() + 2 * covered(hidden, sides).float()
    order = preference + torch.rand(available.shape, generator=generator)
    return smallest(order, context_size), hidden


def target_shapes(
    grid: Sequence[int], scale: Sequence[float] = (0.15, 0.2), aspect: Sequence[float] = (0.75, 1.5)
) -> list[Grid]:
    """The six equally likely sizes (rows, columns) of a target rectangle: two scales times three aspects.

    Scale and aspect are independent and uniform in their ranges, represented by the middles of equal parts: a
    continuous draw would give a large grid dozens of sequence lengths, each to be compiled by itself. Sizes
    that rounding makes equal are repeated.

    >>> sorted(set(target_shapes((14, 14))))
    [(5, 6), (6, 5), (6, 6), (7, 5)]
    """
    sides = check_grid(grid)
    scales, aspects = check_range("scale", scale, 1), check_range("aspect", aspect)
    areas = [between(scales, (i + 0.5) / 2) * sides[0] * sides[1] for i in range(2)]
    return [rectangle(area, between(aspects, (j + 0.5) / 3), sides) for area in areas for j in range(3)]


@functools.lru_cache(maxsize=64)
def default_context_size(
    grid: Grid,
    targets: int = 4,
    target_scale: Range = (0.15, 0.2),
    target_aspect: Range = (0.75, 1.5),
    context_scale: Range = (0.85, 1.0),
) -> int:
    """Patches that the targets leave of the context rectangle in 95 of 100 draws, found by drawing.

    A smaller context would throw away patches that nearly all samples have; with a larger one many samples
    would be drawn again, which favours targets that overlap each other. (On 14 x 14 the published sampler
    keeps 83 patches before its truncation and 50 after it, in batches of 128.)

    >>> default_context_size((14, 14))
    63
    """
    generator = torch.Generator().manual_seed(0)
    shapes = target_shapes(grid, target_scale, target_aspect)
    left = [_draw(1000, grid, generator, targets, shape, context_scale)[1].sum(1) for shape in shapes]
    return max(1, int(torch.cat(left).float().quantile(0.05)))


def _draw(
    n: int, grid: Grid, generator: torch.Generator, targets: int, shape: Grid, context_scale: Range
) -> tuple[Tensor, Tensor]:
    """Corners of the targets (targets, n, 2); what they leave of the context rectangle, (n, H * W) bool."""
    spans = (grid[0] - shape[0] + 1, grid[1] - shape[1] + 1)
    corners = torch.stack([torch.randint(span, (targets, n), generator=generator) for span in spans], -1)
    share = torch.empty(n, 1).uniform_(*context_scale, generator=generator).sqrt()
    context = anywhere([side * share for side in grid], grid, generator)
    return corners, context & ~covered(patches_of(corners, shape, grid), grid)
