"""Holding out a test split where the data has none."""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from selfsup.errors import UsageError


def held_out_count(n: int, fraction: float) -> int:
    """How many of n images `fraction` holds out: at least one, and never all."""
    if not 0 < fraction < 1:
        raise UsageError(f"data.source.test_fraction must lie between 0 and 1, not {fraction}")
    return min(max(1, round(fraction * n)), n - 1)


def hold_out(keys: Sequence[str], labels: Tensor | None, count: int) -> tuple[Tensor, Tensor]:
    """Split images into training and test indices, by nothing but a hash of their keys.

    The images of a class are ranked by hash and the first of them held out, so an image that is added or
    removed later moves at most a few others across. With labels each class gives its share of `count` (by
    largest remainder) and keeps at least one image for training.

    Args:
        keys: N stable and distinct names.
        labels: int64 (N,) or None.
        count: how many images to hold out.

    Returns:
        (train, test): int64 indices, ascending, disjoint, together 0..N-1. `test` has `count` elements, or
        fewer where classes of a single image leave no choice.

    >>> train, test = hold_out(["a", "b", "c", "d", "e", "f"], torch.tensor([0, 0, 0, 1, 1, 1]), count=2)
    >>> len(train), len(test)
    (4, 2)
    """
    n = len(keys)
    rank = sorted(range(n), key=lambda i: _hash(keys[i]))
    classes = torch.zeros(n, dtype=torch.int64) if labels is None else labels
    sizes = torch.bincount(classes).tolist()
    left = _shares(sizes, count)
    test = []
    for i in rank:
        label = int(classes[i])
        if left[label]:
            left[label] -= 1
            test.append(i)
    held = torch.zeros(n, dtype=torch.bool)
    held[torch.tensor(test, dtype=torch.int64)] = True
    return (~held).nonzero().flatten(), held.nonzero().flatten()


def _shares(sizes: list[int], count: int) -> list[int]:
    """`count` shared out in proportion to `sizes`, leaving one of each."""
    room = [max(size - 1, 0) for size in sizes]
    exact = [size * count / sum(sizes) for size in sizes]
    shares = [min(int(share), most) for share, most in zip(exact, room, strict=True)]
    while sum(shares) < min(count, sum(room)):
        open_ = [c for c in range(len(sizes)) if shares[c] < room[c]]
        shares[max(open_, key=lambda c: (exact[c] - shares[c], -c))] += 1
    return shares


def _hash(key: str) -> bytes:
    return hashlib.blake2b(key.encode("utf-8", "surrogateescape"), digest_size=8).digest()
