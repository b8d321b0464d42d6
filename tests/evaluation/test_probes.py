import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge

from selfsup.evaluation import NoScore, linear_probe, logistic, nshot
from selfsup.evaluation.probes import logits, ridge, standardise, stratified
from tests.evaluation.toys import clusters


@pytest.mark.parametrize("strength", [1.0, 0.01, 0.0001])
def test_logistic_is_scikit_learns_converged_solution(strength):
    x, y = clusters(400, 10, 4, spread=2.5)
    test, _ = clusters(200, 10, 4, spread=2.5, seed=1)
    x, test = standardise(x.double(), test.double())
    ours = logits(test, logistic(x, y, 4, strength)).softmax(0).t()
    peer = LogisticRegression(C=1 / (strength * len(x)), tol=1e-8, max_iter=5000).fit(x.numpy(), y.numpy())
    torch.testing.assert_close(ours, torch.from_numpy(peer.predict_proba(test.numpy())), atol=5e-3, rtol=0)


def test_logistic_in_float32_on_fewer_samples_than_dimensions():
    x, y = clusters(60, 100, 3, spread=2.0)
    (x,) = standardise(x)
    weights = logistic(x, y, 3, 0.01)
    # At the minimum the gradient of every weight and bias is zero.
    error = logits(x, weights).softmax(0) - torch.nn.functional.one_hot(y, 3).t()
    gradient = error @ x / len(x) + 0.01 * weights[:, :-1]
    assert gradient.norm() < 5e-3 * (error @ x / len(x)).norm()
    assert error.mean(1).abs().max() < 1e-3


def test_a_warm_start_does_not_change_the_solution():
    x, y = clusters(300, 8, 3, spread=2.0)
    (x,) = standardise(x.double())
    warm = logistic(x, y, 3, 0.01, start=logistic(x, y, 3, 10.0))
    torch.testing.assert_close(warm, logistic(x, y, 3, 0.01), atol=5e-3, rtol=0)


def test_the_test_set_takes_no_part_in_the_selection():
    x, y = clusters(300, 20, 4, spread=4.0)
    test, _ = clusters(100, 20, 4, spread=4.0, seed=1)
    probe = linear_probe(x, y, test)
    other = linear_probe(x, y, torch.randn(7, 20) * 100)
    assert (probe.strength, probe.holdout) == (other.strength, other.holdout)
    order = torch.randperm(100)
    assert torch.equal(linear_probe(x, y, test[order]).predictions, probe.predictions[order])


def test_the_chosen_strength_is_best_on_the_hold_out_and_refitted_to_all():
    x, y = clusters(200, 60, 4, spread=3.0)
    test, _ = clusters(500, 60, 4, spread=3.0, seed=1)
    probe = linear_probe(x, y, test)
    assert probe.samples == 40
    assert probe.holdout[probe.strength] == max(probe.holdout.values())
    scaled, scaled_test = standardise(x, test)
    refitted = logits(scaled_test, logistic(scaled, y, 4, probe.strength)).argmax(0)
    assert (refitted == probe.predictions).double().mean() > 0.99


def test_labels_need_not_be_contiguous():
    x, y = clusters(120, 5, 3, spread=0.3)
    test, truth = clusters(60, 5, 3, spread=0.3, seed=1)
    names = torch.tensor([2, 7, 40])
    assert (linear_probe(x, names[y], test).predictions == names[truth]).double().mean() > 0.95
    assert min(nshot(x, names[y], test, names[truth], draws=3)) > 0.8


def test_the_hold_out_is_stratified():
    labels = torch.tensor([0] * 50 + [1] * 10 + [2] * 2 + [3])
    held = stratified(labels, 0.2, seed=0)
    assert [int(held[labels == c].sum()) for c in range(4)] == [10, 2, 1, 0]
    assert torch.equal(held, stratified(labels, 0.2, seed=0))
    assert not torch.equal(held, stratified(labels, 0.2, seed=1))


def test_dimensions_that_do_not_vary_are_left_out():
    x = torch.randn(50, 3)
    x[:, 1] = 0.1
    scaled, other = standardise(x, torch.full((2, 3), 5.0))
    assert scaled[:, 1].eq(0).all()
    assert other.isfinite().all()
    torch.testing.assert_close(scaled[:, [0, 2]].square().mean(0), torch.ones(2))


@pytest.mark.parametrize("shape", [(10, 30), (30, 10)])
def test_ridge_is_scikit_learns(shape):
    x, y = torch.randn(*shape, dtype=torch.float64), torch.randn(shape[0], 3, dtype=torch.float64)
    penalty = 0.3 * (x - x.mean(0)).square().sum(1).mean().item()
    peer = Ridge(alpha=penalty, tol=1e-12).fit(x.numpy(), y.numpy())
    expected = torch.cat([torch.from_numpy(peer.coef_), torch.from_numpy(peer.intercept_)[:, None]], dim=1)
    torch.testing.assert_close(ridge(x, y, 0.3), expected)


def test_nshot_draws_differ_are_repeatable_and_do_not_see_scale():
    x, y = clusters(200, 12, 4, spread=2.0)
    test, truth = clusters(200, 12, 4, spread=2.0, seed=1)
    accuracies = nshot(x, y, test, truth, shots=3, draws=6, seed=1)
    assert len(accuracies) == 6
    assert len(set(accuracies)) > 1
    assert accuracies == nshot(x, y, test, truth, shots=3, draws=6, seed=1)
    assert accuracies[:4] == nshot(x, y, test, truth, shots=3, draws=4, seed=1)
    scaled = nshot(x * 64, y, test * 64, truth, shots=3, draws=6, seed=1)
    assert scaled == pytest.approx(accuracies, abs=0.006)
    assert sum(nshot(x, y, test, truth, shots=25, draws=6)) > sum(accuracies)


def test_nshot_with_random_features_is_chance():
    generator = torch.Generator().manual_seed(0)
    x, test = torch.randn(400, 16, generator=generator), torch.randn(2000, 16, generator=generator)
    accuracies = nshot(x, torch.arange(400) % 4, test, torch.arange(2000) % 4, draws=20)
    assert sum(accuracies) / 20 == pytest.approx(0.25, abs=0.02)


def test_what_cannot_be_done_says_why():
    x, y = clusters(20, 4, 2)
    with pytest.raises(NoScore, match="two classes"):
        linear_probe(x, torch.zeros(20, dtype=torch.int64), x)
    with pytest.raises(NoScore, match="two training samples"):
        linear_probe(x, torch.arange(20), x)
    with pytest.raises(NoScore, match="class 1 has 3 training samples, fewer than 5 shots"):
        nshot(x, torch.tensor([0] * 17 + [1] * 3), x, y, shots=5)
    with pytest.raises(NoScore, match="two classes"):
        nshot(x, torch.zeros(20, dtype=torch.int64), x, y)
