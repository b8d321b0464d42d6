"""SimCore against its definition, written as plain loops."""

import torch
import torch.nn.functional as F

from selfsup.curation.draws import draws
from selfsup.curation.kmeans import kmeans
from selfsup.curation.towards import towards


def by_definition(x, centroids, count):
    similarity = F.normalize(x) @ centroids.t()
    left, chosen = set(range(len(x))), []
    while len(chosen) < count:
        picks = {max(left, key=lambda row: float(similarity[row, k])) for k in range(len(centroids))}
        picks = sorted(picks, key=lambda row: (-float(similarity[row].max()), row))[: count - len(chosen)]
        chosen += picks
        left -= set(picks)
    return chosen


def test_rounds_take_what_each_centroid_likes_best():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 8, generator=generator)
    target = torch.randn(3, 8, generator=generator)
    centroids = F.normalize(kmeans(F.normalize(target), 3, draws(0)).centroids)
    for count in (1, 4, 50, 200):
        assert set(towards(x, target, draws(0), count).rows.tolist()) == set(
            by_definition(x, centroids, count)
        )


def test_without_a_count_it_ends_where_the_pool_stops_looking_like_the_target():
    generator = torch.Generator().manual_seed(1)
    like = torch.tensor([1.0, 0, 0, 0]) + 0.05 * torch.randn(300, 4, generator=generator)
    other = torch.tensor([0.0, 1, 0, 0]) + 0.05 * torch.randn(300, 4, generator=generator)
    target = torch.tensor([1.0, 0, 0, 0]) + 0.05 * torch.randn(12, 4, generator=generator)
    found = towards(torch.cat([other, like]), target, draws(0))
    assert found.stopped
    assert (found.rows >= 300).all()
    assert len(found.rows) > 250
