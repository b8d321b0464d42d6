"""The squared off-diagonal elements of a correlation matrix, summed by the shorter of two ways."""

from typing import Any

import torch
from torch import Tensor

from selfsup.objectives.distributed import gather, sum_over_processes, world_size


def off_diagonal_squares(a: Tensor, b: Tensor | None = None) -> Tensor:
    """sum_{i != j} C_ij^2 of C = a^T b over the rows of all processes: (N, D), (N, D) -> scalar.

    Without `b` it is C = a^T a. With many more dimensions than samples, C (D x D) is not formed at all. Its
    squared norm is also <a a^T, b b^T>, of two N x N matrices, from which the diagonal's squares are
    subtracted. The difference does not cancel there: C has a rank of at most N, so that
    ||C||^2 >= (tr C)^2 / N, which for elements C_ii of one size is D / N times what is subtracted, and at
    least twice where N <= D / 2.

    Neither way has autograd copy a matrix; the gradient is that of the global batch, see
    `selfsup.objectives.distributed`.

    >>> off_diagonal_squares(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))  # C = [[10, 14], [14, 20]]
    tensor(392.)
    """
    samples, dimensions = a.shape[0] * world_size(), a.shape[1]
    way = _BySamples if 2 * samples <= dimensions else _ByDimensions
    return way.apply(a, b)


class _ByDimensions(torch.autograd.Function):
    """||C - diag C||^2; its gradient with respect to a is 2 b (C - diag C)^T."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor | None) -> Tensor:
        correlation = sum_over_processes(a.T @ (a if b is None else b))
        correlation.diagonal().zero_()
        ctx.save_for_backward(a, b, correlation)
        return _sum_of_squares(correlation)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None]:
        a, b, correlation = ctx.saved_tensors
        twice = 2 * sum_over_processes(gradient)
        if b is None:
            return 2 * twice * (a @ correlation), None
        return twice * (b @ correlation.T), twice * (a @ correlation)


class _BySamples(torch.autograd.Function):
    """<a a^T, b b^T> - ||diag C||^2; its gradient with respect to a is 2 (b b^T a - b diag C)."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor | None) -> Tensor:
        # Of the N x N matrices, the rows of this process's samples.
        all_a = gather(a)
        rows_a = a @ all_a.T
        all_b = None if b is None else gather(b)
        rows_b = rows_a if b is None or all_b is None else b @ all_b.T
        diagonal = sum_over_processes((a * (a if b is None else b)).sum(0))
        ctx.save_for_backward(a, b, all_a, all_b, rows_a, rows_b, diagonal)
        norm = sum_over_processes((rows_a * rows_b).sum(1).sum())
        return norm - diagonal.square().sum()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None]:
        a, b, all_a, all_b, rows_a, rows_b, diagonal = ctx.saved_tensors
        twice = 2 * sum_over_processes(gradient)
        if b is None:
            return 2 * twice * (rows_a @ all_a - a * diagonal), None
        return twice * (rows_b @ all_a - b * diagonal), twice * (rows_a @ all_b - a * diagonal)


def _sum_of_squares(matrix: Tensor) -> Tensor:
    # Row by row, as float32 loses three digits in a single running sum of millions of squares.
    return torch.linalg.vector_norm(matrix, dim=1).square().sum()
