"""Rectangles of patches on a grid, as the block-wise mask samplers draw them."""

from collections.abc import Sequence

import torch
from torch import Tensor

Grid = tuple[int, int]
Range = tuple[float, float]


def rectangle(area: float, aspect: float, limit: Grid) -> Grid:
    """Rows and columns of a rectangle of about this area and this height over width, within the limit."""
    rows, columns = round((area * aspect) ** 0.5), round((area / aspect) ** 0.5)
    return max(1, min(rows, limit[0])), max(1, min(columns, limit[1]))


def patches_of(corners: Tensor, shape: Grid, grid: Grid) -> Tensor:
    """Indices of the patches of rectangles with these top-left corners: (..., 2) -> (..., h * w),
    ascending."""
    rows, columns = shape
    block = (torch.arange(rows)[:, None] * grid[1] + torch.arange(columns)).flatten()
    return (corners[..., 0] * grid[1] + corners[..., 1]).unsqueeze(-1) + block


def covered(patches: Tensor, grid: Grid) -> Tensor:
    """Whether any of a sample's rectangles covers a patch: (rectangles, n, h * w) -> (n, H * W) bool."""
    nothing = torch.zeros(patches.shape[1], grid[0] * grid[1], dtype=torch.bool)
    return nothing.scatter_(1, patches.transpose(0, 1).flatten(1), True)


def between(interval: Range, share: float) -> float:
    """The point at this share of the way from one end of the interval to the other."""
    return interval[0] + share * (interval[1] - interval[0])


def anywhere(
    lengths: Sequence[Tensor], grid: Grid, generator: torch.Generator, over_edge: bool = False
) -> Tensor:
    """A rectangle of about this height and width, each (n, 1), at any position: (n, H * W) bool."""
    rows, columns = (
        _interval(length, side, generator, over_edge) for length, side in zip(lengths, grid, strict=True)
    )
    return (rows[:, :, None] & columns[:, None, :]).flatten(1)


def _interval(length: Tensor, side: int, generator: torch.Generator, over_edge: bool) -> Tensor:
    """An interval of about this length, (n, 1), anywhere on a line of patches: (n, side) bool.

    Over the edge it may begin before the line or end after it, but covers at least one patch.
    """
    length = length.round().clamp(1, side)
    least, positions = (1 - length, side + length - 1) if over_edge else (0, side - length + 1)
    start = least + (torch.rand(length.shape, generator=generator) * positions).floor()
    line = torch.arange(side)
    return (line >= start) & (line < start + length)


def check_counts(**counts: int) -> None:
    """Raise a ValueError unless all are at least 1."""
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name} must be at least 1, got {count}")


def check_grid(grid: Sequence[int]) -> Grid:
    """The grid as two whole numbers; raises a ValueError unless it has two patches."""
    if len(grid) != 2 or min(grid) < 1 or grid[0] * grid[1] < 2:
        raise ValueError(f"grid must be (rows, columns) of at least two patches, got {tuple(grid)}")
    return int(grid[0]), int(grid[1])


def check_range(name: str, interval: Sequence[float], most: float = float("inf")) -> Range:
    """The interval as two numbers; raises a ValueError unless it ascends above 0 up to ``most``."""
    if len(interval) != 2 or not 0 < interval[0] <= interval[1] <= most:
        bound = f" <= {most}" if most < float("inf") else ""
        raise ValueError(f"{name} must be (low, high) with 0 < low <= high{bound}, got {tuple(interval)}")
    return float(interval[0]), float(interval[1])
