"""An encoder's ``config.json``, from any version of timm, each value of the required type."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import timm

from selfsup.encoder.creation import named_now
from selfsup.encoder.limits import LARGEST_NUMBER
from selfsup.encoder.resizing import LARGEST_SIDE, Resizing, resizing_of
from selfsup.encoder.statistics import usual_statistics
from selfsup.errors import UsageError
from selfsup.sides import MOST_CHANNELS, compact

CLASSES = 1000  # timm's default if a configuration has none
# Keys of timm's description of weights that its reader of older ones uses. Other keys hold addresses.
_OF_WEIGHTS = ("input_size", "fixed_input_size", "first_conv", "classifier", "label_offset", "pool_size")
_FLEXIBLE = {"dynamic_img_size": True, "strict_img_size": False, "use_naflex": True}


@dataclass(frozen=True)
class Described:
    """An encoder as its configuration describes it.

    Attributes:
        name: timm's, maybe with a tag.
        size: pixels a side of the images, or their height and width.
        channels: of the images.
        args: of the architecture.
        classes: of the classifier that the weights were saved with, 0 without one.
        mean, std: of each channel's values in [0, 1].
        resizing: how images are resized and cropped.
        cfg: the part of timm's ``pretrained_cfg`` that describes the weights.
    """

    name: str
    size: int | list[int]
    channels: int
    args: dict[str, Any]
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resizing: Resizing
    cfg: dict[str, Any]


def describe(config: Mapping[str, Any], where: str) -> Described:
    """The encoder that a configuration describes; without ``pretrained_cfg`` its values are at the top level.

    Args:
        config: of ``config.json``.
        where: the name of the configuration, as the beginning of an error message.

    Raises:
        UsageError: something in it is missing, of another type, or out of range.
    """
    try:
        return _described(config)
    except KeyError as error:
        raise UsageError(f"{where} is not an encoder's configuration: it has no {error}") from error
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise UsageError(f"{where} describes no encoder that can be read: {error}") from error


def _described(config: Mapping[str, Any]) -> Described:
    name = named_now(str(config["architecture"]))
    cfg = config.get("pretrained_cfg", config)
    args = dict(config.get("model_args") or {})
    classes = args.pop("num_classes", config.get("num_classes", cfg.get("num_classes", CLASSES)))
    if not isinstance(classes, int) or not 0 <= classes <= LARGEST_NUMBER:
        raise ValueError(f"num_classes {classes}")
    channels = _channels(args.pop("in_chans", None), cfg)
    size, args = _sized(name, args, cfg)
    mean, std = (
        tuple(float(value) for value in cfg.get(key) or usual)
        for key, usual in zip(("mean", "std"), usual_statistics(channels), strict=True)
    )
    fitting = len(mean) == len(std) == channels
    if not fitting or not all(map(math.isfinite, (*mean, *std))) or not min(std) > 0:
        raise ValueError(f"mean {mean} and std {std} of {channels} channels")
    of_weights = {key: cfg[key] for key in _OF_WEIGHTS if cfg.get(key) is not None}
    return Described(name, size, channels, args, classes, mean, std, resizing_of(cfg, size, mean), of_weights)


def _channels(given: Any, cfg: Mapping[str, Any]) -> int:
    channels = given or (cfg.get("input_size") or (3,))[0]
    if not isinstance(channels, int) or not 1 <= channels <= MOST_CHANNELS:
        raise ValueError(f"it takes images of {channels} channels; 1 to {MOST_CHANNELS} are supported")
    return channels


def _sized(name: str, args: dict[str, Any], cfg: Mapping[str, Any]) -> tuple[int | list[int], dict[str, Any]]:
    """Sides in pixels, and the arguments with the size for which the network is built, if it has one."""
    _, *given = cfg.get("input_size") or (3, 224, 224)
    flexible = any(args.get(key) == value for key, value in _FLEXIBLE.items())
    if args.get("img_size") is not None:
        built = args["img_size"] if isinstance(args["img_size"], list | tuple) else [args["img_size"]] * 2
        args = {**args, "img_size": _read(built)}
        given = built if cfg.get("fixed_input_size") and not flexible else given
    size = _read(given)
    if cfg.get("fixed_input_size") and not flexible:
        args = {"img_size": size, **args}
    if timm.get_pretrained_cfg_value(name, "fixed_input_size") and args.get("img_size") == size:
        args = {key: value for key, value in args.items() if key != "img_size"}  # already given by the size
    return size, args


def _read(given: Sequence[Any]) -> int | list[int]:
    if len(given) != 2 or not all(type(side) is int and 0 < side <= LARGEST_SIDE for side in given):
        raise ValueError(f"images of {' x '.join(map(str, given))} px")
    return compact(given)
