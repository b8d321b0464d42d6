"""The contact sheet shows what the first step of training sees."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from PIL import Image

from selfsup.build import make_encoder, make_method
from selfsup.commands import main
from selfsup.config import load_config
from selfsup.data import ImageArray, ImageFiles
from selfsup.data.batches import make_order, training_loader
from selfsup.methods.batch import step_generator
from selfsup.run.contact_sheet import HIDDEN, contact_sheet

SMALL = ("backbone.model_args.depth=1", "backbone.model_args.embed_dim=32", "backbone.model_args.num_heads=2")
ROWS = 3


def noise(n: int, height: int = 10, width: int = 10) -> torch.Tensor:
    generator = torch.Generator().manual_seed(n)
    return torch.randint(0, 256, (n, 3, height, width), dtype=torch.uint8, generator=generator)


def build(*overrides: str) -> Any:
    config = load_config("views-command", [*SMALL, "batch_size=8", *overrides])
    return make_method(config, make_encoder(config), devices=1)


def first_step(method: Any, source: Any) -> tuple[list[torch.Tensor], Any]:
    """The views that the loss of a run's first step gets, and what the method masked in it."""
    seen: dict[str, Any] = {}
    loss = method.loss
    mask = {"mask", "blocks"} & set(dir(method))

    def watch(batch: Any) -> Any:
        seen.setdefault("views", [view.clone() for view in batch.views])
        return loss(batch)

    for name in mask:
        own = getattr(method, name)

        def record(*arguments: Any, own: Any = own) -> Any:
            return seen.setdefault("masks", own(*arguments))

        setattr(method, name, record)
    method.loss = watch
    settings: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = pl.Trainer(max_steps=1, accelerator="cpu", enable_model_summary=False, **settings)
    order = make_order(source, 8, method.views.seed)
    trainer.fit(method, training_loader(source, method.views, order, workers=0))
    return seen["views"], seen.get("masks")


def is_on(sheet: np.ndarray, picture: np.ndarray) -> bool:
    """Whether the picture is somewhere on the sheet, pixel by pixel."""
    height, width = picture.shape[:2]
    room = sheet[: len(sheet) - height + 1, : sheet.shape[1] - width + 1]
    corner = (room == picture[0, 0]).all(axis=2)
    return any(
        np.array_equal(sheet[y : y + height, x : x + width], picture) for y, x in np.argwhere(corner).tolist()
    )


def enlarged(view: torch.Tensor, method: Any, factor: int) -> np.ndarray:
    """uint8 of a normalised view, its first three channels or its only one as grey, each pixel a square."""
    plan = method.views
    pixels = view.permute(1, 2, 0) * torch.tensor(plan.std) + torch.tensor(plan.mean)
    values = (pixels * 255).round().clamp(0, 255).byte().numpy()
    values = values[:, :, :3] if values.shape[2] > 1 else values.repeat(3, 2)
    return values.repeat(factor, 0).repeat(factor, 1)


