"""``selfsup tune`` as it is typed: mistakes before anything starts, and a whole search."""

from pathlib import Path

import pytest
import yaml

from selfsup.commands import main
from selfsup.config import load_config
from selfsup.tuning import study

TINY = ["method=simclr", "backbone=resnet10", "data.image_size=16"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["space.method.temprature=[0.1,0.5]"], "no setting 'method.temprature'"),
        (["space.method.temperature=[0,0.5]"], "method.temperature is 0; it has to be above 0"),
        (["space.method.mask_ratio=[0.1,0.5]"], "no setting 'method.mask_ratio'"),
        (["space.batch_size=[32.5,64.5]"], "batch_size is a whole number"),
        (["space.crop=[0.5,1.5]"], "space.crop is [0.5, 1.5]"),
        (["method=dino", "space.crop=[0.5,0.9]"], "views.small.scale is [0.9, 0.7]"),
        (["space.optimizer=[sgd,adamw]"], "no setting 'optimizer'"),
        (["space=none"], "there is nothing to search"),
        (["score=loss"], "score=loss cannot be searched by"),
        (["data.turns=true"], "a turn means nothing"),
        (["resume=runs/a"], "leave resume= out"),
        (["name=a"], "leave name= out"),
        (["trials=0"], "trials is 0"),
        (["length=1.5"], "length is 1.5"),
        (["minutes=0"], "minutes is 0"),
        (["data.per_class=20"], "200 training images are too few"),
        (["method=distill"], "learns from a teacher"),
    ],
)
def test_a_mistake_is_told_before_anything_is_made(
    settings: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tune", *TINY, f"out={tmp_path / 'search'}", *settings]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "search").exists()


def test_without_optuna_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(study, "find_spec", lambda name: None)
    assert main(["tune", *TINY]) == 2
    assert "pip install 'selfsup[tune]'" in capsys.readouterr().err


def test_a_search_from_beginning_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "search"
    command = [
        *TINY,
        "trainer.max_steps=2",
        "length=1.0",
        "batch_size=16",
        "trainer.devices=1",
        "data.workers=0",
        "space.method.temperature=[0.1,0.5,log]",
        f"out={folder}",
    ]
    assert main(["tune", *command, "trials=1"]) == 0
    assert "keep them" in capsys.readouterr().out
    assert main(["tune", *command, "trials=2"]) == 0
    said = capsys.readouterr().out
    assert "trial 1: rotation accuracy" in said
    assert "trial 0:" not in said  # it was made before
    assert "The search ends: all 2 trials are made." in said
    assert main(["tune", *command, "trials=2"]) == 0  # nothing is left to do
    assert "trial 1:" not in capsys.readouterr().out

    config = yaml.safe_load((folder / "trials" / "0001" / "config.yaml").read_text())
    asked = load_config("train", [f"experiment={folder / 'tuned.yaml'}"])
    first = yaml.safe_load((folder / "trials" / "0000" / "config.yaml").read_text())
    assert config["method"]["temperature"] != first["method"]["temperature"] == 0.2
    assert config["data"]["indices"] == str(folder / "learned.txt")
    assert not config["evaluate"]
    assert config["guard"]["stop"]
    assert asked["method"]["temperature"] in (config["method"]["temperature"], 0.2)
    assert asked["data"]["indices"] is None
    assert asked["trainer"]["max_steps"] == 2

    page = (folder / "tune.html").read_text()
    assert "method.temperature" in page
    assert "is not an estimate" in page
    assert main(["tune", *command, "batch_size=8"]) == 2
    assert "has batch_size=16, not 8" in capsys.readouterr().err
