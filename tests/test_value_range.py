"""The range of values that an encoder was trained with goes wherever it goes."""

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pyarrow.parquet as pq
import pytest
import timm
import torch
import yaml
from PIL import Image

from selfsup import UsageError, load_encoder
from selfsup.commands import main
from selfsup.data.readers.decode import decode
from selfsup.encoder import build_encoder, save_encoder, write_model_card
from selfsup.evaluation.features.images import fit
from selfsup.export.formats import preprocessing

LOW, HIGH = 7301, 8206


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of 16-bit images that use a small part of their range."""
    top = tmp_path_factory.mktemp("thermal")
    for name, low in (("cold", LOW), ("warm", 7700)):
        (top / name).mkdir()
        for i in range(6):
            values = np.random.default_rng(low + i).integers(low, low + 507, (20, 24)).astype(np.uint16)
            values[0, 0] = low
            values[0, 1] = low + 506
            Image.fromarray(values).save(top / name / f"{i}.png")
    return top


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = build_encoder("test_resnet", 16, seed=0, range=(LOW, HIGH))
    folder = save_encoder(made, tmp_path_factory.mktemp("run") / "encoder", {"method": "barlow"})
    write_model_card(folder)
    return folder


def command(*given: str) -> int:
    return main([*given, "traceback=true"])


def expected(encoder: Path, image: Path, low: float = LOW, high: float = HIGH) -> torch.Tensor:
    """Features of an image by the definition of a range, and torch alone."""
    values = np.asarray(Image.open(image)).astype(float)
    eight = np.rint(255 * ((values - low) / (high - low)).clip(0, 1)).astype(np.uint8)
    pixels = fit(torch.from_numpy(eight).expand(1, 3, -1, -1), 16)
    loaded = load_encoder(encoder).eval()
    mean, std = (torch.tensor(each).view(1, 3, 1, 1) for each in (loaded.mean, loaded.std))
    with torch.no_grad():
        return loaded((pixels / 255 - mean) / std)[0]


def test_it_is_kept_with_the_encoder_and_by_timm(encoder: Path, tmp_path: Path) -> None:
    loaded = load_encoder(encoder)
    assert loaded.range == (LOW, HIGH)
    assert loaded.untrained().range == (LOW, HIGH)
    assert json.loads((encoder / "card.json").read_text())["range"] == [LOW, HIGH]
    notes = json.loads((encoder / "config.json").read_text())["pretrained_cfg"]["notes"]
    assert notes == [f"selfsup.range=[{LOW}, {HIGH}]"]
    plain = timm.create_model(f"local-dir:{encoder}", pretrained=True)
    timm.models.save_for_hf(plain, tmp_path / "again", safe_serialization=True)
    again = json.loads((tmp_path / "again" / "config.json").read_text())
    assert again["pretrained_cfg"]["notes"] == notes
    assert preprocessing(loaded)["range"] == [LOW, HIGH]


def test_one_without_is_as_it_was(tmp_path: Path) -> None:
    plain = build_encoder("test_resnet", 16, seed=0)
    folder = save_encoder(plain, tmp_path / "plain")
    assert "notes" not in json.loads((folder / "config.json").read_text())["pretrained_cfg"]
    loaded = load_encoder(folder)
    assert loaded.range is None
    assert "## Values" not in write_model_card(folder).read_text()
    with_range = build_encoder("test_resnet", 16, seed=0, range=(0, 1))
    assert with_range.fingerprint() != plain.fingerprint() == loaded.fingerprint()


@pytest.mark.parametrize(
    "note", ["[1]", "[2, 1]", "[0, NaN]", '["a", 2]', "x", "[" * 9999, f"[0, 1{'0' * 400}]"]
)
def test_a_range_that_is_none_is_a_sentence(note: str, encoder: Path, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes((encoder / "model.safetensors").read_bytes())
    config = json.loads((encoder / "config.json").read_text())
    config["pretrained_cfg"]["notes"] = [f"selfsup.range={note}"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UsageError, match="no range of values"):
        load_encoder(tmp_path)


def test_the_model_cards_lines_give_the_same_pixels(encoder: Path, images: Path) -> None:
    text = (encoder / "README.md").read_text()
    lines = text.split("## Values")[1].split("```python\n")[1].split("```")[0]
    names = {"numpy": np, "PIL": PIL, "FILE": images / "cold" / "1.png"}
    exec(lines, names)
    image = names["image"]
    assert isinstance(image, Image.Image)
    found = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    assert torch.equal(found, decode(images / "cold" / "1.png", "cold", (LOW, HIGH)))


def test_embed_and_search_use_it_and_say_when_they_use_another(
    encoder: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ("data=folder", f"data.root={images}", "device=cpu")
    out = tmp_path / "features.parquet"
    assert command("embed", f"encoder={encoder}", *data, f"out={out}") == 0
    table = pq.read_table(out)
    for name, features in zip(table["name"].to_pylist(), table["features"].to_pylist(), strict=True):
        torch.testing.assert_close(
            torch.tensor(features), expected(encoder, Path(name)), atol=1e-5, rtol=1e-4
        )
    assert "trained with" not in capsys.readouterr().out

    query = f"query={images / 'warm' / '3.png'}"
    for where in ([*data], [f"features={out}", "device=cpu"]):
        assert command("search", f"encoder={encoder}", query, *where, "k=2") == 0
        first = capsys.readouterr().out.splitlines()[0]
        assert first.startswith("1.0000")
        assert first.endswith("3.png")

    other = tmp_path / "other.parquet"
    assert command("embed", f"encoder={encoder}", *data, f"out={other}", "data.range=[7000,9000]") == 0
    said = capsys.readouterr().out
    assert (
        f"was trained with data.range=[{LOW},{HIGH}], and is given images with data.range=[7000,9000]" in said
    )
    row = pq.read_table(other)
    torch.testing.assert_close(
        torch.tensor(row["features"][0].as_py()),
        expected(encoder, Path(row["name"][0].as_py()), 7000, 9000),
        atol=1e-5,
        rtol=1e-4,
    )
    assert main(["search", f"encoder={encoder}", query, f"features={other}", "device=cpu"]) == 2
    assert "data.range=[7000,9000], and not [7301,8206]" in capsys.readouterr().err


def test_evaluate_uses_it(
    encoder: Path,
    images: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    data = (
        "data=folder",
        f"data.root={images}",
        "device=cpu",
        "protocols=[ridge]",
        "cache=cache",
        "controls=false",
    )
    ranges = []
    for given in ([], ["data.range=[7000,9000]"]):
        out = tmp_path / f"{len(given)}.json"
        assert main(["evaluate", f"encoder={encoder}", *data, f"out={out}", *given]) == 0
        ranges.append(json.loads(out.read_text())["preprocessing"]["range"])
    assert ranges == [[LOW, HIGH], [7000, 9000]]
    # Other pixels are other features.
    assert len(list((tmp_path / "cache").glob("*.safetensors"))) == 4
    assert "is given images with data.range=[7000,9000]" in capsys.readouterr().out

    another = save_encoder(build_encoder("test_resnet", 16, seed=1, range=(0, 9)), tmp_path / "another")
    both = f"encoder=[{encoder},{another}]"
    assert main(["evaluate", both, *data, f"out={tmp_path / 'both.json'}"]) == 2
    said = capsys.readouterr().err
    assert "judge them apart" in said
    assert "data.range=[0,9]" in said
    assert main(["evaluate", "encoder=timm:test_resnet", *data, f"out={tmp_path / 'timm.json'}"]) == 2
    assert "use values from 7301 to 8206 of 0 to 65535" in capsys.readouterr().err


def test_a_run_measures_it_once_and_hands_it_over(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = (
        "method=simclr",
        "backbone.model_args.depth=1",
        "backbone.model_args.embed_dim=32",
        "backbone.model_args.num_heads=2",
        "data=folder",
        f"data.root={images}",
        "data.image_size=16",
        "data.workers=0",
        "batch_size=4",
        "trainer.max_steps=1",
        "evaluate=false",
        "report=false",
        "guard.enabled=false",
        f"out={tmp_path}",
        "name=one",
    )
    assert main(["train", *given]) == 2
    assert (
        "set data.range=[7301,8206], or data.range=auto, or data.range=[0,65535]" in capsys.readouterr().err
    )
    assert not (tmp_path / "one").exists()
    for wrong in ("data.range=[2,1]", "data.range=wide", "data.range=[1]"):
        assert main(["train", *given, wrong]) == 2
        assert "data.range" in capsys.readouterr().err
    assert main(["train", *given, "data.range=auto", "traceback=true"]) == 0
    low, high = load_encoder(tmp_path / "one" / "encoder").range or (0, 0)
    assert LOW <= low <= LOW + 2
    assert HIGH - 2 <= high <= HIGH
    kept = yaml.safe_load((tmp_path / "one" / "config.yaml").read_text())
    assert kept["data"]["range"] == [low, high]
