import pytest
import torch
from sklearn.cluster import KMeans

import selfsup.curation.kmeans as module
from selfsup.curation.draws import choose, draws, whole
from selfsup.curation.kmeans import kmeans, mean, nearest, plus_plus
from tests.curation.golden import X, stream


@pytest.fixture(params=[module.ENTRIES, 50], ids=["one block", "many"])
def blocks(request, monkeypatch):
    monkeypatch.setattr(module, "ENTRIES", request.param)


def inertia(x, clusters):
    return float((x - clusters.centroids[clusters.assigned]).square().sum())


def test_the_first_centroids_are_those_of_the_authors(blocks):
    chosen = plus_plus(X, 5, stream(), mean(X))
    assert chosen.tolist() == [37, 28, 42, 13, 47]
    distances = torch.cdist(X, X[chosen]).square()
    potentials = [float(distances[:, : n + 1].amin(1).sum()) for n in range(5)]
    assert potentials[0] == pytest.approx(199.948596107, abs=1e-9)
    assert potentials[-1] == pytest.approx(79.024406374, abs=1e-9)


@pytest.mark.parametrize(
    ("k", "expected", "sizes"),
    [
        (5, 53.354769885, [18, 19, 8, 9, 6]),
        (12, 16.805996842, [6, 6, 3, 6, 3, 6, 6, 5, 6, 6, 5, 2]),
    ],
)
def test_clusters_are_those_of_the_authors(blocks, k, expected, sizes):
    found = kmeans(X, k, stream())
    assert inertia(X, found) == pytest.approx(expected, abs=1e-9)
    assert torch.bincount(found.assigned).tolist() == sizes
    assert found.centroids.dtype == torch.float64


def test_from_the_same_start_lloyds_algorithm_is_that_of_scikit_learn():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(500, 8, generator=generator) + 5 * torch.randn(1, 8, generator=generator)
    found = kmeans(x, 7, draws(3), iterations=20)
    start = x[plus_plus(x, 7, draws(3), mean(x))]
    peer = KMeans(7, init=start.numpy(), n_init=1, max_iter=20, tol=0, algorithm="lloyd").fit(x.numpy())
    assert inertia(x, found) == pytest.approx(peer.inertia_, rel=1e-5)


@pytest.mark.parametrize("spread", [0.0, 30.0])
def test_rounded_products_find_the_nearest_centroid_too(monkeypatch, spread):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(400, 16, generator=generator) + spread
    x[200:] = x[:200]
    centroids = torch.cat([x[:150], x[:50]])
    plain = nearest(x, centroids)
    assert torch.equal(plain[:150], torch.arange(150))
    monkeypatch.setattr(module, "MANY", 1)
    monkeypatch.setattr(module, "multiplies_bf16", lambda: True)
    assert torch.equal(nearest(x, centroids), plain)


def test_an_empty_cluster_keeps_its_centroid():
    x = torch.tensor([[0.0], [0.0], [0.0], [4.0]])
    found = kmeans(x, 3, draws(0), iterations=5)
    assert sorted(found.centroids[:, 0].tolist()) == [0.0, 0.0, 4.0]
    assert len(found.assigned.unique()) == 2


def test_rows_far_from_the_origin_are_told_apart():
    """Squared distances of 1 among rows of length 10,000: a difference of numbers of 1e8, beyond float32."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(4).repeat(50)
    x = 10_000 + torch.eye(4)[labels] + 0.01 * torch.randn(200, 4, generator=generator)
    found = kmeans(x, 4, draws(0), iterations=10)
    assert len(set(zip(labels.tolist(), found.assigned.tolist(), strict=True))) == 4


def test_16_bits_are_widened_a_block_at_a_time():
    x = torch.randn(300, 8, generator=torch.Generator().manual_seed(0)).half()
    found, wide = kmeans(x, 5, draws(0)), kmeans(x.float(), 5, draws(0))
    assert found.centroids.dtype == torch.float32
    assert torch.equal(found.assigned, wide.assigned)


def test_a_row_at_the_same_distance_from_two_centroids_takes_the_first():
    centroids = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).repeat(2, 1)
    assert nearest(torch.zeros(3, 2), centroids).tolist() == [0, 0, 0]


@pytest.mark.parametrize("k", [0, 61])
def test_a_number_of_clusters_beyond_the_rows_is_refused(k):
    with pytest.raises(ValueError, match=f"k={k} clusters of 60 rows; choose k from 1 to 60"):
        kmeans(X, k, draws(0))


def test_rows_that_are_not_finite_are_refused():
    x = X.clone()
    x[7, 2] = torch.nan
    with pytest.raises(ValueError, match="not finite"):
        kmeans(x, 3, draws(0))


def test_draws_of_a_seed_are_uniform_and_repeat():
    first, again, other = draws(1), draws(1), draws(2)
    numbers = [first() for _ in range(2000)]
    assert numbers == [again() for _ in range(2000)]
    assert numbers[0] != other()
    assert min(numbers) >= 0
    assert max(numbers) < 1
    assert sum(numbers) / 2000 == pytest.approx(0.5, abs=0.03)
    assert whole(lambda: 0.999999999999999999, 7) == 6


def test_each_row_is_as_likely_to_be_chosen_and_none_twice():
    draw = draws(0)
    chosen = torch.stack([choose(draw, 3, 5) for _ in range(5000)])
    assert all(len(set(row)) == 3 for row in chosen.tolist())
    for place in range(3):
        shares = torch.bincount(chosen[:, place], minlength=5) / 5000
        assert shares.tolist() == pytest.approx([0.2] * 5, abs=0.02)
