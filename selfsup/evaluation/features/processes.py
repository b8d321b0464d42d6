"""Several processes share an extraction: each takes a stretch of the samples, and all get all results."""

from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


def processes() -> tuple[int, int]:
    """This process's rank and their number; (0, 1) where torch.distributed is not initialised."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def shard(count: int) -> Tensor:
    """The samples of this process out of ``count``: a stretch, and no sample twice."""
    rank, world = processes()
    return torch.arange(count).tensor_split(world)[rank]


def gathered(own: list[T]) -> list[T]:
    """The values of all processes, in their order; in lists of tuples of tensors, each tensor is
    concatenated.

    Lists of other things are put one after the other.
    """
    if processes()[1] == 1:
        return own
    everyone: list[list[T]] = [[] for _ in range(processes()[1])]
    dist.all_gather_object(everyone, own)
    joined = [item for each in everyone for item in each]
    fields = getattr(own[0], "_fields", ()) if own else ()
    if not fields:
        return joined
    columns = zip(*everyone, strict=True)
    return [type(own[0])(*(_one(list(values)) for values in zip(*column, strict=True))) for column in columns]


def _one(values: list[object]) -> object:
    """Concatenated tensors, without empty ones; for other values the first that is not None."""
    tensors = [value for value in values if isinstance(value, Tensor)]
    if tensors:
        filled = [tensor for tensor in tensors if len(tensor)] or tensors[:1]
        return torch.cat(filled)
    return next((value for value in values if value is not None), None)
