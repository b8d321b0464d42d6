"""Judging encoders of one or many channels, and of rectangles."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional as F

from selfsup.config import load_config
from selfsup.data import ImageArray
from selfsup.encoder import build_encoder
from selfsup.encoder.resizing import Resizing
from selfsup.errors import UsageError
from selfsup.evaluation import evaluate
from selfsup.evaluation.errors import NoScore
from selfsup.evaluation.features import parts
from selfsup.evaluation.features.frozen import FrozenEncoder, Pixels
from selfsup.evaluation.features.images import fit, fitting
from tests.views.plain import PLAIN


def images_of(n: int, channels: int, height: int, width: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (n, channels, height, width), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("shape", [(40, 60), (60, 40), (30, 200), (20, 40), (10, 10)])
def test_a_rectangle_is_covered_and_its_centre_kept(shape: tuple[int, int]) -> None:
    images, (tall, wide) = images_of(2, 4, *shape).float(), (20, 40)
    found = fit(images, (tall, wide))
    assert found.shape == (2, 4, tall, wide)
    by = max(tall / shape[0], wide / shape[1])
    resized = F.resize(
        images, [max(tall, round(shape[0] * by)), max(wide, round(shape[1] * by))], antialias=True
    )
    expected = F.center_crop(resized, [tall, wide])
    # torchvision rounds an odd rest up, and ours down.
    rest = [(resized.shape[-2] - tall) % 2, (resized.shape[-1] - wide) % 2]
    if not any(rest):
        torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize("size", [16, 24, 37])
def test_a_square_given_as_height_and_width_is_the_same(size: int) -> None:
    images = images_of(2, 3, 31, 50)
    assert torch.equal(fit(images, size), fit(images, (size, size)))


@pytest.mark.parametrize("channels", [1, 2, 5])
@pytest.mark.parametrize("size", [20, (16, 32)])
def test_foreign_preprocessing_is_pillows_on_each_channel(channels: int, size: Any) -> None:
    images = images_of(2, channels, 40, 64)
    found = fit(images, Resizing(size, "bicubic", 1.0, fill=(0,) * channels))
    whole = fit(images[:, :1].repeat(1, 3, 1, 1), Resizing(size, "bicubic", 1.0))
    assert torch.equal(found[:, 0], whole[:, 0])
    if size == (16, 32):
        picture = Image.fromarray(images[1, -1].numpy()).resize((32, 20), Image.Resampling.BICUBIC)
        assert np.array_equal(found[1, -1].numpy(), np.asarray(picture)[2:18])


@pytest.mark.parametrize(
    ("channels", "shape", "small"),
    [
        (1, (64, 64), (32, 32)),
        (3, (64, 64), (32, 32)),
        (3, (20, 24), (20, 24)),
        (3, (64, 128), (16, 32)),
        (12, (64, 64), (16, 16)),
        (16, (10, 10), (10, 10)),
    ],
)
def test_raw_pixels_of_many_channels_are_smaller(
    channels: int, shape: tuple[int, int], small: tuple[int, int]
) -> None:
    images = images_of(2, channels, *shape)
    found = Pixels(channels)(images)
    assert torch.equal(found, (fit(images, small) / 255).flatten(1))
    assert found.shape[1] <= 3 * 32**2


def test_turns_of_a_rectangle_are_refused() -> None:
    with pytest.raises(NoScore, match="16 x 32 px that are turned by 90 degrees have another shape"):
        parts.turns(Pixels(), images_of(2, 3, 16, 32), torch.arange(2))


def test_views_for_a_score_are_of_its_channels() -> None:
    frozen, images = Pixels(4), images_of(3, 4, 16, 32)
    plan = {"each": PLAIN | {"count": 1, "size": 1.0}, "small": PLAIN | {"size": 0.5}}
    found = parts.views(frozen, images, torch.arange(3), plan, count=2)
    torch.testing.assert_close(found, frozen(images)[:, None].expand(-1, 2, -1))
    with pytest.raises(UsageError, match="encoder's size of 16 x 32 px"):
        parts.whole_views({"small": PLAIN | {"size": 0.5}}, (16, 32), 2)


def test_three_bands_that_are_no_colours_have_views_of_bands() -> None:
    images, plan = images_of(3, 3, 8, 8), {"each": PLAIN | {"grey": 1.0}}
    grey, own = (
        parts.views(Pixels(), images, torch.arange(3), plan, 1, colours=each) for each in (True, False)
    )
    torch.testing.assert_close(own[:, 0], Pixels()(images))
    assert (grey[:, 0].unflatten(1, (3, -1)).diff(dim=1).abs() < 1e-6).all()


@pytest.mark.parametrize(("channels", "size"), [(1, 16), (4, [16, 32])])
def test_an_encoder_is_judged_beside_its_controls(channels: int, size: Any) -> None:
    encoder = build_encoder(
        "resnet10_small", size, mean=[0.4] * channels, std=[0.2] * channels, channels=channels
    )
    labels = torch.arange(24) % 2
    pixels = images_of(24, channels, 20, 40) // 4
    pixels[labels == 1, -1, :, 20:] += 100
    train, test = ImageArray(pixels, labels), ImageArray(pixels.flip(0), labels.flip(0))
    names = ["knn", "rotation", "alignment"]
    config = load_config("evaluate", ["encoder=run", f"protocols=[{','.join(names)}]", "data=digits"])
    data = config["data"] | {"channels": channels, "workers": 0}
    found = evaluate(encoder, train, test, data, protocols=config["protocols"])
    roles = {row["role"]: row for row in found["rows"]}
    assert roles.keys() == {"encoder", "untrained", "pixels", "pca"}
    assert roles["pixels"]["scores"]["knn"]["value"] == 1.0
    assert roles["pixels"]["preprocessing"]["mean"] == [0.0] * channels
    assert found["preprocessing"]["image_size"] == size
    assert roles["encoder"]["scores"]["alignment"]["value"] >= 0
    reason = roles["encoder"]["scores"]["rotation"].get("reason")
    assert (reason is not None) == (size == [16, 32])


def test_how_images_are_fitted_can_be_looked_up() -> None:
    """Images are read once for all encoders that see them alike."""
    wide = build_encoder("resnet10_small", [16, 32])
    assert fitting(wide) == (16, 32)
    assert len({fitting(wide), fitting(build_encoder("resnet10_small", 16)), Resizing((16, 32))}) == 3
    normalised = FrozenEncoder(wide, wide.mean, wide.std).normalised(images_of(1, 3, 16, 32))
    assert normalised.shape == (1, 3, 16, 32)
