"""Random numbers that depend only on their purpose.

A draw is a hash of (seed, epoch, sample index, view, number of the draw), in integer arithmetic.
So it is the same on a CPU and on a GPU, for any number of workers and processes and any order of batches, and
a run that is resumed in the middle of an epoch does not need a generator's state.
"""

import math

import torch
from torch import Tensor

REPEAT = 2**40  # added to the index of a sample that comes again in a batch, so that its views are others

_WORD = 0xFFFFFFFF


def uniform(seed: int, epoch: int | Tensor, index: Tensor, view: int, draws: int, first: int = 0) -> Tensor:
    """Uniform draws in [0, 1), ``(N, draws)`` float32, of the samples ``index`` ``(N,)`` int64.

    Draws ``first, first + 1, ...`` of one (seed, epoch, sample, view) are independent of all others. An epoch
    may be one for all samples, or one for each.

    Example:
        >>> index = torch.tensor([3, 5])
        >>> one, other = uniform(0, 0, index, 0, 4), uniform(0, 0, index.flip(0), 0, 4)
        >>> bool((one == other.flip(0)).all())
        True
    """
    return numbers(keys(seed, epoch, index, view), draws, first)


def keys(seed: int, epoch: int | Tensor, index: Tensor, view: int) -> Tensor:
    """What all draws of one (seed, epoch, sample, view) have in common: ``(N,)`` int64 below 2^32."""
    state = _mix(index & _WORD)
    for word in (index >> 32, seed, epoch, view):
        state = _mixed_with(state, word)
    return state


def numbers(keys: Tensor, draws: int, first: int = 0) -> Tensor:
    """Draws ``first, first + 1, ...`` of each of :func:`keys`, ``(N, draws)``, as :func:`uniform` gives."""
    number = torch.arange(first, first + draws, device=keys.device)
    state = _mixed_with(keys.unsqueeze(1), number)
    # 24 bits are what a float32 in [0, 1) can hold exactly.
    return (state >> 8).to(torch.float32) * 2.0**-24


def normal(keys: Tensor, count: int, first: int) -> Tensor:
    """Draws from a unit Gaussian ``(N, count)``, by Box and Muller of the draws from ``first`` on.

    The draws k and P + k of a key make its values k and P + k, with P half of ``count``, rounded up.

    Example:
        >>> normal(keys(0, 0, torch.tensor([3, 5]), 0), 5, first=100).shape
        torch.Size([2, 5])
    """
    pairs = -(-count // 2)
    one, other = numbers(keys, 2 * pairs, first).split(pairs, dim=1)
    radius, angle = (-2 * (1 - one).log()).sqrt(), 2 * math.pi * other
    return torch.cat([radius * angle.cos(), radius * angle.sin()], dim=1)[:, :count]


def _mixed_with(state: Tensor, word: Tensor | int) -> Tensor:
    return _mix((state + word * 0x9E3779B9 + 0x7F4A7C15) & _WORD)


def _mix(word: Tensor) -> Tensor:
    """A bijection of 32-bit words in int64 whose every output bit depends on every input bit.

    The product may overflow: its low 32 bits are right.
    """
    word = word ^ (word >> 16)
    word = (word * 0x7FEB352D) & _WORD
    word = word ^ (word >> 15)
    word = (word * 0x846CA68B) & _WORD
    return word ^ (word >> 16)
