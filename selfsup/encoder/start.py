"""The encoder that training begins with where it begins from weights, anybody's."""

import inspect
import logging
from collections.abc import Mapping
from typing import Any

import timm
import torch
from timm.layers.pos_embed import resample_abs_pos_embed
from torch import Tensor

from selfsup.encoder.creation import named_now
from selfsup.encoder.folder import load_encoder
from selfsup.encoder.model import Encoder, build_encoder
from selfsup.errors import UsageError

_logger = logging.getLogger(__name__)
_POSITIONS = "pos_embed"


def start_from(
    weights: str,
    image_size: int,
    model_args: Mapping[str, Any] | None = None,
    range: tuple[float, float] | None = None,
) -> Encoder:
    """An encoder with somebody's weights, for images of ``image_size`` pixels, to be trained on.

    The weights bring their architecture and their images' mean and standard deviation. If the image size
    changes, learned position embeddings are resampled bicubically and fixed ones are computed again.

    Args:
        weights: what :func:`~selfsup.encoder.load_encoder` reads; of ``timm:NAME`` the published weights.
        image_size: pixels a side of the images to train on.
        model_args: arguments of the timm model that replace its own, such as ``drop_path_rate``.
        range: as in :func:`~selfsup.encoder.build_encoder`.

    Raises:
        UsageError: they cannot be read, or do not fit images of that size or such arguments.
    """
    loaded = load_published(weights)
    args = {**loaded.recipe["model_args"], **(model_args or {})}
    if "img_size" in args:
        args["img_size"] = image_size
    if "dynamic_img_size" in inspect.signature(type(loaded.model).__init__).parameters:
        args.setdefault("dynamic_img_size", True)  # views may be of several sizes
    recipe = {**loaded.recipe, "image_size": image_size, "model_args": args}
    encoder = build_encoder(**recipe, mean=loaded.mean, std=loaded.std, range=range)
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
    """Copy the weights; positions are resampled if the images are of another size."""
    state, expected = loaded.model.state_dict(), encoder.model.state_dict()
    if _POSITIONS in state and encoder.recipe["positions"] == "sincos":
        state[_POSITIONS] = expected[_POSITIONS]
    elif _POSITIONS in state and _POSITIONS in expected:
        state[_POSITIONS] = _resampled(state[_POSITIONS], expected[_POSITIONS], loaded, encoder)
    wrong = sorted(
        {name for name, value in state.items() if name not in expected or value.shape != expected[name].shape}
        | (expected.keys() - state.keys())
    )
    if wrong:
        raise UsageError(
            f"'{weights}' cannot begin with images of {encoder.input_size} px and these model_args: "
            f"'{wrong[0]}' would differ; take data.image_size={loaded.input_size}, and leave out the "
            "backbone.model_args that change it"
        )
    if state.get(_POSITIONS) is not None and encoder.input_size != loaded.input_size:
        _logger.warning(
            "'%s' is of %d px: its position embeddings are resized for images of %d px",
            weights,
            loaded.input_size,
            encoder.input_size,
        )
    encoder.model.load_state_dict(state)


def _resampled(table: Tensor, expected: Tensor, loaded: Encoder, encoder: Encoder) -> Tensor:
    """Positions ``(1, P + L, D)`` for another grid of patches, those of the P prefix tokens as they are."""
    if table.shape == expected.shape or table.ndim != 3:
        return table
    grids = [list(each.model.patch_embed.grid_size) for each in (loaded, encoder)]
    prefix = table.shape[1] - grids[0][0] * grids[0][1]
    return resample_abs_pos_embed(table, grids[1], grids[0], num_prefix_tokens=prefix)
