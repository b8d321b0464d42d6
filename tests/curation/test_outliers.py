"""Outliers by distance, and labels that neighbours contradict."""

import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from selfsup.curation.label_errors import calibrated, confident_counts, contradicted, votes
from selfsup.curation.outliers import cosine_distances, nearest_others, outliers
from tests.curation.golden import X

_FOUND = NearestNeighbors(n_neighbors=6).fit(X.numpy()).kneighbors(X.numpy())
DISTANCES, INDEX = (torch.from_numpy(found[:, 1:]) for found in _FOUND)


def flipped() -> torch.Tensor:
    labels = (X[:, 0] > 0).long() + (X[:, 1] > 0).long()
    labels[3:53:7] = (labels[3:53:7] + 1) % 3
    return labels


def test_distances_and_the_limit_are_the_reference_values() -> None:
    found = outliers(DISTANCES)
    assert float(found.distance[0]) == pytest.approx(0.697063705, abs=1e-7)
    assert int(found.score.argmax()) == 59
    assert float(found.distance[59]) == pytest.approx(0.998694226, abs=1e-7)
    usual = float(found.distance[0] / found.score[0])
    assert found.limit * usual == pytest.approx(1.029171896, abs=1e-6)
    assert not found.flagged.any()


def test_a_planted_outlier_is_the_strangest() -> None:
    made = torch.Generator().manual_seed(0)
    x = torch.randn(200, 8, generator=made) + 4
    x[17] = -x[17]
    similarity, index = nearest_others(x)
    assert (index != torch.arange(200)[:, None]).all()
    found = outliers(cosine_distances(similarity))
    assert int(found.score.argmax()) == 17
    assert found.flagged[17]
    assert int(found.flagged.sum()) <= 3


def test_among_copies_the_sample_itself_is_left_out() -> None:
    similarity, index = nearest_others(torch.ones(30, 4), 10)
    assert index.shape == (30, 10)
    assert (index != torch.arange(30)[:, None]).all()
    torch.testing.assert_close(similarity, torch.ones(30, 10))


def test_confident_learning_gives_the_reference_values() -> None:
    labels = flipped()
    p = votes(labels, INDEX, 3)
    own = p.gather(1, labels[:, None])[:, 0]
    thresholds = [round(float(own[labels == c].mean()), 6) for c in range(3)]
    assert thresholds == [0.56, 0.752, 0.73]
    counts, supposed = confident_counts(labels, p)
    assert counts.tolist() == [[9, 0, 0], [4, 15, 0], [2, 0, 14]]
    off = ((supposed >= 0) & (supposed != labels)).nonzero().flatten()
    assert off.tolist() == [11, 17, 20, 32, 38, 59]
    sizes = labels.bincount()
    assert calibrated(counts, sizes).tolist() == [[15, 0, 0], [5, 20, 0], [2, 0, 18]]
    found = contradicted(labels, p)
    assert found.flagged.nonzero().flatten().tolist() == [3, 11, 20, 32, 38, 59]
    assert float(found.joint.sum()) == pytest.approx(1)


def test_several_confident_classes_count_for_the_largest_share_even_below_its_threshold() -> None:
    # Thresholds 0.2, 0.2 and 0.9, as each class's own samples have them.
    p = torch.tensor([[0.2, 0.4, 0.4], [0.4, 0.2, 0.4], [0.05, 0.05, 0.9], [0.25, 0.25, 0.5]]).double()
    labels = torch.tensor([0, 1, 2, 0])
    p[0, 0] = 0.15  # so that the mean of 0.15 and 0.25 is 0.2
    _, supposed = confident_counts(labels, p)
    assert int(supposed[3]) == 2


def test_flipped_labels_are_found_far_above_chance() -> None:
    made = torch.Generator().manual_seed(1)
    truth = torch.arange(1000) % 5
    x = 4 * torch.nn.functional.one_hot(truth, 8).float() + torch.randn(1000, 8, generator=made)
    wrong = torch.randperm(1000, generator=made)[:50]
    labels = truth.clone()
    labels[wrong] = (labels[wrong] + 1) % 5
    found = contradicted(labels, votes(labels, nearest_others(x)[1], 5))
    first = found.quality.argsort(stable=True)[:50]
    share = torch.isin(first, wrong).double().mean()
    assert share >= 5 * 0.05
    assert (found.other[wrong] == truth[wrong]).double().mean() > 0.9


def test_one_class_is_never_contradicted() -> None:
    labels = torch.zeros(20, dtype=torch.int64)
    found = contradicted(labels, votes(labels, torch.arange(1, 6).repeat(20, 1), 1))
    assert not found.flagged.any()
    assert found.quality.tolist() == [1.0] * 20
