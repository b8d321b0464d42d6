"""What timm's vision transformers do between patches and last norm, plain or with rotary positions."""

from collections.abc import Iterator
from typing import Any

import torch
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

# Of these the patches can be dropped or replaced; Eva is EVA, EVA-02, DINOv3 and the Perception Encoder.
TRANSFORMERS = (VisionTransformer, Eva)


def embedded(model: Any, patches: Tensor, keep: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
    """The sequence that the first block gets, and the rotary positions that every block gets.

    Args:
        model: one of :data:`TRANSFORMERS`.
        patches: what its ``patch_embed`` gives.
        keep: indices ``(N, K)`` of the patches to keep; None for all.

    Returns:
        ``(N, P + K, D)``, and None for a model without rotary positions.
    """
    found = model._pos_embed(patches)
    tokens, rotary = found if isinstance(found, tuple) else (found, None)
    if keep is not None:
        prefix = int(model.num_prefix_tokens)
        kept = tokens[:, prefix:].gather(1, keep.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))
        tokens = torch.cat([tokens[:, :prefix], kept], dim=1)
        if rotary is not None:  # (L, D), or of each block and head
            rotary = rotary[:, :, keep].transpose(1, 2) if rotary.ndim == 4 else rotary[keep].unsqueeze(1)
    return model.norm_pre(tokens), rotary


def through(
    model: Any, tokens: Tensor, rotary: Tensor | None, attends: Tensor | None = None
) -> Iterator[Tensor]:
    """What each block says of the tokens, before the last norm.

    Args:
        model, tokens, rotary: as :func:`embedded` gives them.
        attends: bool ``(N, P + L, P + L)``, True where the token of a row attends to that of a column.
    """
    mask = None if attends is None else attends.unsqueeze(1)
    of_each = rotary is not None and getattr(model, "rope_mixed", False)
    for number, block in enumerate(model.blocks):
        given: dict[str, Any] = {} if mask is None else {"attn_mask": mask}
        if rotary is not None:
            given["rope"] = rotary[number] if of_each else rotary
        tokens = block(tokens, **given)
        yield tokens
