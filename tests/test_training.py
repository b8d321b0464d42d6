"""Whole runs: a few steps of each method, the folder they leave, and going on with them."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file

from selfsup import load_encoder
from selfsup.callbacks.checkpoint_files import newest_intact, read_checkpoint
from selfsup.commands import main
from selfsup.config import load_config

SMALL = (
    "backbone.model_args.depth=2",
    "backbone.model_args.embed_dim=32",
    "backbone.model_args.num_heads=2",
    "trainer.log_every_n_steps=1",
    "report=false",
)


def run(tmp_path: Path, *overrides: str) -> int:
    return main(["train", f"out={tmp_path}", "traceback=true", *SMALL, *overrides])


@pytest.mark.parametrize("method", ["barlow", "mae"])
def test_a_run_leaves_an_encoder_that_timm_loads(
    method: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, f"method={method}", "trainer.max_steps=3", "name=one") == 0
    folder = tmp_path / "one"
    assert (tmp_path / "latest").resolve() == folder.resolve()
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [1, 2, 3]
    assert all(torch.isfinite(torch.tensor(float(row["loss"]))) for row in rows)

    encoder = load_encoder(folder / "encoder").eval()
    plain = timm.create_model(f"local-dir:{folder / 'encoder'}", pretrained=True).eval()
    images = torch.randn(4, 3, 24, 24)
    with torch.no_grad():
        torch.testing.assert_close(plain(images), encoder(images), atol=1e-6, rtol=0)
        probe = torch.tensor(encoder.card["features_of_fixed_input"])
        torch.testing.assert_close(torch.tensor(encoder.probe()), probe, atol=1e-4, rtol=1e-4)

    results = json.loads((folder / "results.json").read_text())
    assert [row["name"] for row in results["rows"]] == ["encoder", "untrained", "pixels", "pixels, PCA"]
    assert results["encoder"] == encoder.fingerprint()
    shown = capsys.readouterr().out
    for word in ("kNN", "linear", "5-shot", "RankMe", "untrained", "pixels", str(folder / "encoder")):
        assert word in shown


def test_the_teacher_is_what_dino_hands_over(tmp_path: Path) -> None:
    run(tmp_path, "method=dino", "trainer.max_steps=3", "name=one", "evaluate=false")
    saved = load_file(tmp_path / "one" / "encoder" / "model.safetensors")
    newest, _ = newest_intact(tmp_path / "one")
    assert newest is not None
    checkpoint = read_checkpoint(newest)["state_dict"]
    assert all(
        torch.equal(value, checkpoint[f"teacher.module.0.model.{key}"]) for key, value in saved.items()
    )
    assert any(not torch.equal(value, checkpoint[f"encoder.model.{key}"]) for key, value in saved.items())


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["batch_size=5000"], "larger than the data"),
        (["data=folder", "data.root=nowhere"], "there is no 'nowhere'"),
        (["method=mae", "backbone=resnet18"], "needs patch tokens"),
        (["method=barlow", "trainer.accumulate_grad_batches=2"], "raise batch_size"),
        (["backbone.model_args.num_heads=5"], "cannot be built"),
        (["backbone=vgg11"], "'vgg11' cannot take views of 24 px"),
        (["method=dino", "backbone=vgg11", "data.image_size=64"], "cannot take views of 28 px"),
    ],
)
def test_a_mistake_is_one_sentence_and_leaves_nothing(
    overrides: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", f"out={tmp_path / 'runs'}", *overrides]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_folders_whose_names_are_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "out=5", "name=1", *SMALL, "trainer.max_steps=1", "evaluate=false"]) == 0
    assert main(["train", "from=5/1", "out=6", "name=2", *SMALL]) == 0
    assert main(["train", "from=5/1"]) == 0  # into this command's folder, and not that run's
    assert (tmp_path / "6" / "2" / "encoder").is_dir()
    assert len([path for path in (tmp_path / "5").iterdir() if not path.is_symlink()]) == 1
    assert (tmp_path / "runs" / "latest" / "encoder").is_dir()


def test_a_run_that_exists_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "precious").touch()
    assert main(["train", f"out={tmp_path}", "name=mine"]) == 2
    assert "exists" in capsys.readouterr().err
    assert [path.name for path in tmp_path.rglob("*")] == ["mine", "precious"]


def test_a_folder_without_labels_trains_and_reports_what_needs_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photos").mkdir()
    generator = np.random.default_rng(0)
    for i in range(24):
        pixels = generator.integers(0, 256, (40 + i, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{i}.png")
    (tmp_path / "photos" / "broken.jpg").write_bytes(b"no image")
    settings = ["data=folder", f"data.root={tmp_path / 'photos'}", "data.image_size=32", "batch_size=8"]
    assert run(tmp_path, "method=barlow", *settings, "trainer.max_steps=3", "name=one", "data.workers=1") == 0
    results = json.loads((tmp_path / "one" / "results.json").read_text())
    scores = results["rows"][0]["scores"]
    assert "rankme" in scores
    assert "knn" not in scores
    # Named wherever the hold-out put it.
    assert "broken.jpg" in str(results["skipped"])
    shown = capsys.readouterr().out
    assert "broken.jpg" in shown
    # What is said to be typed next can be.
    lines = (line.removeprefix("  ").removeprefix("uv run ") for line in shown.splitlines())
    typed = [line.split()[1:] for line in lines if line.startswith("selfsup ")]
    assert [command for command, *_ in typed] == ["evaluate", "report"]
    assert load_config("evaluate", typed[0][1:])["data"]["root"] == str(tmp_path / "photos")
    assert typed[1][1:] == [str(tmp_path / "one")]
    # What may be published says nothing of the machine.
    card = (tmp_path / "one" / "encoder" / "card.json").read_text()
    assert '"batch_size": 8' in card
    assert str(tmp_path) not in card
