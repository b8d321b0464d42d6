"""Bounds on the cost of building a network, for an architecture that an untrusted file describes."""

import inspect
import math
from collections.abc import Mapping, Sequence
from typing import Any

import timm
import torch
from torch.utils._python_dispatch import TorchDispatchMode

LARGEST_NUMBER = 2**20  # larger than any network's width, depth or image side
LONGEST = 1000  # characters or items of an argument
SPARE = 64 * 2**20  # bytes beyond the weights that building a network may take
_OPERATIONS = 50  # a tensor of the network
# Arguments of timm's builder that are not a network's.
_OF_THE_BUILDER = ("features_only", "pretrained_strict", "pretrained_filter_fn", "pretrained_custom_load")


class TooLarge(ValueError):
    """Building the network would take far more than its weights do."""


def check_arguments(args: Mapping[str, Any]) -> None:
    """Raise a ValueError unless the arguments are plain, and those of a network rather than of timm's loader.

    Among the loader's are ``checkpoint_path``, a pickle that would be run, and files of the hub.
    """
    reserved = {*inspect.signature(timm.create_model).parameters, *_OF_THE_BUILDER}
    for key, value in args.items():
        if key in reserved:
            raise ValueError(f"{key} is not an argument of a network")
        _check(key, value)


def _check(key: str, value: Any) -> None:
    if isinstance(value, Mapping):
        for inner, one in value.items():
            _check(f"{key}.{inner}", one)
    elif isinstance(value, Sequence) and len(value) > LONGEST:
        raise ValueError(f"{key} is longer than {LONGEST}")
    elif isinstance(value, list | tuple):
        for one in value:
            _check(key, one)
    elif isinstance(value, int | float) and not abs(value) <= LARGEST_NUMBER:
        raise ValueError(f"{key} is beyond {LARGEST_NUMBER}")


class Bounded(TorchDispatchMode):
    """A block that may allocate tensors of four times the weights' size, in a proportional number of steps.

    Args:
        size: bytes of the weights.
        tensors: their number.

    Raises (in the block):
        TooLarge: before the memory is touched.

    Example:
        >>> with Bounded(size=1000, tensors=1):
        ...     torch.zeros(10**12)
        Traceback (most recent call last):
        selfsup.encoder.limits.TooLarge: it is much larger than the weights beside it
    """

    def __init__(self, size: int, tensors: int) -> None:
        super().__init__()
        self.bytes, self.operations = 4 * size + SPARE, _OPERATIONS * (tensors + 100)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        # The shape of a new tensor is a list, or the ends of a range: known before its memory is allocated.
        if func is torch.ops.aten.repeat.default:  # its output's size is known beforehand, too
            self._spend(args[0].nbytes * abs(math.prod(args[1])))
        numbers = [a if isinstance(a, list | tuple) else [a] for a in args]
        shapes = [shape for shape in numbers if all(isinstance(n, int | float) for n in shape)]
        new = len(shapes) == len(numbers)
        self._spend(max((4 * abs(math.prod(shape)) for shape in shapes), default=0) if new else 0)
        out = func(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor) and not new and not func._schema.is_mutable:
            self._spend(out.nbytes)
        return out

    def _spend(self, size: float) -> None:
        self.bytes -= int(size)
        self.operations -= 1
        if self.bytes < 0 or self.operations < 0:
            raise TooLarge("it is much larger than the weights beside it")
