"""Inputs that a protocol can request in addition to pooled features, in ``needs`` of its configuration.

Each function here, or anywhere else, maps a batch to the values to keep:
``(frozen, images, index, **settings) -> (B, ...)`` of uint8 images ``(B, C, H, W)`` of the samples ``index``;
a NoScore says that the encoder does not have them. In a configuration::

    needs:
      tokens:
        _target_: selfsup.evaluation.features.parts.tokens
        images: 10000  # of so many evenly spaced images of each split; all if left out
        splits: [train, test]  # or one of them; both if left out

Any other key is a setting of the function. The protocol finds the result in ``train.parts["tokens"]``.
"""

from collections.abc import Mapping, Sequence
from inspect import signature
from typing import Any

import torch
from torch import Tensor

from selfsup.errors import UsageError
from selfsup.evaluation.errors import NoScore
from selfsup.evaluation.features.frozen import FrozenEncoder, Pixels
from selfsup.sides import in_words, sides
from selfsup.views import ViewPlan, view_kinds


def blocks(frozen: FrozenEncoder, images: Tensor, index: Tensor, count: int = 4) -> Tensor:
    """The last ``count`` blocks' class token and averaged patches, after the last norm: ``(B, count, 2, D)``.

    ``(B, count, 1, D)`` of an encoder without a class token. A network without blocks of one width gives its
    last feature map, averaged: ``(B, 1, 1, D)``; one whose blocks timm does not show apart gives the last.
    """
    encoder = _encoder(frozen)
    if not encoder.has_tokens:
        return frozen.through(lambda inputs: _map(encoder, inputs).mean((2, 3)), images)[:, None, None]
    if "return_prefix_tokens" not in signature(encoder.model.forward_intermediates).parameters:
        return frozen.through(lambda inputs: _kinds(encoder, encoder.sequence(inputs)), images)[:, None]
    last = min(count, len(encoder.model.blocks))

    def run(inputs: Tensor) -> Tensor:
        outputs = encoder.model.forward_intermediates(
            inputs,
            indices=last,
            norm=True,
            output_fmt="NLC",
            return_prefix_tokens=encoder.prefix > 0,
            intermediates_only=True,
        )
        # Without prefix tokens timm returns the patches alone, not a pair.
        pairs = [output if isinstance(output, tuple) else (output, None) for output in outputs]
        return torch.stack(
            [
                torch.stack([*([prefix[:, 0]] if encoder.prefix else []), patches.mean(1)], dim=1)
                for patches, prefix in pairs
            ],
            dim=1,
        )

    return frozen.through(run, images)


def _kinds(encoder: Any, sequence: Tensor) -> Tensor:
    """Class token and averaged patches ``(B, 2, D)`` of a sequence, or these alone."""
    patches = sequence[:, encoder.prefix :].mean(1)
    return torch.stack([*([sequence[:, 0]] if encoder.prefix else []), patches], dim=1)


def tokens(frozen: FrozenEncoder, images: Tensor, index: Tensor) -> Tensor:
    """All tokens after the last norm, ``(B, L, D)``; of a convolutional network its last map's places."""
    encoder = _encoder(frozen)
    if encoder.has_tokens:
        return frozen.through(encoder.sequence, images)
    return frozen.through(lambda inputs: _map(encoder, inputs).flatten(2).transpose(1, 2), images)


def views(
    frozen: FrozenEncoder,
    images: Tensor,
    index: Tensor,
    plan: Mapping[str, Mapping[str, Any]],
    count: int,
    seed: int = 0,
    colours: bool = True,
) -> Tensor:
    """Pooled features of ``count`` augmented views of each image, ``(B, count, D)``.

    Args:
        plan: kinds of views by name, each a mapping of :class:`selfsup.views.plan.View`'s attributes;
            those of the encoder's size are drawn equally often.
        count: views an image.
        seed: of the draws, which depend on it and the sample's index alone.
        colours: whether three channels are red, green and blue.
    """
    channels, *size = images.shape[1:]
    kinds = whole_views(plan, size, count)
    maker = ViewPlan(kinds, size, (0.0,) * channels, (1.0,) * channels, seed, colours=colours)
    made = maker({"image": images.to(frozen.device), "index": index.to(frozen.device)}, 0)
    return torch.stack([frozen(view.clamp(0, 1)) for view in made], dim=1)


def whole_views(
    plan: Mapping[str, Mapping[str, Any]], size: int | Sequence[int], count: int
) -> dict[str, dict[str, Any]]:
    """The kinds of views that have the encoder's size, ``count`` views in all, as evenly as can be.

    Args:
        plan: kinds by name.
        size: pixels a side that the encoder sees, or height and width.
        count: how many views.

    Raises:
        UsageError: no kind has that size.
    """
    whole = (1, min(sides(size)))
    # Of each image itself, also where training had a view of a partner.
    kinds = {
        name: {**kind, "of": "self"}
        for name, kind in view_kinds(plan).items()
        if kind["count"] and kind["size"] in whole
    }
    if not kinds:
        raise UsageError(f"no kind of view has the encoder's size of {in_words(size)}; give one size=1.0")
    for number, kind in enumerate(kinds.values()):
        kind["count"] = count // len(kinds) + (number < count % len(kinds))
    return {name: kind for name, kind in kinds.items() if kind["count"]}


def turns(frozen: FrozenEncoder, images: Tensor, index: Tensor, same: bool | None = False) -> Tensor:
    """Pooled features of each image turned by 0, 90, 180 and 270 degrees, ``(B, 4, D)``.

    Args:
        same: whether the images have no upright, so that a turned one means the same (``data.turns``).

    Raises:
        NoScore: images that are not square, or have no upright.
    """
    if same:
        raise NoScore("quarter turns of these images mean the same (data.turns=true): there is none to tell")
    height, width = images.shape[2:]
    if height != width:
        raise NoScore(
            f"images of {in_words((height, width))} that are turned by 90 degrees have another shape than "
            "the encoder's input"
        )
    return torch.stack([frozen(images.rot90(quarter, (2, 3))) for quarter in range(4)], dim=1)


def _encoder(frozen: FrozenEncoder) -> Any:
    if isinstance(frozen, Pixels):
        raise NoScore("raw pixels have no encoder to look into")
    return frozen.encoder


def _map(encoder: Any, inputs: Tensor) -> Tensor:
    features: Tensor = encoder.model.forward_features(inputs)
    if features.ndim == 4 and features.shape[1] == encoder.dim:
        return features
    if features.ndim == 4 and features.shape[3] == encoder.dim:
        return features.permute(0, 3, 1, 2)
    raise NoScore(f"a {type(encoder.model).__name__} gives neither tokens nor a feature map of its width")
