import math

import pytest
import torch
import torch.nn.functional as F

from selfsup.evaluation import NoScore, alignment, uniformity
from selfsup.evaluation.label_free.uniformity import BLOCK, distinct, pairs_within, repeated

from .toys import gaussian, views


def slow_uniformity(features, t=2.0):
    """With torch.pdist in float64, as the paper's listing has it."""
    return torch.pdist(F.normalize(features.double())).pow(2).mul(-t).exp().mean().log().item()


def slow_alignment(features, groups, alpha=2.0):
    z = F.normalize(features.double())
    found = [
        (z[i] - z[j]).norm() ** alpha
        for i in range(len(z))
        for j in range(i)
        if groups[i] == groups[j]
    ]  # fmt: skip
    return sum(found).item() / len(found)


@pytest.mark.parametrize("t", [2.0, 0.5])
@pytest.mark.parametrize("samples", [2, 300, BLOCK + 7])
def test_uniformity_is_its_formula(samples, t):
    features = gaussian(samples, 16) + 0.5
    assert uniformity(features, t) == pytest.approx(slow_uniformity(features, t), rel=1e-5)


@pytest.mark.parametrize("noise", [1e-1, 1e-3])
def test_uniformity_of_collapsed_features(noise):
    features = torch.ones(400, 32) + noise * gaussian(400, 32)
    assert uniformity(features) == pytest.approx(slow_uniformity(features), rel=1e-4)


def test_uniformity_of_what_is_known():
    assert uniformity(torch.ones(50, 4)) == pytest.approx(0, abs=1e-9)
    assert uniformity(gaussian(2000, 512)) == pytest.approx(-4, abs=0.02)
    assert math.isfinite(uniformity(torch.tensor([[1.0], [-1.0]]), t=1e4))


def test_uniformity_hardly_sees_that_dimensions_collapse():
    """Why it should not be read alone: eight of 128 dimensions, and it moves by a tenth."""
    assert uniformity(gaussian(500, 8) @ gaussian(8, 128, seed=1)) < 0.75 * uniformity(gaussian(500, 128))


@pytest.mark.parametrize("alpha", [2.0, 1.0])
def test_alignment_is_its_formula(alpha):
    features, groups = views(20, 4, 8, 4)
    kept = torch.rand(80, generator=torch.Generator().manual_seed(0)) < 0.7
    features, groups = features[kept], groups[kept]  # groups of 1 to 4
    expected = slow_alignment(features, groups, alpha)
    assert alignment(features, groups, alpha) == pytest.approx(expected, rel=1e-6)
    pairs = pairs_within(groups, len(groups))
    assert alignment(features, pairs, alpha) == pytest.approx(alignment(features, groups, alpha), rel=1e-12)


def test_pairs_are_each_two_rows_of_a_group_once():
    pairs = pairs_within(torch.tensor([5, 2, 5, 9, 2, 5]), 6)
    assert sorted(tuple(sorted(pair)) for pair in pairs.tolist()) == [(0, 2), (0, 5), (1, 4), (2, 5)]


def test_neither_depends_on_lengths():
    features, groups = views(20, 4, 8, 4)
    longer = features * torch.rand(80, 1).add(0.1)
    assert alignment(longer, groups) == pytest.approx(alignment(features, groups), rel=1e-5)
    assert uniformity(longer) == pytest.approx(uniformity(features), rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.int64])
def test_other_types(dtype):
    features, groups = views(20, 4, 8, 4)
    features = (8 * features).to(dtype)
    assert alignment(features, groups) == pytest.approx(slow_alignment(features, groups), rel=1e-6)
    assert uniformity(features) == pytest.approx(slow_uniformity(features), rel=1e-5)


def test_what_has_no_score():
    nan = torch.full((4, 2), torch.nan)
    groups = torch.tensor([0, 0, 1, 1])
    for score in (uniformity, lambda z: alignment(z, groups)):
        with pytest.raises(NoScore, match="finite"):
            score(nan)
        with pytest.raises(NoScore, match="4 of 4 features are zero"):
            score(torch.zeros(4, 2))
    with pytest.raises(NoScore, match="there are 1"):
        uniformity(gaussian(1, 3))
    with pytest.raises(NoScore, match="there are 0"):
        uniformity(torch.zeros(0, 3))
    with pytest.raises(NoScore, match="two views"):
        alignment(gaussian(4, 3), torch.arange(4))
    with pytest.raises(NoScore, match="two views"):
        alignment(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64))


def test_groups_and_pairs_that_are_none():
    with pytest.raises(ValueError, match="one whole number for each of 4"):
        alignment(gaussian(4, 3), torch.zeros(5, dtype=torch.int64))
    with pytest.raises(ValueError, match="rows from 0 to 4"):
        alignment(gaussian(4, 3), torch.tensor([[0, 4]]))
    with pytest.raises(ValueError, match="int64"):
        alignment(gaussian(4, 3), torch.tensor([[0.0, 1.0]]))


def test_repeated_samples_are_found():
    features = gaussian(6, 5)[[0, 1, 2, 1, 4, 0, 1]]
    assert distinct(features).tolist() == [0, 1, 2, 4]
    assert "3 of 7 features repeat" in repeated(features)
    assert repeated(gaussian(50, 5)) is None
    assert distinct(features.double()).tolist() == [0, 1, 2, 4]
    # The same numbers in another order are another sample.
    assert repeated(torch.tensor([[1.0, 2.0], [2.0, 1.0]])) is None
