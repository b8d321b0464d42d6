"""Tokens, kept tokens and replaced tokens of a small model of every family that has patches."""

from typing import Any

import pytest
import torch
from torch import Tensor

from selfsup import UsageError, build_encoder
from selfsup.encoder import Encoder
from selfsup.encoder.blocks import passed
from selfsup.encoder.trials import TRIALS, require_ability

SMALL = {"embed_dim": 48, "depth": 3, "num_heads": 3}
# Name, arguments and what it can do of TRIALS beside "tokens": k(ept), r(eplaced), a(ttention masks).
FAMILIES: dict[str, tuple[str, dict[str, Any], str]] = {
    "plain": ("vit_tiny_patch16_224", {"patch_size": 8}, "kra"),
    "a head that attends": ("vit_base_patch16_siglip_224", {"patch_size": 8}, "kra"),
    "distilled": ("deit_tiny_distilled_patch16_224", {"patch_size": 8}, "kra"),
    "DeiT-3": ("deit3_small_patch16_224", {"patch_size": 8}, "kra"),
    "blocks side by side": ("vit_small_patch16_18x2_224", {"patch_size": 8}, "kra"),
    "rotary": ("vit_small_patch16_dinov3", {"patch_size": 8}, "kra"),
    "BEiT": ("beit_base_patch16_224", {"patch_size": 8}, "kr"),
    "BEiT, shared positions": (
        "beit_base_patch16_224",
        {"patch_size": 8, "use_rel_pos_bias": False, "use_shared_rel_pos_bias": True},
        "kr",
    ),
    "relative positions": ("vit_relpos_small_patch16_224", {"patch_size": 8}, "kr"),
    "relative positions, a class token": ("vit_relpos_base_patch16_clsgap_224", {"patch_size": 8}, "kr"),
    "relative positions, shared": ("vit_relpos_base_patch16_rpn_224", {"patch_size": 8}, "kr"),
    "CaiT": ("cait_xxs24_224", {"patch_size": 8}, "kr"),
    "ConViT": ("convit_tiny", {"patch_size": 8, "embed_dim": 16, "local_up_to_layer": 2}, "kr"),
    "NaFlex": ("naflexvit_base_patch16_gap", {"patch_size": 8}, "kra"),
    "NaFlex, rotary": ("naflexvit_base_patch16_axialrope", {"patch_size": 8}, "kra"),
    "XCiT": ("xcit_nano_12_p8_224", {"depth": 2, "embed_dim": 48, "num_heads": 3}, "r"),
    "mixer": ("mixer_s16_224", {"patch_size": 8, "embed_dim": 32, "num_blocks": 2}, "r"),
    "a convolutional stem": ("vit_tiny_r_s16_p8_224", {}, "kra"),
}
