"""Every method on pictures of 2:1 and of 1 or 4 channels: a step, what it shows and what it masks."""

import math

import pytest
import torch

from selfsup.build import make_encoder, make_method
from selfsup.config import options
from selfsup.methods.base import Method
from selfsup.methods.batch import Batch
from selfsup.methods.decoders import jepa_predictor, mae_decoder
from tests.methods.building import SMALL, composed, fitting

SIZE = (16, 32)
CHANNELS = {"simmim": 1, "mae": 1, "spark": 1}  # of the others 4


def made(name: str, channels: int, *settings: str) -> Method:
    config = composed(*fitting(*SMALL, f"method={name}", *settings))
    config["data"] |= {
        "image_size": list(SIZE),
        "channels": channels,
        "mean": [0.5] * channels,
        "std": [0.25] * channels,
    }
    return make_method(config, make_encoder(config), devices=1)


def pictures_of(method: Method, n: int = 4) -> Batch:
    """A batch of noise that is somewhat larger than the views."""
    shape, generator = (n, method.encoder.channels, 20, 36), torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    return method.batch({"image": images, "index": torch.arange(n), "epoch": 0, "label": torch.arange(n) % 2})


@pytest.mark.parametrize("name", options("method"))
def test_a_step_on_a_rectangle(name: str) -> None:
    channels = CHANNELS.get(name, 4)
    method = made(name, channels)
    assert (method.encoder.input_size, method.encoder.channels) == (SIZE, channels)
    batch = pictures_of(method)
    loss = method(batch).loss
    loss.backward()
    learned = [p.grad for p in method.parameters() if p.requires_grad]
    assert loss.isfinite()
    assert all(grad is not None and grad.isfinite().all() for grad in learned)
    method.forget()
    with torch.no_grad():
        assert "backbone" in method.observe(batch)
        pictures, regions = method.pictures(batch), method.regions(batch)
    for title, shown in pictures.items():
        assert tuple(shown.shape[-2:]) == SIZE or tuple(shown.shape[-2:]) == method.encoder.grid, title
    if regions:
        assert {len(each[0]) for each in regions.values()} == {
            math.prod(method.mask.grid if name == "spark" else method.encoder.grid)  # type: ignore[union-attr]
        }


@pytest.mark.parametrize("name", ["mae", "simmim", "gmml", "spark"])
def test_what_is_painted_stands_in_its_place(name: str) -> None:
    """The picture of what is painted is the image itself where nothing is hidden."""
    method = made(name, 2)
    batch = pictures_of(method)
    with torch.no_grad():
        image, seen, painted = method.pictures(batch).values()
    kept = torch.isclose(image, seen).flatten(2).all(1)
    assert 0.1 < kept.float().mean() < 0.9
    same = torch.isclose(image, painted).flatten(2).all(1)
    assert same[kept].all()
    assert not same.all()


def test_decoders_know_rows_from_columns() -> None:
    """Positions of a grid of 2 x 8, which lightly would take for 4 x 4, by MAE's formula."""
    for decoder, prefix in (
        (mae_decoder((2, 8), 1, 16, 1, 2), 1),
        (jepa_predictor((2, 8), 8, 16, 1, 2).decoder, 0),
    ):
        table = decoder.pos_embed[0, prefix:]
        frequency = 10000.0 ** (-torch.arange(4) / 4)
        for row, column in ((0, 5), (1, 0), (1, 7)):
            angles = torch.cat([column * frequency, row * frequency]).view(2, 4)
            expected = torch.stack([angles.sin(), angles.cos()], dim=1).flatten()
            torch.testing.assert_close(table[row * 8 + column], expected, atol=1e-5, rtol=0)
        assert not decoder.pos_embed.requires_grad
        assert not decoder.pos_embed[0, :prefix].any()


def test_decoders_of_squares_are_lightlys() -> None:
    from lightly.models.modules.masked_vision_transformer_decoder_timm import (
        MaskedVisionTransformerDecoderTIMM,
    )

    torch.manual_seed(0)
    ours = mae_decoder((4, 4), 1, 16, 1, 2).state_dict()
    torch.manual_seed(0)
    theirs = MaskedVisionTransformerDecoderTIMM(16, 16, 1, 2, 1).state_dict()
    assert all(torch.equal(ours[name], value) for name, value in theirs.items())
