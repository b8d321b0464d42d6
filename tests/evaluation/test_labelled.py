"""The labelled protocols on features, each against what it says it does."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F

from selfsup.config import load_config
from selfsup.encoder import build_encoder
from selfsup.evaluation.classifiers import ridge
from selfsup.evaluation.classifiers.finetuning import train_whole
from selfsup.evaluation.classifiers.heads import Training
from selfsup.evaluation.classifiers.probes import stratified
from selfsup.evaluation.errors import NoScore
from selfsup.evaluation.features.extract import Features, Images, Part
from selfsup.evaluation.features.frozen import FrozenEncoder
from selfsup.evaluation.protocols import attentive, dinov2_linear, ijepa_linear, label_fraction, mae_linear
from tests.evaluation.test_heads import by_autograd
from tests.evaluation.toys import clusters, coloured

SWEEP = {"holdout": 0.2, "seed": 3}


def features(samples, width, classes=3, seed=0, **parts):
    x, y = clusters(samples, width, classes, spread=2.0, seed=seed)
    rows = torch.arange(samples)
    return Features(x, y, rows, parts={name: Part(part, rows) for name, part in parts.items()})


def block_features(samples, seed=0, kinds=2):
    """Four blocks of width 5, in which a class shows, dimensions of different scale."""
    x, _ = clusters(samples, 4 * kinds * 5, 3, spread=3.0, seed=seed)
    return features(samples, 5, seed=seed, blocks=x.view(samples, 4, kinds, 5) * torch.logspace(0, 1, 5))


def on_the_hold_out(x, y, rate, decay, training, batch_norm=False):
    """Accuracy on the hold-out of a head that torch's own layers and optimizers train on the rest."""
    held = stratified(y, SWEEP["holdout"], SWEEP["seed"])
    fit = x[~held]
    # As many epochs as on the whole split.
    training = training._replace(steps=round(training.steps * len(fit) / len(x)))
    head = by_autograd(fit, y[~held], rate, decay, training, SWEEP["seed"], batch_norm)
    if batch_norm:
        x = F.batch_norm(x, fit.mean(0), fit.var(0, correction=0), eps=1e-6)
    return (head(x[held]).argmax(1) == y[held]).double().mean().item()


def cosine(share):
    return (1 + math.cos(math.pi * share)) / 2


@pytest.mark.parametrize("kinds", [2, 1])
def test_dinov2s_heads_see_the_last_blocks_with_and_without_averaged_patches(kinds):
    train, test = block_features(90, kinds=kinds), block_features(30, seed=1, kinds=kinds)
    score = dinov2_linear.score(train, test, blocks=[1, 4], rates=[0.2], steps=40, batch=32, **SWEEP)
    blocks = train.parts["blocks"].x
    first, last = blocks[:, :, 0].flatten(1), blocks[:, -1, 0]
    token = "class token" if kinds == 2 else "averaged patches"
    inputs = {f"last 1, {token}": last, f"last 4, {token}": first}
    if kinds == 2:
        patches = blocks[:, -1, 1]
        inputs["last 1, class token and patches"] = torch.cat([last, patches], 1)
        inputs["last 4, class token and patches"] = torch.cat([first, patches], 1)
    training = Training(40, 32, cosine)
    rate = 0.2 * 32 / 1024
    expected = {
        f"{name} rate={rate:g} decay=0": on_the_hold_out(x, train.labels, rate, 0.0, training)
        for name, x in inputs.items()
    }
    assert score.settings["holdout_accuracy"] == pytest.approx(expected)
    assert kinds == 1 or len(set(expected.values())) > 1


