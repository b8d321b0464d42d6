"""Pictures of any channels and shapes in a report: grey, colours, or false colours, which are said."""

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from selfsup.commands import main
from selfsup.data import ImageArray
from selfsup.encoder import build_encoder
from selfsup.report.gallery import denormalised, make_gallery, sample
from selfsup.report.insight import insight
from selfsup.report.pictures import data_uri, enlarged, false_colours, figure, framed, over, sheet_of, visible
from selfsup.run.share import _named


def images_of(n: int, channels: int, height: int = 8, width: int = 12) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (n, channels, height, width), dtype=torch.uint8, generator=generator)


def decoded(uri: str) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB"))


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 16])
def test_what_is_seen(channels: int) -> None:
    images = images_of(2, channels)
    seen = visible(images)
    assert seen.shape == (2, 3, 8, 12)
    for colour in range(3):
        if channels == 1:
            assert torch.equal(seen[:, colour], images[:, 0])
        elif colour < channels:
            assert torch.equal(seen[:, colour], images[:, colour])
        else:
            assert not seen[:, colour].any()
    assert np.array_equal(decoded(data_uri(images[0])), seen[0].permute(1, 2, 0).numpy())
    said = false_colours(channels)
    assert (said == "") == (channels in (1, 3))
    assert str(channels) in said or channels < 4
    assert _named("views", channels) == f"views (f{said[1:-1]})" if said else "views"


def test_shapes() -> None:
    images = images_of(3, 4, 8, 12)
    assert figure(images[0], "a")["side"] == 12
    assert enlarged(images, (16, 36)).shape == (3, 4, 16, 36)
    assert torch.equal(enlarged(images, (16, 36))[..., ::2, ::3], images)
    assert over(images, torch.rand(3, 2, 3)).shape == (3, 3, 8, 12)
    assert sheet_of(visible(images).view(1, 3, 3, 8, 12)).shape == (3, 10, 42)
    tiles = framed(images, 12, 12)
    assert torch.equal(tiles[..., 2:10, :], images)
    assert (tiles[..., :2, :] == 128).all()


@pytest.mark.parametrize(("channels", "size"), [(1, 16), (4, [8, 24])])
def test_the_gallery_of_an_encoder(channels: int, size: Any) -> None:
    args = {"img_size": size, "patch_size": 4, "depth": 1, "embed_dim": 32, "num_heads": 2}
    encoder = build_encoder(
        "vit_tiny_patch16_224", size, args, mean=[0.4] * channels, std=[0.2] * channels, channels=channels
    )
    images = images_of(20, channels, 8, 24)
    gallery = make_gallery(encoder, ImageArray(images), images=12, gflops=100.0)
    side = 16 if channels == 1 else 24
    assert gallery.tiles.shape == (12, 3, side, side)
    assert gallery.channels == channels
    if channels == 4:
        assert torch.equal(gallery.tiles[0, :, 8:16], images[0, :3])
    seen = sample(ImageArray(images), 2, (8, 24))[0]
    normalised = (seen / 255 - 0.4) / 0.2
    assert torch.equal(denormalised(normalised, encoder), seen)
    rows = insight(encoder, ImageArray(images))
    assert rows is not None
    assert [len(row["figures"]) for row in rows["rows"]] == [6, 6, 6]
    shapes = {decoded(picture["src"]).shape for row in rows["rows"] for picture in row["figures"]}
    assert shapes == ({(160, 160, 3)} if channels == 1 else {(53, 160, 3)})


def test_a_report_says_which_channels_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    images = images_of(60, 4, 16, 32).permute(0, 2, 3, 1).numpy()
    images[:30] //= 3
    np.save("images.npy", images)
    np.save("labels.npy", np.arange(60) // 30)
    small = ("vit_mini", "depth=1", "embed_dim=16", "num_heads=2")
    settings = [f"backbone={small[0]}", *(f"backbone.model_args.{each}" for each in small[1:])]
    data = ["data=arrays", "data.images=images.npy", "data.labels_file=labels.npy", "data.channels=4"]
    done = ["trainer.max_steps=1", "batch_size=8", "data.image_size=[12,24]", "evaluate=false", "name=run"]
    assert main(["train", "method=mae", *settings, *data, *done, "data.workers=0", "online=none"]) == 0
    page = Path("runs/run/report.html").read_text(encoding="utf-8")
    assert page.count("False colours: channels 1, 2 and 3 of 4 as red, green and blue.") >= 3
    assert "12 x 24 px" in page
