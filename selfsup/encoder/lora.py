"""Low-rank adapters: an encoder is trained on by a few parameters beside its attention's weights.

Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models", arXiv:2106.09685.
"""

import math
import re

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from selfsup.encoder.model import Encoder
from selfsup.errors import UsageError

_ADAPTED = re.compile(r"\battn\.(qkv|[qkv]_proj|proj)$")


class LowRank(nn.Module):
    """``weight + alpha / rank * up @ down``; only ``up`` and ``down`` are trained.

    ``up`` starts at 0, so that the first forward pass uses the weight itself, bit for bit.

    Args:
        weight: ``(out, in)``.
        rank: of the change.
        alpha: its scale, times ``rank``.

    Example:
        >>> weight = torch.eye(3)
        >>> torch.equal(LowRank(weight, rank=2, alpha=4.0)(weight), weight)
        True
    """

    def __init__(self, weight: Tensor, rank: int, alpha: float) -> None:
        super().__init__()
        self.scale = alpha / rank
        self.up = nn.Parameter(weight.new_zeros(weight.shape[0], rank))
        self.down = nn.Parameter(weight.new_empty(rank, weight.shape[1]))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.scale * (self.up @ self.down)


def add_adapters(encoder: Encoder, rank: int, alpha: float, seed: int = 0) -> Encoder:
    """Freeze the encoder, and give the projections of its attention adapters that learn instead.

    They are a part of the weights that the layers see, so that saving the encoder merges them.

    Args:
        encoder: changed in place and returned.
        rank, alpha: of :class:`LowRank`.
        seed: of the random halves.

    Raises:
        UsageError: it has no attention, or the rank is as large as its width.
    """
    layers = [
        module
        for name, module in encoder.model.named_modules()
        if isinstance(module, nn.Linear) and _ADAPTED.search(name)
    ]
    name = encoder.recipe["name"]
    if not layers:
        raise UsageError(
            f"backbone '{name}' has no attention for adapters; leave backbone.lora.rank out, or take a "
            "vision transformer"
        )
    if rank >= (width := min(min(layer.weight.shape) for layer in layers)):
        raise UsageError(f"backbone.lora.rank={rank} is no low rank for '{name}' of width {width}; take 8")
    encoder.requires_grad_(False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for layer in layers:
            parametrize.register_parametrization(layer, "weight", LowRank(layer.weight, rank, alpha))
    return encoder
