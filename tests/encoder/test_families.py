"""Tokens, kept tokens and replaced tokens of a small model of every family that has patches."""

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from selfsup import UsageError, build_encoder
from selfsup.encoder import Encoder
from selfsup.encoder.abilities import sees_beyond, stem
from selfsup.encoder.trials import TRIALS, require_ability
from selfsup.evaluation.features import parts
from selfsup.evaluation.features.frozen import FrozenEncoder
from selfsup.report.insight import attention

SMALL = {"patch_size": 8, "embed_dim": 48, "depth": 3, "num_heads": 3}
SWIN = {"depths": [1, 1, 1, 1], "embed_dim": 24, "window_size": 2, "num_heads": [1, 2, 2, 2]}
ALL = set(TRIALS)
MOST, MERGED = ALL - {"attention masks"}, {"tokens", "replaced tokens"}
# Name, arguments, size and abilities of a small model of each kind.
FAMILIES: dict[str, tuple[str, dict[str, Any], int, set[str]]] = {
    "plain": ("vit_tiny_patch16_224", SMALL, 32, ALL),
    "a pooling that attends": ("vit_base_patch16_siglip_224", SMALL, 32, ALL),
    "distilled": ("deit_tiny_distilled_patch16_224", SMALL, 32, ALL),
    "DeiT-3": ("deit3_small_patch16_224", SMALL, 32, ALL),
    "a stem of some layers": ("vit_tiny_mlp_stem", SMALL, 32, ALL),
    "blocks side by side": ("vit_small_patch16_18x2_224", SMALL, 32, ALL),
    "rotary": ("vit_small_patch16_dinov3", SMALL, 32, ALL),
    "BEiT": ("beit_base_patch16_224", SMALL, 32, MOST),
    "BEiT, shared positions": (
        "beit_base_patch16_224",
        {**SMALL, "use_rel_pos_bias": False, "use_shared_rel_pos_bias": True},
        32,
        MOST,
    ),
    "relative positions": ("vit_relpos_small_patch16_224", SMALL, 32, MOST),
    "relative positions and a class token": ("vit_relpos_base_patch16_clsgap_224", SMALL, 32, MOST),
    "CaiT": ("cait_xxs24_224", SMALL, 32, MOST),
    "ConViT": ("convit_tiny", {"patch_size": 8, "embed_dim": 16, "local_up_to_layer": 2}, 32, MOST),
    "NaFlex": ("naflexvit_base_patch16_gap", SMALL, 32, ALL),
    "NaFlex, rotary": ("naflexvit_base_patch16_gap", {**SMALL, "rope_type": "axial"}, 32, ALL),
    "XCiT": (
        "xcit_nano_12_p8_224",
        {"depth": 2, "embed_dim": 48, "num_heads": 3},
        32,
        MOST - {"kept tokens"},
    ),
    "a mixer": ("resmlp_12_224", {}, 64, MOST - {"kept tokens"}),
    "a convolutional stem": ("vit_tiny_r_s16_p8_224", {"embed_dim": 48, "depth": 2}, 64, MOST),
    "Swin": ("swin_tiny_patch4_window7_224", SWIN, 64, MERGED),
    "Swin 2": ("swinv2_tiny_window8_256", SWIN, 64, MERGED),
    "Hiera": ("hiera_tiny_224", {"embed_dim": 24}, 64, MERGED),
    "PVT": ("pvt_v2_b0", {}, 64, MERGED),
    "a class token after all": ("mvitv2_small_cls", {}, 64, MERGED),
    "convolutions": ("resnet10_small", {}, 32, set()),
}


@cache
def built(family: str) -> Encoder:
    """With weights so large that attention matters, and nothing behind a factor of nearly nothing."""
    name, args, size, _ = FAMILIES[family]
    encoder = build_encoder(name, size, args, seed=0).eval()
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for parameter in encoder.parameters():
            if parameter.min() == parameter.max():
                parameter.uniform_(0.5, 1.5)
            else:
                parameter.mul_(2)
    return encoder


def said(encoder: Encoder, need: str) -> str | None:
    try:
        require_ability(encoder, need)
    except UsageError as error:
        return str(error)
    return None


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_what_it_can_do_is_found_out(family: str) -> None:
    encoder = built(family)
    able = {need for need in TRIALS if said(encoder, need) is None}
    assert able == FAMILIES[family][3]
    assert not encoder.training


def tokens_of(able: str) -> list[str]:
    return [family for family, (*_, abilities) in FAMILIES.items() if able in abilities]


