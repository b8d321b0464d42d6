import math

import pytest
import torch

from selfsup.objectives import floors, nt_xent

from .declarations import inputs_for


def test_is_lightlys() -> None:
    from lightly.loss import NTXentLoss

    inputs = inputs_for("nt_xent", 32)
    expected = NTXentLoss(temperature=0.2)(inputs["z1"], inputs["z2"])
    assert float(nt_xent(**inputs, temperature=0.2)) == pytest.approx(float(expected), abs=1e-9)


def test_floor_is_the_value_of_equal_embeddings() -> None:
    z = torch.ones(16, 5)
    assert float(nt_xent(z, z)) == pytest.approx(floors.nt_xent(16), abs=1e-5)


def test_orthonormal_pairs() -> None:
    z, t, n = torch.eye(8, dtype=torch.float64), 0.3, 8
    expected = -1 / t + math.log(math.exp(1 / t) + 2 * n - 2)
    assert float(nt_xent(z, z, temperature=t)) == pytest.approx(expected, abs=1e-12)


def test_simplex_of_pairs() -> None:
    n, t = 6, 0.5
    z = torch.eye(n, dtype=torch.float64) - 1 / n
    expected = -1 / t + math.log(math.exp(1 / t) + (2 * n - 2) * math.exp(-1 / ((n - 1) * t)))
    assert float(nt_xent(z, z, temperature=t)) == pytest.approx(expected, abs=1e-12)


def test_views_can_be_exchanged_and_lengths_do_not_matter() -> None:
    inputs = inputs_for("nt_xent")
    z1, z2 = inputs["z1"], inputs["z2"]
    lengths = torch.linspace(0.1, 9, 12, dtype=torch.float64)[:, None]
    rotation = torch.linalg.qr(
        torch.randn(6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    )[0]
    for other in ((z2, z1), (z1 * lengths, z2), (z1 @ rotation, z2 @ rotation)):
        torch.testing.assert_close(nt_xent(*other), nt_xent(z1, z2), rtol=1e-12, atol=0)


def test_a_tiny_temperature_does_not_overflow() -> None:
    inputs = {name: x.float() for name, x in inputs_for("nt_xent").items()}
    assert nt_xent(**inputs, temperature=1e-3).isfinite()


@pytest.mark.parametrize(
    ("z1", "z2", "temperature", "message"),
    [
        (torch.ones(4, 3), torch.ones(5, 3), 0.1, "z2 must have the shape of z1"),
        (torch.ones(4, 3, 1), torch.ones(4, 3, 1), 0.1, r"z1 must have the shape \(N, D\)"),
        (torch.ones(4, 3), torch.ones(4, 3, dtype=torch.int64), 0.1, "z2 must be a floating-point tensor"),
        (torch.ones(1, 3), torch.ones(1, 3), 0.1, "z1 must hold at least two samples"),
        (torch.ones(4, 3), torch.ones(4, 3), 0.0, "temperature must be above 0"),
    ],
)
def test_refuses(z1: torch.Tensor, z2: torch.Tensor, temperature: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        nt_xent(z1, z2, temperature=temperature)
