"""Collectives with exact gradients, so that W processes learn what one process would.

The contract of every objective here: a process calls it with its own N/W samples and gets the value of the
whole batch of N; after DDP has averaged the parameter gradients over the W processes, they are those of one
process that holds the whole batch. This holds if the backward pass of each collective is its transpose: a
process's gradient is then that of the *sum* of the W returned values, W times too large, and DDP's mean
divides by W. (Plain `torch.distributed.all_reduce` passes gradients on as if it did nothing, and so they
become 1/W.)

All processes are assumed to hold equally many samples, as PyTorch's DistributedSampler provides.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    """Number of processes that share a batch; 1 where torch.distributed is not initialised."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Position of this process's samples in what `gather_with_gradient` returns; 0 in a single process."""
    return dist.get_rank() if world_size() > 1 else 0


def gather(x: Tensor) -> Tensor:
    """What `gather_with_gradient` returns, without a gradient."""
    if world_size() == 1:
        return x
    gathered = x.new_empty((world_size() * x.shape[0], *x.shape[1:]))
    dist.all_gather_into_tensor(gathered, x.contiguous())
    return gathered


def sum_over_processes(x: Tensor) -> Tensor:
    """What `all_reduce_sum` returns, without a gradient."""
    if world_size() == 1:
        return x
    total = x.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total)
    return total


class _AllGather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return gather(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        own = gradient.new_empty((gradient.shape[0] // world_size(), *gradient.shape[1:]))
        dist.reduce_scatter_tensor(own, gradient.contiguous())
        return own


class _AllReduceSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return sum_over_processes(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return sum_over_processes(gradient)


def gather_with_gradient(x: Tensor) -> Tensor:
    """Rows of all processes, in the order of their ranks: `(n, ...)` -> `(W n, ...)`.

    Every process must hold the same number of rows. Backward: each process receives the gradients that all
    processes have for its rows, summed (reduce-scatter). Without torch.distributed it returns `x`.
    """
    return _AllGather.apply(x) if world_size() > 1 else x


def all_reduce_sum(x: Tensor) -> Tensor:
    """Sum of `x` over all processes, same shape; backward is the sum of all processes' gradients."""
    return _AllReduceSum.apply(x) if world_size() > 1 else x


def all_reduce_mean(x: Tensor) -> Tensor:
    """Mean of `x` over all processes, same shape; backward is the mean of all processes' gradients."""
    return all_reduce_sum(x) / world_size() if world_size() > 1 else x
