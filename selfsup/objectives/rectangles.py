"""Rectangles of patches on a grid, as the block-wise mask samplers draw them."""

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
