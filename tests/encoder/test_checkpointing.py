"""`backbone.checkpointing=true`: blocks are computed again in the backward pass, and nothing else changes."""

import copy

import pytest
import torch
from torch import Tensor, nn

from selfsup.encoder import Encoder, build_encoder
from selfsup.encoder.blocks import recompute_blocks
from selfsup.errors import UsageError
from tests.methods.building import batch_of, build

ON = "backbone.checkpointing=true"
DROPS = "backbone.model_args.drop_path_rate=0.5"
# All patches, some of them, some replaced, and all layers with a mask of attention; teachers; several sizes.
METHODS = ("simclr", "mae", "simmim", "semaim", "dino", "data2vec", "jepa")


def gradients(*settings: str) -> dict[str, Tensor]:
    torch.manual_seed(0)
    method = build(*settings).train()
    batch = batch_of(method)
    torch.manual_seed(0)
    loss = method(batch).loss
    loss.backward()
    found = {name: p.grad for name, p in method.named_parameters() if p.grad is not None}
    return {"loss": loss.detach(), **found}


@pytest.mark.parametrize("name", METHODS)
def test_loss_and_gradients_are_the_same_to_the_bit(name: str) -> None:
    settings = (f"method={name}", DROPS, "trainer.precision=32-true")
    plain, checkpointed = gradients(*settings), gradients(*settings, ON)
    assert plain["loss"] != gradients(*settings[:1], *settings[2:])["loss"]  # something was dropped
    assert plain.keys() == checkpointed.keys()
    torch.testing.assert_close(checkpointed, plain, rtol=0, atol=0)


def vit(**args: object) -> Encoder:
    small = {"patch_size": 4, "embed_dim": 32, "depth": 4, "num_heads": 2}
    return build_encoder("vit_tiny_patch16_224", 16, {**small, **args}, seed=0).train()


def kept(encoder: Encoder, how: str) -> int:
    """Bytes that a pass keeps for its backward pass."""
    found = 0

    def pack(tensor: Tensor) -> Tensor:
        nonlocal found
        found += tensor.nbytes
        return tensor

    images = torch.randn(4, 3, 16, 16)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        given = (images, torch.tensor([[0, 3, 5]] * 4)) if how == "tokens" else (images,)
        getattr(encoder, how)(*given)
    return found


@pytest.mark.parametrize("how", ["forward", "tokens", "layers"])
def test_every_way_through_the_blocks_keeps_less(how: str) -> None:
    plain = vit()
    checkpointed = copy.deepcopy(plain)
    recompute_blocks(checkpointed.model, "vit")
    assert kept(checkpointed, how) < kept(plain, how) / 3


def test_it_goes_with_compiled_blocks() -> None:
    torch.compiler.reset()
    plain = vit(drop_path_rate=0.0)
    both = copy.deepcopy(plain)
    recompute_blocks(both.model, "vit")
    both.compile_training("aot_eager")
    images, found = torch.randn(4, 3, 16, 16), []
    for encoder in (plain, both):
        encoder(images).square().sum().backward()
        found.append({name: p.grad for name, p in encoder.named_parameters() if p.grad is not None})
    torch.testing.assert_close(found[1], found[0])


def test_what_a_second_pass_would_change_is_refused() -> None:
    normed = vit()
    normed.model.blocks[0].norm1 = nn.BatchNorm1d(32)
    for encoder in (normed, build_encoder("resnet10_small", 16), build_encoder("levit_128s", 224)):
        with pytest.raises(UsageError, match=r"backbone\.checkpointing=true .* take a vision transformer"):
            recompute_blocks(encoder.model, "some")
