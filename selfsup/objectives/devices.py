"""Copies between the host's memory and a device's for which the host does not wait.

A GPU works through a queue that the host fills ahead of it. Whatever the host has to wait for (a value that
it reads, a copy of memory that can be paged out) empties the queue, and the GPU then idles until the host has
filled it again.
"""

import torch
from torch import Tensor

PINNED = ("cuda",)  # kinds of devices that copy from and to page-locked memory beside their other work


def sent(tensor: Tensor, like: Tensor | torch.device) -> Tensor:
    """A tensor of the host on a device: itself if that is the host.

    Args:
        tensor: on the CPU.
        like: the device, or a tensor there whose type it takes as well.

    Example:
        >>> sent(torch.tensor([1, 2]), torch.zeros(3))
        tensor([1., 2.])
    """
    if isinstance(like, Tensor):
        tensor, like = tensor.to(like.dtype), like.device
    if like.type in PINNED:
        return tensor.pin_memory().to(like, non_blocking=True)
    return tensor.to(like)


class Later:
    """A value of a device on its way to the host, to be read when the device has been given more work.

    Args:
        value: on any device; what happens to it afterwards is not seen.

    Example:
        >>> total = torch.ones(2)
        >>> seen = Later(total)
        >>> seen.read().tolist()
        [1.0, 1.0]
    """

    def __init__(self, value: Tensor) -> None:
        value = value.detach()
        self._event: torch.Event | None = None
        if value.device.type in PINNED:
            self._host = torch.empty(value.shape, dtype=value.dtype).pin_memory()
            self._host.copy_(value, non_blocking=True)
            self._event = torch.Event(value.device.type)
            self._event.record()
        else:
            self._host = value.cpu().clone()

    def read(self) -> Tensor:
        """The value, on the CPU, as soon as the device has come to it."""
        if self._event is not None:
            self._event.synchronize()
        return self._host
