"""Transformer blocks of queries that read other tokens: the predictors of SemAIM and CAPI."""

import torch.nn.functional as F
from torch import Tensor, nn


class QueryBlock(nn.Module):
    """A transformer's block whose queries attend to other tokens.

    Args:
        width: of queries and tokens.
        heads: of the attention.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.norm_said, self.norm_mlp = (nn.LayerNorm(width) for _ in range(3))
        self.query, self.key_value, self.project = (
            nn.Linear(width, width),
            nn.Linear(width, 2 * width),
            nn.Linear(width, width),
        )
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, queries: Tensor, said: Tensor, attends: Tensor | None = None) -> Tensor:
        """Queries ``(N, L, D)`` that have read tokens ``(N, S, D)``: all, or by ``attends`` ``(N, L, S)``."""
        q, k, v = (
            each.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for each in (
                self.query(self.norm(queries)),
                *self.key_value(self.norm_said(said)).chunk(2, dim=-1),
            )
        )
        read = F.scaled_dot_product_attention(
            q, k, v, attn_mask=None if attends is None else attends.unsqueeze(1)
        )
        queries = queries + self.project(read.transpose(1, 2).flatten(2))
        return queries + self.mlp(self.norm_mlp(queries))
