"""Making timm models, and the advice where one cannot be made or takes another size of images."""

import logging
from collections.abc import Sequence
from typing import Any

import timm
import torch
from timm.models.convit import ConVit
from torch import nn

from selfsup.backbone_names import current_name, require_timm_name
from selfsup.backbones import mlp_stem, norms, small_stem  # noqa: F401  (register their models with timm)
from selfsup.encoder.abilities import patch_sides
from selfsup.encoder.limits import check_arguments
from selfsup.errors import UsageError
from selfsup.sides import MOST_CHANNELS, compact, in_words, sides

_logger = logging.getLogger(__name__)
LARGEST_ADVISED = 512  # pixels a side
NO_PASS = (RuntimeError, ValueError, AssertionError, IndexError)  # raised by models without a size argument
_ANY_SIZE = (("dynamic_img_size", True), ("strict_img_size", False))  # make some models take any size


def named_now(name: str) -> str:
    """timm's current name for a model; raises a UsageError unless timm can build it."""
    require_timm_name(name)
    now = current_name(name)
    if now != name:
        _logger.warning("timm's '%s' is called '%s' now", name, now)
    require_tag(now)
    return now


def ways_to_take(size: tuple[int, int], recipe: dict[str, Any], without: str) -> list[str]:
    """Settings that make a backbone take views of a size that it does not take otherwise."""
    name, whole, args = recipe["name"], sides(recipe["image_size"]), recipe["model_args"]
    channels = recipe.get("channels", 3)
    found = [
        f"add backbone.model_args.{key}={str(value).lower()}"
        for key, value in _ANY_SIZE
        if _takes(name, whole, {**args, key: value}, size, channels)
    ][:1]
    if without and _takes(name, whole, args, whole, channels):
        found.append(f"leave them out by {without}")
    for by in (2, 4, 8):
        larger = _times(whole, by)
        # The sizes of smaller views are rounded.
        about = [_times(size, by)] if size == whole else [_times(size, by, more) for more in (-by, 0, by)]
        if max(larger) <= LARGEST_ADVISED and all(_takes(name, larger, args, s, channels) for s in about):
            return [*found, f"raise data.image_size to {compact(larger)}"]
    return found


def _times(size: tuple[int, int], by: int, more: int = 0) -> tuple[int, int]:
    return size[0] * by + more, size[1] * by + more


def _takes(
    name: str, image_size: Sequence[int], args: dict[str, Any], size: tuple[int, int], channels: int
) -> bool:
    """Whether a model for images of ``image_size`` takes those of ``size``; computes nothing."""
    try:
        with torch.device("meta"):
            model = create(name, image_size, args, channels=channels).eval()
            return bool(model(torch.zeros(1, channels, *size)).ndim == 2)
    except (UsageError, *NO_PASS):
        return False


def require_tag(name: str) -> None:
    """Raise a UsageError unless timm has weights of that tag, if the name has one."""
    base, _, tag = name.partition(".")
    known = timm.list_models(f"{base}.*", pretrained=True) if tag else []
    if tag and name not in known:
        raise UsageError(f"timm has no weights '{name}'; there are {', '.join(known) or 'none of ' + base}")


def create(
    name: str,
    image_size: int | Sequence[int],
    args: dict[str, Any],
    pretrained: bool = False,
    classes: int = 0,
    weights: dict[str, Any] | None = None,
    channels: int = 3,
) -> nn.Module:
    """A timm model, as :func:`build_encoder` wraps it.

    Args:
        name, image_size, args, pretrained: its ``name``, ``image_size``, ``model_args``, ``pretrained``.
        classes: of a classifier.
        weights: a ``pretrained_cfg`` of timm that describes them; default: those of the name.
        channels: of the images.

    Raises:
        UsageError: as :func:`build_encoder`.
    """
    if not 1 <= channels <= MOST_CHANNELS:
        raise UsageError(
            f"images of {channels} channels are not supported; 1 to {MOST_CHANNELS} are (data.channels)"
        )
    if "in_chans" in args:
        raise UsageError(
            f"the channels of images are data.channels={channels}; leave out model_args.in_chans"
        )
    height, width = sides(image_size)
    # Only architectures with a fixed grid take the size.
    fixed = timm.get_pretrained_cfg_value(name, "fixed_input_size") and "img_size" not in args
    given: dict[str, Any] = {"img_size": compact(image_size)} if fixed else {}
    if channels != 3:
        given["in_chans"] = channels
    try:
        check_arguments(args)
        model = timm.create_model(
            name, pretrained=pretrained, pretrained_cfg=weights, num_classes=classes, **given, **args
        )
    except OSError as error:
        raise UsageError(f"no pretrained weights for '{name}' could be fetched: {error}") from error
    except (
        TypeError,
        ValueError,
        AssertionError,
        AttributeError,
        ArithmeticError,
        RuntimeError,
        LookupError,
    ) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"timm's '{name}' cannot be built with {args}: {reason}") from error
    # timm would ignore the remaining rows and columns.
    patch = patch_sides(model)
    if patch is not None and (height % patch[0] or width % patch[1]):
        raise UsageError(
            f"patches of {in_words(patch)} do not tile images of {in_words((height, width))}; "
            "set backbone.model_args.patch_size or data.image_size"
        )
    if height != width and isinstance(model, ConVit):
        raise UsageError(
            f"timm's '{name}' supports square images only, and these are {in_words(image_size)}; take "
            "another backbone, such as vit_tiny"
        )
    return model
