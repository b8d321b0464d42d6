import math
from contextlib import suppress

import numpy as np
import pytest
import torch

from selfsup.evaluation import (
    NoScore,
    alpha_req,
    moments,
    nesum,
    participation_ratio,
    rankme,
    spectrum,
    stable_rank,
)
from selfsup.evaluation.label_free.spectra import no_power_law, rounded, too_few

from .toys import SPECTRA, gaussian


def reference(features):
    """Every score by its formula, from singular values in float64."""
    raw = np.linalg.svd(features.double().numpy(), compute_uv=False)
    centred = features.double() - features.double().mean(0)
    away = np.linalg.svd(centred.numpy(), compute_uv=False)
    variance = away**2
    scores = {name: np.exp(-sum(p * np.log(p) for p in s / s.sum() + 1e-7)) for name, s in
              (("rankme", raw), ("rankme centred", away))}  # fmt: skip
    scores["nesum"] = variance.sum() / variance[0]
    scores["stable rank"] = (raw**2).sum() / raw[0] ** 2
    scores["participation ratio"] = variance.sum() ** 2 / (variance**2).sum()
    last = min(100, int((variance > 1e-12 * variance[0]).sum()))
    if last >= 20:
        k = np.arange(11, last + 1)
        scores["alpha"] = -np.polyfit(np.log(k), np.log(variance[10:last]), 1, w=k**-0.5)[0]
    return scores


def scores_of(features):
    found = {
        "rankme": rankme(features),
        "rankme centred": rankme(features, centre=True),
        "nesum": nesum(features),
        "stable rank": stable_rank(features),
        "participation ratio": participation_ratio(features),
    }
    with suppress(NoScore):
        found["alpha"] = alpha_req(features).alpha
    return found


@pytest.mark.parametrize("name", SPECTRA)
def test_every_score_is_its_formula(name):
    features = SPECTRA[name]()
    expected = reference(features)
    assert scores_of(spectrum(features)) == pytest.approx(expected, rel=1e-4)
    assert scores_of(moments(features[:700]) + moments(features[700:])) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("change", ["turned", "scaled", "shuffled"])
def test_what_changes_no_score(change):
    features = gaussian(400, 24) * torch.arange(1, 25) ** -0.7 + 0.3
    rotation = torch.linalg.qr(gaussian(24, 24, seed=5))[0]
    changed = {
        "turned": lambda: features @ rotation,
        "scaled": lambda: 7.5 * features,
        "shuffled": lambda: features[torch.randperm(400)][:, torch.randperm(24)],
    }[change]()
    assert scores_of(changed) == pytest.approx(scores_of(features), rel=1e-4)


def test_a_translation_changes_only_what_is_not_centred():
    features = gaussian(400, 40)
    before, after = scores_of(features), scores_of(features + 10)
    for name in ("rankme centred", "nesum", "participation ratio", "alpha"):
        assert after[name] == pytest.approx(before[name], rel=1e-4)
    assert after["rankme"] < 0.7 * before["rankme"]
    assert after["stable rank"] < 1.1


def waves(samples, width, shift=0.1):
    i, j = torch.arange(samples, dtype=torch.float64)[:, None], torch.arange(width, dtype=torch.float64)
    return torch.sin(0.9 * i + 1.7 * j + 0.31 * i * j + shift)


def test_golden_values():
    assert rankme(waves(12, 6)) == pytest.approx(5.04926, abs=1e-5)
    assert rankme(waves(12, 6), centre=True) == pytest.approx(5.01476, abs=1e-5)
    assert rankme(torch.eye(8)) == pytest.approx(8, rel=1e-5)


@pytest.mark.parametrize(("samples", "width", "expected"), [(2048, 128, 127.0), (4096, 192, 190.9)])
def test_isotropic_features_have_nearly_full_rank(samples, width, expected):
    assert rankme(gaussian(samples, width)) == pytest.approx(expected, abs=0.15)


def test_constant_features_with_noise_look_collapsed_only_uncentred():
    features = SPECTRA["constant and noise"]()
    assert rankme(features) == pytest.approx(1.27, abs=0.01)
    assert rankme(features, centre=True) == pytest.approx(494.8, abs=0.5)


def power_law(alpha, width=400, repeats=1):
    """Features whose covariance has the eigenvalues k^-alpha exactly."""
    axes = torch.diag(torch.arange(1, width + 1, dtype=torch.float64) ** (-alpha / 2))
    turned = axes @ torch.linalg.qr(gaussian(width, width).double())[0]
    return torch.cat([turned, -turned]).repeat(repeats, 1)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0, 2.5])
