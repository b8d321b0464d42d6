import pytest
import torch

import selfsup.curation.towards as module
from selfsup.curation.draws import draws
from selfsup.curation.kmeans import kmeans
from selfsup.curation.towards import towards
from tests.curation.golden import waves

POOL, TARGET = waves(0.1, 80, 5).float(), waves(2.0, 12, 5).float()


def unit(x):
    return x / x.norm(dim=1, keepdim=True)


def one_by_one(count, clusters):
    """Round after round over all similarities, without any order."""
    centroids = kmeans(unit(TARGET), clusters, draws(0)).centroids
    similarity = unit(POOL) @ unit(centroids).t()
    left, chosen, means = set(range(len(POOL))), [], []
    while left and len(chosen) < count:
        picks = [max(left, key=lambda i, c=c: float(similarity[i, c])) for c in range(clusters)]
        values = [float(similarity[i, c]) for c, i in enumerate(picks)]
        means.append(sum(values) / clusters)
        ranked = sorted(range(clusters), key=lambda c: -values[c])
        chosen += list(dict.fromkeys(picks[c] for c in ranked))
        left -= set(picks)
    return chosen[:count], means


@pytest.mark.parametrize("at_first", [1, 7, 1024])
@pytest.mark.parametrize("count", [1, 13, 40, 80])
def test_rounds_take_the_most_similar_that_are_left(monkeypatch, at_first, count):
    monkeypatch.setattr(module, "AT_FIRST", at_first)
    found = towards(POOL, TARGET, draws(0), count, clusters=4, stop=0)
    expected, _ = one_by_one(count, 4)
    assert found.rows.tolist() == expected
    assert len(found.similarity) == count
    assert found.why == ("pool" if count == 80 else "count")


def test_it_ends_where_a_round_is_unlike_the_reference():
    _, means = one_by_one(80, 4)
    last = next(n for n, value in enumerate(means) if n >= 3 and value < 0.8 * means[2])
    found = towards(POOL, TARGET, draws(0), 80, clusters=4, stop=0.8, reference=3)
    assert found.why == "unlike"
    assert len(found.rows) < 80
    assert set(found.rows.tolist()) == set(one_by_one(80, 4)[0][: len(found.rows)])
    longer = towards(POOL, TARGET, draws(0), len(found.rows) + 1, clusters=4, stop=0)
    assert len(longer.rows) == len(found.rows) + 1
    assert last >= 3


def test_samples_of_the_targets_groups_come_first():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(6).repeat_interleave(50)
    pool = 4 * torch.eye(6)[labels] + 0.3 * torch.randn(300, 6, generator=generator)
    target = 4 * torch.eye(6)[[1, 1, 4, 4]] + 0.3 * torch.randn(4, 6, generator=generator)
    found = towards(pool, target, draws(0))
    assert set(labels[found.rows[:90]].tolist()) == {1, 4}
    assert found.why == "unlike"
    assert 90 <= len(found.rows) <= 100
    assert len(towards(pool, target[:1], draws(0), stop=0).rows) == 50
