import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import Ridge

from selfsup.evaluation.classifiers.heads import Input, Training, cosine, deal, predict, train_heads
from selfsup.evaluation.classifiers.probes import linear_probe, spanned, standardise, stratified, whiten
from selfsup.evaluation.classifiers.ridge import ridge_probe
from selfsup.evaluation.classifiers.sweep import sweep
from selfsup.evaluation.errors import NoScore
from selfsup.evaluation.score import edge
from selfsup.optim import LARS
from tests.evaluation.toys import clusters

A = {"a": Input()}
GRID = [(0.01, 0.0), (0.3, 0.0), (0.1, 0.01)]


def by_autograd(x, y, rate, decay, training, seed, batch_norm=False):
    """One head, with torch's own layers, losses and optimizers."""
    classes = int(y.max()) + 1
    head = torch.nn.Linear(x.shape[1], classes)
    first = torch.randn(classes, x.shape[1], generator=torch.Generator().manual_seed(seed))
    head.weight.data = 0.01 * first
    head.bias.data.zero_()
    norm = torch.nn.BatchNorm1d(x.shape[1], affine=False, eps=1e-6, momentum=None)
    groups = [{"params": [head.weight], "weight_decay": decay}, {"params": [head.bias], "weight_decay": 0.0}]
    optimizer = LARS(groups, rate) if training.lars else torch.optim.SGD(groups, rate, momentum=0.9)
    generator, order = torch.Generator().manual_seed(seed), []
    batches = deal(torch.arange(len(x)), training.batch, generator)
    for step in range(training.steps):
        order = order or torch.randperm(len(batches), generator=generator).tolist()
        taken = batches[order.pop()]
        for group in optimizer.param_groups:
            group["lr"] = rate * training.schedule(step / training.steps)
        scores = head(norm(x[taken]) if batch_norm else x[taken])
        optimizer.zero_grad()
        F.cross_entropy(scores, y[taken]).backward()
        optimizer.step()
    return head


