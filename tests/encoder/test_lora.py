"""Adapters begin as nothing, learn instead of the weights, and are merged into what is saved."""

from copy import deepcopy
from pathlib import Path

import pytest
import timm
import torch

from selfsup import UsageError, build_encoder, load_encoder, save_encoder
from selfsup.encoder import Encoder, add_adapters
from selfsup.optim import build_optimizer
from tests.methods.building import batch_of, build

VIT = {"embed_dim": 32, "depth": 2, "num_heads": 2, "patch_size": 8, "img_size": 16}
LORA = ("backbone.lora.rank=2",)


def encoder() -> Encoder:
    return build_encoder("vit_tiny_patch16_224", 16, VIT, seed=0).eval()


def test_at_first_the_encoder_is_what_it_was_to_the_bit() -> None:
    plain, images = encoder(), torch.randn(2, 3, 16, 16)
    adapted = add_adapters(encoder(), rank=4, alpha=16)
    assert torch.equal(adapted(images), plain(images))
    assert adapted.fingerprint() == plain.fingerprint()


def test_the_change_is_that_of_the_formula() -> None:
    adapted = add_adapters(encoder(), rank=4, alpha=16)
    layer = adapted.model.blocks[1].attn.proj
    before, change = layer.weight.detach().clone(), layer.parametrizations.weight[0]
    change.up.data.normal_()
    assert torch.allclose(layer.weight, before + 4.0 * change.up @ change.down)
    assert torch.linalg.matrix_rank(layer.weight - before) == 4


def test_only_adapters_and_heads_learn() -> None:
    method = build("method=simclr", *LORA)
    optimizer = build_optimizer(method, method.optimizer)
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    names = {name for name, p in method.named_parameters() if id(p) in held}
    of_encoder = {name for name in names if name.startswith("encoder.")}
    assert {name.rpartition(".")[2] for name in of_encoder} == {"up", "down"}
    assert len(of_encoder) == 2 * 2 * 2  # of two blocks, two projections each
    assert any(name.startswith("projector.") for name in names)


@pytest.mark.parametrize("name", ["simclr", "byol", "dino", "mae"])
def test_what_a_method_hands_over_is_merged_and_timm_reads_it(name: str, tmp_path: Path) -> None:
    method = build(f"method={name}", *LORA)
    optimizer = build_optimizer(method, {**method.optimizer, "lr": 1e-2})
    method(batch_of(method)).loss.backward()
    for step in range(3):
        optimizer.step()
        method.after_step(step, 3)
    trained, images = method.learned_encoder().eval(), torch.randn(2, 3, 24, 24)
    before = build(f"method={name}", *LORA).learned_encoder().eval()
    assert not torch.equal(trained(images), before(images))
    folder = save_encoder(trained, tmp_path / "encoder")
    loaded = load_encoder(folder).eval()
    assert torch.equal(loaded(images), trained(images))
    assert loaded.fingerprint() == trained.fingerprint()
    plain = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    assert torch.equal(plain(images), trained(images))


def test_a_copy_of_adapters_is_their_own() -> None:
    adapted = add_adapters(encoder(), rank=4, alpha=16)
    copy = deepcopy(adapted)
    copy.model.blocks[0].attn.qkv.parametrizations.weight[0].up.data.normal_()
    images = torch.randn(2, 3, 16, 16)
    assert torch.equal(adapted(images), encoder()(images))
    assert not torch.equal(copy(images), adapted(images))


def test_what_has_no_attention_or_no_room_is_refused() -> None:
    with pytest.raises(UsageError, match="has no attention for adapters"):
        add_adapters(build_encoder("resnet10_small", 16), rank=4, alpha=16)
    with pytest.raises(UsageError, match="is no low rank for 'vit_tiny_patch16_224' of width 32"):
        add_adapters(encoder(), rank=32, alpha=16)
