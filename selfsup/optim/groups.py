"""Which parameters are decayed."""

from collections.abc import Iterator
from typing import Any

from torch import nn


def parameter_groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Two groups of trainable parameters: matrices, decayed, and the rest, not.

    The rest is biases, norms and other vectors, and whatever a sub-module lists in timm's
    ``no_weight_decay()`` (position embeddings, class tokens).

    Example:
        >>> [len(group["params"]) for group in parameter_groups(nn.Linear(3, 2), 0.1)]
        [1, 1]
    """
    exempt = set(_exempt(module))
    named = [(name, value) for name, value in module.named_parameters() if value.requires_grad]
    decayed = [value for name, value in named if value.ndim > 1 and name not in exempt]
    others = [value for name, value in named if value.ndim <= 1 or name in exempt]
    return [
        {"params": decayed, "weight_decay": weight_decay, "decayed": True},
        {"params": others, "weight_decay": 0.0, "decayed": False},
    ]


def _exempt(module: nn.Module) -> Iterator[str]:
    for prefix, child in module.named_modules():
        listed = getattr(child, "no_weight_decay", None)
        if callable(listed):
            yield from (f"{prefix}.{name}" if prefix else name for name in listed())
