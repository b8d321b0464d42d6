"""What people do with an encoder: features to Parquet, search, and the examples, all executed."""

import csv
import runpy
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import timm
import torch
from PIL import Image
from sklearn.neighbors import NearestNeighbors
from timm.data import create_transform, resolve_model_data_config

from selfsup import build_encoder, load_encoder, save_encoder
from selfsup.commands import main

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of ten pictures each, dark and light, and a broken file."""
    root = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(0)
    for name, level in (("dark", 40), ("light", 200)):
        (root / name).mkdir()
        for i in range(10):
            pixels = np.clip(generator.normal(level, 20, (40, 44 + i, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i}.png")
    (root / "light" / "broken.png").write_bytes(b"no picture")
    return root


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    args = {"patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2}
    made = build_encoder("vit_tiny_patch16_224", 32, args, seed=0)
    return save_encoder(made, tmp_path_factory.mktemp("encoder") / "encoder")


def command(name: str, encoder: Path, *settings: str) -> int:
    return main([name, f"encoder={encoder}", "data.workers=0", "data.max_unreadable=0.1", *settings])


def test_features_are_the_encoders(
    encoder: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "features.parquet"
    settings = ("data=folder", f"data.root={images}", f"out={out}", "batch_size=7")
    assert command("embed", encoder, *settings) == 0
    assert "broken.png" in capsys.readouterr().out
    table = pq.read_table(out)
    assert table.num_rows == 20
    assert table.schema.field("features").type.list_size == 32
    for name, label in zip(table["name"].to_pylist(), table["label"].to_pylist(), strict=True):
        assert Path(name).parent.name == ["dark", "light"][label]
    assert sorted(set(table["split"].to_pylist())) == ["test", "train"]
    # One image by itself, by timm alone, prepared as the folder says.
    plain = timm.create_model(f"local-dir:{encoder}", pretrained=True).eval()
    transform = create_transform(**resolve_model_data_config(plain), is_training=False)
    with Image.open(table["name"][3].as_py()) as picture, torch.no_grad():
        expected = plain(transform(picture).unsqueeze(0))[0]
    torch.testing.assert_close(torch.tensor(table["features"][3].as_py()), expected, atol=0.05, rtol=0)
    assert command("embed", encoder, *settings) == 2
    assert "not overwritten" in capsys.readouterr().err


def test_search_finds_the_nearest_by_cosine(
    encoder: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "features.parquet"
    data = ("data=folder", f"data.root={images}")
    command("embed", encoder, *data, f"out={out}")
    query = images / "light" / "4.png"
    capsys.readouterr()
    assert command("search", encoder, f"query={query}", f"features={out}", "k=5") == 0
    by_file = capsys.readouterr().out.splitlines()
    assert command("search", encoder, f"query={query}", *data, "k=5") == 0
    by_images = [line for line in capsys.readouterr().out.splitlines() if "skipped" not in line]
    assert by_file == by_images
    assert by_file[0].startswith("1.0000")
    assert by_file[0].endswith("4.png")
    table = pq.read_table(out)
    x = np.stack(table["features"].to_numpy())
    own = table["name"].to_pylist().index(by_file[0].split("  ")[1])
    found = NearestNeighbors(n_neighbors=5, metric="cosine").fit(x).kneighbors(x[[own]])[1][0]
    assert [line.split("  ")[1] for line in by_file] == [table["name"][int(i)].as_py() for i in found]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["query=none.jpg"], "there is no file 'none.jpg'"),
        (["query={images}/light/broken.png", "data=folder", "data.root={images}"], "cannot read image"),
        (["query={images}/light/1.png", "features=none.parquet"], "selfsup embed writes one"),
        (["query={images}/light/1.png", "features={images}/light/1.png"], "holds no features"),
        (["query={images}/light/1.png", "k=0"], "k is 0"),
        (["query={images}/light/1.png", "precision=half"], "float32, bfloat16 or auto"),
    ],
)
def test_a_mistake_in_a_search_is_one_sentence(
    settings: list[str], words: str, encoder: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [setting.replace("{images}", str(images)) for setting in settings]
    assert main(["search", f"encoder={encoder}", *given]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1


def test_features_of_another_encoder_are_refused(
    encoder: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "features.parquet"
    command("embed", encoder, "data=folder", f"data.root={images}", f"out={out}")
    other = save_encoder(load_encoder(encoder).untrained(seed=1), tmp_path / "other")
    assert main(["search", f"encoder={other}", f"features={out}", f"query={images}/light/1.png"]) == 2
    assert "another encoder's" in capsys.readouterr().err


def run_example(name: str, *arguments: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")


def test_the_loop_by_hand_has_the_losses_of_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Views, masks and rates are those of the trainer, step by step."""
    run_example("loop.py", "mae", 1, monkeypatch=monkeypatch)
    losses = [float(line.rpartition(" ")[2]) for line in capsys.readouterr().out.splitlines()]
    quick = ("evaluate=false", "report=false", "online=none", "guard.enabled=false")
    exact = ("trainer.max_epochs=1", "trainer.log_every_n_steps=1", "trainer.precision=32-true")
    where = (f"out={tmp_path}", "name=run", "trainer.accelerator=cpu")
    assert main(["train", "method=mae", *quick, *exact, *where]) == 0
    with (tmp_path / "run" / "metrics.csv").open(newline="") as file:
        trained = [float(row["loss"]) for row in csv.DictReader(file)]
    assert losses == pytest.approx(trained, abs=2e-3)
    assert len(losses) == 10


def test_the_examples_run(
    encoder: Path,
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    readable = tmp_path / "images"
    for file in images.rglob("[0-9].png"):
        (readable / file.parent.name).mkdir(parents=True, exist_ok=True)
        (readable / file.parent.name / file.name).symlink_to(file)
    run_example("features.py", encoder, readable, "features.parquet", monkeypatch=monkeypatch)
    assert "(20, 32) float32" in capsys.readouterr().out
    run_example("classifier.py", "features.parquet", monkeypatch=monkeypatch)
    assert "100.0% of 4 test images" in capsys.readouterr().out
    run_example("finetune.py", encoder, readable, 2, monkeypatch=monkeypatch)
    assert "epoch 2: loss" in capsys.readouterr().out
    assert "1.weight" in torch.load("finetuned.pt", weights_only=True)
