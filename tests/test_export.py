"""Exported encoders give the original's features, and the card says what the Hub reads."""

import json
import os
import sys
import zipfile
from pathlib import Path

import pytest
import timm
import torch
from huggingface_hub import ModelCard

from selfsup import build_encoder, load_encoder, save_encoder
from selfsup.commands import main
from selfsup.config import load_config
from selfsup.data import load_data, subset
from selfsup.errors import UsageError
from selfsup.evaluation.features.images import batches
from selfsup.export import FORMATS, Preprocessed, export, formats

DATA = Path(os.environ.get("SELFSUP_DATA", Path(__file__).parents[2] / "shared" / "data"))
ARCHITECTURES = {
    "resnet10t": {},
    "vit_tiny_patch16_224": {"patch_size": 16, "embed_dim": 48, "depth": 2, "num_heads": 3},
    "convnext_atto": {"depths": [1, 1, 1, 1], "dims": [16, 16, 32, 32]},
}


@pytest.fixture(scope="module")
def flowers() -> torch.Tensor:
    """uint8 (5, 3, 64, 64)."""
    if not (DATA / "flowers-val.parquet").is_file():
        pytest.skip(f"no flower photographs in {DATA}")
    settings = ["data=parquet", f"data.train={DATA / 'flowers-val.parquet'}", "data.in_memory=false"]
    source, _ = load_data(load_config("evaluate", ["encoder=x", *settings])["data"])
    return next(batches(subset(source, torch.arange(5)), torch.arange(5), 64, 5))[1]


def trained(name: str):
    """An encoder whose batch norms and layer scales are not those of an untrained one."""
    encoder = build_encoder(name, 64, ARCHITECTURES[name], seed=0)
    generator = torch.Generator().manual_seed(0)
    for key, value in encoder.state_dict().items():
        if "running_var" in key or key.endswith("gamma"):
            value.copy_(0.5 + torch.rand(value.shape, generator=generator))
        elif "running_mean" in key:
            value.copy_(0.3 * torch.randn(value.shape, generator=generator))
    return encoder.eval()


@pytest.mark.parametrize("format", list(FORMATS))
@pytest.mark.parametrize("name", list(ARCHITECTURES))
def test_features_of_flowers_are_the_originals(
    name: str, format: str, flowers: torch.Tensor, tmp_path: Path
) -> None:
    encoder = trained(name)
    reader = FORMATS[format](encoder, tmp_path / "out")
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (encoder.mean, encoder.std))
    with torch.no_grad():
        expected = encoder((flowers / 255 - mean) / std)
        assert expected.std(dim=0).mean() > 1e-3  # they tell images apart
        torch.testing.assert_close(reader(flowers), expected, atol=1e-4, rtol=0)
        torch.testing.assert_close(reader(flowers[:1]), expected[:1], atol=1e-4, rtol=0)


def contents(path: Path) -> list[bytes]:
    """A file's bytes, and those of the records in it."""
    whole = [path.read_bytes()]
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            whole += [archive.read(record) for record in archive.infolist()]
    return whole


@pytest.mark.parametrize("format", list(FORMATS))
def test_no_path_of_this_machine_is_in_what_was_written(format: str, tmp_path: Path) -> None:
    encoder = trained("vit_tiny_patch16_224")
    FORMATS[format](encoder, tmp_path / "out")
    files = [path for path in (tmp_path / "out", *(tmp_path / "out").rglob("*")) if path.is_file()]
    here = [Path.home(), Path.cwd(), tmp_path, Path(__file__).parents[1], *sys.path, sys.prefix]
    marks = [str(place).encode() for place in here if len(Path(place).parts) > 1] + [b"site-packages"]
    found = [mark for file in files for content in contents(file) for mark in marks if mark in content]
    assert files
    assert found == []


@pytest.mark.parametrize("format", ["timm", "torchscript", "pt2"])
def test_what_fails_leaves_nothing(format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        export(trained("resnet10t"), format, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_card_says_only_what_is_known(tmp_path: Path) -> None:
    foreign = load_encoder("timm:resnet10t")
    foreign.card = {"scores": {"a": 3, "b": {"accuracy": True, "value": "x"}}, "method": None}
    export(foreign, "timm", tmp_path / "out")
    text = (tmp_path / "out" / "README.md").read_text()
    assert "without labels" not in text
    assert "import selfsup" not in text
    small = export(build_encoder("resnet10_small", 32), "timm", tmp_path / "small")
    assert small < 1e-4
    assert "import selfsup" in (tmp_path / "small" / "README.md").read_text()


def test_the_command_writes_checks_and_overwrites_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = save_encoder(trained("vit_tiny_patch16_224"), tmp_path / "encoder", {"method": "mae"})
    assert main(["export", f"encoder={folder}", "format=pt2", "traceback=true"]) == 0
    assert "differ from the encoder's by" in capsys.readouterr().out
    assert main(["export", f"encoder={folder}", "format=pt2"]) == 2
    assert main(["export", f"encoder={folder}", "format=onxx"]) == 2
    (tmp_path / "empty").mkdir()
    assert main(["export", f"encoder={tmp_path / 'empty'}"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert "not overwritten" in said[0]
    assert "did you mean 'onnx'" in said[1]
    assert "is not an encoder" in said[2]
    program = torch.export.load(tmp_path / "encoder.pt2", extra_files=(extra := {"preprocessing.json": ""}))
    assert json.loads(extra["preprocessing.json"])["image_size"] == 64
    assert program.module()(torch.zeros(3, 3, 64, 64, dtype=torch.uint8)).shape == (3, 48)


def test_other_features_than_the_originals_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(encoder, out):
        return lambda images: Preprocessed(encoder)(images.flip(1))

    monkeypatch.setitem(formats.FORMATS, "wrong", wrong)
    with pytest.raises(UsageError, match="features that differ by"):
        export(trained("resnet10t"), "wrong", tmp_path / "out")


def test_timm_format_round_trip_and_card(tmp_path: Path) -> None:
    scores = {
        "knn": {"title": "kNN", "accuracy": True, "value": 0.5, "interval": [0.4, 0.6]},
        "rankme": {"title": "RankMe", "accuracy": False, "value": 12.0, "interval": None},
        "none": {"title": "linear", "accuracy": True, "value": None, "interval": None},
    }
    card = {"method": "barlow", "data": "flowers", "steps": 10, "scores": scores}
    first = load_encoder(save_encoder(trained("resnet10t"), tmp_path / "encoder", card))
    export(first, "timm", tmp_path / "published")
    again = load_encoder(tmp_path / "published")
    assert again.fingerprint() == first.fingerprint()
    assert again.card == first.card
    plain = timm.create_model(f"local-dir:{tmp_path / 'published'}", pretrained=True)
    assert all(torch.equal(plain.state_dict()[key], value) for key, value in first.model.state_dict().items())

    read = ModelCard.load(tmp_path / "published" / "README.md")
    assert read.data.library_name == "timm"
    assert read.data.pipeline_tag == "image-feature-extraction"
    (result,) = read.data.eval_results
    assert (result.metric_value, result.dataset_name) == (0.5, "flowers")
    assert "| kNN | 50.0 | 40.0 to 60.0 |" in read.text
    assert "features = encoder(transform(image).unsqueeze(0))  # (1, 512)" in read.text
