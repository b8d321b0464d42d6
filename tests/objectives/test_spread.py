import math
from typing import Any

import pytest
import torch

from selfsup.objectives import floors, koleo, lejepa, sigreg, spread

from .declarations import Z1, Z2, wave


def normal(samples: int, width: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(samples, width, generator=generator, dtype=torch.float64)


def test_koleo_of_orthonormal_rows_and_of_a_circle() -> None:
    assert float(koleo(torch.eye(8, dtype=torch.float64))) == pytest.approx(-math.log(2) / 2, abs=1e-7)
    angles = torch.arange(12, dtype=torch.float64) * math.pi / 6
    circle = torch.stack([angles.cos(), angles.sin()], dim=1)
    assert float(koleo(circle)) == pytest.approx(-math.log(2 * math.sin(math.pi / 12)), abs=1e-7)


def test_koleo_of_zeros_has_a_gradient_as_large_as_dinov2s_and_finite() -> None:
    """Lengths are at least 1e-8, so that u = z / 1e-8; the distance of two zeros is 1e-8 sqrt(D)."""
    z = torch.zeros(4, 16, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(koleo(z), z)
    # Each row's own distance is 1e-8 (1, ..., 1), and its neighbour's is the row's with the other sign.
    outer = 1e8 / (4 * (1e-8 * 4 + 1e-8))  # of one element, before the distance's own direction, 1 / 4
    nearest = [1, 0, 0, 0]  # the first of equals
    expected = torch.zeros(4, 16, dtype=torch.float64)
    for i, j in enumerate(nearest):
        expected[i] -= outer / 4
        expected[j] += outer / 4
    torch.testing.assert_close(gradient, expected, rtol=1e-6, atol=0)
    single = torch.zeros(4, 16, requires_grad=True)
    koleo(single).backward()
    assert single.grad is not None
    assert single.grad.isfinite().all()


def test_koleo_pushes_both_ends_of_a_pair_apart() -> None:
    """A third row, far from both, is nearest to the first and nobody's nearest."""
    z = torch.tensor([[1.0, 0.0, 0.0], [0.9, 0.1, 0.0], [-1.0, 0.1, 0.3]]).double().requires_grad_()
    (gradient,) = torch.autograd.grad(koleo(z), z)
    moved = (z - 0.01 * gradient).detach()
    unit, before = (torch.nn.functional.normalize(x, dim=1) for x in (moved, z.detach()))
    assert (unit[0] - unit[1]).norm() > (before[0] - before[1]).norm()
    assert gradient.norm(dim=1).min() > 0


def test_koleo_is_finite_for_equal_rows_in_half_precision() -> None:
    """1e-8 is zero in float16, where published code gets an infinity."""
    z = torch.ones(4, 1024, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.float16):
        value = koleo(z.half())
    value.backward()
    assert float(value.detach()) == pytest.approx(floors.koleo(1024), rel=1e-3)
    assert z.grad is not None
    assert z.grad.isfinite().all()


def test_sigreg_of_gaussian_samples_is_its_floor_whatever_their_number() -> None:
    for samples in (64, 512):
        values = [float(sigreg(normal(samples, 8, seed), slices=64, seed=seed)) for seed in range(100)]
        mean, deviation = torch.tensor(values).mean(), torch.tensor(values).std()
        assert abs(mean - floors.sigreg()) < 4 * deviation / 100**0.5


@pytest.mark.parametrize(
    "change", [lambda z: 1.3 * z, lambda z: 0.7 * z, lambda z: z + 0.3, lambda z: z.sign(), lambda z: z[:256]]
)
def test_sigreg_grows_with_scale_mean_and_shape_and_not_with_the_number_of_samples(change: Any) -> None:
    z = normal(512, 4)
    gaussian, other = float(sigreg(z)), float(sigreg(change(z)))
    fewer = len(change(z)) < len(z)
    assert abs(other / gaussian - 1) < 0.5 if fewer else other > 2 * gaussian


def test_sigreg_of_a_rotated_batch_differs_by_its_directions_alone() -> None:
    z = normal(128, 5) * torch.tensor([1, 1, 1, 0.2, 0.1])
    rotation = torch.linalg.qr(normal(5, 5, 1))[0]
    values = [float(sigreg(x, slices=20_000)) for x in (z, z @ rotation)]
    assert values[0] == pytest.approx(values[1], rel=0.05)


def test_sigreg_is_the_integral_for_many_knots() -> None:
    """For embeddings that are 0: 2 N times the integral of exp(-t^2 / 2) (1 - exp(-t^2 / 2))^2."""

    def tail(scale: float) -> float:
        return math.sqrt(math.pi / (2 * scale)) * math.erf(3 * math.sqrt(scale / 2))

    expected = 7 * 2 * (tail(1) - 2 * tail(2) + tail(3))
    value = float(sigreg(torch.zeros(7, 3, dtype=torch.float64), knots=2001))
    assert value == pytest.approx(expected, rel=1e-6)
    assert floors.sigreg_collapsed(7, knots=2001) == pytest.approx(expected, rel=1e-6)


def test_sigreg_draws_by_its_seed_alone() -> None:
    z = normal(32, 4)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first, again, other = (float(sigreg(z, slices=8, seed=seed)) for seed in (5, 5, 6))
    assert first == again != other
    assert torch.equal(torch.get_rng_state(), state)


def test_sigreg_compiled_takes_a_new_seed_without_compiling_anew() -> None:
    torch._dynamo.reset()
    z = normal(16, 4)
    compiled = torch.compile(sigreg, fullgraph=True, backend="aot_eager", dynamic=True)
    with torch._dynamo.config.patch(error_on_recompile=True):
        for seed in (2, 3, 4):
            torch.testing.assert_close(compiled(z, seed=seed), sigreg(z, seed=seed))


@pytest.mark.parametrize(
    ("views", "settings", "value", "norm", "first"),
    [
        ([], {}, 1.526152552, 0.982732080, -0.099600799),
        ([Z2, Z1 + 0.4 * wave(1, 12, 6)], {"lambda_": 1.0}, 1.421752988, 0.245683020, -0.024900200),
        ([Z2, Z1 + 0.4 * wave(1, 12, 6)], {}, 0.513762700, 0.028424176, 0.000470425),
        ([Z2, Z1 + 0.4 * wave(1, 12, 6)], {"lambda_": 0.02}, 0.485089323, 0.029828131, 0.001271602),
    ],
    ids=["sigreg", "mean over views", "lejepa", "lejepa of .02"],
)
def test_golden_numbers_of_given_directions(
    views: list[torch.Tensor],
    settings: dict[str, Any],
    value: float,
    norm: float,
    first: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(spread, "_normal", lambda *_: wave(1.3, 6, 4))
    z = Z1.clone().requires_grad_()
    loss = lejepa(torch.stack([z, *views, wave(4, 12, 6)]), **settings) if views else sigreg(z)
    (gradient,) = torch.autograd.grad(loss, z)
    assert float(loss.detach()) == pytest.approx(value, abs=1e-9)
    assert float(gradient.norm()) == pytest.approx(norm, abs=1e-9)
    assert float(gradient[0, 0]) == pytest.approx(first, abs=1e-9)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"large": 0}, "large must be from 1 to the 3 views, got 0"),
        ({"large": 4}, "large must be from 1 to the 3 views, got 4"),
        ({"lambda_": -0.1}, "lambda_ must be at least 0"),
        ({"lambda_": 1.1}, "lambda_ must be at most 1, got 1.1"),
        ({"slices": 0}, "slices must be above 0"),
        ({"z": torch.ones(4, 5)}, r"z must have the shape \(V, N, D\)"),
    ],
)
def test_lejepa_refuses(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        lejepa(**{"z": torch.ones(3, 4, 5), **settings})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"slices": 0}, "slices must be above 0"),
        ({"knots": 1}, "knots must be at least 2"),
        ({"t_max": 0.0}, "t_max must be above 0"),
        ({"z": torch.ones(3, 4, 5)}, r"z must have the shape \(N, D\)"),
    ],
)
def test_sigreg_refuses(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sigreg(**{"z": torch.ones(4, 3), **settings})


def test_koleo_refuses_a_shape() -> None:
    with pytest.raises(ValueError, match=r"z must have the shape \(N, D\)"):
        koleo(torch.ones(4))
