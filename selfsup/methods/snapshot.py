"""Tensors as they were, to be put back where a step turns out to have been skipped."""

from collections.abc import Iterable

import torch
from torch import Tensor


class Snapshot:
    """Copies of tensors, in one piece a type of number, so that a GPU is asked for few operations.

    Args:
        tensors: on one device.

    Example:
        >>> one, other = torch.tensor([1.0, 2.0]), torch.tensor(3)
        >>> before = Snapshot([one, other])
        >>> _ = one.zero_(), other.zero_()
        >>> before.put_back(torch.tensor(False))
        >>> one.tolist()
        [0.0, 0.0]
        >>> before.put_back(torch.tensor(True))
        >>> one.tolist(), other.item()
        ([1.0, 2.0], 3)
    """

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        self._tensors: dict[torch.dtype, list[Tensor]] = {}
        for tensor in tensors:
            self._tensors.setdefault(tensor.dtype, []).append(tensor.detach())
        self._before = {dtype: _flat(some) for dtype, some in self._tensors.items()}

    @torch.no_grad()
    def put_back(self, where: Tensor) -> None:
        """Give the tensors their old values where a condition, a bool on their device, holds."""
        for dtype, tensors in self._tensors.items():
            chosen = torch.where(where, self._before[dtype], _flat(tensors))
            parts = chosen.split([tensor.numel() for tensor in tensors])
            old = [part.view(tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]
            torch._foreach_copy_(tensors, old)


def _flat(tensors: list[Tensor]) -> Tensor:
    return torch.cat([tensor.reshape(-1) for tensor in tensors])
