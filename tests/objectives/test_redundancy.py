import pytest
import torch

from selfsup.objectives import barlow_twins, floors

from .declarations import inputs_for


def orthogonal(samples: int, dimensions: int) -> torch.Tensor:
    """Columns of zero mean that are orthogonal and as long as a standardised column."""
    z = torch.randn(samples, dimensions, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return torch.linalg.qr(z - z.mean(0))[0] * samples**0.5


def test_is_lightlys() -> None:
    from lightly.loss import BarlowTwinsLoss

    inputs = inputs_for("barlow_twins", 32)
    expected = BarlowTwinsLoss(lambda_param=0.0051)(inputs["z1"], inputs["z2"])
    assert float(barlow_twins(**inputs)) == pytest.approx(float(expected), rel=1e-6)


def test_floor_is_the_value_of_equal_embeddings() -> None:
    z = torch.full((16, 5), 0.3)
    assert float(barlow_twins(z, z)) == pytest.approx(floors.barlow_twins(5), abs=1e-5)


def test_uncorrelated_columns_cost_nothing_and_opposite_ones_four_each() -> None:
    z = orthogonal(20, 6)
    assert float(barlow_twins(z, z)) == pytest.approx(0, abs=1e-8)
    assert float(barlow_twins(z, -z)) == pytest.approx(4 * 6, rel=1e-4)


def test_the_off_diagonal_does_not_cancel_in_float32() -> None:
    """Off-diagonal elements of about 1e-6 beside a diagonal of ones: ||C||^2 - ||diag C||^2 would be rounding noise."""
    z = orthogonal(512, 64)
    z2 = z + 1e-6 * torch.randn(512, 64, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    weight = 1e6
    on = float(barlow_twins(z.float(), z2.float(), lambda_=0.0))
    off = float(barlow_twins(z.float(), z2.float(), lambda_=weight)) - on
    exact = float(barlow_twins(z.float().double(), z2.float().double(), lambda_=weight)) - on
    assert off == pytest.approx(exact, rel=0.05)


def test_the_least_value_is_a_bound_that_is_reached() -> None:
    """Columns drawn from N - 1 orthogonal directions, each in equal numbers, attain it."""
    z = orthogonal(5, 4).repeat(1, 3)
    correlated = (z.T @ z / 5).square().sum()
    assert float(correlated) == pytest.approx(12**2 / 4)
    least = floors.barlow_twins_least(5, 12, lambda_=0.5)
    # Shrinking the second view's columns towards others is not open to standardised columns: mix each with noise
    # that the first view does not have instead, in a batch with room for it.
    assert least < float(barlow_twins(z, z, lambda_=0.5))
    z1 = torch.randn(5, 12, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    assert least < float(barlow_twins(z1, z1, lambda_=0.5))
    assert floors.barlow_twins_least(100, 12) == 0


def test_views_can_be_exchanged_and_columns_rescaled() -> None:
    inputs = inputs_for("barlow_twins")
    z1, z2 = inputs["z1"], inputs["z2"]
    torch.testing.assert_close(barlow_twins(z2, z1), barlow_twins(z1, z2), rtol=1e-12, atol=0)
    scale, shift = (
        torch.linspace(100, 900, 6, dtype=torch.float64),
        torch.linspace(-3, 3, 6, dtype=torch.float64),
    )
    exact = barlow_twins(z1 * 1e4, z2 * 1e4)
    torch.testing.assert_close(barlow_twins(z1 * 1e2 * scale + shift, z2 * 1e4), exact, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("z1", "z2", "message"),
    [
        (torch.ones(4, 3), torch.ones(4, 2), "z2 must have the shape of z1"),
        (torch.ones(4), torch.ones(4), r"z1 must have the shape \(N, D\)"),
        (torch.ones(4, 3, dtype=torch.int64), torch.ones(4, 3), "z1 must be a floating-point tensor"),
        (torch.ones(1, 3), torch.ones(1, 3), "z1 must hold at least two samples"),
    ],
)
def test_refuses(z1: torch.Tensor, z2: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        barlow_twins(z1, z2)
