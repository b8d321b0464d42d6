"""Where other frameworks keep an encoder in their files, and what timm calls its layers.

One row a layout. A file is a state dictionary, perhaps in a container beside an optimizer's; in it, the
encoder's names begin with a prefix: whatever precedes the layout's anchor, a name that all its files have.
"""

import re
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from selfsup.encoder.weights import CONTAINERS, is_weight, unwrapped
from selfsup.errors import UsageError

# Where other frameworks keep a state dictionary, after timm's places.
_CONTAINERS = (
    *CONTAINERS,
    *("teacher", "target_encoder", "ema_encoder", "module", "model_state_dict", "student", "encoder"),
)
# Of several encoders in a file a teacher comes first, a student or a contrastive key's encoder last.
_FIRST, _LAST = r"teacher|target|ema", r"student|momentum|encoder_k|_k\b"


@dataclass(frozen=True)
class Layout:
    """How a framework names an encoder's layers.

    Attributes:
        framework: in words.
        anchor: a name that every file of it has.
        family: ``vit`` or ``resnet``, timm's class.
        renames: regular expressions and replacements, each applied once to every name, in this order.
        left_out: a regular expression of names under the prefix that are no part of the encoder.
    """

    framework: str
    anchor: str
    family: str
    renames: tuple[tuple[str, str], ...] = ()
    left_out: str = r"$^"


