import pytest
import torch
from sklearn.linear_model import Ridge

from selfsup.evaluation import NoScore, nshot
from selfsup.evaluation.classifiers.fewshot import ridge
from selfsup.evaluation.classifiers.probes import logits
from tests.evaluation.toys import clusters, gaussian


def by_scikit_learn(x, y, strength):
    """Ridge regression on one-hot targets, its penalty the strength times the mean squared length."""
    penalty = strength * (x - x.mean(0)).square().sum(1).mean().item()
    return Ridge(alpha=penalty, tol=1e-12).fit(x.numpy(), torch.nn.functional.one_hot(y).double().numpy())


@pytest.mark.parametrize("shape", [(12, 30), (30, 10)])
def test_ridge_is_scikit_learns(shape):
    x, y = clusters(*shape, classes=3)
    x = x.double()
    peer = by_scikit_learn(x, y, 0.3)
    expected = torch.cat([torch.from_numpy(peer.coef_), torch.from_numpy(peer.intercept_)[:, None]], dim=1)
    weights, strength = ridge(x, y, [0.3])
    torch.testing.assert_close(weights, expected)
    assert strength == 0.3


@pytest.mark.parametrize("shape", [(12, 30), (40, 8)])
def test_the_strength_is_the_best_of_fits_that_left_one_out(shape):
    """Against a fit for each sample left out, with the penalty of the fit to all."""
    x, y = clusters(*shape, classes=4, spread=2.5)
    x, strengths, outcomes = x.double(), (10.0, 1.0, 0.1, 0.01, 0.001), []
    for strength in strengths:
        penalty = strength * (x - x.mean(0)).square().sum(1).mean().item()
        hits, error = 0, 0.0
        for i in range(len(x)):
            rest = torch.arange(len(x)) != i
            target = torch.nn.functional.one_hot(y, 4).double()
            peer = Ridge(alpha=penalty, tol=1e-12).fit(x[rest].numpy(), target[rest].numpy())
            told = torch.from_numpy(peer.predict(x[i : i + 1].numpy())[0])
            hits += int(told.argmax() == y[i])
            error += (told - target[i]).square().sum().item()
        outcomes.append((hits, -error, strength))
    assert len({hits for hits, _, _ in outcomes}) > 1
    assert ridge(x, y, strengths)[1] == max(outcomes)[2]


def test_draws_differ_and_are_repeatable():
    x, y = clusters(200, 12, 4, spread=2.0)
    test, truth = clusters(200, 12, 4, spread=2.0, seed=1)
    found = nshot(x, y, test, truth, shots=3, draws=6, seed=1)
    assert len(found.accuracies) == len(found.strengths) == 6
    assert len(set(found.accuracies)) > 1
    assert found == nshot(x, y, test, truth, shots=3, draws=6, seed=1)
    assert found.accuracies[:4] == nshot(x, y, test, truth, shots=3, draws=4, seed=1).accuracies
    assert sum(nshot(x, y, test, truth, shots=25, draws=6).accuracies) > sum(found.accuracies)


@pytest.mark.parametrize("shots", [1, 4])
def test_scale_turns_and_shifts_of_the_features_do_not_matter(shots):
    """Principal components are as good as what they were made of, if all are kept."""
    scale = torch.logspace(0, -3, 12)
    x, y = clusters(200, 12, 4, spread=2.0)
    test, truth = clusters(200, 12, 4, spread=2.0, seed=1)
    x, test = scale * x, scale * test
    turn = 64 * torch.linalg.qr(gaussian(12, 12))[0]
    plain = nshot(x, y, test, truth, shots=shots, draws=6)
    turned = nshot(x @ turn + 3, y, test @ turn + 3, truth, shots=shots, draws=6)
    assert turned.accuracies == pytest.approx(plain.accuracies, abs=0.011)
    assert turned.strengths == plain.strengths


def test_one_shot_takes_the_strength_that_is_given():
    x, y = clusters(200, 12, 4)
    found = nshot(x, y, x, y, shots=1, draws=2, strengths=(1.0, 0.1), single=0.7)
    assert found.strengths == [0.7, 0.7]


def test_random_features_are_chance():
    generator = torch.Generator().manual_seed(0)
    x, test = torch.randn(400, 16, generator=generator), torch.randn(2000, 16, generator=generator)
    accuracies = nshot(x, torch.arange(400) % 4, test, torch.arange(2000) % 4, draws=20).accuracies
    assert sum(accuracies) / 20 == pytest.approx(0.25, abs=0.02)


def test_labels_need_not_be_contiguous():
    x, y = clusters(120, 5, 3, spread=0.3)
    test, truth = clusters(60, 5, 3, spread=0.3, seed=1)
    names = torch.tensor([2, 7, 40])
    assert min(nshot(x, names[y], test, names[truth], draws=3).accuracies) > 0.8


def test_drawn_samples_that_are_all_the_same_tell_nothing():
    x, y = torch.ones(40, 3), torch.arange(40) % 2
    found = nshot(x, y, x, y, draws=2)
    assert found.accuracies == [0.5, 0.5]


def test_what_cannot_be_done_says_why():
    x, y = clusters(20, 4, 2)
    with pytest.raises(NoScore, match="class 1 has 3 training samples, fewer than 5 shots"):
        nshot(x, torch.tensor([0] * 17 + [1] * 3), x, y, shots=5)
    with pytest.raises(NoScore, match="two classes"):
        nshot(x, torch.zeros(20, dtype=torch.int64), x, y)


def test_weights_have_the_features_precision():
    x, y = clusters(20, 4, 2)
    weights, _ = ridge(x, y, [0.1])
    assert weights.dtype == torch.float32
    assert logits(x, weights).shape == (2, 20)
