"""Weights of several losses by the smallest combination of their gradients (MGDA)."""

import torch
from torch import Tensor

ITERATIONS = 250


def minimum_norm(gram: Tensor) -> Tensor:
    """Weights whose combination of gradients is the shortest: MGDA (Sener and Koltun 2018, arXiv:1810.04650).

    With G_ij = g_i . g_j the products of T gradients:

        min over a of a' G a = |sum_i a_i g_i|^2, where a_i >= 0 and sum_i a_i = 1

    The product of any g_j with the shortest sum is at least that of the sum with itself, so that a step
    against it makes no loss worse. Where the sum is 0, no step makes all losses better.

    By Frank and Wolfe's method with pairwise steps: from the gradient whose product with the sum is the
    largest, weight goes to that whose product is the smallest, as far as it shortens the sum. For two
    gradients the one step is the closed form. The published code returns .999 and .001 in place of 1 and 0,
    and nothing where its 250 iterations do not suffice; this one returns the last weights.

    Args:
        gram: (T, T) on any device, symmetric.

    Returns:
        (T), float64, on the same device; equal weights if a product is not finite.

    Raises:
        ValueError: a matrix that is not square, or empty.

    Example:
        >>> minimum_norm(torch.tensor([[4.0, 0.0], [0.0, 1.0]])).tolist()
        [0.2, 0.8]
        >>> minimum_norm(torch.tensor([[4.0, 2.0], [2.0, 1.0]])).tolist()
        [0.0, 1.0]
    """
    if gram.ndim != 2 or gram.shape[0] != gram.shape[1] or not len(gram):
        raise ValueError(f"gram must be square, (T, T) of one gradient or more, got {tuple(gram.shape)}")
    products = gram.detach().double().cpu()
    weights = torch.full((len(products),), 1 / len(products), dtype=torch.float64)
    smallest = 1e-12 * float(products.diagonal().max())
    for _ in range(ITERATIONS):
        slopes = products @ weights
        least = int(slopes.argmin())
        most = int(slopes.where(weights > 0, -torch.inf).argmax())
        gap = float(slopes[most] - slopes[least])
        if not gap > smallest:  # nor if it is not a number
            break
        curvature = float(products[least, least] + products[most, most] - 2 * products[least, most])
        step = min(gap / curvature, float(weights[most])) if curvature > 0 else float(weights[most])
        weights[most] -= step
        weights[least] += step
    return weights.to(gram.device)
