"""The protocols that look into an encoder, on a tiny one and tiny images."""

import copy

import pytest
import torch

from selfsup.config import load_config
from selfsup.encoder import build_encoder
from selfsup.evaluation import evaluate
from selfsup.evaluation.features.frozen import FrozenEncoder
from selfsup.evaluation.features.parts import blocks, tokens
from tests.evaluation.toys import ToyEncoder, coloured

VIT = {"patch_size": 4, "embed_dim": 16, "depth": 3, "num_heads": 2}
QUICK = (
    "protocols.dinov2_linear.steps=60",
    "protocols.dinov2_linear.batch=32",
    "protocols.mae_linear.epochs=60",
    "protocols.mae_linear.warmup_epochs=1",
    "protocols.mae_linear.rates=[3.0,10.0]",
    "protocols.ijepa_linear.epochs=20",
    "protocols.attentive.epochs=2",
    "protocols.attentive.rates=[0.003]",
    "protocols.finetune.epochs=2",
    "protocols.finetune.batch=16",
    "protocols.label_fraction.scratch_epochs=1",
    "protocols.label_fraction.shares=[0.5,1.0]",
)
INSIDE = ("dinov2_linear", "mae_linear", "ijepa_linear", "attentive", "finetune", "label_fraction", "ridge")
DATA = {"name": "toy", "workers": 0, "max_unreadable": 0.5}


@pytest.fixture(scope="module")
def vit():
    return build_encoder("vit_tiny_patch16_224", 12, VIT, seed=0).eval()


def judge(encoder, **settings):
    names = f"protocols=[{','.join(INSIDE)}]"
    protocols = load_config("evaluate", ["encoder=x", names, *QUICK])["protocols"]
    train, test = coloured(64), coloured(24, seed=1)
    return evaluate(encoder, train, test, DATA, protocols=protocols, **settings)["rows"]


def test_blocks_are_class_tokens_and_averaged_patches_after_the_last_norm(vit):
    images = coloured(5).images
    frozen = FrozenEncoder(vit, vit.mean, vit.std)
    got = blocks(frozen, images, torch.arange(5), count=2)
    assert got.shape == (5, 2, 2, 16)
    with torch.no_grad():
        model, stream, outputs = vit.model, None, []
        stream = model.norm_pre(model._pos_embed(model.patch_embed(frozen.normalised(images))))
        for block in model.blocks:
            stream = block(stream)
            outputs.append(model.norm(stream))
    for place, output in enumerate(outputs[-2:]):
        torch.testing.assert_close(got[:, place, 0], output[:, 0], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(got[:, place, 1], output[:, 1:].mean(1), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(tokens(frozen, images, torch.arange(5)), outputs[-1], atol=1e-5, rtol=1e-4)


def test_a_convolutional_network_gives_its_last_map():
    encoder = build_encoder("resnet10_small", 12, seed=0).eval()
    frozen = FrozenEncoder(encoder, encoder.mean, encoder.std)
    images, index = coloured(3).images, torch.arange(3)
    got = blocks(frozen, images, index)
    torch.testing.assert_close(got[:, 0, 0], frozen(images), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(tokens(frozen, images, index).mean(1), frozen(images), atol=1e-5, rtol=1e-4)


def test_every_protocol_scores_a_transformer_and_leaves_it_as_it_was(vit):
    encoder = copy.deepcopy(vit)
    before = encoder.fingerprint()
    scored, pixels, components = judge(encoder)[0], *judge(encoder)[-2:]
    assert encoder.fingerprint() == before
    for name, score in scored["scores"].items():
        assert score["reason"] is None, name
        assert 0 <= score["value"] <= 1
        assert "test" not in score["split"]
    assert "50%-labels" in scored["scores"]
    assert "100%-from-scratch" in scored["scores"]
    # Colour is all there is to tell; every classifier of features finds it.
    for name in ("dinov2_linear", "mae_linear", "ridge"):
        assert scored["scores"][name]["value"] > 0.7, name
    for row in (pixels, components):
        assert list(row["scores"]) == list(scored["scores"])
        assert row["scores"]["ridge"]["value"] is not None
        for name in ("dinov2_linear", "attentive", "finetune"):
            assert row["scores"][name]["value"] is None
            assert row["scores"][name]["reason"]


def test_parts_of_some_images_belong_to_the_right_rows(vit):
    config = load_config("evaluate", ["encoder=x", "protocols=attentive", "protocols.attentive.epochs=1"])[
        "protocols"
    ]
    config["attentive"]["needs"]["tokens"]["images"] = 20
    (row,) = evaluate(vit, coloured(64), coloured(24, seed=1), DATA, protocols=config, controls=False)["rows"]
    assert (row["scores"]["attentive"]["n_train"], row["scores"]["attentive"]["n_test"]) == (20, 20)


def test_from_scratch_is_asked_for_and_fine_tuning_needs_layers():
    settings = ["encoder=x", "protocols=[finetune,label_fraction]", "protocols.finetune.epochs=1"]
    config = load_config("evaluate", settings)["protocols"]
    scores = evaluate(
        ToyEncoder(), coloured(16), coloured(8, seed=1), DATA, protocols=config, controls=False
    )["rows"][0]["scores"]
    assert "layer_decay must be 1" in scores["finetune"]["reason"]
    assert [name for name in scores if "scratch" in name] == []
