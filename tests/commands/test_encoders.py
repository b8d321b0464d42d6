"""An encoder is named by its folder, its run or its name in timm; what else is named gets a hint."""

from pathlib import Path

import pytest

from selfsup.commands.embed import check
from selfsup.commands.encoders import find_encoder
from selfsup.commands.evaluate import encoder_names
from selfsup.config import load_config
from selfsup.errors import UsageError


def an_encoder(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for file in ("config.json", "model.safetensors"):
        (folder / file).touch()
    return folder


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    an_encoder(Path("runs/whole/encoder"))
    an_encoder(Path("runs/cut/encoder-best"))
    for run in ("whole", "cut", "begun"):
        Path("runs", run).mkdir(exist_ok=True)
        Path("runs", run, "config.yaml").touch()
    Path("runs/whole/checkpoints").mkdir()
    Path("runs/whole/checkpoints/step-3.ckpt").touch()
    return Path("runs")


@pytest.mark.parametrize("name", ["runs/whole/encoder", "runs/cut/encoder-best", "timm:resnet18"])
def test_what_names_an_encoder_is_taken_as_it_is(name: str, runs: Path) -> None:
    assert find_encoder(name) == name


def test_a_run_stands_for_the_encoder_it_left(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert find_encoder("runs/whole") == find_encoder("runs/whole/") == "runs/whole/encoder"
    assert "taking the encoder it left in runs/whole/encoder" in capsys.readouterr().out
    assert encoder_names(["runs/whole", "timm:resnet18"]) == {
        "whole": "runs/whole/encoder",
        "resnet18": "timm:resnet18",
    }
    with pytest.raises(UsageError, match="named twice"):
        encoder_names(["runs/whole", "runs/whole/encoder"])
    assert check(load_config("embed", ["encoder=runs/whole"])) == "runs/whole/encoder"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("resnet18", "there is no folder 'resnet18'; timm's model of that name is encoder=timm:resnet18"),
        ("resnet18.a1_in1k", "encoder=timm:resnet18.a1_in1k"),
        ("timm:resnet81", "did you mean .*'resnet18'"),
        ("runs/hole/encoder", "there is no encoder 'runs/hole/encoder'"),
        ("runs", "'runs' holds runs; name one of them, such as encoder=runs/whole/encoder"),
        ("runs/cut", "left no encoder yet; take encoder=runs/cut/encoder-best"),
        ("runs/begun", "left no encoder yet; finish it with train resume=runs/begun"),
        (
            "runs/whole/encoder/model.safetensors",
            "part of an encoder; name its folder, 'runs/whole/encoder'",
        ),
        ("runs/whole/checkpoints/step-3.ckpt", "a part of a run; name the run, 'runs/whole'"),
        ("runs/whole/checkpoints", "is not an encoder: it has no config.json"),
    ],
)
def test_what_names_none_gets_a_hint(name: str, words: str, runs: Path) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        find_encoder(name)
    assert "\n" not in str(caught.value)
