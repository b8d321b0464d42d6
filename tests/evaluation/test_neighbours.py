import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from selfsup.evaluation import NoScore, knn, neighbours
from selfsup.evaluation.classifiers.neighbours import _spread
from selfsup.evaluation.classifiers.topk import GROUP, Rounded, above
from tests.evaluation.toys import clusters


@pytest.fixture
def small_blocks(monkeypatch):
    import selfsup.evaluation.classifiers.neighbours as module

    monkeypatch.setattr(module, "QUERY_BLOCK", 7)
    monkeypatch.setattr(module, "BANK_BLOCK", 13)


def reference(bank, labels, queries, k, temperature, classes):
    """DINO's vote in float64, one query at a time."""
    bank = bank.double().numpy()
    bank = bank / np.linalg.norm(bank, axis=1, keepdims=True)
    votes = np.zeros((len(queries), classes))
    for row, query in enumerate(queries.double().numpy()):
        similarity = bank @ (query / np.linalg.norm(query))
        for i in np.argsort(-similarity)[:k]:
            votes[row, labels[i]] += np.exp(similarity[i] / temperature)
    return votes / votes.sum(1, keepdims=True)


@pytest.mark.parametrize("k", [1, 5, 20, 100])
def test_votes_equal_the_formula_across_blocks(rounding, small_blocks, k):
    bank, labels = clusters(100, 6, 5, spread=2.0)
    queries, _ = clusters(31, 6, 5, spread=2.0, seed=1)
    expected = reference(bank, labels, queries, k, 0.07, 5)
    np.testing.assert_allclose(knn(bank, labels, queries, k, 0.07).numpy(), expected, atol=2e-5)


def test_the_same_neighbours_as_scikit_learn(rounding, small_blocks):
    bank, _ = clusters(200, 8, 4)
    queries, _ = clusters(50, 8, 4, seed=2)
    peer = NearestNeighbors(n_neighbors=17, metric="cosine", algorithm="brute").fit(bank.double().numpy())
    distance, index = peer.kneighbors(queries.double().numpy())
    similarity, ours = neighbours(bank, queries, 17)
    np.testing.assert_array_equal(ours.numpy(), index)
    np.testing.assert_allclose(similarity.numpy(), 1 - distance, atol=1e-6)


@pytest.fixture(params=[True, False], ids=["bf16", "float32"])
def rounding(request, monkeypatch):
    """The search as on a CPU that multiplies bf16 faster, and as on others."""
    import selfsup.evaluation.classifiers.neighbours as module

    monkeypatch.setattr(module, "multiplies_bf16", lambda: request.param)


@pytest.mark.parametrize("width", [64, 1000])
@pytest.mark.parametrize("k", [1, 3, 30])
@pytest.mark.parametrize("quantile", [0.0, 0.7, 0.99])
def test_what_is_above_a_bound_has_all_of_the_largest_that_exceed_it(width, k, quantile):
    scores = torch.randn(9, width, generator=torch.Generator().manual_seed(width))
    scores[:, 5:9] = scores[:, :1] = 9.0
    scores[3] = 1.0
    least = scores.quantile(quantile, dim=1) if quantile else torch.full((9,), -torch.inf)
    found, columns = above(scores, least, k)
    for row in range(9):
        expected = scores[row].sort(descending=True).values[:k]
        kept = found[row] > least[row]
        got = found[row][kept].sort(descending=True).values[:k]
        assert torch.equal(got, expected[expected > least[row]])
        assert torch.equal(scores[row, columns[row][kept]], found[row][kept])
        assert len(columns[row][kept].unique()) == kept.sum()


