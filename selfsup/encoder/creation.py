"""Making timm models, and the advice where one cannot be made or takes another size of images."""

import logging
from typing import Any

import timm
import torch
from torch import nn

from selfsup.backbone_names import current_name, require_timm_name
from selfsup.backbones import mlp_stem, norms, small_stem  # noqa: F401  (register their models with timm)
from selfsup.encoder.blocks import TRANSFORMERS
from selfsup.encoder.limits import check_arguments
from selfsup.errors import UsageError

_logger = logging.getLogger(__name__)
LARGEST_ADVISED = 512  # pixels a side
_NO_PASS = (RuntimeError, ValueError, AssertionError, IndexError)  # raised by models without a size argument
_ANY_SIZE = (("dynamic_img_size", True), ("strict_img_size", False))  # make some models take any size


def named_now(name: str) -> str:
    """timm's current name for a model; raises a UsageError unless timm can build it."""
    require_timm_name(name)
    now = current_name(name)
    if now != name:
        _logger.warning("timm's '%s' is called '%s' now", name, now)
    require_tag(now)
    return now


def ways_to_take(size: int, recipe: dict[str, Any], without: str) -> list[str]:
    """Settings that make a backbone take views of a size that it does not take otherwise."""
    name, whole, args = recipe["name"], recipe["image_size"], recipe["model_args"]
    found = [
        f"add backbone.model_args.{key}={str(value).lower()}"
        for key, value in _ANY_SIZE
        if _takes(name, whole, {**args, key: value}, size)
    ][:1]
    if without and _takes(name, whole, args, whole):
        found.append(f"leave them out by {without}")
    # The sizes of smaller views are rounded.
    for by in (2, 4, 8):
        about = [size * by] if size == whole else [size * by - by, size * by, size * by + by]
        if whole * by <= LARGEST_ADVISED and all(_takes(name, whole * by, args, side) for side in about):
            return [*found, f"raise data.image_size to {whole * by}"]
    return found


def _takes(name: str, image_size: int, args: dict[str, Any], size: int) -> bool:
    """Whether a model for images of ``image_size`` takes those of ``size``; computes nothing."""
    try:
        with torch.device("meta"):
            model = create(name, image_size, args, pretrained=False).eval()
            return bool(model(torch.zeros(1, 3, size, size)).ndim == 2)
    except (UsageError, *_NO_PASS):
        return False


def require_tag(name: str) -> None:
    """Raise a UsageError unless timm has weights of that tag, if the name has one."""
    base, _, tag = name.partition(".")
    known = timm.list_models(f"{base}.*", pretrained=True) if tag else []
    if tag and name not in known:
        raise UsageError(f"timm has no weights '{name}'; there are {', '.join(known) or 'none of ' + base}")


def create(
    name: str,
    image_size: int,
    args: dict[str, Any],
    pretrained: bool = False,
    classes: int = 0,
    weights: dict[str, Any] | None = None,
) -> nn.Module:
    """A timm model, as :func:`build_encoder` wraps it.

    Args:
        name, image_size, args, pretrained: its ``name``, ``image_size``, ``model_args``, ``pretrained``.
        classes: of a classifier.
        weights: a ``pretrained_cfg`` of timm that describes them; default: those of the name.

    Raises:
        UsageError: as :func:`build_encoder`.
    """
    # Only architectures with a fixed grid take the size.
    fixed = timm.get_pretrained_cfg_value(name, "fixed_input_size") and "img_size" not in args
    sized: dict[str, Any] = {"img_size": image_size} if fixed else {}
    try:
        check_arguments(args)
        model = timm.create_model(
            name, pretrained=pretrained, pretrained_cfg=weights, num_classes=classes, **sized, **args
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
    if isinstance(model, TRANSFORMERS) and any(image_size % side for side in model.patch_embed.patch_size):
        patch = model.patch_embed.patch_size[0]
        raise UsageError(
            f"patches of {patch} px do not tile images of {image_size} px; "
            "set backbone.model_args.patch_size or data.image_size"
        )
    return model