@pytest.mark.parametrize("family", tokens_of("pooled tokens"))
@torch.no_grad()
def test_pooled_tokens_are_its_features(family: str) -> None:
    encoder = built(family)
    images = torch.randn(2, 3, *encoder.input_size)
    torch.testing.assert_close(encoder.pool(encoder.sequence(images)), encoder(images))


@pytest.mark.parametrize("family", tokens_of("kept tokens"))
def test_kept_tokens_are_what_blocks_make_of_these_alone(family: str) -> None:
    """In another order the same tokens, all of them those of the whole pass, and no trace is left."""
    encoder = built(family)
    images, length = torch.randn(2, 3, *encoder.input_size), encoder.grid[0] * encoder.grid[1]
    order = torch.stack([torch.randperm(length) for _ in range(2)])
    whole = encoder.tokens(images)
    expected = whole.gather(1, order.unsqueeze(-1).expand_as(whole))
    torch.testing.assert_close(encoder.tokens(images, order), expected, atol=1e-4, rtol=1e-3)
    some = encoder.tokens(images, order[:, : length // 2])
    assert not torch.allclose(some, expected[:, : length // 2], atol=1e-4)  # they attend to fewer
    some.sum().backward()
    torch.testing.assert_close(encoder.tokens(images), whole)


@pytest.mark.parametrize("family", tokens_of("replaced tokens"))
@torch.no_grad()
def test_a_token_is_seen_at_its_place_and_what_it_hides_is_not(family: str) -> None:
    encoder, (rows, columns) = built(family), built(family).grid
    images = torch.randn(1, 3, *encoder.input_size)
    hidden = torch.zeros(1, rows * columns, dtype=torch.bool)
    hidden[0, 1] = True
    side = encoder.patch_size

    def said(token: int, brighter: tuple[int, int] | None = None) -> Tensor:
        changed = images.clone()
        if brighter is not None:
            top, left = (each * side for each in brighter)
            changed[..., top : top + side, left : left + side] += 3
        generator = torch.Generator().manual_seed(token)
        each = torch.randn(encoder.patch_width, generator=generator)
        return encoder.sequence(changed, mask=hidden, token=each)[:, encoder.prefix :]

    torch.testing.assert_close(said(1, (0, 1)), said(1))  # row 0, column 1
    assert not torch.allclose(said(1, (0, 0)), said(1), atol=1e-4)
    assert not torch.allclose(said(2), said(1), atol=1e-5)


@torch.no_grad()
def test_places_of_merged_patches_are_in_raster_order() -> None:
    """Of a network without attention between them, so that each place says its own patches alone."""
    for family in ("Swin", "Swin 2", "Hiera", "PVT"):
        encoder, (rows, columns) = built(family), built(family).grid
        image = torch.randn(1, 3, *encoder.input_size)
        still = encoder.sequence(image)[0]
        for place in range(rows * columns):
            top, left = place // columns * 32, place % columns * 32
            changed = image.clone()
            changed[..., top : top + 32, left : left + 32] = torch.randn(1, 3, 32, 32)
            moved = (encoder.sequence(changed)[0] - still).norm(dim=1)
            assert int(moved.argmax()) == place, family


def test_rectangular_patches_are_refused_where_squares_are_meant() -> None:
    encoder = build_encoder("vit_tiny_patch16_224", 32, {**SMALL, "patch_size": [8, 16]})
    assert encoder(torch.zeros(1, 3, 32, 32)).shape == (1, 48)
    with pytest.raises(UsageError, match="has patches of 8 x 16 px, and only square ones are read"):
        encoder.require_tokens()


def test_stems_that_see_beyond_a_patch() -> None:
    seeing = {family for family in FAMILIES if stem(built(family).model) and sees_beyond(built(family).model)}
    assert seeing == {"XCiT", "a convolutional stem", "Hiera", "PVT", "a class token after all"}


@pytest.mark.parametrize("family", tokens_of("pooled tokens"))
def test_evaluation_and_report_look_into_it(family: str) -> None:
    encoder = built(family)
    images, (rows, columns) = torch.zeros(2, 3, *encoder.input_size, dtype=torch.uint8), encoder.grid
    frozen = FrozenEncoder(encoder, encoder.mean, encoder.std)
    found = parts.blocks(frozen, images, torch.arange(2), count=2)
    assert found.shape[0] == 2
    assert found.shape[2:] == (2 if encoder.prefix else 1, encoder.dim)
    patches = encoder.tokens(frozen.normalised(images)).mean(1)
    torch.testing.assert_close(found[:, -1, -1], patches.detach(), atol=1e-4, rtol=1e-3)
    weights = attention(encoder, frozen.normalised(images))
    assert weights is None or weights.shape == (2, rows, columns)
