"""Top-k of a block of similarities, without a full sort."""

import warnings
from typing import NamedTuple, Self

import torch
from torch import Tensor

GROUP = 8  # columns whose largest is checked first
CROWDED = 0.25  # share of the groups above which sorting all columns is cheaper
BF16_STEP = 2.0**-8  # largest relative step between neighbouring numbers in bfloat16


def products(rows: Tensor, keys: Tensor, buffer: Tensor) -> Tensor:
    """``rows`` ``(M, D)`` times ``keys`` ``(D, N)``; columns of minus infinity up to a multiple of GROUP."""
    width = -(-keys.shape[1] // GROUP) * GROUP
    scores = buffer.view(rows.dtype)[: len(rows) * width].view(len(rows), width)
    torch.mm(rows, keys, out=scores[:, : keys.shape[1]])
    scores[:, keys.shape[1] :] = -torch.inf
    return scores


def above(scores: Tensor, least: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Those of ``scores`` ``(M, N)`` among a row's k largest that exceed its ``least`` ``(M,)``.

    Returns values ``(M, n)`` and columns ``(M, n)``, in no order, filled up with minus infinity; there may be
    further ones.
    """
    k = min(k, scores.shape[1])
    found = _few_above(scores, least, k, torch.zeros_like(least))
    if found is None:
        values, columns = scores.topk(k, dim=1, sorted=False)
        return values, columns
    row, column = found
    return _side_by_side(row, column, scores[row, column], len(scores))


class Rounded(NamedTuple):
    """Rows of length 1 in bfloat16, and a bound on the error of their products.

    With a centre m, ``u_q . u_b = (u_q - m) . (u_b - m) + m . (u_b - m) + m . u_q``. The first term is
    rounded, which costs the less the closer the features lie to their centre; the second goes along as two
    columns, which hold it almost exactly; the third is the same for all of a query's scores and left out.
    """

    keys: Tensor
    centre: Tensor
    length: Tensor  # of the longest centred row
    error: Tensor  # length of the largest rounding error of a row
    rest: Tensor  # the largest part of the second term that two columns do not hold

    @classmethod
    def of(cls, unit: Tensor) -> Self:
        """Of rows ``(N, D)``."""
        centre = unit.mean(dim=0)
        centred = unit - centre
        rounded = centred.bfloat16()
        offset = centred @ centre
        high = offset.bfloat16()
        low = (offset - high).bfloat16()
        rest = (offset - high.float() - low.float()).abs().amax()
        keys = torch.cat([rounded, high[:, None], low[:, None]], dim=1)
        length, error = (x.norm(dim=1).amax() for x in (centred, centred - rounded))
        return cls(keys, centre, length, error, rest)

    def above(
        self, rows: Tensor, unit: Tensor, least: Tensor, k: int, buffer: Tensor
    ) -> tuple[Tensor, Tensor] | None:
        """As :func:`above` of ``rows @ unit.t()``, computed for columns that the rounded products leave.

        By the inequality of Cauchy and Schwarz a product is off by at most the length of either rounding
        error times the length of the other side. None if that leaves too many columns to save time.
        """
        centred = rows - self.centre
        rounded = centred.bfloat16()
        slack = (centred - rounded).norm(dim=1) * self.length + rounded.float().norm(dim=1) * self.error
        # Sums in float32, of these products and of the exact ones.
        slack = slack + self.rest + rows.shape[1] * 2.0**-24
        ones = rounded.new_ones(len(rows), 2)
        scores = products(torch.cat([rounded, ones], dim=1), self.keys.t(), buffer)
        # Rounding keeps the order: a value above a bound is not below the rounded bound.
        bound = _just_below((least - rows @ self.centre - slack).bfloat16())
        found = _few_above(scores, bound, min(k, scores.shape[1]), 2 * slack)
        if found is None:
            return None
        row, column = found
        return _side_by_side(row, column, _dots(rows, unit, row, column), len(rows))


def _few_above(scores: Tensor, least: Tensor, k: int, slack: Tensor) -> tuple[Tensor, Tensor] | None:
    """Row and column of scores above ``least``, or within ``slack`` of a row's k largest; None if many.

    Column j is in group j modulo the number of groups.
    """
    width = scores.shape[1]
    groups = width // GROUP
    largest = scores.unflatten(1, (GROUP, groups)).amax(dim=1)
    if groups >= k and not least.isfinite().all():
        # The k-th of the groups' largest is also a bound: k scores reach it.
        bound = largest.topk(k, dim=1, sorted=False).values.amin(dim=1)
        if scores.dtype == torch.bfloat16:
            bound = (bound.float() - bound.float().abs() * BF16_STEP - slack).bfloat16()
        least = torch.maximum(least, _just_below(bound))
    row, group = (largest > least.unsqueeze(1)).nonzero(as_tuple=True)
    if torch.bincount(row, minlength=1).max() > CROWDED * groups:
        return None
    steps = torch.arange(0, width, groups, device=scores.device)
    value = scores.take((row * width + group).unsqueeze(1) + steps)
    chosen, step = (value > least[row].unsqueeze(1)).nonzero(as_tuple=True)
    return row[chosen], group[chosen] + step * groups


def _just_below(bound: Tensor) -> Tensor:
    return bound.nextafter(torch.full_like(bound, -torch.inf))


def _dots(rows: Tensor, unit: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """``rows[row] . unit[column]``, for sorted ``row``."""
    ends = torch.bincount(row, minlength=len(rows)).cumsum(0)
    starts, zeros = torch.cat([ends.new_zeros(1), ends]), rows.new_zeros(len(column))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state")
        size = (len(rows), len(unit))
        pattern = torch.sparse_csr_tensor(starts, column, zeros, size, check_invariants=False)
    return torch.sparse.sampled_addmm(pattern, rows, unit.t()).values()


def _side_by_side(row: Tensor, column: Tensor, value: Tensor, rows: int) -> tuple[Tensor, Tensor]:
    """Values and columns ``(rows, n)`` of entries sorted by row, filled up with minus infinity."""
    count = torch.bincount(row, minlength=rows)
    place = torch.arange(len(row), device=row.device) - (count.cumsum(0) - count)[row]
    values = value.new_full((rows, int(count.max())), -torch.inf)
    columns = torch.zeros_like(values, dtype=torch.int64)
    values[row, place], columns[row, place] = value, column
    return values, columns