def test_alpha_of_a_power_law_is_its_exponent(alpha):
    fit = alpha_req(power_law(alpha))
    assert fit.alpha == pytest.approx(alpha, abs=1e-9)
    assert fit.r2 == pytest.approx(1)
    assert fit[2:] == (11, 100)
    assert no_power_law(fit) is None


def test_a_spectrum_that_falls_off_a_cliff_is_no_power_law():
    features = power_law(1.0)
    features = features @ torch.diag((torch.arange(400) < 400).double())
    basis = torch.linalg.svd(features, full_matrices=False)[2]
    small = basis.t() @ torch.diag(torch.where(torch.arange(400) < 40, 1.0, 1e-3).double()) @ basis
    fit = alpha_req(features @ small)
    assert fit.r2 < 0.9
    assert "not a power law (R² 0." in no_power_law(fit)


def test_a_rank_too_low_to_fit_has_no_alpha():
    with pytest.raises(NoScore, match=r"8 eigenvalues above rounding.* 11 to 100"):
        alpha_req(SPECTRA["rank 8 of 512"]())


def test_known_dimensions():
    """Of r equal eigenvalues every count of dimensions is r."""
    features = torch.cat([torch.eye(12)[:5], -torch.eye(12)[:5]]).repeat(2, 1)
    for score in (nesum, stable_rank, participation_ratio):
        assert score(features) == pytest.approx(5)
    assert rankme(features) == pytest.approx(5, rel=1e-4)


def test_a_spectrum_is_decomposed_once(monkeypatch):
    calls = []
    decompose = torch.linalg.eigvalsh
    monkeypatch.setattr(torch.linalg, "eigvalsh", lambda matrix: calls.append(1) or decompose(matrix))
    scores_of(spectrum(gaussian(200, 40)))
    assert len(calls) == 2, "with the mean, and without it"


def test_one_number_a_dimension():
    features = gaussian(500, 1) + 2
    assert all(
        score(features) == pytest.approx(1) for score in (rankme, nesum, stable_rank, participation_ratio)
    )


@pytest.mark.parametrize("samples", [10, 3])
def test_features_that_say_nothing(samples):
    """More samples than dimensions, and fewer."""
    for zero in (torch.zeros(samples, 4), torch.zeros(samples, 4, dtype=torch.int64)):
        with pytest.raises(NoScore, match="zero"):
            rankme(zero)
        with pytest.raises(NoScore, match="zero"):
            stable_rank(zero)
    constant = torch.full((samples, 4), 0.1)
    assert rankme(constant) == pytest.approx(1, abs=1e-4)
    assert stable_rank(constant) == pytest.approx(1)
    for score in (lambda z: rankme(z, centre=True), nesum, participation_ratio):
        with pytest.raises(NoScore, match="constant"):
            score(constant)
    with pytest.raises(NoScore, match="0 eigenvalues"):
        alpha_req(constant)


def test_one_sample():
    assert rankme(gaussian(1, 6)) == pytest.approx(1, abs=1e-4)
    assert "1 samples are few for 6" in too_few(gaussian(1, 6))
    with pytest.raises(NoScore, match="constant"):
        participation_ratio(gaussian(1, 6))


@pytest.mark.parametrize("width", [1, 4])
def test_no_samples(width):
    for features in (torch.zeros(0, width), moments(torch.zeros(0, width))):
        with pytest.raises(NoScore, match="no features"):
            rankme(features)


@pytest.mark.parametrize("samples", [10, 3])
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_features_that_are_not_finite(samples, value):
    features = gaussian(samples, 4)
    features[1, 2] = value
    with pytest.raises(NoScore, match="finite"):
        rankme(features, centre=True)


def test_too_few_samples_are_flagged():
    assert too_few(gaussian(100, 10)) is None
    assert "99 samples are few for 10 dimensions" in too_few(gaussian(99, 10))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_flagged_also_after_it_was_converted(dtype):
    name = str(dtype).removeprefix("torch.")
    assert name in rounded(gaussian(20, 8).to(dtype))
    assert name in rounded(gaussian(20, 8).to(dtype).float())
    assert rounded(gaussian(20, 8)) is None
    assert rounded(torch.eye(8)) is None
    assert rounded(torch.eye(8, dtype=torch.int64)) is None


def test_rounding_to_half_precision_reads_as_rank():
    """What the flag is for: eight dimensions, measured."""
    features = gaussian(2000, 8) @ gaussian(8, 512, seed=1)
    assert rankme(features) == pytest.approx(8, abs=0.1)
    assert rankme(features.bfloat16()) > 8.5


def test_finite_values():
    assert math.isfinite(rankme(gaussian(20, 4) * 1e30))
