"""Whether an encoder can do what a method requires of it: asked by a trial, whatever its class is."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from selfsup.encoder.abilities import cell_sides
from selfsup.encoder.creation import NO_PASS
from selfsup.errors import UsageError

_FAILED = (*NO_PASS, TypeError, AttributeError)


@torch.no_grad()
def require_ability(encoder: Any, need: str) -> None:
    """Raise a UsageError unless an encoder has an ability; of other needs of a method nothing is asked.

    Values are compared where the encoder has some, and shapes alone on torch's device ``meta``.

    Args:
        encoder: the :class:`~selfsup.encoder.Encoder`.
        need: one of :data:`TRIALS`.

    >>> from selfsup import build_encoder
    >>> require_ability(build_encoder("resnet18", 32), "kept tokens")
    Traceback (most recent call last):
    selfsup.errors.UsageError: backbone 'resnet18' has no patch tokens that a layer `patch_embed` makes; \
take a vision transformer, such as backbone=vit_tiny or backbone=vit_small
    """
    if need not in TRIALS:
        return
    trial, words, of_cells = TRIALS[need]
    cell = cell_sides(encoder.model)
    if not of_cells or cell is None or cell[0] != cell[1]:
        encoder.require_tokens()
    was_training, weight = encoder.training, next(encoder.parameters())
    encoder.eval()
    generator = torch.Generator().manual_seed(0)
    shape = (2, encoder.channels, *encoder.input_size)
    images = torch.randn(shape, generator=generator, device="cpu").to(weight)
    try:
        reason = trial(encoder, images)
    except _FAILED as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
    finally:
        encoder.train(was_training)
    if reason:
        raise UsageError(
            f"backbone '{encoder.recipe['name']}' cannot {words} ({reason}); take a vision transformer, such "
            "as backbone=vit_tiny or backbone=vit_small"
        )


def _tokens(encoder: Any, images: Tensor) -> str | None:
    return _shaped(encoder.sequence(images), _length(encoder) + encoder.prefix, encoder.dim)


def _pooled(encoder: Any, images: Tensor) -> str | None:
    pooled, whole = encoder.pool(encoder.sequence(images)), encoder(images)
    if pooled.shape != whole.shape or not _same(pooled, whole, 1e-4):
        return "they are not what makes its features, as a trial shows"
    return None


def _kept(encoder: Any, images: Tensor) -> str | None:
    length = _length(encoder)
    keep = torch.arange(0, length, 2, device=images.device).expand(len(images), -1)
    tokens = encoder.tokens(images, keep)
    if reason := _shaped(tokens, keep.shape[1], encoder.dim):
        return reason
    hidden = torch.ones(len(images), length, dtype=torch.bool, device=images.device).scatter(1, keep, False)
    if not _same(tokens, encoder.tokens(_changed(encoder, images, hidden), keep)):
        return "it sees what is left out, as a trial shows"
    if not _same(tokens.flip(1), encoder.tokens(images, keep.flip(1)), 1e-4):
        return "its patches lose their places, as a trial shows"
    return None


def _replaced(encoder: Any, images: Tensor) -> str | None:
    hidden = torch.zeros(len(images), _length(encoder), dtype=torch.bool, device=images.device)
    hidden[:, ::2] = True
    token = images.new_full((encoder.patch_width,), 0.1)
    found = encoder.sequence(images, mask=hidden, token=token)
    if reason := _shaped(found, hidden.shape[1] + encoder.prefix, encoder.dim):
        return reason
    again = encoder.sequence(_changed(encoder, images, hidden), mask=hidden, token=token)
    return None if _same(found, again) else "it sees what is hidden, as a trial shows"


def _masked(encoder: Any, images: Tensor) -> str | None:
    prefix, length = encoder.prefix, _length(encoder)
    attends = torch.ones(len(images), *(prefix + length,) * 2, dtype=torch.bool, device=images.device)
    attends[:, :-1, -1] = False
    layers = encoder.layers(images, attends)
    if reason := next(filter(None, (_shaped(x, prefix + length, encoder.dim) for x in layers)), None):
        return reason
    hidden = torch.zeros(len(images), length, dtype=torch.bool, device=images.device)
    hidden[:, -1] = True
    again = encoder.layers(_changed(encoder, images, hidden), attends)
    same = all(_same(one[:, :-1], other[:, :-1]) for one, other in zip(layers, again, strict=True))
    return None if same else "tokens see what it hides from them, as a trial shows"


def _length(encoder: Any) -> int:
    return math.prod(encoder.grid)


def _shaped(tokens: Tensor, length: int, width: int) -> str | None:
    found = tuple(tokens.shape[1:])
    return None if found == (length, width) else f"it gives {found} features, not {length} of width {width}"


def _changed(encoder: Any, images: Tensor, hidden: Tensor) -> Tensor:
    side = encoder.patch_size
    places = hidden.unflatten(1, encoder.grid).repeat_interleave(side, 1).repeat_interleave(side, 2)
    return torch.where(places.unsqueeze(1), 9 - images, images)


def _same(one: Tensor, other: Tensor, share: float = 1e-5) -> bool:
    """Whether two differ by no more than a share of the largest number; in an untrained network, attention
    says little."""
    return one.is_meta or float((one - other).abs().max()) <= share * float(one.abs().max())


# By the name in a method's `requires`: the trial, its words, and whether cells of a last map will do.
TRIALS: dict[str, tuple[Callable[[Any, Tensor], str | None], str, bool]] = {
    "tokens": (_tokens, "give a feature of each part of an image", True),
    "kept tokens": (_kept, "leave patches out before its first block", False),
    "pooled tokens": (_pooled, "pool the tokens of its patches", False),
    "replaced tokens": (_replaced, "have a token in the place of a patch", True),
    "attention masks": (_masked, "have its attention masked in each block", False),
}