@pytest.mark.parametrize(("channels", "name"), [(1, "mae"), (4, "mae"), (5, "simclr")])
def test_rectangles_and_channels_that_are_not_colours(channels: int, name: str) -> None:
    values = ",".join(["0.5"] * channels)
    settings = (f"data.channels={channels}", f"data.mean=[{values}]", f"data.std=[{values}]")
    method = build(f"method={name}", "data.image_size=[12,24]", "data.drop=0.5", "data.noise=0.1", *settings)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (20, channels, 20, 30), dtype=torch.uint8, generator=generator)
    source = ImageArray(images)
    sheet = np.array(contact_sheet(method, source, ["one", "two"][: len(method.views)], 8, 1, ROWS, "t")[0])
    views, masks = first_step(method, source)
    factor = 192 // 24
    for view in views:
        assert all(is_on(sheet, enlarged(image, method, factor)) for image in view[:ROWS])
    if name == "mae":
        covered, patch = enlarged(views[0][0], method, factor).copy(), method.encoder.patch_size * factor
        for number in masks[1][0].nonzero().flatten().tolist():
            top, left = (place * patch for place in divmod(number, 24 * factor // patch))
            covered[top : top + patch, left : left + patch] = HIDDEN
        assert is_on(sheet, covered)
    # The colours are said in a line of its own at the bottom.
    assert bool((sheet[-20:] != 255).any()) or channels == 1


@pytest.mark.parametrize("name", ["dino", "mae"])
def test_views_and_masks_are_those_of_the_first_step(name: str) -> None:
    source, method = ImageArray(noise(20)), build(f"method={name}")
    names = ["first", "second", "1", "2", "3", "4"] if name == "dino" else ["each"]
    sheet = np.array(contact_sheet(method, source, names, 8, 1, ROWS, "title")[0])
    views, masks = first_step(method, source)
    factor = 192 // max(max(method.views.sizes))
    for view in views:
        shown = [is_on(sheet, enlarged(image, method, factor)) for image in view[: ROWS + 1]]
        assert shown == [True] * ROWS + [False]
    if name == "mae":
        hidden = masks[1][:ROWS]
        for image, patches in zip(views[0], hidden, strict=False):
            patch = method.encoder.patch_size
            side = image.shape[1] // patch
            covered = enlarged(image, method, factor).copy()
            for number in patches.nonzero().flatten().tolist():
                top, left = (place * patch * factor for place in divmod(number, side))
                covered[top : top + patch * factor, left : left + patch * factor] = HIDDEN
            assert is_on(sheet, covered)


def test_regions_of_jepa_are_its_blocks() -> None:
    method = build("method=jepa")
    context, targets = method.blocks(5, step_generator(method.seed, 0), torch.device("cpu"))
    pixels = torch.zeros(5, 3, 10, 10, dtype=torch.uint8)
    regions = method.regions(method.batch({"image": pixels, "index": torch.arange(5)}))
    assert list(regions) == ["context", "target 1", "target 2", "target 3", "target 4"]
    for row in range(5):
        assert regions["context"][row].nonzero().flatten().tolist() == context[row].tolist()
        for number, block in enumerate(targets, 1):
            assert regions[f"target {number}"][row].nonzero().flatten().tolist() == block[row].tolist()
    source = ImageArray(noise(20))
    sheet, _ = contact_sheet(method, source, ["each"], 8, 1, ROWS, "title")
    assert sheet.height > ROWS * 192


def test_images_of_any_shape_with_one_that_is_broken(tmp_path: Path) -> None:
    paths = []
    for i, (height, width) in enumerate([(30, 90), (200, 20), (24, 24), (1, 40), (8, 8), (50, 50), (9, 9)]):
        path = tmp_path / f"{'long ' * 20}\n{i}.png"
        Image.fromarray(noise(1, height, width)[0].permute(1, 2, 0).numpy()).save(path)
        paths.append(str(path))
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    method = build("method=simclr")
    source = ImageFiles([*paths, str(broken)])
    sheet, skipped = contact_sheet(method, source, ["one", "two"], 8, 1, 8, "title")
    assert [name for name, _ in skipped] == [str(broken)]
    assert sheet.height > 8 * 192


def test_the_command_writes_a_picture_and_never_over_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    small = ["views", *SMALL, "method=mae", "images=2", "batch_size=8"]
    assert main(small) == main(small) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "views-mae-digits-2.png",
        "views-mae-digits.png",
    ]
    assert "The contact sheet is in views-mae-digits.png" in capsys.readouterr().out
    with Image.open("views-mae-digits.png") as picture:
        assert picture.format == "PNG"
    for overrides, words in {
        ("out=views-mae-digits.png",): "exists and is not overwritten; name another, or set overwrite=true",
        ("out=sheet.jpg",): "for a contact sheet, end the name in .png",
        ("out=no/folder/x.png",): "there is no folder",
        ("file=sheet.png",): "no setting 'file'",
        ("resume=runs/latest",): "leave resume= out",
        ("from=runs/latest",): "leave from= out",
        ("images=0",): "images is 0",
    }.items():
        assert main([*small, *overrides]) == 2
        said = capsys.readouterr().err
        assert words in said
        assert said.count("\n") == 1


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.png").mkdir()
    small = ["views", *SMALL, "method=mae", "images=2", "batch_size=8", "overwrite=true"]
    assert main([*small, f"out={tmp_path / 'x.png'}"]) == 2
    assert "cannot write" in capsys.readouterr().err


def test_five_images_are_enough_and_a_folder_takes_the_sheet(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("images", "sheets"):
        (tmp_path / name).mkdir()
    for i in range(5):
        picture = Image.fromarray(noise(i + 1, 40, 30)[0].permute(1, 2, 0).numpy())
        picture.save(tmp_path / "images" / f"{i}.png")
    data = ["data=folder", f"data.root={tmp_path / 'images'}", "data.image_size=32", "data.workers=0"]
    for devices in (1, 8):  # more than there are images
        given = [f"out={tmp_path / 'sheets'}", f"trainer.devices={devices}", "trainer.accelerator=cpu"]
        assert main(["views", *SMALL, "method=mae", *data, *given, "traceback=true"]) == 0
        assert "training on these 4 images needs a batch_size of" in capsys.readouterr().out
    with Image.open(tmp_path / "sheets" / "views-mae-folder.png") as first:
        assert first.height > 4 * 192
        with Image.open(tmp_path / "sheets" / "views-mae-folder-2.png") as second:
            assert first.tobytes() == second.tobytes()
