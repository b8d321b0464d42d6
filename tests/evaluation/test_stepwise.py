"""The leading eigenvalues of features, against the closed form of linear Barlow Twins (arXiv:2303.15438)."""

import math

import pytest
import torch
from torch import Tensor

from selfsup.evaluation import leading
from selfsup.evaluation.errors import NoScore

# Of the inputs' cross-correlation; the encoder's initial scales, equal and small.
GAMMA = torch.tensor([1.0, 0.5, 0.25, 0.1, 0.05], dtype=torch.float64)
WIDTH, START = 3, 0.05


def inputs() -> Tensor:
    """Centred inputs ``(n, 5)`` whose second moment has the eigenvalues ``GAMMA`` in a random basis."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(400, 5, dtype=torch.float64, generator=generator)
    white, _ = torch.linalg.qr(x - x.mean(dim=0))
    basis, _ = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64, generator=generator))
    return white * len(x) ** 0.5 @ torch.diag(GAMMA.sqrt()) @ basis.t()


def closed_form(t: float) -> Tensor:
    """``gamma_j s_j(t)^2`` with ``s_j(t) = e^(4 gamma t) / sqrt(s_j(0)^-2 + (e^(8 gamma t) - 1) gamma)``."""
    gamma = GAMMA[:WIDTH]
    grown = (8 * gamma * t).exp()
    return gamma * grown / (START**-2 + (grown - 1) * gamma)


def flow(weight: Tensor, x: Tensor) -> Tensor:
    """Minus the gradient of ``||C - I||^2``, C the embeddings' cross-correlation, not standardised."""
    weight = weight.detach().requires_grad_()
    z = x @ weight.t()
    c = z.t() @ z / len(z)
    (gradient,) = torch.autograd.grad((c - torch.eye(WIDTH, dtype=c.dtype)).square().sum(), weight)
    return -gradient


def trained(x: Tensor, times: list[float], step: float = 0.01) -> list[Tensor]:
    """The encoder at these times of gradient flow (Runge and Kutta's fourth order), aligned at first."""
    vectors = torch.linalg.eigh(x.t() @ x / len(x))[1].flip(1)[:, :WIDTH]
    weight, found = START * vectors.t(), []
    for number in range(round(max(times) / step) + 1):
        if any(math.isclose(number * step, time, abs_tol=step / 2) for time in times):
            found.append(weight)
        one = flow(weight, x)
        two = flow(weight + step / 2 * one, x)
        three = flow(weight + step / 2 * two, x)
        weight = weight + step / 6 * (one + 2 * two + 2 * three + flow(weight + step * three, x))
    return found


def test_eigenvalues_rise_one_by_one_as_in_the_closed_form() -> None:
    x, times = inputs(), [0.2, 0.6, 0.8, 1.6, 2.0, 3.6, 5.0]
    seen = torch.stack([leading(x @ weight.t(), 16) for weight in trained(x, times)])
    expected = torch.stack([closed_form(time) for time in times])
    torch.testing.assert_close(seen, expected, rtol=1e-6, atol=1e-9)
    # Half of a mode is learned at -ln(s(0)^2 gamma) / (8 gamma): the second begins when the first is done.
    learning = -(START**2 * GAMMA[:WIDTH]).log() / (8 * GAMMA[:WIDTH])
    assert learning.tolist() == pytest.approx([0.749, 1.671, 3.689], abs=1e-3)
    assert [(row > 0.5).sum().item() for row in seen] == [0, 0, 1, 1, 2, 2, 3]
    assert seen[-1].tolist() == pytest.approx([1, 1, 1], abs=0.07)


def test_fewer_samples_than_dimensions_have_as_many_eigenvalues_and_none_below_zero() -> None:
    x = torch.randn(4, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = leading(x, 16)
    assert found.shape == (4,)
    expected = torch.linalg.eigvalsh(torch.cov(x.t(), correction=0)).flip(0)[:4]
    torch.testing.assert_close(found, expected.clamp(min=0), rtol=1e-9, atol=1e-12)
    assert (found >= 0).all()


def test_what_is_not_finite_has_no_spectrum() -> None:
    with pytest.raises(NoScore, match="not finite"):
        leading(torch.tensor([[1.0, math.inf], [0.0, 1.0], [2.0, 1.0]]), 2)