def test_ijepas_heads_see_averaged_patches_with_and_without_batch_norm():
    train, test = block_features(90), block_features(30, seed=1)
    score = ijepa_linear.score(train, test, rates=[10.0], decays=[0.0005, 0.0], epochs=50, batch=45, **SWEEP)
    patches = train.parts["blocks"].x[:, :, 1]
    rate = 10.0 * 45 / 256
    for name, x in (("last block", patches[:, -1]), ("last 4 blocks", patches.flatten(1))):
        for normed in (True, False):
            # Two steps an epoch, a tenth of the rate after each 15.
            training = Training(100, 45, lambda share: 0.1 ** (int(share * 100 / 2) // 15), lars=True)
            for decay in (0.0005, 0.0):
                key = f"{name}, {'batch norm' if normed else 'plain'} rate={rate:g} decay={decay:g}"
                expected = on_the_hold_out(x, train.labels, rate, decay, training, normed)
                assert score.settings["holdout_accuracy"][key] == pytest.approx(expected), key


def test_maes_probe_normalises_batches_warms_up_and_scales_each_matrix_by_its_norm():
    train, test = features(100, 12), features(40, 12, seed=1)
    train.x, test.x = (x * torch.logspace(-2, 4, 12) for x in (train.x, test.x))
    score = mae_linear.score(train, test, rates=[25.0], epochs=200, warmup_epochs=5, batch=50, **SWEEP)
    warm = 5 / 200
    training = Training(
        400,
        50,
        lambda share: share / warm if share < warm else cosine((share - warm) / (1 - warm)),
        lars=True,
    )
    rate = 25.0 * 50 / 256
    expected = on_the_hold_out(train.x, train.labels, rate, 0.0, training, batch_norm=True)
    assert score.settings["holdout_accuracy"] == pytest.approx({f"pooled rate={rate:g} decay=0": expected})
    assert score.value > 0.6


def test_the_attentive_pool_is_torchs_attention_with_a_fixed_query():
    torch.manual_seed(0)
    pool, tokens = attentive.AttentivePool(12, 3, 2), torch.randn(4, 7, 12)
    peer = torch.nn.MultiheadAttention(12, 2, batch_first=True)
    with torch.no_grad():
        peer.in_proj_weight.copy_(torch.cat([torch.eye(12), pool.keys_values.weight]))
        peer.in_proj_bias.copy_(torch.cat([torch.zeros(12), pool.keys_values.bias]))
        peer.out_proj.load_state_dict(pool.out.state_dict())
        query, normed = pool.query.expand(4, 1, 12), pool.norm(tokens)
        pooled = pool.query + peer(query, normed, normed)[0][:, 0]
        torch.testing.assert_close(pool(tokens), pool.head(pooled + pool.mlp(pooled)))


def test_an_attentive_probe_finds_the_token_that_averages_hide():
    def hidden(samples, seed):
        """One of nine tokens is marked and tells the class; the others say something, at random."""
        generator = torch.Generator().manual_seed(seed)
        said = torch.randint(0, 3, (samples, 9), generator=generator)
        tokens = torch.cat([F.one_hot(said, 3), torch.zeros(samples, 9, 13)], 2).float()
        place = torch.randint(0, 9, (samples,), generator=generator)
        rows = torch.arange(samples)
        tokens[rows, place, 3] = 1
        return Features(tokens.mean(1), said[rows, place], rows, parts={"tokens": Part(tokens, rows)})

    train, test = hidden(400, 0), hidden(150, 1)
    settings = {"rates": [0.01, 1e-6], "decays": [0.01], "epochs": 15, "batch": 50, "head_width": 8}
    found = attentive.score(train, test, **settings, **SWEEP)
    pooled = ridge.score(train, test, strengths=[0.1, 0.001], **SWEEP)
    assert found.value > 0.9 > 0.8 > pooled.value
    assert found.settings["chosen"]["rate"] == 0.01
    assert "largest rate tried, 0.01, was best" in found.flags[0]


def tuned(encoder, **settings):
    """A copy of an encoder after an epoch of one step."""
    source = coloured(20)
    images = Images(source, 12, encoder, FrozenEncoder(encoder, encoder.mean, encoder.std))
    plan = load_config("evaluate", ["encoder=x", "protocols=finetune"])["protocols"]["finetune"]["plan"]
    usual = {"plan": plan, "epochs": 1, "batch": 20, "rate": 1e-3, "weight_decay": 0.0, "seed": 0}
    return train_whole(images, encoder, torch.arange(20), source.labels, 4, **usual, **settings)[0]


def small_vit(depth):
    args = {"patch_size": 4, "embed_dim": 16, "depth": depth, "num_heads": 2}
    return build_encoder("vit_tiny_patch16_224", 12, args, seed=0)


def test_layers_are_tuned_at_decayed_rates_and_the_encoder_stays():
    encoder = small_vit(depth=3)
    before = copy.deepcopy(encoder.state_dict())
    after = tuned(encoder, layer_decay=0.5).state_dict()
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, before[name])
    # A first step of Adam moves every weight that has a gradient by the rate.
    for name, layer in (
        ("patch_embed.proj.weight", 0),
        ("blocks.0.mlp.fc1.weight", 1),
        ("blocks.1.mlp.fc1.weight", 2),
        ("blocks.2.mlp.fc1.weight", 3),
    ):
        moved = (after[f"model.{name}"] - before[f"model.{name}"]).abs().max().item()
        assert moved == pytest.approx(1e-3 * 0.5 ** (4 - layer), rel=0.02), name


def test_attention_alone_is_tuned_and_a_network_without_any_is_refused():
    encoder, settings = small_vit(depth=2), {"layer_decay": 1.0, "attention_only": True}
    before, after = encoder.state_dict(), tuned(encoder, **settings).state_dict()
    moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
    parts = ("qkv.weight", "qkv.bias", "proj.weight", "proj.bias")
    assert moved == {f"model.blocks.{block}.attn.{part}" for block in range(2) for part in parts}
    with pytest.raises(NoScore, match="no attention"):
        tuned(build_encoder("resnet10_small", 12, {}, seed=0), **settings)


def test_a_share_of_the_labels_is_drawn_from_each_class():
    labels = torch.tensor([0] * 100 + [5] * 40 + [7] * 3)
    rows = label_fraction.drawn(labels, 0.1, seed=0)
    assert labels[rows].bincount(minlength=8).tolist() == [10, 0, 0, 0, 0, 4, 0, 2]
    assert len(rows.unique()) == len(rows)
    assert not torch.equal(rows, label_fraction.drawn(labels, 0.1, seed=1))
    assert torch.equal(label_fraction.drawn(labels, 1.0, seed=1), torch.arange(143))


def test_all_the_labels_are_the_ridge_protocol_and_few_are_worse():
    train, test = features(300, 12), features(200, 12, seed=1)
    settings = {"strengths": [1.0, 0.01], **SWEEP}
    unused = {"scratch_epochs": 0, "batch": 8, "rate": 0.1, "weight_decay": 0.0, "plan": {}}
    scores = label_fraction.score(train, test, shares=[0.02, 1.0], draws=6, **settings, **unused)
    few, all_of_them = scores["2%-labels"], scores["100%-labels"]
    assert all_of_them.value == ridge.score(train, test, **settings).value
    assert few.n_train == 6
    assert few.value < all_of_them.value - 0.05
    assert few.interval[0] < few.value < few.interval[1]
    assert few.value == pytest.approx(sum(few.settings["accuracies"]) / 6)
