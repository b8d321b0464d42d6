"""Regularizers that keep a batch of embeddings from shrinking to a point or to a line."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsup.objectives.devices import sent
from selfsup.objectives.distributed import all_reduce_mean, gather_with_gradient, rank, world_size
from selfsup.objectives.precision import (
    check_dimensions,
    check_floating,
    check_not_negative,
    check_positive,
    full_precision,
)


@full_precision
def koleo(z: Tensor) -> Tensor:
    """Kozachenko-Leonenko estimate of minus the entropy (Sablayrolles et al. 2019, arXiv:1806.03198, eq. 2).

    With u_i = z_i / max(|z_i|, 1e-8) of the rows of all processes and j(i) the other row that is nearest:

        L = -mean_i log(|u_i - u_j(i) + 1e-8| + 1e-8)

    The gradient reaches both ends of each pair. DINOv2 (arXiv:2304.07193) takes the nearest row of its own
    process alone, which is another loss on every number of processes; this one is that of the global batch.

    Args:
        z: (N, D) embeddings, in DINOv2 the class tokens of one global view before the head.

    Returns:
        Scalar, at least float32. At least -log 2; -log(1e-8 (sqrt(D) + 1)), about 15, where all rows are
        equal: see `floors.koleo`.

    Raises:
        ValueError: a tensor that is not floating or not finite, or not (N, D), or fewer than two samples in
            the global batch.

    >>> round(koleo(torch.eye(5)).item(), 4)  # -log sqrt(2)
    -0.3466
    """
    check_floating(z=z)
    check_dimensions("N D", z=z)
    _check(z)
    u = F.normalize(z, dim=1, eps=1e-8)
    everyone = gather_with_gradient(u)
    with torch.no_grad():
        similarity = u @ everyone.T
        similarity.diagonal(rank() * len(u)).fill_(-torch.inf)
        nearest = similarity.argmax(1)
    distance = F.pairwise_distance(u, everyone[nearest], eps=1e-8)
    return -all_reduce_mean((distance + 1e-8).log().mean())


@full_precision
def sigreg(z: Tensor, slices: int = 1024, knots: int = 17, t_max: float = 3.0, seed: int = 0) -> Tensor:
    """Distance to the isotropic Gaussian (LeJEPA, Balestriero and LeCun 2025, arXiv:2511.08544).

    With a_m random directions of length 1, phi_m(t) = mean_n exp(i t a_m . z_n) over the N rows of all
    processes, and q_k the weights of the trapezoidal rule for the knots t_k on [-t_max, t_max]:

        L = mean_m N sum_k q_k exp(-t_k^2 / 2) |phi_m(t_k) - exp(-t_k^2 / 2)|^2

    It is the Epps-Pulley statistic of each slice; nothing is standardised, so that it constrains mean and
    scale too. The knots are those of the published code on [0, 3], for the integrand is even; the paper's
    text says [-5, 5]. Because of the factor N it does not fall with the batch: Gaussian samples have
    `floors.sigreg()`, about 1.05.

    Args:
        z: (N, D) embeddings of one view. (LeJEPA averages the values of the views.)
        slices: number M of random directions.
        knots: number of points t_k from 0 to `t_max`, at least 2.
        t_max: end of the integral, above 0.
        seed: of the directions. Give the number of the step, so that they are new at every step and the same
            in every process.

    Returns:
        Scalar, at least float32. `floors.sigreg_collapsed(N)`, about .40 N, where all rows are 0.

    Raises:
        ValueError: a tensor that is not floating or not finite, or not (N, D), a setting out of range, or
            fewer than two samples in the global batch.

    >>> z = torch.randn(512, 16, generator=torch.Generator().manual_seed(0))
    >>> bool(sigreg(z) < 1.5 < sigreg(2 * z))
    True
    """
    check_floating(z=z)
    check_dimensions("N D", z=z)
    return _from_gaussian(z, slices, knots, t_max, seed)


@full_precision
def lejepa(
    z: Tensor,
    large: int = 2,
    lambda_: float = 0.05,
    slices: int = 1024,
    knots: int = 17,
    t_max: float = 3.0,
    seed: int = 0,
) -> Tensor:
    """LeJEPA (Balestriero and LeCun 2025, arXiv:2511.08544): views agree, each spread as a Gaussian.

    With z_v the embeddings of view v and c_n the mean of sample n's large views:

        L = lambda_ * mean_v sigreg(z_v) + (1 - lambda_) * mean_vnd (z_vnd - c_nd)^2

    As in the published code, `sigreg` is of one view at a time, by the same directions, and the gradient also
    goes through the centres. Some code takes all views as one sample, whose `sigreg` is V times as large.

    Args:
        z: (V, N, D) embeddings of all views, the large ones first.
        large: number of large views, from 1 to V.
        lambda_: weight of `sigreg`, from 0 to 1.
        slices: as in `sigreg`, as are `knots`, `t_max` and `seed`.
        knots: at least 2.
        t_max: above 0.
        seed: of the directions; the number of the step.

    Returns:
        Scalar, at least float32. lambda_ * `floors.sigreg_collapsed(N)` where all embeddings are 0.

    Raises:
        ValueError: a tensor that is not floating or not finite, or not (V, N, D), a setting out of range, or
            fewer than two samples in the global batch.

    >>> round(lejepa(torch.zeros(2, 256, 16)).item(), 3)
    5.146
    """
    check_floating(z=z)
    check_dimensions("V N D", z=z)
    check_not_negative(lambda_=lambda_)
    if lambda_ > 1:
        raise ValueError(f"lambda_ must be at most 1, got {lambda_}")
    if not 1 <= large <= len(z):
        raise ValueError(f"large must be from 1 to the {len(z)} views, got {large}")
    apart = all_reduce_mean((z - z[:large].mean(0)).square().mean())
    return lambda_ * _from_gaussian(z, slices, knots, t_max, seed) + (1 - lambda_) * apart


def _from_gaussian(z: Tensor, slices: int, knots: int, t_max: float, seed: int) -> Tensor:
    """`sigreg` of (..., N, D), the mean over the leading axes."""
    _check(z)
    check_positive(slices=slices, t_max=t_max)
    if knots < 2:
        raise ValueError(f"knots must be at least 2, got {knots}")
    t = torch.linspace(0, t_max, knots, dtype=z.dtype, device=z.device)
    gaussian = (-t.square() / 2).exp()
    weights = 2 * (t_max / (knots - 1)) * gaussian
    weights = torch.cat([weights[:1] / 2, weights[1:-1], weights[-1:] / 2])
    projected = z @ F.normalize(sent(_normal(z.shape[-1], slices, seed), z), dim=0)
    real, imaginary = all_reduce_mean(_MeanWaves.apply(projected, t)).unbind(-2)
    distance = (real - gaussian).square() + imaginary.square()
    return z.shape[-2] * world_size() * (distance @ weights).mean()


class _MeanWaves(torch.autograd.Function):
    """Means over the rows of cos(t_k x) and sin(t_k x): (..., N, M), (K,) -> (..., M, 2, K).

    Written out because autograd would keep 2 K tensors of the size of x; this keeps x.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, t: Tensor) -> Tensor:
        ctx.save_for_backward(x, t)
        angles = (x * frequency for frequency in t)
        return torch.stack([torch.stack([a.cos().mean(-2), a.sin().mean(-2)], -1) for a in angles], dim=-1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        x, t = ctx.saved_tensors
        total = torch.zeros_like(x)
        for frequency, of_wave in zip(t, gradient.unbind(-1), strict=True):
            real, imaginary = of_wave.unsqueeze(-3).unbind(-1)
            angle = x * frequency
            total += frequency * (imaginary * angle.cos() - real * angle.sin())
        return total / x.shape[-2], None


@torch.library.custom_op("selfsup::normal", mutates_args=())
def _normal(rows: int, columns: int, seed: int) -> Tensor:
    """Draws that depend on the seed alone; opaque to `torch.compile`, which cannot trace a generator."""
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


@_normal.register_fake
def _(rows: int, columns: int, seed: int) -> Tensor:
    return torch.empty(rows, columns)


def _check(z: Tensor) -> None:
    samples = z.shape[-2] * world_size()
    if samples < 2:
        raise ValueError(f"z must hold at least two samples, got {samples}")
