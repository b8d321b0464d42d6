"""What SparK promises beyond its objective: nothing of the hidden cells gets to where they are painted."""

import pytest
import torch

from selfsup.build import make_encoder, make_method
from selfsup.config import load_config
from selfsup.errors import UsageError
from selfsup.methods.spark import SparK
from selfsup.objectives import masked_reconstruction, patchify, unpatchify
from tests.methods.building import batch_of, build


def test_the_loss_is_of_hidden_cells_painted_without_seeing_them() -> None:
    method = build("method=spark", "data.image_size=32")
    assert isinstance(method, SparK)
    assert (method.mask.grid, method.cell) == ((4, 4), 8)
    batch = batch_of(method)
    images, hidden = batch.images, method.regions(batch)["hidden"]
    assert hidden.sum(1).tolist() == [10] * 8  # 6 of 16 are seen
    painted = method.paint(images, hidden)
    assert painted.shape == (8, 16, 192)
    seen = patchify(images, 8).where(~hidden.unsqueeze(-1), 100.0)
    assert torch.equal(method.paint(unpatchify(seen, 8), hidden), painted)
    expected = masked_reconstruction(painted, patchify(images, 8), hidden)
    batch.generator.manual_seed(batch.generator.initial_seed())
    assert torch.equal(method.loss(batch).loss, expected)


def test_the_decoder_takes_maps_of_all_sizes_and_ends_at_the_images() -> None:
    method = build(
        "method=spark", "backbone=timm:convnext_atto", "data.image_size=64", "method.decoder.width=16"
    )
    assert isinstance(method, SparK)
    assert method.decoder.sides == [2, 4, 8, 16, 32, 64]
    assert set(method.decoder.maps) == {"2", "4", "8", "16"}
    assert method.decoder.paint.in_channels == 1  # 16, halved five times and not below one
    hidden = torch.tensor([[True, True, True, False]])
    assert method.paint(torch.randn(1, 3, 64, 64), hidden).shape == (1, 4, 3 * 32**2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["backbone=vit_tiny"], "spark masks maps of a convolutional network, which 'vit_tiny.*' is not"),
        (
            ["backbone=timm:gcresnext26ts", "data.image_size=64"],
            "operations of 'gcresnext26ts' see them",
        ),
        (["data.image_size=8"], r"hides cells of 8 px.* and images of 8 px .* take data\.image_size=16"),
        (["data.image_size=28"], r"hides cells of 8 px.* and images of 28 px .* take data\.image_size=32"),
        (["method.mask_ratio=0.99"], r"hides 9 of 3 x 3 patches.*take 0\.11 to 0\.89"),
        (["views=dino_small"], r"spark masks views of 24 px .*; take views=mae"),
    ],
)
def test_what_cannot_work_is_refused_when_the_method_is_made(settings: list[str], message: str) -> None:
    config = load_config("train", ["method=spark", *settings])
    with pytest.raises(UsageError, match=message):
        make_method(config, make_encoder(config), devices=1)


def test_another_backbone_than_the_methods_own_can_be_taken() -> None:
    assert load_config("train", ["method=spark"])["backbone"]["called"] == "resnet10"
    assert load_config("train", ["method=spark", "backbone=resnet18"])["backbone"]["called"] == "resnet18"
    assert load_config("train", ["method=mae"])["backbone"]["called"] == "vit_mini"


@pytest.mark.parametrize(
    ("backbone", "size", "said"),
    [
        (
            "coat_tiny",
            224,
            r"those of 'coat_tiny' cannot be masked \('list' object has no attribute 'shape'\)",
        ),
        ("convmixer_768_32", 56, r"a place of the last map of 'convmixer_768_32' has 7"),
    ],
)
def test_other_networks_are_refused_for_their_own_reason(backbone: str, size: int, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        build("method=spark", f"backbone={backbone}", f"data.image_size={size}")
