"""Vision transformers whose patches are embedded by a small network, not by one linear map.

The hierarchical stem of Touvron et al. 2022, "Three things everyone should know about vision transformers"
(arXiv:2203.09795), section 5: pieces of 4 px are embedded, then four neighbours joined at a time up to a
whole patch, with a norm and a GELU between. No operation crosses the border of a patch, so that a masked
method may hide patches before or after it.

The paper normalises by the batch's statistics. Those are taken over hidden patches, too, and would tell of
them; here each place is normalised by itself.
"""

import math
from typing import Any

from timm.layers.norm import LayerNorm2d
from timm.layers.patch_embed import PatchEmbed
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.vision_transformer import VisionTransformer
from torch import nn

PIECE = 4  # pixels a side of what is embedded first


class MlpPatchEmbed(PatchEmbed):
    """timm's ``PatchEmbed`` with a network in the place of its linear map: ``(N, C, H, W)`` to tokens.

    Raises:
        ValueError: the patch is not a square whose side is a power of two, 2 px or more.

    >>> import torch
    >>> MlpPatchEmbed(32, 8, embed_dim=16)(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 16, 16])
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        height, width = self.patch_size
        if height != width or height < 2 or height & (height - 1):
            raise ValueError(
                f"an MLP stem needs patches of 2, 4, 8, 16 or 32 px a side, not {height} x {width}"
            )
        channels, dim = self.proj.in_channels, self.proj.out_channels
        bias = self.proj.bias is not None
        first = min(PIECE, height // 2)
        joins = int(math.log2(height // first))
        layers: list[nn.Module] = [nn.Conv2d(channels, dim // 4, first, first)]
        for join in range(joins):
            wide = dim if join == joins - 1 else dim // 4
            layers += [LayerNorm2d(dim // 4), nn.GELU(), nn.Conv2d(dim // 4, wide, 2, 2, bias=bias)]
        self.proj = nn.Sequential(*layers)  # type: ignore[assignment]


def _create(size: str, pretrained: bool, given: dict[str, Any]) -> VisionTransformer:
    name = f"vit_{size}_mlp_stem"
    return build_model_with_cfg(VisionTransformer, name, pretrained, embed_layer=MlpPatchEmbed, **given)


# The name under which timm looks for a module's configurations.
default_cfgs = generate_default_cfgs(
    {
        f"vit_{size}_mlp_stem": {
            "num_classes": 1000,
            "input_size": (3, 224, 224),
            "pool_size": None,
            "crop_pct": 0.9,
            "interpolation": "bicubic",
            "fixed_input_size": True,
            "mean": (0.485, 0.456, 0.406),
            "std": (0.229, 0.224, 0.225),
            "first_conv": "patch_embed.proj.0",
            "classifier": "head",
        }
        for size in ("tiny", "small", "base")
    }
)


@register_model
def vit_tiny_mlp_stem(pretrained: bool = False, **kwargs: Any) -> VisionTransformer:
    """ViT-Tiny with an MLP stem."""
    args = {"patch_size": 16, "embed_dim": 192, "depth": 12, "num_heads": 3}
    return _create("tiny", pretrained, {**args, **kwargs})


@register_model
def vit_small_mlp_stem(pretrained: bool = False, **kwargs: Any) -> VisionTransformer:
    """ViT-Small with an MLP stem."""
    args = {"patch_size": 16, "embed_dim": 384, "depth": 12, "num_heads": 6}
    return _create("small", pretrained, {**args, **kwargs})


@register_model
def vit_base_mlp_stem(pretrained: bool = False, **kwargs: Any) -> VisionTransformer:
    """ViT-Base with an MLP stem."""
    args = {"patch_size": 16, "embed_dim": 768, "depth": 12, "num_heads": 12}
    return _create("base", pretrained, {**args, **kwargs})
