"""A vision transformer's attention, and similarities among its patches."""

from typing import Any

import torch
from torch import Tensor

from selfsup.data import Source
from selfsup.encoder import Encoder
from selfsup.evaluation.errors import NoScore
from selfsup.evaluation.features.extract import evaluating
from selfsup.evaluation.features.frozen import FrozenEncoder
from selfsup.evaluation.features.images import fitting
from selfsup.evaluation.features.parts import tokens
from selfsup.report.embedding import principal
from selfsup.report.gallery import sample
from selfsup.report.pictures import enlarged, figure, over

IMAGES = 6
SIDE = 160  # pixels a side of these pictures, at least


@torch.inference_mode()
def insight(encoder: Encoder, source: Source) -> dict[str, Any] | None:
    """Rows of figures: images, the last block's attention, and their patches in colours.

    The colours are the first three principal components of the patch features of all these images: patches
    of one colour are alike to the encoder.
    """
    images, where = sample(source, IMAGES, fitting(encoder))
    if not where:
        return None
    (height, width), scale = encoder.input_size, max(1.0, SIDE / max(encoder.input_size))
    size = round(height * scale), round(width * scale)
    with evaluating(encoder):
        frozen = FrozenEncoder(encoder, encoder.mean, encoder.std)
        rows = [{"title": "The image", "figures": _figures(enlarged(images, size), "test image")}]
        weights = attention(encoder, frozen.normalised(images)) if encoder.has_tokens else None
        if weights is not None:
            low, high = (end[:, None, None] for end in weights.flatten(1).aminmax(dim=1))
            heat = (weights - low) / (high - low).clamp(min=1e-12)
            who = "The class token looks here" if encoder.prefix else "Patches look here"
            rows.append(
                {
                    "title": f"{who}, from least (blue) to most (yellow); last block, mean of its heads",
                    "figures": _figures(over(enlarged(images, size), heat), "attention on test image"),
                }
            )
        try:
            patches = tokens(frozen, images, torch.tensor(where))[:, encoder.prefix :]
        except NoScore:
            patches = torch.empty(0)
    rows_of = round((patches.shape[1] * height / width) ** 0.5) if patches.ndim == 3 else 0
    columns = patches.shape[1] // rows_of if rows_of else 0
    if min(rows_of, columns) > 1 and rows_of * columns == patches.shape[1]:
        colours = _colours(patches).view(len(images), rows_of, columns, 3).movedim(-1, 1)
        rows.append(
            {
                "title": "Its patches: those of one colour are alike to the encoder",
                "figures": _figures(enlarged(colours, size), "patch features of test image"),
            }
        )
    return {"rows": rows} if len(rows) > 1 else None


def attention(encoder: Encoder, inputs: Tensor) -> Tensor | None:
    """Attention that patches get in the last block, mean over heads: ``(N, rows, columns)``.

    From the class token if there is one, else from all patches. None for an attention that does not expose
    its weights.

    Args:
        inputs: normalised images ``(N, 3, H, W)``.
    """
    layer: Any = getattr(encoder.model.blocks[-1], "attn", None)
    if not (hasattr(layer, "attn_drop") and hasattr(layer, "fused_attn")):
        return None
    seen: list[Tensor] = []
    fused, layer.fused_attn = layer.fused_attn, False
    hook = layer.attn_drop.register_forward_hook(lambda module, given, weights: seen.append(weights))
    try:
        encoder.sequence(inputs)
    finally:
        hook.remove()
        layer.fused_attn = fused
    first, columns = encoder.prefix, inputs.shape[-1] // encoder.patch_size
    tokens = first + inputs.shape[-2] // encoder.patch_size * columns
    if not seen or seen[0].shape[-2:] != (tokens, tokens):  # XCiT's attention is among channels
        return None
    weights = seen[0].float().mean(dim=1)  # (N, tokens, tokens)
    from_whom = weights[:, 0] if first else weights.mean(dim=1)
    return from_whom[:, first:].unflatten(1, (-1, columns)).cpu()


def _colours(patches: Tensor) -> Tensor:
    """Three principal components of ``(N, L, D)`` as uint8 ``(N, L, 3)``, stretched between 2 and 98 %."""
    parts = principal(patches.flatten(0, 1).cpu(), 3)
    low, high = parts.quantile(0.02, dim=0), parts.quantile(0.98, dim=0)
    unit = ((parts - low) / (high - low).clamp(min=1e-12)).clamp(0, 1)
    return (unit * 255).round().byte().view(*patches.shape[:2], 3)


def _figures(images: Tensor, of: str) -> list[dict[str, Any]]:
    return [figure(image, f"{of} {i + 1}") for i, image in enumerate(images)]
