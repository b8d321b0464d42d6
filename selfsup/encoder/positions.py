"""Fixed position embeddings of a vision transformer."""

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from selfsup.errors import UsageError


@torch.no_grad()
def fix_positions(vit: VisionTransformer) -> None:
    """Replace learned positions by fixed ones; zeros for prefix tokens."""
    grid, dim = vit.patch_embed.grid_size, vit.embed_dim
    table = sincos_positions(grid, dim)
    assert vit.pos_embed is not None
    vit.pos_embed.zero_()
    vit.pos_embed[0, vit.pos_embed.shape[1] - len(table) :] = table
    vit.pos_embed.requires_grad_(False)


def sincos_positions(grid: tuple[int, int], dim: int) -> Tensor:
    """Fixed position embeddings ``(H * W, dim)`` of MAE (He et al. 2021, arXiv:2111.06377).

    The first half of the width encodes the column, the second the row; each is sines, then
    cosines, of ``position / 10000 ** (i / (dim / 4))``.

    Example:
        >>> sincos_positions((4, 4), 8)[1, :3]
        tensor([0.8415, 0.0100, 0.5403])
    """
    if dim % 4:
        raise UsageError(f"sine-cosine positions need a width divisible by 4, not {dim}")
    frequency = 10000.0 ** (-torch.arange(dim // 4, dtype=torch.float64) / (dim / 4))
    rows, columns = torch.meshgrid(
        torch.arange(grid[0], dtype=torch.float64), torch.arange(grid[1], dtype=torch.float64), indexing="ij"
    )
    angles = [axis.reshape(-1, 1) * frequency for axis in (columns, rows)]
    return torch.cat([part for angle in angles for part in (angle.sin(), angle.cos())], dim=1).float()
