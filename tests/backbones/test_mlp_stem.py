"""A stem that turns each patch into a token by a network of its own."""

from pathlib import Path

import pytest
import timm
import torch

import selfsup
from selfsup.backbones.mlp_stem import MlpPatchEmbed
from selfsup.build import make_encoder, make_method
from selfsup.config import load_config
from selfsup.errors import UsageError

SMALL = ["method=mae", "backbone.stem=mlp", "data.image_size=32", "batch_size=8"]


@pytest.mark.parametrize("patch", [2, 4, 8, 16])
def test_a_token_depends_on_its_own_patch_alone(patch: int) -> None:
    torch.manual_seed(0)
    stem = MlpPatchEmbed(32, patch, embed_dim=16).eval()
    images = torch.randn(1, 3, 32, 32)
    images_ = images.clone()
    images_[0, :, patch : 2 * patch, :patch] += 1  # the first patch of the second row
    changed = (stem(images) != stem(images_)).any(dim=2)[0]
    assert changed.nonzero().flatten().tolist() == [32 // patch]


def test_all_of_a_patch_reaches_its_token() -> None:
    stem = MlpPatchEmbed(16, 16, embed_dim=16).double()
    image = torch.randn(1, 3, 16, 16, dtype=torch.float64, requires_grad=True)
    stem(image).square().sum().backward()
    assert image.grad is not None
    assert (image.grad != 0).all()


def test_it_trains_is_saved_and_timm_reads_it(tmp_path: Path) -> None:
    config = load_config("train", SMALL)
    encoder = make_encoder(config)
    assert encoder.recipe["name"] == "vit_tiny_mlp_stem"
    method = make_method(config, encoder, devices=1)
    selfsup.save_encoder(method.learned_encoder().eval(), tmp_path / "encoder")
    read = timm.create_model(f"local-dir:{tmp_path / 'encoder'}", pretrained=True).eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(read(images), method.learned_encoder().eval()(images))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["backbone.stem=conv"], "backbone.stem is 'conv'; it has to be linear or mlp"),
        (
            ["backbone.stem=mlp", "data.image_size=30", "backbone.model_args.patch_size=6"],
            "2, 4, 8, 16 or 32 px",
        ),
    ],
)
def test_what_it_cannot_be_is_refused(settings: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make_encoder(load_config("train", ["method=mae", *settings]))
