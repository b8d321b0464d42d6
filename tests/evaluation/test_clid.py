import pytest
import torch
import torch.nn.functional as F

from selfsup.evaluation import NoScore, clid, clid_scores, intrinsic_dimension
from selfsup.evaluation.label_free.clid import Clid

from .toys import clusters, gaussian


def on_a_subspace(samples, dimension, width):
    """Evenly spread over a small patch of a sphere, in a turned subspace."""
    patch = torch.rand(samples, dimension, generator=torch.Generator().manual_seed(1)) - 0.5
    basis = torch.linalg.qr(gaussian(width, width, seed=2))[0]
    return F.normalize(basis[0] * 20 + patch @ basis[1 : dimension + 1])


@pytest.mark.parametrize("dimension", [1, 2, 5])
def test_the_dimension_of_a_flat_patch(dimension):
    found = intrinsic_dimension(on_a_subspace(1500, dimension, 32))
    assert found == pytest.approx(dimension, rel=0.12)


def test_the_dimension_is_the_likelihoods_maximum():
    """Against a search over the rate of an exponential distribution that is censored from above."""
    z = on_a_subspace(300, 3, 8).double()
    distances = torch.cdist(z, z).sort(dim=1).values
    logs = (distances[:, 2] / distances[:, 1]).log().sort().values
    kept = logs[:270]

    def likelihood(rate):
        return (270 * torch.log(rate) - rate * kept.sum() - 30 * rate * kept[-1]).item()

    best = max(torch.linspace(1, 6, 5001).double(), key=likelihood)
    assert intrinsic_dimension(z.float()) == pytest.approx(float(best), abs=2e-3)


def test_clusters_that_are_apart_are_learned():
    features, _ = clusters(600, 16, classes=5, spread=0.05)
    apart, noise = clid(features, clusters=5), clid(gaussian(600, 16), clusters=24)
    assert apart.learnability == 1.0
    assert 0.1 < noise.learnability < 0.8
    assert clid(gaussian(600, 16)).clusters == 24


def test_copies_are_dropped():
    features = gaussian(200, 8)
    assert clid(torch.cat([features, features[:50]])) == clid(features)
    assert clid(features).samples == 200


def test_it_repeats_and_does_not_depend_on_lengths():
    features = gaussian(200, 8)
    assert clid(features) == clid(features)
    assert len({clid(features, seed=seed).learnability for seed in range(5)}) > 1
    assert clid(4 * features) == clid(features)


def test_standardised_over_the_encoders():
    found = [Clid(0.9, 5.0, 20, 400), Clid(0.5, 5.0, 20, 400), Clid(0.7, 5.0, 20, 400)]
    assert clid_scores(found) == pytest.approx([1.5**0.5, -(1.5**0.5), 0])
    assert clid_scores(found[:1]) == [0]


@pytest.mark.parametrize(
    ("features", "words"),
    [
        (torch.ones(100, 4), "1 distinct features are too few"),
        (gaussian(19, 4), "19 distinct"),
        (torch.zeros(0, 4), "0 distinct"),
        (torch.zeros(30, 4), "zero"),
        (torch.full((30, 4), torch.nan), "finite"),
    ],
    ids=["constant", "few", "none", "zero", "nan"],
)
def test_what_has_no_score(features, words):
    with pytest.raises(NoScore, match=words):
        clid(features)


def test_too_many_clusters():
    with pytest.raises(NoScore, match="21 clusters are too many for 40"):
        clid(gaussian(40, 4), clusters=21)


@pytest.mark.parametrize("dtype", [torch.float16, torch.int64])
def test_other_types(dtype):
    assert clid((100 * gaussian(60, 6)).to(dtype)).samples == 60
