"""The encoder that training begins with where it begins from weights, anybody's."""

import inspect
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import timm
import torch
from timm.layers.pos_embed import resample_abs_pos_embed
from torch import Tensor

from selfsup.encoder.creation import named_now
from selfsup.encoder.folder import load_encoder
from selfsup.encoder.model import Encoder, build_encoder
from selfsup.encoder.values import Ranges
from selfsup.errors import UsageError
from selfsup.sides import compact, in_words

_logger = logging.getLogger(__name__)
_POSITIONS = "pos_embed"


def start_from(
    weights: str,
    image_size: int | Sequence[int],
    model_args: Mapping[str, Any] | None = None,
    range: Ranges | None = None,
    channels: int | None = None,
    mean: Iterable[float] | None = None,
    std: Iterable[float] | None = None,
) -> Encoder:
    """An encoder with somebody's weights, for images of ``image_size`` pixels, to be trained on.

    The weights bring their architecture and their images' mean and standard deviation. If the image size
    changes, learned position embeddings are resampled bicubically and fixed ones are computed again. If the
    number of channels changes, the first layer's weights are repeated over them, or added up for one.

    Args:
        weights: what :func:`~selfsup.encoder.load_encoder` reads; of ``timm:NAME`` the published weights.
        image_size: pixels a side of the images to train on, or their height and width.
        model_args: arguments of the timm model that replace its own, such as ``drop_path_rate``.
        range: as in :func:`~selfsup.encoder.build_encoder`.
        channels: of the images to train on; by default those of the weights.
        mean, std: of these images; used if their number of channels differs from that of the weights.

    Raises:
        UsageError: they cannot be read, or do not fit images of that size or such arguments.
    """
    loaded = load_published(weights)
    args = {**loaded.recipe["model_args"], **(model_args or {})}
    if "img_size" in args:
        args["img_size"] = compact(image_size)
    if "dynamic_img_size" in inspect.signature(type(loaded.model).__init__).parameters:
        args.setdefault("dynamic_img_size", True)  # views may be of several sizes
    recipe = {**loaded.recipe, "image_size": compact(image_size), "model_args": args}
    recipe["channels"] = channels or loaded.channels
    if recipe["channels"] == loaded.channels:
        mean, std = loaded.mean, loaded.std
    encoder = build_encoder(**recipe, mean=mean, std=std, range=range)
    _fill(encoder, loaded, weights)
    return encoder


def load_published(weights: str) -> Encoder:
    """What :func:`~selfsup.encoder.load_encoder` reads, but of ``timm:NAME`` the published weights.

    Raises:
        UsageError: as :func:`~selfsup.encoder.load_encoder`, or timm has no weights of that name.
    """
    return load_encoder(_published(weights))


def _published(weights: str) -> str:
    """``timm:NAME`` with the tag of its published weights."""
    if not weights.startswith("timm:"):
        return weights
    name = named_now(weights.removeprefix("timm:"))
    if "." in name:
        return f"timm:{name}"
    tags = timm.list_pretrained(f"{name}.*")
    if not tags:
        raise UsageError(f"timm has no published weights of '{name}'; name a model that has some")
    usual = timm.get_pretrained_cfg(name)
    return f"timm:{name}.{usual.tag}" if usual and usual.tag else f"timm:{tags[0]}"


@torch.no_grad()
def _fill(encoder: Encoder, loaded: Encoder, weights: str) -> None:
    """Copy the weights; positions and first layers are fitted to images of another size or other channels."""
    state, expected = loaded.model.state_dict(), encoder.model.state_dict()
    if _POSITIONS in state and encoder.recipe["positions"] == "sincos":
        state[_POSITIONS] = expected[_POSITIONS]
    elif _POSITIONS in state and _POSITIONS in expected:
        state[_POSITIONS] = _resampled(state[_POSITIONS], expected[_POSITIONS], loaded, encoder)
    fitted = []
    for name in _of_channels(state, expected, loaded.channels, encoder.channels):
        state[name] = fit_channels(state[name], encoder.channels)
        fitted.append(name)
    wrong = sorted(
        {name for name, value in state.items() if name not in expected or value.shape != expected[name].shape}
        | (expected.keys() - state.keys())
    )
    if wrong:
        raise UsageError(
            f"'{weights}' cannot begin with images of {in_words(encoder.input_size)} and these model_args: "
            f"'{wrong[0]}' would differ; take data.image_size={compact(loaded.input_size)}, and leave out "
            "the backbone.model_args that change it"
        )
    if fitted:
        _logger.warning(
            "'%s' is of %d channels: '%s' is fitted to images of %d",
            *(weights, loaded.channels, "', '".join(fitted), encoder.channels),
        )
    if state.get(_POSITIONS) is not None and encoder.input_size != loaded.input_size:
        _logger.warning(
            "'%s' is of %s: its position embeddings are resized for images of %s",
            *(weights, in_words(loaded.input_size), in_words(encoder.input_size)),
        )
    encoder.model.load_state_dict(state)


def _of_channels(state: dict[str, Tensor], expected: dict[str, Tensor], had: int, have: int) -> list[str]:
    """Names of convolutions that differ in the images' channels alone."""
    pairs = {name: (value.shape, expected[name].shape) for name, value in state.items() if name in expected}
    return [
        name
        for name, (one, other) in pairs.items()
        if len(one) == 4 and had != have and (one[1], other[1]) == (had, have) and one[2:] == other[2:]
    ]


def fit_channels(weight: Tensor, channels: int) -> Tensor:
    """A first convolution's weight ``(O, C, h, w)`` for images of other channels.

    One channel gets the sum over the old ones, which says what they said where they were equal. More get
    them over and over, times the old number of channels over the new.

    >>> fit_channels(torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1, 1), 4).flatten()
    tensor([0.7500, 1.5000, 2.2500, 0.7500])
    """
    if channels == 1:
        return weight.sum(dim=1, keepdim=True)
    times = -(-channels // weight.shape[1])
    return weight.repeat(1, times, 1, 1)[:, :channels] * (weight.shape[1] / channels)


def _resampled(table: Tensor, expected: Tensor, loaded: Encoder, encoder: Encoder) -> Tensor:
    """Positions ``(1, P + L, D)`` for another grid of patches, those of the P prefix tokens as they are."""
    if table.ndim != 3 or (table.shape == expected.shape and encoder.input_size == loaded.input_size):
        return table
    grids = [list(each.model.patch_embed.grid_size) for each in (loaded, encoder)]
    prefix = table.shape[1] - grids[0][0] * grids[0][1]
    return resample_abs_pos_embed(table, grids[1], grids[0], num_prefix_tokens=prefix)
