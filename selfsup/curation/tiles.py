"""Similarities above a threshold, a block of two sets of rows at a time."""

import torch
from torch import Tensor

from selfsup.evaluation.classifiers.topk import Rounded, above, products

Found = tuple[Tensor, Tensor, Tensor]  # int64 rows and columns and float32 similarities, each (P,)


def above_threshold(
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


def most_similar(found: Found, most: int) -> tuple[Found, Tensor]:
    """The ``most`` most similar pairs of each row, ties to the lowest column; and rows that have more."""
    row, column, value = found
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
