"""Random numbers that depend only on their purpose.

A draw is a hash of (seed, epoch, sample index, view, number of the draw), in integer arithmetic.
So it is the same on a CPU and on a GPU, for any number of workers and processes and any order of batches, and
a run that is resumed in the middle of an epoch does not need a generator's state.
"""

import torch
from torch import Tensor

_WORD = 0xFFFFFFFF


def uniform(seed: int, epoch: int, index: Tensor, view: int, draws: int, first: int = 0) -> Tensor:
    """Uniform draws in [0, 1), ``(N, draws)`` float32, of the samples ``index`` ``(N,)`` int64.

    Draws ``first, first + 1, ...`` of one (seed, epoch, sample, view) are independent of all others.

    Example:
        >>> index = torch.tensor([3, 5])
        >>> one, other = uniform(0, 0, index, 0, 4), uniform(0, 0, index.flip(0), 0, 4)
        >>> bool((one == other.flip(0)).all())
        True
    """
    number = torch.arange(first, first + draws, device=index.device)
    state = _mix(index.unsqueeze(1) & _WORD)
    for word in (index.unsqueeze(1) >> 32, seed, epoch, view, number):
        state = _mix((state + word * 0x9E3779B9 + 0x7F4A7C15) & _WORD)
    # 24 bits are what a float32 in [0, 1) can hold exactly.
    return (state >> 8).to(torch.float32) * 2.0**-24


def _mix(word: Tensor) -> Tensor:
    """A bijection of 32-bit words in int64 whose every output bit depends on every input bit.

    The product may overflow: its low 32 bits are right.
    """
    word = word ^ (word >> 16)
    word = (word * 0x7FEB352D) & _WORD
    word = word ^ (word >> 15)
    word = (word * 0x846CA68B) & _WORD
    return word ^ (word >> 16)
