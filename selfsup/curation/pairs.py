"""Pairs of rows that are nearly alike, and the groups they form."""

from typing import NamedTuple

import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from selfsup.evaluation.classifiers.neighbours import unit
from selfsup.evaluation.classifiers.topk import GROUP, Rounded, above, products
from selfsup.precision import multiplies_bf16

ROWS, KEYS = 1024, 16384  # of a block of similarities

Found = tuple[Tensor, Tensor, Tensor]  # int64 rows and columns and float32 similarities, each (P,)


class Pairs(NamedTuple):
    """Pairs of rows whose similarity is above a threshold.

    Attributes:
        first, second: int64 ``(P,)``, first < second, sorted by both.
        similarity: cosines, float32 ``(P,)``.
        capped: rows that have more later partners than are kept.
    """

    first: Tensor
    second: Tensor
    similarity: Tensor
    capped: int


@torch.inference_mode()
def near_pairs(x: Tensor, threshold: float, most: int = 64) -> Pairs:
    """The pairs of rows of ``x`` ``(N, D)`` whose cosine is above ``threshold``.

    Exact, in float32, in blocks; products in bf16 find the candidates where the CPU multiplies those faster.
    Beyond ``x`` and the result memory holds a block of 2**24 similarities and ``most`` pairs a row.

    Args:
        most: pairs that a row keeps with later rows, the most similar ones: all pairs among thousands of
            equal rows would not fit in memory. Each of them still has a pair, so the group stays whole.

    Raises:
        NoScore: features are not finite.

    Example:
        >>> near_pairs(torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 0.0]]), 0.9)[:2]
        (tensor([0]), tensor([2]))
    """
    whole = torch.zeros(0, dtype=torch.int64)
    found: list[Found] = [(whole, whole, torch.zeros(0))] * -(-len(x) // ROWS)
    capped = torch.zeros(len(x), dtype=torch.bool)
    buffer = torch.empty(min(ROWS, len(x)) * (min(KEYS, len(x)) + GROUP))
    for start in range(0, len(x), KEYS):
        keys = unit(x[start : start + KEYS].float())
        keys16 = Rounded.of(keys) if multiplies_bf16() else None
        for number, first in enumerate(range(0, start + len(keys), ROWS)):
            rows = unit(x[first : first + ROWS].float())
            # Row i and column j are rows first + i and start + j of x; the second has to be the later.
            row, column, value = _above(rows, keys, keys16, threshold, most + 1, first - start, buffer)
            new = (row + first, column + start, value)
            found[number], over = _most_similar(found[number], new, most)
            capped[over] = True
    first_, second, similarity = (torch.cat(parts) for parts in zip(*found, strict=True))
    return Pairs(first_, second, similarity, int(capped.sum()))


def components(first: Tensor, second: Tensor, count: int) -> Tensor:
    """Connected components of 0..count-1 joined by pairs ``(P,)``.

    Returns:
        int64 ``(count,)``: the lowest member's number of each one's component.

    >>> components(torch.tensor([1, 3]), torch.tensor([3, 4]), 5)
    tensor([0, 1, 2, 1, 1])
    """
    joined = coo_array((torch.ones(len(first)).numpy(), (first.numpy(), second.numpy())), (count, count))
    labels = torch.from_numpy(connected_components(joined, directed=False)[1]).long()
    return torch.full((count,), count).scatter_reduce(0, labels, torch.arange(count), "amin")[labels]


def _above(
    rows: Tensor, keys: Tensor, keys16: Rounded | None, threshold: float, k: int, later: int, buffer: Tensor
) -> Found:
    """Products of unit ``rows`` ``(M, D)`` and ``keys`` ``(N, D)`` above a threshold, column - row > later.

    If there are very many, at least the ``k`` largest of each row.
    """
    least = rows.new_full((len(rows),), threshold)
    found = None if keys16 is None else keys16.above(rows, keys, least, k, buffer)
    if found is None:
        scores = products(rows, keys.t(), buffer)
        if later > -len(rows):
            scores.masked_fill_(torch.ones_like(scores, dtype=torch.bool).tril_(later), -torch.inf)
        found = above(scores, least, k)
    values, columns = found
    row, place = (values > threshold).nonzero(as_tuple=True)
    column, value = columns[row, place], values[row, place]
    right = column - row > later
    return row[right], column[right], value[right]


def _most_similar(found: Found, new: Found, most: int) -> tuple[Found, Tensor]:
    """The ``most`` most similar pairs of each row, ties to the lowest column, and the rows that have more."""
    row, column, value = (torch.cat(parts) for parts in zip(found, new, strict=True))
    order = _sorted(row, -value, column)
    counts = row[order].unique_consecutive(return_counts=True)[1]
    rank = torch.arange(len(order)) - (counts.cumsum(0) - counts).repeat_interleave(counts)
    kept = order[rank < most]
    kept = kept[_sorted(row[kept], column[kept])]
    return (row[kept], column[kept], value[kept]), row[order[rank == most]]


def _sorted(*keys: Tensor) -> Tensor:
    """The order of rows by several keys, the first of which counts most."""
    order = torch.arange(len(keys[0]))
    for key in reversed(keys):
        order = order[key[order].argsort(stable=True)]
    return order
