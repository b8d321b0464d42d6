"""Validate an objective's arguments and cast them to float32 or wider."""

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import ParamSpec

import torch
from torch import Tensor

P = ParamSpec("P")
_asked = ContextVar("asked", default=True)


class NotFiniteError(ValueError, FloatingPointError):
    """A tensor that an objective was given holds a NaN or an infinity: the run has diverged."""


def full_precision(objective: Callable[P, Tensor]) -> Callable[P, Tensor]:
    """Make an objective compute in at least float32, whatever the autocast state and its inputs.

    Floating tensors are promoted to their common type, and to float32 at least; float64 stays float64.

    Raises:
        ValueError: a float16 tensor outside autocast, or a NaN or infinity (see `check_finite`).
    """
    names = tuple(inspect.signature(objective).parameters)

    @functools.wraps(objective)
    def widened(*args: P.args, **kwargs: P.kwargs) -> Tensor:
        named = {**dict(zip(names, args, strict=False)), **kwargs}
        tensors = {
            name: value
            for name, value in named.items()
            if isinstance(value, Tensor) and value.is_floating_point()
        }
        check_half(**tensors)
        check_finite(**tensors)
        dtype = torch.float32
        for tensor in tensors.values():
            dtype = torch.promote_types(dtype, tensor.dtype)

        def widen(value: object) -> object:
            return value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value

        device = next(iter(tensors.values())).device.type if tensors else "cpu"
        with torch.autocast(device, enabled=False):
            return objective(
                *(widen(a) for a in args),  # type: ignore[arg-type]
                **{name: widen(value) for name, value in kwargs.items()},  # type: ignore[arg-type]
            )

    return widened


def check_half(**tensors: Tensor) -> None:
    """Raise ValueError for a float16 tensor outside autocast.

    There nothing scales the loss, and gradients below 6e-8 would go back to the network as zeros.
    """
    for name, tensor in tensors.items():
        if tensor.dtype == torch.float16 and not torch.is_autocast_enabled(tensor.device.type):
            raise ValueError(
                f"{name} must be float32, float64 or bfloat16 outside autocast, got float16, whose gradients "
                "underflow"
            )


def check_finite(**tensors: Tensor) -> None:
    """Raise NotFiniteError, a ValueError, for an argument that holds a NaN or an infinity.

    Values are checked on a CPU only, and not in a compiled graph: on an accelerator the check would wait for
    it at every step.
    """
    if torch.compiler.is_compiling() or not _asked.get():
        return
    for name, tensor in tensors.items():
        # One pass, as a sum of finite values is hardly ever infinite; if it is, each value is checked.
        if tensor.device.type == "cpu" and not tensor.detach().sum(dtype=_wide(tensor)).isfinite():
            wrong = int((~tensor.isfinite()).sum())
            if wrong:
                raise NotFiniteError(
                    f"{name} must be finite, got {wrong} NaN or infinite of {tensor.numel()} values"
                )


@contextmanager
def finite_or_not() -> Iterator[None]:
    """A block in which objectives take a NaN and give one back, as they do on an accelerator.

    For training, which looks at the gradients: an exception in one of several processes would leave the
    others waiting for its share of the batch.
    """
    token = _asked.set(False)
    try:
        yield
    finally:
        _asked.reset(token)


def _wide(tensor: Tensor) -> torch.dtype:
    return torch.promote_types(torch.float32, tensor.dtype)


def check_floating(**tensors: Tensor) -> None:
    """Raise ValueError for an argument that is not a floating-point tensor."""
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
            kind = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
            raise ValueError(f"{name} must be a floating-point tensor, got {kind}")


def check_dimensions(dimensions: str, **tensors: Tensor) -> None:
    """Raise ValueError for an argument without as many axes as `dimensions` names, such as "N D"."""
    for name, tensor in tensors.items():
        if tensor.ndim != len(dimensions.split()):
            expected = ", ".join(dimensions.split())
            raise ValueError(f"{name} must have the shape ({expected}), got {tuple(tensor.shape)}")


def check_same_shape(**tensors: Tensor) -> None:
    """Raise ValueError unless all arguments have the shape of the first."""
    (first, reference), *others = tensors.items()
    for name, tensor in others:
        if tensor.shape != reference.shape:
            raise ValueError(
                f"{name} must have the shape of {first}, {tuple(reference.shape)}, got {tuple(tensor.shape)}"
            )


def check_pair(z1: Tensor, z2: Tensor) -> None:
    """Raise ValueError unless both views are floating tensors of one shape (N, D)."""
    check_floating(z1=z1, z2=z2)
    check_dimensions("N D", z1=z1, z2=z2)
    check_same_shape(z1=z1, z2=z2)


def check_positive(**numbers: float) -> None:
    """Raise ValueError for a number that is not above zero."""
    for name, number in numbers.items():
        if not number > 0:
            raise ValueError(f"{name} must be above 0, got {number}")


def check_not_negative(**numbers: float) -> None:
    """Raise ValueError for a number below zero."""
    for name, number in numbers.items():
        if not number >= 0:
            raise ValueError(f"{name} must be at least 0, got {number}")


def check_queue(queue: Tensor, **views: Tensor) -> None:
    """Raise ValueError unless views are tensors of one shape (N, D), and the queue is one of (K, D)."""
    check_floating(**views, queue=queue)
    check_dimensions("N D", **views)
    check_dimensions("K D", queue=queue)
    check_same_shape(**views)
    name, first = next(iter(views.items()))
    if not len(first):
        raise ValueError(f"{name} must hold at least one sample, got none")
    if not len(queue) or queue.shape[1] != first.shape[1]:
        raise ValueError(
            f"queue must hold at least one row of {first.shape[1]} values, got {tuple(queue.shape)}"
        )