@pytest.mark.parametrize("offset", [0.0, 3.0])
@pytest.mark.parametrize("k", [5, 200])
def test_products_in_bf16_leave_every_neighbour_and_few_others(k, offset):
    generator = torch.Generator().manual_seed(k)
    unit, rows = (
        torch.nn.functional.normalize(offset + torch.randn(n, 48, generator=generator), dim=1)
        for n in (16_000, 30)
    )
    exact = rows @ unit.t()
    kth = exact.topk(k, dim=1).values[:, -1:]
    # Before anything is known, and when all but the last neighbours are.
    for least in (torch.full((30,), -torch.inf), exact.topk(k // 2, dim=1).values[:, -1]):
        found = Rounded.of(unit).above(rows, unit, least, k, torch.empty(30 * (16_000 + GROUP)))
        assert found is not None
        value, column = found
        for row in range(30):
            kept = value[row].isfinite()
            expected = (exact[row] > least[row]) & (exact[row] >= kth[row])
            assert expected[column[row][kept]].sum() == expected.sum()
            assert kept.sum() < 3 * k + 10
            torch.testing.assert_close(value[row][kept], exact[row][column[row][kept]])


def test_what_bf16_cannot_tell_apart_is_left_to_float32():
    generator = torch.Generator().manual_seed(0)
    unit = torch.nn.functional.normalize(1 + 1e-6 * torch.randn(2000, 16, generator=generator), dim=1)
    buffer = torch.empty(5 * (2000 + GROUP))
    assert Rounded.of(unit).above(unit[:5], unit, torch.full((5,), -torch.inf), 9, buffer) is None


def test_blocks_of_a_bank_have_rows_of_all_its_parts():
    order = _spread(100_001)
    assert torch.equal(order.sort().values, torch.arange(100_001))
    first = order.split(16384)[0]
    assert (torch.histc(first.float(), 10, 0, 100_000) > 1400).all()


def test_a_bank_sorted_by_class_and_a_collapsed_one_have_the_neighbours_of_a_whole_sort(rounding):
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(20_000) // 2000
    bank = 3 * torch.randn(10, 6, generator=generator)[labels] + torch.randn(20_000, 6, generator=generator)
    queries = bank[[3, 9000, 19_999]]
    for features in (bank, torch.ones(20_000, 6), bank.round()):
        unit, asked = (torch.nn.functional.normalize(x, dim=1) for x in (features, queries))
        expected = (asked @ unit.t()).sort(dim=1, descending=True).values[:, :50]
        similarity, index = neighbours(features, queries, 50)
        torch.testing.assert_close(similarity, expected, atol=1e-6, rtol=0)
        assert all(len(row.unique()) == 50 for row in index)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_close_features_in_half_precision_do_not_overflow(dtype):
    # exp(1 / 0.07) is beyond float16: computed there, every vote would be infinite.
    bank, labels = clusters(300, 16, 3, spread=0.05)
    queries, _ = clusters(60, 16, 3, spread=0.05, seed=1)
    bank, queries = (10 + bank).to(dtype), (10 + queries).to(dtype)
    votes = knn(bank, labels, queries)
    assert votes.dtype == torch.float32
    assert votes.isfinite().all()
    expected = reference(bank.float(), labels, queries.float(), 20, 0.07, 3)
    np.testing.assert_allclose(votes.sum(1).numpy(), 1, atol=1e-5)
    assert (votes.argmax(1).numpy() == expected.argmax(1)).mean() > 0.95


def test_a_tiny_temperature_is_the_nearest_neighbour():
    bank, labels = clusters(50, 4, 5, spread=3.0)
    queries, _ = clusters(20, 4, 5, spread=3.0, seed=1)
    assert torch.equal(
        knn(bank, labels, queries, 10, 1e-6).argmax(1), knn(bank, labels, queries, 1).argmax(1)
    )


def test_cosines_ignore_the_length_of_features():
    bank, labels = clusters(40, 4, 2)
    queries, _ = clusters(9, 4, 2, seed=1)
    scale = torch.rand(40, 1) + 0.1
    torch.testing.assert_close(knn(bank * scale, labels, queries * 5, 3), knn(bank, labels, queries, 3))


def test_k_beyond_the_bank_is_named():
    bank, labels = clusters(10, 4, 2)
    with pytest.raises(NoScore, match=r"k=11 .* bank's 10"):
        knn(bank, labels, bank, k=11)
    assert knn(bank, labels, bank, k=10).shape == (10, 2)


def test_classes_beyond_the_bank_get_no_votes():
    bank, labels = clusters(10, 4, 2)
    votes = knn(bank, labels, bank[:1], k=3, classes=6)
    assert votes.shape == (1, 6)
    assert votes[:, 2:].sum() == 0


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("of_bank", [True, False])
def test_features_that_are_not_finite_have_no_neighbours(rounding, value, of_bank):
    bank, queries = torch.randn(50, 4), torch.randn(9, 4)
    (bank if of_bank else queries)[3, 1] = value
    with pytest.raises(NoScore, match="not finite"):
        neighbours(bank, queries, k=2)
