"""Parameter groups: which parameters decay, and how fast each layer learns."""

from collections.abc import Iterator
from typing import Any

from timm.models import group_parameters
from torch import nn


def parameter_groups(
    module: nn.Module, weight_decay: float, layer_decay: float = 1.0
) -> list[dict[str, Any]]:
    """Groups of the trainable parameters for an optimizer: matrices, decayed, before the rest, not.

    The rest is biases, norms and other vectors, and whatever a sub-module lists in timm's
    ``no_weight_decay()`` (position embeddings, class tokens).

    With a layer decay below 1, each group also has its layer's share ``lr_scale`` of the learning rate (Clark
    et al. 2020, arXiv:2003.10555): in a timm model of the layers 0 (the stem) to L, layer i has ``layer_decay
    ** (L + 1 - i)``; a classifier and everything outside timm's models has 1. A torch optimizer ignores the
    key: multiply the rate by it.

    Args:
        module: a timm model, or anything that holds some.
        weight_decay: of the decayed groups.
        layer_decay: above 0 and at most 1.

    Raises:
        ValueError: a layer decay out of range, or one below 1 for a module without any layers known to timm.

    Example:
        >>> [len(group["params"]) for group in parameter_groups(nn.Linear(3, 2), 0.1)]
        [1, 1]
    """
    if not 0 < layer_decay <= 1:
        raise ValueError(f"layer_decay must be above 0 and at most 1, got {layer_decay}")
    scales = _layer_scales(module, layer_decay) if layer_decay < 1 else {}
    exempt = set(_exempt(module))
    groups = {key: _group(*key, weight_decay) for key in ((1.0, True), (1.0, False))}
    for name, value in module.named_parameters():
        if value.requires_grad:
            key = (scales.get(name, 1.0), value.ndim > 1 and name not in exempt)
            groups.setdefault(key, _group(*key, weight_decay))["params"].append(value)
    return list(groups.values())


def _group(lr_scale: float, decayed: bool, weight_decay: float) -> dict[str, Any]:
    return {
        "params": [],
        "weight_decay": weight_decay if decayed else 0.0,
        "decayed": decayed,
        "lr_scale": lr_scale,
    }


def _layer_scales(module: nn.Module, layer_decay: float) -> dict[str, float]:
    scales = {}
    for prefix, model in module.named_modules():
        matcher = getattr(model, "group_matcher", None)
        if callable(matcher):
            layers = group_parameters(model, matcher(coarse=False), reverse=True)
            # timm counts a classifier as a layer more, which is the one that learns at the full rate.
            full = max(layers.values()) + (0 if getattr(model, "num_classes", 0) else 1)
            for name, layer in layers.items():
                scales[_joined(prefix, name)] = layer_decay ** (full - layer)
    if not scales:
        raise ValueError(
            f"layer_decay must be 1 for {type(module).__name__}, which has no layers known to timm"
        )
    return scales


def _exempt(module: nn.Module) -> Iterator[str]:
    for prefix, child in module.named_modules():
        listed = getattr(child, "no_weight_decay", None)
        if callable(listed):
            yield from (_joined(prefix, name) for name in listed())


def _joined(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name
