"""Encoders of 1 to 16 channels and of rectangles: built, saved, read by timm, begun from, exported."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch

from selfsup import UsageError, build_encoder, load_encoder, save_encoder
from selfsup.encoder import start_from
from selfsup.encoder.card_text import write_model_card
from selfsup.encoder.start import fit_channels
from selfsup.export.formats import Preprocessed, export, preprocessing

VIT: dict[str, Any] = {"patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 2}
MADE: dict[str, tuple[str, int | list[int], int, dict[str, Any], str]] = {
    "a rectangle of four": ("vit_tiny_patch16_224", [16, 32], 4, VIT, "learned"),
    "a rectangle of colours": ("vit_tiny_patch16_224", [32, 16], 3, VIT, "sincos"),
    "grey": ("resnet10_small", 16, 1, {}, "learned"),
    "relative positions": ("beit_base_patch16_224", [16, 32], 16, VIT, "learned"),
    "merged patches": (
        "swin_tiny_patch4_window7_224",
        [32, 64],
        2,
        {"depths": [1, 1, 1, 1], "embed_dim": 24, "window_size": 2, "num_heads": [1, 2, 2, 2]},
        "learned",
    ),
}


@pytest.mark.parametrize("kind", MADE)
@torch.no_grad()
def test_saved_it_is_the_same_here_and_in_timm(kind: str, tmp_path: Path) -> None:
    name, size, channels, args, positions = MADE[kind]
    mean, std = [0.1 * (k % 9) for k in range(channels)], [0.2 + 0.01 * k for k in range(channels)]
    encoder = build_encoder(name, size, args, positions, mean, std, seed=0, channels=channels).eval()
    images = torch.randn(2, channels, *encoder.input_size)
    save_encoder(encoder, tmp_path / "encoder")
    again = load_encoder(tmp_path / "encoder").eval()
    assert torch.equal(again(images), encoder(images))
    assert (again.recipe, again.mean, again.std, again.channels) == (
        encoder.recipe,
        tuple(mean),
        tuple(std),
        channels,
    )
    assert again.fingerprint() == encoder.fingerprint() == again.card["fingerprint"]
    assert again.probe() == pytest.approx(again.card["features_of_fixed_input"], abs=1e-6)
    theirs = timm.create_model(f"local-dir:{tmp_path / 'encoder'}", pretrained=True).eval()
    torch.testing.assert_close(theirs(images), encoder(images))
    assert tuple(theirs.pretrained_cfg["input_size"]) == (channels, *encoder.input_size)
    assert list(theirs.pretrained_cfg["mean"]) == mean
    text = write_model_card(tmp_path / "encoder").read_text()
    assert f"{encoder.input_size[0]} x {encoder.input_size[1]} pixels" in text
    assert ("create_transform" in text) == (channels == 3)


def test_positions_of_a_rectangle_are_resized_as_one() -> None:
    """From 2 x 4 to 4 x 8 patches, and to 8 x 2, which has as many as 4 x 4."""
    encoder = build_encoder("vit_tiny_patch16_224", [16, 32], VIT, seed=0)
    table = encoder.model.pos_embed[:, 1:].unflatten(1, (2, 4)).permute(0, 3, 1, 2)
    rows = torch.nn.functional.interpolate(table, (4, 8), mode="bicubic", antialias=True)
    from timm.layers.pos_embed import resample_abs_pos_embed

    found = resample_abs_pos_embed(encoder.model.pos_embed, [4, 8], [2, 4])[:, 1:]
    torch.testing.assert_close(found.unflatten(1, (4, 8)).permute(0, 3, 1, 2), rows)


def test_weights_of_colours_begin_images_of_other_channels(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    encoder = build_encoder("vit_tiny_patch16_224", 32, VIT, seed=0).eval()
    folder = save_encoder(encoder, tmp_path / "encoder")
    grey = start_from(str(folder), 32, channels=1, mean=[0.4], std=[0.2]).eval()
    assert (grey.channels, grey.mean, grey.std) == (1, (0.4,), (0.2,))
    assert "is of 3 channels: 'patch_embed.proj.weight' is fitted to images of 1" in caplog.text
    image = torch.randn(2, 1, 32, 32)
    torch.testing.assert_close(grey(image), encoder(image.expand(-1, 3, -1, -1)), atol=1e-5, rtol=1e-4)
    six = start_from(str(folder), [16, 32], channels=6, mean=[0.4] * 6, std=[0.2] * 6).eval()
    assert (six.channels, six.grid) == (6, (2, 4))
    colours = torch.randn(2, 3, 16, 32)
    rectangle = start_from(str(folder), [16, 32]).eval()
    assert rectangle.mean == encoder.mean
    torch.testing.assert_close(six(colours.repeat(1, 2, 1, 1)), rectangle(colours), atol=1e-5, rtol=1e-4)


def test_fitted_channels_are_timms() -> None:
    weight = torch.randn(5, 3, 2, 2)
    for channels in (1, 2, 4, 7):
        theirs = timm.models.adapt_input_conv(channels, weight)
        torch.testing.assert_close(fit_channels(weight, channels), theirs)


def test_exported_it_takes_its_channels(tmp_path: Path) -> None:
    encoder = build_encoder("vit_tiny_patch16_224", [16, 32], VIT, channels=4, seed=0)
    assert export(encoder, "timm", tmp_path / "out") < 1e-4
    assert preprocessing(encoder)["input"] == "uint8 (N, 4, 16, 32); normalised inside"
    images = torch.randint(0, 256, (2, 4, 16, 32), dtype=torch.uint8)
    mean, std = (torch.tensor(values).view(4, 1, 1) for values in (encoder.mean, encoder.std))
    expected = encoder.eval()((images.float() / 255 - mean) / std)
    torch.testing.assert_close(Preprocessed(encoder).eval()(images), expected, atol=1e-4, rtol=1e-4)


def test_what_cannot_be_is_said_first() -> None:
    with pytest.raises(
        UsageError, match=r"images of 17 channels are not supported; 1 to 16 are \(data\.channels\)"
    ):
        build_encoder("resnet10_small", 16, channels=17)
    with pytest.raises(UsageError, match=r"leave out model_args\.in_chans"):
        build_encoder("resnet10_small", 16, {"in_chans": 4})
    with pytest.raises(UsageError, match="patches of 8 px do not tile images of 16 x 36 px"):
        build_encoder("vit_tiny_patch16_224", [16, 36], VIT)
    with pytest.raises(UsageError, match="supports square images only, and these are 16 x 64 px"):
        build_encoder("convit_tiny", [16, 64], {"patch_size": 8})
    with pytest.raises(UsageError, match=r"cannot take views of 16 x 32 px .*dynamic_img_size=true"):
        build_encoder("vit_tiny_patch16_224", 32, VIT).require_size((16, 32))