@pytest.mark.parametrize("lars", [False, True])
def test_every_head_is_what_training_it_alone_gives(lars):
    x, y = clusters(90, 6, 3, spread=2.0)
    training = Training(25, 32, cosine, lars=lars)
    (weights,) = train_heads(x, y, torch.arange(90), 3, [Input()], GRID, training, seed=4)
    for place, (rate, decay) in enumerate(GRID):
        head = by_autograd(x, y, rate, decay, training, seed=4)
        torch.testing.assert_close(weights[place, :, :-1], head.weight.data, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(weights[place, :, -1], head.bias.data, atol=1e-5, rtol=1e-4)


def test_batch_norm_is_worked_into_the_weights():
    x, y = clusters(64, 5, 3, spread=2.0)
    x = x * torch.tensor([100.0, 1.0, 0.01, 1.0, 5.0]) + 3
    training, rows = Training(30, 64, cosine), torch.arange(64)
    ((weights,),) = train_heads(x, y, rows, 3, [Input(batch_norm=True)], [(0.3, 0.0)], training, seed=1)
    head = by_autograd(x, y, 0.3, 0.0, training, seed=1, batch_norm=True)
    expected = head(F.batch_norm(x, x.mean(0), x.var(0, correction=0), eps=1e-6))
    torch.testing.assert_close(x @ weights[:, :-1].t() + weights[:, -1], expected, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("lars", [False, True])
def test_heads_of_several_inputs_are_what_each_input_gives_alone(lars):
    x, y = clusters(90, 8, 3, spread=2.0)
    x, training, rows = 5 * x + 40, Training(20, 32, cosine, lars=lars), torch.arange(80)
    inputs = [Input(slice(2, 5)), Input(slice(-3, None), True), Input(), Input(batch_norm=True)]
    together = train_heads(x, y, rows, 3, inputs, GRID, training, seed=4)
    for each, weights in zip(inputs, together, strict=True):
        part, alone = x[:, each.columns].contiguous(), [Input(batch_norm=each.batch_norm)]
        (expected,) = train_heads(part, y, rows, 3, alone, GRID, training, seed=4)
        torch.testing.assert_close(weights, expected, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize(("samples", "batch"), [(7, 10), (10, 10), (90, 32), (100, 64), (97, 1)])
def test_batches_hold_every_row_once_and_are_of_about_the_asked_size(samples, batch):
    rows = torch.arange(samples) * 3
    batches = deal(rows, batch, torch.Generator().manual_seed(0))
    assert torch.equal(torch.cat(batches).sort().values, rows)
    sizes = [len(some) for some in batches]
    assert max(sizes) - min(sizes) <= 1
    assert sizes[0] == max(sizes)
    assert max(sizes) <= min(samples, 1.5 * batch)


def test_batch_norm_takes_features_far_from_zero_for_what_they_are():
    x, y = clusters(120, 6, 3, spread=2.0)
    grid, training = [(0.3, 0.0)], Training(40, 32, cosine)
    ((plain,),) = train_heads(x, y, torch.arange(120), 3, [Input(batch_norm=True)], grid, training)
    # A shift that float32 holds exactly at this scale, so that only what is done with it can differ.
    x = (x * 2**10).round() / 2**10
    ((moved,),) = train_heads(x + 4096, y, torch.arange(120), 3, [Input(batch_norm=True)], grid, training)
    seen, expected = (
        (x + shift).double() @ w[:, :-1].double().t() + w[:, -1] for shift, w in [(4096, moved), (0, plain)]
    )
    torch.testing.assert_close(seen, expected, atol=2e-2, rtol=1e-2)


def test_only_the_given_rows_are_trained_on():
    x, y = clusters(60, 4, 3)
    rows = torch.arange(0, 60, 2)
    poisoned = x.clone()
    poisoned[1::2] = torch.nan
    training = Training(10, 8, cosine)
    torch.testing.assert_close(
        train_heads(poisoned, y, rows, 3, [Input(batch_norm=True)], GRID, training),
        train_heads(x, y, rows, 3, [Input(batch_norm=True)], GRID, training),
    )


def test_the_sweep_selects_on_a_hold_out_and_never_sees_the_test_split():
    x, y = clusters(200, 30, 4, spread=4.0)
    test, _ = clusters(50, 30, 4, spread=4.0, seed=1)
    training, fewer = Training(60, 64, cosine), Training(48, 64, cosine)
    found = sweep(x, test, A, y, [0.001, 0.1, 1.0], [0.0, 0.1], training, seed=2)
    other = sweep(x, 1000 * test, A, y, [0.001, 0.1, 1.0], [0.0, 0.1], training, seed=2)
    assert found.chosen == other.chosen
    assert found.holdout == other.holdout
    name = f"a rate={found.chosen['rate']:g} decay={found.chosen['decay']:g}"
    assert found.holdout[name] == max(found.holdout.values())
    # The hold-out's accuracies are those of heads that have not seen it.
    held = stratified(y, 0.2, 2)
    ((weights,),) = train_heads(x, y, (~held).nonzero().squeeze(1), 4, [Input()], [(0.1, 0.0)], fewer, 2)
    expected = (predict(x[held], weights.unsqueeze(0))[0] == y[held]).double().mean().item()
    assert found.holdout["a rate=0.1 decay=0"] == pytest.approx(expected)


def test_a_head_that_diverges_is_not_chosen_and_all_of_them_are_told():
    x, y = clusters(80, 4, 2, spread=3.0)
    x = 100 * x
    training = Training(40, 40, cosine)
    found = sweep(x, x, A, y, [0.0001, 1e38], [0.0], training)
    assert found.chosen["rate"] == 0.0001
    with pytest.raises(NoScore, match="became infinite"):
        sweep(x, x, A, y, [1e38, 3e38], [0.0], training)


def test_few_samples_do_not_blow_up_what_they_say_nothing_about():
    x, y = clusters(40, 100, 2, spread=1.0)
    test, truth = clusters(200, 100, 2, spread=1.0, seed=1)
    train, asked = whiten(x, test)
    assert asked.norm(dim=1).median() < 3 * train.norm(dim=1).median()
    found = sweep(train, asked, A, y, [0.001, 0.01, 0.1], [0.0], Training(200, 32, cosine))
    assert (found.predictions == truth).double().mean() > 0.9


def test_directions_that_samples_span_are_all_that_a_decomposition_needs():
    x, _ = clusters(30, 80, 2)
    test, _ = clusters(10, 80, 2, seed=1)
    train, asked = spanned(x, test)
    assert train.shape == (30, 30)
    torch.testing.assert_close(train @ train.t(), x @ x.t(), rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(asked @ train.t(), test @ x.t(), rtol=1e-4, atol=1e-3)
    assert all(torch.equal(a, b) for a, b in zip(spanned(x.t(), x.t()), (x.t(), x.t()), strict=True))


def test_a_setting_at_the_edge_is_told_unless_others_were_as_good():
    assert edge(1.0, {0.1: 0.5, 1.0: 0.6}, "largest rate") == [
        "the largest rate tried, 1, was best; one beyond it may be better"
    ]
    assert (
        edge(1.0, {0.1: 0.6, 1.0: 0.6}, "")
        == edge(0.1, {0.1: 0.6, 1.0: 0.5}, "")
        == edge(1, {1: 0.6}, "")
        == []
    )


def test_whitened_features_are_uncorrelated_and_lead_to_the_converged_classifier():
    x, y = clusters(1500, 20, 4, spread=3.0)
    x = x * torch.logspace(0, -1.5, 20)
    x = x @ torch.linalg.qr(torch.randn(20, 20, generator=torch.Generator().manual_seed(0)))[0]
    train, test = whiten(x[:1000], x[1000:])
    covariance = train.t() @ train / 1000
    assert (covariance - covariance.diag().diag()).abs().max() < 2e-3
    found = sweep(train, test, A, y[:1000], [0.1, 1.0], [0.0], Training(500, 256, cosine))
    converged = linear_probe(x[:1000], y[:1000], x[1000:]).predictions
    assert (found.predictions == converged).double().mean() > 0.95
    # Without whitening the flat directions have not been learnt by then.
    plain = sweep(
        *standardise(x[:1000], x[1000:]), A, y[:1000], [0.01, 0.1], [0.0], Training(20, 256, cosine)
    )
    assert (plain.predictions == converged).double().mean() < (found.predictions == converged).double().mean()


@pytest.mark.parametrize("shape", [(300, 12), (40, 60)])
def test_ridge_is_scikit_learns_for_every_strength(shape):
    x, y = clusters(*shape, 3, spread=3.0)
    test, _ = clusters(100, shape[1], 3, spread=3.0, seed=1)
    scaled, scaled_test = standardise(x.double(), test.double())
    for strength in (1.0, 0.01):
        probe = ridge_probe(x, y, test, [strength])
        onehot = F.one_hot(y, 3).double()
        peer = Ridge(alpha=strength * len(x), tol=1e-12).fit(scaled.numpy(), onehot.numpy())
        expected = torch.from_numpy(peer.predict(scaled_test.numpy())).argmax(1)
        assert (probe.predictions == expected).double().mean() >= 0.99


def test_ridge_standardises_whatever_the_means_and_scales_and_passes_constant_dimensions_over():
    x, y = clusters(400, 6, 3, spread=3.0)
    test, _ = clusters(200, 6, 3, spread=3.0, seed=1)
    scale, mean = torch.logspace(-4, 4, 6), torch.tensor([0.0, 1.0, 30.0, -1e3, 0.0, 1e5])
    plain = ridge_probe(x, y, test, [1.0, 0.01])
    constant = [torch.full((len(each), 1), 1 / 3) for each in (x, test)]
    moved = [torch.cat([each * scale + mean, one], 1) for each, one in zip((x, test), constant, strict=True)]
    found = ridge_probe(moved[0], y, moved[1], [1.0, 0.01])
    assert found.strength == plain.strength
    assert (found.predictions == plain.predictions).double().mean() >= 0.99
    with pytest.raises(NoScore, match="exceed the range"):
        ridge_probe(1e25 * x, y, test, [1.0])


def test_ridge_selects_on_a_hold_out_only():
    x, y = clusters(200, 60, 4, spread=3.0)
    names = torch.tensor([2, 7, 40, 41])
    strengths = [10.0, 0.1, 0.001]
    probe = ridge_probe(x, names[y], x[:30], strengths)
    assert probe.holdout[probe.strength] == max(probe.holdout.values())
    assert (probe.strength, probe.holdout) == ridge_probe(x, names[y], x[:9] * 50, strengths)[1:3]
    assert set(probe.predictions.tolist()) <= set(names.tolist())
    assert probe.samples == 40


def test_what_cannot_be_done_says_why():
    x, _ = clusters(20, 4, 2)
    one, alone = torch.zeros(20, dtype=torch.int64), torch.arange(20)
    training = Training(2, 8, cosine)
    for probe in (
        lambda y: sweep(x, x, A, y, [0.1], [0.0], training),
        lambda y: ridge_probe(x, y, x, [0.1]),
    ):
        with pytest.raises(NoScore, match="two classes"):
            probe(one)
        with pytest.raises(NoScore, match="two training samples"):
            probe(alone)
