"""Tokens of any of timm's vision transformers: all, kept ones, replaced ones, with whichever positions."""

import re
from typing import Any

import pytest
import timm
import torch

from selfsup import UsageError, build_encoder
from selfsup.encoder import Encoder
from selfsup.encoder.creation import create

SMALL = {"embed_dim": 48, "depth": 2, "num_heads": 2}
# Of each form of positions and prefix a small one.
FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "class token": ("vit_tiny_patch16_224", {"patch_size": 8}),
    "registers": ("vit_tiny_patch16_224", {"patch_size": 8, "reg_tokens": 3, "no_embed_class": True}),
    "no prefix": ("vit_tiny_patch16_224", {"patch_size": 8, "class_token": False, "global_pool": "avg"}),
    "DINOv3": ("vit_small_patch16_dinov3", {"patch_size": 8}),
    "EVA-02": ("eva02_tiny_patch14_224", {"patch_size": 8}),
    "rotary of each head": ("vit_small_patch16_rope_mixed_224", {"patch_size": 8}),
}


def encoder(form: str) -> Encoder:
    name, args = FORMS[form]
    return build_encoder(name, 32, {**SMALL, **args, "dynamic_img_size": True}, seed=0).eval()


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("form", FORMS)
def test_all_tokens_are_timms(form: str, images: torch.Tensor) -> None:
    vit = encoder(form)
    expected = vit.model.forward_features(images)
    torch.testing.assert_close(vit.sequence(images), expected)
    torch.testing.assert_close(vit.pool(vit.sequence(images)), vit(images))
    torch.testing.assert_close(vit.layers(images)[-1], expected)
    assert vit.tokens(images).shape == (2, 16, 48)


@pytest.mark.parametrize("form", FORMS)
def test_kept_tokens_keep_their_places(form: str, images: torch.Tensor) -> None:
    vit = encoder(form)
    every = torch.stack([torch.randperm(16, generator=torch.Generator().manual_seed(i)) for i in range(2)])
    whole = vit.tokens(images)
    index = every.unsqueeze(-1).expand(-1, -1, 48)
    torch.testing.assert_close(vit.tokens(images, every), whole.gather(1, index), atol=1e-5, rtol=1e-4)
    # A part of them is what whole images give in which the others are not attended to.
    keep = every[:, :6]
    attends = torch.zeros(2, vit.prefix + 16, dtype=torch.bool)
    attends[:, : vit.prefix] = True
    attends.scatter_(1, keep + vit.prefix, True)
    expected = vit.layers(images, attends.unsqueeze(1).expand(-1, vit.prefix + 16, -1))[-1][:, vit.prefix :]
    index = keep.unsqueeze(-1).expand(-1, -1, 48)
    torch.testing.assert_close(vit.tokens(images, keep), expected.gather(1, index), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("form", FORMS)
def test_a_replaced_patch_is_not_seen(form: str, images: torch.Tensor) -> None:
    vit, mask = encoder(form), torch.zeros(2, 16, dtype=torch.bool)
    mask[:, 5] = True
    changed = images.clone()
    changed[:, :, 8:16, 8:16] += 1  # patch 5 of 4 x 4
    token = torch.randn(48, generator=torch.Generator().manual_seed(1))
    before, after = (vit.sequence(each, mask=mask, token=token) for each in (images, changed))
    torch.testing.assert_close(before, after)
    assert not torch.allclose(vit.sequence(images), vit.sequence(changed))


# Architectures of the published weights that people begin from.
FAMILIES = ("*dinov2*", "*dinov3*", "vit_*mae*", "vit_*siglip*", "vit_*clip*", "eva*", "vit_base_patch16_224")
PUBLISHED = sorted({name for family in FAMILIES for name in timm.list_models(family)})


def test_there_are_many() -> None:
    assert len(PUBLISHED) > 60


@pytest.mark.parametrize("name", PUBLISHED)
def test_what_is_published_gives_tokens(name: str) -> None:
    size = timm.get_pretrained_cfg(name).input_size[-1]  # type: ignore[union-attr]
    patch = int(found[1]) if (found := re.search(r"patch(\d+)", name)) else 1
    with torch.device("meta"):
        if size % patch:
            with pytest.raises(UsageError, match="do not tile images"):
                create(name, size, {"depth": 1})
            return
        model = create(name, size, {"depth": 1})
        vit = Encoder(
            model, {"name": name, "image_size": size, "model_args": {}}, (0.5,) * 3, (0.5,) * 3
        ).eval()
        assert vit.has_tokens
        rows, columns = vit.grid
        keep = torch.zeros(1, rows * columns // 2, dtype=torch.int64)
        assert vit.tokens(torch.zeros(1, 3, size, size), keep).shape == (*keep.shape, model.num_features)
