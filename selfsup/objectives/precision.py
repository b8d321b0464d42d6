"""What every objective does to its arguments first: widen them, and refuse those that make no sense."""

import functools
from collections.abc import Callable
from typing import ParamSpec

import torch
from torch import Tensor

P = ParamSpec("P")


def full_precision(objective: Callable[P, Tensor]) -> Callable[P, Tensor]:
    """Make an objective compute in at least float32, whatever the autocast state and its inputs.

    Floating tensors are promoted to their common type, and to float32 at least; float64 stays float64.
    """

    @functools.wraps(objective)
    def widened(*args: P.args, **kwargs: P.kwargs) -> Tensor:
        tensors = [a for a in (*args, *kwargs.values()) if isinstance(a, Tensor)]
        dtype = torch.float32
        for tensor in tensors:
            if tensor.is_floating_point():
                dtype = torch.promote_types(dtype, tensor.dtype)

        def widen(value: object) -> object:
            return value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value

        with torch.autocast(tensors[0].device.type if tensors else "cpu", enabled=False):
            return objective(
                *(widen(a) for a in args),  # type: ignore[arg-type]
                **{name: widen(value) for name, value in kwargs.items()},  # type: ignore[arg-type]
            )

    return widened


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


def check_positive(**numbers: float) -> None:
    """Raise ValueError for a number that is not above zero."""
    for name, number in numbers.items():
        if not number > 0:
            raise ValueError(f"{name} must be above 0, got {number}")
