"""Holding out a test split where the data has none."""

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from selfsup.errors import UsageError


def held_out_count(n: int, fraction: float) -> int:
    """How many of n images `fraction` holds out: at least one, and never all."""
    if not 0 < fraction < 1:
        raise UsageError(f"data.source.test_fraction must lie between 0 and 1, not {fraction}")
    return min(max(1, round(fraction * n)), n - 1)


def hold_out(keys: Sequence[str] | np.ndarray, labels: Tensor | None, count: int) -> tuple[Tensor, Tensor]:
    """Split images into training and test indices, by a hash of their keys alone.

    The images of a class are ranked by hash and the first of them held out, so an image that is added or
    removed later moves at most a few others across. With labels each class gives its share of `count` (by
    largest remainder) and keeps at least one image for training.

    Args:
        keys: N stable and distinct names, or their `hashes`.
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
    order = np.argsort(keys if isinstance(keys, np.ndarray) else hashes(keys), kind="stable")
    classes = np.zeros(n, np.int64) if labels is None else labels.numpy()
    sizes = np.bincount(classes)
    shares = np.array(_shares(sizes.tolist(), count))
    order = order[np.argsort(classes[order], kind="stable")]
    rank = np.arange(n) - (np.cumsum(sizes) - sizes)[classes[order]]  # among those of its class
    held = torch.zeros(n, dtype=torch.bool)
    held[torch.from_numpy(order[rank < shares[classes[order]]])] = True
    return (~held).nonzero().flatten(), held.nonzero().flatten()


def hashes(keys: Iterable[str]) -> np.ndarray:
    """A 64-bit hash of each key, uint64 (N,): BLAKE2b of its bytes, read big-endian."""
    encoded = (key.encode("utf-8", "surrogateescape") for key in keys)
    digests = (hashlib.blake2b(key, digest_size=8).digest() for key in encoded)
    return np.frombuffer(b"".join(digests), ">u8").astype(np.uint64)


def _shares(sizes: list[int], count: int) -> list[int]:
    """`count` shared out in proportion to `sizes`, leaving one of each."""
    room = [max(size - 1, 0) for size in sizes]
    exact = [size * count / sum(sizes) for size in sizes]
    shares = [min(int(share), most) for share, most in zip(exact, room, strict=True)]
    left = min(count, sum(room)) - sum(shares)
    order = sorted(range(len(sizes)), key=lambda c: (shares[c] - exact[c], c))
    while left > 0:
        # One more for each with room, in this order: for the largest remainder, then for the next.
        for c in [c for c in order if shares[c] < room[c]][:left]:
            shares[c] += 1
            left -= 1
    return shares
