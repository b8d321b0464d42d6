import math

import pytest
import torch

from selfsup.objectives import nt_xent

from .declarations import inputs_for


def test_orthonormal_pairs() -> None:
    z, t, n = torch.eye(8, dtype=torch.float64), 0.3, 8
    expected = -1 / t + math.log(math.exp(1 / t) + 2 * n - 2)
    assert float(nt_xent(z, z, temperature=t)) == pytest.approx(expected, abs=1e-12)


def test_simplex_of_pairs() -> None:
    n, t = 6, 0.5
    z = torch.eye(n, dtype=torch.float64) - 1 / n
    expected = -1 / t + math.log(math.exp(1 / t) + (2 * n - 2) * math.exp(-1 / ((n - 1) * t)))
    assert float(nt_xent(z, z, temperature=t)) == pytest.approx(expected, abs=1e-12)


def test_a_tiny_temperature_does_not_overflow() -> None:
    inputs = {name: x.float() for name, x in inputs_for("nt_xent").items()}
    assert nt_xent(**inputs, temperature=1e-3).isfinite()


@pytest.mark.parametrize(
    ("z1", "z2", "temperature", "message"),
    [
        (torch.ones(4, 3), torch.ones(5, 3), 0.1, "z2 must have the shape of z1"),
        (torch.ones(4, 3, 1), torch.ones(4, 3, 1), 0.1, r"z1 must have the shape \(N, D\)"),
        (torch.ones(4, 3), torch.ones(4, 3, dtype=torch.int64), 0.1, "z2 must be a floating-point tensor"),
        (torch.ones(4, 3), torch.ones(4, 3), 0.0, "temperature must be above 0"),
    ],
)
def test_refuses(z1: torch.Tensor, z2: torch.Tensor, temperature: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        nt_xent(z1, z2, temperature=temperature)
