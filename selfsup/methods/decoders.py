"""lightly's decoders of MAE and I-JEPA, on square and other grids."""

import math

import torch
from lightly.models.modules.ijepa_timm import IJEPAPredictorTIMM
from lightly.models.modules.masked_vision_transformer_decoder_timm import MaskedVisionTransformerDecoderTIMM
from torch import nn

from selfsup.encoder.positions import sincos_positions


def mae_decoder(
    grid: tuple[int, int], prefix: int, width: int, depth: int, heads: int
) -> MaskedVisionTransformerDecoderTIMM:
    """MAE's decoder of patches on a grid (rows, columns), behind ``prefix`` tokens."""
    found = MaskedVisionTransformerDecoderTIMM(_patches(grid), width, depth, heads, prefix)
    _place(found, grid)
    return found


def jepa_predictor(grid: tuple[int, int], dim: int, width: int, depth: int, heads: int) -> IJEPAPredictorTIMM:
    """I-JEPA's predictor of tokens of width ``dim`` on a grid (rows, columns)."""
    found = IJEPAPredictorTIMM(_patches(grid), depth, dim, width, heads)
    _place(found.decoder, grid)
    return found


def _patches(grid: tuple[int, int]) -> int:
    """Patches that lightly can place: those of a square, or one until :func:`_place`."""
    return math.prod(grid) if grid[0] == grid[1] else 1


def _place(decoder: MaskedVisionTransformerDecoderTIMM, grid: tuple[int, int]) -> None:
    """Set the positions of a decoder whose grid is not square; zeros for prefix tokens."""
    if grid[0] == grid[1]:
        return
    table = sincos_positions(grid, decoder.pos_embed.shape[-1])
    prefix = torch.zeros(decoder.num_prefix_tokens, table.shape[1])
    decoder.num_patches = len(table)
    decoder.pos_embed = nn.Parameter(torch.cat([prefix, table])[None], requires_grad=False)
