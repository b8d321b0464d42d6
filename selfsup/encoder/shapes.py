"""Infer the timm architecture of a state dictionary from the shapes of its tensors."""

import math
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from selfsup.errors import UsageError

# Heads by width, which fused projections do not show; others have 64 dimensions each.
_HEADS = {1280: 16, 1408: 16, 1152: 16, 4096: 32}
_NAMED = {(192, 12): "tiny", (384, 12): "small", (768, 12): "base", (1024, 24): "large", (1280, 32): "huge"}
_RESNETS: dict[tuple[tuple[int, ...], bool], str] = {
    ((2, 2, 2, 2), False): "resnet18",
    ((3, 4, 6, 3), False): "resnet34",
    ((3, 4, 6, 3), True): "resnet50",
    ((3, 4, 23, 3), True): "resnet101",
    ((3, 8, 36, 3), True): "resnet152",
}
_WIDER = {(1, 128): "wide_{}_2", (32, 128): "{}_32x4d", (32, 256): "{}_32x8d"}
_EPS = 1e-6
_NORMS = {1e-5: "vit_base_patch16_clip_224", 1e-12: "vit_base_eps12"}  # models by what their norms add


def architecture(
    family: str, state: Mapping[str, Tensor], heads: int | None = None, eps: float = _EPS
) -> tuple[str, int, dict[str, Any], int]:
    """Name, pixels a side, arguments and channels of the timm model of these tensors.

    Args:
        family: ``vit`` or ``resnet``.
        state: the tensors under timm's names.
        heads: of a vision transformer's attention; by default what its width usually has.
        eps: of its norms.

    Raises:
        UsageError: timm has no such model.
        KeyError, IndexError, ArithmeticError: a tensor is missing, or has too few dimensions or none.

    Example:
        >>> import timm
        >>> architecture("resnet", timm.create_model("resnet18", num_classes=0).state_dict())
        ('resnet18', 224, {}, 3)
    """
    first = state.get("patch_embed.proj.weight" if family == "vit" else "conv1.weight")
    channels = first.shape[1] if first is not None and first.ndim == 4 else 3
    return *(_vit(state, heads, eps) if family == "vit" else _resnet(state)), channels


def _vit(state: Mapping[str, Tensor], heads: int | None, eps: float) -> tuple[str, int, dict[str, Any]]:
    patch = state["patch_embed.proj.weight"]
    if patch.ndim != 4 or patch.shape[2] != patch.shape[3]:
        raise UsageError(f"patches of shape {tuple(patch.shape)} are not square ones of an image")
    width, depth = patch.shape[0], _blocks(state, "blocks")
    if heads is None and width not in _HEADS and width % 64:
        raise UsageError(
            f"the weights do not say how many heads attention of width {width} has; write the number behind "
            "the file's name, such as FILE#heads=12"
        )
    heads = heads or _HEADS.get(width, width // 64)
    if type(heads) is not int or heads < 1 or width % heads:
        raise UsageError(f"attention of width {width} cannot have {heads} heads")
    if type(eps) is not float or (eps != _EPS and eps not in _NORMS):
        raise UsageError(f"norms that add {eps} to a variance are not read, only 1e-5, 1e-6 and 1e-12")
    if "pos_embed" not in state:
        raise UsageError("the weights have no position embeddings, and rotary ones are not read")
    classed, registers = "cls_token" in state, state["reg_token"].shape[1] if "reg_token" in state else 0
    apart = bool(registers)
    positions = state["pos_embed"].shape[1] - (0 if apart else int(classed))
    side = math.isqrt(positions)
    if side * side != positions:
        raise UsageError(f"{positions} position embeddings are not those of a square image")
    first, second = state["blocks.0.mlp.fc1.weight"], state["blocks.0.mlp.fc2.weight"]
    gated = first.shape[0] == 2 * second.shape[1]
    args: dict[str, Any] = {
        "patch_size": patch.shape[2],
        "embed_dim": width,
        "depth": depth,
        "num_heads": heads,
        "mlp_ratio": first.shape[0] / width,
        "qkv_bias": "blocks.0.attn.qkv.bias" in state,
        "class_token": classed,
        "global_pool": "token" if classed and "fc_norm.weight" not in state else "avg",
        "fc_norm": "fc_norm.weight" in state,
        "pre_norm": "norm_pre.weight" in state,
        "init_values": 1e-5 if "blocks.0.ls1.gamma" in state else None,
    }
    if apart:
        args |= {"reg_tokens": registers, "no_embed_class": True}
    if gated:
        name = "vit_giant_patch14_reg4_dinov2" if apart else "vit_giant_patch14_dinov2"
    elif eps in _NORMS:
        name = _NORMS[eps]
    else:
        name = f"vit_{_NAMED.get((width, depth), 'base')}_patch{14 if width == 1280 else 16}_224"
    return name, side * patch.shape[2], args


def _resnet(state: Mapping[str, Tensor]) -> tuple[str, int, dict[str, Any]]:
    if "conv1.weight" not in state:
        raise UsageError("the network's first layer is not one convolution, and its kind is not read")
    first = state["conv1.weight"]
    blocks = tuple(_blocks(state, f"layer{stage}") for stage in (1, 2, 3, 4))
    name = _RESNETS.get((blocks, "layer1.0.conv3.weight" in state))
    if name is None or first.shape[0] != 64:
        raise UsageError(f"timm has no ResNet of {blocks} blocks that begins with {first.shape[0]} channels")
    inner = state["layer1.0.conv2.weight"].shape
    if "layer1.0.conv3.weight" in state and (inner[0] != 64 or inner[1] != 64):
        wider = _WIDER.get((inner[0] // inner[1], inner[0]))
        if wider is None:
            raise UsageError(
                f"timm has no {name} whose blocks have {inner[0]} channels in groups of {inner[1]}"
            )
        name = wider.format(name).replace("resnet", "resnext" if "_32x" in wider else "resnet")
    if first.shape[2] == 7:
        return name, 224, {}
    if first.shape[2] != 3 or name not in ("resnet18", "resnet50"):
        raise UsageError(
            f"{name} with a first convolution of {first.shape[2]} x {first.shape[2]} is not read"
        )
    return f"{name}_small", 32, {}


def _blocks(state: Mapping[str, Tensor], under: str) -> int:
    numbers = [int(found[1]) for name in state if (found := re.match(rf"{under}\.(\d+)\.", name))]
    if not numbers:
        raise KeyError(under)
    return max(numbers) + 1
