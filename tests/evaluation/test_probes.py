import pytest
import torch
from sklearn.linear_model import LogisticRegression

from selfsup.evaluation import NoScore, linear_probe, logistic
from selfsup.evaluation.classifiers.probes import logits, standardise, stratified
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


def test_what_cannot_be_done_says_why():
    x, _ = clusters(20, 4, 2)
    with pytest.raises(NoScore, match="two classes"):
        linear_probe(x, torch.zeros(20, dtype=torch.int64), x)
    with pytest.raises(NoScore, match="two training samples"):
        linear_probe(x, torch.arange(20), x)
