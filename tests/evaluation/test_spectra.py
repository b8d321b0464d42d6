import math

import pytest
import torch

from selfsup.evaluation import NoScore, rankme, spectrum
from selfsup.evaluation.spectra import too_few


def reference(features, centre=False, eps=1e-7):
    """The formula, from singular values in float64."""
    features = features.double()
    if centre:
        features = features - features.mean(0)
    sigma = torch.linalg.svdvals(features)
    p = sigma / sigma.sum() + eps
    return math.exp(-(p * p.log()).sum())


def waves(samples, width, shift=0.1):
    i, j = torch.arange(samples, dtype=torch.float64)[:, None], torch.arange(width, dtype=torch.float64)
    return torch.sin(0.9 * i + 1.7 * j + 0.31 * i * j + shift)


def gaussian(samples, width, seed=0):
    return torch.randn(samples, width, generator=torch.Generator().manual_seed(seed))


def test_golden_values():
    assert rankme(waves(12, 6)) == pytest.approx(5.04926, abs=1e-5)
    assert rankme(waves(12, 6), centre=True) == pytest.approx(5.01476, abs=1e-5)
    assert rankme(torch.eye(8)) == pytest.approx(8, rel=1e-5)


@pytest.mark.parametrize(("samples", "width", "expected"), [(2048, 128, 127.0), (4096, 192, 190.9)])
def test_isotropic_features_have_nearly_full_rank(samples, width, expected):
    assert rankme(gaussian(samples, width)) == pytest.approx(expected, abs=0.15)


@pytest.mark.parametrize("centre", [False, True])
@pytest.mark.parametrize(
    "features",
    [
        gaussian(500, 40) * torch.arange(1, 41) ** -0.5 + 3,
        gaussian(5000, 64) * torch.arange(1, 65) ** -1.5,
        gaussian(30, 80),
        gaussian(300, 3) @ gaussian(3, 64, seed=1),
        gaussian(300, 3) @ gaussian(3, 64, seed=1) + 20,
        torch.ones(200, 32) + 1e-3 * gaussian(200, 32),
        gaussian(100, 10) * 1e4,
        gaussian(100, 10) * 1e-4,
    ],
    ids=["power", "steep", "wide", "rank 3", "rank 3 and mean", "nearly constant", "large", "small"],
)
def test_equals_the_singular_values(features, centre):
    assert rankme(features, centre) == pytest.approx(reference(features, centre), rel=1e-4)


def test_constant_features_with_noise_look_collapsed_only_uncentred():
    features = torch.ones(2048, 512) + 1e-3 * gaussian(2048, 512)
    assert rankme(features) == pytest.approx(1.27, abs=0.01)
    assert rankme(features, centre=True) == pytest.approx(494.8, abs=0.5)


def test_the_spectrum_is_descending_and_of_the_smaller_side():
    sigma = spectrum(gaussian(20, 50))
    torch.testing.assert_close(sigma, torch.linalg.svdvals(gaussian(20, 50).double()), rtol=1e-4, atol=0)
    assert (sigma.diff() <= 0).all()


def test_singular_values_that_are_zero_have_no_entropy():
    with pytest.raises(NoScore, match="zero"):
        rankme(torch.zeros(10, 4))
    with pytest.raises(NoScore, match="zero"):
        rankme(torch.full((10, 4), 0.1), centre=True)
    assert rankme(torch.full((10, 4), 0.1)) == pytest.approx(1, abs=1e-4)


def test_features_that_are_not_finite():
    features = gaussian(10, 4)
    features[3, 2] = torch.nan
    with pytest.raises(NoScore, match="finite"):
        rankme(features, centre=True)


def test_too_few_samples_are_flagged():
    assert too_few(gaussian(100, 10)) is None
    assert "99 samples are few for 10 dimensions" in too_few(gaussian(99, 10))
