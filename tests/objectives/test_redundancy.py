import math
from typing import Any

import pytest
import torch

from selfsup.objectives import barlow_twins, floors, mixed_barlow, tico, tico_moment, vicreg

from .declarations import inputs_for
from .references import barlow_twins_reference, vicreg_reference


def orthogonal(samples: int, dimensions: int) -> torch.Tensor:
    """Columns of zero mean that are orthogonal and as long as a standardised column."""
    z = torch.randn(samples, dimensions, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return torch.linalg.qr(z - z.mean(0))[0] * samples**0.5


def test_uncorrelated_columns_cost_nothing_and_opposite_ones_four_each() -> None:
    z = orthogonal(20, 6)
    assert float(barlow_twins(z, z)) == pytest.approx(0, abs=1e-8)
    assert float(barlow_twins(z, -z)) == pytest.approx(4 * 6, rel=1e-4)


def test_the_off_diagonal_does_not_cancel_in_float32() -> None:
    """Off-diagonal elements of 1e-4 beside a diagonal of ones: in ||C||^2 - ||diag C||^2 they would be
    noise."""
    z = orthogonal(512, 64)
    z2 = z + 1e-3 * torch.randn(512, 64, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    single = float(barlow_twins(z.float(), z2.float(), lambda_=1e6))
    assert single == pytest.approx(float(barlow_twins(z, z2, lambda_=1e6)), rel=1e-3)


def test_float32_at_a_large_width() -> None:
    generator = torch.Generator().manual_seed(0)
    z1, z2 = (torch.randn(64, 4096, generator=generator) + 1 for _ in range(2))
    exact = float(barlow_twins(z1.double(), z2.double()))
    assert float(barlow_twins(z1, z2)) == pytest.approx(exact, rel=1e-5)


def test_the_least_value_is_reached() -> None:
    """One view is stretched in two of four directions and squeezed in the others, the second view the other
    way.

    C is then a multiple of a projection of rank N - 1, and its diagonal the best one, 1 / (1 + excess).
    """
    n, d, weight = 5, 12, 0.5
    turn = torch.arange(d, dtype=torch.float64) * 2 * math.pi / d
    frame = torch.stack([turn.cos(), turn.sin(), (2 * turn).cos(), (2 * turn).sin()])
    best = 1 / (1 + weight * (d / (n - 1) - 1))
    stretch = math.sqrt((1 + math.sqrt(1 - best**2)) / best)
    axes = torch.tensor([stretch, stretch, 1 / stretch, 1 / stretch], dtype=torch.float64)
    directions = 1e3 * orthogonal(n, n - 1)
    views = (directions @ (axes[:, None] * frame), directions @ (frame / axes[:, None]))
    least = floors.barlow_twins_least(n, d, lambda_=weight)
    assert float(barlow_twins(*views, lambda_=weight)) == pytest.approx(least, rel=1e-6)
    for seed in range(50):
        generator = torch.Generator().manual_seed(seed)
        near1, near2 = (z + seed * torch.randn(n, d, generator=generator, dtype=torch.float64) for z in views)
        assert float(barlow_twins(near1, near2, lambda_=weight)) > least - 1e-6


def test_no_least_value_where_the_batch_is_large() -> None:
    assert floors.barlow_twins_least(100, 12) == 0


def test_views_can_be_exchanged_and_columns_rescaled() -> None:
    inputs = inputs_for("barlow_twins")
    z1, z2 = inputs["z1"], inputs["z2"]
    torch.testing.assert_close(barlow_twins(z2, z1), barlow_twins(z1, z2), rtol=1e-12, atol=0)
    scale = torch.linspace(100, 900, 6, dtype=torch.float64)
    shift = torch.linspace(-3, 3, 6, dtype=torch.float64)
    exact = barlow_twins(z1 * 1e4, z2 * 1e4)
    torch.testing.assert_close(barlow_twins(z1 * 1e2 * scale + shift, z2 * 1e4), exact, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("z1", "z2", "message"),
    [
        (torch.ones(4, 3), torch.ones(4, 2), "z2 must have the shape of z1"),
        (torch.ones(4), torch.ones(4), r"z1 must have the shape \(N, D\)"),
        (torch.ones(4, 3, dtype=torch.int64), torch.ones(4, 3), "z1 must be a floating-point tensor"),
    ],
)
def test_refuses(z1: torch.Tensor, z2: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        barlow_twins(z1, z2)


def test_vicreg_weighs_its_three_terms() -> None:
    inputs = inputs_for("vicreg")
    terms = [vicreg(**inputs, **dict(zip(WEIGHTS, row, strict=True))) for row in torch.eye(3).tolist()]
    expected = 25 * terms[0] + 25 * terms[1] + terms[2]
    torch.testing.assert_close(vicreg(**inputs), expected, rtol=1e-12, atol=0)
    same = {"z1": inputs["z1"], "z2": inputs["z1"]}
    assert float(vicreg(**same, variance=0, covariance=0)) == 0


WEIGHTS = ("invariance", "variance", "covariance")


def test_vicreg_of_independent_normals() -> None:
    """Unit normals are 2 apart, cost next to no hinge, and covary by 2 (D - 1) / (N - 1) by chance."""
    n, d = 2000, 50
    generator = torch.Generator().manual_seed(0)
    z1, z2 = (torch.randn(n, d, generator=generator, dtype=torch.float64) for _ in range(2))
    apart, hinge, chance = (
        float(vicreg(z1, z2, **dict(zip(WEIGHTS, row, strict=True)))) for row in torch.eye(3).tolist()
    )
    assert apart == pytest.approx(2, rel=0.02)
    assert 0 < hinge < 0.02
    assert chance == pytest.approx(2 * (d - 1) / (n - 1), rel=0.15)


def test_vicreg_of_large_values_in_half_precision() -> None:
    """Published code forms z^T z in float16 before it divides by N - 1, which overflows here."""
    generator = torch.Generator().manual_seed(0)
    z1, z2 = (8 * torch.randn(2048, 16, generator=generator) for _ in range(2))
    with torch.autocast("cpu", dtype=torch.float16):
        half = float(vicreg(z1, z2))
    assert half == pytest.approx(float(vicreg(z1.double(), z2.double())), rel=1e-5)


@pytest.mark.parametrize("weight", WEIGHTS)
def test_vicreg_refuses_negative_weights(weight: str) -> None:
    with pytest.raises(ValueError, match=f"{weight} must be at least 0, got -1"):
        vicreg(**inputs_for("vicreg"), **{weight: -1.0})


@pytest.mark.parametrize("dimensions", [23, 24, 25])
def test_both_ways_meet_where_they_change(dimensions: int) -> None:
    """Twelve samples: from 24 dimensions on, C is not formed."""
    z = torch.randn(2, 12, dimensions, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for objective, reference in ((barlow_twins, barlow_twins_reference), (vicreg, vicreg_reference)):
        torch.testing.assert_close(objective(*z), reference(*z), rtol=1e-11, atol=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mixed": torch.ones(12, 5)}, "mixed must have the shape of z1"),
        ({"partner": torch.ones(12, 6, dtype=torch.int64)}, "partner must be a floating-point tensor"),
        ({"share": torch.ones(12, 1)}, r"share must have the shape \(N\), got \(12, 1\)"),
        ({"share": torch.ones(11)}, "share must hold one number a sample, 12, got 11"),
        ({"eps": -1.0}, "eps must be at least 0, got -1"),
    ],
)
def test_mixed_barlow_refuses(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mixed_barlow(**{**inputs_for("mixed_barlow"), **change})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"z2": torch.ones(11, 6)}, "z2 must have the shape of z1"),
        ({"moment": torch.ones(6, 5)}, r"moment must have the shape \(6, 6\), got \(6, 5\)"),
        ({"z1": torch.ones(0, 6), "z2": torch.ones(0, 6)}, "z must hold at least one sample, got none"),
        ({"rho": -1.0}, "rho must be at least 0, got -1"),
        ({"beta": 1.1}, r"beta must be from 0 to 1, got 1\.1"),
    ],
)
def test_tico_refuses(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tico(**{**inputs_for("tico"), **change})


def test_ticos_targets_and_earlier_batches_have_no_gradient() -> None:
    inputs = {name: x.requires_grad_() for name, x in inputs_for("tico").items()}
    tico(**inputs).backward()
    assert {name for name, x in inputs.items() if x.grad is not None} == {"z1"}
    assert not tico_moment(inputs["z1"]).requires_grad
