"""I-JEPA's mask sampler as published, with the quirks behind its published results."""

import torch
from torch import Tensor

from selfsup.objectives.rectangles import Grid, Range, between, covered, patches_of, rectangle

SQUARE = (1.0, 1.0)


def published_block_masks(
    n: int,
    grid: Grid,
    generator: torch.Generator,
    targets: int,
    target_scale: Range,
    target_aspect: Range,
    context_scale: Range,
    min_keep: int,
) -> tuple[Tensor, Tensor]:
    """What `block_masks(faithful=True)` returns: as published in distribution, not draw by draw."""
    if min(grid) < 2:
        raise ValueError(f"grid must have two rows and columns with faithful=True, got {grid[0]} x {grid[1]}")
    _check_min_keep("target_scale", grid, target_scale, target_aspect, min_keep)
    _check_min_keep("context_scale", grid, context_scale, SQUARE, min_keep)
    target_shape, context_shape = (
        _shape(grid, scale, aspect, float(torch.rand((), generator=generator)))
        for scale, aspect in ((target_scale, target_aspect), (context_scale, SQUARE))
    )

    hidden = _place(targets, n, target_shape, grid, generator)
    available = torch.zeros(n, grid[0] * grid[1], dtype=torch.bool)
    missing = torch.arange(n)
    for attempt in range(20 * (targets + 1)):
        context = covered(_place(1, len(missing), context_shape, grid, generator), grid)
        respected = targets - attempt // 20
        if respected:
            context &= ~covered(hidden[:respected, missing], grid)
        available[missing] = context
        missing = missing[context.sum(1) <= min_keep]
        if not len(missing):
            break
    size = int(available.sum(1).min())
    first = available.int().argsort(dim=1, descending=True, stable=True)[:, :size]
    return first, hidden


def _place(count: int, n: int, shape: Grid, grid: Grid, generator: torch.Generator) -> Tensor:
    """Patches (count, n, h * w) of rectangles that miss the last row and column: the bound is exclusive."""
    spans = (grid[0] - shape[0], grid[1] - shape[1])
    corners = torch.stack([torch.randint(span, (count, n), generator=generator) for span in spans], -1)
    return patches_of(corners, shape, grid)


def _shape(grid: Grid, scale: Range, aspect: Range, share: float) -> Grid:
    """One share sets both scale and aspect, and no rectangle is as long as the grid."""
    area = int(grid[0] * grid[1] * between(scale, share))
    return rectangle(area, between(aspect, share), (grid[0] - 1, grid[1] - 1))


def _check_min_keep(name: str, grid: Grid, scale: Range, aspect: Range, min_keep: int) -> None:
    smallest = min(h * w for h, w in (_shape(grid, scale, aspect, i / 256) for i in range(257)))
    if smallest <= min_keep:
        raise ValueError(
            f"min_keep must be below {smallest}, the patches of the smallest rectangle that {name} gives "
            f"on a grid of {grid[0]} x {grid[1]}, got {min_keep}"
        )
