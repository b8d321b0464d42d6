"""What is advised for images that are known, and why."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from selfsup.build import make_encoder
from selfsup.commands import main
from selfsup.config import load_config
from selfsup.data import ImageArray
from selfsup.evidence import Measured, measured
from selfsup.run import advice
from selfsup.run.advice import Advice, advise
from selfsup.views import view_kinds


def photographs(folder: Path, count: int, side: int, upright: bool, copies: int = 0) -> Path:
    """Noise, brighter at the top if it is to have an upright."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    light = np.linspace(150, 0, side)[:, None, None] if upright else 0
    for i in range(count):
        pixels = (generator.integers(0, 100, (side, side, 3)) + light).astype(np.uint8)
        for name in range(1 + (i < copies)):
            Image.fromarray(pixels).save(folder / f"{i}-{name}.png")
    return folder


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step takes half a second, and none is made."""
    monkeypatch.setattr(advice, "seconds_a_step", lambda config, encoder, source: 0.5)


def advised(folder: Path, capsys: pytest.CaptureFixture[str], *settings: str) -> str:
    assert main(["advise", "data=folder", f"data.root={folder}", *settings]) == 0
    return capsys.readouterr().out


def test_size_upright_and_copies_are_read_off_the_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = photographs(tmp_path / "a", 80, side=40, upright=True, copies=30)
    told = advised(folder, capsys)
    assert "data.image_size=64 " in told
    assert "data.turns=false, as it is" in told
    assert "images repeat another exactly" in told
    assert "data.channels=1" not in told


def test_images_without_an_upright_are_not_said_to_have_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = advised(photographs(tmp_path / "a", 80, side=32, upright=False), capsys)
    assert "no upright shows" in told
    assert "data.image_size=32 " in told


def test_what_is_typed_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = photographs(tmp_path / "a", 80, side=40, upright=True)
    told = advised(folder, capsys, "data.image_size=48", "data.turns=false", "minutes=1")
    assert "half of" not in told
    assert "upright" not in told
    command = next(line for line in told.splitlines() if line.startswith("Train:"))
    assert "data.image_size=48 data.turns=false" in command
    # 60 s at half a second are 120 steps of one batch an epoch, too few.
    assert "trainer.max_epochs=120" in command
    assert "fewer than the 1,000 steps" in told


def test_the_advised_command_is_a_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = advised(photographs(tmp_path / "a", 80, side=100, upright=True), capsys, "by=knn")
    command = next(line for line in told.splitlines() if line.startswith("Train:"))
    settings = [each for each in command.split() if "=" in each]
    config = load_config("train", settings)
    assert config["data"]["image_size"] == 64
    best = max(measured("cifar10-cpu"), key=lambda row: row.knn)
    assert f"experiment={best.experiment}" in settings
    assert config["method"]["name"] == best.method
    assert f"backbone {config['backbone']['name']} " in told
    assert f"views {', '.join(view_kinds(config['views']))} " in told


def test_of_methods_that_cannot_be_told_apart_the_quickest_is_advised(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def row(name: str, linear: float, minutes: float) -> Measured:
        interval = (linear - 0.02, linear + 0.02)
        return Measured("x", name, f"x_{name}", 100, 5, 1, minutes, linear, interval, 0.3, 0.5, (0, 1), 0.2)

    rows = [row("slow", 0.90, 30), row("quick", 0.87, 10), row("worse", 0.80, 1)]
    monkeypatch.setattr(advice, "measured", lambda suite: rows)
    monkeypatch.setitem(advice.TITLES, "x", "some images")
    found = Advice()
    assert advice._method(found, "x", "linear", 32).method == "quick"
    assert "slow cannot be told apart" in found.lines[0][1]
    assert "worse" not in found.lines[0][1]


def test_grey_images_of_few_pixels_are_likened_to_digits() -> None:
    generator = torch.Generator().manual_seed(0)
    grey = torch.randint(0, 256, (80, 1, 8, 8), generator=generator, dtype=torch.uint8).expand(-1, 3, -1, -1)
    found = advise(
        ImageArray(grey.contiguous(), None),
        ["data=digits"],
        by="linear",
        minutes=None,
        images=50,
        seed=0,
        gpu=False,
    )
    assert "data.channels=1" in found.settings
    assert any(each.startswith("experiment=digits_") for each in found.settings)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["by=accuracy"], "take linear or knn"),
        (["data=folder", "data.root=nowhere"], "there is no 'nowhere'"),
        (["minutes=0"], "minutes is 0"),
        (["images=3"], "images is 3"),
    ],
)
def test_settings_that_cannot_be(settings: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["advise", *settings]) == 2
    assert words in capsys.readouterr().err


def test_a_real_step_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    pixels = torch.randint(0, 256, (16, 3, 8, 8), dtype=torch.uint8)
    source = ImageArray(pixels, None)
    config = load_config(
        "train", ["method=simclr", "batch_size=8", "backbone.model_args.depth=1", "data.image_size=16"]
    )
    assert 0 < advice.seconds_a_step(config, make_encoder(config), source) < 60
