"""A vision transformer whose norms add 1e-12 to a variance, as transformers' ViT and MAE; timm's add 1e-6."""

from functools import partial
from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.vision_transformer import VisionTransformer
from torch import nn

# The name under which timm looks for a module's configurations.
default_cfgs = generate_default_cfgs(
    {
        "vit_base_eps12": {
            "num_classes": 1000,
            "input_size": (3, 224, 224),
            "fixed_input_size": True,
            "first_conv": "patch_embed.proj",
            "classifier": "head",
        }
    }
)


@register_model
def vit_base_eps12(pretrained: bool = False, **kwargs: Any) -> VisionTransformer:
    """ViT-Base of patches of 16 px (86 M parameters) with norms of 1e-12."""
    return build_model_with_cfg(
        VisionTransformer,
        "vit_base_eps12",
        pretrained,
        **{"norm_layer": partial(nn.LayerNorm, eps=1e-12), **kwargs},
    )
