import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from selfsup.commands.evaluate import run
from selfsup.config import load_config
from selfsup.encoder import build_encoder, save_encoder
from selfsup.errors import UsageError
from selfsup.evaluation.features.frozen import FrozenEncoder


def test_an_encoder_is_judged_from_its_folder(tmp_path, capsys):
    folder = save_encoder(build_encoder("resnet18", 24, seed=0), tmp_path / "run" / "encoder")
    config = load_config(
        "evaluate", [f"encoder={folder}", "controls=false", "protocols.nshot.draws=2", "device=cpu"]
    )
    run(config)
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert (results["data"], results["n_train"], results["n_test"]) == ("digits", 1297, 500)
    assert results["encoder"] == json.loads((folder / "card.json").read_text())["fingerprint"]
    # Even random features of digits are far better than chance, 0.1.
    assert results["rows"][0]["scores"]["linear"]["value"] > 0.25
    said = capsys.readouterr().out
    assert "kNN" in said
    assert str(tmp_path / "run" / "results.json") in said.replace("\n", "")


def test_several_encoders_are_ranked_on_a_folder_and_the_second_time_out_of_the_cache(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    for name, colour in (("red", (200, 40, 40)), ("blue", (40, 40, 200))):
        (tmp_path / "my images" / name).mkdir(parents=True)
        for i in range(12):
            noise = np.random.default_rng([i, *colour]).integers(0, 50, (20, 24, 3)) + np.array(colour)
            Image.fromarray(noise.astype(np.uint8)).save(tmp_path / "my images" / name / f"{i}.png")
    named = "encoder=[timm:test_resnet,a run/encoder]"
    save_encoder(build_encoder("resnet10_small", 16, seed=1), tmp_path / "a run" / "encoder")
    given = [named, "data=folder", "data.root=my images", "protocols=[ridge]", f"cache={tmp_path}/cache"]
    for _ in range(2):
        run(load_config("evaluate", [*given, "device=cpu", "data.workers=0"]))
    first, second = (
        json.loads((tmp_path / name).read_text())
        for name in ("results-comparison.json", "results-comparison-2.json")
    )
    assert first == second
    assert [row["name"] for row in first["rows"]] == [
        "test_resnet",
        "a run",
        "untrained test_resnet",
        "untrained a run",
        "pixels",
        "pixels, PCA",
    ]
    assert sorted(first["comparison"]["ranking"]) == ["a run", "test_resnet"]
    entries = list((tmp_path / "cache").glob("*.safetensors"))
    assert len(entries) == 2 * 5
    assert "How far the others are from" in capsys.readouterr().out


def test_another_bank_and_query_with_classes_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder, names in (("bank", ("blue", "red")), ("query", ("red", "violet"))):
        for name in names:
            (tmp_path / folder / "train" / name).mkdir(parents=True)
            (tmp_path / folder / "test" / name).mkdir(parents=True)
            for i in range(4):
                colour = np.full((16, 16, 3), {"red": 200, "blue": 40, "violet": 120}[name] + i, np.uint8)
                for split in ("train", "test"):
                    Image.fromarray(colour).save(tmp_path / folder / split / name / f"{i}.png")
    given = ["encoder=timm:test_resnet", "bank=folder", "bank.root=bank", "query=folder", "query.root=query"]
    run(
        load_config(
            "evaluate", [*given, "protocols=[knn]", "protocols.knn.k=[1]", "device=cpu", "cache=null"]
        )
    )
    results = json.loads((tmp_path / "results-test_resnet.json").read_text())
    assert results["data"] == "folder-to-folder"
    assert (results["n_train"], results["n_test"]) == (8, 8)
    pixels = next(row for row in results["rows"] if row["name"] == "pixels, PCA")
    assert "4 of 8 test samples count as wrong" in pixels["scores"]["knn"]["flags"][0]


def test_several_banks_are_ranked_by_what_they_are_worth_to_one_query(tmp_path, monkeypatch, capsys):
    """A bank of the right colours beside one that calls half of the red images blue."""
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(0)
    for folder, wrong in (("right", 0), ("wrong", 10), ("asked", 0)):
        for split in ("train", "test"):
            for name in ("red", "blue"):
                (tmp_path / folder / split / name).mkdir(parents=True)
                for i in range(20):
                    red = name == "red" and i >= wrong
                    colour = np.array([180, 0, 40] if red else [40, 0, 180]) + draw.integers(0, 40, 3)
                    image = Image.fromarray(np.full((16, 16, 3), colour, np.uint8))
                    image.save(tmp_path / folder / split / name / f"{i}.png")
    encoded = []
    forward = FrozenEncoder.__call__
    monkeypatch.setattr(
        FrozenEncoder, "__call__", lambda self, images: encoded.append(len(images)) or forward(self, images)
    )
    given = ["encoder=timm:test_resnet", "data=folder", "data.root=asked", "banks.wrong.root=wrong"]
    given += ["banks.right.root=right", "protocols=[knn]", "protocols.knn.k=[1]", "device=cpu", "cache=null"]
    run(load_config("evaluate", given))
    # Two banks and one query of 40 images, each once, by the encoder and its untrained control.
    assert sum(encoded) == 2 * 3 * 40
    results = json.loads((tmp_path / "results-test_resnet.json").read_text())
    assert results["banks"] == {"wrong": 40, "right": 40}
    assert results["comparison"]["ranking"] == ["right", "wrong"]
    found = {row["name"]: row["scores"]["knn"]["value"] for row in results["rows"]}
    assert found["right"] == found["pixels, right"] == 1 > found["wrong"]
    assert not results["comparison"]["differences"][0]["within_noise"]
    assert "banks: wrong of 40, right of 40 images" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["encoder=[]"], "names no encoder"),
        (["encoder=[timm:resnet18,timm:resnet18]"], "named twice"),
        (["encoder=[timm:resnet18,runs/none]"], "no encoder 'runs/none'"),
        (["encoder=timm:resnet18", "bank=folders"], "bank: no data 'folders'; did you mean 'folder'"),
        (["encoder=timm:resnet18", "query=folder", "query.rot=x"], "query: no setting 'data.rot'"),
        (["encoder=timm:resnet18", "banks.a.rot=x"], "banks.a: no setting 'data.rot'"),
        (["encoder=timm:resnet18", "banks.a=x"], "banks.a holds settings"),
        (["encoder=timm:resnet18", "banks.a.root=x", "bank=digits"], "name it among those"),
        (["encoder=timm:resnet18", "bank=folder"], "bank: data.root has to be given"),
        (["encoder=timm:resnet18", "cache_gb=0"], "cache_gb is 0; it has to be above 0"),
    ],
)
def test_mistakes_are_told(given, sentence):
    with pytest.raises(UsageError, match=sentence):
        run(load_config("evaluate", given))


def test_an_existing_file_is_refused_before_anything_is_loaded(tmp_path):
    out = tmp_path / "mine.json"
    out.write_text("mine")
    with pytest.raises(UsageError, match="is not overwritten"):
        run(load_config("evaluate", ["encoder=timm:resnet18", f"out={out}"]))
    assert out.read_text() == "mine"


def test_importing_the_command_imports_no_torch_and_the_suite_no_method():
    code = (
        "import sys; import selfsup.commands.evaluate; assert 'torch' not in sys.modules;"
        "import selfsup.evaluation;"
        "others = ('selfsup.methods', 'sklearn', 'pytorch_lightning', 'lightly');"
        "bad = [name for name in sys.modules if name.startswith(others)];"
        "assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
