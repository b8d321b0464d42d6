import pytest
import torch

from selfsup.curation.balance import balanced, shares
from selfsup.curation.draws import draws
from selfsup.curation.hierarchy import hierarchy, level_sizes, lifted
from selfsup.curation.kmeans import Clusters, kmeans, split, to_centroids
from tests.curation.golden import X, stream


def points(levels):
    return [
        torch.bincount(place, minlength=len(level.centroids)).tolist()
        for place, level in zip(lifted(levels), levels, strict=True)
    ]


@pytest.fixture(scope="module")
def resampled():
    """Three levels of the golden rows with resampling, as the authors' code makes them of the same draws."""
    return hierarchy(X, [12, 5, 3], stream(), near=[3, 2, 1])


def test_levels_without_resampling_are_those_of_the_authors():
    levels = hierarchy(X, [20, 8, 3], stream(), near=[1, 1, 1])
    norms = [float(level.centroids.norm()) for level in levels]
    assert norms == pytest.approx([6.015632040, 3.532444752, 1.773221390], abs=1e-9)
    assert points(levels)[1:] == [[4, 6, 8, 17, 8, 7, 5, 5], [29, 26, 5]]


def test_levels_with_resampling_are_those_of_the_authors(resampled):
    norms = [float(level.centroids.norm()) for level in resampled]
    assert norms == pytest.approx([4.576445807, 3.053878924, 2.119921366], abs=1e-9)
    sizes = points(resampled)
    assert sizes[0] == [4, 4, 5, 6, 8, 4, 6, 7, 5, 5, 3, 3]
    assert sizes[1:] == [[26, 16, 6, 8, 4], [38, 6, 16]]


@pytest.mark.parametrize(
    ("sizes", "target", "least", "extra"),
    [
        ([1, 4, 9, 20, 26], 30, [1, 4, 8, 8, 8], [2, 3, 4]),
        ([5, 5, 5], 7, [2, 2, 2], [0, 1, 2]),
        ([3, 0, 8], 4, [2, 0, 2], []),
        ([3, 12, 27, 60, 78], 100, [3, 12, 27, 29, 29], []),
        ([3, 4], 9, [3, 4], []),
        ([3, 4], 0, [0, 0], []),
    ],
)
def test_shares_are_as_equal_as_the_sizes_allow(sizes, target, least, extra):
    found = {tuple(shares(torch.tensor(sizes), target, draws(seed)).tolist()) for seed in range(40)}
    more = min(target, sum(sizes)) - sum(least)
    assert found == (
        {tuple(n + (place == which) for place, n in enumerate(least)) for which in extra}
        if more
        else {tuple(least)}
    )


def test_shares_of_random_sizes_leave_no_room_for_more():
    generator = torch.Generator().manual_seed(0)
    for seed in range(200):
        sizes = torch.randint(0, 20, (7,), generator=generator)
        target = int(torch.randint(0, 90, (1,), generator=generator))
        taken = shares(sizes, target, draws(seed))
        assert int(taken.sum()) == min(target, int(sizes.sum()))
        assert bool((taken <= sizes).all())
        short = taken[taken < sizes]
        # One that could give more gives at most one less than any other.
        assert len(short) == 0 or int(short.min()) >= int(taken.max()) - 1


@pytest.mark.parametrize(
    ("target", "tops"),
    [(9, [3, 3, 3]), (20, [7, 6, 7]), (33, [13, 6, 13]), (60, [38, 6, 16]), (99, [38, 6, 16])],
)
def test_a_balanced_subset_of_the_golden_tree(resampled, target, tops):
    chosen = balanced(resampled, target, draws(0))
    assert chosen.tolist() == sorted(set(chosen.tolist()))
    assert len(chosen) == min(target, 60)
    counts = torch.bincount(lifted(resampled)[-1][chosen], minlength=3)
    assert all(0 <= n - top <= 1 for n, top in zip(counts.tolist(), tops, strict=True))


def test_each_member_of_a_cluster_is_as_likely_and_an_order_is_kept():
    level = Clusters(torch.zeros(2, 1), torch.tensor([0, 0, 0, 0, 0, 1]))
    draw = draws(0)
    hits = torch.zeros(6)
    for _ in range(3000):
        hits[balanced([level], 3, draw)] += 1 / 3000
    assert hits.tolist() == pytest.approx([0.4] * 5 + [1], abs=0.03)
    assert balanced([level], 3, draw, order=torch.tensor([5, 4, 3, 2, 1, 0])).tolist() == [3, 4, 5]


def test_what_is_repeated_weighs_less():
    """Ten groups far apart, of which one is 90 % of the samples: a tenth of the balanced ones."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.cat([torch.zeros(900, dtype=torch.int64), torch.arange(1, 10).repeat(11)])
    x = 10 * torch.eye(10)[labels] + 0.2 * torch.randn(len(labels), 10, generator=generator)
    levels = hierarchy(x, [60, 10], draws(0), rounds=3, iterations=10)
    counts = torch.bincount(labels[balanced(levels, 90, draws(0))], minlength=10)
    assert counts.tolist() == [9] * 10


def test_cells_are_split_within_themselves_and_numbered_through():
    cells = kmeans(X, 4, draws(0), iterations=5)
    parts = split(X, cells, 5, draws(1), iterations=5)
    assert parts.assigned.unique().tolist() == list(range(len(parts.centroids)))
    assert 4 < len(parts.centroids) <= 20
    for number in range(len(parts.centroids)):
        assert len(cells.assigned[parts.assigned == number].unique()) == 1
    assert float(to_centroids(X, parts).sum()) < float(to_centroids(X, cells).sum())
    assert len(hierarchy(X, [20, 4], draws(0), rounds=0, parts=5)[0].centroids) <= 20


def test_sizes_of_levels_follow_the_number_of_samples():
    for samples in (1, 2, 5, 40, 899, 10_000, 99_999, 100_000, 10**8):
        sizes = level_sizes(samples)
        assert sizes == sorted(sizes, reverse=True)
        assert 1 <= sizes[0] <= samples


@pytest.mark.parametrize("sizes", [[61], [5, 8], [5, 0], []])
def test_levels_that_do_not_fall_are_refused(sizes):
    with pytest.raises(ValueError, match="of 60 samples"):
        hierarchy(X, sizes, draws(0))
