"""An encoder's features of places: the tokens of patches, or the cells of a network's last map."""

import torch
from torch import Tensor

from selfsup.encoder import Encoder
from selfsup.errors import UsageError


def places_of(encoder: Encoder, images: Tensor) -> tuple[Tensor, Tensor]:
    """Pooled features ``(N, D)``, and those of places ``(N, D, h, w)`` or what the model has instead.

    >>> from selfsup import build_encoder
    >>> [tuple(each.shape) for each in places_of(build_encoder("resnet18", 64), torch.zeros(1, 3, 64, 64))]
    [(1, 512), (1, 512, 2, 2)]
    """
    if not encoder.has_tokens:
        found = encoder.model.forward_features(images)
        return encoder.pool(found), found
    sequence = encoder.sequence(images)
    rows = images.shape[-2] // encoder.patch_size
    return encoder.pool(sequence), sequence[:, encoder.prefix :].transpose(1, 2).unflatten(2, (rows, -1))


def in_rows(places: Tensor) -> Tensor:
    """``(N, D, h, w)`` as ``(N, h w, D)``."""
    return places.flatten(2).transpose(1, 2)


@torch.no_grad()
def require_places(encoder: Encoder, ways: str) -> tuple[int, int]:
    """Rows and columns of an encoder's places at its input size.

    Raises:
        UsageError: it has no features of places ``(N, D, h, w)``; ``ways`` says what to do.
    """
    shape = encoder.model.forward_features(torch.zeros(1, encoder.channels, *encoder.input_size)).shape
    if encoder.has_tokens:
        return encoder.grid
    if len(shape) != 4 or shape[1] != encoder.model.num_features:
        raise UsageError(f"'{encoder.recipe['name']}' has no features of places; {ways}")
    return shape[2], shape[3]
