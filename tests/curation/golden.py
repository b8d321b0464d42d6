"""Inputs and draws of the golden values of curation."""

import itertools
from collections.abc import Callable

import torch
from torch import Tensor


def waves(shift: float, rows: int, width: int) -> Tensor:
    """sin(.9 i + 1.7 j + .31 i j + shift) in float64 ``(rows, width)``."""
    i, j = (torch.arange(n, dtype=torch.float64) for n in (rows, width))
    return (0.9 * i[:, None] + 1.7 * j + 0.31 * i[:, None] * j + shift).sin()


def stream() -> Callable[[], float]:
    """The fractions of t times the golden ratio, t = 1, 2, …"""
    numbers = itertools.count(1)
    return lambda: next(numbers) * 0.6180339887498949 % 1


X = waves(0.3, 60, 4)
UNIT = X / X.norm(dim=1, keepdim=True)
