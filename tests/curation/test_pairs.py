import numpy as np
import pytest
import torch

import selfsup.curation.pairs as module
from selfsup.curation.pairs import chained, components, near_pairs
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


def mixture(rows, seed=0):
    """Rows about ten centres, of which every fourth has a near copy."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(10, 16, generator=generator)[torch.randint(10, (rows,), generator=generator)]
    x = x + torch.randn(rows, 16, generator=generator)
    copies = x[::4] + 0.4 * torch.randn(len(x[::4]), 16, generator=generator)
    return torch.cat([x, copies])


def test_pairs_in_cells_are_those_of_all_rows_as_far_as_the_recall_says(rounding, monkeypatch):
    x = mixture(1600)
    exact = near_pairs(x, 0.9)
    monkeypatch.setattr(module, "EXACT", 100)
    monkeypatch.setattr(module, "CELL", 100)
    few, many, every = (near_pairs(x, 0.9, probes=probes) for probes in (1, 4, 20))
    assert torch.equal(every.first, exact.first)
    assert torch.equal(every.second, exact.second)
    torch.testing.assert_close(every.similarity, exact.similarity)
    assert every.recall == exact.recall == 1
    known = set(zip(exact.first.tolist(), exact.second.tolist(), strict=True))
    for found in (few, many):
        pairs = list(zip(found.first.tolist(), found.second.tolist(), strict=True))
        assert len(set(pairs)) == len(pairs)
        assert set(pairs) <= known
        assert found.recall == pytest.approx(len(pairs) / len(known), abs=0.05)
    assert few.recall < many.recall
    assert many.recall > 0.9


def test_copies_beyond_the_cap_stay_together_in_cells(rounding, monkeypatch):
    monkeypatch.setattr(module, "EXACT", 100)
    monkeypatch.setattr(module, "CELL", 100)
    x = mixture(800)
    x[5::8] = x[5]
    found = near_pairs(x, 0.999, most=4)
    roots = components(found.first, found.second, len(x))
    assert len(roots[5::8].unique()) == 1
    assert found.capped == len(x[5::8]) - 5


def test_no_pairs_in_cells_at_all(monkeypatch):
    monkeypatch.setattr(module, "EXACT", 100)
    monkeypatch.setattr(module, "CELL", 100)
    found = near_pairs(torch.randn(300, 64, generator=torch.Generator().manual_seed(0)), 0.99)
    assert len(found.first) == 0
    assert found.recall is None


def test_a_chain_is_told_from_copies():
    roots = components(*near_pairs(X.float(), 0.9)[:2], 60)
    found = chained(X.float(), roots)
    assert int(found.size.max()) == 7
    assert float(found.smallest[found.size.argmax()]) == pytest.approx(0.560, abs=5e-4)
    for lowest, size, smallest in zip(*found, strict=True):
        members = UNIT[roots == lowest]
        assert len(members) == size > 1
        assert float(smallest) == pytest.approx(float((members @ members.t()).min()), abs=1e-6)