LAYOUTS = (
    Layout(
        "OpenCLIP",
        "class_embedding",
        "vit",
        (
            (r"^class_embedding$", "cls_token"),
            (r"^positional_embedding$", "pos_embed"),
            (r"^conv1\.", "patch_embed.proj."),
            (r"^ln_pre\.", "norm_pre."),
            (r"^ln_post\.", "norm."),
            (r"^transformer\.resblocks\.", "blocks."),
            (r"\.ln_([12])\.", r".norm\1."),
            (r"\.attn\.in_proj_(weight|bias)", r".attn.qkv.\1"),
            (r"\.attn\.out_proj\.", ".attn.proj."),
            (r"\.mlp\.c_fc\.", ".mlp.fc1."),
            (r"\.mlp\.c_proj\.", ".mlp.fc2."),
            (r"\.ls_([12])\.", r".ls\1."),
        ),
        r"proj$",
    ),
    Layout(
        "transformers",
        "embeddings.patch_embeddings.projection.weight",
        "vit",
        (
            (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
            (r"^embeddings\.cls_token$", "cls_token"),
            (r"^embeddings\.position_embeddings$", "pos_embed"),
            (r"^embeddings\.register_tokens$", "register_tokens"),
            (r"^(encoder\.layer|layers|layer)\.", "blocks."),
            (r"\.attention\.attention\.(query|key|value)\.", r".attn.\1."),
            (r"\.attention\.(q|k|v)_proj\.", r".attn.\1."),
            (r"\.attn\.(q|k|v)(uery|ey|alue)\.", r".attn.\1."),
            (r"\.attention\.(output\.dense|o_proj)\.", ".attn.proj."),
            (r"\.(layernorm_before|norm1)\.", ".norm1."),
            (r"\.(layernorm_after|norm2)\.", ".norm2."),
            (r"\.(intermediate\.dense|mlp\.weights_in)\.", ".mlp.fc1."),
            (r"(\d)\.(output\.dense|mlp\.weights_out|mlp\.down_proj)\.", r"\1.mlp.fc2."),
            (r"\.layer_scale([12])\.lambda1$", r".ls\1.gamma"),
            (r"^layernorm\.", "norm."),
        ),
        r"(pooler|decoder|classifier)\.|embeddings\.mask_token$",
    ),
    Layout(
        "transformers",
        "embedder.embedder.convolution.weight",
        "resnet",
        (
            (r"^embedder\.embedder\.convolution\.", "conv1."),
            (r"^embedder\.embedder\.normalization\.", "bn1."),
            (r"^encoder\.stages\.0\.", "layer1."),
            (r"^encoder\.stages\.1\.", "layer2."),
            (r"^encoder\.stages\.2\.", "layer3."),
            (r"^encoder\.stages\.3\.", "layer4."),
            (r"\.layers\.(\d+)\.", r".\1."),
            (r"\.layer\.0\.", ".1."),
            (r"\.layer\.1\.", ".2."),
            (r"\.layer\.2\.", ".3."),
            (r"\.([123])\.convolution\.", r".conv\1."),
            (r"\.([123])\.normalization\.", r".bn\1."),
            (r"\.shortcut\.convolution\.", ".downsample.0."),
            (r"\.shortcut\.normalization\.", ".downsample.1."),
        ),
        r"classifier\.",
    ),
    Layout(
        "torchvision",
        "conv_proj.weight",
        "vit",
        (
            (r"^conv_proj\.", "patch_embed.proj."),
            (r"^class_token$", "cls_token"),
            (r"^encoder\.pos_embedding$", "pos_embed"),
            (r"^encoder\.layers\.encoder_layer_", "blocks."),
            (r"\.ln_([12])\.", r".norm\1."),
            (r"\.self_attention\.in_proj_(weight|bias)", r".attn.qkv.\1"),
            (r"\.self_attention\.out_proj\.", ".attn.proj."),
            (r"\.mlp\.(0|linear_1)\.", ".mlp.fc1."),
            (r"\.mlp\.(3|linear_2)\.", ".mlp.fc2."),
            (r"^encoder\.ln\.", "norm."),
        ),
        r"heads\.",
    ),
    Layout(
        "mmpretrain",
        "patch_embed.projection.weight",
        "vit",
        (
            (r"^patch_embed\.projection\.", "patch_embed.proj."),
            (r"^layers\.", "blocks."),
            (r"^(blocks\.\d+)\.ln([12])\.", r"\1.norm\2."),
            (r"\.ffn\.layers\.0\.0\.", ".mlp.fc1."),
            (r"\.ffn\.layers\.1\.", ".mlp.fc2."),
            (r"\.attn\.gamma1\.weight$", ".ls1.gamma"),
            (r"\.ffn\.gamma2\.weight$", ".ls2.gamma"),
            (r"^pre_norm\.", "norm_pre."),
            (r"^ln1\.", "norm."),
            (r"^ln2\.", "fc_norm."),
        ),
    ),
    Layout(  # DINO, iBOT, MSN, MAE, I-JEPA, MoCo v3, DINOv2, lightly, solo-learn, stable-pretraining
        "timm",
        "patch_embed.proj.weight",
        "vit",
        (
            (r"^blocks\.\d+\.(\d+\.)", r"blocks.\1"),  # DINOv2's chunks: blocks are counted through
            (r"\.gamma_([12])$", r".ls\1.gamma"),
            (r"\.mlp\.w12\.", ".mlp.fc1."),
            (r"\.mlp\.w3\.", ".mlp.fc2."),
        ),
        r"(head|fc|decoder|predictor|prototypes|projector|pred)\b|decoder_|mask(ed)?_(token|embed)$",
    ),
    Layout(  # torchvision, MoCo, SimSiam, Barlow Twins, VICReg, SwAV, lightly, solo-learn
        "torchvision",
        "layer1.0.conv1.weight",
        "resnet",
        left_out=r"fc\b|projection_head\.|prototypes|head\.",
    ),
    Layout(
        "lightly",
        "4.0.conv1.weight",
        "resnet",
        ((r"^0\.", "conv1."), (r"^1\.", "bn1."), *((rf"^{n + 3}\.", f"layer{n}.") for n in (1, 2, 3, 4))),
    ),
)
# Layers of timm's, and the layers whose rows they have one after another.
_PARTS = (
    (".attn.qkv.", ".attn.q.", ".attn.k.", ".attn.v."),
    (".mlp.fc1.", ".mlp.gate_proj.", ".mlp.up_proj."),
)
# Signs of encoders that cannot be read as one of the above, each with what helps.
_REFUSED = (
    (r"modality_encoders\.IMAGE\.", "data2vec 2, whose blocks no timm model has"),
    (r"\.residual1\.", "CAPI, whose blocks no timm model has"),
    (r"rope_embed\.|storage_tokens", "DINOv3; name timm's instead, such as timm:vit_small_patch16_dinov3"),
    (r"relative_position_bias_table|attn\.q_bias", "BEiT, SimMIM or Swin; convert it to timm's names first"),
    (r"^(.*\.)?(downsample_layers\.0|stem\.0)\.", "ConvNeXt; convert it to timm's names first"),
    (r"dist_token", "a distilled DeiT, whose second class token is not read"),
)


@dataclass(frozen=True)
class Found:
    """An encoder in a file.

    Attributes:
        layout: its row.
        prefix: what its names began with.
        state: its tensors under timm's names.
        left_out: the other names in the file.
    """

    layout: Layout
    prefix: str
    state: dict[str, Tensor]
    left_out: tuple[str, ...]


def find(content: Any, where: str, branch: str | None = None) -> Found:
    """The encoder in the content of a file.

    Args:
        content: a state dictionary, or a checkpoint that holds one.
        where: the file's name, for messages.
        branch: the prefix to take, where a file has several encoders.

    Raises:
        UsageError: there is none of a known layout, or none of that prefix.
    """
    entries = unwrapped(content, _CONTAINERS).items()
    state = {name: value for name, value in entries if is_weight(name, value)}
    anchored = [
        (name.removesuffix(layout.anchor), layout)
        for layout in LAYOUTS
        for name in state
        if name == layout.anchor or name.endswith(f".{layout.anchor}")
    ]
    for sign, words in _REFUSED:
        if any(re.search(sign, name) for name in state):
            raise UsageError(f"'{where}' holds weights of {words}")
    if branch is not None:
        anchored = [each for each in anchored if each[0].rstrip(".") == branch.rstrip(".")]
    if not anchored:
        some = ", ".join(sorted(state)[:3]) or "no tensors"
        under = "" if branch is None else f" under '{branch}'"
        raise UsageError(f"'{where}' holds no encoder of a known layout{under}: it has {some}")
    prefix, layout = min(anchored, key=lambda each: (_rank(each[0]), len(each[0]), each[0]))
    left_out = {name for name in state if not name.startswith(prefix)}
    left_out |= {name for name in state if re.match(layout.left_out, name.removeprefix(prefix))}
    inside = {name.removeprefix(prefix): state[name] for name in state.keys() - left_out}
    return Found(layout, prefix, _in_timms_terms(layout, inside), tuple(sorted(left_out)))


def _rank(prefix: str) -> int:
    return 0 if re.search(_FIRST, prefix) else 2 if re.search(_LAST, prefix) else 1


def _in_timms_terms(layout: Layout, inside: dict[str, Tensor]) -> dict[str, Tensor]:
    state = {}
    for name, value in inside.items():
        for pattern, replacement in layout.renames:
            name = re.sub(pattern, replacement, name, count=1)
        state[name] = value
    return _joined(state) if layout.family == "vit" else state


def _joined(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Parts of one layer in one tensor; prefix tokens and positions with a dimension for samples."""
    for whole, first, *others in _PARTS:
        for name in [name for name in state if first in name]:
            names = [name, *(name.replace(first, other) for other in others)]
            if all(each in state for each in names):
                state[name.replace(first, whole)] = torch.cat([state.pop(each) for each in names])
    for name in ("cls_token", "pos_embed", "register_tokens"):
        while name in state and state[name].ndim < 3:
            state[name] = state[name].unsqueeze(0)
    if "register_tokens" in state:  # timm's registers have no position, and its class token adds its own
        positions = state["pos_embed"]
        state["reg_token"] = state.pop("register_tokens")
        state["cls_token"], state["pos_embed"] = state["cls_token"] + positions[:, :1], positions[:, 1:]
    return state
