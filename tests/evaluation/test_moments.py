import pytest
import torch

from selfsup.evaluation import NoScore, moments
from selfsup.evaluation.features.moments import ROWS, batch_moments

from .toys import gaussian


def assert_moments(found, features, rel=1e-12):
    """Against the definition, in float64; the scatter to ``rel`` of its own size."""
    z = features.double()
    away = z - z.mean(0)
    assert found.count == len(z)
    torch.testing.assert_close(found.mean, z.mean(0), rtol=rel, atol=1e-2 * rel)
    torch.testing.assert_close(found.gram, z.t() @ z, rtol=rel, atol=rel * float((z.t() @ z).abs().max()))
    scatter = away.t() @ away
    torch.testing.assert_close(found.scatter, scatter, rtol=rel, atol=rel * float(scatter.abs().max()))


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("samples", [1, 3, ROWS, 2 * ROWS + 5])
def test_sums_over_blocks(samples, exact):
    features = gaussian(samples, 7) * torch.arange(1, 8) + 2
    assert_moments(moments(features, exact), features, rel=1e-12 if exact else 1e-5)


def test_more_columns_than_a_block():
    features = gaussian(40, 1100)
    assert_moments(moments(features), features)
    assert torch.equal(moments(features).gram, moments(features).gram.t())


def test_moments_of_parts_add_up():
    features = gaussian(900, 12) + 5
    parts = [moments(part) for part in features.split([1, 0, 800, 99])]
    assert_moments(parts[0] + parts[1] + parts[2] + parts[3], features)


def test_a_small_spread_about_a_large_mean_is_kept():
    features = 1 + 1e-3 * gaussian(3 * ROWS, 20)
    assert_moments(moments(features), features, rel=1e-8)
    assert_moments(moments(features, exact=False), features, rel=1e-5)


def test_constant_features_have_no_scatter():
    for value in (0.1, 1 / 3, 1e4):
        found = batch_moments(torch.full((2 * ROWS + 1, 5), value))
        assert found.scatter.abs().max() <= 1e-15 * found.gram.max()


def test_collapsed_features_are_multiplied_in_float64():
    """Eight dimensions of 64: float32 products would add rounding of 1e-7 to the other 56."""
    features = gaussian(2 * ROWS, 8) @ gaussian(8, 64, seed=1)
    exact, fast = (
        torch.linalg.eigvalsh(found.gram) for found in (moments(features), moments(features, False))
    )
    found = torch.linalg.eigvalsh(batch_moments(features).gram)
    torch.testing.assert_close(found, exact)
    assert fast[:56].abs().max() > 1e3 * exact[:56].abs().max()


def test_healthy_features_are_multiplied_in_float32():
    features = gaussian(2 * ROWS + 3, 16) * torch.arange(1, 17) ** -0.5
    fast, exact, found = moments(features, exact=False), moments(features), batch_moments(features)
    assert not torch.equal(found.gram, exact.gram)
    torch.testing.assert_close(found.gram, fast.gram, rtol=1e-6, atol=1e-3)


def test_collapse_that_begins_after_the_first_block_is_seen():
    """Whatever the order of the samples, the eigenvalues are those of the exact sums."""
    features = gaussian(3 * ROWS, 32)
    features[ROWS:] *= 1e4
    features[ROWS:, 1:] = features[ROWS:, :1]
    torch.testing.assert_close(batch_moments(features).gram, moments(features).gram, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool])
def test_other_types_are_converted_exactly(dtype):
    features = (gaussian(50, 4) * 3).abs().to(dtype)
    assert_moments(moments(features), features)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("exact", [True, False])
def test_features_that_are_not_finite(value, exact):
    features = gaussian(10, 4)
    features[3, 2] = value
    with pytest.raises(NoScore, match="finite"):
        moments(features, exact)


def test_large_numbers_do_not_overflow():
    features = gaussian(2 * ROWS, 4) * 1e30
    assert_moments(batch_moments(features), features)


@pytest.mark.parametrize(
    "features", [torch.zeros(3), torch.zeros(2, 3, 4), torch.zeros(3, 0), torch.zeros(2, 2) * 1j]
)
def test_no_matrix(features):
    with pytest.raises(ValueError, match="real matrix"):
        moments(features)


def test_no_samples():
    assert moments(torch.zeros(0, 3)).count == 0
