import numpy as np
import pytest
import torch

import selfsup.curation.pairs as module
from selfsup.curation.pairs import components, near_pairs
from selfsup.evaluation import NoScore
from tests.curation.golden import UNIT, X


@pytest.fixture(params=[True, False], ids=["bf16", "float32"])
def rounding(request, monkeypatch):
    monkeypatch.setattr(module, "multiplies_bf16", lambda: request.param)


@pytest.fixture(params=[(1024, 16384), (4, 12)], ids=["one block", "many"])
def blocks(request, monkeypatch):
    monkeypatch.setattr(module, "ROWS", request.param[0])
    monkeypatch.setattr(module, "KEYS", request.param[1])


def test_pairs_and_components_of_the_golden_rows(rounding, blocks):
    for threshold, pairs, groups, largest in [(0.97, 19, 45, 4), (0.95, 31, 36, 5), (0.9, 72, 16, 7)]:
        found = near_pairs(X.float(), threshold)
        roots = components(found.first, found.second, 60)
        assert (len(found.first), len(roots.unique())) == (pairs, groups)
        assert int(torch.bincount(roots).max()) == largest
        assert found.capped == 0


def test_exactly_the_pairs_above_the_threshold(rounding, blocks):
    found = near_pairs(X.float(), 0.8)
    similarity = (UNIT @ UNIT.t()).numpy()
    first, second = np.nonzero(np.triu(similarity > 0.8, 1))
    np.testing.assert_array_equal(found.first, first)
    np.testing.assert_array_equal(found.second, second)
    np.testing.assert_allclose(found.similarity, similarity[first, second], atol=1e-6)


def test_a_row_keeps_its_most_similar_pairs_and_the_rest_is_counted(rounding, blocks):
    found = near_pairs(X.float(), 0.5, most=3)
    similarity = (UNIT @ UNIT.t()).float().numpy()
    capped = 0
    for i in range(60):
        later = [j for j in range(i + 1, 60) if similarity[i, j] > 0.5]
        best = sorted(sorted(later, key=lambda j: -similarity[i, j])[:3])
        assert found.second[found.first == i].tolist() == best
        capped += len(later) > 3
    assert found.capped == capped > 0


def test_a_group_of_copies_larger_than_the_cap_stays_whole(rounding, blocks):
    x = torch.cat([torch.ones(50, 3), -torch.ones(30, 3)])
    found = near_pairs(x, 0.99, most=2)
    assert components(found.first, found.second, 80).tolist() == [0] * 50 + [50] * 30
    assert found.capped == 47 + 27


def test_no_pairs_at_all():
    found = near_pairs(torch.eye(5), 0.5)
    assert len(found.first) == len(found.second) == len(found.similarity) == found.capped == 0
    assert components(found.first, found.second, 5).tolist() == [0, 1, 2, 3, 4]


def test_rows_that_are_not_finite_are_refused():
    with pytest.raises(NoScore, match="not finite"):
        near_pairs(torch.tensor([[1.0], [torch.inf]]), 0.5)
